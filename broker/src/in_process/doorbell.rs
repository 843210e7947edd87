//! How a program's thread tells a worker that a client has something for it.

use wisp_engine::sync::{AtomicU32, AtomicUsize, Mutex, Ordering, rank};
use wisp_net::Event;

use crate::quota::{Place, Quota};

/// Tells a worker about a client, and the client about the broker.
pub(crate) trait Bell: Send + Sync {
    /// Adds an event for the worker, and wakes it if it waits.
    fn ring(&self, worker: usize, event: Event);

    /// Whether the broker stops.
    fn is_stopping(&self) -> bool;
}

/// The state of a broker's clients in the process that does not belong to one of them.
pub(crate) struct InProcess {
    /// Of each worker.
    pub(crate) doorbells: Box<[Doorbell]>,
    clients: Quota,
    next_worker: AtomicUsize,
}

/// The events for one worker that its poller does not know of.
pub(crate) struct Doorbell {
    state: AtomicU32,
    /// At most two for each client: one that it has packets, and one that it has room.
    events: Mutex<Vec<Event>, { rank::LEAF }>,
}

/// The worker turns, and will look for events before it waits.
const TURNS: u32 = 0;
/// The worker waits, or is about to.
const WAITS: u32 = 1;
/// There are events.
const RUNG: u32 = 2;

impl InProcess {
    pub(crate) fn new(workers: usize) -> Self {
        let doorbells = (0..workers).map(|_| Doorbell::default()).collect();
        Self { doorbells, clients: Quota::default(), next_worker: AtomicUsize::new(0) }
    }

    /// The worker for a new client, and its place among the clients.
    pub(super) fn next(&self) -> (usize, Place) {
        let worker = self.next_worker.fetch_add(1, Ordering::Relaxed) % self.doorbells.len();
        (worker, self.clients.take().expect("any number of clients"))
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Self { state: AtomicU32::new(TURNS), events: Mutex::default() }
    }
}

impl Doorbell {
    /// The worker is about to wait. False if there are events, so it must not.
    pub(crate) fn begin_wait(&self) -> bool {
        self.state.compare_exchange(TURNS, WAITS, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The worker has waited: adds the events since the last time to `events`.
    pub(crate) fn end_wait(&self, events: &mut Vec<Event>) {
        self.state.swap(TURNS, Ordering::AcqRel);
        events.append(&mut self.events.lock());
    }

    /// Adds an event. True if the worker has to be woken.
    pub(super) fn ring(&self, event: Event) -> bool {
        self.events.lock().push(event);
        self.state.swap(RUNG, Ordering::AcqRel) == WAITS
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use wisp_net::Token;

    use super::*;

    fn event(number: u64) -> Event {
        Event { token: Token(number), readable: true, writable: false }
    }

    #[test]
    fn only_the_first_ring_wakes_a_worker_and_none_is_lost() {
        let (bell, mut events) = (Doorbell::default(), Vec::new());
        assert!(!bell.ring(event(1)), "it turns");
        assert!(!bell.begin_wait(), "it must not wait");
        bell.end_wait(&mut events);
        assert!(events.len() == 1 && bell.begin_wait());
        assert!(bell.ring(event(2)) && !bell.ring(event(3)), "one wake-up for both");
        bell.end_wait(&mut events);
        assert_eq!(events.iter().map(|event| event.token.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(bell.begin_wait());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use loom::thread;
    use wisp_net::Token;

    use super::*;

    #[test]
    fn loom_a_worker_does_not_sleep_through_a_ring() {
        loom::model(|| {
            let bell = Arc::new(Doorbell::default());
            let rings: Vec<_> = (0..2)
                .map(|number| {
                    let bell = Arc::clone(&bell);
                    let event = Event { token: Token(number), readable: true, writable: false };
                    thread::spawn(move || bell.ring(event))
                })
                .collect();
            let mut events = Vec::new();
            let waits = bell.begin_wait();
            let woken = rings.into_iter().map(|ring| ring.join().unwrap()).filter(|woken| *woken).count();
            assert_eq!(woken, usize::from(waits), "a worker that waits is woken once, another one is not");
            bell.end_wait(&mut events);
            assert_eq!(events.len(), 2);
        });
    }
}
