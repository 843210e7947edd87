//! Sessions, subscriptions, queues and retained messages as lists, a page at a time, for an operator.
//!
//! Each page takes a bounded amount of work, whatever the size of the broker: a page may have fewer rows than asked for, or none,
//! and still not be the last. No lock is held from one page to the next, so a row that comes or goes meanwhile may be missing.

use std::sync::Arc;

use wisp_wire::{QoS, SubscriptionId, TopicFilter};

use crate::delivery::bundles::Indexed;
use crate::ops::fullest::Depth;
use crate::ops::subscriptions::FilterKind;
use crate::state::retained::Retained;
use crate::state::roster::{ConnectionFacts, Entry};
use crate::state::session::Session;
use crate::state::shared::Shared;
use crate::state::subscriber::Subscriber;
use crate::state::timers::FOREVER_S;
use crate::state::topic_queue::TopicQueue;

/// Most rows of a page.
pub const LIST_ITEMS_MAX: usize = 1_000;

/// Most bytes of names on a page, but for its last row.
const PAGE_BYTES: usize = 256 * 1024;

/// Most sessions that are looked at for one page, and how many at a time.
const SESSIONS_A_PAGE: usize = 4_096;
const SESSIONS_AT_ONCE: usize = 256;

/// A page of a list that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ListQuery<'a> {
    /// Where the last page ended: its [`List::next`]. `None` for the first page.
    pub after: Option<&'a str>,
    /// Most rows, from 1 to [`LIST_ITEMS_MAX`].
    pub most: usize,
    /// The beginning of the client identifiers, filters, names of queues, or topics that are wanted.
    pub prefix: &'a str,
}

impl Default for ListQuery<'_> {
    fn default() -> Self {
        Self { after: None, most: 100, prefix: "" }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins. `None` after the last one.
    pub next: Option<String>,
}

/// [`ListQuery::after`] is not the end of a page of this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCursor;

/// The sessions that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Of connected clients.
    Connected,
    /// Of clients that are away.
    Away,
}

/// A session, and the connection of its client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionRow {
    /// The client's identifier.
    pub client_id: Arc<str>,
    /// Whether the client is connected.
    pub is_connected: bool,
    /// Its connection or, if it is away, the last one. `None` if it was away when the broker started.
    pub connection: Option<Arc<ConnectionFacts>>,
    /// When it connected, in milliseconds of Unix time.
    pub connected_since_ms: Option<u64>,
    /// When it has left, in milliseconds of Unix time. `None` while it is connected.
    pub away_since_ms: Option<u64>,
    /// Seconds that the session outlives its connection. `None` for ever.
    pub expiry_s: Option<u32>,
    /// Its subscriptions.
    pub subscriptions: u64,
    /// Messages at QoS 1 and 2 that it has not acknowledged.
    pub inflight: u64,
    /// Messages at QoS 1 and 2 that wait for it.
    pub waiting: u64,
    /// Messages at QoS 1 and 2 of both kinds, and their bytes. Ones on loan count in their queues.
    pub stored: Depth,
    /// Packets that its socket has not taken.
    pub unsent: Depth,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionRow {
    /// The client's identifier.
    pub client_id: Arc<str>,
    /// The filter.
    pub filter: Box<str>,
    /// The highest QoS of a delivered message.
    pub qos: QoS,
    /// Whether it skips messages of the client itself.
    pub no_local: bool,
    /// Whether messages keep the RETAIN flag of their senders.
    pub retain_as_published: bool,
    /// Its identifier.
    pub id: Option<SubscriptionId>,
}

/// A topic queue, or a group of shared subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueRow {
    /// `$queue/NAME`, or `$share/GROUP/FILTER`.
    pub name: Box<str>,
    /// Whether it is a group.
    pub is_group: bool,
    /// Whether the configuration has it.
    pub is_configured: bool,
    /// Messages in it and on loan, and their bytes.
    pub depth: Depth,
    /// Messages that no receiver has.
    pub waiting: u64,
    /// Messages that receivers have not acknowledged.
    pub on_loan: u64,
    /// Messages that were delivered too often since the queue exists.
    pub dead_letters: u64,
    /// Receivers, connected or not.
    pub consumers: u64,
    /// Most messages.
    pub messages_max: u64,
    /// Most bytes.
    pub bytes_max: u64,
}

/// A retained message without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetainedRow {
    /// The topic.
    pub topic: Box<str>,
    /// The QoS.
    pub qos: QoS,
    /// The bytes of the payload.
    pub payload_bytes: u64,
    /// The client that has sent it: `None` for the broker, empty for an operator.
    pub sender: Option<Arc<str>>,
    /// When it expires, in milliseconds of Unix time.
    pub expires_at_ms: Option<u64>,
}

/// A retained message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetainedMessage {
    /// The message without its payload.
    pub row: RetainedRow,
    /// The payload.
    pub payload: Vec<u8>,
}

/// A page in the making.
struct Page<T> {
    items: Vec<T>,
    most: usize,
    bytes: usize,
}

