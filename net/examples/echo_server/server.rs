//! A minimal server over the `Host` traits. As an echo it sends received bytes back, and stops reading
//! while they do not fit. As a relay it sends them to the other stream of a pair, which another worker
//! may own. It never retries on a timer, so an event that a host loses shows as a stalled connection.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wisp_net::{Event, Host, Listener, Poller, Registrar, Stream, Token};

const LISTENER: Token = Token(0);
/// Even, so that pairs differ in the last bit.
const FIRST_TOKEN: u64 = 2;
/// Reads of one connection before the next connection is served.
const READS_PER_TURN_MAX: usize = 8;
/// How often an idle worker checks whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// Where a server sends the bytes it receives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Back to their sender.
    Echo,
    /// To the other connection of a pair: the first and the second are one pair, the third and the
    /// fourth the next.
    Relay,
}

/// Counters of a server, for its test, and the request to stop.
#[derive(Default)]
pub(crate) struct Status {
    pub(crate) accepted: AtomicUsize,
    pub(crate) open: AtomicUsize,
    /// How often a worker returned from a wait. A spinning server shows here.
    pub(crate) waits: AtomicUsize,
    pub(crate) stop: AtomicBool,
}

/// The state that all workers share.
struct Shared<H: Host> {
    mode: Mode,
    handles: Vec<WorkerHandle<H>>,
    status: Arc<Status>,
    /// Called after a connection was opened or closed.
    report: fn(&Status),
}

/// The part of a worker that other workers use, to hand it connections.
struct WorkerHandle<H: Host> {
    registrar: <H::Poller as Poller>::Registrar,
    connections: Mutex<HashMap<Token, Arc<Connection<H::Stream>>>>,
}

/// Serves until the status says stop. The first of the `workers` workers accepts connections and
/// distributes them.
pub(crate) fn serve<H: Host>(
    host: &H,
    mut listener: H::Listener,
    (mode, workers): (Mode, usize),
    status: &Arc<Status>,
    report: fn(&Status),
) -> io::Result<()> {
    let pollers: Vec<H::Poller> = (0..workers).map(|_| host.poller()).collect::<Result<_, _>>()?;
    let handle = |poller: &H::Poller| WorkerHandle { registrar: poller.registrar(), connections: Mutex::default() };
    let handles: Vec<WorkerHandle<H>> = pollers.iter().map(handle).collect();
    let shared: Arc<Shared<H>> = Arc::new(Shared { mode, handles, status: Arc::clone(status), report });
    shared.handles[0].registrar.add_listener(&mut listener, LISTENER)?;
    let mut acceptor = Some(Acceptor { listener, token_next: FIRST_TOKEN });
    let mut workers = pollers.into_iter().map(|poller| Worker::<H> {
        poller,
        shared: Arc::clone(&shared),
        acceptor: acceptor.take(),
        scratch: vec![0; host.capabilities().recv_bytes],
    });
    let first = workers.next().ok_or(io::ErrorKind::InvalidInput)?;
    let threads: Vec<_> = workers.map(|worker| std::thread::spawn(|| worker.run())).collect();
    first.run()?;
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a worker panicked"))??;
    }
    Ok(())
}

impl<H: Host> Shared<H> {
    fn owner(&self, token: Token) -> &WorkerHandle<H> {
        &self.handles[usize::try_from(token.0).unwrap_or(0) % self.handles.len()]
    }

    fn find(&self, token: Token) -> Option<Arc<Connection<H::Stream>>> {
        lock(&self.owner(token).connections).get(&token).cloned()
    }

    fn add(&self, token: Token, mut stream: H::Stream) -> io::Result<()> {
        stream.set_nodelay()?;
        let owner = self.owner(token);
        // The owner looks the token up under this lock, so its first event finds the connection.
        let mut connections = lock(&owner.connections);
        owner.registrar.add(&mut stream, token)?;
        let connection = Connection { stream, unsent: Mutex::default(), ended: AtomicBool::default() };
        connections.insert(token, Arc::new(connection));
        drop(connections);
        self.status.open.fetch_add(1, Ordering::SeqCst);
        self.status.accepted.fetch_add(1, Ordering::SeqCst);
        (self.report)(&self.status);
        Ok(())
    }

