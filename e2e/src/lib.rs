//! The harness of the end-to-end suite: it starts a broker *process* on one of the hosts, and drives
//! it over real sockets with real clients (mosquitto's, paho-mqtt, rumqttc, mqtt for Node.js and in Chromium) and with raw bytes.
//!
//! The suite itself is in tests/suite. It runs against the host in `WISP_HOST` (see [`host::Host`]). A test
//! that the host cannot run reports the reason, from one table, [`host::Host::lacks`]. The harness links none
//! of Wisp's crates: it builds packets byte by byte in [`packet`], so that an error in Wisp's codec cannot hide
//! itself from its tests.
//!
//! No test sleeps until something has probably happened. Tests wait for a condition and give up after
//! [`wait::TIMEOUT`]; fixed times occur only where the time itself is under test.

use std::env;
use std::path::PathBuf;

pub mod broker;
pub mod browser;
pub mod certificates;
pub mod client;
pub mod host;
pub mod mosquitto;
pub mod packet;
pub mod paho;
pub mod peer;
pub mod program;
pub mod properties;
pub mod random;
pub mod raw;
pub mod wait;

/// The folder under which the set-up script installs client libraries.
fn cache() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    cache.unwrap_or_else(home).join("wisp")
}

/// The MQTT version of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// Protocol level 3, named MQIsdp.
    V31,
    /// Protocol level 4.
    V311,
    /// Protocol level 5.
    V5,
}

impl Version {
    /// Every version, for the tests that hold for all of them.
    pub const ALL: [Version; 3] = [Version::V31, Version::V311, Version::V5];

    /// Whether packets have properties and reason codes.
    pub fn is_v5(self) -> bool {
        self == Version::V5
    }
}
