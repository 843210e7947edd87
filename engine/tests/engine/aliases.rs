//! Topic aliases, both ways, on one connection and not on the next.

use wisp_engine::{EndReason, Limits};
use wisp_wire::{Packet, Property, decode};

use crate::packets::{QOS_0, QOS_1, STAYS, again, message, message_with, puback};
use crate::support::{Peer, V5, World};

/// Topic name, alias and payload of each PUBLISH, as it was written.
fn written(peer: &mut Peer) -> Vec<(Option<String>, Option<u16>, String)> {
    let bytes = peer.take();
    let (mut rest, mut written) = (&bytes[..], Vec::new());
    while let Some((packet, len)) = decode(rest, V5, 1 << 20).unwrap() {
        rest = &rest[len..];
        if let Packet::Publish(publish) = packet {
            let topic = publish.topic.map(|topic| topic.as_str().to_owned());
            let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
            written.push((topic, publish.properties.topic_alias().map(std::num::NonZeroU16::get), payload));
        }
    }
    written
}

#[test]
fn a_client_that_takes_aliases_gets_each_name_once_on_each_connection() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_1, &["+"], &[Property::TopicAliasMaximum(1)]);
    let (name, first) = (|text: &str| Some(text.to_owned()), Some(1));
    for (id, topic) in [(1, "first"), (2, "first"), (3, "other"), (4, "first")] {
        world.feed(&mut sender, &message(QOS_1, id, topic, &id.to_string()));
    }
    let expected = [
        (name("first"), first, "1".to_owned()),
        (None, first, "2".to_owned()),
        (name("other"), None, "3".to_owned()),
        (None, first, "4".to_owned()),
    ];
    assert_eq!(written(&mut receiver), expected);
    world.feed(&mut receiver, &[puback(1), puback(3)].concat());
    // A message that is sent again carries its topic name again [MQTT-3.3.2-7].
    world.close(&mut receiver, EndReason::Closed);
    let mut receiver = world.accept();
    let properties = [STAYS, Property::TopicAliasMaximum(1)];
    let connect = wisp_wire::Connect {
        clean_start: false,
        properties: wisp_wire::Properties::from_slice(&properties),
        ..crate::support::plain(V5, "r")
    };
    world.feed(&mut receiver, &crate::support::encoded(|out| connect.encode(V5, out)));
    let expected = [(name("first"), first, "2".to_owned()), (None, first, "4".to_owned())];
    assert_eq!(written(&mut receiver), expected);
}

#[test]
fn a_client_that_takes_none_gets_none() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let mut receiver = world.receiver("r", QOS_0, &["+"], &[]);
    for _ in 0..2 {
        world.feed(&mut sender, &message(QOS_0, 0, "topic", "x"));
        assert_eq!(written(&mut receiver), [(Some("topic".to_owned()), None, "x".to_owned())]);
    }
}

#[test]
fn messages_that_are_not_sent_assign_no_alias() {
    let mut world = World::new(Limits::DEFAULT);
    let mut sender = world.sender();
    let properties = [Property::TopicAliasMaximum(1), Property::MaximumPacketSize(60.try_into().unwrap())];
    let mut receiver = world.receiver("r", QOS_1, &["+"], &properties);
    for qos in [QOS_0, QOS_1] {
        world.feed(&mut sender, &message(qos, 1, "topic", &"x".repeat(60)));
    }
    world.feed(&mut sender, &message(QOS_1, 1, "other", "short"));
    assert_eq!(written(&mut receiver), [(Some("other".to_owned()), Some(1), "short".to_owned())]);
}

#[test]
fn aliases_of_a_client_hold_at_every_qos_and_end_with_its_connection() {
    let mut world = World::new(Limits::DEFAULT);
    let mut receiver = world.receiver("r", QOS_1, &["#"], &[]);
    let (mut sender, _) = world.returns("s", &[STAYS]);
    let alias = [Property::TopicAlias(1.try_into().unwrap())];
    let named = message_with(QOS_1, 1, "by/alias", "1", false, &alias);
    // The same without the name: two bytes of length, and nothing after them.
    let mut nameless = message_with(QOS_1, 2, "x", "2", false, &alias);
    nameless[3] = 0;
    nameless.remove(4);
    nameless[1] -= 1;
    world.feed(&mut sender, &[named, nameless.clone(), again(nameless.clone())].concat());
    let messages = receiver.publishes();
    assert!(messages.iter().all(|message| message.topic == "by/alias"));
    assert_eq!(messages.len(), 3);
    world.close(&mut sender, EndReason::Closed);
    let (mut sender, _) = world.returns("s", &[]);
    assert_eq!(world.feed(&mut sender, &nameless).reason(), Some(EndReason::TopicMissing));
}

#[test]
fn without_aliases_on_offer_any_is_above_the_maximum() {
    let mut world = World::new(Limits::DEFAULT.with(|limits| limits.topic_alias_max = 0));
    let (mut sender, _) = world.returns("s", &[]);
    let alias = [Property::TopicAlias(1.try_into().unwrap())];
    let outcome = world.feed(&mut sender, &message_with(QOS_0, 0, "t", "x", false, &alias));
    assert_eq!(outcome.reason(), Some(EndReason::TopicAlias));
}
