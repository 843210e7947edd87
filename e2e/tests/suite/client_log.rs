//! Lines of the log about clients: who connected, and what it subscribes to.

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::Connect;
use wisp_e2e::raw::RawClient;

#[test]
fn the_log_says_who_connected_and_at_debug_what_is_subscribed() {
    if cannot(Ability::Wisp) {
        return;
    }
    for level in ["info", "debug", "warn"] {
        let broker = Broker::start_with(&["--log", level]);
        for (version, name) in [(Version::V311, "old"), (Version::V5, "new")] {
            let mut client = RawClient::open(broker.addr(), version);
            let keep_alive_s = 61;
            client.send(&Connect { keep_alive_s, ..Connect::new(version, name) }.user("joe", "x").encode());
            assert_eq!(client.read_packet().conn_ack(version).code, 0);
            client.subscribe(&["some/filter"]);
            assert_eq!(client.unsubscribe(&["some/filter"]).len(), usize::from(version.is_v5()));
            if level == "warn" {
                continue;
            }
            let line = broker.wait_log(&format!("client=\"{name}\" user=\"joe\""));
            for part in ["client connected", "listener=0", "version=Mqtt", "keep_alive_s=61", "clean_start=true"] {
                assert!(line.contains(part), "{part} is missing in {line}");
            }
            if level == "debug" {
                broker.wait_log(&format!("unsubscribed client=\"{name}\""));
            }
        }
        // A client whose CONNECT is refused has a line at each level, behind the lines of the others.
        let mut wrong = RawClient::open(broker.addr(), Version::V311);
        wrong.send(&Connect::new(Version::V31, "").encode());
        wrong.read_to_close();
        broker.wait_log("empty client identifier");
        let log = broker.log();
        let count = |text: &str| log.iter().filter(|line| line.contains(text)).count();
        let subscribed = if level == "debug" { 2 } else { 0 };
        let connected = if level == "warn" { 0 } else { 2 };
        let found = [count("client connected"), count(" subscribed"), count("unsubscribed")];
        assert_eq!(found, [connected, subscribed, subscribed], "{level}: {log:?}");
    }
}
