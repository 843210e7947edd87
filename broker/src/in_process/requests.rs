//! The requests of a client that the broker has not answered.

use std::sync::Arc;

use foldhash::HashMap;
use wisp_wire::{PacketId, QoS, ReasonCode};

use super::completion::Completion;
use super::error::ClientEnd;

/// Requests by packet identifier.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: HashMap<PacketId, Waiting>,
    /// How many of them are messages.
    messages: usize,
    last_id: u16,
}

/// A request, by the packet that answers it.
#[derive(Debug)]
enum Waiting {
    /// PUBACK, or PUBREC at QoS 2.
    Received(QoS, Arc<Completion<ReasonCode>>),
    /// PUBCOMP. The code is that of PUBREC.
    Complete(ReasonCode, Arc<Completion<ReasonCode>>),
    /// SUBACK or UNSUBACK.
    Filters(Arc<Completion<Vec<ReasonCode>>>),
}

impl Requests {
    /// The number of unanswered messages.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// A packet identifier that no request has; `None` if all are in use.
    pub(super) fn next_id(&mut self) -> Option<PacketId> {
        if self.waiting.len() >= usize::from(u16::MAX) {
            return None;
        }
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id).filter(|id| !self.waiting.contains_key(id)) {
                return Some(id);
            }
        }
    }

    /// Notes a message that was sent.
    pub(super) fn add_message(&mut self, id: PacketId, qos: QoS) -> Arc<Completion<ReasonCode>> {
        let completion = Arc::default();
        self.waiting.insert(id, Waiting::Received(qos, Arc::clone(&completion)));
        self.messages += 1;
        completion
    }

    /// Notes a SUBSCRIBE or UNSUBSCRIBE that was sent.
    pub(super) fn add_filters(&mut self, id: PacketId) -> Arc<Completion<Vec<ReasonCode>>> {
        let completion = Arc::default();
        self.waiting.insert(id, Waiting::Filters(Arc::clone(&completion)));
        completion
    }

    /// Handles PUBACK or PUBREC. True if PUBREL has to follow.
    pub(super) fn received(&mut self, id: PacketId, code: ReasonCode) -> bool {
        match self.waiting.remove(&id) {
            Some(Waiting::Received(QoS::ExactlyOnce, completion)) if !code.is_error() => {
                self.waiting.insert(id, Waiting::Complete(code, completion));
                true
            }
            Some(Waiting::Received(_, completion)) => {
                self.messages -= 1;
                completion.complete(Ok(code));
                false
            }
            other => self.restore(id, other),
        }
    }

    /// Handles PUBCOMP.
    pub(super) fn complete(&mut self, id: PacketId) {
        match self.waiting.remove(&id) {
            Some(Waiting::Complete(code, completion)) => {
                self.messages -= 1;
                completion.complete(Ok(code));
            }
            other => {
                self.restore(id, other);
            }
        }
    }

    /// Handles SUBACK or UNSUBACK.
    pub(super) fn answered(&mut self, id: PacketId, codes: Vec<ReasonCode>) {
        match self.waiting.remove(&id) {
            Some(Waiting::Filters(completion)) => completion.complete(Ok(codes)),
            other => {
                self.restore(id, other);
            }
        }
    }

    /// An answer that does not fit its request changes nothing.
    fn restore(&mut self, id: PacketId, waiting: Option<Waiting>) -> bool {
        debug_assert!(false, "the broker has answered a request that there is not: {id}, {waiting:?}");
        self.waiting.extend(waiting.map(|waiting| (id, waiting)));
        false
    }

    /// The connection has ended before the answers.
    pub(super) fn end(&mut self, end: ClientEnd) {
        for (_, waiting) in self.waiting.drain() {
            match waiting {
                Waiting::Received(_, completion) | Waiting::Complete(_, completion) => completion.complete(Err(end)),
                Waiting::Filters(completion) => completion.complete(Err(end)),
            }
        }
        self.messages = 0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_used_again_only_when_its_request_is_answered() {
        let mut requests = Requests::default();
        let mut ids = Vec::new();
        while let Some(id) = requests.next_id() {
            requests.add_message(id, QoS::AtLeastOnce);
            ids.push(id.get());
        }
        assert!(ids.iter().copied().eq(1..=u16::MAX) && requests.messages() == ids.len());
        let free = PacketId::new(77).unwrap();
        assert!(!requests.received(free, ReasonCode::Success));
        assert_eq!((requests.next_id(), requests.messages()), (Some(free), ids.len() - 1));
    }

    #[test]
    fn a_message_at_qos_2_is_complete_with_the_last_of_its_packets() {
        let mut requests = Requests::default();
        let id = requests.next_id().unwrap();
        let completion = requests.add_message(id, QoS::ExactlyOnce);
        assert!(requests.received(id, ReasonCode::NoMatchingSubscribers));
        assert_eq!((completion.outcome(), requests.messages()), (None, 1));
        requests.complete(id);
        assert_eq!((completion.outcome(), requests.messages()), (Some(Ok(ReasonCode::NoMatchingSubscribers)), 0));
        let refused = requests.next_id().unwrap();
        let completion = requests.add_message(refused, QoS::ExactlyOnce);
        assert!(!requests.received(refused, ReasonCode::QuotaExceeded), "nothing is to be released");
        assert_eq!((completion.outcome(), requests.messages()), (Some(Ok(ReasonCode::QuotaExceeded)), 0));
    }

    #[test]
    fn the_end_of_the_connection_is_the_answer_to_all_requests() {
        let mut requests = Requests::default();
        let (first, second) = (requests.next_id().unwrap(), PacketId::new(2).unwrap());
        let (message, filters) = (requests.add_message(first, QoS::AtLeastOnce), requests.add_filters(second));
        requests.end(ClientEnd::BrokerStopped);
        assert_eq!(message.wait(), Err(ClientEnd::BrokerStopped));
        assert_eq!(filters.wait(), Err(ClientEnd::BrokerStopped));
        assert_eq!(requests.messages(), 0);
    }
}
