//! The subjects: a broker, its storage and its work.

use std::fmt;

use serde::Serialize;
use wisp_lab::broker::Broker;

/// The work that is measured; all but one at QoS 1 with messages of 1 KB.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Work {
    /// Ten senders to ten kept sessions whose clients are away.
    Away,
    /// Ten senders to ten connected receivers with kept sessions.
    Forwarding,
    /// Ten senders to one queue with ten receivers.
    Queue,
    /// One sender that waits for each acknowledgement, to a kept session whose client is away.
    OneInFlight,
    /// Ten senders to ten receivers at QoS 0, with sessions that end with their connections.
    Unkept,
}

/// Where a broker keeps what it has acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Store {
    Memory,
    /// In files: Wisp synchronises before it acknowledges, the others have their defaults.
    Durable,
    /// JetStream that synchronises each message.
    SyncedEach,
}

/// A broker with its storage, and its work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Subject {
    pub(super) broker: Broker,
    pub(super) store: Store,
    pub(super) work: Work,
}

impl Subject {
    /// What is started for one sample: this subject alone, or both of a pair that is measured in turns.
    pub(super) fn together(&self) -> Vec<Self> {
        match self.work {
            Work::Unkept => [Store::Durable, Store::Memory].map(|store| Self { store, ..self.clone() }).to_vec(),
            _ => vec![self.clone()],
        }
    }

    /// Subjects in another order for each repetition, so that other work on the machine does not always disturb the same one.
    pub(super) fn shuffled(subjects: &[Vec<Self>], repetition: u32) -> Vec<Vec<Self>> {
        let mut shuffled = subjects.to_vec();
        fastrand::Rng::with_seed(u64::from(repetition)).shuffle(&mut shuffled);
        shuffled
    }

    /// Messages that take some seconds. All fit into the memory that the broker without a folder has for them.
    pub(super) fn messages(&self) -> u64 {
        match (&self.broker, self.store, self.work) {
            (_, _, Work::OneInFlight) => 1_000,
            (_, _, Work::Unkept) => 4_000_000,
            (_, Store::SyncedEach, _) => 10_000,
            (Broker::NatsServer, _, Work::Queue) => 100_000,
            (Broker::NatsServer | Broker::Wasmer, _, Work::Away) => 200_000,
            (_, _, Work::Away) => 400_000,
            _ => 500_000,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Away => "to sessions away",
            Self::Forwarding => "to kept sessions",
            Self::Queue => "queue",
            Self::OneInFlight => "one in flight",
            Self::Unkept => "QoS 0, nothing kept",
        })
    }
}
