//! The program `wisp-broker`.

mod args;
mod effective;
mod file;
mod queues;
mod settings;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use tracing::{debug, info};
use wisp_broker::run;
use wisp_net::{Host, SysHost};

use crate::args::Action;
use crate::effective::Effective;
use crate::settings::Settings;

/// The operator asked for something impossible.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(end) => return end,
    };
    let effective = match Effective::resolve(&args, |name| std::env::var_os(name)) {
        Ok(effective) => effective,
        Err(message) => {
            eprintln!("wisp-broker: {message}");
            return ExitCode::from(USAGE);
        }
    };
    match args.action {
        Action::Run => serve(effective.settings),
        Action::Check => say("wisp-broker: the configuration is right\n"),
        Action::Print => say(&effective.to_toml()),
    }
}

fn serve(settings: Settings) -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(settings.log)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .init();
    let outcome = run(SysHost, settings.config, |addrs, stop| {
        announce(addrs);
        let stop_and_say = move || {
            info!("told to end");
            stop();
        };
        if let Err(error) = SysHost.on_termination(Box::new(stop_and_say)) {
            debug!(%error, "this host sends no signals");
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wisp-broker: {error}");
            ExitCode::from(USAGE)
        }
    }
}

/// Answers a question on standard output. Whoever closed it does not want the rest.
fn say(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    ExitCode::SUCCESS
}

/// The one line on standard output, which whoever started the program may wait for.
fn announce(addrs: &[SocketAddr]) {
    let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
    let mut stdout = std::io::stdout();
    // Nobody may be reading; the broker serves all the same.
    let _ = writeln!(stdout, "wisp-broker listening on {}", addrs.join(", ")).and_then(|()| stdout.flush());
}
