//! rumqttc, a client library in Rust, as a [`Peer`]: its two modules, for MQTT 3.1.1 and for MQTT 5.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rumqttc::mqttbytes::qos as old_qos;
use rumqttc::v5::mqttbytes::qos as new_qos;
use rumqttc::v5::mqttbytes::v5;
use rumqttc::{Outgoing, Transport};
use wisp_e2e::Version;
use wisp_e2e::peer::{Options, Peer, message_line};
use wisp_e2e::wait::TIMEOUT;

/// How soon a connection ends after its test has dropped it.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const QOS: &str = "0, 1 or 2";
const RUNS: &str = "the connection runs";
/// Pending requests of the library.
const REQUESTS_MAX: usize = 1000;
/// The library's own default is 10 KiB.
const PACKET_BYTES_MAX: u32 = 1024 * 1024;

pub(crate) fn rumqttc(options: &Options) -> Box<dyn Peer> {
    if options.version.is_v5() { Box::new(new(options)) } else { Box::new(old(options)) }
}

/// The transport that the options name: plain, or TLS that trusts an authority.
fn transport(options: &Options) -> Transport {
    let variable = |name: &str| options.environment.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
    match variable("WISP_E2E_SCHEME").unwrap_or("mqtt") {
        "mqtt" => Transport::tcp(),
        "mqtts" => {
            let authority = variable("WISP_E2E_CA").expect("there is an authority");
            Transport::tls(fs::read(authority).expect("its certificate is there"), None, None)
        }
        other => panic!("no test has rumqttc over {other}"),
    }
}

/// The state that the connection's thread shares with the test.
#[derive(Default)]
struct Shared {
    lines: Mutex<Vec<String>>,
    leaving: AtomicBool,
    dropped: AtomicBool,
}

/// One of the library's two clients.
trait Client {
    fn subscribe(&self, filter: &str, qos: u8);
    fn publish(&self, topic: &str, text: &str, qos: u8, retain: bool);
    fn disconnect(&self);
}

struct Running<C> {
    client: C,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl<C: Client> Peer for Running<C> {
    fn subscribe(&mut self, filter: &str, qos: u8) {
        self.client.subscribe(filter, qos);
    }

    fn publish(&mut self, topic: &str, text: &str, qos: u8, retain: bool) {
        self.client.publish(topic, text, qos, retain);
    }

    fn disconnect(&mut self) {
        self.shared.leaving.store(true, Ordering::Relaxed);
        self.client.disconnect();
        self.thread.take().expect("it runs").join().expect("the thread does not panic");
    }

    fn lines(&self) -> Vec<String> {
        self.shared.lines.lock().expect("no thread panicked").clone()
    }
}

impl<C> Drop for Running<C> {
    fn drop(&mut self) {
        self.shared.dropped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The next event of a connection.
enum Next {
    Line(Option<String>),
    Nothing,
    End(String),
}

/// The error of receiving is true after a timeout.
fn next<E, X: ToString>(received: Result<Result<E, X>, bool>, line: fn(E) -> Option<String>) -> Next {
    match received {
        Ok(Ok(event)) => Next::Line(line(event)),
        Ok(Err(error)) => Next::End(error.to_string()),
        Err(true) => Next::Nothing,
        Err(false) => Next::End("the client is gone".to_owned()),
    }
}

/// Runs a connection. Its socket is closed when this returns.
fn run<C>(client: C, mut receive: impl FnMut(Duration) -> Next + Send + 'static) -> Running<C> {
    let shared = Arc::new(Shared::default());
    let for_thread = Arc::clone(&shared);
    let thread = thread::spawn(move || {
        let say = |line: String| for_thread.lines.lock().expect("no thread panicked").push(line);
        // A wait that ends before the connection is established would restart it.
        let mut limit = TIMEOUT;
        while !for_thread.dropped.load(Ordering::Relaxed) {
            match receive(limit) {
                Next::Line(line) => line.into_iter().for_each(&say),
                Next::Nothing => {}
                Next::End(_) if for_thread.leaving.load(Ordering::Relaxed) => return,
                Next::End(reason) => return say(format!("error {reason}")),
            }
            limit = LOOK_INTERVAL;
        }
    });
    Running { client, shared, thread: Some(thread) }
}

fn connected(session_present: bool) -> Option<String> {
    Some(format!("connected {}", u8::from(session_present)))
}

fn old(options: &Options) -> Running<rumqttc::Client> {
    assert_eq!(options.version, Version::V311, "the library speaks no other");
    let mut settings =
        rumqttc::MqttOptions::new(&options.client_id, options.addr.ip().to_string(), options.addr.port());
    settings.set_clean_session(options.clean).set_transport(transport(options));
    settings.set_max_packet_size(PACKET_BYTES_MAX as usize, PACKET_BYTES_MAX as usize);
    if let Some((topic, text, qos, retain)) = &options.will {
        settings.set_last_will(rumqttc::LastWill::new(topic, text.as_bytes(), old_qos(*qos).expect(QOS), *retain));
    }
    let (client, mut connection) = rumqttc::Client::new(settings, REQUESTS_MAX);
    let timeout = |error| matches!(error, rumqttc::RecvTimeoutError::Timeout);
    run(client, move |limit| next(connection.recv_timeout(limit).map_err(timeout), old_line))
}

fn old_line(event: rumqttc::Event) -> Option<String> {
    use rumqttc::{Event, Packet};
    match event {
        Event::Incoming(Packet::ConnAck(answer)) => connected(answer.session_present),
        Event::Incoming(Packet::SubAck(_)) => Some("subscribed".to_owned()),
        Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) | Event::Outgoing(Outgoing::Publish(0)) => {
            Some("published".to_owned())
        }
        Event::Incoming(Packet::Publish(message)) => {
            Some(message_line(message.qos as u8, message.retain, &message.topic, &message.payload))
        }
        _ => None,
    }
}

impl Client for rumqttc::Client {
    fn subscribe(&self, filter: &str, qos: u8) {
        rumqttc::Client::subscribe(self, filter, old_qos(qos).expect(QOS)).expect(RUNS);
    }

