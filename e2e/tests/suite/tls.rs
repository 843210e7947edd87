//! Listeners with TLS: clients by other authors, certificates of clients, files that cannot be used, and handshakes that
//! are wrong or never end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::certificates::{Authority, Certificate};
use wisp_e2e::host::{Ability, Host, cannot};
use wisp_e2e::mosquitto::{Message, Subscriber, run_publisher};
use wisp_e2e::packet::Connect;
use wisp_e2e::peer::{Heard, Options, Peer, Session, mqtt_js, node_is_missing, paho};
use wisp_e2e::program::{Finished, Program};
use wisp_e2e::raw::RawClient;
use wisp_e2e::wait::{TIMEOUT, wait_until};

use crate::config::ConfigFile;
use crate::rumqttc_peer::rumqttc;

/// A broker with a plain listener, and one with TLS.
pub(crate) struct Secured {
    pub(crate) broker: Broker,
    pub(crate) authority: Authority,
    pub(crate) addr: SocketAddr,
    /// Its certificate.
    pub(crate) server: Certificate,
    _file: ConfigFile,
}

/// Starts a broker whose listener with TLS has these lines beside its address and certificate.
pub(crate) fn secured(name: &str, flags: &[&str], lines: impl FnOnce(&Authority) -> String) -> Secured {
    let (authority, addr) = (Authority::new(), free_addr());
    let server = authority.server(&["localhost"]);
    let text = format!(
        "[[listener]]\naddress = \"{addr}\"\n{}\ntls.certificate = \"{}\"\ntls.key = \"{}\"\n",
        lines(&authority),
        server.certificate,
        server.key
    );
    let file = ConfigFile::new(name, &text);
    let broker = Broker::start_with(&[&["--config", file.path()], flags].concat());
    Secured { broker, authority, addr, server, _file: file }
}

impl Secured {
    /// Publishes with mosquitto_pub over TLS.
    pub(crate) fn publish(&self, version: Version, more: &[&str], topic: &str, payload: &[u8]) -> Finished {
        let ca = self.authority.file();
        let arguments = [&["--cafile", &ca, "-t", topic, "-s", "-q", "1"], more].concat();
        run_publisher(self.addr, version, &arguments, payload)
    }

    fn log_lines(&self, text: &str) -> Vec<String> {
        self.broker.log().into_iter().filter(|line| line.contains(text)).collect()
    }
}

/// A text that does not repeat, so that bytes out of place are seen.
fn long_text(length: usize) -> String {
    (0..).flat_map(|number: usize| format!("{number} ").into_bytes()).take(length).map(char::from).collect()
}

#[test]
fn mosquittos_clients_exchange_messages_over_tls() {
    if cannot(Ability::Wisp) {
        return;
    }
    let secured = secured("tls-mosquitto", &[], |_| String::new());
    let ca = secured.authority.file();
    let text = long_text(300_000);
    for (version, tls) in [(Version::V311, "tlsv1.2"), (Version::V5, "tlsv1.3")] {
        let more = ["--cafile", &ca, "--tls-version", tls, "-q", "1"];
        let subscriber = Subscriber::start_marked(secured.addr, secured.broker.addr(), version, &["secret/#"], &more);
        for number in 0..3 {
            let topic = format!("secret/{number}");
            let finished = secured.publish(version, &["--tls-version", tls], &topic, text.as_bytes());
            assert!(finished.status.success(), "{tls}: {:?}", finished.stderr);
        }
        let expected: Vec<Message> = (0..3).map(|number| Message::new(&format!("secret/{number}"), &text)).collect();
        assert!(subscriber.wait_for_messages(3) == expected, "{tls}: messages are missing or differ");
    }
}

