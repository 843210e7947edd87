//! Random operations of several clients at QoS 0 that hold their senders back, compared with a model: a list of
//! subscriptions for each client, and a copy of each message for each client with a matching subscription.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wisp_engine::{EndReason, Limits};
use wisp_wire::{ProtocolVersion, QoS, SubscriptionOptions, TopicFilter, TopicName};

use crate::support::{Peer, V3, V5, World, connect, publish, subscribe_with, unsubscribe};

const CLIENTS: usize = 4;
const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "b", "/b", "$a/b"];
const FILTERS: [&str; 10] = ["a", "a/b", "#", "+", "+/b", "a/#", "a/+/c", "/#", "$a/+", "b"];

/// So few that senders are sometimes held back.
const QUEUE_MESSAGES_MAX: usize = 12;

type Message = (String, Vec<u8>);

#[derive(Clone, Debug)]
enum Operation {
    /// Also takes over, if the client is connected already.
    Connect {
        client: usize,
        five: bool,
    },
    Subscribe {
        client: usize,
        filters: Vec<&'static str>,
        no_local: bool,
    },
    Unsubscribe {
        client: usize,
        filter: &'static str,
    },
    /// In one read.
    Publish {
        client: usize,
        topics: Vec<&'static str>,
    },
    Read {
        client: usize,
    },
    Disconnect {
        client: usize,
    },
    /// The connection ends without DISCONNECT.
    Vanish {
        client: usize,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    use prop::collection::vec;
    use prop::sample::select;
    prop_oneof![
        3 => (0..CLIENTS, any::<bool>()).prop_map(|(client, five)| Operation::Connect { client, five }),
        5 => (0..CLIENTS, vec(select(&FILTERS[..]), 1..4), any::<bool>())
            .prop_map(|(client, filters, no_local)| Operation::Subscribe { client, filters, no_local }),
        2 => (0..CLIENTS, select(&FILTERS[..])).prop_map(|(client, filter)| Operation::Unsubscribe { client, filter }),
        9 => (0..CLIENTS, vec(select(&TOPICS[..]), 1..6))
            .prop_map(|(client, topics)| Operation::Publish { client, topics }),
        4 => (0..CLIENTS).prop_map(|client| Operation::Read { client }),
        1 => (0..CLIENTS).prop_map(|client| Operation::Disconnect { client }),
        1 => (0..CLIENTS).prop_map(|client| Operation::Vanish { client }),
    ]
}

/// A connection, and its state in the model.
struct Connection {
    peer: Peer,
    version: ProtocolVersion,
    /// Filter to no-local.
    subscriptions: BTreeMap<&'static str, bool>,
    expected: Vec<Message>,
    unread: usize,
}

impl Connection {
    fn wants(&self, topic: &str, own: bool) -> bool {
        let topic = TopicName::new(topic).unwrap();
        let matching = self.subscriptions.iter().filter(|(filter, _)| TopicFilter::new(filter).unwrap().matches(topic));
        matching.into_iter().any(|(_, no_local)| !(own && *no_local))
    }

    fn read(&mut self) {
        self.peer.read();
        self.unread = 0;
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.peer.messages(), std::mem::take(&mut self.expected));
        Ok(())
    }
}

struct Both {
    world: World,
    clients: [Option<Connection>; CLIENTS],
    ended: Vec<Connection>,
    messages: u32,
}

impl Both {
    fn apply(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        self.world.now_ms += 1;
        match operation {
            Operation::Connect { client, five } => self.connect(client, if five { V5 } else { V3 })?,
            Operation::Subscribe { client, filters, no_local } => {
                let Some(connection) = &mut self.clients[client] else { return Ok(()) };
                let no_local = no_local && connection.version.is_v5();
                let options = SubscriptionOptions { no_local, ..SubscriptionOptions::new(QoS::AtMostOnce) };
                let packet = subscribe_with(connection.version, &filters, options, &[]);
                prop_assert!(self.world.feed(&mut connection.peer, &packet).end.is_none());
                connection.subscriptions.extend(filters.into_iter().map(|filter| (filter, no_local)));
            }
            Operation::Unsubscribe { client, filter } => {
                let Some(connection) = &mut self.clients[client] else { return Ok(()) };
                let outcome = self.world.feed(&mut connection.peer, &unsubscribe(connection.version, &[filter]));
                let had = connection.subscriptions.remove(filter).is_some();
                if connection.version.is_v5() {
                    prop_assert_eq!(outcome.replies.last(), Some(if had { &0 } else { &0x11 }));
                }
            }
            Operation::Publish { client, topics } => self.publish(client, &topics)?,
            Operation::Read { client } => {
                if let Some(connection) = &mut self.clients[client] {
                    connection.read();
                }
            }
            Operation::Disconnect { client } => {
                let Some(mut connection) = self.clients[client].take() else { return Ok(()) };
                let outcome = self.world.feed(&mut connection.peer, &[0xe0, 0]);
                prop_assert!(matches!(outcome.reason(), Some(EndReason::Disconnected(_))));
                self.end(connection);
            }
            Operation::Vanish { client } => {
                let Some(connection) = self.clients[client].take() else { return Ok(()) };
                self.end(connection);
            }
        }
        Ok(())
    }

