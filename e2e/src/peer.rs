//! Client libraries by other authors, all driven in the same way: a command for each feature of a session, and
//! a line of output for each event.
//!
//! | line | when |
//! |---|---|
//! | `connected 0` or `connected 1` | connected, to a new session or to one that was present |
//! | `subscribed` | a subscription was granted at the requested QoS |
//! | `published` | a message was sent at QoS 0, or its exchange is complete |
//! | `message QOS RETAIN TOPIC HEX` | a message arrived |
//! | `error ...` | anything that should not happen |

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Version;
use crate::paho;
use crate::program::Program;
use crate::wait::wait_or_report;

/// How a client connects.
#[derive(Clone)]
pub struct Options {
    /// The broker's address.
    pub addr: SocketAddr,
    /// The client's MQTT version.
    pub version: Version,
    /// Its client id.
    pub client_id: String,
    /// Whether to use a clean session. Otherwise the session is resumed, and kept for an hour or for ever.
    pub clean: bool,
    /// Topic, text, QoS and RETAIN of its will.
    pub will: Option<(String, String, u8, bool)>,
    /// Variables for the scripts: `WISP_E2E_SCHEME` (mqtt, mqtts, ws or wss) and `WISP_E2E_CA`, the authority's certificate.
    pub environment: Vec<(String, String)>,
}

impl Options {
    /// A client with a clean session and without a will.
    pub fn new(addr: SocketAddr, version: Version, client_id: &str) -> Options {
        Options { addr, version, client_id: client_id.to_owned(), clean: true, will: None, environment: Vec::new() }
    }
}

/// A client of some library. Dropping it closes its connection without DISCONNECT.
pub trait Peer {
    /// Requests a subscription.
    fn subscribe(&mut self, filter: &str, qos: u8);
    /// Publishes.
    fn publish(&mut self, topic: &str, text: &str, qos: u8, retain: bool);
    /// Sends DISCONNECT; returns when the connection has ended.
    fn disconnect(&mut self);
    /// The events so far.
    fn lines(&self) -> Vec<String>;
}

/// A message as the library delivered it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// 0, 1 or 2.
    pub qos: u8,
    /// The RETAIN flag.
    pub retain: bool,
    /// The topic name.
    pub topic: String,
    /// The payload.
    pub text: String,
}

/// A connected peer, with methods that wait for its events.
pub struct Session {
    peer: Box<dyn Peer>,
    subscribed: usize,
    published: usize,
}

impl Session {
    /// Waits until the peer is connected.
    pub fn of(peer: Box<dyn Peer>) -> Session {
        let session = Session { peer, subscribed: 0, published: 0 };
        session.wait_for_lines("connected", 1);
        session
    }

    /// Whether the broker still had its session.
    pub fn is_present(&self) -> bool {
        self.peer.lines().iter().any(|line| line == "connected 1")
    }

    /// Subscribes and waits until the subscription is granted.
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        self.subscribed += 1;
        self.peer.subscribe(filter, qos);
        self.wait_for_lines("subscribed", self.subscribed);
    }

    /// Publishes and waits until the exchange is complete.
    pub fn publish(&mut self, topic: &str, text: &str, qos: u8, retain: bool) {
        self.start_to_publish(topic, text, qos, retain);
        self.finish_publishing();
    }

    /// Publishes without waiting.
    pub fn start_to_publish(&mut self, topic: &str, text: &str, qos: u8, retain: bool) {
        self.published += 1;
        self.peer.publish(topic, text, qos, retain);
    }

    /// Waits until all exchanges are complete.
    pub fn finish_publishing(&self) {
        self.wait_for_lines("published", self.published);
    }

    /// Waits until this many messages have arrived.
    pub fn wait_for_messages(&self, count: usize) -> Vec<Heard> {
        self.wait_for_lines("message", count);
        self.messages()
    }

    /// The messages received so far.
    pub fn messages(&self) -> Vec<Heard> {
        self.peer.lines().iter().filter_map(|line| read_message(line)).collect()
    }

    /// Sends DISCONNECT.
    pub fn disconnect(mut self) {
        self.peer.disconnect();
    }

    fn wait_for_lines(&self, word: &str, count: usize) {
        let what = format!("{count} lines that begin with {word:?}");
        let come = || {
            let lines = self.peer.lines();
            let error = lines.iter().find(|line| line.starts_with("error"));
            assert!(error.is_none(), "the client reports {error:?}");
            (lines.iter().filter(|line| line.split(' ').next() == Some(word)).count() >= count).then_some(())
        };
        wait_or_report(&what, come, || self.peer.lines().join("\n"));
    }
}

