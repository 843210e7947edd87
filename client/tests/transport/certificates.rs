//! Certificates for one test, in files of a folder that is removed with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use wisp_client::TlsOptions;

/// A CA, whose certificate is in a file.
pub(crate) struct Ca {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

/// A certificate with its key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        Self::named("a test's CA")
    }

    pub(crate) fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let (certificate, der) = (certificate.der().clone(), key.serialize_der());
        Self { folder, issuer: Issuer::new(params, key), certificate, key: der }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate for these names, changed by `change`.
    pub(crate) fn identity(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { chain: vec![certificate.der().clone()], key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }

    /// The CA's own certificate in the place of a server's, as openssl req -x509 makes it.
    pub(crate) fn itself(&self) -> Identity {
        Identity { chain: vec![self.certificate.clone()], key: PrivateKeyDer::try_from(self.key.clone()).unwrap() }
    }

    /// Writes a client's certificate and key, and returns options that name them and this CA.
    pub(crate) fn client(&self, name: &str) -> TlsOptions {
        let params = CertificateParams::new(Vec::new()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_file, key_file) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}-key.pem")));
        fs::write(&cert_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        let mut options = self.options();
        (options.cert_file, options.key_file) = (Some(cert_file), Some(key_file));
        options
    }

    /// Options that trust this CA.
    pub(crate) fn options(&self) -> TlsOptions {
        trusting(&self.path("ca.pem"))
    }

    /// A server's configuration with a certificate for localhost and 127.0.0.1.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        server(self.identity(&["localhost", "127.0.0.1"], |_| {}))
    }

    /// The same, of a server that asks for a client's certificate of this CA.
    pub(crate) fn strict_server(&self) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let Identity { chain, key } = self.identity(&["127.0.0.1"], |_| {});
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap())
    }
}

/// A server's configuration with this certificate.
pub(crate) fn server(identity: Identity) -> Arc<ServerConfig> {
    server_of(identity, rustls::DEFAULT_VERSIONS)
}

pub(crate) fn server_of(
    identity: Identity,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(identity.chain, identity.key).unwrap())
}

pub(crate) fn trusting(ca_file: &Path) -> TlsOptions {
    let mut options = TlsOptions::default();
    options.ca_file = Some(ca_file.to_owned());
    options
}