    fn remove(&self, token: Token, connection: Arc<Connection<H::Stream>>) -> io::Result<()> {
        let owner = self.owner(token);
        owner.registrar.remove(&connection.stream)?;
        lock(&owner.connections).remove(&token);
        drop(connection);
        self.status.open.fetch_sub(1, Ordering::SeqCst);
        (self.report)(&self.status);
        Ok(())
    }
}

struct Acceptor<L> {
    listener: L,
    token_next: u64,
}

impl<L: Listener> Acceptor<L> {
    fn accept_all<H: Host<Stream = L::Stream>>(&mut self, shared: &Shared<H>) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => shared.add(Token(self.token_next), stream)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    eprintln!("a connection could not be accepted: {error}");
                    continue;
                }
            }
            self.token_next += 1;
        }
    }
}

struct Worker<H: Host> {
    poller: H::Poller,
    shared: Arc<Shared<H>>,
    acceptor: Option<Acceptor<H::Listener>>,
    scratch: Vec<u8>,
}

impl<H: Host> Worker<H> {
    fn run(mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::new();
        // Connections with unread bytes that no event will announce.
        let mut unfinished: Vec<Token> = Vec::new();
        while !self.shared.status.stop.load(Ordering::Relaxed) {
            let timeout = if unfinished.is_empty() { STOP_CHECK } else { Duration::ZERO };
            self.poller.wait(&mut events, Some(timeout))?;
            self.shared.status.waits.fetch_add(1, Ordering::Relaxed);
            let mut todo = std::mem::take(&mut unfinished);
            todo.extend(events.iter().map(|event| event.token));
            for token in todo {
                if token == LISTENER {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.accept_all(&self.shared)?;
                    }
                } else if let After::Again = self.serve(token)? {
                    unfinished.push(token);
                }
            }
        }
        Ok(())
    }

    fn serve(&mut self, token: Token) -> io::Result<After> {
        let Some(connection) = self.shared.find(token) else {
            return Ok(After::Wait);
        };
        let other = match self.shared.mode {
            Mode::Echo => None,
            Mode::Relay => self.shared.find(Token(token.0 ^ 1)),
        };
        // A connection without a partner is echoed.
        let after = connection.serve(other.as_ref().unwrap_or(&connection), &mut self.scratch);
        if let After::Close = after {
            self.shared.remove(token, connection)?;
        }
        Ok(after)
    }
}

enum After {
    /// Both directions are armed.
    Wait,
    /// There may be more to read.
    Again,
    Close,
}

struct Connection<S> {
    stream: S,
    unsent: Mutex<Vec<u8>>,
    /// The peer sends no more bytes; unsent bytes still have to go out.
    ended: AtomicBool,
}

impl<S: Stream> Connection<S> {
    /// Handles an event: sends unsent bytes, then reads and passes the bytes on to `to`.
    fn serve(&self, to: &Connection<S>, scratch: &mut [u8]) -> After {
        for _ in 0..READS_PER_TURN_MAX {
            match self.send(&[]) {
                Ok(sent_all) if sent_all || !std::ptr::eq(self, to) => {}
                // The echo reads again at the next writable event.
                Ok(_) => return After::Wait,
                Err(_) => return After::Close,
            }
            if self.ended.load(Ordering::Relaxed) {
                // The close that follows would suffice; this covers `shutdown`.
                return self.stream.shutdown(Shutdown::Write).map_or(After::Close, |()| After::Close);
            }
            let len = match self.stream.recv(scratch) {
                Ok(0) => {
                    self.ended.store(true, Ordering::Relaxed);
                    continue;
                }
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return After::Wait,
                Err(_) => return After::Close,
            };
            if to.send(&scratch[..len]).is_err() {
                return After::Close;
            }
            if len < scratch.len() {
                // After a short read an event announces the next bytes.
                return After::Wait;
            }
        }
        After::Again
    }

    /// Sends the unsent bytes and then `bytes`. True if all of it went; the rest goes at the owner's
    /// next writable event.
    fn send(&self, bytes: &[u8]) -> io::Result<bool> {
        let mut unsent = lock(&self.unsent);
        unsent.extend_from_slice(bytes);
        while !unsent.is_empty() {
            match self.stream.send(&unsent) {
                Ok(len) => {
                    let all = len == unsent.len();
                    unsent.drain(..len);
                    if !all {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
