//! How brokers are started for a case, and which of them can run it.

/// How brokers are set for a case, beside their address.
pub(crate) struct Setup {
    /// Flags of Wisp.
    pub(crate) wisp: &'static [&'static str],
    /// Lines of mosquitto's configuration.
    pub(crate) mosquitto: &'static [&'static str],
    /// The text of a password file, with which clients without a user name may connect all the same.
    pub(crate) users: Option<&'static str>,
    /// The peers that can run the case.
    pub(crate) peers: Peers,
}

/// The peers that can run a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Peers {
    All,
    /// nats-server has no MQTT 5 and no shared subscriptions, and retains messages on disk.
    Mosquitto,
    /// The case asks for a limit or a feature that only Wisp has.
    None,
}

impl Setup {
    /// All brokers at their defaults.
    pub(crate) const DEFAULTS: Self = Self { wisp: &[], mosquitto: &[], users: None, peers: Peers::All };
    /// Enough connections for every case.
    pub(crate) const MANY_CONNECTIONS: [&'static str; 2] = ["--connections-max", "19500"];
}
