//! mosquitto_pub and mosquitto_sub, the command line clients that Debian packages.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Version;
use crate::program::{Finished, Program};
use crate::raw::RawClient;
use crate::wait::wait_until;

/// A message as a client printed it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Message {
    /// The topic name.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Message {
    /// A message with a text in it.
    pub fn new(topic: &str, payload: &str) -> Message {
        Message { topic: topic.to_owned(), payload: payload.as_bytes().to_vec() }
    }

    /// Reads a topic and a payload in hexadecimal digits with a space between.
    ///
    /// # Panics
    /// If the line is anything else.
    pub fn from_line(line: &str) -> Message {
        let (topic, digits) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no message: {line:?}"));
        let digit = |byte: u8| (byte as char).to_digit(16).expect("a hexadecimal digit") as u8;
        let payload = digits.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
        Message { topic: topic.to_owned(), payload }
    }
}

/// How mosquitto_sub prints payloads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Hexadecimal,
    Text,
}

/// A running mosquitto_sub.
pub struct Subscriber {
    program: Program,
    /// Of a plain listener.
    addr: SocketAddr,
    format: Format,
    mark_topic: String,
    marks: AtomicU64,
}

impl Subscriber {
    /// Starts mosquitto_sub and waits until its subscriptions are in effect.
    pub fn start(addr: SocketAddr, version: Version, filters: &[&str]) -> Subscriber {
        Subscriber::start_with(addr, version, filters, &[], Format::Hexadecimal)
    }

    /// Like [`Subscriber::start`], with more arguments, as in `&["-U", "filter"]`.
    pub fn start_with_arguments(addr: SocketAddr, version: Version, filters: &[&str], more: &[&str]) -> Subscriber {
        Subscriber::start_with(addr, version, filters, more, Format::Hexadecimal)
    }

    /// Like [`Subscriber::start_with_arguments`], for a listener that needs these arguments: the marks are published to
    /// another listener of the broker, a plain one.
    pub fn start_marked(
        addr: SocketAddr,
        plain: SocketAddr,
        version: Version,
        filters: &[&str],
        more: &[&str],
    ) -> Subscriber {
        Subscriber::start_on(addr, plain, version, filters, more, Format::Hexadecimal)
    }

    /// Starts mosquitto_sub so that it prints payloads unchanged, for messages that are lines of text.
    pub fn start_for_text(addr: SocketAddr, version: Version, filters: &[&str]) -> Subscriber {
        Subscriber::start_with(addr, version, filters, &[], Format::Text)
    }

    fn start_with(addr: SocketAddr, version: Version, filters: &[&str], more: &[&str], format: Format) -> Subscriber {
        Subscriber::start_on(addr, addr, version, filters, more, format)
    }

    fn start_on(
        addr: SocketAddr,
        plain: SocketAddr,
        version: Version,
        filters: &[&str],
        more: &[&str],
        format: Format,
    ) -> Subscriber {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let mark_topic = format!("{MARK_TOPICS}{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let mut command = client_command("mosquitto_sub", addr, version);
        command.args(["-F", if format == Format::Text { "%t %p" } else { "%t %x" }]);
        command.args(filters.iter().flat_map(|filter| ["-t", filter])).args(["-t", &mark_topic]).args(more);
        let program = Program::start(command);
        let subscriber = Subscriber { program, addr: plain, format, mark_topic, marks: AtomicU64::new(0) };
        subscriber.settle();
        subscriber
    }

    /// Waits until a message published now has arrived. This means that the subscriptions are in effect, and
    /// that all messages routed before have arrived.
    ///
    /// mosquitto_sub does not report its SUBACK, so a mark is published on a topic of its own until it arrives.
    pub fn settle(&self) {
        let mark = format!("{} {:08x}", self.mark_topic, self.marks.fetch_add(1, Ordering::Relaxed));
        let payload = mark.rsplit(' ').next().unwrap_or_default().to_owned();
        let raw =
            if self.format == Format::Text { payload.clone().into_bytes() } else { Message::from_line(&mark).payload };
        let mut publisher = RawClient::connect(self.addr, Version::V311, &format!("marker-{}", self.mark_topic));
        let interval = Duration::from_millis(200);
        let mut published = std::time::Instant::now();
        publisher.publish(&self.mark_topic, &raw);
        wait_until("a mark that comes through to mosquitto_sub", || {
            if published.elapsed() >= interval {
                publisher.publish(&self.mark_topic, &raw);
                published = std::time::Instant::now();
            }
            self.program.with_stdout(|lines| lines.iter().rev().any(|line| *line == mark))
        });
    }

    /// The messages received so far, without the marks.
    pub fn messages(&self) -> Vec<Message> {
        self.lines().iter().map(|line| Message::from_line(line)).collect()
    }

    /// The topics of the messages received so far, without the marks.
    pub fn topics(&self) -> Vec<String> {
        self.messages().into_iter().map(|message| message.topic).collect()
    }

    /// The output lines so far, each a topic, a space and a payload, without the marks.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.program.stdout();
        lines.retain(|line| !is_mark(line));
        lines
    }

