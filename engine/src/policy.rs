//! The door for authentication and access rules: whether a client may connect, publish or subscribe.
//!
//! The broker asks a [`Policy`] about each CONNECT and, if it [restricts messages](Policy::restricts_messages), about
//! each PUBLISH and each filter of a SUBSCRIBE. An answer may come later, from any thread: the connection is not read
//! until then, and the packet is handled again with the answer.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use wisp_wire::{ProtocolVersion, QoS, ReasonCode};

use crate::base::sync::{Mutex, rank};

/// Decides whether clients may connect, publish and subscribe. Called by all workers, in the middle of their turns: a
/// policy that needs time answers [later](Decision::Later).
pub trait Policy: Debug + Send + Sync {
    /// May this client connect? A refusal is sent in CONNACK, where its version has a code for it.
    fn connect(&self, request: &ConnectRequest<'_>) -> Decision;

    /// May the client publish to this topic? With MQTT 5 the acknowledgement carries the refusal; otherwise the message
    /// is acknowledged, dropped and counted.
    fn publish(&self, _request: &PublishRequest<'_>) -> Decision {
        Decision::Allow
    }

    /// May the client subscribe to this filter? SUBACK carries the refusal.
    fn subscribe(&self, _request: &SubscribeRequest<'_>) -> Decision {
        Decision::Allow
    }

    /// Whether [`publish`](Self::publish) and [`subscribe`](Self::subscribe) are asked at all. Asked once, at the
    /// start.
    fn restricts_messages(&self) -> bool {
        true
    }
}

/// The policy of a broker without one.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Policy for AllowAll {
    fn connect(&self, _: &ConnectRequest<'_>) -> Decision {
        Decision::Allow
    }

    fn restricts_messages(&self) -> bool {
        false
    }
}

/// A CONNECT, before its session is looked up.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ConnectRequest<'a> {
    /// The client identifier, or the one the broker assigns.
    pub client_id: &'a str,
    /// The version of MQTT.
    pub version: ProtocolVersion,
    /// The user name, if the client sent one.
    pub username: Option<&'a str>,
    /// The password, if the client sent one.
    pub password: Option<&'a [u8]>,
    /// The topic of the will, if the client has one.
    pub will_topic: Option<&'a str>,
    /// The peer's address, if the host provides it.
    pub peer: Option<SocketAddr>,
    /// The index of the listener in the configuration.
    pub listener: u16,
}

/// A PUBLISH of a connected client, or its will.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PublishRequest<'a> {
    /// The client identifier.
    pub client_id: &'a str,
    /// The topic name, also where the packet has an alias instead.
    pub topic: &'a str,
    /// The QoS of the message.
    pub qos: QoS,
    /// Whether the message is to be retained.
    pub retain: bool,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SubscribeRequest<'a> {
    /// The client identifier.
    pub client_id: &'a str,
    /// The filter, with `$share/GROUP/` or `$queue/` if it begins so.
    pub filter: &'a str,
    /// The QoS asked for.
    pub qos: QoS,
}

/// The decision of a policy.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The request is allowed.
    Allow,
    /// The request is denied, with the reason code for the client.
    Deny(ReasonCode),
    /// The answer comes later. The connection waits for it, at most `connect-timeout-ms`.
    Later(Arc<PendingDecision>),
}

/// An answer that comes later.
#[derive(Debug, Default)]
pub struct PendingDecision {
    verdict: Mutex<Option<Verdict>, { rank::LEAF }>,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is allowed.
    Allow,
    /// The request is denied, with the reason code for the client.
    Deny(ReasonCode),
}

impl PendingDecision {
    /// Gives the answer. The first one counts.
    pub fn answer(&self, verdict: Verdict) {
        self.verdict.lock().get_or_insert(verdict);
    }

    /// The answer, if there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        *self.verdict.lock()
    }
}

/// The policy's answers about one packet, in the order of the questions. A packet that waits for an answer is handled
/// again from its beginning.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    given: Vec<Verdict>,
    next: usize,
    /// The client identifier that the questions about a CONNECT without one were about.
    pub(crate) assigned_id: Option<String>,
}

impl Answers {
    /// The answer given before, or else the policy's. `Err` if it comes later.
    pub(crate) fn ask(&mut self, ask: impl FnOnce() -> Decision) -> Result<Verdict, Arc<PendingDecision>> {
        let verdict = match self.given.get(self.next) {
            Some(verdict) => *verdict,
            None => {
                let verdict = match ask() {
                    Decision::Allow => Verdict::Allow,
                    Decision::Deny(code) => Verdict::Deny(code),
                    Decision::Later(pending) => {
                        self.start_again();
                        return Err(pending);
                    }
                };
                self.given.push(verdict);
                verdict
            }
        };
        self.next += 1;
        Ok(verdict)
    }

    /// Adds the answer that the packet waited for.
    pub(crate) fn give(&mut self, verdict: Verdict) {
        self.given.push(verdict);
        self.start_again();
    }

    /// The packet will be handled from its beginning.
    pub(crate) fn start_again(&mut self) {
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_about_one_packet_keep_the_order_of_the_questions() {
        let mut answers = Answers::default();
        let (denied, pending) = (Verdict::Deny(ReasonCode::NotAuthorized), Arc::<PendingDecision>::default());
        assert_eq!(answers.ask(|| Decision::Deny(ReasonCode::NotAuthorized)).unwrap(), denied);
        assert!(answers.ask(|| Decision::Later(Arc::clone(&pending))).is_err());
        pending.answer(Verdict::Allow);
        pending.answer(denied);
        answers.give(pending.verdict().unwrap());
        let never = || -> Decision { unreachable!("it was asked before") };
        assert_eq!((answers.ask(never).unwrap(), answers.ask(never).unwrap()), (denied, Verdict::Allow));
        assert!(answers.ask(|| Decision::Allow).is_ok(), "the third is new");
    }
}
