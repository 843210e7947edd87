//! Acknowledgements, both ways: which of this client's messages the broker has not answered for, and which of its
//! messages must not be received twice. No I/O: packets come in as arguments, and what to answer goes out as a value.
//!
//! ```text
//!   sent:      PUBLISH (1) --> published --PUBACK------------------------------------------> settled
//!              PUBLISH (2) --> published --PUBREC--> released, PUBREL is sent --PUBCOMP----> settled
//!                              `--PUBREC with an error-------------------------------------> settled
//!
//!   received:  PUBLISH (1) --> waiting --handed over, PUBACK is sent-----------------------> forgotten
//!              PUBLISH (2) --> waiting --handed over, PUBREC is sent--> known --PUBREL, PUBCOMP is sent--> forgotten
//! ```
//!
//! A message is acknowledged when the caller gets it, so that one that is never received stays with the broker.

use std::collections::BTreeMap;

use wisp_wire::{PacketId, QoS, ReasonCode};

/// The state of one connection.
#[derive(Default, Debug)]
pub(crate) struct Delivery {
    last_id: u16,
    /// Messages of this client that the broker has not settled.
    sent: BTreeMap<PacketId, Sent>,
    /// Messages of the broker with QoS 2 that it has not released: sent again under the same identifier they are no
    /// new ones.
    unreleased: BTreeMap<PacketId, Received>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    Published(QoS),
    /// With the code of PUBREC, which says more than that of PUBCOMP.
    Released(ReasonCode),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Received {
    Waiting,
    HandedOver,
}

/// What an acknowledgement of the broker means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// PUBREL is to be sent.
    Release,
    /// The broker has answered for the message, with this code.
    Settled(ReasonCode),
}

/// What to do with a message that came with QoS 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    New,
    /// It waits to be received, and is acknowledged then.
    Waits,
    /// The caller has it: only PUBREC is to be sent, once more.
    Known,
}

impl Delivery {
    /// An identifier that no message on its way has.
    pub(crate) fn take_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = PacketId::new(self.last_id).expect("counts from 1 to 65535 and around");
            if !self.sent.contains_key(&id) {
                return id;
            }
        }
    }

    /// How many messages the broker has not answered for.
    pub(crate) fn unsettled(&self) -> usize {
        self.sent.len()
    }

    /// A message is on its way.
    pub(crate) fn published(&mut self, id: PacketId, qos: QoS) {
        self.sent.insert(id, Sent::Published(qos));
    }

    /// PUBACK came. None if it answers nothing.
    pub(crate) fn acknowledged(&mut self, id: PacketId, code: ReasonCode) -> Option<Step> {
        self.settle(id, |sent| (sent == Sent::Published(QoS::AtLeastOnce)).then_some(code))
    }

    /// PUBREC came. None if it answers nothing.
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

    /// PUBCOMP came. None if it answers nothing.
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

    /// A message with QoS 2 came.
    pub(crate) fn arrived(&mut self, id: PacketId) -> Arrival {
        match self.unreleased.get(&id) {
            None => {
                self.unreleased.insert(id, Received::Waiting);
                Arrival::New
            }
            Some(Received::Waiting) => Arrival::Waits,
            Some(Received::HandedOver) => Arrival::Known,
        }
    }

    /// The caller gets a message with QoS 2.
    pub(crate) fn handed_over(&mut self, id: PacketId) {
        self.unreleased.insert(id, Received::HandedOver);
    }

    /// PUBREL came. The broker may send it for a message of an earlier connection, so that an unknown one is fine.
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

    fn with(qos: QoS) -> (Delivery, PacketId) {
        let mut delivery = Delivery::default();
        let id = delivery.take_id();
        delivery.published(id, qos);
        (delivery, id)
    }

    #[test]
    fn each_transition_of_what_was_sent() {
        let (mut delivery, id) = with(QoS::AtLeastOnce);
        assert_eq!((delivery.recorded(id, DONE), delivery.completed(id, DONE)), (None, None));
        assert_eq!(delivery.recorded(id, QUOTA), None);
        assert_eq!(delivery.acknowledged(id, NO_ONE), Some(Step::Settled(NO_ONE)));
        assert_eq!((delivery.acknowledged(id, DONE), delivery.unsettled()), (None, 0));

        let (mut delivery, id) = with(QoS::ExactlyOnce);
        assert_eq!((delivery.acknowledged(id, DONE), delivery.completed(id, DONE)), (None, None));
        assert_eq!(delivery.recorded(id, NO_ONE), Some(Step::Release));
        assert_eq!(delivery.recorded(id, NO_ONE), Some(Step::Release), "PUBREC again");
        assert_eq!((delivery.acknowledged(id, DONE), delivery.recorded(id, QUOTA)), (None, None));
        assert_eq!(delivery.completed(id, DONE), Some(Step::Settled(NO_ONE)));
        assert_eq!((delivery.completed(id, DONE), delivery.unsettled()), (None, 0));

        let (mut delivery, id) = with(QoS::ExactlyOnce);
        assert_eq!(delivery.recorded(id, QUOTA), Some(Step::Settled(QUOTA)));
        assert_eq!(delivery.unsettled(), 0);
    }

    #[test]
    fn each_transition_of_what_was_received() {
        let (mut delivery, id) = (Delivery::default(), PacketId::new(7).unwrap());
        assert_eq!((delivery.arrived(id), delivery.arrived(id)), (Arrival::New, Arrival::Waits));
        delivery.handed_over(id);
        assert_eq!(delivery.arrived(id), Arrival::Known);
        delivery.released(id);
        assert_eq!(delivery.arrived(id), Arrival::New);
        delivery.released(PacketId::new(8).unwrap());
    }

    #[test]
    fn identifiers_in_use_are_not_taken() {
        let (mut delivery, first) = with(QoS::AtLeastOnce);
        let others: Vec<_> = (0..65534).map(|_| delivery.take_id()).collect();
        assert!(!others.contains(&first));
        assert_eq!(delivery.take_id(), others[0]);
    }
}
