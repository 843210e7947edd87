//! The program `wisp-broker`.

mod args;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use tracing::{debug, info};
use wisp_broker::run;
use wisp_net::{Host, SysHost};

/// The operator asked for something impossible.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(end) => return end,
    };
    tracing_subscriber::fmt()
        .with_max_level(args.log)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .init();
    let outcome = run(SysHost, args.config, |addrs, stop| {
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

/// The one line on standard output, which whoever started the program may wait for.
fn announce(addrs: &[SocketAddr]) {
    let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
    let mut stdout = std::io::stdout();
    // Nobody may be reading; the broker serves all the same.
    let _ = writeln!(stdout, "wisp-broker listening on {}", addrs.join(", ")).and_then(|()| stdout.flush());
}
