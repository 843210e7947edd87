//! The behaviour at each limit on stored state: sessions, unacknowledged messages, retained messages, topic
//! queues; and at limits on rates.

use std::thread::sleep;
use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, Publish, kind};
use wisp_e2e::properties::Properties;
use wisp_e2e::properties::property::{
    RECEIVE_MAXIMUM, REQUEST_RESPONSE_INFORMATION, RESPONSE_INFORMATION, SESSION_EXPIRY_INTERVAL, TOPIC_ALIAS,
    TOPIC_ALIAS_MAXIMUM,
};

const QUOTA_EXCEEDED: u8 = 0x97;
const TOPIC_ALIAS_INVALID: u8 = 0x94;
/// Return code 3 of earlier versions: server unavailable.
const UNAVAILABLE: u8 = 3;

/// Longer than the session expiry of one second, by more than any host's timer is late.
const PAST_EXPIRY: Duration = Duration::from_millis(3500);

/// A broker with a low limit; None if the broker is not Wisp.
fn limited(flags: &[&str]) -> Option<Broker> {
    (!cannot(Ability::Wisp)).then(|| Broker::start_with(flags))
}

#[test]
fn sessions_past_the_limit_are_refused_and_existing_ones_resumed() {
    let Some(broker) = limited(&["--sessions-max", "3", "--sessions-policy", "refuse"]) else { return };
    for version in Version::ALL {
        for number in 0..2 {
            let mut away = Client::kept(&broker, version, &format!("away {number}"));
            away.subscribe("topic", 1);
            away.disconnect();
        }
        let present = Client::kept(&broker, version, "connected");
        let mut refused = Client::attempt(&broker, &Connect::kept(version, "too many", 3600));
        let code = if version.is_v5() { QUOTA_EXCEEDED } else { UNAVAILABLE };
        assert_eq!(refused.conn_ack().code, code, "{version:?}");
        assert_eq!(refused.read_to_close(), [], "{version:?}");
        broker.wait_log("sessions-max");
        // A session that ends with its connection does not count.
        Client::clean(&broker, version, "too many").disconnect();
        let again = Client::kept(&broker, version, "away 0");
        assert_ne!(again.session_present(), Some(false), "{version:?}");
        again.disconnect();
        present.disconnect();
        for id in ["away 0", "away 1", "connected"] {
            Client::clean(&broker, version, id).disconnect();
        }
        // There is room again.
        Client::clean(&broker, version, "too many").disconnect();
    }
}

#[test]
fn a_session_expiry_past_the_limit_is_shortened_and_announced() {
    let Some(broker) = limited(&["--session-expiry-s-max", "1"]) else { return };
    let granted = |asked: u32| {
        let client = Client::connect(&broker, &Connect::kept(Version::V5, &format!("asks {asked}"), asked));
        let granted = client.conn_ack().number(SESSION_EXPIRY_INTERVAL);
        client.disconnect();
        granted
    };
    assert_eq!([granted(3600), granted(u32::MAX)], [Some(1); 2]);
    assert!(matches!(granted(1), None | Some(1)));
    assert!(matches!(granted(0), None | Some(0)));
    // DISCONNECT has no answer.
    let client = Client::connect(&broker, &Connect::kept(Version::V5, "at the end", 1));
    client.disconnect_with(0, &Properties::NONE.number(SESSION_EXPIRY_INTERVAL, 3600));
    Client::kept(&broker, Version::V311, "for good").disconnect();
    sleep(PAST_EXPIRY);
    for id in ["asks 3600", "asks 4294967295", "at the end"] {
        assert_eq!(Client::kept(&broker, Version::V5, id).session_present(), Some(false), "{id}");
    }
    assert_eq!(Client::kept(&broker, Version::V311, "for good").session_present(), Some(false));
}

#[test]
fn no_session_is_kept_where_the_limit_on_their_expiry_is_zero() {
    let Some(broker) = limited(&["--session-expiry-s-max", "0"]) else { return };
    for version in Version::ALL {
        let client = Client::kept(&broker, version, "forgotten");
        assert!(!version.is_v5() || client.conn_ack().number(SESSION_EXPIRY_INTERVAL) == Some(0));
        client.disconnect();
        assert_ne!(Client::kept(&broker, version, "forgotten").session_present(), Some(true), "{version:?}");
    }
}

