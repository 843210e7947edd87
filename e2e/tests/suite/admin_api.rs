//! The API of the admin listener over real sockets: every endpoint, the token, and requests that are refused.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::{Connect, Publish};
use wisp_e2e::wait::{TIMEOUT, wait_until};

use crate::users::Folder;

const TOKEN: &str = "dGhlIHRva2VuIG9mIGEgdGVzdA";

/// A broker with a token, and its admin listener.
struct Operated {
    broker: Broker,
    admin: SocketAddr,
    folder: Folder,
}

/// `None` if the host is not Wisp's.
fn start(more: &[&str]) -> Option<Operated> {
    if cannot(Ability::Wisp) {
        return None;
    }
    let (admin, folder) = (free_addr(), Folder::new());
    let token = folder.write("token", &format!("{TOKEN}\n"));
    let flags = ["--admin", &admin.to_string(), "--admin-token-file", &token];
    Some(Operated { broker: Broker::start_with(&[&flags, more].concat()), admin, folder })
}

/// The code, the head and the body of the answer to a request.
fn exchange(admin: SocketAddr, head: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(admin).expect("the admin listener accepts");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a time limit can be set");
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!("{head}\r\nHost: 127.0.0.1\r\nConnection: close\r\n{length}\r\n{body}");
    stream.write_all(request.as_bytes()).expect("the request is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer ends");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (code, head.to_owned(), body.to_owned())
}

impl Operated {
    /// The answer to a request with the token.
    fn ask(&self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let head = format!("{method} /api/v1/{target} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}");
        let (code, head, body) = exchange(self.admin, &head, body);
        let kind = if code == 200 { "application/json" } else { "application/problem+json" };
        assert!(head.contains(&format!("Content-Type: {kind}\r\n")), "{head}");
        let document: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        if code != 200 {
            assert_eq!(document["status"], code, "{document}");
        }
        (code, document)
    }

    fn get(&self, target: &str) -> Value {
        let (code, answer) = self.ask("GET", target, "");
        assert_eq!(code, 200, "{target}: {answer}");
        answer
    }

    /// The field of each row of a list.
    fn column(&self, target: &str, field: &str) -> Vec<Value> {
        self.get(target)["items"].as_array().expect("a list").iter().map(|row| row[field].clone()).collect()
    }
}

#[test]
fn the_broker_its_listeners_and_its_document_are_told() {
    let Some(operated) = start(&[]) else { return };
    let broker = operated.get("broker");
    assert!(broker["ready"] == true && broker["metrics"]["workers"].as_u64() > Some(0), "{broker}");
    let listeners = operated.get("listeners");
    assert_eq!(operated.column("listeners", "admin"), [json!(false), json!(true)]);
    // An earlier one may not be closed yet.
    assert!(listeners["items"][1]["connections"].as_u64() >= Some(1), "{listeners}");
    assert_eq!(operated.get("openapi.json")["openapi"], "3.1.0");
    let (code, _, _) = exchange(operated.admin, "GET /api/v1/openapi.json HTTP/1.1", "");
    assert_eq!(code, 200, "it is open to all");
}

