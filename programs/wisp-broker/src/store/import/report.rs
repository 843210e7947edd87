//! The counts of an import, and the things that it left out.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use crate::store::count::Count;

/// The most examples for a kind of thing that is left out.
const EXAMPLES_MAX: usize = 3;

/// The result of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) sessions: u64,
    pub(crate) subscriptions: u64,
    /// Messages that wait for sessions or are unacknowledged there, one for each session.
    pub(crate) messages: u64,
    /// Packet identifiers at QoS 2 whose exchange has not ended, in both directions.
    pub(crate) identifiers: u64,
    pub(crate) retained: u64,
    /// Messages at QoS 2 that mosquitto had not delivered, since their senders had not released them.
    pub(crate) unreleased: u64,
    /// mosquitto was running when it wrote the file.
    pub(crate) is_of_running: bool,
    pub(crate) left_out: BTreeMap<LeftOut, Examples>,
}

/// Kinds of things that are left out, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LeftOut {
    UnkeptSession,
    BridgeSession,
    ExpiredSession,
    SubscriptionOfSuch,
    MessageOfSuch,
    SubscriptionOfUnknown,
    MessageOfUnknown,
    User,
    QueueFilter,
    MessageAtQos0,
    ExpiredMessage,
    MissingMessage,
    UnknownState,
    SysRetained,
    QueueRetained,
    ExpiredRetained,
    MissingRetained,
    UnusedMessage,
    UnknownChunk,
}

/// The number of things, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Examples {
    pub(crate) count: u64,
    pub(crate) first: Vec<String>,
}

impl Report {
    /// Counts a thing that is left out.
    pub(crate) fn leave_out(&mut self, kind: LeftOut, example: impl FnOnce() -> String) {
        let examples = self.left_out.entry(kind).or_default();
        examples.count += 1;
        if examples.first.len() < EXAMPLES_MAX {
            let example = example();
            if !examples.first.contains(&example) {
                examples.first.push(example);
            }
        }
    }
}

impl LeftOut {
    /// One thing, and why it is left out.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::UnkeptSession => ("session", "of clients whose sessions end with their connections"),
            Self::BridgeSession => ("session", "of mosquitto's own bridges, by their names"),
            Self::ExpiredSession => ("session", "that had expired"),
            Self::SubscriptionOfSuch => ("subscription", "of sessions that are left out"),
            Self::MessageOfSuch => ("message", "of sessions that are left out"),
            Self::SubscriptionOfUnknown => ("subscription", "of clients that the file does not have"),
            Self::MessageOfUnknown => ("message", "of clients that the file does not have"),
            Self::User => (
                "user name",
                "with a zero byte, as mosquitto 2.0 writes for clients without one: their sessions are there",
            ),
            Self::QueueFilter => ("subscription", "to topics below $queue/, which are topic queues here"),
            Self::MessageAtQos0 => ("message", "at QoS 0, which does not wait for clients here"),
            Self::ExpiredMessage => ("message", "that had expired before its client had it"),
            Self::MissingMessage => ("message", "of which the file has no content"),
            Self::UnknownState => ("message", "in a state that mosquitto 2.0 and 2.1 do not write"),
            Self::SysRetained => ("retained message", "of $SYS, which the broker publishes itself"),
            Self::QueueRetained => ("retained message", "of topics below $queue/, which are topic queues here"),
            Self::ExpiredRetained => ("retained message", "that had expired"),
            Self::MissingRetained => ("retained message", "of which the file has no content"),
            Self::UnusedMessage => ("message", "that no session in the file waits for"),
            Self::UnknownChunk => ("chunk", "of a kind that mosquitto 2.0 and 2.1 do not write"),
        }
    }
}

impl Display for Report {
    /// A line for each kind of thing.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_of_running {
            writeln!(
                f,
                "note: mosquitto was running when it wrote this file, and later changes are not in it: stop mosquitto, and import again"
            )?;
        }
        if self.unreleased > 0 {
            writeln!(
                f,
                "note: {} at QoS 2 that mosquitto would have delivered when their senders had released them: delivered now",
                Count(self.unreleased, "message")
            )?;
        }
        for (kind, Examples { count, first }) in &self.left_out {
            let (thing, why) = kind.words();
            let more = if *count > first.len() as u64 { ", ..." } else { "" };
            writeln!(f, "left out: {} {why}: {}{more}", Count(*count, thing), first.join(", "))?;
        }
        writeln!(
            f,
            "imported: {}, {}, {} for them, {}, {} at QoS 2 in use",
            Count(self.sessions, "session"),
            Count(self.subscriptions, "subscription"),
            Count(self.messages, "message"),
            Count(self.retained, "retained message"),
            Count(self.identifiers, "packet identifier")
        )
    }
}
