//! The system's sockets for connecting: no wait of theirs goes on once nobody wants its result, so that a broker that is silent
//! holds up neither an interrupt nor the end of a run's time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use wisp_net::{Capabilities, Event, Host, Poller, SysHost, SysListener, SysPoller, SysRegistrar, SysStream};

/// How long a wait lasts before it is looked whether it is still wanted.
const SLICE: Duration = Duration::from_millis(100);
/// How often it is looked whether work is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs blocking work on a thread of its own and polls meanwhile for a reason to stop. Returns the result of the work,
/// or the reason once the work has ended: its waits fail from then on.
///
/// # Errors
/// When the system lets no thread be started.
pub(crate) fn unless<T: Send, R>(
    why_not: impl Fn() -> Option<R>,
    work: impl FnOnce(&InterruptibleHost) -> T + Send,
) -> io::Result<Result<T, R>> {
    let host = &InterruptibleHost::default();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, move || tell.send(work(host)))?;
        let mut given_up = None;
        loop {
            given_up = given_up.or_else(&why_not);
            if given_up.is_some() {
                host.give_up();
            }
            match told.recv_timeout(LOOK_EVERY) {
                Ok(done) => return Ok(given_up.or_else(&why_not).map_or(Ok(done), Err)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("work ends with a word, or with a panic"),
            }
        }
    })
}

/// Why work that waits for a broker gave nothing.
#[derive(thiserror::Error, Debug)]
pub enum Stopped {
    /// The caller's watch asked for the end.
    #[error("interrupted")]
    Interrupted,
    /// The system lets no thread be started.
    #[error("the system lets no thread be started: {0}")]
    Thread(#[source] io::Error),
}

/// Does work that waits for a broker, unless there is an interrupt.
///
/// # Errors
/// If there is one, or the system lets no thread be started.
pub(crate) fn unless_interrupted<T: Send>(
    is_interrupted: impl Fn() -> bool,
    work: impl FnOnce(&InterruptibleHost) -> T + Send,
) -> Result<T, Stopped> {
    unless(|| is_interrupted().then_some(Stopped::Interrupted), work).map_err(Stopped::Thread)?
}

/// The system, until it is given up on.
#[derive(Clone, Default, Debug)]
pub(crate) struct InterruptibleHost {
    is_given_up: Arc<AtomicBool>,
}

/// Its pollers.
#[derive(Debug)]
pub(crate) struct InterruptiblePoller {
    inner: SysPoller,
    is_given_up: Arc<AtomicBool>,
}

impl InterruptibleHost {
    /// Makes every wait fail, including those under way.
    pub(crate) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }
}

impl Host for InterruptibleHost {
    type Listener = SysListener;
    type Stream = SysStream;
    type Poller = InterruptiblePoller;

    fn capabilities(&self) -> Capabilities {
        SysHost.capabilities()
    }

    fn listen(&self, addr: SocketAddr) -> io::Result<SysListener> {
        SysHost.listen(addr)
    }

    fn connect(&self, addr: SocketAddr) -> io::Result<SysStream> {
        SysHost.connect(addr)
    }

    fn poller(&self) -> io::Result<InterruptiblePoller> {
        Ok(InterruptiblePoller { inner: SysHost.poller()?, is_given_up: Arc::clone(&self.is_given_up) })
    }
}

impl Poller for InterruptiblePoller {
    type Listener = SysListener;
    type Stream = SysStream;
    type Registrar = SysRegistrar;

    fn registrar(&self) -> SysRegistrar {
        self.inner.registrar()
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        if self.is_given_up.load(Ordering::Relaxed) {
            return Err(io::Error::other("it is not waited for any more"));
        }
        // Every caller waits again if nothing came and its time is not over.
        self.inner.wait(events, Some(timeout.unwrap_or(SLICE).min(SLICE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Instant;
    use wisp_client::{Client, ConnectOptions, ProtocolVersion};

    #[test]
    fn a_broker_that_is_silent_is_waited_for_until_it_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (host, begun) = (InterruptibleHost::default(), Instant::now());
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(3 * SLICE);
                host.give_up();
            });
            let mut options = ConnectOptions::new(ProtocolVersion::Mqtt311);
            options.connect_timeout = Duration::from_secs(3600);
            assert!(Client::connect_on(&host, silent.local_addr().unwrap(), options).is_err());
        });
        assert!(begun.elapsed() >= 3 * SLICE, "several slices were waited for");
    }
}
