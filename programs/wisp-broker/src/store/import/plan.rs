//! From the records of a file to the state that a broker takes up, and the list of all that is left out.

use std::collections::{BTreeMap, HashMap, HashSet};

use wisp_broker::{Key, MessageObject, Object, WaitingState};
use wisp_engine::{BuiltMessage, StateBuilder, WaitingMessage};
use wisp_wire::{PacketId, Property, QoS, SubscriptionId, TopicFilter};

use super::file::{
    ClientMessage, ClientRecord, FileFault, MessageRecord, Progress, Record, Records, SubscriptionRecord,
};
use super::report::{LeftOut, Report};

/// The state to import. Its messages borrow the bytes of the file.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    messages: Vec<PlannedMessage<'a>>,
    sessions: Vec<PlannedSession<'a>>,
    /// The retained message of each topic.
    retained: BTreeMap<&'a str, usize>,
    pub(crate) report: Report,
}

#[derive(Debug)]
struct PlannedMessage<'a> {
    record: MessageRecord<'a>,
    /// The properties that are forwarded.
    properties: Vec<u8>,
    /// The number of sessions that wait for it.
    receivers: u32,
    /// Something in the file refers to it.
    is_used: bool,
}

#[derive(Debug)]
struct PlannedSession<'a> {
    client: ClientRecord<'a>,
    /// Why it is left out.
    left_out: Option<LeftOut>,
    subscriptions: Vec<SubscriptionRecord<'a>>,
    waiting: Vec<PlannedWaiting>,
    /// Packet identifiers of messages to the client.
    sent: HashSet<PacketId>,
    released: Vec<PacketId>,
    /// Packet identifiers of messages from the client.
    incoming: HashSet<PacketId>,
}

/// A message that waits for a session.
#[derive(Debug)]
struct PlannedWaiting {
    message: usize,
    qos: QoS,
    retain: bool,
    subscription_ids: Vec<SubscriptionId>,
    state: WaitingState,
}

/// All records of a file, by kind.
#[derive(Debug, Default)]
struct Contents<'a> {
    messages: Vec<PlannedMessage<'a>>,
    clients: Vec<ClientRecord<'a>>,
    client_messages: Vec<ClientMessage<'a>>,
    subscriptions: Vec<SubscriptionRecord<'a>>,
    retained: Vec<u64>,
    report: Report,
}

impl<'a> Contents<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, FileFault> {
        let mut contents = Self::default();
        for record in Records::new(bytes)? {
            let (offset, record) = record?;
            match record {
                Record::Configuration { is_final } => contents.report.is_of_running = !is_final,
                Record::Message(record) => contents.messages.push(PlannedMessage::new(record)),
                Record::ClientMessage(message) => contents.client_messages.push(message),
                Record::Retained { store_id } => contents.retained.push(store_id),
                Record::Subscription(subscription) => contents.subscriptions.push(subscription),
                Record::Client(client) => contents.clients.push(client),
                Record::Unknown { kind } => {
                    contents.report.leave_out(LeftOut::UnknownChunk, || format!("kind {kind} at offset {offset}"));
                }
            }
        }
        Ok(contents)
    }
}

impl<'a> PlannedMessage<'a> {
    fn new(record: MessageRecord<'a>) -> Self {
        let mut properties = Vec::new();
        let is_forwarded = |property: &Property<'_>| {
            !matches!(
                property,
                Property::TopicAlias(_) | Property::MessageExpiryInterval(_) | Property::SubscriptionIdentifier(_)
            )
        };
        let copied = record.properties.copy_where(&mut properties, is_forwarded);
        debug_assert!(copied.is_ok(), "properties that were read can be written");
        Self { record, properties, receivers: 0, is_used: false }
    }

    fn has_expired(&self, now_s: u64) -> bool {
        self.record.expires_s.is_some_and(|at_s| at_s <= now_s)
    }

    fn object(&self, retain: bool) -> MessageObject<'_> {
        let MessageRecord { topic, payload, qos, expires_s, .. } = self.record;
        let expires_ms = expires_s.map(|at_s| at_s * 1000);
        MessageObject { topic: topic.as_str(), properties: &self.properties, payload, qos, retain, expires_ms }
    }
}

