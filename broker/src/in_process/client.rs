//! A client in the process, as the program has it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use wisp_wire::{
    List, PacketId, Properties, Property, ReasonCode, Subscribe, SubscriptionId, SubscriptionOptions, TopicFilter,
    Unsubscribe,
};

use super::completion::{Completion, Outcome};
use super::content::Publication;
use super::error::{ClientEnd, ClientError};
use super::message::Message;
use super::outgoing::{Accepted, VERSION};
use super::program_half::{ProgramHalf, Wait};
use super::subscription::{Subscription, filter};

/// A client without a socket, in the program that embeds the broker. [`Broker::client`](crate::Broker::client) makes one.
///
/// Its methods take `&self`, so threads can share it. Dropping it is an abnormal end, after which the broker publishes its will.
/// The methods that wait must not be called from a policy or an observer: these run on the worker that would have to answer.
pub struct InProcessClient {
    half: Arc<ProgramHalf>,
    messages: Receiver<Message>,
    client_id: Box<str>,
    session_present: bool,
}

/// A message that was published, on its way. Dropping this changes nothing for the message.
#[derive(Debug)]
pub struct Published(Option<Arc<Completion<ReasonCode>>>);

impl InProcessClient {
    /// The client that the broker has accepted.
    pub(super) fn new(
        half: Arc<ProgramHalf>,
        messages: Receiver<Message>,
        client_id: &str,
        accepted: Accepted,
    ) -> Self {
        let Accepted { session_present, client_id: assigned, .. } = accepted;
        Self { half, messages, client_id: assigned.unwrap_or_else(|| client_id.into()), session_present }
    }

    /// The client identifier, which the broker may have assigned.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Whether the client has the session of an earlier one.
    pub fn session_present(&self) -> bool {
        self.session_present
    }

    /// Publishes a message. While the broker holds the client back, because receivers are full or many messages are unacknowledged,
    /// it waits.
    ///
    /// # Errors
    /// If the message cannot be sent, or the connection has ended.
    pub fn publish(&self, publication: &Publication) -> Result<Published, ClientError> {
        self.send(publication, Wait::Yes)
    }

    /// Publishes a message, and fails with [`ClientError::Full`] in place of waiting.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and if the message does not fit now.
    pub fn try_publish(&self, publication: &Publication) -> Result<Published, ClientError> {
        self.send(publication, Wait::No)
    }

    fn send(&self, publication: &Publication, wait: Wait) -> Result<Published, ClientError> {
        let properties = publication.properties()?;
        let packet = publication.packet(&properties)?;
        let len = packet.encoded_len(VERSION)?;
        self.half.publish(packet, len, wait).map(Published)
    }

    /// Subscribes, and waits for the broker's answer: for each filter the granted QoS or the reason for the refusal.
    ///
    /// # Errors
    /// If a filter is illegal, or the connection has ended.
    pub fn subscribe(&self, subscriptions: &[Subscription]) -> Result<Vec<ReasonCode>, ClientError> {
        self.send_subscribe(subscriptions, &[])
    }

    /// The same, with a number that messages of these subscriptions carry.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_as(
        &self,
        identifier: SubscriptionId,
        subscriptions: &[Subscription],
    ) -> Result<Vec<ReasonCode>, ClientError> {
        self.send_subscribe(subscriptions, &[Property::SubscriptionIdentifier(identifier)])
    }

    fn send_subscribe(
        &self,
        subscriptions: &[Subscription],
        properties: &[Property<'_>],
    ) -> Result<Vec<ReasonCode>, ClientError> {
        let filters: Result<Vec<_>, _> = subscriptions.iter().map(Subscription::to_wire).collect();
        let filters: Vec<(TopicFilter<'_>, SubscriptionOptions)> = filters?;
        let packet = |packet_id: PacketId| {
            let properties = Properties::from_slice(properties);
            Subscribe { packet_id, properties, filters: List::from_slice(&filters) }.into()
        };
        Ok(self.half.request(packet)?.wait()?)
    }

    /// Unsubscribes, and waits for the broker's answer for each filter.
    ///
    /// # Errors
    /// If a filter is illegal, or the connection has ended.
    pub fn unsubscribe(&self, filters: &[&str]) -> Result<Vec<ReasonCode>, ClientError> {
        let filters: Result<Vec<TopicFilter<'_>>, _> = filters.iter().map(|text| filter(text)).collect();
        let filters = filters?;
        let packet = |packet_id: PacketId| {
            let properties = Properties::EMPTY;
            Unsubscribe { packet_id, properties, filters: List::from_slice(&filters) }.into()
        };
        Ok(self.half.request(packet)?.wait()?)
    }

    /// The received messages, in order, for any number of threads and for `select!`. The channel ends when the connection does;
    /// [`end`](Self::end) says why. It is as long as the limits of [`ClientOptions`](super::ClientOptions) allow: the broker keeps
    /// further messages, and treats the client as any receiver that is full.
    pub fn messages(&self) -> &Receiver<Message> {
        &self.messages
    }

    /// The reason of the end, if the connection has ended.
    pub fn end(&self) -> Option<ClientEnd> {
        self.half.end_reason()
    }

    /// Disconnects when the broker has taken all that was published, and waits for that. The will is discarded.
    pub fn disconnect(self) {
        self.half.disconnect(Some(ReasonCode::NORMAL_DISCONNECTION));
        self.half.wait_end();
    }

    /// The same, but the broker publishes the will.
    pub fn disconnect_with_will(self) {
        self.half.disconnect(Some(ReasonCode::DisconnectWithWill));
        self.half.wait_end();
    }
}

impl Drop for InProcessClient {
    fn drop(&mut self) {
        self.half.disconnect(None);
    }
}

impl fmt::Debug for InProcessClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessClient").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl Published {
    /// Waits until the broker has acknowledged the message, at QoS 2 with the last packet of the handshake. At QoS 0 it does
    /// not wait.
    ///
    /// # Errors
    /// If the broker refuses the message, or the connection ends before.
    pub fn wait(self) -> Result<ReasonCode, ClientError> {
        self.0.map_or(Ok(ReasonCode::Success), |completion| verdict(completion.wait()))
    }

    /// The same for at most `timeout`. `None` if the acknowledgement has not come by then.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<ReasonCode>, ClientError> {
        let Some(completion) = &self.0 else { return Ok(Some(ReasonCode::Success)) };
        completion.wait_timeout(timeout).map(verdict).transpose()
    }

    /// The acknowledgement if it has come.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn outcome(&self) -> Result<Option<ReasonCode>, ClientError> {
        let Some(completion) = &self.0 else { return Ok(Some(ReasonCode::Success)) };
        completion.outcome().map(verdict).transpose()
    }
}

fn verdict(outcome: Outcome<ReasonCode>) -> Result<ReasonCode, ClientError> {
    match outcome? {
        code if code.is_error() => Err(ClientError::Refused(code)),
        code => Ok(code),
    }
}
