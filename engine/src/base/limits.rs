//! Every limit of the broker, with its default and its range. docs/limits.md describes the effect of each.
//!
//! Units stand last in a name. A limit here is set by the operator; a limit announced by a client (its maximum packet
//! size, its keep-alive) is kept with its session.

use std::fmt;
use std::ops::RangeInclusive;

use crate::base::hold::HoldRule;

/// Most bytes of free memory that one worker keeps for the next messages, however large the limits are.
pub(crate) const POOL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The treatment of a full receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallPolicy {
    /// Its senders are held back as long as it makes progress within [`Limits::stall_ms_max`], and not each time. Without
    /// progress it is lagging: messages for it are dropped and counted until its queue has drained to half.
    Drop,
    /// Its senders are held back each time, for as long as it makes progress within [`Limits::stall_ms_max`]. Without
    /// progress, messages for it are dropped and counted.
    Hold,
    /// As [`StallPolicy::Hold`], but without progress its connection is closed with reason code 0x97, Quota exceeded.
    Disconnect,
}

/// The treatment of a new session when there are [`Limits::sessions_count_max`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionsPolicy {
    /// The session whose client has been away longest is ended.
    Evict,
    /// The new one is refused, unless there is a session of a client that is away that holds nothing.
    Refuse,
}

/// The limits, all of them. [`Limits::default`] gives the documented defaults, [`LIMITS`] has the ranges.
///
/// ```
/// use wisp_engine::Limits;
///
/// let limits = Limits::DEFAULT.with(|limits| limits.topic_levels_max = 16);
/// assert!(limits.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most resident memory of the broker. [`Limits::for_memory`] has the other limits follow from it. 0: they have their own
    /// defaults.
    pub memory_bytes_max: usize,
    /// Longest packet accepted, its fixed header included.
    pub packet_bytes_max: u32,
    /// Longest CONNECT accepted, the topic and the payload of its will left out.
    pub connect_bytes_max: u32,
    /// Most connections at a time.
    pub connections_count_max: u32,
    /// Most connections at a time whose CONNECT is not accepted yet. Beyond that the oldest of them is ended.
    pub unauthenticated_count_max: u32,
    /// Most such connections of one address. `None`: a default number, and any number of loopback.
    pub unauthenticated_per_address_max: Option<u32>,
    /// Most bytes that all such connections hold together.
    pub unauthenticated_bytes_max: usize,
    /// Most bytes waiting for one receiver before its senders are held back.
    pub queue_bytes_max: usize,
    /// Most messages waiting for one receiver before its senders are held back.
    pub queue_messages_max: usize,
    /// Most bytes waiting in all queues and input buffers together.
    pub buffered_bytes_max: usize,
    /// Longest time from accepting a connection to its CONNECT.
    pub connect_timeout_ms: u64,
    /// Longest keep-alive granted to a client of MQTT 5. A client that asks for a longer one, or for none, gets this
    /// one.
    pub keep_alive_s_max: u16,
    /// Longest time a sender is held back for a full receiver, or a full shared subscription group, without progress. `None`: a
    /// short moment with [`StallPolicy::Drop`], else 30 s.
    pub stall_ms_max: Option<u64>,
    /// The treatment of a full receiver.
    pub stall_policy: StallPolicy,
    /// Longest time a sender is held back for a topic queue that is full, or for a store that takes no more.
    pub queue_stall_ms_max: u64,
    /// Longest time a client may leave replies unread before its connection is closed.
    pub reply_stall_ms_max: u64,
    /// Most subscriptions of one client.
    pub subscriptions_count_max: u32,
    /// Most bytes that the subscriptions of one client take, by an estimate.
    pub client_subscription_bytes_max: usize,
    /// Most bytes that the subscriptions of all clients together take, by an estimate.
    pub subscription_bytes_max: usize,
    /// Most levels of a topic name or filter.
    pub topic_levels_max: u16,
    /// Longest topic name or filter.
    pub topic_bytes_max: u16,
    /// Longest client identifier.
    pub client_id_bytes_max: u16,
    /// Most sessions that outlive their connections, of connected clients and of clients that are away.
    pub sessions_count_max: u32,
    /// The treatment of a new one beyond that number.
    pub sessions_policy: SessionsPolicy,
    /// Longest time a session is kept for a client that is away.
    pub session_expiry_s_max: u32,
    /// Most unacknowledged messages at QoS 1 and 2 to one client.
    pub inflight_count_max: u16,
    /// Most unacknowledged messages at QoS 2 from one client of MQTT 5 (Receive Maximum).
    pub receive_maximum: u16,
    /// Most topic aliases each way on one connection.
    pub topic_alias_max: u16,
    /// Most bytes of stored messages together: in topic queues, waiting for clients, and unacknowledged.
    pub stored_bytes_max: usize,
    /// Most retained messages.
    pub retained_count_max: u32,
    /// Most bytes of retained messages together.
    pub retained_bytes_max: usize,
    /// Most topic queues and shared subscription groups.
    pub topic_queues_count_max: u32,
    /// Most messages a second from one client before it is read more slowly; 0 for no limit.
    pub messages_per_s_max: u32,
    /// Most bytes a second from one client before it is read more slowly; 0 for no limit.
    pub bytes_per_s_max: u64,
}

