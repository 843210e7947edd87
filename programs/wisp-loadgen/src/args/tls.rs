//! The certificates for a broker that runs already.

use std::path::PathBuf;

use clap::Args;
use wisp_client::TlsOptions;

/// The certificates, where the URL is of mqtts:// or wss://.
#[derive(Args, Clone, Debug)]
pub(crate) struct Tls {
    /// A PEM file with the CAs to trust [default: the ones of this machine]
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// A PEM file with the certificate of all clients
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// A PEM file with its key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Accept any certificate of the broker
    #[arg(long)]
    insecure: bool,
    /// Let every connection make a full TLS handshake, instead of resuming the session of another
    #[arg(long)]
    full_handshakes: bool,
}

impl Tls {
    /// The options of the client library.
    pub(crate) fn options(&self) -> TlsOptions {
        let mut options = TlsOptions::default();
        options.ca_file.clone_from(&self.cafile);
        options.cert_file.clone_from(&self.cert);
        options.key_file.clone_from(&self.key);
        (options.insecure, options.full_handshakes) = (self.insecure, self.full_handshakes);
        options
    }
}
