//! The parts of the measurement.

use clap::ValueEnum;

/// A part of the measurement, as the command line names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum SecureCase {
    /// Messages over TLS, beside plain TCP
    Tls,
    /// Messages over TLS, beside mosquitto over TLS
    TlsMosquitto,
    /// Messages over WebSocket, beside plain TCP
    Websocket,
    /// Messages with 1,000 access rules, beside none
    Rules,
    /// Full and resumed handshakes, beside mosquitto
    Handshakes,
    /// Memory of an idle connection over TLS, beside mosquitto
    Memory,
    /// Messages over TLS under Wasmer, beside native TLS
    Wasmer,
}