/// The limit of each receiver's queue when all queues together are at [`Limits::buffered_bytes_max`]: enough to keep
/// traffic going, and so little that the sum stays close to the limit.
pub(crate) const QUEUE_BYTES_WHEN_SCARCE: usize = 16 * 1024;

/// The memory of a broker without clients, and of the system's books about it.
const IDLE_BYTES: usize = 16 * 1024 * 1024;

/// The least memory that is divided among the limits that follow from [`Limits::memory_bytes_max`].
const SHARED_BYTES_MIN: usize = 1024 * 1024;

/// How many connections of one address, except loopback, may be without an accepted CONNECT by default.
const UNAUTHENTICATED_PER_ADDRESS: u32 = 256;

/// How long senders wait for a full receiver by default before its messages are dropped: long enough for a healthy
/// receiver that is not scheduled for a moment, and too short to disturb other clients.
pub(crate) const DROP_STALL_MS: u64 = 100;

/// How long senders wait by default for a full receiver without progress, if they are to wait.
pub(crate) const PROGRESS_STALL_MS: u64 = 30_000;

/// The longest packet the protocol can express: a fixed header of five bytes and a remaining length of 2^28 - 1.
pub const PACKET_BYTES_CEILING: u32 = 5 + 268_435_455;

/// More levels than this would let one filter make the subscription tree deep enough to strain a thread's stack.
pub const TOPIC_LEVELS_CEILING: u16 = 1024;

impl Limits {
    /// The documented defaults.
    pub const DEFAULT: Self = Self {
        memory_bytes_max: 0,
        packet_bytes_max: 16 * 1024 * 1024,
        connect_bytes_max: 64 * 1024,
        connections_count_max: 10_000,
        unauthenticated_count_max: 4_096,
        unauthenticated_per_address_max: None,
        unauthenticated_bytes_max: 16 * 1024 * 1024,
        queue_bytes_max: 4 * 1024 * 1024,
        queue_messages_max: 100_000,
        buffered_bytes_max: 512 * 1024 * 1024,
        connect_timeout_ms: 10_000,
        keep_alive_s_max: u16::MAX,
        stall_ms_max: None,
        stall_policy: StallPolicy::Drop,
        queue_stall_ms_max: 30_000,
        reply_stall_ms_max: 30_000,
        subscriptions_count_max: 100_000,
        client_subscription_bytes_max: 16 * 1024 * 1024,
        subscription_bytes_max: 256 * 1024 * 1024,
        topic_levels_max: 128,
        topic_bytes_max: u16::MAX,
        client_id_bytes_max: 1024,
        sessions_count_max: 100_000,
        sessions_policy: SessionsPolicy::Evict,
        session_expiry_s_max: 7 * 24 * 60 * 60,
        inflight_count_max: 1024,
        receive_maximum: 1024,
        topic_alias_max: 64,
        stored_bytes_max: 512 * 1024 * 1024,
        retained_count_max: 100_000,
        retained_bytes_max: 64 * 1024 * 1024,
        topic_queues_count_max: 10_000,
        messages_per_s_max: 0,
        bytes_per_s_max: 0,
    };
}

