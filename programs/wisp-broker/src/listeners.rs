//! The listeners of the file with settings of their own, `[[listener]]`.

use std::net::SocketAddr;
use std::sync::Arc;

use wisp_broker::{
    CertificateFiles, CertificateName, ClientCertificates, ListenerConfig, ListenerLimits, Network, Tls, TlsSettings,
    WebSocketSettings,
};

use crate::address::Address;
use crate::tables::{Key, KeyKind, Located, Table, toml_text, toml_texts};

/// The settings of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenerSettings {
    pub(crate) address: Address,
    is_web_socket: bool,
    allow_anonymous: Option<bool>,
    connections_max: Option<u32>,
    limits: ListenerLimits,
    tls: TlsKeys,
    has_proxy_header: bool,
    proxies: Vec<Network>,
    web_socket: WebSocketSettings,
}

/// The keys of the table `[listener.tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TlsKeys {
    certificates: Vec<String>,
    keys: Vec<String>,
    client_ca: Option<String>,
    clients_required: Option<bool>,
    client_name: Option<CertificateName>,
    revocation_lists: Vec<String>,
}

/// A limit of its own.
macro_rules! limit {
    ($field:ident, $name:literal) => {
        Key {
            name: $name,
            kind: KeyKind::Limit($name),
            get: |listener| listener.limits.$field.map(|number| number.to_string()),
            set: |listener, values| {
                listener.limits.$field = values[0].parse().ok();
                Ok(())
            },
        }
    };
}

/// All settings of a listener, in the order in which they are shown.
pub(crate) static KEYS: [Key<ListenerSettings>; 20] = [
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
        name: "protocol",
        kind: KeyKind::Word(&["mqtt", "websocket"]),
        get: |listener| Some(toml_text(if listener.is_web_socket { "websocket" } else { "mqtt" })),
        set: |listener, values| {
            listener.is_web_socket = values[0] == "websocket";
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
    limit!(packet_bytes_max, "packet-bytes-max"),
    limit!(connect_timeout_ms, "connect-timeout-ms"),
    limit!(keep_alive_s_max, "keep-alive-s-max"),
    limit!(topic_alias_max, "topic-alias-max"),
    limit!(messages_per_s_max, "messages-per-s-max"),
    limit!(bytes_per_s_max, "bytes-per-s-max"),
    Key {
        name: "proxy-protocol",
        kind: KeyKind::Truth,
        get: |listener| listener.has_proxy_header.then(|| "true".to_owned()),
        set: |listener, values| {
            listener.has_proxy_header = values[0] == "true";
            Ok(())
        },
    },
    Key {
        name: "proxy-protocol-from",
        kind: KeyKind::Texts,
        get: |listener| texts(&listener.proxies.iter().map(ToString::to_string).collect::<Vec<_>>()),
        set: |listener, values| {
            let parse = |text: &String| text.parse().map_err(|error: wisp_broker::InvalidNetwork| error.to_string());
            listener.proxies = values.iter().map(parse).collect::<Result<_, _>>()?;
            Ok(())
        },
    },
    Key {
        name: "tls.certificate",
        kind: KeyKind::Texts,
        get: |listener| texts(&listener.tls.certificates),
        set: |listener, values| {
            listener.tls.certificates = values.to_vec();
            Ok(())
        },
    },
    Key {
        name: "tls.key",
        kind: KeyKind::Texts,
        get: |listener| texts(&listener.tls.keys),
        set: |listener, values| {
            listener.tls.keys = values.to_vec();
            Ok(())
        },
    },
    Key {
        name: "tls.client-ca",
        kind: KeyKind::Text,
        get: |listener| listener.tls.client_ca.as_deref().map(toml_text),
        set: |listener, values| {
            listener.tls.client_ca = Some(values[0].clone());
            Ok(())
        },
    },
    Key {
        name: "tls.client-certificate",
        kind: KeyKind::Word(&["required", "optional"]),
        get: |listener| {
            listener.tls.clients_required.map(|required| toml_text(if required { "required" } else { "optional" }))
        },
        set: |listener, values| {
            listener.tls.clients_required = Some(values[0] == "required");
            Ok(())
        },
    },
    Key {
        name: "tls.client-name",
        kind: KeyKind::Word(&["common-name", "alternative-name"]),
        get: |listener| {
            let word = |name| if name == CertificateName::CommonName { "common-name" } else { "alternative-name" };
            listener.tls.client_name.map(|name| toml_text(word(name)))
        },
        set: |listener, values| {
            let is_common = values[0] == "common-name";
            listener.tls.client_name =
                Some(if is_common { CertificateName::CommonName } else { CertificateName::AlternativeName });
            Ok(())
        },
    },
    Key {
        name: "tls.crl",
        kind: KeyKind::Texts,
        get: |listener| texts(&listener.tls.revocation_lists),
        set: |listener, values| {
            listener.tls.revocation_lists = values.to_vec();
            Ok(())
        },
    },
    Key {
        name: "websocket.path",
        kind: KeyKind::Texts,
        get: |listener| texts(&listener.web_socket.paths),
        set: |listener, values| {
            if values.iter().any(|path| !path.starts_with('/')) {
                return Err("not a path, like /mqtt".to_owned());
            }
            listener.web_socket.paths = values.to_vec();
            Ok(())
        },
    },
    Key {
        name: "websocket.origin",
        kind: KeyKind::Texts,
        get: |listener| texts(&listener.web_socket.origins),
        set: |listener, values| {
            let is_origin =
                |text: &String| text.split_once("://").is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'));
            if !values.iter().all(is_origin) {
                return Err("not an origin, like https://example.org, without a path".to_owned());
            }
            listener.web_socket.origins = values.to_vec();
            Ok(())
        },
    },
];

fn texts(values: &[String]) -> Option<String> {
    (!values.is_empty()).then(|| toml_texts(values.iter().map(String::as_str)))
}

impl TlsKeys {
    /// What has to be there too. The error names the key that it is about.
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let given = [
            ("tls.client-certificate", self.clients_required.is_some()),
            ("tls.client-name", self.client_name.is_some()),
            ("tls.crl", !self.revocation_lists.is_empty()),
        ];
        let of_clients = given.into_iter().find(|(_, is_given)| *is_given);
        match (of_clients, self.client_ca.is_some()) {
            (Some((key, _)), false) => {
                return Err((key, "it needs client-ca, a file with the authorities of the clients' certificates"));
            }
            (_, true) if self.certificates.is_empty() => {
                return Err(("tls.client-ca", "TLS needs certificate and key, the server's own"));
            }
            _ => {}
        }
        match (self.certificates.len(), self.keys.len()) {
            (certificates, keys) if certificates == keys => Ok(()),
            (_, 0) => Err(("tls.certificate", "it needs key, a file with the private key")),
            (0, _) => Err(("tls.key", "it needs certificate, a file with the certificate of the key")),
            _ => Err(("tls.key", "as many files are needed as for certificate, in the same order")),
        }
    }

    fn settings(&self) -> Option<TlsSettings> {
        if self.certificates.is_empty() {
            return None;
        }
        let mut settings = TlsSettings::default();
        let files = |(chain, key): (&String, &String)| CertificateFiles { chain: chain.into(), key: key.into() };
        settings.certificates = self.certificates.iter().zip(&self.keys).map(files).collect();
        settings.clients = self.client_ca.as_ref().map(|authorities| {
            let mut clients = ClientCertificates::new(authorities);
            clients.required = self.clients_required.unwrap_or(true);
            clients.name = self.client_name;
            clients.revocation_lists = self.revocation_lists.iter().map(Into::into).collect();
            clients
        });
        Some(settings)
    }
}

