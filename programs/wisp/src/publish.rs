//! `wisp pub`: a text, a file, or the lines of standard input become messages.

use std::io::{self, BufRead, BufReader, Read, Stdin};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use wisp_client::{Client, ConnectOptions, PublishOptions};
use wisp_net::{Host, SysHost};

use crate::args::Publish;
use crate::connect::Connector;
use crate::failure::Failure;

/// The number of pieces of standard input that may wait for the broker.
const PIECES_MAX: usize = 8;
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// The interval in which the connection is served while standard input is silent.
const IDLE_TICK: Duration = Duration::from_secs(1);

pub(crate) fn run(options: &Publish) -> Result<(), Failure> {
    let source = &options.source;
    let whole = match (&source.message, &source.file) {
        (Some(text), _) => Some(text.as_bytes().to_vec()),
        (None, Some(path)) => Some(read_file(path)?),
        (None, None) if source.empty => Some(Vec::new()),
        (None, None) if source.stdin => Some(read_input()?),
        (None, None) => None,
    };
    let connector = Connector::new(&options.server)?;
    let mut client = connector.connect()?;
    match whole {
        Some(payload) => publish(&mut client, options, &payload)?,
        None => publish_lines(&mut client, options)?,
    }
    client.disconnect()?;
    connector.tell(|| "everything is published".to_owned());
    Ok(())
}

/// Publishes one message.
fn publish(client: &mut Client, options: &Publish, payload: &[u8]) -> Result<(), Failure> {
    let mut how = PublishOptions::new(options.qos);
    how.retain = options.retain;
    client.publish_with(&options.topic, payload, how)?;
    Ok(())
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| Failure::Usage(format!("cannot read {shown}: {error}")))?;
    if bytes.len() > ConnectOptions::PACKET_BYTES_MAX as usize {
        return Err(Failure::Usage(format!("{shown} is larger than an MQTT message can be")));
    }
    Ok(bytes)
}

/// The whole of standard input, up to the largest message.
fn read_input() -> Result<Vec<u8>, Failure> {
    let (mut bytes, bytes_max) = (Vec::new(), ConnectOptions::PACKET_BYTES_MAX as usize);
    let read = io::stdin().take(bytes_max as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::Stdio(format!("cannot read standard input: {error}")))?;
    if bytes.len() > bytes_max {
        return Err(Failure::Usage("standard input is larger than an MQTT message can be".to_owned()));
    }
    Ok(bytes)
}

/// Publishes each line of standard input.
fn publish_lines(client: &mut Client, options: &Publish) -> Result<(), Failure> {
    let mut input = Input::open();
    let mut lines = Lines::default();
    while let Some(piece) = input.next(client)? {
        let piece = piece.map_err(|error| Failure::Stdio(format!("cannot read standard input: {error}")))?;
        lines.add(&piece, |line| publish(client, options, line))?;
    }
    lines.finish(|line| publish(client, options, line))
}

type Piece = io::Result<Vec<u8>>;

/// Standard input in pieces. A thread of its own reads it, because reading blocks, and the connection needs pings
/// meanwhile. On a host without threads the keep-alive has to exceed the longest silence of the input.
enum Input {
    Thread(Receiver<Piece>),
    Direct(BufReader<Stdin>),
}

impl Input {
    fn open() -> Self {
        let mut input = BufReader::with_capacity(PIECE_BYTES_MAX, io::stdin());
        if !SysHost.capabilities().threads {
            return Self::Direct(input);
        }
        let (sender, pieces) = mpsc::sync_channel(PIECES_MAX);
        thread::spawn(move || {
            while let Some(piece) = read_piece(&mut input) {
                let is_last = piece.is_err();
                if sender.send(piece).is_err() || is_last {
                    return;
                }
            }
        });
        Self::Thread(pieces)
    }

    /// The next piece, or `None` at the end. Flushes the published messages before it waits for a piece.
    fn next(&mut self, client: &mut Client) -> Result<Option<Piece>, Failure> {
        match self {
            Self::Thread(pieces) => next_of_thread(pieces, client),
            Self::Direct(input) => {
                client.flush()?;
                Ok(read_piece(input))
            }
        }
    }
}

/// Flushes, pings and notices the end of the connection while it waits for a piece.
fn next_of_thread(pieces: &Receiver<Piece>, client: &mut Client) -> Result<Option<Piece>, Failure> {
    if let Ok(piece) = pieces.try_recv() {
        return Ok(Some(piece));
    }
    client.flush()?;
    loop {
        match pieces.recv_timeout(IDLE_TICK) {
            Ok(piece) => return Ok(Some(piece)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                // There is no subscription, so this receives no message; it keeps the connection alive.
                client.recv(Duration::ZERO)?;
            }
        }
    }
}

fn read_piece(input: &mut BufReader<Stdin>) -> Option<Piece> {
    loop {
        match input.fill_buf() {
            Ok([]) => return None,
            Ok(bytes) => {
                let piece = bytes.to_vec();
                input.consume(piece.len());
                return Some(Ok(piece));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Pieces of input, cut into lines.
#[derive(Default)]
struct Lines {
    /// The beginning of an incomplete line.
    begun: Vec<u8>,
}

impl Lines {
    fn add(&mut self, mut piece: &[u8], mut line: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            if self.begun.is_empty() {
                line(&piece[..end])?;
            } else {
                self.begun.extend_from_slice(&piece[..end]);
                line(&self.begun)?;
                self.begun.clear();
            }
            piece = &piece[end + 1..];
        }
        if self.begun.len() + piece.len() > ConnectOptions::PACKET_BYTES_MAX as usize {
            return Err(Failure::Stdio("a line is longer than an MQTT message can be".to_owned()));
        }
        self.begun.extend_from_slice(piece);
        Ok(())
    }

    /// The last line may lack a line end.
    fn finish(self, mut line: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        if self.begun.is_empty() { Ok(()) } else { line(&self.begun) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in pieces {
            let added = lines.add(piece, |line| {
                found.push(line.to_vec());
                Ok(())
            });
            assert!(added.is_ok());
        }
        let finished = lines.finish(|line| {
            found.push(line.to_vec());
            Ok(())
        });
        assert!(finished.is_ok());
        found
    }

    #[test]
    fn lines_do_not_depend_on_where_the_pieces_end() {
        let text: &[u8] = b"one\n\n\xffthree\nfour";
        let expected: Vec<Vec<u8>> = vec![b"one".to_vec(), b"".to_vec(), b"\xffthree".to_vec(), b"four".to_vec()];
        for at in 0..=text.len() {
            assert_eq!(lines_of(&[&text[..at], &text[at..]]), expected, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(lines_of(&bytes), expected);
        assert_eq!(lines_of(&[b"a\n"]), [b"a".to_vec()]);
        assert!(lines_of(&[]).is_empty());
    }
}
