//! Settings of an embedded broker besides the limits.

use wisp_broker::{Broker, Config, FullPolicy, InvalidQueue, Limits, QueueSettings, StartError};
use wisp_net::memory::MemoryHost;
use wisp_wire::Property;

use crate::support::{Net, V3, V5, config, connect, subscribe, wait_until};

fn start(change: impl FnOnce(&mut Config)) -> Result<Net, StartError> {
    let host = MemoryHost::new();
    let mut config = config(2, Limits::DEFAULT);
    change(&mut config);
    let broker = Broker::start_on(host.clone(), config)?;
    Ok(Net { host, broker })
}

#[test]
fn a_configured_queue_is_bound_from_the_start_and_has_its_own_limits() {
    let mut settings = QueueSettings::new("latest", &Limits::DEFAULT);
    settings.filter = Some("news/+".into());
    (settings.messages_max, settings.policy) = (2, FullPolicy::DropOldest);
    let net = start(|config| config.queues = vec![settings]).unwrap();
    let mut sender = net.client(V3, "sender");
    for text in [b"1", b"2", b"3"] {
        sender.publish("news/local", text);
        sender.ping();
    }
    wait_until("the message without room to be dropped", || net.broker.stats().messages_dropped == 1);
    let mut receiver = net.client(V5, "receiver");
    receiver.send(&subscribe(V5, "$queue/latest"));
    // The messages may come before the acknowledgement of the subscription (MQTT 5 section 3.8.4).
    let packets = [receiver.packet(), receiver.packet(), receiver.packet()];
    let messages: Vec<_> = packets.iter().filter(|packet| packet[0] == 0x30).collect();
    assert!(messages.len() == 2 && messages[0].ends_with(b"2") && messages[1].ends_with(b"3"), "{packets:02x?}");
}

#[test]
fn connack_carries_the_configured_response_information_on_request() {
    let net = start(|config| config.response_information = Some("answers/".into())).unwrap();
    let mut client = net.open(V5);
    client.send(&connect(V5, "client", 0, &[Property::RequestResponseInformation(true)]));
    let connack = client.packet();
    assert!(connack.windows(8).any(|window| window == b"answers/"), "{connack:02x?}");
}

#[test]
fn invalid_settings_are_refused_at_the_start() {
    let queue = |name: &str| QueueSettings::new(name, &Limits::DEFAULT);
    let twice = start(|config| config.queues = vec![queue("a"), queue("a")]).err();
    assert!(matches!(twice, Some(StartError::Queue(InvalidQueue::Twice(name))) if *name == *"a"));
    let wild = start(|config| config.queues = vec![queue("a/#")]).err();
    assert!(matches!(wild, Some(StartError::Queue(InvalidQueue::Name(name))) if *name == *"a/#"));
    for text in ["a\0b".to_owned(), "x".repeat(65_536)] {
        let refused = start(|config| config.response_information = Some(text.into())).err();
        assert!(matches!(refused, Some(StartError::ResponseInformation)));
    }
}
