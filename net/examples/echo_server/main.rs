//! The echo server as a program, for each host. The conformance test drives it.
//!
//! `echo_server --listen ADDR:PORT [--workers N] [--mode echo|relay]`: the broker's flags, so that the
//! same scripts start it, and `--mode`. A host with inherited listeners ignores the address.

#[allow(unreachable_pub, reason = "the conformance test includes this module too")]
mod server;

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use server::{Mode, Status};
use wisp_net::{Host, SysHost};

const USAGE: &str = "usage: echo_server --listen ADDR:PORT [--workers N] [--mode echo|relay]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_server: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (mut addr, mut workers, mut mode) = (None, 1, Mode::Echo);
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or("every flag has a value")?;
        match flag.as_str() {
            "--listen" => addr = Some(value.parse::<SocketAddr>()?),
            "--workers" => workers = value.parse()?,
            "--mode" if value == "echo" => mode = Mode::Echo,
            "--mode" if value == "relay" => mode = Mode::Relay,
            _ => return Err(USAGE.into()),
        }
    }
    let addr = addr.ok_or("--listen is missing")?;
    let listener = SysHost.listen(addr)?;
    print_line(|| format!("echo_server listening on {addr}"));
    server::serve(&SysHost, listener, (mode, workers), &Arc::new(Status::default()), |status| {
        print_line(|| {
            let [accepted, open, waits] =
                [&status.accepted, &status.open, &status.waits].map(|count| count.load(Ordering::SeqCst));
            format!("accepted {accepted} open {open} waits {waits}")
        });
    })?;
    Ok(())
}

/// Prints a whole line, even if several workers print at once. The line is made under the lock, so the
/// last one is the latest. A closed stdout is not an error.
fn print_line(line: impl FnOnce() -> String) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", line());
    let _ = out.flush();
}