impl<'a> PlannedSession<'a> {
    fn new(client: ClientRecord<'a>, now_s: u64) -> Self {
        let left_out = if client.port == 0 && client.client_id.starts_with("local.") {
            Some(LeftOut::BridgeSession)
        } else if client.expiry_s == 0 {
            Some(LeftOut::UnkeptSession)
        } else {
            client.ends_s.filter(|ends_s| *ends_s <= now_s).map(|_| LeftOut::ExpiredSession)
        };
        Self {
            client,
            left_out,
            subscriptions: Vec::new(),
            waiting: Vec::new(),
            sent: HashSet::new(),
            released: Vec::new(),
            incoming: HashSet::new(),
        }
    }

    /// The expiry interval, and since when the client is away, in Unix milliseconds.
    fn lifetime(&self, now_s: u64) -> (u32, u64) {
        let expiry_s = self.client.expiry_s;
        let (expiry_s, since_s) = match self.client.ends_s {
            // For ever, or the client was connected.
            None => (expiry_s, now_s),
            Some(ends_s) if expiry_s < u32::MAX && ends_s >= u64::from(expiry_s) => {
                (expiry_s, now_s.min(ends_s - u64::from(expiry_s)))
            }
            // By persistent_client_expiration, for a client that wanted its session for ever.
            Some(ends_s) => (u32::try_from(ends_s - now_s).unwrap_or(u32::MAX), now_s),
        };
        (expiry_s, since_s * 1000)
    }

    /// The user. mosquitto has no users with a zero byte.
    fn user(&self) -> Result<Option<&'a str>, ()> {
        let user = str::from_utf8(self.client.user).map_err(drop)?;
        if user.contains('\0') {
            return Err(());
        }
        Ok((!user.is_empty()).then_some(user))
    }

    fn subscribe(&mut self, subscription: SubscriptionRecord<'a>) {
        match self.subscriptions.iter_mut().find(|other| other.filter == subscription.filter) {
            Some(other) => *other = subscription,
            None => self.subscriptions.push(subscription),
        }
    }
}

impl<'a> Plan<'a> {
    /// Reads a file at a time in Unix seconds.
    pub(crate) fn new(bytes: &'a [u8], now_s: u64) -> Result<Self, FileFault> {
        let Contents { messages, clients, client_messages, subscriptions, retained, report } = Contents::read(bytes)?;
        let messages_by_id: HashMap<u64, usize> =
            messages.iter().enumerate().map(|(index, message)| (message.record.store_id, index)).collect();
        let mut plan = Self { messages, sessions: Vec::new(), retained: BTreeMap::new(), report };
        let mut sessions_by_id: HashMap<&str, usize> = HashMap::new();
        for client in clients {
            let (client_id, session) = (client.client_id, PlannedSession::new(client, now_s));
            match sessions_by_id.get(client_id) {
                Some(index) => plan.sessions[*index] = session,
                None => {
                    sessions_by_id.insert(client_id, plan.sessions.len());
                    plan.sessions.push(session);
                }
            }
        }
        plan.check_sessions();
        for subscription in subscriptions {
            let session = sessions_by_id.get(subscription.client_id);
            plan.take_subscription(session.copied(), subscription);
        }
        for store_id in retained {
            plan.take_retained(messages_by_id.get(&store_id).copied(), store_id, now_s);
        }
        let mut received = Vec::new();
        for message in client_messages {
            let session = sessions_by_id.get(message.client_id).copied();
            let content = messages_by_id.get(&message.store_id).copied();
            received.extend(plan.take_client_message(session, content, &message, now_s));
        }
        // Behind all that waited for the receivers before.
        for (sender, message) in received {
            plan.deliver(sender, message);
        }
        plan.check_messages();
        plan.count();
        Ok(plan)
    }

    fn check_sessions(&mut self) {
        for session in &self.sessions {
            let client_id = session.client.client_id;
            if let Some(kind) = session.left_out {
                self.report.leave_out(kind, || format!("{client_id:?}"));
            } else if session.user().is_err() {
                self.report.leave_out(LeftOut::User, || format!("of {client_id:?}"));
            }
        }
    }

