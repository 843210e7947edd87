//! How brokers other than Wisp are set, so that they drop nothing and write no log; and where that is written.

use std::net::SocketAddr;

use super::kinds::Broker;

/// Wisp's flags besides its address and its workers.
pub(super) const WISP_FLAGS: [&str; 1] = ["--log error"];

/// The lines of mosquitto's configuration beside its listener: no bound at which it would drop, and nothing that costs
/// time and is not forwarding. All else is its default.
pub const MOSQUITTO_SETTINGS: [&str; 6] = [
    "allow_anonymous true",
    "max_queued_messages 0",
    "max_inflight_messages 0",
    "persistence false",
    "log_dest none",
    "log_type none",
];

/// The lines of nats-server's configuration besides its listener. It drops no single message: it disconnects a receiver
/// for which too many bytes are pending, or which does not read them in time, and slows senders down before that. The
/// defaults, 64 MB and 10 s, are too small for many senders to one slow receiver. The time is longer than the
/// generator's own timeout. A larger buffer would be no faster, and costs memory. The rest are defaults.
pub const NATS_SETTINGS: [&str; 2] = ["max_pending: 256MB", "write_deadline: \"120s\""];

/// rumqttd's configuration except for the address. It appends messages to a log for each topic and drops the oldest
/// segment when there are too many, read or not; here a log holds more than a sample has. The log is not allocated in
/// advance, and messages stay in it, so that memory grows with all messages ever sent, up to a gigabyte for each topic.
/// It acknowledges a message once it is in the log, so that the window does not slow senders down. The remaining values
/// come from the configuration file in its package, with three changes: 1000 packets to a connection at once, as many
/// as the window and faster than its 200; messages up to a megabyte instead of 20 kB; and no console and no other
/// listener.
pub const RUMQTTD_SETTINGS: [(&str, &str); 7] = [
    ("router.max_segment_size", "104857600"),
    ("router.max_segment_count", "10"),
    ("router.max_connections", "10010"),
    ("router.max_outgoing_packet_count", "1000"),
    ("v4.1.connections.max_inflight_count", "100"),
    ("v4.1.connections.max_payload_size", "1048576"),
    ("v4.1.connections.connection_timeout_ms", "60000"),
];

/// The lines of configuration of brokers that are told where to listen by it.
pub(super) fn mosquitto(address: SocketAddr) -> Vec<String> {
    let listener = format!("listener {} {}", address.port(), address.ip());
    [listener].into_iter().chain(MOSQUITTO_SETTINGS.map(str::to_owned)).collect()
}

pub(super) fn nats(address: SocketAddr) -> Vec<String> {
    let listen = format!("listen: \"{address}\"");
    [listen].into_iter().chain(NATS_SETTINGS.map(str::to_owned)).collect()
}

pub(super) fn rumqttd(address: SocketAddr) -> Vec<String> {
    let server = ["id = 0", "router.id = 0", "v4.1.name = \"v4\"", "v4.1.next_connection_delay_ms = 1"];
    let listen = format!("v4.1.listen = \"{address}\"");
    server.map(str::to_owned).into_iter().chain([listen]).chain(rumqttd_lines()).collect()
}

pub(super) fn rumqttd_lines() -> Vec<String> {
    RUMQTTD_SETTINGS.map(|(key, value)| format!("{key} = {value}")).into()
}

impl Broker {
    /// How it is set beside its address, line by line: of Wisp the flags, of the others their configuration; all else is
    /// the default of each.
    #[must_use]
    pub fn settings(&self) -> Vec<String> {
        let lines = |lines: &[&str]| lines.iter().copied().map(str::to_owned).collect();
        match self {
            Self::Mosquitto => lines(&MOSQUITTO_SETTINGS),
            Self::NatsServer => lines(&NATS_SETTINGS),
            Self::Rumqttd => rumqttd_lines(),
            Self::Sink => Vec::new(),
            Self::Command(line) => vec![line.clone()],
            Self::Native | Self::Wasmtime => lines(&WISP_FLAGS),
            Self::WasmEdge => lines(&[&WISP_FLAGS[..], &["--workers 1"]].concat()),
            Self::Wasmer => lines(&[&WISP_FLAGS[..], &["TOKIO_WORKER_THREADS=1"]].concat()),
        }
    }
}
