//! TLS of an embedded broker: the name in a client's certificate, several certificates, and limits.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use tempfile::TempDir;
use wisp_broker::{
    Broker, CertificateFiles, CertificateName, ClientCertificates, Config, ConnectRequest, Decision, Limits,
    ListenerConfig, Policy, Tls, TlsSettings,
};

use crate::support::{V5, connect, wait_until};

/// Records the names in certificates, and allows everything.
#[derive(Debug, Default)]
struct Names(Mutex<Vec<Option<String>>>);

impl Policy for Names {
    fn connect(&self, request: &ConnectRequest<'_>) -> Decision {
        self.0.lock().unwrap().push(request.certificate_name.map(str::to_owned));
        Decision::Allow
    }

    fn restricts_messages(&self) -> bool {
        false
    }
}

/// An authority, and a folder for the files of its certificates.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, folder: TempDir::new().unwrap() };
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, name: &str, names: &[&str], mail: Option<&str>) -> CertificateFiles {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.extend(mail.map(|mail| SanType::Rfc822Name(mail.try_into().unwrap())));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files =
            CertificateFiles { chain: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}.key")) };
        std::fs::write(&files.chain, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn client_config(&self, files: Option<&CertificateFiles>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match files {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = vec![CertificateDer::from_pem_file(&files.chain).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&files.key).unwrap()).unwrap()
            }
        })
    }
}

fn start(settings: TlsSettings, limits: Limits) -> (Broker, Arc<Names>) {
    start_with(&Tls::load(settings).unwrap(), limits)
}

fn start_with(tls: &Arc<Tls>, limits: Limits) -> (Broker, Arc<Names>) {
    let names = Arc::<Names>::default();
    let listener = ListenerConfig::new(([127, 0, 0, 1], 0).into()).tls(tls);
    let config = Config::builder().listener(listener).limits(limits).policy(Arc::clone(&names) as Arc<dyn Policy>);
    (Broker::start(config.build().unwrap()).unwrap(), names)
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn open(broker: &Broker, config: &Arc<ClientConfig>, server: &str) -> Client {
    let stream = TcpStream::connect(broker.local_addrs()[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let name = ServerName::try_from(server.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}

/// Connects, and pings so that the client gets its ticket.
fn connect_client(broker: &Broker, config: &Arc<ClientConfig>, id: &str) -> Client {
    let mut client = open(broker, config, "localhost");
    client.write_all(&connect(V5, id, 0, &[])).unwrap();
    let mut head = [0; 2];
    client.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x20, "CONNACK");
    let mut rest = vec![0; usize::from(head[1])];
    client.read_exact(&mut rest).unwrap();
    client.write_all(b"\xc0\0").unwrap();
    client.read_exact(&mut head).unwrap();
    assert_eq!(head, [0xd0, 0], "PINGRESP");
    client
}

#[test]
fn the_name_in_a_certificate_reaches_the_policy_also_when_the_session_is_resumed() {
    let authority = Authority::new();
    let server = authority.issue("server", &["localhost"], None);
    let client = authority.issue("sensor", &[], Some("sensor@example.org"));
    for (part, expected) in [
        (Some(CertificateName::CommonName), Some("sensor")),
        (Some(CertificateName::AlternativeName), Some("sensor@example.org")),
        (None, None),
    ] {
        let mut settings = TlsSettings::new(&server.chain, &server.key);
        let mut clients = ClientCertificates::new(authority.path("ca.pem"));
        clients.name = part;
        settings.clients = Some(clients);
        let (broker, names) = start(settings, Limits::DEFAULT);
        let config = authority.client_config(Some(&client));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let client = connect_client(&broker, &config, "client");
            assert_eq!(client.conn.handshake_kind(), Some(kind));
        }
        let expected = expected.map(str::to_owned);
        assert_eq!(*names.0.lock().unwrap(), [expected.clone(), expected]);
        broker.shutdown().unwrap();
    }
}

#[test]
fn a_client_gets_the_certificate_for_the_server_that_it_names() {
    let authority = Authority::new();
    let one = authority.issue("one", &["one.example", "*.one.example"], None);
    let two = authority.issue("two", &["two.example"], None);
    let mut settings = TlsSettings::new(&one.chain, &one.key);
    settings.certificates.push(two.clone());
    let (broker, _) = start(settings, Limits::DEFAULT);
    let config = authority.client_config(None);
    let certificate_for = |server: &str| {
        let mut client = open(&broker, &config, server);
        let outcome = client.write_all(b"\xc0\0");
        outcome
            .map(|()| client.conn.peer_certificates().unwrap()[0].clone().into_owned())
            .map_err(|error| error.to_string())
    };
    let der = |files: &CertificateFiles| CertificateDer::from_pem_file(&files.chain).unwrap();
    assert_eq!(certificate_for("one.example"), Ok(der(&one)));
    assert_eq!(certificate_for("a.one.example"), Ok(der(&one)));
    assert_eq!(certificate_for("two.example"), Ok(der(&two)));
    let other = certificate_for("three.example").unwrap_err();
    assert!(other.contains("not valid for name"), "{other}");
}

#[test]
fn handshakes_count_for_what_newcomers_may_hold() {
    let authority = Authority::new();
    let server = authority.issue("server", &["localhost"], None);
    let limits = Limits::DEFAULT.with(|limits| limits.unauthenticated_bytes_max = 10_000);
    let (broker, _) = start(TlsSettings::new(&server.chain, &server.key), limits);
    let config = authority.client_config(None);
    // A hello of 16 KiB, of which 4,000 bytes come.
    let half = [&b"\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb"[..], &[3; 3_991]].concat();
    let mut streams: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(broker.local_addrs()[0]).unwrap();
            stream.write_all(&half).unwrap();
            stream
        })
        .collect();
    // The third exceeds the limit, and the fourth takes its place: the ones that have waited longest are ended.
    let ended = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        matches!((&mut &*stream).read(&mut [0]), Ok(0))
            || (&mut &*stream).read(&mut [0]).is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    };
    wait_until("two of four to be ended", || streams.iter().filter(|stream| ended(stream)).count() == 2);
    drop(connect_client(&broker, &config, "client"));
    streams.clear();
}