const _: () = {
    let limits = Limits::DEFAULT;
    assert!(QUEUE_BYTES_WHEN_SCARCE < limits.queue_bytes_max);
    assert!(limits.queue_bytes_max < limits.buffered_bytes_max);
    assert!((limits.packet_bytes_max as usize) < limits.buffered_bytes_max);
};

impl Limits {
    /// These limits with some changed.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The limits for a broker of about `memory_bytes_max` bytes of resident memory, by estimates. docs/limits.md has the shares.
    /// 0 gives the defaults.
    ///
    /// ```
    /// use wisp_engine::Limits;
    ///
    /// let limits = Limits::for_memory(256 << 20).with(|limits| limits.retained_bytes_max = 1 << 20);
    /// assert!(limits.stored_bytes_max == 60 << 20 && limits.check().is_ok());
    /// ```
    pub fn for_memory(memory_bytes_max: usize) -> Self {
        let mut limits = Self { memory_bytes_max, ..Self::DEFAULT };
        if memory_bytes_max == 0 {
            return limits;
        }
        // A quarter of a small broker at least, since a limit must not be nothing.
        let shared = memory_bytes_max.saturating_sub(IDLE_BYTES).max(memory_bytes_max / 4).max(SHARED_BYTES_MIN);
        limits.buffered_bytes_max = shared / 6;
        limits.stored_bytes_max = shared / 4;
        limits.retained_bytes_max = shared / 8;
        limits.subscription_bytes_max = shared / 16;
        limits.unauthenticated_bytes_max = (shared / 64).min(limits.unauthenticated_bytes_max);
        limits.client_subscription_bytes_max =
            (limits.subscription_bytes_max / 4).min(limits.client_subscription_bytes_max);
        limits.queue_bytes_max = (limits.buffered_bytes_max / 16).min(limits.queue_bytes_max);
        limits.packet_bytes_max = (limits.buffered_bytes_max / 4).min(limits.packet_bytes_max as usize) as u32;
        limits.connect_bytes_max = limits.connect_bytes_max.min(limits.packet_bytes_max);
        limits
    }

    /// Whether every limit is in its range.
    ///
    /// # Errors
    /// The first limit that is not.
    pub fn check(&self) -> Result<(), LimitOutOfRange> {
        LIMITS.iter().try_for_each(|limit| limit.check(limit.get(self)))
    }

    /// Most bytes of free memory that one worker keeps for the next messages.
    pub(crate) fn pool_bytes_max(&self) -> usize {
        (self.stored_bytes_max / 16).min(POOL_BYTES_MAX)
    }

    /// Whether any message is retained.
    pub(crate) fn retains(&self) -> bool {
        self.retained_count_max > 0 && self.retained_bytes_max > 0
    }

    /// Most connections of one address whose CONNECT is not accepted yet: [`Limits::unauthenticated_per_address_max`], or
    /// the default of all addresses but loopback.
    pub fn unauthenticated_per_address(&self) -> u32 {
        self.unauthenticated_per_address_max.unwrap_or(UNAUTHENTICATED_PER_ADDRESS)
    }

    /// Most bytes of an unfinished packet while all buffers together are at their limit.
    pub(crate) fn unfinished_bytes_share(&self) -> usize {
        const SHARES: usize = 256;
        const LEAST: usize = 256 * 1024;
        (self.buffered_bytes_max / SHARES).max(LEAST.min(self.buffered_bytes_max / 4))
    }

    /// [`Limits::stall_ms_max`], or the default of the policy.
    pub fn receiver_stall_ms_max(&self) -> u64 {
        self.stall_ms_max.unwrap_or(match self.stall_policy {
            StallPolicy::Drop => DROP_STALL_MS,
            StallPolicy::Hold | StallPolicy::Disconnect => PROGRESS_STALL_MS,
        })
    }

    /// How a full receiver holds its senders back.
    pub(crate) fn receiver_hold(&self) -> HoldRule {
        let ms_max = self.receiver_stall_ms_max();
        match self.stall_policy {
            StallPolicy::Drop => HoldRule::Episodes(ms_max),
            StallPolicy::Hold | StallPolicy::Disconnect => HoldRule::Progress(ms_max),
        }
    }
}

