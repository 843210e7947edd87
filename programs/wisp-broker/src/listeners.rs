//! The listeners of the file with settings of their own, `[[listener]]`.

use std::net::SocketAddr;

use wisp_broker::ListenerConfig;

use crate::address::Address;
use crate::tables::{Key, KeyKind, Located, Table, toml_text};

/// The settings of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenerSettings {
    pub(crate) address: Address,
    allow_anonymous: Option<bool>,
    connections_max: Option<u32>,
}

/// All settings of a listener, in the order in which they are shown.
pub(crate) static KEYS: [Key<ListenerSettings>; 3] = [
    Key {
        name: "address",
        kind: KeyKind::Address,
        get: |listener| Some(toml_text(&listener.address.to_string())),
        set: |listener, values| {
            listener.address = values[0].parse()?;
            Ok(())
        },
    },
    Key {
        name: "allow-anonymous",
        kind: KeyKind::Truth,
        get: |listener| listener.allow_anonymous.map(|truth| truth.to_string()),
        set: |listener, values| {
            listener.allow_anonymous = Some(values[0] == "true");
            Ok(())
        },
    },
    Key {
        name: "connections-max",
        kind: KeyKind::Number(1..=u32::MAX as u64),
        get: |listener| listener.connections_max.map(|count| count.to_string()),
        set: |listener, values| {
            listener.connections_max = values[0].parse().ok();
            Ok(())
        },
    },
];

impl ListenerSettings {
    /// Whether clients without a user name may not connect.
    pub(crate) fn refuses_anonymous(&self) -> bool {
        self.allow_anonymous == Some(false)
    }

    /// The listener of the library.
    pub(crate) fn config(&self, address: SocketAddr) -> ListenerConfig {
        let mut config = ListenerConfig::new(address);
        config.allow_anonymous = self.allow_anonymous;
        config.connections_max = self.connections_max;
        config
    }
}

/// The settings of all listeners.
pub(crate) fn resolve(tables: &[Table]) -> Result<Vec<ListenerSettings>, Located> {
    tables.iter().map(resolve_one).collect()
}

fn resolve_one(table: &Table) -> Result<ListenerSettings, Located> {
    if table.value(&KEYS, "address").is_none() {
        return Err((table.line, "a listener without an address, like address = \"127.0.0.1:8883\"".to_owned()));
    }
    let mut settings = ListenerSettings { address: Address::Port(0), allow_anonymous: None, connections_max: None };
    table.apply(&KEYS, &mut settings)?;
    Ok(settings)
}
