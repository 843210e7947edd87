//! How long sessions outlive their connections, and wills their clients: what is due when (MQTT 5 sections 3.1.2.11.2 and
//! 3.1.3.2.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bundles::Indexed;
use crate::session::Session;
use crate::sync::{AtomicUsize, Mutex, Ordering};
use crate::will::Will;

/// The end of a session that is foreseen.
#[derive(Debug)]
pub(crate) struct Lifetime {
    /// Seconds the session outlives its connection; [`FOREVER_S`] for ever.
    pub(crate) expiry_s: u32,
    /// To be published unless the client says goodbye or comes back in time.
    pub(crate) will: Option<Box<Will>>,
    will_at_ms: u64,
    ends_at_ms: u64,
    /// Under which time the session is in the calendar.
    filed_ms: u64,
}

/// A time that does not come.
const NEVER: u64 = u64::MAX;

impl Default for Lifetime {
    fn default() -> Self {
        Self { expiry_s: 0, will: None, will_at_ms: NEVER, ends_at_ms: NEVER, filed_ms: NEVER }
    }
}

/// A session expiry interval that never passes.
pub(crate) const FOREVER_S: u32 = u32::MAX;

/// What is due of a session.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) will: Option<Box<Will>>,
    pub(crate) ended: bool,
}

impl Lifetime {
    /// The client has connected: nothing is due until it leaves. The will of an earlier connection that was still to come
    /// is cancelled [MQTT-3.1.3-9].
    pub(crate) fn begin(&mut self, calendar: &Calendar, session: &Session, expiry_s: u32, will: Option<Box<Will>>) {
        self.unfile(calendar, session);
        (self.will_at_ms, self.ends_at_ms) = (NEVER, NEVER);
        (self.expiry_s, self.will) = (expiry_s, will);
    }

    /// The client has left. What is to happen later is put into the calendar; what is to happen now is returned.
    pub(crate) fn leave(&mut self, calendar: &Calendar, session: &Arc<Session>, now_ms: u64) -> Due {
        let after = |seconds: u32| now_ms + u64::from(seconds) * 1000;
        self.will_at_ms = self.will.as_ref().map_or(NEVER, |will| after(will.delay_s().min(self.expiry_s)));
        self.ends_at_ms = if self.expiry_s == FOREVER_S { NEVER } else { after(self.expiry_s) };
        self.review(calendar, session, now_ms)
    }

    /// What is due at `now_ms`. The rest is put into the calendar.
    pub(crate) fn review(&mut self, calendar: &Calendar, session: &Arc<Session>, now_ms: u64) -> Due {
        self.unfile(calendar, session);
        let ended = self.ends_at_ms <= now_ms;
        let will = if ended || self.will_at_ms <= now_ms { self.will.take() } else { None };
        if will.is_some() {
            self.will_at_ms = NEVER;
        }
        let next = self.will_at_ms.min(self.ends_at_ms);
        if next != NEVER && !ended {
            calendar.file(next, session);
            self.filed_ms = next;
        }
        Due { will, ended }
    }

    fn unfile(&mut self, calendar: &Calendar, session: &Session) {
        let filed_ms = std::mem::replace(&mut self.filed_ms, NEVER);
        if filed_ms != NEVER {
            calendar.unfile(filed_ms, session);
        }
    }
}

/// The sessions for which something is due at some time.
#[derive(Debug, Default)]
pub(crate) struct Calendar {
    entries: Mutex<BTreeMap<(u64, usize), Arc<Session>>>,
    count: AtomicUsize,
}

impl Calendar {
    fn file(&self, at_ms: u64, session: &Arc<Session>) {
        let mut entries = self.entries.lock();
        entries.insert((at_ms, session.index()), Arc::clone(session));
        self.count.store(entries.len(), Ordering::Relaxed);
    }

    fn unfile(&self, at_ms: u64, session: &Session) {
        let mut entries = self.entries.lock();
        entries.remove(&(at_ms, session.index()));
        self.count.store(entries.len(), Ordering::Relaxed);
    }

    /// Whether nothing is foreseen.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// The sessions for which something is due by now. They stay in the calendar until they are reviewed.
    pub(crate) fn due(&self, now_ms: u64) -> Vec<Arc<Session>> {
        if self.is_empty() {
            return Vec::new();
        }
        self.entries.lock().range(..=(now_ms, usize::MAX)).map(|(_, session)| Arc::clone(session)).collect()
    }
}
