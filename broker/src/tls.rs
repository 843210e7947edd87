//! TLS settings of a listener: files in, a checked configuration of rustls out.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, hash, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::stamps::Stamps;
use crate::watch::Watched;

/// The protocol that clients of MQTT over TLS may name in their hello.
const ALPN: &[u8] = b"mqtt";

/// The protocol of WebSocket, which browsers name (RFC 7301: `http/1.1`).
#[cfg(feature = "websocket")]
const ALPN_WEB_SOCKET: &[u8] = b"http/1.1";

/// Far more than a chain or a list takes. The limit ends the reading of an endless device.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The files and rules of a listener with TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsSettings {
    /// The server's certificates. A client that names a server gets the first one that is valid for the name, and otherwise
    /// the first of all.
    pub certificates: Vec<CertificateFiles>,
    /// The clients' certificates, if they are asked for.
    pub clients: Option<ClientCertificates>,
}

/// A certificate of the server, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by the certificates of the authorities between it and the trusted one.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCertificates {
    /// A PEM file with the certificates of the authorities that are trusted.
    pub authorities: PathBuf,
    /// PEM files with revocation lists.
    pub revocation_lists: Vec<PathBuf>,
    /// Whether a client without a certificate is refused.
    pub required: bool,
    /// The part of a certificate that becomes [`ConnectRequest::certificate_name`](crate::ConnectRequest), if any.
    pub name: Option<CertificateName>,
}

/// A name in a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// The common name of the subject.
    CommonName,
    /// The first alternative name that is an e-mail address, a DNS name or a URI.
    AlternativeName,
}

/// A file of a listener with TLS that cannot be used. `Display` is one complete line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    file: PathBuf,
    reason: String,
}

/// The TLS of listeners, with the files as they were read last. Clone the [`Arc`] it comes in to [reload](Self::reload) it.
#[derive(Debug)]
pub struct Tls {
    /// Held while files are read.
    source: Mutex<Source>,
    current: RwLock<Configs>,
    pub(crate) name: Option<CertificateName>,
    /// Whether every client has shown a certificate.
    pub(crate) requires_certificate: bool,
}

/// The files that are in use.
#[derive(Debug)]
struct Source {
    settings: TlsSettings,
    stamps: Stamps,
    digest: Vec<u8>,
}

/// The configurations of rustls: one for each protocol above TLS.
#[derive(Clone, Debug)]
struct Configs {
    mqtt: Arc<ServerConfig>,
    #[cfg(feature = "websocket")]
    web_socket: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files and checks them.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(settings: TlsSettings) -> Result<Arc<Self>, TlsError> {
        let stamps = Stamps::of(settings.files());
        let (configs, digest) = settings.read()?;
        let name = settings.clients.as_ref().and_then(|clients| clients.name);
        let requires_certificate = settings.clients.as_ref().is_some_and(|clients| clients.required);
        let source = Mutex::new(Source { settings, stamps, digest });
        Ok(Arc::new(Self { source, current: RwLock::new(configs), name, requires_certificate }))
    }

    /// Reads the files again, or the files of other settings, for the handshakes to come; connections stay. True if the
    /// contents have changed: then a client that resumes a session from before makes a full handshake, since the session
    /// began under other authorities and revocation lists.
    ///
    /// # Errors
    /// The first file that cannot be used, or settings that check clients otherwise than before. Then nothing changes.
    pub fn reload(&self, settings: Option<TlsSettings>) -> Result<bool, TlsError> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        self.reload_as(settings, &mut source)
    }

    fn reload_as(&self, settings: Option<TlsSettings>, source: &mut Source) -> Result<bool, TlsError> {
        let settings = settings.unwrap_or_else(|| source.settings.clone());
        settings.check_clients_as(&source.settings)?;
        let stamps = Stamps::of(settings.files());
        let (configs, digest) = settings.read()?;
        let has_changed = source.digest != digest;
        *source = Source { settings, stamps, digest };
        if has_changed {
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = configs;
        }
        Ok(has_changed)
    }

    /// The configuration for a new connection. `has_web_socket`: whether WebSocket lies between TLS and MQTT.
    pub(crate) fn config(&self, has_web_socket: bool) -> Arc<ServerConfig> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        #[cfg(feature = "websocket")]
        if has_web_socket {
            return Arc::clone(&current.web_socket);
        }
        debug_assert!(cfg!(feature = "websocket") || !has_web_socket);
        Arc::clone(&current.mqtt)
    }
}

