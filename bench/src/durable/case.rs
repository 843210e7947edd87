//! The parts of the measurement.

use clap::ValueEnum;

/// A part of the measurement, as the command line names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum DurableCase {
    /// Ten senders to kept sessions that are away, beside JetStream and mosquitto
    Away,
    /// Ten senders to ten connected kept sessions, beside memory only
    Forwarding,
    /// Ten senders and ten receivers of a topic queue, beside a work queue of JetStream
    Queue,
    /// One sender with one message in flight, beside the disk
    OneInFlight,
    /// As away, under Wasmer with synchronous writes, beside native
    Wasmer,
    /// QoS 0 and clean sessions with a data folder, beside none
    Unkept,
    /// Bytes written to disk for a topic queue that is drained as it fills
    Written,
}
