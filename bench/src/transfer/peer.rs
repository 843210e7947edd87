//! The other end of a transfer. It is native and makes few, large calls, so that it is not the limit.
//!
//! Every message is numbered, and the program sends back the last one over and over. The returned bytes therefore show
//! whether it received every byte in its place.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use wisp_compute::random::Random;
use wisp_lab::failure::{Failure, Interrupt};

/// About how much one call carries.
const BLOCK_BYTES: usize = 1 << 20;
/// How long a call may wait before it is looked whether the run was interrupted.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long nothing may move.
const STANDSTILL_MAX: Duration = Duration::from_secs(30);

/// The transfer in each direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Load {
    /// How many messages.
    pub(super) messages: u64,
    /// How long each of them is.
    pub(super) size_bytes: usize,
}

/// Sends the messages over a connection, and checks the returned bytes.
///
/// # Errors
/// The difference, or that nothing came back; or if interrupted.
pub(super) fn transfer(mut stream: TcpStream, load: Load, interrupt: &Interrupt) -> Result<(), Failure> {
    let broken = |error: io::Error| Failure::Broken(format!("the connection broke: {error}"));
    stream.set_read_timeout(Some(LOOK_EVERY)).map_err(broken)?;
    stream.set_write_timeout(Some(LOOK_EVERY)).map_err(broken)?;
    let mut block = Block::new(load.size_bytes);
    let mut numbered = 0;
    while numbered < load.messages {
        let bytes = block.number(numbered, load.messages);
        let mut sent = 0;
        while sent < bytes.len() {
            sent += patiently(interrupt, || stream.write(&bytes[sent..]))?;
        }
        numbered += (bytes.len() / load.size_bytes) as u64;
    }
    let total = load.messages * load.size_bytes as u64;
    let expected = block.last().repeat(BLOCK_BYTES / load.size_bytes + 2);
    let mut buffer = vec![0; BLOCK_BYTES];
    let mut received = 0;
    while received < total {
        // At most a block is wanted.
        let wanted = (total - received).min(BLOCK_BYTES as u64) as usize;
        let len = patiently(interrupt, || stream.read(&mut buffer[..wanted]))?;
        let from = (received % load.size_bytes as u64) as usize;
        if buffer[..len] != expected[from..from + len] {
            let message = received / load.size_bytes as u64;
            return Err(Failure::Broken(format!(
                "what came back is not the last message: message {message} or one soon after is another"
            )));
        }
        received += len as u64;
    }
    Ok(())
}