#[test]
fn clients_and_sessions_are_listed_and_a_client_is_disconnected() {
    let Some(operated) = start(&[]) else { return };
    let broker = &operated.broker;
    let connect = Connect { keep_alive_s: 77, user: Some(("joe", "x")), ..Connect::new(Version::V5, "a/client") };
    let mut client = Client::connect(broker, &connect);
    client.subscribe("x/#", 1);
    let mut kept = Client::kept(broker, Version::V311, "kept");
    kept.subscribe("y", 2);
    kept.disconnect();
    wait_until("the client is away", || operated.column("sessions", "client_id") == ["kept"]);
    assert_eq!(operated.column("clients", "client_id"), ["a/client"]);
    assert_eq!(operated.column("clients?prefix=b", "client_id"), [] as [Value; 0]);
    let one = operated.get("clients/a%2Fclient");
    assert_eq!((&one["connected"], &one["version"], &one["keep_alive_s"]), (&json!(true), &json!("5"), &json!(77)));
    assert_eq!((&one["user"], &one["subscriptions"], &one["away_since_ms"]), (&json!("joe"), &json!(1), &Value::Null));
    let away = operated.get("clients/kept");
    assert_eq!((&away["connected"], &away["version"]), (&json!(false), &json!("3.1.1")));
    assert_eq!(operated.column("subscriptions?client=kept", "qos"), [json!(2)]);
    let mut filters: Vec<String> = Vec::new();
    let mut after = String::new();
    loop {
        let page = operated.get(&format!("subscriptions?limit=1{after}"));
        filters.extend(page["items"].as_array().expect("a list").iter().map(|row| row["filter"].to_string()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={}", next.replace(' ', "%20").replace('/', "%2F").replace('#', "%23"));
    }
    filters.sort();
    assert_eq!(filters, ["\"x/#\"", "\"y\""]);
    assert_eq!(operated.ask("DELETE", "clients/a%2Fclient", ""), (200, json!({"disconnected": true})));
    client.expect_disconnect(0x98);
    wait_until("it is gone", || operated.ask("DELETE", "clients/a%2Fclient", "").0 == 404);
    assert_eq!(operated.ask("GET", "clients/nobody", "").0, 404);
    broker.wait_log("an operator has ended the connection");
}

#[test]
fn queues_are_listed_and_purged_and_so_are_sessions() {
    let Some(operated) = start(&[]) else { return };
    let broker = &operated.broker;
    let mut kept = Client::kept(broker, Version::V5, "kept");
    kept.subscribe("t", 1);
    kept.disconnect();
    let mut sender = Client::clean(broker, Version::V5, "sender");
    for _ in 0..3 {
        sender.publish(&Publish::new("$queue/a/b", "x").qos(1));
        sender.publish(&Publish::new("t", "x").qos(1));
    }
    let queue = operated.get("queues/a%2Fb");
    assert_eq!((&queue["name"], &queue["waiting"], &queue["on_loan"]), (&json!("$queue/a/b"), &json!(3), &json!(0)));
    assert_eq!(operated.column("queues", "messages"), [json!(3)]);
    assert_eq!(operated.ask("POST", "queues/a%2Fb/purge", ""), (200, json!({"purged": 3})));
    assert_eq!(operated.ask("POST", "queues/a%2Fb/purge", ""), (200, json!({"purged": 0})));
    assert_eq!(operated.ask("POST", "queues/none/purge", "").0, 404);
    wait_until("messages wait", || operated.get("clients/kept")["waiting"] == 3);
    assert_eq!(operated.ask("POST", "sessions/kept/purge", ""), (200, json!({"purged": 3})));
    assert_eq!(operated.get("clients/kept")["stored_bytes"], 0);
    assert_eq!(operated.get("broker")["metrics"]["messages_purged"], 6);
}

#[test]
fn messages_are_published_and_retained_ones_shown_and_cleared() {
    let Some(operated) = start(&[]) else { return };
    let mut client = Client::clean(&operated.broker, Version::V5, "client");
    client.subscribe("t", 2);
    let publish = |body: Value| operated.ask("POST", "publish", &body.to_string());
    let published = |has_receivers: bool| (200, json!({ "has_receivers": has_receivers }));
    for qos in 0..=2 {
        assert_eq!(publish(json!({"topic": "t", "payload": "grüße", "qos": qos})), published(true));
        let message = client.receive();
        assert_eq!((message.text(), message.qos), ("grüße", qos));
    }
    let retained = json!({"topic": "r/1", "payload_base64": "/wA=", "qos": 1, "retain": true});
    assert_eq!(publish(retained), published(false));
    assert_eq!(publish(json!({"topic": "r/2", "payload": "text", "retain": true})), published(false));
    assert_eq!(operated.column("retained?prefix=r/", "topic"), ["r/1", "r/2"]);
    assert_eq!(operated.column("retained?limit=1", "topic"), ["r/1"]);
    assert_eq!(operated.column("retained?after=r/1", "topic"), ["r/2"]);
    assert!(!operated.column("retained?prefix=$SYS/", "topic").is_empty());
    let message = operated.get("retained?topic=r%2F1");
    assert_eq!((&message["payload"], &message["payload_base64"]), (&Value::Null, &json!("/wA=")));
    assert_eq!(operated.get("retained?topic=r/2")["payload"], "text");
    assert_eq!(operated.ask("DELETE", "retained?topic=r/2", ""), (200, json!({"cleared": true})));
    assert_eq!(operated.ask("DELETE", "retained?topic=r/2", "").0, 404);
    assert_eq!(operated.ask("DELETE", "retained?topic=$SYS/broker/uptime", "").0, 403);
    for (body, code) in [
        (json!({"topic": "a/#"}), 400),
        (json!({"topic": "t", "qos": 3}), 400),
        (json!({"payload": "x"}), 400),
        (json!({"topic": "$SYS/x"}), 403),
        (json!({"topic": "t", "payload": "x".repeat(140_000)}), 413),
    ] {
        assert_eq!(publish(body).0, code);
    }
    client.nothing_came();
}

#[test]
fn a_message_is_stored_before_the_answer() {
    let folder = Folder::new();
    if cannot(Ability::Files) {
        return;
    }
    let data = folder.path("data");
    let Some(mut operated) = start(&["--data-dir", &data]) else { return };
    for (topic, retain) in [("$queue/jobs", false), ("kept", true)] {
        let body = json!({"topic": topic, "payload": "x", "qos": 1, "retain": retain}).to_string();
        assert_eq!(operated.ask("POST", "publish", &body).0, 200);
    }
    operated.broker.kill();
    let Some(operated) = start(&["--data-dir", &data]) else { return };
    assert_eq!(operated.get("queues/jobs")["waiting"], 1);
    assert_eq!(operated.get("retained?topic=kept")["payload"], "x");
}

#[test]
fn requests_without_the_token_or_of_other_sites_are_refused_and_counted() {
    let Some(operated) = start(&[]) else { return };
    let token = format!("Authorization: Bearer {TOKEN}");
    for (head, code) in [
        ("GET /api/v1/clients HTTP/1.1".to_owned(), 401),
        (format!("GET /api/v1/clients HTTP/1.1\r\n{token}x"), 401),
        (format!("GET /api/v1/clients HTTP/1.1\r\n{token}\r\nOrigin: http://example.org"), 403),
        (format!("DELETE /api/v1/clients/x HTTP/1.1\r\n{token}\r\nSec-Fetch-Site: cross-site"), 403),
    ] {
        let (found, answer, _) = exchange(operated.admin, &head, "");
        assert_eq!(found, code, "{head}: {answer}");
        assert_eq!(answer.contains("WWW-Authenticate: Bearer"), code == 401, "{answer}");
        assert!(!answer.to_ascii_lowercase().contains("access-control"), "{answer}");
    }
    let (code, _, body) = exchange(operated.admin, "POST /api/v1/publish HTTP/1.1", "{\"topic\":\"t\"}");
    assert!(code == 401 && body.contains("admin-token-file"), "{body}");
    assert_eq!(operated.get("broker")["metrics"]["admin_requests_refused"], 5);
    operated.broker.wait_log("a request to the admin listener was refused: the request has no token");
    let (code, head, _) = exchange(operated.admin, "PUT /api/v1/retained HTTP/1.1", "");
    assert!(code == 405 && head.contains("\r\nAllow: GET, DELETE\r\n"), "{head}");
}

#[test]
fn without_a_token_an_operator_of_the_machine_looks_and_does_not_act() {
    if cannot(Ability::Wisp) {
        return;
    }
    let admin = free_addr();
    let broker = Broker::start_with(&["--admin", &admin.to_string()]);
    let _client = Client::clean(&broker, Version::V311, "c");
    let (code, _, body) = exchange(admin, "GET /api/v1/clients HTTP/1.1", "");
    assert!(code == 200 && body.contains("\"client_id\":\"c\""), "{body}");
    for head in ["DELETE /api/v1/clients/c HTTP/1.1", "POST /api/v1/queues/a/purge HTTP/1.1"] {
        let (code, _, body) = exchange(admin, head, "");
        assert!(code == 403 && body.contains("admin-token-file"), "{body}");
    }
}

#[test]
fn a_page_with_many_clients_comes_at_once() {
    if cannot(Ability::Wisp) {
        return;
    }
    let Some(operated) = start(&[]) else { return };
    let clients: Vec<Client> =
        (0..300).map(|number| Client::clean(&operated.broker, Version::V311, &format!("c{number}"))).collect();
    let (mut seen, mut after) = (0, String::new());
    loop {
        let page = operated.get(&format!("clients?limit=70{after}"));
        seen += page["items"].as_array().expect("a list").len();
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, clients.len());
}

#[test]
fn many_lists_and_actions_disturb_no_client() {
    let Some(operated) = start(&[]) else { return };
    let _others: Vec<Client> =
        (0..100).map(|number| Client::clean(&operated.broker, Version::V311, &format!("c{number}"))).collect();
    let head = format!("HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n");
    let look = format!("GET /api/v1/clients?limit=1000 {head}\r\n").repeat(90);
    let publish = format!("POST /api/v1/publish {head}Content-Length: 13\r\n\r\n{{\"topic\":\"u\"}}").repeat(90);
    // Nobody reads the answers.
    let _floods: Vec<TcpStream> = (0..20)
        .map(|number| {
            let mut flood = TcpStream::connect(operated.admin).expect("the admin listener accepts");
            let requests = if number % 2 == 0 { &look } else { &publish };
            flood.write_all(requests.as_bytes()).expect("the requests fit");
            flood
        })
        .collect();
    let mut client = Client::clean(&operated.broker, Version::V5, "client");
    client.subscribe("t", 1);
    for number in 0..50 {
        client.publish(&Publish::new("t", &number.to_string()).qos(1));
        assert_eq!(client.receive().text(), number.to_string());
    }
    assert_eq!(operated.get("clients/client")["connected"], true);
}

#[test]
fn another_token_is_taken_up_on_sighup_and_a_bad_one_is_not() {
    if cannot(Ability::Signals) {
        return;
    }
    let Some(operated) = start(&[]) else { return };
    operated.folder.write("token", "short");
    operated.broker.signal("HUP");
    operated.broker.wait_log("the token of the admin listener stays as it was");
    assert_eq!(operated.get("clients")["next"], Value::Null);
    operated.folder.write("token", "bmV3LXRva2VuLW9mLWEtdGVzdA\n");
    operated.broker.signal("HUP");
    operated.broker.wait_log("sighup: read again: the token of the admin listener");
    let ask = |token: &str| {
        exchange(operated.admin, &format!("GET /api/v1/broker HTTP/1.1\r\nAuthorization: Bearer {token}"), "").0
    };
    assert_eq!((ask(TOKEN), ask("bmV3LXRva2VuLW9mLWEtdGVzdA")), (401, 200));
}
