//! The packet identifiers of one connection and the state behind each, in both directions. No I/O: packets are
//! arguments, and the packet to answer with is a return value.
//!
//! ```text
//!   sent:      PUBLISH (1) --> published --PUBACK------------------------------------------> settled
//!              PUBLISH (2) --> published --PUBREC--> released, PUBREL is sent --PUBCOMP----> settled
//!                              `--PUBREC with an error-------------------------------------> settled
//!              SUBSCRIBE, UNSUBSCRIBE --> requested --SUBACK, UNSUBACK---------------------> settled
//!
//!   received:  PUBLISH (1) --> unacknowledged --accepted, PUBACK is sent-------------------> forgotten
//!              PUBLISH (2) --> unacknowledged --accepted, PUBREC is sent--> accepted --PUBREL, PUBCOMP is sent--> forgotten
//! ```
//!
//! A message is acknowledged when the caller accepts it, so that the broker keeps a message that is never accepted.

use std::collections::BTreeMap;

use wisp_wire::{PacketId, QoS, ReasonCode};

/// The state of one connection.
#[derive(Default, Debug)]
pub(crate) struct Acknowledgements {
    last_id: u16,
    /// Messages of this client that the broker has not settled.
    sent: BTreeMap<PacketId, Sent>,
    /// Requests of this client that the broker has not answered.
    requests: BTreeMap<PacketId, Request>,
    /// Messages of the broker with QoS 2 that it has not released. The same identifier again is the same message.
    unreleased: BTreeMap<PacketId, Received>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    Published(QoS),
    /// With the code of PUBREC, which says more than the code of PUBCOMP.
    Released(ReasonCode),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Received {
    Unacknowledged,
    Accepted,
}

/// A SUBSCRIBE or UNSUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    pub(crate) kind: RequestKind,
    pub(crate) filter_count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RequestKind {
    Subscribe,
    Unsubscribe,
}

/// The consequence of an acknowledgement from the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// PUBREL is to be sent.
    Release,
    /// The broker has taken over or refused the message, with this code.
    Settled(ReasonCode),
}

/// How to handle a message that arrived with QoS 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    New,
    /// A repetition of a message that the caller has not accepted yet: nothing to do.
    Unacknowledged,
    /// A repetition of a message that the caller has accepted: only PUBREC is to be sent, once more.
    Accepted,
}

impl Acknowledgements {
    /// An unused identifier, or `None` if all are in use.
    pub(crate) fn take_id(&mut self) -> Option<PacketId> {
        (0..u16::MAX).find_map(|_| {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            PacketId::new(self.last_id).filter(|id| !self.sent.contains_key(id) && !self.requests.contains_key(id))
        })
    }