impl Limits {
    /// These limits with the [live](Limit::is_live) ones of others.
    pub(crate) fn with_live(self, new: &Self) -> Self {
        Self {
            connections_count_max: new.connections_count_max,
            unauthenticated_count_max: new.unauthenticated_count_max,
            unauthenticated_per_address_max: new.unauthenticated_per_address_max,
            unauthenticated_bytes_max: new.unauthenticated_bytes_max,
            messages_per_s_max: new.messages_per_s_max,
            bytes_per_s_max: new.bytes_per_s_max,
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A limit that is a number: its name and its range.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limit {
    /// Its name in flags, files and errors, such as `packet-bytes-max`.
    pub name: &'static str,
    /// Its unit: `BYTES`, `COUNT`, `MS` or `SECONDS`.
    pub unit: &'static str,
    /// Its least and its largest value.
    pub range: RangeInclusive<u64>,
    /// Its meaning, in one line.
    pub help: &'static str,
    get: fn(&Limits) -> u64,
    set: fn(&mut Limits, u64),
}

/// The limits about connections to come, which no session and no queue has a copy of.
const LIVE: [&str; 6] = [
    "connections-max",
    "unauthenticated-max",
    "unauthenticated-per-address-max",
    "unauthenticated-bytes-max",
    "messages-per-s-max",
    "bytes-per-s-max",
];

impl Limit {
    /// Whether a running broker takes up another value, for connections to come: [`Shared::set_live_limits`](crate::Shared::set_live_limits).
    pub fn is_live(&self) -> bool {
        LIVE.contains(&self.name)
    }

    /// Its value.
    pub fn get(&self, limits: &Limits) -> u64 {
        (self.get)(limits)
    }

    /// Changes its value. On 32-bit hosts a number in range may be too large for the host's word; then the largest word
    /// is used.
    ///
    /// # Errors
    /// If the number is out of range. Then nothing changes.
    pub fn set(&self, limits: &mut Limits, number: u64) -> Result<(), LimitOutOfRange> {
        self.check(number)?;
        (self.set)(limits, number);
        Ok(())
    }

    fn check(&self, value: u64) -> Result<(), LimitOutOfRange> {
        if self.range.contains(&value) {
            return Ok(());
        }
        Err(LimitOutOfRange { limit: self.name, value, min: *self.range.start(), max: *self.range.end() })
    }
}

/// A limit that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitOutOfRange {
    /// The name of the limit.
    pub limit: &'static str,
    /// Its value.
    pub value: u64,
    /// The least value it may have.
    pub min: u64,
    /// The largest value it may have.
    pub max: u64,
}

impl fmt::Display for LimitOutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: not a number from {} to {}", self.limit, self.value, self.min, self.max)
    }
}

impl std::error::Error for LimitOutOfRange {}

const DAY_MS: u64 = 86_400_000;

macro_rules! limit {
    ($field:ident: $type:ty, $name:literal, $unit:literal, $range:expr, $help:literal) => {
        Limit {
            name: $name,
            unit: $unit,
            range: $range,
            help: $help,
            get: |limits| limits.$field as u64,
            set: |limits, number| limits.$field = <$type>::try_from(number).unwrap_or(<$type>::MAX),
        }
    };
}

