//! The program `wisp-broker`.

mod address;
mod args;
mod effective;
mod file;
mod health;
mod listeners;
mod log_writer;
mod mosquitto;
mod queues;
mod reload;
mod service;
mod settings;
mod store;
mod tables;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use tracing::{debug, info, warn};
use wisp_broker::{Config, Host, RunError, Signal, SysHost, run};

use crate::args::{Action, Args, STATUS_USAGE};
use crate::effective::Effective;
use crate::log_writer::{LogFormat, LogWriter};
use crate::reload::{Files, Reload};
use crate::service::State;

fn main() -> ExitCode {
    SysHost.find_folders();
    // Workers hand memory to each other all the time, with the messages.
    SysHost.share_heap();
    let args = match args::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(end) => return end,
    };
    if let Some(task) = &args.store {
        return store::run(task);
    }
    if let Some(address) = args.health {
        return match health::ask(address) {
            Ok(answer) => say(&format!("wisp-broker: {answer}\n")),
            Err(message) => {
                eprintln!("wisp-broker: {message}");
                ExitCode::FAILURE
            }
        };
    }
    if let (Action::PrintNeeds, Some(path)) = (args.action, &args.mosquitto_config) {
        let folders = mosquitto::closed_folders(path);
        if !folders.is_empty() {
            return say(&folders.iter().map(|folder| format!("folder {folder}\n")).collect::<String>());
        }
    }
    let effective = match Effective::resolve(&args, |name| std::env::var_os(name)) {
        Ok(effective) => effective,
        Err(message) => return refuse(&message),
    };
    if args.action != Action::Run {
        effective.notes.iter().for_each(|note| eprintln!("wisp-broker: {note}"));
    }
    match args.action {
        Action::Run => serve(&args, &effective),
        Action::Check => match configure(&effective) {
            Ok(_) => say("wisp-broker: configuration OK\n"),
            Err(message) => refuse(&message),
        },
        Action::Print => say(&effective.to_toml()),
        Action::PrintNeeds => match effective.needs() {
            Ok(needs) => say(&needs),
            Err(message) => refuse(&message),
        },
    }
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("wisp-broker: {message}");
    ExitCode::from(STATUS_USAGE)
}

/// Reads the files of users, rules and certificates, and checks the configuration.
fn configure(effective: &Effective) -> Result<(Config, Files), String> {
    let access = effective.load_access(SysHost.capabilities().threads)?;
    let tls = effective.load_tls()?;
    let addresses = effective.addresses()?;
    let config = effective.config(&addresses, access.as_ref(), &tls)?;
    let watch = config.file_watch().clone();
    let tables = addresses.into_iter().map(|(_, table)| table).collect();
    Ok((config, Files { access, tls, watch, tables }))
}

fn serve(args: &Args, effective: &Effective) -> ExitCode {
    let log = start_log(effective);
    flush_before_panics(log.clone());
    effective.notes.iter().for_each(|note| warn!("{note}"));
    let (config, files) = match configure(effective) {
        Ok(configured) => configured,
        Err(message) => return refuse(&message),
    };
    if let Err(error) = SysHost.inherit_listeners() {
        return refuse(&format!("the listeners of the service manager cannot be used: {error}"));
    }
    let reload = Reload::new(args.clone(), effective.clone(), files);
    let outcome = run(SysHost, config, |addrs, control| {
        announce(addrs);
        for address in SysHost.unclaimed_listeners() {
            warn!(%address, "the service manager opened a listener that is not configured: write its address in `listen`, or remove it there");
        }
        service::tell(State::Ready);
        let on_signal = move |signal| match signal {
            Signal::Terminate => {
                info!("shutdown requested");
                service::tell(State::Stopping);
                control.stop();
            }
            Signal::Other("SIGHUP") => {
                service::tell(State::Reloading);
                reload.run(&control);
                service::tell(State::Ready);
            }
            Signal::Other("SIGUSR1") => control.log_summary(),
            Signal::Other(name) => info!("{name} ignored: it has no meaning for the broker"),
        };
        if let Err(error) = SysHost.on_signal(Box::new(on_signal)) {
            debug!(%error, "signals are not supported on this host");
        }
    });
    log.flush_all();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wisp-broker: {error}");
            match error {
                RunError::Start(_) => ExitCode::from(STATUS_USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Has the log written, at the level and in the format of the configuration.
fn start_log(effective: &Effective) -> LogWriter {
    let format = effective.settings.log_format;
    let log = LogWriter::new(SysHost.capabilities().threads, format);
    let writer = log.clone();
    let lines = tracing_subscriber::fmt()
        .with_max_level(effective.settings.log)
        .with_writer(move || writer.clone())
        .with_target(false)
        .with_ansi(false);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
    log
}

/// Has the lines before a panic written before its message, since the panic may end the process.
fn flush_before_panics(log: LogWriter) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        log.flush_all();
        report(panic);
    }));
}

/// Prints on standard output. A reader that closed it has no use for the rest.
fn say(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    ExitCode::SUCCESS
}

/// Prints the only line on standard output: the program that started this one may wait for it.
fn announce(addrs: &[SocketAddr]) {
    let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
    let mut stdout = std::io::stdout();
    // The broker serves also without a reader.
    let _ = writeln!(stdout, "wisp-broker listening on {}", addrs.join(", ")).and_then(|()| stdout.flush());
}