    fn take_subscription(&mut self, session: Option<usize>, subscription: SubscriptionRecord<'a>) {
        let SubscriptionRecord { client_id, filter, .. } = subscription;
        let example = || format!("{:?} of {client_id:?}", filter.as_str());
        let Some(session) = session.map(|index| &mut self.sessions[index]) else {
            return self.report.leave_out(LeftOut::SubscriptionOfUnknown, example);
        };
        if session.left_out.is_some() {
            self.report.leave_out(LeftOut::SubscriptionOfSuch, example);
        } else if is_of_queues(filter) {
            self.report.leave_out(LeftOut::QueueFilter, example);
        } else {
            session.subscribe(subscription);
        }
    }

    fn take_retained(&mut self, message: Option<usize>, store_id: u64, now_s: u64) {
        let Some(index) = message else {
            return self.report.leave_out(LeftOut::MissingRetained, || format!("store id {store_id}"));
        };
        let message = &mut self.messages[index];
        message.is_used = true;
        let topic = message.record.topic.as_str();
        let kind = if message.has_expired(now_s) {
            LeftOut::ExpiredRetained
        } else if topic == "$SYS" || topic.starts_with("$SYS/") {
            LeftOut::SysRetained
        } else if topic.starts_with(QUEUES) {
            LeftOut::QueueRetained
        } else {
            self.retained.insert(topic, index);
            return;
        };
        self.report.leave_out(kind, || format!("{topic:?}"));
    }

    /// Takes a message of a client. Returns the sender and the message if it is still to be delivered.
    fn take_client_message(
        &mut self,
        session: Option<usize>,
        content: Option<usize>,
        message: &ClientMessage<'a>,
        now_s: u64,
    ) -> Option<(usize, usize)> {
        let ClientMessage { client_id, store_id, qos, retain, progress, .. } = *message;
        if let Some(index) = content {
            self.messages[index].is_used = true;
        }
        let topic = content.map(|index| self.messages[index].record.topic.as_str());
        let example = || match topic {
            Some(topic) => format!("{topic:?} for {client_id:?}"),
            None => format!("store id {store_id} for {client_id:?}"),
        };
        let Some(session_index) = session else {
            self.report.leave_out(LeftOut::MessageOfUnknown, example);
            return None;
        };
        let session = &mut self.sessions[session_index];
        if session.left_out.is_some() {
            self.report.leave_out(LeftOut::MessageOfSuch, example);
            return None;
        }
        // The exchange goes on, with or without a message to deliver.
        let state = match progress {
            Progress::Unknown => {
                self.report.leave_out(LeftOut::UnknownState, example);
                return None;
            }
            Progress::Completing(id) => {
                session.incoming.insert(id);
                return None;
            }
            Progress::Released(id) => {
                if session.sent.insert(id) {
                    session.released.push(id);
                }
                return None;
            }
            Progress::Received(id) => {
                session.incoming.insert(id);
                None
            }
            // mosquitto has used the identifier again before its first message was acknowledged.
            Progress::Sent(id) if session.sent.contains(&id) => Some(WaitingState::Pending),
            Progress::Sent(id) => Some(WaitingState::Sent(id)),
            Progress::Pending => Some(WaitingState::Pending),
        };
        let kind = match content {
            None => LeftOut::MissingMessage,
            Some(index) if self.messages[index].has_expired(now_s) => LeftOut::ExpiredMessage,
            Some(_) if qos == QoS::AtMostOnce => LeftOut::MessageAtQos0,
            Some(index) => {
                let Some(state) = state else { return Some((session_index, index)) };
                if let WaitingState::Sent(id) = state {
                    session.sent.insert(id);
                }
                let subscription_ids = message.properties.subscription_identifiers().collect();
                session.waiting.push(PlannedWaiting { message: index, qos, retain, subscription_ids, state });
                self.messages[index].receivers += 1;
                return None;
            }
        };
        self.report.leave_out(kind, example);
        None
    }

