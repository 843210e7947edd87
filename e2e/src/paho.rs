//! paho-mqtt, the Python client library, through the script clients/paho_client.py.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mosquitto::Message;
use crate::program::Program;
use crate::{Version, cache};

/// A running subscriber.
pub struct Subscriber {
    program: Program,
}

impl Subscriber {
    /// Starts a subscriber and waits until its subscriptions are granted.
    pub fn start(addr: SocketAddr, version: Version, filters: &[&str]) -> Subscriber {
        let mut command = script(addr, version);
        command.arg("sub").args(filters);
        let subscriber = Subscriber { program: Program::start(command) };
        subscriber.wait_for_lines("subscribed", 1);
        subscriber
    }

    /// Unsubscribes from one filter and waits for the acknowledgement.
    pub fn unsubscribe(&mut self, filter: &str) {
        let before = self.count("unsubscribed");
        self.program.tell(&format!("unsubscribe {filter}"));
        self.wait_for_lines("unsubscribed", before + 1);
    }

    /// The messages received so far.
    pub fn messages(&self) -> Vec<Message> {
        let lines = self.program.stdout();
        lines.iter().filter_map(|line| line.strip_prefix("message ")).map(Message::from_line).collect()
    }

    /// Waits until this many messages have arrived, and returns them.
    pub fn wait_for_messages(&self, count: usize) -> Vec<Message> {
        self.program.wait_stdout(&format!("{count} messages at paho-mqtt"), |lines| {
            let come = lines.iter().filter(|line| line.starts_with("message ")).count();
            (come >= count).then_some(())
        });
        self.messages()
    }

    /// Waits until the script has printed this line `count` times.
    pub fn wait_for_lines(&self, line: &str, count: usize) {
        self.program.wait_stdout(&format!("{count} times {line:?}"), |lines| {
            (lines.iter().filter(|found| *found == line).count() >= count).then_some(())
        });
    }

    fn count(&self, line: &str) -> usize {
        self.program.with_stdout(|lines| lines.iter().filter(|found| *found == line).count())
    }
}

/// Publishes the payload as one message.
pub fn publish(addr: SocketAddr, version: Version, topic: &str, payload: &[u8]) {
    run_publisher(addr, version, &[topic], payload);
}

/// Publishes the payload to `count` topics; `{}` in the topic name stands for the numbers from 0.
pub fn publish_to_many(addr: SocketAddr, version: Version, topic: &str, count: usize, payload: &[u8]) {
    run_publisher(addr, version, &[topic, "--count", &count.to_string()], payload);
}

/// The command of a publisher that connects to localhost over TLS, and trusts the CA of this file.
pub fn secure_publisher(ca_file: &str, port: &str) -> Command {
    let script = "import sys, paho.mqtt.publish as publish; \
                  publish.single('t', 'x', qos=1, hostname='localhost', port=int(sys.argv[2]), tls={'ca_certs': sys.argv[1]})";
    let mut command = Command::new(python());
    command.args(["-c", script, ca_file, port]);
    command
}

fn run_publisher(addr: SocketAddr, version: Version, arguments: &[&str], payload: &[u8]) {
    let mut command = script(addr, version);
    command.arg("pub").args(arguments);
    let finished = Program::run(command, payload);
    assert!(finished.status.success(), "paho-mqtt's publisher: {}\n{}", finished.status, finished.stderr.join("\n"));
}

fn script(addr: SocketAddr, version: Version) -> Command {
    let version = match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5",
    };
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/paho_client.py"));
    command.args(["--host", &addr.ip().to_string(), "--port", &addr.port().to_string(), "--version", version]);
    command
}

/// The Python interpreter of the environment that the set-up script creates.
pub fn python() -> PathBuf {
    cache().join("python-paho-mqtt-2.1.0/bin/python")
}