/// All limits that are numbers, in the order in which the documents have them.
#[rustfmt::skip]
pub static LIMITS: [Limit; 32] = [
    limit!(memory_bytes_max: usize, "memory-bytes-max", "BYTES", 0..=1 << 40, "Most memory of the broker: the limits in bytes follow from it, unless they are set themselves; 0: they do not"),
    limit!(packet_bytes_max: u32, "packet-bytes-max", "BYTES", 64..=PACKET_BYTES_CEILING as u64, "Longest packet accepted"),
    limit!(connect_bytes_max: u32, "connect-bytes-max", "BYTES", 64..=PACKET_BYTES_CEILING as u64, "Longest CONNECT accepted, the topic and payload of its will left out"),
    limit!(connections_count_max: u32, "connections-max", "COUNT", 1..=u32::MAX as u64, "Most connections at a time"),
    limit!(unauthenticated_count_max: u32, "unauthenticated-max", "COUNT", 1..=u32::MAX as u64, "Most connections at a time whose CONNECT is not accepted yet"),
    Limit {
        name: "unauthenticated-per-address-max",
        unit: "COUNT",
        range: 1..=u32::MAX as u64,
        help: "Most of them from one address; unless set, loopback has no limit",
        get: |limits| limits.unauthenticated_per_address().into(),
        set: |limits, number| limits.unauthenticated_per_address_max = Some(u32::try_from(number).unwrap_or(u32::MAX)),
    },
    limit!(unauthenticated_bytes_max: usize, "unauthenticated-bytes-max", "BYTES", 1024..=1 << 40, "Most bytes that all of them hold together"),
    limit!(queue_bytes_max: usize, "queue-bytes-max", "BYTES", 1024..=1 << 30, "Most bytes waiting for one receiver"),
    limit!(queue_messages_max: usize, "queue-messages-max", "COUNT", 1..=1 << 30, "Most messages waiting for one receiver"),
    limit!(buffered_bytes_max: usize, "buffered-bytes-max", "BYTES", 1 << 14..=1 << 40, "Most bytes waiting in all queues and input buffers together"),
    limit!(connect_timeout_ms: u64, "connect-timeout-ms", "MS", 1..=DAY_MS, "Longest time from connecting to CONNECT"),
    limit!(keep_alive_s_max: u16, "keep-alive-s-max", "SECONDS", 1..=u16::MAX as u64, "Longest keep-alive granted to clients of MQTT 5"),
    Limit {
        name: "stall-ms-max",
        unit: "MS",
        range: 1..=DAY_MS,
        help: "Longest time senders are held back for a full receiver without progress; 30000 by default with stall-policy hold or disconnect",
        get: Limits::receiver_stall_ms_max,
        set: |limits, number| limits.stall_ms_max = Some(number),
    },
    limit!(queue_stall_ms_max: u64, "queue-stall-ms-max", "MS", 1..=DAY_MS, "Longest time senders are held back for a topic queue or a data folder that is full"),
    limit!(reply_stall_ms_max: u64, "reply-stall-ms-max", "MS", 1..=DAY_MS, "Longest time a client may leave replies unread before it is disconnected"),
    limit!(subscriptions_count_max: u32, "subscriptions-max", "COUNT", 1..=u32::MAX as u64, "Most subscriptions of one client"),
    limit!(client_subscription_bytes_max: usize, "client-subscription-bytes-max", "BYTES", 1024..=1 << 40, "Most bytes that the subscriptions of one client take, by an estimate"),
    limit!(subscription_bytes_max: usize, "subscription-bytes-max", "BYTES", 1024..=1 << 40, "Most bytes that the subscriptions of all clients together take, by an estimate"),
    limit!(topic_levels_max: u16, "topic-levels-max", "COUNT", 1..=TOPIC_LEVELS_CEILING as u64, "Most levels of a topic"),
    limit!(topic_bytes_max: u16, "topic-bytes-max", "BYTES", 1..=u16::MAX as u64, "Longest topic"),
    limit!(client_id_bytes_max: u16, "client-id-bytes-max", "BYTES", 23..=u16::MAX as u64, "Longest client identifier"),
    limit!(sessions_count_max: u32, "sessions-max", "COUNT", 1..=u32::MAX as u64, "Most sessions that outlive their connections, of connected clients and of clients that are away"),
    limit!(session_expiry_s_max: u32, "session-expiry-s-max", "SECONDS", 0..=u32::MAX as u64, "Longest time a session is kept for a client that is away; 4294967295 for ever"),
    limit!(inflight_count_max: u16, "inflight-max", "COUNT", 1..=u16::MAX as u64, "Most messages at QoS 1 and 2 on their way to one client"),
    limit!(receive_maximum: u16, "receive-maximum", "COUNT", 1..=u16::MAX as u64, "Most messages at QoS 2 on their way from one client of MQTT 5"),
    limit!(topic_alias_max: u16, "topic-alias-max", "COUNT", 0..=u16::MAX as u64, "Most topic aliases each way on one connection"),
    limit!(stored_bytes_max: usize, "stored-bytes-max", "BYTES", 1 << 14..=1 << 40, "Most bytes of stored messages together: unacknowledged, for clients that are away, in topic queues"),
    limit!(retained_count_max: u32, "retained-max", "COUNT", 0..=u32::MAX as u64, "Most retained messages"),
    limit!(retained_bytes_max: usize, "retained-bytes-max", "BYTES", 0..=1 << 40, "Most bytes of retained messages together"),
    limit!(topic_queues_count_max: u32, "topic-queues-max", "COUNT", 0..=u32::MAX as u64, "Most topic queues and shared subscription groups"),
    limit!(messages_per_s_max: u32, "messages-per-s-max", "COUNT", 0..=u32::MAX as u64, "Most messages a second from one client before it is read more slowly; 0 for any number"),
    limit!(bytes_per_s_max: u64, "bytes-per-s-max", "BYTES", 0..=1 << 40, "Most bytes a second from one client before it is read more slowly; 0 for any number"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_limits_are_the_ones_that_are_taken_over() {
        for limit in &LIMITS {
            let mut new = Limits::DEFAULT;
            limit.set(&mut new, limit.range.start() + 7).unwrap();
            let taken = Limits::DEFAULT.with_live(&new);
            assert_eq!(taken == new, limit.is_live(), "{}", limit.name);
            assert_eq!(taken == Limits::DEFAULT, !limit.is_live(), "{}", limit.name);
        }
        assert!(LIVE.iter().all(|name| LIMITS.iter().any(|limit| limit.name == *name)));
    }

    #[test]
    fn the_defaults_are_in_range() {
        assert_eq!(Limits::DEFAULT.check(), Ok(()));
    }

    #[test]
    fn both_ends_of_each_range_are_kept_and_their_neighbours_refused() {
        for limit in &LIMITS {
            for inside in [*limit.range.start(), *limit.range.end()] {
                let mut limits = Limits::DEFAULT;
                limit.set(&mut limits, inside).unwrap();
                assert_eq!((limit.get(&limits), limits.check()), (inside, Ok(())), "{}", limit.name);
            }
            for outside in [limit.range.start().checked_sub(1), limit.range.end().checked_add(1)].into_iter().flatten()
            {
                let mut limits = Limits::DEFAULT;
                let error = limit.set(&mut limits, outside).unwrap_err();
                let (min, max) = (limit.range.start(), limit.range.end());
                assert_eq!(error.to_string(), format!("{} = {outside}: not a number from {min} to {max}", limit.name));
                assert_eq!(limits, Limits::DEFAULT);
            }
        }
    }

    #[test]
    fn limits_for_any_memory_are_in_range_and_add_up_to_less() {
        for memory_bytes in (0..=40).map(|bits| 1_usize << bits) {
            let limits = Limits::for_memory(memory_bytes);
            assert_eq!(limits.check(), Ok(()), "{memory_bytes}");
            let (buffered, stored) = (limits.buffered_bytes_max, limits.stored_bytes_max);
            let tolerated = buffered + buffered / 2 + stored + stored / 2 + limits.retained_bytes_max;
            let all = tolerated + limits.subscription_bytes_max + limits.unauthenticated_bytes_max + IDLE_BYTES;
            assert!(memory_bytes < 2 * IDLE_BYTES || all <= memory_bytes, "{all} of {memory_bytes}");
            assert!(limits.queue_bytes_max <= buffered / 16);
        }
        assert_eq!(Limits::for_memory(0), Limits::DEFAULT);
    }

    #[test]
    fn a_field_out_of_range_is_found() {
        let limits = Limits { topic_levels_max: 65_535, ..Limits::DEFAULT };
        let error = LimitOutOfRange { limit: "topic-levels-max", value: 65_535, min: 1, max: 1024 };
        assert_eq!(limits.check(), Err(error));
        let limits = Limits { stall_ms_max: Some(0), ..Limits::DEFAULT };
        assert_eq!(limits.check().map_err(|error| error.limit), Err("stall-ms-max"));
    }
}