#[test]
fn a_receiver_over_tls_gets_all_that_a_fast_sender_sends() {
    if cannot(Ability::Wisp) {
        return;
    }
    const MESSAGES: usize = 20_000;
    let secured = secured("tls-flow", &[], |_| String::new());
    let ca = secured.authority.file();
    let more = ["--cafile", &ca];
    let subscriber = Subscriber::start_marked(secured.addr, secured.broker.addr(), Version::V311, &["flow"], &more);
    let mut sender = RawClient::connect(secured.broker.addr(), Version::V311, "sender");
    let padding = long_text(1_000);
    for number in 0..MESSAGES {
        sender.publish("flow", format!("{number} {padding}").as_bytes());
    }
    sender.ping();
    let messages = subscriber.wait_for_messages(MESSAGES);
    for (number, message) in messages.iter().enumerate() {
        assert!(message.payload == format!("{number} {padding}").as_bytes(), "message {number} differs");
    }
}

/// A library connects with these settings, and exchanges messages at every QoS.
pub(crate) fn exchange(connect: fn(&Options) -> Box<dyn Peer>, addr: SocketAddr, environment: &[(&str, &str)]) {
    let text = long_text(200_000);
    for version in [Version::V311, Version::V5] {
        let session = |name: &str| {
            let mut options = Options::new(addr, version, name);
            options.environment =
                environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Session::of(connect(&options))
        };
        let (mut subscriber, mut publisher) = (session("subscriber"), session("publisher"));
        subscriber.subscribe("exchange/#", 2);
        for qos in 0..3 {
            publisher.publish(&format!("exchange/{qos}"), &text, qos, false);
        }
        let heard = |qos: u8| Heard { qos, retain: false, topic: format!("exchange/{qos}"), text: text.clone() };
        assert!(subscriber.wait_for_messages(3) == (0..3).map(heard).collect::<Vec<_>>(), "{version:?}");
        publisher.disconnect();
        subscriber.disconnect();
    }
}

#[test]
fn paho_exchanges_messages_over_tls() {
    if cannot(Ability::Wisp) {
        return;
    }
    let secured = secured("tls-paho", &[], |_| String::new());
    exchange(paho, secured.addr, &[("WISP_E2E_SCHEME", "mqtts"), ("WISP_E2E_CA", &secured.authority.file())]);
}

#[test]
fn mqtt_js_exchanges_messages_over_tls() {
    if cannot(Ability::Wisp) || node_is_missing() {
        return;
    }
    let secured = secured("tls-mqtt-js", &[], |_| String::new());
    exchange(mqtt_js, secured.addr, &[("WISP_E2E_SCHEME", "mqtts"), ("WISP_E2E_CA", &secured.authority.file())]);
}

#[test]
fn rumqttc_exchanges_messages_over_tls() {
    if cannot(Ability::Wisp) {
        return;
    }
    let secured = secured("tls-rumqttc", &[], |_| String::new());
    exchange(rumqttc, secured.addr, &[("WISP_E2E_SCHEME", "mqtts"), ("WISP_E2E_CA", &secured.authority.file())]);
}

#[test]
fn a_required_client_certificate_is_checked() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (mut good, mut revoked) = (None, None);
    let secured = secured("tls-clients", &[], |authority| {
        let made = (authority.client("sensor", "sensor@example.org"), authority.client("thief", "thief@example.org"));
        let list = authority.revocation_list(&[&made.1]);
        (good, revoked) = (Some(made.0), Some(made.1));
        format!("tls.client-ca = \"{}\"\ntls.crl = \"{list}\"\ntls.client-name = \"common-name\"", authority.file())
    });
    let foreign = Authority::new();
    let stranger = foreign.client("stranger", "stranger@example.org");
    let publish = |tls: &str, certificate: Option<&Certificate>| {
        let files = certificate.map(|files| vec!["--cert", &files.certificate, "--key", &files.key]);
        let more = [&["--tls-version", tls][..], &files.unwrap_or_default()].concat();
        secured.publish(Version::V5, &more, "checked", b"x").status.success()
    };
    for tls in ["tlsv1.2", "tlsv1.3"] {
        assert!(publish(tls, good.as_ref()), "{tls}: {:?}", secured.broker.log());
        assert!(!publish(tls, None), "{tls}: without a certificate");
        assert!(!publish(tls, revoked.as_ref()), "{tls}: revoked");
        assert!(!publish(tls, Some(&stranger)), "{tls}: of another authority");
    }
    for reason in ["sent no certificate", "is revoked", "of an authority that the listener does not trust"] {
        secured.broker.wait_log(reason);
        assert_eq!(secured.log_lines(reason).len(), 1, "{reason}: {:?}", secured.broker.log());
    }
}

