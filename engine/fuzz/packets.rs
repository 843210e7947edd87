//! Packets of clients, as the input says.

use wisp_wire::{
    Connect, EncodeError, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, RetainHandling, Subscribe,
    SubscriptionId, SubscriptionOptions, Subscriptions, TopicFilter, TopicFilters, TopicName, Unsubscribe, Will,
};

/// The client identifiers.
pub(crate) const IDS: [&str; 4] = ["0", "1", "2", "3"];
pub(crate) const TOPICS: [&str; 8] = ["a", "a/b", "b", "$queue/q", "$queue/r", "$queue/dead", "a/b/c", "$s/a"];
const FILTERS: [&str; 12] = [
    "a",
    "#",
    "a/+",
    "a/#",
    "$share/g/#",
    "$share/g/a",
    "$share/h/a/+",
    "$queue/q",
    "$queue/r",
    "$queue/dead",
    "+/b",
    "$s/#",
];

/// The input, read a number at a time. Zeros follow its end.
pub(crate) struct Dice<'a>(pub(crate) &'a [u8]);

impl<'a> Dice<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        usize::from(self.byte()) % most
    }

    pub(crate) fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let len = self.below(64).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    pub(crate) fn qos(&mut self) -> QoS {
        self.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }

    pub(crate) fn packet_id(&mut self) -> PacketId {
        PacketId::new(1 + self.below(6) as u16).expect("it is not 0")
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) -> Option<Vec<u8>> {
    let mut packet = Vec::new();
    write(&mut packet).ok()?;
    Some(packet)
}

/// A CONNECT of a client; some take over the session of another.
pub(crate) fn connect(client: usize, version: ProtocolVersion, dice: &mut Dice<'_>) -> Vec<u8> {
    let id = IDS[if dice.below(8) == 7 { dice.below(IDS.len()) } else { client }];
    let mut properties = Vec::new();
    let mut of_will = Vec::new();
    if version.is_v5() {
        properties.push(Property::SessionExpiryInterval(dice.pick(&[0, 2, 9, u32::MAX])));
        properties.extend(
            dice.pick(&[None, Some(1), Some(2)])
                .and_then(|most: u16| most.try_into().ok())
                .map(Property::ReceiveMaximum),
        );
        properties.push(Property::TopicAliasMaximum(dice.pick(&[0, 1, 3])));
        properties.extend(
            dice.pick(&[None, Some(45)]).and_then(|most: u32| most.try_into().ok()).map(Property::MaximumPacketSize),
        );
        of_will.push(Property::WillDelayInterval(dice.pick(&[0, 1, 5])));
    }
    let will = dice.bit().then(|| Will {
        topic: TopicName::new(dice.pick(&TOPICS)).expect("legal"),
        payload: dice.bytes(),
        qos: dice.qos(),
        retain: dice.bit(),
        properties: Properties::from_slice(&of_will),
    });
    let connect = Connect {
        version,
        clean_start: dice.bit(),
        keep_alive_s: dice.pick(&[0, 2]),
        client_id: id,
        properties: Properties::from_slice(&properties),
        will,
        username: dice.bit().then_some("user"),
        password: None,
    };
    written(|out| connect.encode(version, out)).unwrap_or_default()
}

pub(crate) fn subscribe(version: ProtocolVersion, dice: &mut Dice<'_>) -> Option<Vec<u8>> {
    let count = 1 + dice.below(3);
    let filters: Vec<_> = (0..count)
        .map(|_| {
            let filter = dice.pick(&FILTERS);
            let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
            let options = SubscriptionOptions {
                qos: dice.qos(),
                no_local: version.is_v5() && !filter.starts_with("$share") && dice.bit(),
                retain_as_published: version.is_v5() && dice.bit(),
                retain_handling: if version.is_v5() { dice.pick(&handling) } else { RetainHandling::Send },
            };
            (TopicFilter::new(filter).expect("legal"), options)
        })
        .collect();
    let id = SubscriptionId::new(dice.below(3) as u32).filter(|_| version.is_v5());
    let properties: Vec<_> = id.map(Property::SubscriptionIdentifier).into_iter().collect();
    let subscribe = Subscribe {
        packet_id: dice.packet_id(),
        properties: Properties::from_slice(&properties),
        filters: Subscriptions::from_slice(&filters),
    };
    written(|out| subscribe.encode(version, out))
}

pub(crate) fn unsubscribe(version: ProtocolVersion, dice: &mut Dice<'_>) -> Option<Vec<u8>> {
    let filters = [TopicFilter::new(dice.pick(&FILTERS)).expect("legal")];
    let unsubscribe = Unsubscribe {
        packet_id: dice.packet_id(),
        properties: Properties::EMPTY,
        filters: TopicFilters::from_slice(&filters),
    };
    written(|out| unsubscribe.encode(version, out))
}

pub(crate) fn publish(version: ProtocolVersion, dice: &mut Dice<'_>) -> Option<Vec<u8>> {
    let mut packets = Vec::new();
    for _ in 0..=dice.below(4) {
        let qos = dice.qos();
        let mut properties = Vec::new();
        if version.is_v5() {
            properties.extend(dice.pick(&[None, None, Some(1), Some(2)]).map(Property::MessageExpiryInterval));
            properties.extend(
                dice.pick(&[None, Some(1), Some(2)])
                    .and_then(|alias: u16| alias.try_into().ok())
                    .map(Property::TopicAlias),
            );
        }
        let nameless = dice.below(4) == 3 && !properties.is_empty();
        let long = vec![b'x'; if dice.below(8) == 7 { 700 } else { 0 }];
        let publish = Publish {
            dup: qos != QoS::AtMostOnce && dice.bit(),
            qos,
            retain: dice.bit(),
            topic: (!nameless).then(|| TopicName::new(dice.pick(&TOPICS)).expect("legal")),
            packet_id: (qos != QoS::AtMostOnce).then(|| dice.packet_id()),
            properties: Properties::from_slice(&properties),
            payload: if long.is_empty() { dice.bytes() } else { &long },
        };
        packets.extend(written(|out| publish.encode(version, out)).unwrap_or_default());
    }
    Some(packets)
}

/// A PUBLISH that deletes the retained message of a topic.
pub(crate) fn deletion(version: ProtocolVersion, topic: &str) -> Vec<u8> {
    let publish = Publish { retain: true, ..Publish::new(TopicName::new(topic).expect("legal"), b"") };
    written(|out| publish.encode(version, out)).expect("it is short")
}