impl Watched for Tls {
    fn refresh(&self) -> Option<Result<(), String>> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = Stamps::of(source.settings.files());
        if source.stamps == stamps {
            return None;
        }
        // Also if they are refused, so that each fault is told once.
        source.stamps = stamps;
        match self.reload_as(None, &mut source) {
            Ok(has_changed) => has_changed.then_some(Ok(())),
            Err(error) => Some(Err(error.to_string())),
        }
    }
}

impl ClientCertificates {
    /// Certificates of these authorities, required of each client.
    pub fn new(authorities: impl Into<PathBuf>) -> Self {
        Self { authorities: authorities.into(), revocation_lists: Vec::new(), required: true, name: None }
    }
}

impl TlsSettings {
    /// One certificate for all names.
    pub fn new(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificates: vec![CertificateFiles { chain: chain.into(), key: key.into() }], clients: None }
    }

    /// All files.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let server = self.certificates.iter().flat_map(|files| [&files.chain, &files.key]);
        let clients =
            self.clients.iter().flat_map(|clients| [&clients.authorities].into_iter().chain(&clients.revocation_lists));
        server.chain(clients).map(PathBuf::as_path)
    }

    /// Refuses settings that ask clients for other certificates than `old`, or no longer ask whether they are revoked: a reload
    /// opens nothing, and listeners and users rely on the check.
    fn check_clients_as(&self, old: &Self) -> Result<(), TlsError> {
        let is_like = match (&self.clients, &old.clients) {
            (Some(new), Some(old)) => {
                let has_lists = !new.revocation_lists.is_empty() || old.revocation_lists.is_empty();
                has_lists && (new.required, new.name) == (old.required, old.name)
            }
            (new, old) => new.is_none() && old.is_none(),
        };
        let authorities = || self.clients.as_ref().or(old.clients.as_ref()).map(|clients| &*clients.authorities);
        let fault = || {
            TlsError::new(
                authorities().unwrap_or(Path::new("TLS")),
                "clients would be checked otherwise: restart the broker",
            )
        };
        if is_like { Ok(()) } else { Err(fault()) }
    }

    /// Reads and checks the files. Also gives a digest of their contents.
    fn read(&self) -> Result<(Configs, Vec<u8>), TlsError> {
        let provider = Arc::new(provider());
        let mut reader = Reader::new();
        let mut keys = Vec::new();
        for files in &self.certificates {
            keys.push(files.load(&provider, &mut reader)?);
        }
        let impossible = |error: rustls::Error| TlsError::new(Path::new("TLS"), error.to_string());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(impossible)?;
        let builder = match &self.clients {
            Some(clients) => builder.with_client_cert_verifier(clients.verifier(&provider, &mut reader)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Certificates(keys)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ignore_client_order = provider_order_matters();
        // Tickets alone, so that no connection leaves anything behind in the broker. Their keys are new with each
        // configuration: a resumed session is not checked again, so it must have begun under the same files.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new().map_err(impossible)?;
        config.send_tls13_tickets = 1;
        #[cfg(feature = "websocket")]
        let web_socket = {
            let mut config = config.clone();
            config.alpn_protocols = vec![ALPN_WEB_SOCKET.to_vec()];
            Arc::new(config)
        };
        let configs = Configs {
            mqtt: Arc::new(config),
            #[cfg(feature = "websocket")]
            web_socket,
        };
        Ok((configs, reader.digest.finish().as_ref().to_vec()))
    }
}

/// Reads files, and makes a digest of all that it has read.
struct Reader {
    digest: Box<dyn hash::Context>,
}

impl Reader {
    fn new() -> Self {
        let suite = ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256.tls13().expect("a suite of TLS 1.3");
        Self { digest: suite.common.hash_provider.start() }
    }

    fn read(&mut self, file: &Path) -> Result<Vec<u8>, TlsError> {
        use std::io::Read;
        let read = || {
            let mut bytes = Vec::new();
            std::fs::File::open(file)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error: std::io::Error| TlsError::new(file, format!("cannot be read: {error}")))?;
        self.digest.update(&(bytes.len() as u64).to_le_bytes());
        self.digest.update(&bytes);
        Ok(bytes)
    }

    /// The certificates of a file, in its order.
    fn certificates(&mut self, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.read(file)?).collect();
        match certificates {
            Ok(certificates) if certificates.is_empty() => Err(TlsError::new(file, "no certificate in it")),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(TlsError::new(file, error.to_string())),
        }
    }
}

