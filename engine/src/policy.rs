//! The door for authentication and access rules: whether a client may connect, publish or subscribe.
//!
//! The broker asks a [`Policy`] about each CONNECT and, if it [restricts messages](Policy::restricts_messages), about
//! each PUBLISH and each filter of a SUBSCRIBE. An answer may come later, from any thread: the connection is not read
//! until then, and the packet is handled again with the answer.
//!
//! Or the policy gives a client [`Rights`] when it connects. They answer at once, are asked once for a topic and then
//! remembered, and decide also which messages the client is sent.

use std::fmt::{self, Debug};
use std::net::SocketAddr;
use std::sync::Arc;

use wisp_wire::{ProtocolVersion, QoS, ReasonCode};

use crate::base::sync::{Mutex, rank};

/// The number of no listener: clients in the program that embeds the broker have it.
pub const IN_PROCESS_LISTENER: u16 = u16::MAX;

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

    /// Whether it gives clients rights. Asked once, at the start.
    fn grants_rights(&self) -> bool {
        false
    }

    /// The rights of a client that was away when the broker started, if the policy gives rights: for a topic that its session stays
    /// subscribed to, and for its will. `None`: the client gets rights when it connects, and its will is not published.
    fn restored_rights(&self, _client_id: &str, _user: Option<&str>) -> Option<Arc<dyn Rights>> {
        None
    }

    /// A number that changes when rights have changed. Each worker asks several times a second, and then asks the rights of its
    /// clients anew.
    fn version(&self) -> u64 {
        0
    }
}

/// The rights of one client, from the acceptance of its CONNECT on; those of a session are the rights of the client that has it or
/// had it last. They may change with the policy's [version](Policy::version).
pub trait Rights: Debug + Send + Sync {
    /// Whether the client may not use every topic. If not, the others are not asked about topics.
    fn restricts_messages(&self) -> bool;

    /// May the client publish to this topic? Refused like [`Policy::publish`], with the reason code
    /// [`NotAuthorized`](ReasonCode::NotAuthorized). A will is dropped when it is due.
    fn may_publish(&self, topic: &str) -> bool;

    /// May the client be sent messages of this topic? Those it may not have are left out; a shared subscription passes the
    /// client over. For the messages of a topic queue both their topics and `$queue/NAME` are asked about.
    fn may_receive(&self, topic: &str) -> bool;

    /// Whether the client may stay connected after a change. If not, its connection ends with
    /// [`NotAuthorized`](ReasonCode::NotAuthorized).
    fn may_stay(&self) -> bool;

    /// The user name, for log and hooks.
    fn user(&self) -> Option<&str>;
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
    /// The index of the listener in the configuration, or [`IN_PROCESS_LISTENER`].
    pub listener: u16,
    /// The name in the client's certificate, if its listener verifies certificates and takes a name from them.
    pub certificate_name: Option<&'a str>,
}

impl<'a> ConnectRequest<'a> {
    /// A CONNECT without user, password and will, to the first listener. The fields can be set; this is for tests of policies.
    pub fn new(client_id: &'a str, version: ProtocolVersion) -> Self {
        Self {
            client_id,
            version,
            username: None,
            password: None,
            will_topic: None,
            peer: None,
            listener: 0,
            certificate_name: None,
        }
    }

    /// Whether the client is in the program that embeds the broker.
    pub fn is_in_process(&self) -> bool {
        self.listener == IN_PROCESS_LISTENER
    }
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
    /// The client may connect, with these rights. About other packets it says the same as `Allow`.
    AllowAs(Arc<dyn Rights>),
    /// The request is denied, with the reason code for the client.
    Deny(ReasonCode),
    /// The answer comes later. The connection waits for it, at most `connect-timeout-ms`.
    Later(Arc<PendingDecision>),
}

/// An answer that comes later.
#[derive(Default)]
pub struct PendingDecision {
    verdict: Mutex<Option<Verdict>, { rank::LEAF }>,
    poll: Option<Box<Poll>>,
}

/// Works on an answer until it is there.
type Poll = dyn Fn() -> Option<Verdict> + Send + Sync;

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The request is allowed.
    Allow,
    /// The client may connect, with these rights.
    AllowAs(Arc<dyn Rights>),
    /// The request is denied, with the reason code for the client.
    Deny(ReasonCode),
}

impl PendingDecision {
    /// An answer that no thread gives: each worker that waits for it calls `poll`, about once a millisecond, until there is one. For
    /// hosts without threads.
    pub fn polled(poll: impl Fn() -> Option<Verdict> + Send + Sync + 'static) -> Self {
        Self { verdict: Mutex::default(), poll: Some(Box::new(poll)) }
    }

    /// Gives the answer. The first one counts.
    pub fn answer(&self, verdict: Verdict) {
        self.verdict.lock().get_or_insert(verdict);
    }

    /// The answer, if there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        let given = self.verdict.lock().clone();
        given.or_else(|| {
            let verdict = self.poll.as_ref()?()?;
            self.answer(verdict.clone());
            Some(verdict)
        })
    }
}

impl Debug for PendingDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingDecision").field("verdict", &self.verdict).finish_non_exhaustive()
    }
}

impl Verdict {
    /// Whether the request is allowed.
    pub fn is_allowed(&self) -> bool {
        !matches!(self, Self::Deny(_))
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
    /// The name in the certificate of a client whose CONNECT is awaited.
    pub(crate) certificate_name: Option<Box<str>>,
}

impl Answers {
    /// The answer given before, or else the policy's. `Err` if it comes later.
    pub(crate) fn ask(&mut self, ask: impl FnOnce() -> Decision) -> Result<Verdict, Arc<PendingDecision>> {
        let verdict = match self.given.get(self.next) {
            Some(verdict) => verdict.clone(),
            None => {
                let verdict = match ask() {
                    Decision::Allow => Verdict::Allow,
                    Decision::AllowAs(rights) => Verdict::AllowAs(rights),
                    Decision::Deny(code) => Verdict::Deny(code),
                    Decision::Later(pending) => {
                        self.start_again();
                        return Err(pending);
                    }
                };
                self.given.push(verdict.clone());
                verdict
            }
        };
        self.next += 1;
        Ok(verdict)
    }

    /// Whether nothing was answered yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty()
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
        let pending = Arc::<PendingDecision>::default();
        let denied = || Verdict::Deny(ReasonCode::NotAuthorized);
        assert!(!answers.ask(|| Decision::Deny(ReasonCode::NotAuthorized)).unwrap().is_allowed());
        assert!(answers.ask(|| Decision::Later(Arc::clone(&pending))).is_err());
        pending.answer(Verdict::Allow);
        pending.answer(denied());
        answers.give(pending.verdict().unwrap());
        let never = || -> Decision { unreachable!("it was asked before") };
        assert!(!answers.ask(never).unwrap().is_allowed());
        assert!(answers.ask(never).unwrap().is_allowed(), "the first answer counts");
        assert!(answers.ask(|| Decision::Allow).is_ok(), "the third is new");
    }

    #[test]
    fn a_polled_answer_is_worked_on_until_it_is_there() {
        let left = std::sync::atomic::AtomicUsize::new(2);
        let poll = move || (left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 0).then_some(Verdict::Allow);
        let pending = PendingDecision::polled(poll);
        assert_eq!([(); 5].map(|()| pending.verdict().is_some()), [false, false, true, true, true]);
    }
}
