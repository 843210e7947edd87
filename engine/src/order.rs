//! Actions of an operator or of the program around the broker. Any thread makes an [`Order`], a worker carries it out in its
//! turns, a bounded part in each, and the [`PendingAction`] has the result.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use wisp_wire::{PacketId, Publish, QoS, ReasonCode, TopicName};

use crate::delivery::outbox::ConnectionId;
use crate::store::Ticket;

/// An action.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Ends the connection of a client. A client of MQTT 5 gets 0x98, Administrative action; its session and its will are treated
    /// as if the connection had failed.
    Disconnect {
        /// The client's identifier.
        client_id: String,
    },
    /// Removes the retained message of a topic. Nobody is told.
    ClearRetained {
        /// The topic.
        topic: String,
    },
    /// Removes the messages of a topic queue or group that are not on loan.
    PurgeQueue {
        /// `$queue/NAME`, or `$share/GROUP/FILTER`.
        name: String,
    },
    /// Removes the messages that wait for a client. Unacknowledged ones stay.
    PurgeSession {
        /// The client's identifier.
        client_id: String,
    },
    /// Publishes a message as the broker.
    Publish(NewMessage),
}

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The QoS. At 1 and 2 the message is stored before the action is done, if the broker has a durable store.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
}

/// The result of an action that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Done {
    /// The client's connection ends.
    Disconnected,
    /// The retained message is removed.
    Cleared,
    /// The messages are removed.
    Purged {
        /// Their number.
        messages: u64,
    },
    /// The message is on its way to its receivers.
    Published {
        /// Whether it has any.
        has_receivers: bool,
    },
}

/// Why an action was not carried out. `Display` is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OrderError {
    /// No client with this identifier is connected.
    NotConnected,
    /// There is no session with this client identifier.
    NoSession,
    /// There is no queue or group with this name.
    NoQueue,
    /// The topic has no retained message.
    NotRetained,
    /// Only the broker changes the topic.
    Reserved,
    /// It is no legal topic name, or has more levels or bytes than allowed.
    Topic,
    /// Messages are not retained here (`retained-max`, `retained-bytes-max`).
    RetainUnavailable,
    /// The message is longer than allowed (`packet-bytes-max`).
    TooLong,
    /// A receiver or a limit on stored messages has no room. Nobody has got the message.
    Full,
    /// A receiver, or the data folder, has held the message back for too long. Nobody has got the message.
    HeldBack,
    /// Too many actions are under way.
    TooMany,
    /// The store could not commit the change.
    StoreFailed,
    /// The broker stops.
    Stopped,
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "no client with this identifier is connected",
            Self::NoSession => "there is no session with this client identifier",
            Self::NoQueue => "there is no topic queue or group with this name",
            Self::NotRetained => "the topic has no retained message",
            Self::Reserved => "only the broker publishes to topics that begin with $SYS: use another topic",
            Self::Topic => "the topic is empty, has a wildcard or U+0000, or has more levels or bytes than allowed",
            Self::RetainUnavailable => "messages are not retained here (retained-max, retained-bytes-max)",
            Self::TooLong => "the message is longer than allowed (packet-bytes-max)",
            Self::Full => {
                "a receiver's queue or a limit on stored messages is full: try again later, or raise the limit"
            }
            Self::HeldBack => "a receiver or the data folder has taken no more for too long: try again later",
            Self::TooMany => "too many actions are under way: try again later",
            Self::StoreFailed => "the data folder could not be written",
            Self::Stopped => "the broker stops",
        })
    }
}

impl std::error::Error for OrderError {}

/// The result of an action.
pub(crate) type Outcome = Result<Done, OrderError>;

/// An action on its way to a worker.
#[derive(Debug)]
pub struct Order {
    pub(crate) action: Action,
    /// Read again when the result is there, if the worker owns it.
    pub(crate) asker: Option<ConnectionId>,
    answer: SyncSender<Outcome>,
}

/// An action under way.
#[derive(Debug)]
pub struct PendingAction(Receiver<Outcome>);

/// An action that a worker carries out.
#[derive(Debug)]
pub(crate) struct PendingOrder {
    pub(crate) order: Order,
    pub(crate) begun_ms: u64,
    pub(crate) progress: Progress,
}

/// The part of an action that is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Progress {
    New,
    /// Messages that are removed, and the number still to be.
    Purging {
        removed: u64,
        left: usize,
    },
    /// Done when the ticket is committed.
    Committing(Ticket, Done),
}

impl Order {
    /// An order, and the place where its result will be.
    pub fn new(action: Action) -> (Self, PendingAction) {
        let (answer, result) = sync_channel(1);
        (Self { action, asker: None, answer }, PendingAction(result))
    }

    /// The same for a connection of the worker that gets it, which reads from the connection when the result is there.
    #[must_use]
    pub fn asked_by(self, connection: ConnectionId) -> Self {
        Self { asker: Some(connection), ..self }
    }

    /// Gives the result.
    pub(crate) fn finish(self, outcome: Outcome) {
        // The asker may have gone.
        let _ = self.answer.try_send(outcome);
    }
}

impl PendingAction {
    /// The result, if it is there. Does not wait.
    pub fn poll(&self) -> Option<Result<Done, OrderError>> {
        match self.0.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(OrderError::Stopped)),
        }
    }

    /// Waits for the result, `limit` at most. `None` if it is not there by then; the action goes on. Not to be called on a thread of the
    /// broker, which would wait for itself.
    pub fn wait(&self, limit: Duration) -> Option<Result<Done, OrderError>> {
        match self.0.recv_timeout(limit) {
            Ok(outcome) => Some(outcome),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(OrderError::Stopped)),
        }
    }
}

impl NewMessage {
    /// The message as a packet.
    pub(crate) fn as_publish(&self) -> Result<Publish<'_>, OrderError> {
        let topic = TopicName::new(&self.topic).map_err(|_| OrderError::Topic)?;
        // No client acknowledges it.
        let packet_id = if self.qos == QoS::AtMostOnce { None } else { PacketId::new(1) };
        Ok(Publish { qos: self.qos, retain: self.retain, packet_id, ..Publish::new(topic, &self.payload) })
    }
}

impl From<ReasonCode> for OrderError {
    fn from(code: ReasonCode) -> Self {
        match code {
            ReasonCode::NotAuthorized => Self::Reserved,
            ReasonCode::TopicNameInvalid => Self::Topic,
            _ => Self::Full,
        }
    }
}