    fn publish(&self, topic: &str, text: &str, qos: u8, retain: bool) {
        rumqttc::Client::publish(self, topic, old_qos(qos).expect(QOS), retain, text).expect(RUNS);
    }

    fn disconnect(&self) {
        rumqttc::Client::disconnect(self).expect(RUNS);
    }
}

fn new(options: &Options) -> Running<rumqttc::v5::Client> {
    let host = options.addr.ip().to_string();
    let mut settings = rumqttc::v5::MqttOptions::new(&options.client_id, host, options.addr.port());
    settings.set_clean_start(options.clean).set_transport(transport(options));
    settings.set_max_packet_size(Some(PACKET_BYTES_MAX));
    settings.set_session_expiry_interval((!options.clean).then_some(3600));
    if let Some((topic, text, qos, retain)) = &options.will {
        let qos = new_qos(*qos).expect(QOS);
        settings.set_last_will(v5::LastWill::new(topic, text.as_bytes(), qos, *retain, None));
    }
    let (client, mut connection) = rumqttc::v5::Client::new(settings, REQUESTS_MAX);
    let timeout = |error| matches!(error, rumqttc::v5::RecvTimeoutError::Timeout);
    run(client, move |limit| next(connection.recv_timeout(limit).map_err(timeout), new_line))
}

fn new_line(event: rumqttc::v5::Event) -> Option<String> {
    use rumqttc::v5::Event;
    use v5::{Packet, PubAckReason, PubCompReason};
    match event {
        Event::Incoming(Packet::ConnAck(answer)) => connected(answer.session_present),
        Event::Incoming(Packet::SubAck(_)) => Some("subscribed".to_owned()),
        Event::Incoming(Packet::PubAck(answer)) => match answer.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Some("published".to_owned()),
            reason => Some(format!("error {reason:?}")),
        },
        Event::Incoming(Packet::PubComp(answer)) => match answer.reason {
            PubCompReason::Success => Some("published".to_owned()),
            reason => Some(format!("error {reason:?}")),
        },
        Event::Outgoing(Outgoing::Publish(0)) => Some("published".to_owned()),
        Event::Incoming(Packet::Publish(message)) => {
            let topic = str::from_utf8(&message.topic).expect("topics are UTF-8");
            Some(message_line(message.qos as u8, message.retain, topic, &message.payload))
        }
        _ => None,
    }
}

impl Client for rumqttc::v5::Client {
    fn subscribe(&self, filter: &str, qos: u8) {
        rumqttc::v5::Client::subscribe(self, filter, new_qos(qos).expect(QOS)).expect(RUNS);
    }

    fn publish(&self, topic: &str, text: &str, qos: u8, retain: bool) {
        rumqttc::v5::Client::publish(self, topic, new_qos(qos).expect(QOS), retain, text.to_owned()).expect(RUNS);
    }

    fn disconnect(&self) {
        rumqttc::v5::Client::disconnect(self).expect(RUNS);
    }
}