impl<T> Page<T> {
    fn new(query: &ListQuery<'_>) -> Self {
        Self { items: Vec::new(), most: query.most.clamp(1, LIST_ITEMS_MAX), bytes: 0 }
    }

    /// Adds a row whose names have this number of bytes. True if the page is full now.
    fn add(&mut self, item: T, bytes: usize) -> bool {
        self.items.push(item);
        self.bytes += bytes;
        self.items.len() >= self.most || self.bytes >= PAGE_BYTES
    }

    fn end(self, next: Option<String>) -> List<T> {
        List { items: self.items, next }
    }
}

/// The place of a session from which on a page has it.
fn place_of(text: &str) -> Result<usize, InvalidCursor> {
    text.parse().map_err(|_| InvalidCursor)
}

impl Shared {
    /// A page of the sessions of clients that are connected, or away, in no order that tells anything. Empty unless
    /// [`Options::lists_sessions`](crate::Options::lists_sessions).
    ///
    /// # Errors
    /// If the query continues a page that there was not.
    pub fn list_sessions(&self, query: &ListQuery<'_>, wanted: Presence) -> Result<List<SessionRow>, InvalidCursor> {
        let first = query.after.map_or(Ok(0), place_of)?;
        let mut page = Page::new(query);
        let next = self.visit_sessions(first, |place, entry| {
            let is_wanted = entry.session.is_attached() == (wanted == Presence::Connected);
            if !is_wanted || !entry.session.client_id().starts_with(query.prefix) {
                return None;
            }
            let row = self.session_row(&entry.session, entry.facts);
            let bytes = row.client_id.len() + 256;
            page.add(row, bytes).then(|| (place + 1).to_string())
        });
        Ok(page.end(next))
    }

    /// Visits the sessions of one page from a place on, until `visit` returns the cursor at which the next page begins.
    fn visit_sessions(&self, first: usize, mut visit: impl FnMut(usize, Entry) -> Option<String>) -> Option<String> {
        let mut next = first;
        for _ in 0..SESSIONS_A_PAGE / SESSIONS_AT_ONCE {
            let (found, behind) = self.registry.roster.walk(next, SESSIONS_AT_ONCE);
            let full = found.into_iter().find_map(|(place, entry)| visit(place, entry));
            if full.is_some() {
                return full;
            }
            next = behind?;
        }
        Some(next.to_string())
    }

    /// The session of a client, connected or away.
    pub fn find_session_row(&self, client_id: &str) -> Option<SessionRow> {
        let session = self.registry.shard(client_id).get(client_id)?;
        let facts = self.registry.roster.facts(&session);
        Some(self.session_row(&session, facts))
    }

    fn session_row(&self, session: &Session, facts: Option<Arc<ConnectionFacts>>) -> SessionRow {
        let subscriptions = session.subscriptions().len() as u64;
        let outgoing = session.outgoing();
        let ((inflight, waiting), outbox) = (outgoing.counts(), outgoing.outbox().cloned());
        drop(outgoing);
        let lifetime = session.lifetime();
        let (left_ms, expiry_s) = (lifetime.left_ms(), lifetime.expiry_s);
        drop(lifetime);
        // The facts of the client's new connection may not be noted yet.
        let facts = facts.filter(|facts| outbox.as_ref().is_none_or(|outbox| outbox.connection() == facts.connection));
        let to_unix_ms = |at_ms: u64| self.journal.recorder(0).to_unix_ms(at_ms);
        SessionRow {
            client_id: Arc::clone(session.client_id()),
            is_connected: outbox.is_some(),
            connected_since_ms: facts.as_ref().filter(|_| outbox.is_some()).map(|facts| to_unix_ms(facts.since_ms)),
            connection: facts,
            away_since_ms: left_ms.filter(|_| outbox.is_none()).map(to_unix_ms),
            expiry_s: Some(expiry_s).filter(|seconds| *seconds != FOREVER_S),
            subscriptions,
            inflight: inflight as u64,
            waiting: waiting as u64,
            stored: Depth::of(session.capacity()),
            unsent: outbox.map_or_else(Depth::default, |outbox| Depth::of(outbox.capacity())),
        }
    }

    /// A page of the subscriptions of all clients, by client. Empty unless
    /// [`Options::lists_sessions`](crate::Options::lists_sessions).
    ///
    /// # Errors
    /// If the query continues a page that there was not.
    pub fn list_subscriptions(&self, query: &ListQuery<'_>) -> Result<List<SubscriptionRow>, InvalidCursor> {
        let (first, mut after) = match query.after {
            None => (0, ""),
            Some(cursor) => {
                let (place, filter) = cursor.split_once(' ').unwrap_or((cursor, ""));
                (place_of(place)?, filter)
            }
        };
        let mut page = Page::new(query);
        let next = self.visit_sessions(first, |place, entry| {
            // Only the first session was begun on the page before.
            let after = if place == first { std::mem::take(&mut after) } else { "" };
            let last = self.add_subscriptions(&entry.session, after, query, &mut page)?;
            Some(format!("{place} {last}"))
        });
        Ok(page.end(next))
    }