    /// The number of messages that the broker has not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.sent.len()
    }

    /// A message was sent.
    pub(crate) fn published(&mut self, id: PacketId, qos: QoS) {
        self.sent.insert(id, Sent::Published(qos));
    }

    /// A SUBSCRIBE or UNSUBSCRIBE was sent.
    pub(crate) fn requested(&mut self, id: PacketId, request: Request) {
        self.requests.insert(id, request);
    }

    /// SUBACK or UNSUBACK arrived: returns the number of filters in the request, or `None` if there is no such request.
    pub(crate) fn answered(&mut self, id: PacketId, kind: RequestKind) -> Option<usize> {
        self.requests.get(&id).filter(|request| request.kind == kind)?;
        self.requests.remove(&id).map(|request| request.filter_count)
    }

    /// PUBACK arrived. `None` if it fits no message.
    pub(crate) fn acknowledged(&mut self, id: PacketId, code: ReasonCode) -> Option<Step> {
        self.settle(id, |sent| (sent == Sent::Published(QoS::AtLeastOnce)).then_some(code))
    }

    /// PUBREC arrived. `None` if it fits no message.
    pub(crate) fn recorded(&mut self, id: PacketId, code: ReasonCode) -> Option<Step> {
        if code.is_error() {
            return self.settle(id, |sent| (sent == Sent::Published(QoS::ExactlyOnce)).then_some(code));
        }
        match self.sent.get_mut(&id)? {
            Sent::Published(QoS::ExactlyOnce) => {
                self.sent.insert(id, Sent::Released(code));
            }
            Sent::Released(_) => {}
            Sent::Published(_) => return None,
        }
        Some(Step::Release)
    }

    /// PUBCOMP arrived. `None` if it fits no message.
    pub(crate) fn completed(&mut self, id: PacketId, code: ReasonCode) -> Option<Step> {
        self.settle(id, |sent| match sent {
            Sent::Released(recorded) => Some(if code.is_error() { code } else { recorded }),
            Sent::Published(_) => None,
        })
    }

    fn settle(&mut self, id: PacketId, code: impl FnOnce(Sent) -> Option<ReasonCode>) -> Option<Step> {
        let code = code(*self.sent.get(&id)?)?;
        self.sent.remove(&id);
        Some(Step::Settled(code))
    }

    /// A message with QoS 2 arrived.
    pub(crate) fn arrived(&mut self, id: PacketId) -> Arrival {
        match self.unreleased.get(&id) {
            None => {
                self.unreleased.insert(id, Received::Unacknowledged);
                Arrival::New
            }
            Some(Received::Unacknowledged) => Arrival::Unacknowledged,
            Some(Received::Accepted) => Arrival::Accepted,
        }
    }

    /// The caller accepts a message with QoS 2.
    pub(crate) fn accepted(&mut self, id: PacketId) {
        self.unreleased.insert(id, Received::Accepted);
    }

    /// PUBREL arrived. An unknown identifier is legal: the message may have come by an earlier connection.
    pub(crate) fn released(&mut self, id: PacketId) {
        self.unreleased.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_ONE: ReasonCode = ReasonCode::NoMatchingSubscribers;
    const DONE: ReasonCode = ReasonCode::Success;
    const QUOTA: ReasonCode = ReasonCode::QuotaExceeded;

    fn with(qos: QoS) -> (Acknowledgements, PacketId) {
        let mut state = Acknowledgements::default();
        let id = state.take_id().unwrap();
        state.published(id, qos);
        (state, id)
    }

    #[test]
    fn each_transition_of_a_sent_message() {
        let (mut state, id) = with(QoS::AtLeastOnce);
        assert_eq!((state.recorded(id, DONE), state.completed(id, DONE)), (None, None));
        assert_eq!(state.recorded(id, QUOTA), None);
        assert_eq!(state.acknowledged(id, NO_ONE), Some(Step::Settled(NO_ONE)));
        assert_eq!((state.acknowledged(id, DONE), state.unsettled()), (None, 0));

        let (mut state, id) = with(QoS::ExactlyOnce);
        assert_eq!((state.acknowledged(id, DONE), state.completed(id, DONE)), (None, None));
        assert_eq!(state.recorded(id, NO_ONE), Some(Step::Release));
        assert_eq!(state.recorded(id, NO_ONE), Some(Step::Release), "PUBREC again");
        assert_eq!((state.acknowledged(id, DONE), state.recorded(id, QUOTA)), (None, None));
        assert_eq!(state.completed(id, DONE), Some(Step::Settled(NO_ONE)));
        assert_eq!((state.completed(id, DONE), state.unsettled()), (None, 0));

        let (mut state, id) = with(QoS::ExactlyOnce);
        assert_eq!(state.recorded(id, QUOTA), Some(Step::Settled(QUOTA)));
        assert_eq!(state.unsettled(), 0);
    }

    #[test]
    fn each_transition_of_a_received_message() {
        let (mut state, id) = (Acknowledgements::default(), PacketId::new(7).unwrap());
        assert_eq!((state.arrived(id), state.arrived(id)), (Arrival::New, Arrival::Unacknowledged));
        state.accepted(id);
        assert_eq!(state.arrived(id), Arrival::Accepted);
        state.released(id);
        assert_eq!(state.arrived(id), Arrival::New);
        state.released(PacketId::new(8).unwrap());
    }

    #[test]
    fn identifiers_in_use_are_not_taken() {
        let (mut state, first) = with(QoS::AtLeastOnce);
        let others: Vec<_> = (0..65534).map(|_| state.take_id().unwrap()).collect();
        assert!(!others.contains(&first));
        assert_eq!(state.take_id(), Some(others[0]));
        let request = Request { kind: RequestKind::Subscribe, filter_count: 1 };
        for id in &others {
            state.requested(*id, request);
        }
        assert_eq!(state.take_id(), None);
        assert_eq!(state.answered(others[7], RequestKind::Subscribe), Some(1));
        assert_eq!(state.take_id(), Some(others[7]));
    }

    #[test]
    fn an_answer_fits_one_request_of_its_kind() {
        let (mut state, id) = (Acknowledgements::default(), PacketId::new(7).unwrap());
        state.requested(id, Request { kind: RequestKind::Unsubscribe, filter_count: 3 });
        assert_eq!(state.answered(id, RequestKind::Subscribe), None);
        assert_eq!(state.answered(id, RequestKind::Unsubscribe), Some(3));
        assert_eq!(state.answered(id, RequestKind::Unsubscribe), None);
    }
}
