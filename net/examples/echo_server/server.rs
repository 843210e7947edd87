//! An echo server against the `Host` traits, as plain as the contract allows: what a stream gives is
//! sent back, and while that does not fit nothing more is read. It never retries on a timer, so an
//! event that a host loses shows as a connection that stands still.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wisp_net::{Event, Host, Listener, Poller, Registrar, Stream, Token};

const LISTENER: Token = Token(0);
/// Reads of one connection before the others have their turn.
const READS_PER_TURN_MAX: usize = 8;
/// How often a worker with nothing to do looks whether it shall stop.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// What a server has done, for whoever watches it.
#[derive(Default)]
pub(crate) struct Status {
    pub(crate) accepted: AtomicUsize,
    pub(crate) open: AtomicUsize,
    /// How often a worker came out of a wait: a server that spins shows here.
    pub(crate) waits: AtomicUsize,
    pub(crate) stop: AtomicBool,
}

/// Serves until the status says stop, with `workers` workers of which the first accepts and deals
/// the connections out. `report` is called when a connection was opened or closed.
pub(crate) fn serve<H: Host>(
    host: &H,
    mut listener: H::Listener,
    workers: usize,
    status: &Arc<Status>,
    report: fn(&Status),
) -> io::Result<()> {
    let first = Worker::new(host, status, report)?;
    let mut others = Vec::new();
    for _ in 1..workers {
        others.push(Worker::new(host, status, report)?);
    }
    let desks: Vec<Arc<Desk<H>>> =
        std::iter::once(&first).chain(&others).map(|worker| Arc::clone(&worker.desk)).collect();
    first.desk.registrar.add_listener(&mut listener, LISTENER)?;
    let threads: Vec<_> = others.into_iter().map(|worker| std::thread::spawn(move || worker.run(None))).collect();
    first.run(Some(Acceptor { listener, desks, token_next: LISTENER.0 + 1 }))?;
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a worker panicked"))??;
    }
    Ok(())
}

/// What others may reach of a worker: they put connections onto its desk.
struct Desk<H: Host> {
    registrar: <H::Poller as Poller>::Registrar,
    connections: Mutex<HashMap<Token, Connection<H::Stream>>>,
}

impl<H: Host> Desk<H> {
    fn connections(&self) -> MutexGuard<'_, HashMap<Token, Connection<H::Stream>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Acceptor<H: Host> {
    listener: H::Listener,
    desks: Vec<Arc<Desk<H>>>,
    token_next: u64,
}

impl<H: Host> Acceptor<H> {
    fn accept_all(&mut self, status: &Status, report: fn(&Status)) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    eprintln!("a connection could not be accepted: {error}");
                    continue;
                }
            };
            stream.set_nodelay()?;
            let token = Token(self.token_next);
            self.token_next += 1;
            let desk = &self.desks[usize::try_from(token.0).unwrap_or(0) % self.desks.len()];
            // Under the lock by which the owner looks the token up, so that the first event finds it.
            let mut connections = desk.connections();
            desk.registrar.add(&mut stream, token)?;
            connections.insert(token, Connection { stream, unsent: Vec::new(), ended: false });
            drop(connections);
            status.accepted.fetch_add(1, Ordering::Relaxed);
            status.open.fetch_add(1, Ordering::Relaxed);
            report(status);
        }
    }
}

struct Worker<H: Host> {
    poller: H::Poller,
    desk: Arc<Desk<H>>,
    scratch: Vec<u8>,
    status: Arc<Status>,
    report: fn(&Status),
}

impl<H: Host> Worker<H> {
    fn new(host: &H, status: &Arc<Status>, report: fn(&Status)) -> io::Result<Worker<H>> {
        let poller = host.poller()?;
        let desk = Desk { registrar: poller.registrar(), connections: Mutex::default() };
        let scratch = vec![0; host.capabilities().recv_bytes];
        Ok(Worker { poller, desk: Arc::new(desk), scratch, status: Arc::clone(status), report })
    }

    fn run(mut self, mut acceptor: Option<Acceptor<H>>) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::new();
        // Connections that were left although more may be there: no event is owed for them.
        let mut unfinished: Vec<Token> = Vec::new();
        while !self.status.stop.load(Ordering::Relaxed) {
            let timeout = if unfinished.is_empty() { STOP_CHECK } else { Duration::ZERO };
            self.poller.wait(&mut events, Some(timeout))?;
            self.status.waits.fetch_add(1, Ordering::Relaxed);
            let mut todo = std::mem::take(&mut unfinished);
            todo.extend(events.iter().map(|event| event.token));
            for token in todo {
                if token == LISTENER {
                    if let Some(acceptor) = &mut acceptor {
                        acceptor.accept_all(&self.status, self.report)?;
                    }
                } else if let After::GoOn = self.turn(token)? {
                    unfinished.push(token);
                }
            }
        }
        Ok(())
    }

    fn turn(&mut self, token: Token) -> io::Result<After> {
        let mut connections = self.desk.connections();
        let Some(connection) = connections.get_mut(&token) else {
            return Ok(After::Wait);
        };
        let after = connection.turn(&mut self.scratch);
        if let After::Close = after {
            self.desk.registrar.remove(&connection.stream)?;
            connections.remove(&token);
            drop(connections);
            self.status.open.fetch_sub(1, Ordering::Relaxed);
            (self.report)(&self.status);
        }
        Ok(after)
    }
}

enum After {
    /// Both directions that matter are armed.
    Wait,
    /// There may be more to do.
    GoOn,
    Close,
}

struct Connection<S> {
    stream: S,
    unsent: Vec<u8>,
    /// The peer sends no more; what is unsent is still owed.
    ended: bool,
}

impl<S: Stream> Connection<S> {
    fn turn(&mut self, scratch: &mut [u8]) -> After {
        for _ in 0..READS_PER_TURN_MAX {
            if let Err(after) = self.flush() {
                return after;
            }
            if self.ended {
                // Tells the peer although the close that follows would, to have it covered.
                return self.stream.shutdown(Shutdown::Write).map_or(After::Close, |()| After::Close);
            }
            let len = match self.stream.recv(scratch) {
                Ok(0) => {
                    self.ended = true;
                    continue;
                }
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return After::Wait,
                Err(_) => return After::Close,
            };
            self.unsent.extend_from_slice(&scratch[..len]);
            if len < scratch.len() {
                // The read was short, so an event announces the next bytes.
                return self.flush().map_or_else(|after| after, |()| After::Wait);
            }
        }
        After::GoOn
    }

    /// Sends what is owed; if that does not fit, says what comes after.
    fn flush(&mut self) -> Result<(), After> {
        while !self.unsent.is_empty() {
            match self.stream.send(&self.unsent) {
                Ok(len) => {
                    let all = len == self.unsent.len();
                    self.unsent.drain(..len);
                    if !all {
                        return Err(After::Wait);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(After::Wait),
                Err(_) => return Err(After::Close),
            }
        }
        Ok(())
    }
}