fn read_message(line: &str) -> Option<Heard> {
    let mut words = line.strip_prefix("message ")?.splitn(4, ' ');
    let mut word = || words.next().expect("a message has four words");
    let (qos, retain, topic, digits) = (word(), word(), word(), word());
    let bytes = digits.as_bytes().chunks(2).map(|pair| {
        let pair = str::from_utf8(pair).expect("digits are ASCII");
        u8::from_str_radix(pair, 16).expect("hexadecimal digits")
    });
    Some(Heard {
        qos: qos.parse().expect("a QoS"),
        retain: retain == "1",
        topic: topic.to_owned(),
        text: String::from_utf8(bytes.collect()).expect("these payloads are text"),
    })
}

/// The line for a received message.
pub fn message_line(qos: u8, retain: bool, topic: &str, payload: &[u8]) -> String {
    format!("message {qos} {} {topic} {}", u8::from(retain), hex(payload))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A script that reads the commands as lines from standard input.
struct Script(Program);

impl Script {
    fn start(command: Command, options: &Options) -> Box<dyn Peer> {
        Box::new(Script(Script::program(command, options)))
    }

    fn program(mut command: Command, options: &Options) -> Program {
        let version = match options.version {
            Version::V31 => "3",
            Version::V311 => "4",
            Version::V5 => "5",
        };
        command.args([&options.addr.ip().to_string(), &options.addr.port().to_string(), version]);
        command.args([&*options.client_id, if options.clean { "clean" } else { "kept" }]);
        if let Some((topic, text, qos, retain)) = &options.will {
            command.args([&**topic, text, &qos.to_string(), if *retain { "1" } else { "0" }]);
        }
        command.envs(options.environment.iter().map(|(name, value)| (name, value)));
        Program::start(command)
    }
}

impl Peer for Script {
    fn subscribe(&mut self, filter: &str, qos: u8) {
        self.0.tell(&format!("subscribe {qos} {filter}"));
    }

    fn publish(&mut self, topic: &str, text: &str, qos: u8, retain: bool) {
        self.0.tell(&format!("publish {qos} {} {topic} {}", u8::from(retain), hex(text.as_bytes())));
    }

    fn disconnect(&mut self) {
        // This closes the script's input.
        let finished = self.0.finish();
        assert!(finished.status.success(), "{}\n{}", finished.status, finished.stderr.join("\n"));
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = self.0.stdout();
        lines.extend(self.0.stderr().iter().map(|line| format!("error {line}")));
        lines
    }
}

/// paho-mqtt in Python.
pub fn paho(options: &Options) -> Box<dyn Peer> {
    let mut command = Command::new(paho::python());
    command.arg(clients().join("paho_session.py"));
    Script::start(command, options)
}

/// The package mqtt in Node.js.
pub fn mqtt_js(options: &Options) -> Box<dyn Peer> {
    Script::start(mqtt_js_command(), options)
}

/// The package mqtt in Node.js, for commands that only it has.
pub fn mqtt_js_program(options: &Options) -> Program {
    Script::program(mqtt_js_command(), options)
}

fn mqtt_js_command() -> Command {
    let mut command = Command::new("node");
    command.arg(clients().join("mqtt_js_session.cjs"));
    command.env("NODE_PATH", mqtt_js_folder().parent().expect("it lies in node_modules"));
    command
}

/// The package mqtt, if it is installed. The set-up script uses the same folder name.
pub(crate) fn mqtt_js_folder() -> PathBuf {
    crate::cache().join("node-mqtt-5.16.0/node_modules/mqtt")
}

/// True if there is no Node.js; the test then returns, as with [`is_missing`].
pub fn node_is_missing() -> bool {
    let version = Command::new("node").arg("--version").output();
    !version.is_ok_and(|output| output.status.success()) && is_missing("node")
}

/// Reports that a test is not run, as [`crate::host::cannot`] does.
///
/// # Panics
/// If nothing may be missing: `make test-parts` sets `WISP_E2E_PARTS`.
pub fn is_missing(part: &str) -> bool {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(std::env::var_os("WISP_E2E_PARTS").is_none(), "{test} needs {part}, which is not installed");
    // A closed standard error cannot be reported anywhere.
    drop(writeln!(std::io::stderr(), "not run: {test} needs {part}, which is not installed"));
    true
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}