    /// Waits until this many messages have arrived, and returns them.
    pub fn wait_for_messages(&self, count: usize) -> Vec<Message> {
        self.wait_for_count(count);
        self.messages()
    }

    /// Waits until this many messages have arrived.
    pub fn wait_for_count(&self, count: usize) {
        self.program.wait_stdout(&format!("{count} messages at mosquitto_sub"), |lines| {
            let come = lines.iter().filter(|line| !is_mark(line)).count();
            (come >= count).then_some(())
        });
    }

    /// The program's standard error.
    pub fn stderr(&self) -> Vec<String> {
        self.program.stderr()
    }
}

const MARK_TOPICS: &str = "mosquitto-sub-mark/";

fn is_mark(line: &str) -> bool {
    line.starts_with(MARK_TOPICS)
}

/// Runs mosquitto_pub with these arguments and this input, and returns when it has ended.
pub fn run_publisher(addr: SocketAddr, version: Version, arguments: &[&str], input: &[u8]) -> Finished {
    let mut command = client_command("mosquitto_pub", addr, version);
    command.args(arguments);
    Program::run(command, input)
}

/// Publishes each line with `mosquitto_pub -l`, and returns when all of them are routed.
///
/// mosquitto_pub 2.0.11 sometimes does not end after the last line, with any broker: it ends when the last message is
/// sent, and misses that if it notes only afterwards which message is the last (mosquitto issue 1448). So an observer waits
/// for the messages, and a program that is still there then is killed.
pub fn publish_lines(addr: SocketAddr, version: Version, topic: &str, arguments: &[&str], lines: &[impl AsRef<str>]) {
    let observer = Subscriber::start_with_arguments(addr, version, &[topic], &["-q", "2"]);
    let mut command = client_command("mosquitto_pub", addr, version);
    command.args(["-t", topic, "-l"]).args(arguments);
    let text: String = lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect();
    let mut publisher = Program::start_with_input(command, text.into_bytes());
    observer.wait_for_count(lines.len());
    let failure = publisher.ended().filter(|status| !status.success());
    assert!(failure.is_none(), "mosquitto_pub: {failure:?} {:?}", publisher.stderr());
}

/// Publishes the payload as one message.
pub fn publish(addr: SocketAddr, version: Version, topic: &str, payload: &[u8]) {
    // mosquitto_pub has an option of its own for an empty message.
    let how = if payload.is_empty() { "-n" } else { "-s" };
    let finished = run_publisher(addr, version, &["-t", topic, how], payload);
    assert!(finished.status.success(), "mosquitto_pub: {} {:?}", finished.status, finished.stderr);
}

/// A command of one of mosquitto's programs with the address and version filled in.
pub fn client_command(program: &str, addr: SocketAddr, version: Version) -> Command {
    let version = match version {
        Version::V31 => "mqttv31",
        Version::V311 => "mqttv311",
        Version::V5 => "mqttv5",
    };
    let mut command = Command::new(program);
    command.args(["-h", &addr.ip().to_string(), "-p", &addr.port().to_string(), "-V", version]);
    command
}
