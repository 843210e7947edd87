//! The admin listener: metrics and health by HTTP, and `--health`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot, native_program};
use wisp_e2e::packet::{Connect, Publish};
use wisp_e2e::program::Program;
use wisp_e2e::raw::RawClient;
use wisp_e2e::wait::{TIMEOUT, wait_until};

fn start(more: &[&str]) -> (Broker, SocketAddr) {
    let admin = free_addr();
    let broker = Broker::start_with(&[&["--admin", &admin.to_string()], more].concat());
    (broker, admin)
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("the admin listener accepts");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a time limit can be set");
    stream
}

/// Everything that the broker sends until it closes.
fn exchange(addr: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(addr);
    stream.write_all(request).expect("the request is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer ends");
    answer
}

fn get(addr: SocketAddr, path: &str) -> String {
    exchange(addr, format!("GET {path} HTTP/1.1\r\nHost: wisp\r\nConnection: close\r\n\r\n").as_bytes())
}

/// The value of a row of /metrics.
fn metric(addr: SocketAddr, name: &str) -> u64 {
    let answer = get(addr, "/metrics");
    let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing in {answer}")).parse().expect("a number")
}

#[test]
fn metrics_count_what_clients_do() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (broker, admin) = start(&[]);
    let mut client = Client::clean(&broker, Version::V5, "client");
    client.subscribe_with(&Default::default(), &[("t", 0)]);
    client.publish(&Publish::new("t", "12345").qos(1));
    assert_eq!(client.receive().text(), "12345");
    let rows = [("messages_received_total", 1), ("payload_bytes_received_total", 5), ("sessions_connected", 1)];
    for (name, expected) in rows {
        wait_until(name, || metric(admin, &format!("wisp_{name}")) == expected);
    }
    let answer = get(admin, "/metrics?x");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert!(
        body.contains("# TYPE wisp_bytes_sent_total counter\n") && body.contains("wisp_build_info{version=\""),
        "{body}"
    );
    // The connections of the admin listener are no clients, in the log neither.
    let log = broker.log();
    assert!(!log.iter().any(|line| line.contains("connection ended")), "{log:?}");
    assert_eq!(metric(admin, "wisp_connects_received_total"), 1);
}

#[test]
fn times_and_queues_are_told() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (broker, admin) = start(&[]);
    let mut client = Client::clean(&broker, Version::V5, "client");
    client.publish(&Publish::new("$queue/\"jobs\"", "x").qos(1));
    // Some turns are measured.
    wait_until("a message in a measured turn", || {
        client.publish(&Publish::new("t", "x").qos(1));
        metric(admin, "wisp_message_seconds_count") > 0
    });
    let counted = metric(admin, "wisp_message_seconds_bucket{le=\"+Inf\"}");
    assert!(counted > 0 && counted <= metric(admin, "wisp_messages_received_total"));
    assert_eq!(metric(admin, "wisp_queue_messages{queue=\"$queue/\\\"jobs\\\"\"}"), 1);
    let memory = metric(admin, "wisp_process_memory_bytes");
    assert!(memory > 1 << 20 && metric(admin, "wisp_workers") > 0, "{memory}");
}

#[test]
fn health_is_told_by_http_and_by_the_program() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (mut broker, admin) = start(&[]);
    assert!(get(admin, "/healthz").ends_with("\r\n\r\nok\n"));
    assert!(get(admin, "/readyz").ends_with("\r\n\r\nready\n"));
    assert!(get(admin, "/x").starts_with("HTTP/1.1 404 "));
    assert!(get(admin, "/").contains("\r\nContent-Security-Policy: default-src 'none'"));
    let post = exchange(admin, b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("\r\nAllow: GET\r\n"), "{post}");
    assert!(exchange(admin, &Connect::new(Version::V5, "lost").encode()).starts_with("HTTP/1.1 400 "));
    let long = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(9_000));
    assert!(exchange(admin, long.as_bytes()).starts_with("HTTP/1.1 431 "));
    let ask = || {
        let mut command = Command::new(native_program("wisp-broker", "WISP_BROKER_BIN"));
        command.args(["--health", &admin.to_string()]);
        Program::run(command, b"")
    };
    let finished = ask();
    assert_eq!((finished.status.code(), &finished.stdout[..]), (Some(0), &["wisp-broker: ready".to_owned()][..]));
    broker.kill();
    let finished = ask();
    assert_eq!((finished.status.code(), finished.stderr.len()), (Some(1), 1), "{:?}", finished.stderr);
}

#[test]
fn a_connection_stays_for_more_requests_and_silent_ones_end() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (_broker, admin) = start(&["--connect-timeout-ms", "2000"]);
    let mut stream = connect(admin);
    let read = |stream: &mut TcpStream| {
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(b"ok\n") {
            stream.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        answer
    };
    stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").expect("open");
    let first = read(&mut stream);
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").expect("open");
    stream.write_all(b"\r\n").expect("open");
    assert_eq!(first, read(&mut stream));
    assert_eq!(stream.read(&mut [0]).expect("it is closed, and not reset"), 0);
}

#[test]
fn many_requests_disturb_no_client() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (broker, admin) = start(&["--connections-max", "2"]);
    let _idle: Vec<TcpStream> = (0..20).map(|_| connect(admin)).collect();
    let mut flood = connect(admin);
    // Nobody reads the answers.
    let requests = b"GET /metrics HTTP/1.1\r\n\r\n".repeat(80);
    flood.write_all(&requests).expect("the requests fit");
    for id in ["one", "two"] {
        let mut client = RawClient::connect(broker.addr(), Version::V311, id);
        client.ping();
    }
    assert!(get(admin, "/readyz").starts_with("HTTP/1.1 200 "));
}
