//! `--health`: asks the admin listener of a running broker, for containers without a shell.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wisp_net::{Host, Poller, Registrar, Stream, Token};

/// How long the broker may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest answer that is looked at.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nHost: wisp-broker\r\nConnection: close\r\n\r\n";

/// The last line of the answer of a broker that is ready. The error is one line for the operator.
pub(crate) fn ask<H: Host>(host: &H, address: SocketAddr) -> Result<String, String> {
    let answer = exchange(host, address).map_err(|error| match error.kind() {
        io::ErrorKind::Unsupported => "this host cannot connect to the broker".to_owned(),
        io::ErrorKind::TimedOut => format!("{address} did not answer in {} s", PATIENCE.as_secs()),
        _ => format!("{address} cannot be asked: {error}"),
    })?;
    let text = String::from_utf8_lossy(&answer);
    let (status, last) = (text.lines().next().unwrap_or_default(), text.lines().last().unwrap_or_default());
    match status.strip_prefix("HTTP/1.1 ") {
        Some(status) if status.starts_with("200 ") => Ok(last.to_owned()),
        Some(status) => Err(format!("{address} answered {status}: {last}")),
        None => Err(format!("{address} is no admin listener")),
    }
}

fn exchange<H: Host>(host: &H, address: SocketAddr) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let (mut poller, mut stream) = (host.poller()?, host.connect(address)?);
    poller.registrar().add(&mut stream, Token(1))?;
    let (mut sent, mut answer, mut events) = (0, Vec::new(), Vec::new());
    loop {
        while sent < REQUEST.len() {
            match stream.send(&REQUEST[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let mut buffer = [0; 1024];
        match stream.recv(&mut buffer) {
            Ok(0) => return Ok(answer),
            Ok(count) => {
                answer.extend_from_slice(&buffer[..count]);
                if answer.len() > ANSWER_BYTES_MAX {
                    return Ok(answer);
                }
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        poller.wait(&mut events, Some(left))?;
    }
}