#[test]
fn a_broken_handshake_is_counted() {
    let authority = Authority::new();
    let server = authority.issue("server", &["localhost"], None);
    let (broker, _) = start(TlsSettings::new(&server.chain, &server.key), Limits::DEFAULT);
    let mut stream = TcpStream::connect(broker.local_addrs()[0]).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    wait_until("the count", || broker.stats().connections_rejected == 1);
}

#[test]
fn a_session_is_resumed_only_under_the_files_it_began_with() {
    let authority = Authority::new();
    let server = authority.issue("server", &["localhost"], None);
    let tls = Tls::load(TlsSettings::new(&server.chain, &server.key)).unwrap();
    let (broker, _) = start_with(&tls, Limits::DEFAULT);
    let config = authority.client_config(None);
    let handshake = || connect_client(&broker, &config, "client").conn.handshake_kind();
    assert_eq!([handshake(), handshake()], [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
    assert_eq!(tls.reload(None), Ok(false), "the contents are the same");
    assert_eq!(handshake(), Some(HandshakeKind::Resumed));
    let other = authority.issue("other", &["localhost"], None);
    std::fs::copy(&other.chain, &server.chain).unwrap();
    let error = tls.reload(None).unwrap_err();
    assert_eq!(error.file(), server.key, "{error}");
    assert_eq!(handshake(), Some(HandshakeKind::Resumed), "nothing has changed");
    std::fs::copy(&other.key, &server.key).unwrap();
    assert_eq!(tls.reload(None), Ok(true));
    let client = connect_client(&broker, &config, "client");
    assert_eq!(client.conn.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(client.conn.peer_certificates().unwrap()[0], CertificateDer::from_pem_file(&other.chain).unwrap());
    assert_eq!(handshake(), Some(HandshakeKind::Resumed));
}

#[test]
fn a_reload_checks_clients_no_less_than_before() {
    let authority = Authority::new();
    let server = authority.issue("server", &["localhost"], None);
    let with = |change: fn(&mut ClientCertificates)| {
        let mut settings = TlsSettings::new(&server.chain, &server.key);
        let mut clients = ClientCertificates::new(authority.path("ca.pem"));
        change(&mut clients);
        settings.clients = Some(clients);
        settings
    };
    let required = with(|_| {});
    let (optional, named) =
        (with(|clients| clients.required = false), with(|clients| clients.name = Some(CertificateName::CommonName)));
    let none = TlsSettings::new(&server.chain, &server.key);
    for (old, new) in
        [(&required, &optional), (&required, &none), (&named, &required), (&optional, &none), (&none, &required)]
    {
        let tls = Tls::load(old.clone()).unwrap();
        assert!(tls.reload(Some(new.clone())).is_err(), "{old:?} -> {new:?}");
        assert_eq!(tls.reload(None), Ok(false));
    }
    let (broker, _) = start(required, Limits::DEFAULT);
    let mut client = open(&broker, &authority.client_config(None), "localhost");
    let _ = client.write_all(&connect(V5, "client", 0, &[]));
    assert!(client.read_exact(&mut [0; 2]).is_err(), "a client without a certificate");
}