#[test]
fn an_optional_client_certificate_may_be_missing_but_not_wrong() {
    if cannot(Ability::Wisp) {
        return;
    }
    let secured = secured("tls-optional", &[], |authority| {
        format!("tls.client-ca = \"{}\"\ntls.client-certificate = \"optional\"", authority.file())
    });
    let foreign = Authority::new();
    let stranger = foreign.client("stranger", "stranger@example.org");
    assert!(secured.publish(Version::V311, &[], "open", b"x").status.success(), "{:?}", secured.broker.log());
    let files = ["--cert", &stranger.certificate, "--key", &stranger.key];
    assert!(!secured.publish(Version::V311, &files, "open", b"x").status.success());
}

#[test]
fn files_that_cannot_be_used_are_refused_at_the_start() {
    if cannot(Ability::Wisp) {
        return;
    }
    let authority = Authority::new();
    let [first, second] = [authority.server(&["localhost"]), authority.server(&["localhost"])];
    let expired = authority.expired_server();
    let missing = format!("{}.missing", first.certificate);
    let cases = [
        (&missing, &first.key, &missing, "cannot be read"),
        (&first.certificate, &missing, &missing, "cannot be read"),
        (&first.certificate, &second.key, &second.key, "not the key of the certificate"),
        (&first.key, &first.key, &first.key, "no certificate in it"),
        (&first.certificate, &first.certificate, &first.certificate, "no private key in it"),
        (&expired.certificate, &expired.key, &expired.certificate, "the certificate has expired"),
    ];
    for (certificate, key, file, reason) in cases {
        let addr = free_addr();
        let text =
            format!("\n[[listener]]\naddress = \"{addr}\"\ntls.certificate = \"{certificate}\"\ntls.key = \"{key}\"\n");
        let config = ConfigFile::new("tls-files", &text);
        for flags in [&["--config", config.path()][..], &["--config", config.path(), "--check-config"]] {
            let finished = Program::run(Host::current().command(free_addr(), flags), b"");
            let words = finished.stderr.join("\n");
            assert_eq!(finished.status.code(), Some(Host::current().ends_with(2)), "{reason}: {words}");
            assert!(finished.stdout.is_empty(), "{reason}: {:?}", finished.stdout);
            let lines = finished.stderr.iter().filter(|line| line.contains(&format!(":2: {file}: {reason}"))).count();
            assert_eq!(lines, 1, "{reason}: {words}");
        }
    }
}

/// Reads until the broker closes the connection.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(TIMEOUT)).expect("a time limit can be set");
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return bytes,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("the broker does not close the connection: {error}; it sent {bytes:02x?}"),
        }
    }
}

#[test]
fn clients_of_another_protocol_are_named_once_and_get_an_alert() {
    if cannot(Ability::Wisp) {
        return;
    }
    let secured = secured("tls-protocols", &[], |_| String::new());
    let cases: [(&[u8], &str); 3] = [
        (&Connect::new(Version::V311, "plain").encode(), "MQTT without TLS"),
        (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", "HTTP request without TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "bytes that are not TLS"),
    ];
    for (bytes, name) in cases {
        for _ in 0..3 {
            let mut stream = TcpStream::connect(secured.addr).expect("the broker accepts connections");
            stream.write_all(bytes).expect("the broker reads");
            let answer = read_to_end(&mut stream);
            assert!(answer.is_empty() || answer[0] == 21, "{name}: an alert or nothing: {answer:02x?}");
        }
        secured.broker.wait_log(&name.to_lowercase());
        assert_eq!(secured.log_lines(name).len(), 1, "{:?}", secured.broker.log());
    }
    assert!(secured.publish(Version::V5, &[], "still", b"x").status.success());
}