#[test]
fn no_more_messages_are_under_way_to_a_client_than_the_limit_says() {
    let Some(broker) = limited(&["--inflight-max", "3"]) else { return };
    for version in Version::ALL {
        for qos in [1, 2] {
            let mut publisher = Client::clean(&broker, version, "publisher");
            let mut client = Client::clean(&broker, version, "slow");
            client.subscribe("window", qos);
            for number in 0..6 {
                publisher.publish(&Publish::new("window", &number.to_string()).qos(qos));
            }
            let under_way = [client.next_message(), client.next_message(), client.next_message()];
            client.nothing_came();
            under_way.iter().for_each(|message| client.acknowledge(message));
            assert_eq!(client.receive_texts(3), ["3", "4", "5"], "{version:?} QoS {qos}");
            client.nothing_came();
            client.disconnect();
        }
    }
}

#[test]
fn the_receive_maximum_is_announced_and_enforced() {
    let Some(broker) = limited(&["--receive-maximum", "5"]) else { return };
    let mut client = Client::clean(&broker, Version::V5, "too many");
    assert_eq!(client.conn_ack().number(RECEIVE_MAXIMUM), Some(5));
    let ids: Vec<u16> = (0..5).map(|_| client.send_publish(&Publish::new("window", "").qos(2))).collect();
    for packet_id in &ids {
        client.await_code(kind::PUBREC, *packet_id);
    }
    // A retransmission does not count twice.
    client.send(&Publish::new("window", "").qos(2).duplicate().encode(Version::V5, ids[0]));
    client.await_code(kind::PUBREC, ids[0]);
    assert_eq!(client.publish_code(&Publish::new("window", "").qos(2)), QUOTA_EXCEEDED);
    client.answer(kind::PUBREL, ids[0]);
    client.await_code(kind::PUBCOMP, ids[0]);
    assert_eq!(client.publish_code(&Publish::new("window", "").qos(2)) & 0x80, 0, "one was released");
}

#[test]
fn topic_aliases_can_be_turned_off() {
    let Some(broker) = limited(&["--topic-alias-max", "0"]) else { return };
    let connect = Connect::new(Version::V5, "alias").with(TOPIC_ALIAS_MAXIMUM, 10);
    let mut client = Client::connect(&broker, &connect);
    assert_eq!(client.conn_ack().number(TOPIC_ALIAS_MAXIMUM).unwrap_or(0), 0);
    client.subscribe("alias", 1);
    for _ in 0..3 {
        client.publish(&Publish::new("alias", "").qos(1));
        assert!(!client.receive().properties.has(TOPIC_ALIAS), "the broker uses none either");
    }
    client.send_publish(&Publish::new("alias", "").with(TOPIC_ALIAS, 1));
    client.expect_disconnect(TOPIC_ALIAS_INVALID);
}

#[test]
fn a_session_that_is_away_keeps_as_many_messages_as_the_limit_says() {
    let Some(broker) = limited(&["--queue-messages-max", "10"]) else { return };
    for version in Version::ALL {
        let mut client = Client::kept(&broker, version, "away");
        client.subscribe("queued", 1);
        client.disconnect();
        let mut publisher = Client::clean(&broker, version, "publisher");
        for number in 0..40 {
            publisher.publish(&Publish::new("queued", &number.to_string()).qos(1));
        }
        let mut client = Client::kept(&broker, version, "away");
        let texts = client.receive_texts(10);
        assert!(texts.iter().map(|text| text.parse::<u32>().expect("a number")).is_sorted(), "{version:?}: {texts:?}");
        client.nothing_came();
        // New messages are delivered again.
        publisher.publish(&Publish::new("queued", "now").qos(1));
        assert_eq!(client.receive().text(), "now", "{version:?}");
        Client::clean(&broker, version, "away").disconnect();
    }
}

