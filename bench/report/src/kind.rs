//! The kinds of measurements.

/// The kind of a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Messages a second.
    Throughput,
    /// How long messages take at a fixed rate.
    Latency,
    /// The rate of opening connections, and their cost.
    Connections,
    /// Messages over plain TCP.
    Transfer,
    /// Starting a broker.
    Start,
    /// A runtime without a network.
    Compute,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Throughput, Self::Latency, Self::Connections, Self::Transfer, Self::Start, Self::Compute];

    /// As plans and records write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Connections => "connections",
            Self::Transfer => "transfer",
            Self::Start => "start",
            Self::Compute => "compute",
        }
    }

    /// Whether the load generator takes its samples, and not wisp-bench.
    #[must_use]
    pub fn is_of_load(self) -> bool {
        matches!(self, Self::Throughput | Self::Latency | Self::Connections)
    }
}
