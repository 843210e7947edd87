//! `--health`: asks the admin listener of a running broker, for containers without a shell.
//!
//! Only natively: a module would need the right to connect, which the broker has no other use for.

use std::net::SocketAddr;

/// The last line of the answer of a broker that is ready. The error is one line for the operator.
#[cfg(target_family = "wasm")]
pub(crate) fn ask(address: SocketAddr) -> Result<String, String> {
    Err(format!("{address} cannot be asked: a module may not connect. Ask with the native program, or with curl"))
}

/// The last line of the answer of a broker that is ready. The error is one line for the operator.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn ask(address: SocketAddr) -> Result<String, String> {
    use std::io::ErrorKind;

    let answer = native::exchange(address).map_err(|error| match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            format!("{address} did not answer in {} s", native::PATIENCE.as_secs())
        }
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

#[cfg(not(target_family = "wasm"))]
mod native {
    use std::io::{self, Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::time::{Duration, Instant};

    /// How long the broker may take.
    pub(super) const PATIENCE: Duration = Duration::from_secs(5);

    /// Longest answer that is looked at.
    const ANSWER_BYTES_MAX: usize = 8 * 1024;

    const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nHost: wisp-broker\r\nConnection: close\r\n\r\n";

    /// Sends the request and reads until the broker closes the connection.
    pub(super) fn exchange(address: SocketAddr) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(REQUEST)?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
        while answer.len() <= ANSWER_BYTES_MAX {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut buffer)? {
                0 => break,
                count => answer.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(answer)
    }
}
