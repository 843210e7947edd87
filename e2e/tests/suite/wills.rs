//! Wills: the message of a client whose connection ends without DISCONNECT.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::mosquitto::{self, Message};
use wisp_e2e::packet::DISCONNECT;
use wisp_e2e::raw::RawClient;

const WILL: [&str; 4] = ["--will-topic", "wills/of/the-client", "--will-payload", "gone"];

#[test]
fn the_will_of_a_client_that_dies_is_published() {
    let broker = Broker::start();
    for version in Version::ALL {
        let heir = mosquitto::Subscriber::start(broker.addr(), version, &["wills/#"]);
        let mortal = mosquitto::Subscriber::start_with_arguments(broker.addr(), version, &["anything"], &WILL);
        heir.settle();
        assert_eq!(heir.messages(), [], "{version:?}: no client has died yet");
        // It is killed, and the system closes its connection.
        drop(mortal);
        assert_eq!(heir.wait_for_messages(1), [Message::new("wills/of/the-client", "gone")], "{version:?}");
    }
}

#[test]
fn the_will_of_a_client_that_disconnects_is_not_published() {
    let broker = Broker::start();
    for version in Version::ALL {
        let heir = mosquitto::Subscriber::start(broker.addr(), version, &["wills/#", "news"]);
        mosquitto::run_publisher(broker.addr(), version, &[&WILL[..], &["-t", "news", "-m", "I am off"]].concat(), b"");
        assert_eq!(heir.wait_for_messages(1), [Message::new("news", "I am off")], "{version:?}");
        // The broker has handled the client's end before this client's.
        let mut after = RawClient::connect(broker.addr(), version, "afterwards");
        after.send(DISCONNECT);
        after.read_to_close();
        heir.settle();
        assert_eq!(heir.messages().len(), 1, "{version:?}: {:?}", heir.messages());
    }
}
