//! A plain transfer over TCP: one of Wisp's own programs on each host, and a native peer that checks the returned
//! bytes.

mod peer;

use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use wisp_lab::broker::free_address;
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::paths::{self, Scratch};
use wisp_lab::plan::Point;
use wisp_report::folder::Record;

use crate::host::{self, Host};
use crate::point::{only, setting, whole};
use crate::program::{Finished, Program};
use peer::Load;

/// The program, natively and as a module.
pub const PROGRAM: &str = "wisp-transfer";
/// How long the program may take to start, and to end when all is transferred.
const PATIENCE: Duration = Duration::from_secs(60);
const KIB: u64 = 1024;

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

/// Looks whether the program is there for a point.
///
/// # Errors
/// When it is not, or the point says something that is none of this kind.
pub fn look_for(point: &Point) -> Result<(), Failure> {
    only(point, &["host", "messages", "size_bytes", "buffer"])?;
    let host: Host = setting(point, "host")?;
    whole(point, "messages").and(whole(point, "size_bytes"))?;
    parse_buffer(&setting::<String>(point, "buffer")?)?;
    match host {
        Host::Native => paths::native_program(PROGRAM).map(drop),
        _ => host::compiled_module(PROGRAM, host).map(drop),
    }
}

/// Takes one sample.
///
/// # Errors
/// When the point is none of a transfer, something is missing, the program broke, or the run was interrupted.
pub fn take(point: &Point, scratch: &Scratch, interrupt: &Interrupt) -> Result<Record, Failure> {
    let host: Host = setting(point, "host")?;
    let (messages, size_bytes) = (whole(point, "messages")?, whole(point, "size_bytes")?);
    let buffer: String = setting(point, "buffer")?;
    let buffer_bytes = parse_buffer(&buffer)?;
    let address = free_address();
    let mut command = command(host)?;
    let buffer_argument = buffer_bytes.map_or_else(|| "message".to_owned(), |bytes| bytes.to_string());
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
    record(point, host, load, &finished)
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

fn record(point: &Point, host: Host, load: Load, finished: &Finished) -> Result<Record, Failure> {
    let report: Report = finished.read(&format!("{PROGRAM} on {host}"))?;
    let seconds = report.receive_s + report.send_s;
    let calls = report.receive_calls + report.send_calls;
    let messages = load.messages as f64;
    let measured = json!({
        "seconds": seconds,
        "receive_s": report.receive_s,
        "send_s": report.send_s,
        "receive_per_s": messages / report.receive_s,
        "send_per_s": messages / report.send_s,
        // Each message goes both ways, so twice as many went through the program.
        "messages_per_s": 2.0 * messages / seconds,
        "megabytes_per_s": 2.0 * messages * load.size_bytes as f64 / 1e6 / seconds,
        "calls": calls,
        "receive_calls": report.receive_calls,
        "send_calls": report.send_calls,
        "waits": report.receive_waits + report.send_waits,
        "time_per_call_us": seconds * 1e6 / calls as f64,
    });
    let mut record = point.record();
    record.extend(measured.as_object().cloned().unwrap_or_default());
    Ok(record)
}

/// The bytes of one call; `None` for one message a call.
fn parse_buffer(text: &str) -> Result<Option<u64>, Failure> {
    if text == "message" {
        return Ok(None);
    }
    let factor = |unit| match unit {
        "B" => Some(1),
        "KiB" => Some(KIB),
        "MiB" => Some(KIB * KIB),
        _ => None,
    };
    let bytes = text
        .split_once(' ')
        .and_then(|(number, unit)| number.parse::<u64>().ok()?.checked_mul(factor(unit)?))
        .filter(|bytes| *bytes > 0);
    bytes.map(Some).ok_or_else(|| Failure::Setup(format!("buffer: {text} is neither message nor a size as in 256 KiB")))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use wisp_lab::plan::Kind;

    use super::*;

    #[test]
    fn figures_may_be_of_all_that_is_recorded() {
        let settings = json!({"host": "native", "size_bytes": 1024, "messages": 10, "buffer": "message"});
        let point = Point::new(Kind::Transfer, serde_json::from_value(settings).unwrap());
        let output = json!({
            "receive_s": 0.5, "receive_calls": 10, "receive_waits": 1, "send_s": 0.5, "send_calls": 10, "send_waits": 0,
        });
        let finished = Finished { output: output.to_string(), wall_s: 1.1, cpu_s: 1.0, peak_rss_bytes: None };
        let record = record(&point, Host::Native, Load { messages: 10, size_bytes: 1024 }, &finished).unwrap();
        assert_eq!(record["messages_per_s"], Value::from(20.0));
        let is_known = |name: &str| {
            name == "kind" || point.get(name).is_some() || Kind::Transfer.measures().any(|known| known == name)
        };
        let unknown: Vec<_> = record.keys().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn buffers_are_read_with_their_unit() {
        let read = |text| parse_buffer(text).ok();
        assert_eq!((read("message"), read("256 KiB")), (Some(None), Some(Some(262_144))));
        assert_eq!((read("7 B"), read("2 MiB")), (Some(Some(7)), Some(Some(2_097_152))));
        for wrong in ["", "256", "256KiB", "0 KiB", "-1 B", "1 GB", "99999999999999999999 B", "9999999999999999 MiB"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