    /// A page of the subscriptions of one client, by filter. `None` if there is no such session.
    pub fn list_subscriptions_of(&self, client_id: &str, query: &ListQuery<'_>) -> Option<List<SubscriptionRow>> {
        let session = self.registry.shard(client_id).get(client_id)?;
        let mut page = Page::new(query);
        let next = self.add_subscriptions(&session, query.after.unwrap_or_default(), query, &mut page);
        Some(page.end(next.map(String::from)))
    }

    /// Adds the subscriptions behind `after` of a session. The last filter that was looked at if the page is full.
    fn add_subscriptions(
        &self,
        session: &Session,
        after: &str,
        query: &ListQuery<'_>,
        page: &mut Page<SubscriptionRow>,
    ) -> Option<Box<str>> {
        /// Most filters of one session that are looked at for one page.
        const FILTERS_MAX: usize = 4_096;
        let room = page.most - page.items.len();
        let (mut filters, mut last): (Vec<Box<str>>, _) = (Vec::new(), None);
        for (looked_at, filter) in session.subscriptions().filters_behind(after).enumerate() {
            if filter.starts_with(query.prefix) {
                filters.push(filter.into());
            }
            if filters.len() == room || looked_at + 1 == FILTERS_MAX {
                last = Some(filter.into());
                break;
            }
        }
        for filter in filters {
            // Without options if it has just been removed.
            let Some(row) = self.subscription_row(session, &filter) else { continue };
            let bytes = filter.len() + row.client_id.len() + 64;
            if page.add(row, bytes) {
                return Some(filter);
            }
        }
        last
    }

    fn subscription_row(&self, session: &Session, filter: &str) -> Option<SubscriptionRow> {
        let client_id = Arc::clone(session.client_id());
        let parsed = TopicFilter::new(filter).ok()?;
        if let FilterKind::Plain(plain) = FilterKind::of(parsed)? {
            let Subscriber { options, id, .. } = self.tree.get(plain, session.index())?;
            return Some(SubscriptionRow {
                client_id,
                filter: filter.into(),
                qos: options.qos,
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                id,
            });
        }
        let options = self.queues.get(filter)?.options_of(session)?;
        Some(SubscriptionRow {
            client_id,
            filter: filter.into(),
            qos: options.qos,
            no_local: false,
            retain_as_published: options.retain_as_published,
            id: options.subscription_ids.and_then(|ids| ids.first().copied()),
        })
    }

    /// A page of the topic queues and groups, by name.
    pub fn list_queues(&self, query: &ListQuery<'_>) -> List<QueueRow> {
        let mut page = Page::new(query);
        for queue in self.queues.behind(query.after.unwrap_or_default(), query.prefix, page.most) {
            let row = queue_row(&queue);
            let (name, bytes) = (row.name.clone(), row.name.len() + 128);
            if page.add(row, bytes) {
                return page.end(Some(name.into()));
            }
        }
        page.end(None)
    }

    /// The topic queue or group with this full name.
    pub fn find_queue(&self, name: &str) -> Option<QueueRow> {
        self.queues.get(name).map(|queue| queue_row(&queue))
    }

    /// A page of the retained messages, by topic. The broker's own are there if the prefix begins with `$`.
    pub fn list_retained(&self, query: &ListQuery<'_>) -> List<RetainedRow> {
        let mut page = Page::new(query);
        let next = self.retained.list(query.after, query.prefix, |topic, retained| {
            !page.add(self.retained_row(topic, retained), topic.len() + 64)
        });
        page.end(next.map(String::from))
    }

    /// The retained message of a topic.
    pub fn retained_message(&self, topic: &str) -> Option<RetainedMessage> {
        let retained = self.retained.get(topic)?;
        Some(RetainedMessage { row: self.retained_row(topic, &retained), payload: retained.message.payload().to_vec() })
    }

    fn retained_row(&self, topic: &str, Retained { message, sender, .. }: &Retained) -> RetainedRow {
        RetainedRow {
            topic: topic.into(),
            qos: message.qos(),
            payload_bytes: message.payload_bytes() as u64,
            sender: sender.clone(),
            expires_at_ms: message.expires_at_ms().map(|at_ms| self.journal.recorder(0).to_unix_ms(at_ms)),
        }
    }
}

fn queue_row(queue: &TopicQueue) -> QueueRow {
    let (info, settings) = (queue.info(), queue.settings());
    let (depth, waiting) = (Depth::of(queue.capacity()), info.waiting() as u64);
    QueueRow {
        name: info.name.clone(),
        is_group: info.is_group,
        is_configured: settings.is_configured,
        depth,
        waiting,
        on_loan: depth.messages.saturating_sub(waiting),
        dead_letters: info.dead_letters() as u64,
        consumers: queue.consumers() as u64,
        messages_max: settings.messages_max as u64,
        bytes_max: settings.bytes_max as u64,
    }
}
