//! Settings of an embedded broker besides the limits.

use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use wisp_broker::{
    Broker, ConfigBuilder, ConfigError, Event, FullPolicy, InvalidOptions, InvalidQueue, Limits, QueueSettings,
    WORKERS_MAX,
};
use wisp_net::memory::MemoryHost;
use wisp_wire::Property;

use crate::support::{Net, V3, V5, config, connect, subscribe, wait_until};

fn start(config: ConfigBuilder) -> Net {
    let host = MemoryHost::new();
    let broker = Broker::start_on(host.clone(), config.build().unwrap()).unwrap();
    Net { host, broker }
}

fn builder() -> ConfigBuilder {
    config(2, Limits::DEFAULT)
}

#[test]
fn a_configured_queue_is_bound_from_the_start_and_has_its_own_limits() {
    let mut settings = QueueSettings::new("latest", &Limits::DEFAULT);
    settings.filter = Some("news/+".into());
    (settings.messages_max, settings.policy) = (2, FullPolicy::DropOldest);
    let net = start(builder().queue(settings));
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
    let net = start(builder().response_information("answers/"));
    let mut client = net.open(V5);
    client.send(&connect(V5, "client", 0, &[Property::RequestResponseInformation(true)]));
    let connack = client.packet();
    assert!(connack.windows(8).any(|window| window == b"answers/"), "{connack:02x?}");
}

#[test]
fn invalid_settings_are_refused() {
    let refused = |config: ConfigBuilder| config.build().expect_err("it is refused");
    let queue = |name: &str| QueueSettings::new(name, &Limits::DEFAULT);
    let invalid = |error| ConfigError::Options(InvalidOptions::Queue(error));
    let twice = refused(builder().queue(queue("a")).queue(queue("a")));
    assert_eq!(twice, invalid(InvalidQueue::Twice("a".into())));
    assert_eq!(refused(builder().queue(queue("a/#"))), invalid(InvalidQueue::Name("a/#".into())));
    let mut empty = queue("a");
    empty.messages_max = 0;
    assert_eq!(
        refused(builder().queue(empty)).to_string(),
        "the queue \"a\": messages-max = 0: not a number from 1 to 1073741824"
    );
    for text in ["a\0b".to_owned(), "x".repeat(65_536)] {
        let error = refused(builder().response_information(text));
        assert_eq!(error, ConfigError::Options(InvalidOptions::ResponseInformation));
    }
    let many = NonZeroUsize::new(WORKERS_MAX + 1).unwrap();
    assert_eq!(refused(builder().workers(many)), ConfigError::TooManyWorkers(many));
}

#[test]
fn a_limit_out_of_range_is_an_error_with_its_name_value_and_range() {
    let config = builder().limits(Limits::DEFAULT.with(|limits| limits.topic_levels_max = 65_535));
    let error = config.build().unwrap_err();
    assert_eq!(error.to_string(), "topic-levels-max = 65535: not a number from 1 to 1024");
    let source = error.source().and_then(Error::source).expect("the limit");
    assert!(source.is::<wisp_broker::LimitOutOfRange>(), "{source:?}");
}

#[test]
fn a_connection_knows_its_listener_by_the_index_in_the_configuration() {
    let listeners = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&listeners);
    let net = start(builder().listener(([127, 0, 0, 1], 0)).observer(move |event| {
        if let Event::Connected { origin, .. } = event {
            seen.lock().unwrap().push(origin.listener);
        }
    }));
    for address in net.broker.local_addrs() {
        net.client_at(*address, V5, &address.to_string());
    }
    assert_eq!(*listeners.lock().unwrap(), [0, 1]);
}
