//! The engine through its public interface: sessions, routing and queues, with time as an argument and no I/O.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod aliases;
mod connecting;
mod crash;
mod doors;
mod events;
mod expiry;
mod hostile;
mod limits;
mod linger;
mod model;
mod newcomers;
mod operator;
mod packets;
mod pressure;
mod qos;
mod rate;
mod read_order;
mod retained;
mod rights;
mod seeds;
mod sessions;
mod shared;
mod states;
mod store_full;
mod subscribing;
mod support;
mod sys;
mod takeover;
mod topic_queues;
mod wills;
