//! Every limit of the broker, with its default. docs/limits.md says what happens at each.
//!
//! Units stand last in a name. A limit here is what the operator allows; what a client announced for itself (its
//! maximum packet size, its keep-alive) is kept with its session.

/// What happens to a receiver whose queue has been full for longer than [`Limits::stall_ms_max`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallPolicy {
    /// Messages for it are dropped and counted until its queue has drained to half.
    Drop,
    /// Its connection is closed with reason code 0x97, Quota exceeded.
    Disconnect,
}

/// The limits, all of them. [`Limits::default`] gives the documented defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest packet accepted, its fixed header included.
    pub packet_bytes_max: u32,
    /// Most connections at a time.
    pub connections_count_max: u32,
    /// Most bytes waiting for one receiver before its senders are held back.
    pub queue_bytes_max: usize,
    /// Most messages waiting for one receiver before its senders are held back.
    pub queue_messages_max: usize,
    /// Most bytes waiting in all queues and input buffers together.
    pub buffered_bytes_max: usize,
    /// Longest time from accepting a connection to its CONNECT.
    pub connect_timeout_ms: u64,
    /// Longest keep-alive granted to a client of MQTT 5; longer wishes, and none, are answered with this one.
    pub keep_alive_s_max: u16,
    /// Longest time a sender is held back for a receiver whose queue is full. `None`: a short moment with
    /// [`StallPolicy::Drop`], 30 s with [`StallPolicy::Disconnect`].
    pub stall_ms_max: Option<u64>,
    /// What happens to that receiver then.
    pub stall_policy: StallPolicy,
    /// Longest time a sender is held back for a topic queue or shared subscription group that is full.
    pub queue_stall_ms_max: u64,
    /// Longest time a client may leave replies unread before its connection is closed.
    pub reply_stall_ms_max: u64,
    /// Most subscriptions of one client.
    pub subscriptions_count_max: u32,
    /// Most bytes that the subscriptions of all clients together take, by an estimate.
    pub subscription_bytes_max: usize,
    /// Most levels of a topic name or filter.
    pub topic_levels_max: u16,
    /// Longest topic name or filter.
    pub topic_bytes_max: u16,
    /// Longest client identifier.
    pub client_id_bytes_max: u16,
    /// Most sessions at a time, those of connected clients and of clients that are away.
    pub sessions_count_max: u32,
    /// Longest time a session is kept for a client that is away.
    pub session_expiry_s_max: u32,
    /// Most messages at QoS 1 and 2 on their way to one client and not yet acknowledged.
    pub inflight_count_max: u16,
    /// Most messages at QoS 2 on their way from one client of MQTT 5 (Receive Maximum).
    pub receive_maximum: u16,
    /// Most topic aliases each way on one connection.
    pub topic_alias_max: u16,
    /// Most bytes of stored messages together: those for clients that are away or slow, unacknowledged ones, and those
    /// in topic queues.
    pub stored_bytes_max: usize,
    /// Most retained messages.
    pub retained_count_max: u32,
    /// Most bytes of retained messages together.
    pub retained_bytes_max: usize,
    /// Most topic queues and shared subscription groups.
    pub topic_queues_count_max: u32,
    /// Most messages a second from one client before it is read more slowly; 0 for any number.
    pub messages_per_s_max: u32,
    /// Most bytes a second from one client before it is read more slowly; 0 for any number.
    pub bytes_per_s_max: u64,
}

/// What is left of a receiver's share when all queues together are at [`Limits::buffered_bytes_max`]: enough that
/// traffic goes on, so little that the sum stays close to the limit.
pub(crate) const QUEUE_BYTES_WHEN_SCARCE: usize = 16 * 1024;

/// How long senders wait for a full receiver by default before its messages are dropped: long enough for a receiver that
/// keeps up and is not scheduled for a moment, short enough that nobody notices one that does not keep up.
pub(crate) const DROP_STALL_MS: u64 = 100;

/// How long senders wait for a full receiver by default before it is disconnected.
pub(crate) const DISCONNECT_STALL_MS: u64 = 30_000;

/// The longest packet the protocol can express: a fixed header of five bytes and a remaining length of 2^28 - 1.
pub const PACKET_BYTES_CEILING: u32 = 5 + 268_435_455;

/// More levels than this would let one filter make the subscription tree deep enough to strain a thread's stack.
pub const TOPIC_LEVELS_CEILING: u16 = 1024;

impl Limits {
    /// The documented defaults.
    pub const DEFAULT: Self = Self {
        packet_bytes_max: 16 * 1024 * 1024,
        connections_count_max: 10_000,
        queue_bytes_max: 4 * 1024 * 1024,
        queue_messages_max: 100_000,
        buffered_bytes_max: 512 * 1024 * 1024,
        connect_timeout_ms: 10_000,
        keep_alive_s_max: u16::MAX,
        stall_ms_max: None,
        stall_policy: StallPolicy::Drop,
        queue_stall_ms_max: 30_000,
        reply_stall_ms_max: 30_000,
        subscriptions_count_max: 1_000,
        subscription_bytes_max: 256 * 1024 * 1024,
        topic_levels_max: 128,
        topic_bytes_max: u16::MAX,
        client_id_bytes_max: 1024,
        sessions_count_max: 100_000,
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
    assert!(limits.packet_bytes_max <= PACKET_BYTES_CEILING);
    assert!(limits.topic_levels_max <= TOPIC_LEVELS_CEILING);
    assert!(QUEUE_BYTES_WHEN_SCARCE < limits.queue_bytes_max);
    assert!(limits.queue_bytes_max < limits.buffered_bytes_max);
    assert!((limits.packet_bytes_max as usize) < limits.buffered_bytes_max);
};

impl Limits {
    /// Longest time a sender is held back for a receiver whose queue is full: [`Limits::stall_ms_max`], or the default of
    /// the policy.
    pub fn receiver_stall_ms_max(&self) -> u64 {
        self.stall_ms_max.unwrap_or(match self.stall_policy {
            StallPolicy::Drop => DROP_STALL_MS,
            StallPolicy::Disconnect => DISCONNECT_STALL_MS,
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