    fn end(&mut self, mut connection: Connection) {
        connection.read();
        self.world.close(&mut connection.peer, EndReason::Closed);
        self.ended.push(connection);
    }

    fn connect(&mut self, client: usize, version: ProtocolVersion) -> Result<(), TestCaseError> {
        let mut peer = self.world.accept();
        let outcome = self.world.feed(&mut peer, &connect(version, &format!("client {client}")));
        let old = self.clients[client].take();
        prop_assert_eq!(outcome.taken_over, old.as_ref().map(|old| old.peer.id()));
        if let Some(old) = old {
            self.end(old);
        }
        let connection = Connection { peer, version, subscriptions: BTreeMap::new(), expected: vec![], unread: 0 };
        self.clients[client] = Some(connection);
        Ok(())
    }

    fn publish(&mut self, client: usize, topics: &[&'static str]) -> Result<(), TestCaseError> {
        let Some(mut sender) = self.clients[client].take() else { return Ok(()) };
        let messages: Vec<Message> = topics
            .iter()
            .map(|topic| {
                self.messages += 1;
                ((*topic).to_owned(), format!("{client} sends {}", self.messages).into_bytes())
            })
            .collect();
        let packets: Vec<Vec<u8>> =
            messages.iter().map(|(topic, payload)| publish(sender.version, topic, payload)).collect();
        let mut received = self.world.stats().messages_received;
        let outcome = self.world.feed(&mut sender.peer, &packets.concat());
        prop_assert!(outcome.end.is_none());
        self.clients[client] = Some(sender);
        let mut messages = messages.into_iter().peekable();
        loop {
            let accepted = self.world.stats().messages_received - received;
            received += accepted;
            for message in messages.by_ref().take(accepted as usize) {
                for receiver in self.receivers(client, &message.0) {
                    receiver.unread += 1;
                    prop_assert!(receiver.unread <= QUEUE_MESSAGES_MAX);
                    receiver.expected.push(message.clone());
                }
            }
            let Some((topic, _)) = messages.peek().cloned() else { break };
            // The first message that was not accepted: a receiver is full.
            prop_assert_eq!(self.world.worker.paused(), 1);
            prop_assert!(self.receivers(client, &topic).any(|receiver| receiver.unread > 0));
            self.clients.iter_mut().flatten().for_each(Connection::read);
            self.world.run();
        }
        prop_assert_eq!(self.world.worker.paused(), 0);
        Ok(())
    }

    /// The clients that get a message of `sender`.
    fn receivers(&mut self, sender: usize, topic: &str) -> impl Iterator<Item = &mut Connection> {
        let clients = self.clients.iter_mut().enumerate();
        let clients = clients.filter_map(|(number, client)| Some((number, client.as_mut()?)));
        clients.filter(move |(number, client)| client.wants(topic, *number == sender)).map(|(_, client)| client)
    }

    /// Each client got exactly the messages of the model, and nothing is left after they disconnect.
    fn finish(mut self) -> Result<(), TestCaseError> {
        let mut connections = self.ended;
        connections.extend(self.clients.iter_mut().filter_map(Option::take));
        for connection in &mut connections {
            connection.check()?;
            self.world.close(&mut connection.peer, EndReason::Closed);
        }
        prop_assert_eq!(self.world.stats().buffered_bytes, 0);
        Ok(())
    }
}

proptest! {
    #[test]
    fn every_receiver_gets_exactly_its_messages_in_order(operations in prop::collection::vec(operation(), 1..120)) {
        let limits = Limits::DEFAULT.with(|limits| limits.queue_messages_max = QUEUE_MESSAGES_MAX);
        let mut both = Both {
            world: World::new(limits),
            clients: Default::default(),
            ended: Vec::new(),
            messages: 0,
        };
        // Otherwise the first half of each run would only connect clients.
        for client in 0..CLIENTS {
            both.apply(Operation::Connect { client, five: client % 2 == 0 })?;
        }
        for operation in operations {
            both.apply(operation)?;
        }
        both.finish()?;
    }
}