    /// Delivers a message that its sender has not released: the broker takes the release for the end of the exchange.
    fn deliver(&mut self, sender: usize, index: usize) {
        let sender_id = self.sessions[sender].client.client_id;
        let message = &mut self.messages[index];
        let MessageRecord { topic, qos: published, retain, payload, .. } = message.record;
        let mut groups = HashSet::new();
        for session in &mut self.sessions {
            let is_own = session.client.client_id == sender_id;
            let matching = session.subscriptions.iter().filter(|subscription| {
                let SubscriptionRecord { filter, options, .. } = subscription;
                // A message of a group is one member's.
                filter.matches(topic)
                    && !(is_own && options.no_local)
                    && (filter.shared().is_none() || groups.insert(filter.as_str()))
            });
            let (mut qos, mut retained, mut subscription_ids) = (QoS::AtMostOnce, false, Vec::new());
            for SubscriptionRecord { options, id, .. } in matching {
                qos = qos.max(options.qos.min(published));
                retained |= retain && options.retain_as_published;
                subscription_ids.extend(id);
            }
            if qos > QoS::AtMostOnce {
                let state = WaitingState::Pending;
                session.waiting.push(PlannedWaiting { message: index, qos, retain: retained, subscription_ids, state });
                message.receivers += 1;
            }
        }
        if retain && payload.is_empty() {
            self.retained.remove(topic.as_str());
        } else if retain {
            self.retained.insert(topic.as_str(), index);
        }
        self.report.unreleased += 1;
    }

    fn check_messages(&mut self) {
        for message in self.messages.iter().filter(|message| !message.is_used) {
            let topic = message.record.topic.as_str();
            self.report.leave_out(LeftOut::UnusedMessage, || format!("{topic:?}"));
        }
    }

    fn count(&mut self) {
        for session in self.sessions.iter().filter(|session| session.left_out.is_none()) {
            self.report.sessions += 1;
            self.report.subscriptions += session.subscriptions.len() as u64;
            self.report.messages += session.waiting.len() as u64;
            self.report.identifiers += (session.released.len() + session.incoming.len()) as u64;
        }
        self.report.retained = self.retained.len() as u64;
    }

    /// Gives everything to a builder, sessions and messages before the objects that name them.
    pub(crate) fn write<F, E>(&self, builder: &mut StateBuilder<F>, now_s: u64) -> Result<(), E>
    where
        F: FnMut(Key, &Object<'_>) -> Result<(), E>,
    {
        let mut messages: Vec<Option<BuiltMessage>> = Vec::with_capacity(self.messages.len());
        for message in &self.messages {
            let is_waited_for = message.receivers > 0;
            let object = message.object(message.record.retain);
            messages.push(if is_waited_for { Some(builder.message(object, message.receivers)?) } else { None });
        }
        for session in self.sessions.iter().filter(|session| session.left_out.is_none()) {
            let (expiry_s, away_since_ms) = session.lifetime(now_s);
            let user = session.user().unwrap_or_default();
            let key = builder.session(session.client.client_id, expiry_s, Some(away_since_ms), user)?;
            for SubscriptionRecord { filter, options, id, .. } in &session.subscriptions {
                builder.subscription(key, *filter, *options, *id)?;
            }
            for PlannedWaiting { message, qos, retain, subscription_ids, state } in &session.waiting {
                let Some(message) = &mut messages[*message] else { continue };
                let (qos, retain, state) = (*qos, *retain, *state);
                builder.waiting(key, message, WaitingMessage { qos, retain, subscription_ids, state })?;
            }
            for id in &session.released {
                builder.released(key, *id)?;
            }
            for id in &session.incoming {
                builder.incoming(key, *id)?;
            }
        }
        for message in self.retained.values().map(|index| &self.messages[*index]) {
            builder.retained(message.record.sender, message.object(true))?;
        }
        Ok(())
    }
}

/// The beginning of topics that are queues for Wisp, and have no meaning of their own for mosquitto.
const QUEUES: &str = "$queue/";

fn is_of_queues(filter: TopicFilter<'_>) -> bool {
    filter.shared().map_or(filter, |(_, within)| within).as_str().starts_with(QUEUES)
}