/// Whether the server chooses the cipher suite. In a sandbox, where there are no instructions for AES, ChaCha20 is many times
/// as fast.
fn provider_order_matters() -> bool {
    cfg!(target_family = "wasm")
}

fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    if provider_order_matters() {
        provider.cipher_suites.sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("CHACHA20"));
    }
    provider
}

impl CertificateFiles {
    fn load(&self, provider: &CryptoProvider, reader: &mut Reader) -> Result<Arc<CertifiedKey>, TlsError> {
        let chain = reader.certificates(&self.chain)?;
        check_validity(&self.chain, &chain)?;
        let key = reader.read(&self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                TlsError::new(&self.key, "no private key in it; one with a passphrase cannot be used")
            }
            error => TlsError::new(&self.key, error.to_string()),
        })?;
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::new(&self.key, format!("not the key of the certificate in {}", self.chain.display()))
            }
            error => TlsError::new(&self.key, format!("not a key that can be used: {error}")),
        })?;
        Ok(Arc::new(certified))
    }
}

impl ClientCertificates {
    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
        reader: &mut Reader,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in reader.certificates(&self.authorities)? {
            let added = roots.add(certificate);
            added.map_err(|error| TlsError::new(&self.authorities, format!("not a certificate to trust: {error}")))?;
        }
        let mut lists = Vec::new();
        for file in &self.revocation_lists {
            let before = lists.len();
            for list in CertificateRevocationListDer::pem_slice_iter(&reader.read(file)?) {
                lists.push(list.map_err(|error| TlsError::new(file, error.to_string()))?);
            }
            if lists.len() == before {
                return Err(TlsError::new(file, "no revocation list in it"));
            }
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = if self.revocation_lists.is_empty() {
            builder
        } else {
            builder.with_crls(lists).only_check_end_entity_revocation().enforce_revocation_expiration()
        };
        let builder = if self.required { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|error| TlsError::new(&self.authorities, error.to_string()))
    }
}

/// The server's certificates by the names that they are valid for.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.as_ref().and_then(|name| self.0.iter().find(|key| is_valid_for(key, name)));
        named.or(self.0.first()).cloned()
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = key.end_entity_cert().ok().and_then(|der| rustls::server::ParsedCertificate::try_from(der).ok());
    parsed.is_some_and(|certificate| rustls::client::verify_server_name(&certificate, name).is_ok())
}

fn check_validity(file: &Path, chain: &[CertificateDer<'_>]) -> Result<(), TlsError> {
    for der in chain {
        let certificate =
            Certificate::from_der(der).map_err(|error| TlsError::new(file, format!("not a certificate: {error}")))?;
        let validity = certificate.tbs_certificate().validity();
        let now = SystemTime::now();
        if now > validity.not_after.to_system_time() {
            return Err(TlsError::new(file, format!("the certificate has expired: {}", validity.not_after)));
        }
        if now < validity.not_before.to_system_time() {
            return Err(TlsError::new(file, format!("the certificate is not valid before {}", validity.not_before)));
        }
    }
    Ok(())
}

/// The name in a client's certificate, which rustls has verified; `Err` if it has expired since.
pub(crate) fn name_in(der: &[u8], part: Option<CertificateName>) -> Result<Option<Box<str>>, &'static str> {
    let unreadable = |_| "the client's certificate cannot be read";
    let certificate = Certificate::from_der(der).map_err(unreadable)?;
    let certificate = certificate.tbs_certificate();
    // A session that is resumed has a certificate that was verified at its first handshake.
    if SystemTime::now() > certificate.validity().not_after.to_system_time() {
        return Err("the client's certificate has expired");
    }
    match part {
        None => Ok(None),
        Some(CertificateName::CommonName) => {
            let name = certificate.subject().common_name().map_err(unreadable)?;
            Ok(name.map(|name| name.value().into_owned().into_boxed_str()))
        }
        Some(CertificateName::AlternativeName) => {
            let names = certificate.get_extension::<SubjectAltName>().map_err(unreadable)?;
            let text = |name: &GeneralName| match name {
                GeneralName::Rfc822Name(text) | GeneralName::DnsName(text) => Some(Box::from(text.as_str())),
                GeneralName::UniformResourceIdentifier(text) => Some(Box::from(text.as_str())),
                _ => None,
            };
            Ok(names.and_then(|(_, names)| names.0.iter().find_map(text)))
        }
    }
}

impl TlsError {
    fn new(file: &Path, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), reason: reason.into() }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}

impl Error for TlsError {}
