//! What the workers of one broker share besides the engine's core: the table of connections and each other's mailboxes.

use std::sync::Arc;
use std::time::Instant;

use wisp_engine::sync::{AtomicBool, AtomicU64, Mutex, Ordering, RwLock};
use wisp_engine::{ConnectionId, EndReason, Shared as Engine};
use wisp_net::{Host, Poller, Registrar};

use crate::output::Connection;
use crate::peer::Peer;

/// The registrar of a host's poller.
pub(crate) type RegistrarOf<H> = <<H as Host>::Poller as Poller>::Registrar;

/// Shared by all workers.
pub(crate) struct Shared<H: Host> {
    pub(crate) host: H,
    pub(crate) core: Arc<Engine>,
    pub(crate) connections: Connections<H::Stream>,
    pub(crate) posts: Vec<Post<H>>,
    started: Instant,
    stopping: AtomicBool,
}

/// How others reach a worker.
pub(crate) struct Post<H: Host> {
    pub(crate) registrar: RegistrarOf<H>,
    letters: Mutex<Vec<Letter<H::Stream>>>,
}

/// What one worker tells another.
pub(crate) enum Letter<S> {
    /// This connection is yours. Its socket is registered with your poller.
    Adopt(Box<Peer<S>>),
    /// Close this connection.
    End(ConnectionId, EndReason),
}

impl<H: Host> Shared<H> {
    pub(crate) fn new(host: H, core: Engine, registrars: Vec<RegistrarOf<H>>) -> Self {
        let posts = registrars.into_iter().map(|registrar| Post { registrar, letters: Mutex::default() });
        Self {
            host,
            core: Arc::new(core),
            connections: Connections::default(),
            posts: posts.collect(),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Milliseconds since the start.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Tells every worker to close its connections and end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for post in &self.posts {
            post.registrar.wake();
        }
    }
}

impl<H: Host> Post<H> {
    /// Leaves a letter. Where the host cannot wake the worker it is read at the worker's next turn.
    pub(crate) fn send(&self, letter: Letter<H::Stream>) {
        self.letters.lock().push(letter);
        self.registrar.wake();
    }

    /// Leaves the letter that `make` gives while the mailbox is held, so that the worker cannot look for it in vain if
    /// the making is what alerts it.
    pub(crate) fn send_with<E>(&self, make: impl FnOnce() -> Result<Letter<H::Stream>, E>) -> Result<(), E> {
        let mut letters = self.letters.lock();
        letters.push(make()?);
        Ok(())
    }

    /// All letters, in order.
    pub(crate) fn take(&self) -> Vec<Letter<H::Stream>> {
        std::mem::take(&mut self.letters.lock())
    }
}

/// All connections by their identity.
#[derive(Debug)]
pub(crate) struct Connections<S> {
    table: RwLock<Table<S>>,
    count: AtomicU64,
}

#[derive(Debug)]
struct Table<S> {
    entries: Vec<Entry<S>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry<S> {
    generation: u32,
    connection: Option<Arc<Connection<S>>>,
}

impl<S> Default for Connections<S> {
    fn default() -> Self {
        let table = Table { entries: Vec::new(), free: Vec::new() };
        Self { table: RwLock::new(table), count: AtomicU64::new(0) }
    }
}

impl<S> Connections<S> {
    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// A fresh identity, for a connection that is inserted or removed afterwards.
    pub(crate) fn reserve(&self) -> ConnectionId {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut table = self.table.write();
        let slot = table.free.pop().unwrap_or_else(|| {
            table.entries.push(Entry { generation: 0, connection: None });
            (table.entries.len() - 1) as u32
        });
        let entry = &mut table.entries[slot as usize];
        // Zero is the listeners'.
        entry.generation = entry.generation.wrapping_add(1).max(1);
        ConnectionId { slot, generation: entry.generation }
    }

    /// Makes a connection known under its identity.
    pub(crate) fn insert(&self, connection: Arc<Connection<S>>) {
        let slot = connection.id.slot as usize;
        self.table.write().entries[slot].connection = Some(connection);
    }

    /// The connection, unless it is closed.
    pub(crate) fn get(&self, id: ConnectionId) -> Option<Arc<Connection<S>>> {
        let table = self.table.read();
        let entry = table.entries.get(id.slot as usize)?;
        entry.connection.as_ref().filter(|_| entry.generation == id.generation).cloned()
    }

    /// Forgets a connection. Its slot is used again, its identity is not.
    pub(crate) fn remove(&self, id: ConnectionId) {
        let mut table = self.table.write();
        let entry = &mut table.entries[id.slot as usize];
        debug_assert_eq!(entry.generation, id.generation, "a connection is removed once, by its owner");
        entry.connection = None;
        table.free.push(id.slot);
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
