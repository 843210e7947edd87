//! The options of TLS. They exist in a build without TLS too, where a URL that asks for it is refused.

use std::path::PathBuf;

/// The certificates of a connection over TLS. The default trusts the CAs of the machine and shows no certificate.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct TlsOptions {
    /// A PEM file with the certificates of the CAs to trust, in place of the machine's.
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the certificate to show to a broker that asks for one, and with the certificates between it and
    /// its CA. Needs a key.
    pub cert_file: Option<PathBuf>,
    /// A PEM file with the key of the certificate.
    pub key_file: Option<PathBuf>,
    /// Whether to accept any certificate of the broker. Then anyone between it and this program can read and change
    /// everything.
    pub insecure: bool,
    /// Whether every connection makes a full handshake, instead of resuming the session of an earlier one.
    pub full_handshakes: bool,
}

impl TlsOptions {
    /// Whether any option differs from its default.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }
}

/// The facts of a TLS connection.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TlsSession {
    /// The version, as in `TLSv1_3`.
    pub version: String,
    /// The cipher suite, as in `TLS13_AES_256_GCM_SHA384`.
    pub suite: String,
    /// Whether the session of an earlier connection was resumed.
    pub is_resumed: bool,
}