/// Connects to a program that may just be starting, unless it `has_ended`.
///
/// # Errors
/// When it does not listen by the deadline, or when interrupted.
pub(super) fn connect(
    address: SocketAddr,
    deadline: Instant,
    interrupt: &Interrupt,
    has_ended: &mut dyn FnMut() -> bool,
) -> Result<TcpStream, Failure> {
    loop {
        interrupt.check()?;
        match TcpStream::connect_timeout(&address, LOOK_EVERY) {
            Ok(stream) => return Ok(stream),
            Err(error) if has_ended() || Instant::now() >= deadline => {
                return Err(Failure::Broken(format!("nobody takes a connection: {error}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Messages one after the other, about a block of them.
struct Block {
    bytes: Vec<u8>,
    size: usize,
    /// Bytes of the last message that was numbered.
    last: std::ops::Range<usize>,
}

impl Block {
    fn new(size: usize) -> Self {
        let mut random = Random::default();
        let message: Vec<u8> = std::iter::repeat_with(|| random.next_number() as u8).take(size).collect();
        Self { bytes: message.repeat((BLOCK_BYTES / size).max(1)), size, last: 0..size }
    }

    /// Numbers the next messages, as many as the block holds or are left of all.
    fn number(&mut self, first: u64, all: u64) -> &[u8] {
        let mut end = 0;
        for (number, message) in (first..all).zip(self.bytes.chunks_exact_mut(self.size)) {
            let number = number.to_le_bytes();
            let len = number.len().min(message.len());
            message[..len].copy_from_slice(&number[..len]);
            end += self.size;
        }
        self.last = end - self.size..end;
        &self.bytes[..end]
    }

    fn last(&self) -> &[u8] {
        &self.bytes[self.last.clone()]
    }
}

/// Tries until bytes move.
fn patiently(interrupt: &Interrupt, mut attempt: impl FnMut() -> io::Result<usize>) -> Result<usize, Failure> {
    let since = Instant::now();
    loop {
        match attempt() {
            Ok(0) => return Err(Failure::Broken("it closed the connection before all was transferred".to_owned())),
            Ok(len) => return Ok(len),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
            {
                interrupt.check()?;
                if since.elapsed() >= STANDSTILL_MAX {
                    return Err(Failure::Broken(format!("nothing moved for {STANDSTILL_MAX:?}")));
                }
            }
            Err(error) => return Err(Failure::Broken(format!("the connection broke: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::num::{NonZeroU64, NonZeroUsize};
    use std::thread;

    use wisp_net::{Host, Listener, SysHost};
    use wisp_transfer::{Buffer, Report, Settings, serve};

    use super::*;

    fn local() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    fn bytes(count: usize) -> Buffer {
        Buffer::Bytes(NonZeroUsize::new(count).unwrap())
    }

    #[test]
    fn the_program_passes_with_every_buffer() {
        for (messages, size_bytes) in [(1, 1), (3000, 1), (2000, 1024), (7, 300_000), (3, 2_000_000)] {
            for buffer in [Buffer::Message, bytes(1), bytes(256 * 1024)] {
                if buffer == bytes(1) && messages * size_bytes as u64 > 100_000 {
                    continue;
                }
                let listener = SysHost.listen(local()).unwrap();
                let address = listener.local_addr().unwrap();
                let (count, size) = (NonZeroU64::new(messages).unwrap(), NonZeroUsize::new(size_bytes).unwrap());
                let settings = Settings { messages: count, size_bytes: size, buffer };
                let program = thread::spawn(move || serve(&SysHost, listener, &settings));
                let deadline = Instant::now() + Duration::from_secs(60);
                let stream = connect(address, deadline, &Interrupt::default(), &mut || false).unwrap();
                let load = Load { messages, size_bytes };
                assert_eq!(transfer(stream, load, &Interrupt::default()), Ok(()), "{load:?} {buffer:?}");
                let Report { receive, send } = program.join().unwrap().unwrap();
                if buffer == Buffer::Message {
                    assert!(receive.calls >= messages && send.calls > messages, "{receive:?} {send:?}");
                }
            }
        }
    }

    /// The peer's verdict on a program that receives all messages and answers with `answer`.
    fn verdict(load: Load, answer: impl FnOnce(Vec<u8>) -> Vec<u8> + Send + 'static) -> Result<(), Failure> {
        let listener = TcpListener::bind(local()).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let program = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = vec![0; load.messages as usize * load.size_bytes];
            stream.read_exact(&mut all).unwrap();
            let last = all.split_off(all.len() - load.size_bytes);
            // The peer may have seen enough.
            drop(stream.write_all(&answer(last.repeat(load.messages as usize))));
        });
        let verdict = transfer(stream, load, &Interrupt::default());
        program.join().unwrap();
        verdict
    }

    #[test]
    fn a_program_that_changes_anything_is_found_out() {
        let load = Load { messages: 50, size_bytes: 100 };
        assert_eq!(verdict(load, |right| right), Ok(()));
        let named = |verdict: Result<(), Failure>, what: &str| {
            assert!(matches!(&verdict, Err(Failure::Broken(said)) if said.contains(what)), "{verdict:?}");
        };
        for place in [0, 99, 100, 4999] {
            let changed = move |mut right: Vec<u8>| {
                right[place] ^= 1;
                right
            };
            named(verdict(load, changed), "not the last message");
        }
        named(verdict(load, |right| right[1..].to_vec()), "not the last message");
        named(verdict(load, |right| right[..4999].to_vec()), "closed the connection");
    }

    #[test]
    fn a_message_other_than_the_last_is_another() {
        let mut block = Block::new(16);
        let first = block.number(0, 3).to_vec();
        assert_eq!(first.len(), 48);
        let messages: Vec<_> = first.chunks(16).collect();
        assert!(messages[0] != messages[1] && messages[1] != messages[2]);
        assert_eq!(block.last(), messages[2]);
    }

    #[test]
    fn whoever_ends_or_interrupts_is_not_waited_for() {
        let closed = TcpListener::bind(local()).unwrap().local_addr().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let nobody = connect(closed, deadline, &Interrupt::default(), &mut || true);
        assert!(matches!(nobody, Err(Failure::Broken(what)) if what.contains("nobody")));
    }
}