/// The beginning of a hello: the header of a record of 252 bytes, the header of a message, the version.
const HALF_HELLO: &[u8] = b"\x16\x03\x01\x00\xfc\x01\x00\x00\xf8\x03\x03";

#[test]
fn handshakes_that_never_end_are_ended_and_leave_nothing() {
    if cannot(Ability::Wisp) {
        return;
    }
    let secured = secured("tls-half", &["--connect-timeout-ms", "1000"], |_| String::new());
    assert!(secured.publish(Version::V5, &[], "before", b"x").status.success());
    let before = secured.broker.descriptors();
    let open = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(secured.addr).expect("the broker accepts connections");
        stream.write_all(bytes).expect("the broker reads");
        stream
    };
    let mut streams: Vec<TcpStream> = (0..100).map(|number| open(&HALF_HELLO[..number % HALF_HELLO.len()])).collect();
    streams.iter_mut().for_each(|stream| drop(read_to_end(stream)));
    // A client that goes in the middle of it.
    (0..100).for_each(|_| drop(open(HALF_HELLO)));
    wait_until("the end of all connections", || secured.broker.descriptors() <= before);
    assert!(secured.publish(Version::V5, &[], "after", b"x").status.success());
}

#[test]
fn a_handshake_that_is_too_long_is_refused() {
    if cannot(Ability::Wisp) {
        return;
    }
    let secured = secured("tls-long", &[], |_| String::new());
    let mut stream = TcpStream::connect(secured.addr).expect("the broker accepts connections");
    // A hello of 16 MB, in records of 16 KiB.
    let mut record = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    for _ in 0..8 {
        if stream.write_all(&record).is_err() {
            break;
        }
        record[5..9].fill(0);
    }
    let answer = read_to_end(&mut stream);
    assert!(answer.is_empty() || answer[0] == 21, "{answer:02x?}");
    secured.broker.wait_log("connection ended: the client");
    assert!(secured.publish(Version::V5, &[], "after", b"x").status.success());
}

/// Runs s_client with these arguments; None if there is no openssl here.
pub(crate) fn s_client(secured: &Secured, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &secured.addr.to_string(), "-CAfile", &secured.authority.file()]);
    command.args(["-verify_return_error", "-servername", "localhost"]).args(arguments);
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("not run: s_client needs openssl, which is not installed");
        return None;
    }
    let connect = Connect::new(Version::V311, "s-client").encode();
    // Its end closes the connection.
    let input = [connect, b"\xe0\0".to_vec()].concat();
    let mut program = Program::start_with_input(command, input);
    let finished = program.finish();
    Some([finished.stdout, finished.stderr].concat().join("\n"))
}

#[test]
fn openssl_agrees_on_the_protocol_and_resumes_its_session() {
    if cannot(Ability::Wisp) {
        return;
    }
    let secured = secured("tls-openssl", &[], |_| String::new());
    let session = format!("{}.session", secured.authority.file());
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let arguments = [version, "-alpn", "mqtt", "-ign_eof"];
        let Some(first) = s_client(&secured, &[&arguments[..], &["-sess_out", &session]].concat()) else { return };
        assert!(first.contains("ALPN protocol: mqtt"), "{first}");
        assert!(first.contains(&format!("New, {name}")), "{first}");
        let second = s_client(&secured, &[&arguments[..], &["-sess_in", &session]].concat()).expect("openssl is here");
        assert!(second.contains(&format!("Reused, {name}")), "{second}");
    }
    let other = s_client(&secured, &["-alpn", "h2"]).expect("openssl is here");
    assert!(other.contains("no application protocol"), "{other}");
}

#[test]
fn a_browser_names_the_protocol_of_websocket() {
    if cannot(Ability::Wisp) {
        return;
    }
    let secured = secured("wss-alpn", &[], |_| "protocol = \"websocket\"".to_owned());
    let Some(browser) = s_client(&secured, &["-alpn", "http/1.1"]) else { return };
    assert!(browser.contains("ALPN protocol: http/1.1"), "{browser}");
}
