//! The log for programs: each line as JSON, and the summary that a signal asks for.

use serde_json::Value;
use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::Publish;
use wisp_e2e::raw::RawClient;
use wisp_e2e::wait::wait_until;

fn parsed(lines: &[String]) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    lines.iter().map(parse).collect()
}

#[test]
fn each_line_of_the_log_can_be_a_json_object() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start_with(&["--log", "debug", "--log-format", "json"]);
    let name = "a\"\\\u{e9}\u{1f980}";
    let mut client = RawClient::connect(broker.addr(), Version::V5, name);
    client.subscribe(&["some/filter"]);
    client.unsubscribe(&["some/filter"]);
    broker.wait_log("\"unsubscribed\"");
    let lines = parsed(&broker.log());
    for line in &lines {
        for field in ["timestamp", "level", "message"] {
            assert!(line[field].is_string(), "{field} of {line}");
        }
    }
    let of_client: Vec<&Value> = lines.iter().filter(|line| line["client"] == name).collect();
    let [connected, subscribed, unsubscribed] = of_client[..] else { panic!("{of_client:?}") };
    assert_eq!((&connected["level"], &connected["message"]), (&"INFO".into(), &"client connected".into()));
    assert_eq!((&connected["clean_start"], &connected["listener"]), (&true.into(), &0.into()), "no texts");
    assert_eq!((&subscribed["level"], &subscribed["filter"]), (&"DEBUG".into(), &"some/filter".into()));
    assert_eq!(unsubscribed["message"], "unsubscribed");
}

#[test]
fn a_signal_has_the_log_say_where_messages_wait() {
    if cannot(Ability::Signals) {
        return;
    }
    let broker = Broker::start_with(&["--log-format", "json"]);
    broker.signal("USR1");
    broker.wait_log("no messages wait for clients");
    broker.wait_log("all queues are empty");
    for (name, messages) in [("a lot", 3), ("a little", 1)] {
        let mut away = Client::kept(&broker, Version::V5, name);
        (0..messages).for_each(|number| away.subscribe(&format!("news/{number}"), 1));
        away.disconnect();
    }
    let mut sender = Client::clean(&broker, Version::V5, "sender");
    for topic in ["news/0", "news/1", "news/2", "$queue/few", "$queue/many", "$queue/many"] {
        sender.publish(&Publish::new(topic, "x").qos(1));
    }
    broker.signal("USR1");
    let summary = |part: &str| -> Vec<Value> {
        let message = format!("summary: {part}");
        parsed(&broker.log()).into_iter().filter(|line| line["message"] == message.as_str()).collect()
    };
    wait_until("the end of the summary", || summary("one of the fullest sessions").len() == 2);
    let listed = |part: &str, fields: [&str; 2]| -> Vec<(String, u64)> {
        let [name, count] = fields;
        let row = |line: &Value| Some((line[name].as_str()?.to_owned(), line[count].as_u64()?));
        summary(part).iter().map(|line| row(line).unwrap_or_else(|| panic!("{line}"))).collect()
    };
    let row = |name: &str, count| (name.to_owned(), count);
    let queues = [row("$queue/many", 2), row("$queue/few", 1)];
    assert_eq!(listed("one of the fullest queues", ["queue", "messages"]), queues);
    let sessions = [row("a lot", 3), row("a little", 1)];
    assert_eq!(listed("one of the fullest sessions", ["client", "unacknowledged_messages"]), sessions);
    let of_both = |part: &str, field: &str| summary(part).iter().map(|line| line[field].as_u64()).collect::<Vec<_>>();
    assert_eq!(of_both("clients", "sessions"), [Some(0), Some(3)]);
    assert_eq!(of_both("clients", "connections"), [Some(0), Some(1)]);
    assert_eq!(of_both("traffic since the start", "messages_received"), [Some(0), Some(6)]);
    assert_eq!(of_both("dropped and refused since the start", "messages_dropped"), [Some(0), Some(0)]);
    let memory = of_both("memory", "process_bytes");
    assert!(memory.len() == 2 && memory.iter().all(|bytes| bytes.is_some_and(|bytes| bytes > 1 << 20)), "{memory:?}");
}
