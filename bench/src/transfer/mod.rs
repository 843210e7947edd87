//! A plain transfer over TCP: one of Wisp's own programs on each host, and a native peer that checks the returned
//! bytes.

mod peer;

use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use wisp_lab::broker::free_address;
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::host::{self, Host};
use wisp_lab::measured::Measured;
use wisp_lab::paths::{self, Scratch};
use wisp_lab::plan::Transfer;

use crate::program::Program;
use peer::Load;

/// The program, natively and as a module.
pub const PROGRAM: &str = "wisp-transfer";
/// How long the program may take to start, and to end when all is transferred.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program's own times.
#[derive(Deserialize, Debug)]
struct Report {
    receive_s: f64,
    receive_calls: u64,
    receive_waits: u64,
    send_s: f64,
    send_calls: u64,
    send_waits: u64,
}

/// The measurements, under the names that records have.
#[derive(Serialize, Debug)]
struct Figures {
    seconds: f64,
    receive_s: f64,
    send_s: f64,
    receive_per_s: f64,
    send_per_s: f64,
    messages_per_s: f64,
    megabytes_per_s: f64,
    calls: u64,
    receive_calls: u64,
    send_calls: u64,
    waits: u64,
    time_per_call_us: f64,
}

/// Looks whether the program is there for a host.
///
/// # Errors
/// When it is not.
pub fn look_for(settings: &Transfer) -> Result<(), Failure> {
    match settings.host {
        Host::Native => paths::native_program(PROGRAM).map(drop),
        host => host::compiled_module(PROGRAM, host).map(drop),
    }
}

/// Takes one sample.
///
/// # Errors
/// When something is missing, the program broke, or the run was interrupted.
pub fn take(settings: &Transfer, scratch: &Scratch, interrupt: &Interrupt) -> Result<Measured, Failure> {
    let Transfer { host, messages, size_bytes, buffer } = *settings;
    let address = free_address();
    let mut command = command(host)?;
    let buffer_argument = buffer.bytes().map_or_else(|| buffer.to_string(), |bytes| bytes.to_string());
    if host == Host::Native {
        command.arg("--listen");
    }
    command.arg(address.to_string()).args(["--messages", &messages.to_string(), "--size", &size_bytes.to_string()]);
    command.args(["--buffer", &buffer_argument]);
    let mut program = Program::start(&format!("{PROGRAM} on {host}"), &mut command, scratch)?;
    let load = Load { messages, size_bytes: size_bytes as usize };
    let transferred = peer::connect(address, Instant::now() + PATIENCE, interrupt, &mut || program.has_ended())
        .and_then(|stream| peer::transfer(stream, load, interrupt));
    let finished = match transferred {
        Ok(()) => program.finish(Instant::now() + PATIENCE, interrupt)?,
        Err(Failure::Broken(what)) => return Err(program.broken(&format!("did not transfer all: {what}"))),
        Err(other) => return Err(other),
    };
    let report = finished.read(&format!("{PROGRAM} on {host}"))?;
    Ok(Measured::of(&figures(load, &report)))
}

/// The program on a host; the address follows.
fn command(host: Host) -> Result<Command, Failure> {
    if host == Host::Native {
        return Ok(Command::new(paths::native_program(PROGRAM)?));
    }
    let mut command = Command::new(host::scripts().join(host.name()).join("run"));
    // The scripts tell the broker's workers to a program that they would not be told of otherwise.
    command.env("WISP_MODULE", PROGRAM).env("WISP_WORKERS", "1");
    Ok(command)
}

fn figures(load: Load, report: &Report) -> Figures {
    let seconds = report.receive_s + report.send_s;
    let calls = report.receive_calls + report.send_calls;
    let messages = load.messages as f64;
    Figures {
        seconds,
        receive_s: report.receive_s,
        send_s: report.send_s,
        receive_per_s: messages / report.receive_s,
        send_per_s: messages / report.send_s,
        // Each message goes both ways, so twice as many went through the program.
        messages_per_s: 2.0 * messages / seconds,
        megabytes_per_s: 2.0 * messages * load.size_bytes as f64 / 1e6 / seconds,
        calls,
        receive_calls: report.receive_calls,
        send_calls: report.send_calls,
        waits: report.receive_waits + report.send_waits,
        time_per_call_us: seconds * 1e6 / calls as f64,
    }
}

#[cfg(test)]
mod tests {
    use wisp_lab::plan::Kind;

    use super::*;

    #[test]
    fn figures_may_be_of_all_that_is_recorded() {
        let report =
            Report { receive_s: 0.5, receive_calls: 10, receive_waits: 1, send_s: 0.5, send_calls: 10, send_waits: 0 };
        let figures = figures(Load { messages: 10, size_bytes: 1024 }, &report);
        assert!((figures.messages_per_s - 20.0).abs() < 1e-9);
        let measured = Measured::of(&figures);
        let is_known = |name: &str| Kind::Transfer.measures().any(|known| known == name);
        let unknown: Vec<_> = measured.fields().keys().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
