//! The transport over which clients reach a started broker, and the certificates for it.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use wisp_client::TlsOptions;

use super::files::unwritable;
use crate::failure::Failure;

/// The transport of a broker's clients.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Transport {
    /// Plain TCP.
    #[default]
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket.
    WebSocket,
    /// WebSocket over TLS.
    SecureWebSocket,
}

impl Transport {
    /// The name as records write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::SecureWebSocket => "websocket-tls",
        }
    }

    /// The scheme of its URLs with MQTT.
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::WebSocket => "ws",
            Self::SecureWebSocket => "wss",
        }
    }

    fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }

    fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A broker's second listener. The first one, of plain TCP, is there to ask whether it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entrance {
    pub(super) transport: Transport,
    pub(super) address: SocketAddr,
    /// The certificate, which is its own CA, and its key.
    certificate: PathBuf,
    key: PathBuf,
}

impl Entrance {
    /// Makes a certificate in the broker's folder, if the transport needs one: an ECDSA key on P-256, and a certificate for
    /// the address that is its own CA.
    pub(super) fn new(transport: Transport, address: SocketAddr, folder: &Path) -> Result<Self, Failure> {
        let (certificate, key) = (folder.join("server.pem"), folder.join("server-key.pem"));
        if transport.is_secure() {
            let (made, made_key) = certificate_for(address).map_err(Failure::setup)?;
            fs::write(&certificate, made)
                .and_then(|()| fs::write(&key, made_key))
                .map_err(|error| unwritable(&error))?;
        }
        Ok(Self { transport, address, certificate, key })
    }

    /// The URL for clients.
    pub(super) fn url(&self) -> String {
        let path = if self.transport.is_websocket() { "/mqtt" } else { "" };
        format!("{}://{}{path}", self.transport.scheme(), self.address)
    }

    /// The options of clients that trust the certificate.
    pub(super) fn tls(&self) -> TlsOptions {
        let mut options = TlsOptions::default();
        options.ca_file = self.transport.is_secure().then(|| self.certificate.clone());
        options
    }

    /// The lines of mosquitto's configuration. It reads the key as the user that starts it.
    pub(super) fn mosquitto(&self) -> Vec<String> {
        let mut lines = vec![format!("listener {} {}", self.address.port(), self.address.ip())];
        if self.transport.is_websocket() {
            lines.push("protocol websockets".to_owned());
        }
        if self.transport.is_secure() {
            lines.push(format!("certfile {}", self.certificate.display()));
            lines.push(format!("keyfile {}", self.key.display()));
        }
        lines
    }

    /// The text of Wisp's configuration, with the plain listener.
    pub(super) fn wisp(&self, plain: SocketAddr) -> String {
        let protocol = if self.transport.is_websocket() { "websocket" } else { "mqtt" };
        let mut text = format!(
            "[[listener]]\naddress = \"{plain}\"\n\n[[listener]]\naddress = \"{}\"\nprotocol = \"{protocol}\"\n",
            self.address
        );
        if self.transport.is_secure() {
            for (name, file) in [("certificate", &self.certificate), ("key", &self.key)] {
                text += &format!("tls.{name} = {:?}\n", file.display().to_string());
            }
        }
        text
    }
}

fn certificate_for(address: SocketAddr) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(vec![address.ip().to_string()])?;
    params.distinguished_name.push(DnType::CommonName, "wisp-lab");
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}