impl ListenerSettings {
    /// Whether clients without a user name may not connect.
    pub(crate) fn refuses_anonymous(&self) -> bool {
        self.allow_anonymous == Some(false)
    }

    /// The files and rules of its TLS, if it has any.
    pub(crate) fn tls(&self) -> Option<TlsSettings> {
        self.tls.settings()
    }

    /// Most of its connections, if it has a limit of its own.
    pub(crate) fn connections_max(&self) -> Option<u32> {
        self.connections_max
    }

    /// Whether a reload can give the listener these settings: only names of files and `connections-max` differ, and
    /// clients are asked for certificates as before.
    pub(crate) fn can_become(&self, new: &Self) -> bool {
        let fixed = |listener: &Self| {
            let tls = TlsKeys {
                certificates: vec![String::new(); listener.tls.certificates.len().min(1)],
                keys: Vec::new(),
                client_ca: listener.tls.client_ca.as_ref().map(|_| String::new()),
                revocation_lists: Vec::new(),
                ..listener.tls.clone()
            };
            Self { tls, connections_max: None, ..listener.clone() }
        };
        let has_lists = |listener: &Self| !listener.tls.revocation_lists.is_empty();
        fixed(self) == fixed(new) && (has_lists(new) || !has_lists(self))
    }

    /// The listener of the library.
    pub(crate) fn config(&self, address: SocketAddr, tls: Option<&Arc<Tls>>) -> ListenerConfig {
        let mut config = ListenerConfig::new(address);
        config.allow_anonymous = self.allow_anonymous;
        config.connections_max = self.connections_max;
        config.limits = self.limits;
        if self.is_web_socket {
            config = config.web_socket(self.web_socket.clone());
        }
        if self.has_proxy_header {
            config = config.proxy_protocol(self.proxies.iter().copied());
        }
        tls.into_iter().fold(config, ListenerConfig::tls)
    }

    /// The files that the listener reads.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        let TlsKeys { certificates, keys, client_ca, revocation_lists, .. } = &self.tls;
        certificates.iter().chain(keys).chain(client_ca).chain(revocation_lists).map(String::as_str)
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
    let mut settings = ListenerSettings {
        address: Address::Port(0),
        is_web_socket: false,
        allow_anonymous: None,
        connections_max: None,
        limits: ListenerLimits::default(),
        has_proxy_header: false,
        proxies: Vec::new(),
        tls: TlsKeys::default(),
        web_socket: WebSocketSettings::default(),
    };
    table.apply(&KEYS, &mut settings)?;
    let located = |(key, error): (&str, &str)| (table.line_of(&KEYS, key), format!("{key}: {error}"));
    settings.tls.check().map_err(located)?;
    if !settings.proxies.is_empty() && !settings.has_proxy_header {
        return Err(located(("proxy-protocol-from", "it needs proxy-protocol = true")));
    }
    for key in ["websocket.path", "websocket.origin"] {
        if table.value(&KEYS, key).is_some() && !settings.is_web_socket {
            return Err(located((key, "it needs protocol = \"websocket\"")));
        }
    }
    Ok(settings)
}