#[test]
fn retained_messages_past_the_limit_are_refused_or_just_delivered() {
    let Some(broker) = limited(&["--retained-max", "2"]) else { return };
    let retained = |topic: &str| {
        let mut client = Client::clean(&broker, Version::V5, "reader");
        client.subscribe("end", 1);
        client.subscribe(topic, 1);
        client.publish(&Publish::new("end", "").qos(1));
        let first = client.receive();
        (first.topic != "end").then(|| first.text().to_owned())
    };
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let mut old_publisher = Client::clean(&broker, Version::V311, "old publisher");
    let mut subscriber = Client::clean(&broker, Version::V311, "subscriber");
    for topic in ["kept/a", "kept/b"] {
        assert!(publisher.publish_code(&Publish::new(topic, "first").qos(1).retained()) < 0x80);
    }
    for qos in [1, 2] {
        let code = publisher.publish_code(&Publish::new("kept/c", "refused").qos(qos).retained());
        assert_eq!(code, QUOTA_EXCEEDED, "QoS {qos}");
    }
    subscriber.subscribe("kept/c", 1);
    old_publisher.publish(&Publish::new("kept/c", "delivered").qos(1).retained());
    assert_eq!(subscriber.receive().text(), "delivered");
    assert_eq!(retained("kept/c"), None);
    // A retained message may be replaced, and a cleared topic makes room.
    publisher.publish(&Publish::new("kept/a", "second").qos(1).retained());
    assert_eq!(retained("kept/a").as_deref(), Some("second"));
    publisher.publish(&Publish::new("kept/b", "").qos(1).retained());
    publisher.publish(&Publish::new("kept/c", "there is room").qos(1).retained());
    assert_eq!(retained("kept/c").as_deref(), Some("there is room"));
}

#[test]
fn topic_queues_past_the_limit_are_refused() {
    let Some(broker) = limited(&["--topic-queues-max", "1"]) else { return };
    let mut client = Client::clean(&broker, Version::V5, "client");
    client.subscribe("$queue/one", 1);
    let mut old_client = Client::clean(&broker, Version::V311, "old client");
    for filter in ["$queue/two", "$share/group/two"] {
        assert_eq!(client.subscribe_with(&Properties::NONE, &[(filter, 1)]), [QUOTA_EXCEEDED], "{filter}");
        assert_eq!(old_client.subscribe_with(&Properties::NONE, &[(filter, 1)]), [0x80], "{filter}");
    }
    for qos in [1, 2] {
        assert_eq!(client.publish_code(&Publish::new("$queue/two", "").qos(qos)), QUOTA_EXCEEDED, "QoS {qos}");
    }
    old_client.subscribe("$queue/one", 1);
    client.publish(&Publish::new("$queue/one", "text").qos(1));
}

#[test]
fn a_client_that_is_too_fast_is_slowed_down_and_loses_nothing() {
    const COUNT: usize = 300;
    let Some(broker) = limited(&["--messages-per-s-max", "100"]) else { return };
    let mut subscriber = Client::clean(&broker, Version::V5, "subscriber");
    subscriber.subscribe("fast", 0);
    let mut publisher = Client::clean(&broker, Version::V5, "publisher");
    let start = Instant::now();
    for number in 0..COUNT {
        publisher.publish(&Publish::new("fast", &number.to_string()));
    }
    for number in 0..COUNT {
        assert_eq!(subscriber.receive().text(), number.to_string());
    }
    // One second's allowance may arrive immediately, the rest at the limited rate.
    assert!(start.elapsed() > Duration::from_millis(1500), "{COUNT} messages in {:?}", start.elapsed());
}

#[test]
fn response_information_is_sent_on_request() {
    let Some(broker) = limited(&["--response-information", "answers/here"]) else { return };
    let asking = Connect::new(Version::V5, "asks").with(REQUEST_RESPONSE_INFORMATION, 1);
    let client = Client::connect(&broker, &asking);
    assert_eq!(client.conn_ack().text(RESPONSE_INFORMATION), Some("answers/here"));
    for silent in
        [Connect::new(Version::V5, "quiet").with(REQUEST_RESPONSE_INFORMATION, 0), Connect::new(Version::V5, "quiet")]
    {
        assert!(!Client::connect(&broker, &silent).conn_ack().properties.has(RESPONSE_INFORMATION));
    }
}
