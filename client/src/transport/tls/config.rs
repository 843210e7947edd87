//! From options to the configuration of rustls: trusted CAs, the client's certificate.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Fault};
use crate::transport::tls::explain::{Peer, explain};
use crate::transport::tls_options::TlsOptions;
use crate::url::ServerUrl;

/// The settings of TLS connections to one broker.
#[derive(Clone)]
pub(crate) struct Settings {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    pub(super) peer: Peer,
}

impl Settings {
    pub(crate) fn of(url: &ServerUrl, options: &TlsOptions) -> Result<Self, Error> {
        let host = url.host();
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::Usage(format!("{host} cannot be the name in a certificate")))?;
        let peer = Peer {
            url: url.to_string(),
            has_own_ca: options.ca_file.is_some(),
            has_certificate: options.cert_file.is_some(),
        };
        let mut config = client_config(options)?;
        if options.full_handshakes {
            config.resumption = Resumption::disabled();
        }
        Ok(Self { config: Arc::new(config), name, peer })
    }

    /// The state of a new connection.
    pub(super) fn connection(&self) -> Result<UnbufferedClientConnection, Error> {
        let connection = UnbufferedClientConnection::new(Arc::clone(&self.config), self.name.clone());
        connection.map_err(|error| explain(&error, &self.peer, false))
    }
}

fn client_config(options: &TlsOptions) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3");
    let builder = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(trusted(options.ca_file.as_deref())?)
    };
    match (&options.cert_file, &options.key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let mismatch = |error: rustls::Error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    unusable(key, &format!("is not the key of the certificate in {}", cert.display()))
                }
                error => unusable(cert, &format!("cannot be used: {error}")),
            };
            builder.with_client_auth_cert(read_certificates(cert)?, read_key(key)?).map_err(mismatch)
        }
        (Some(_), None) => Err(Error::Usage("a client certificate needs its key (--key FILE)".to_owned())),
        (None, Some(_)) => Err(Error::Usage("a key needs its client certificate (--cert FILE)".to_owned())),
    }
}

fn unusable(path: &Path, reason: &str) -> Error {
    Error::Usage(format!("{} {reason}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::Usage(format!("cannot read {}: {error}", path.display())))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(unusable(path, "has no certificate: it should be a PEM file with BEGIN CERTIFICATE"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(path, &format!("is not a PEM file with certificates: {error}"))),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let is_encrypted = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        let reason = if is_encrypted {
            "is encrypted, which is not supported: openssl pkey -in FILE -out NEW makes a plain one"
        } else {
            "has no key: it should be a PEM file with BEGIN PRIVATE KEY"
        };
        unusable(path, reason)
    })
}

/// The CAs of a file, or of the machine.
fn trusted(ca_file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut trusted = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in read_certificates(path)? {
                let added = trusted.add(certificate);
                added.map_err(|error| unusable(path, &format!("has a certificate that cannot be trusted: {error}")))?;
            }
        }
        None => {
            trusted.add_parsable_certificates(machine_certificates());
            if trusted.is_empty() {
                let text = "this machine has no CA certificates: name the broker's CA (--cafile FILE)".to_owned();
                return Err(Error::Tls { fault: Fault::Host, text });
            }
        }
    }
    Ok(trusted)
}

#[cfg(not(target_family = "wasm"))]
fn machine_certificates() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// A WebAssembly runtime has no store of CAs.
#[cfg(target_family = "wasm")]
fn machine_certificates() -> Vec<CertificateDer<'static>> {
    Vec::new()
}

/// Accepts every certificate whose key the broker has.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
