//! Wisp's clients over TLS and WebSocket against mosquitto, and other clients with the certificates of `wisp cert`. The
//! clients are native on every host of the suite, so this is tested once.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{self, Command};
use std::{env, fs};

use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::host::{Host, native_program};
use wisp_e2e::paho;
use wisp_e2e::program::{Finished, Program};
use wisp_e2e::wait::wait_until;

/// mosquitto with a listener for each transport, and certificates that `wisp cert` made.
struct Mosquitto {
    program: Program,
    folder: PathBuf,
    tls: SocketAddr,
    /// Clients have to show a certificate.
    mutual: SocketAddr,
    websocket: SocketAddr,
    secure_websocket: SocketAddr,
}

impl Mosquitto {
    fn start(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("wisp-e2e-{}-{name}", process::id()));
        let made = wisp(&["cert", folder.to_str().expect("a plain name"), "--client", "door"]);
        assert!(made.status.success(), "{:?}", made.stderr);
        let [tls, mutual, websocket, secure_websocket] = [(); 4].map(|()| free_addr());
        let file = |name: &str| folder.join(name).display().to_string();
        let (ca, cert, key) = (file("ca.pem"), file("server.pem"), file("server-key.pem"));
        let identity = format!("certfile {cert}\nkeyfile {key}\n");
        let listener = |addr: SocketAddr| format!("listener {} {}\n", addr.port(), addr.ip());
        let configuration = [
            // Only the owner may read the key.
            format!("user {}\nallow_anonymous true\nlog_dest stderr\nmax_queued_messages 0\n", user()),
            listener(tls) + &identity,
            listener(mutual) + &identity + &format!("cafile {ca}\nrequire_certificate true\n"),
            listener(websocket) + "protocol websockets\n",
            listener(secure_websocket) + "protocol websockets\n" + &identity,
        ];
        fs::write(folder.join("mosquitto.conf"), configuration.concat()).expect("the folder is writable");
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.arg("-c").arg(folder.join("mosquitto.conf"));
        let program = Program::start(command);
        for addr in [tls, mutual, websocket, secure_websocket] {
            wait_until("mosquitto to accept connections", || TcpStream::connect(addr).is_ok());
        }
        Self { program, folder, tls, mutual, websocket, secure_websocket }
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.program.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The user that runs this test.
fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("there is id");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn wisp(arguments: &[&str]) -> Finished {
    let mut command = Command::new(native_program("wisp", "WISP_BIN"));
    command.args(arguments);
    Program::run(command, b"")
}

fn is_native() -> bool {
    Host::current() == Host::Native
}

#[test]
fn wisp_pub_and_sub_exchange_messages_with_mosquitto_over_every_transport() {
    if !is_native() {
        return;
    }
    let broker = Mosquitto::start("transports");
    let (ca, cert, key) = (broker.file("ca.pem"), broker.file("door.pem"), broker.file("door-key.pem"));
    let trust = ["--cafile", &ca];
    let identity = ["--cafile", &ca, "--cert", &cert, "--key", &key];
    let (host, port) = (broker.tls.ip().to_string(), broker.tls.port().to_string());
    let urls = [
        format!("mqtts://{}", broker.tls),
        format!("mqtts://localhost:{}", broker.tls.port()),
        format!("mqtts://{}", broker.mutual),
        format!("ws://{}", broker.websocket),
        format!("wss://{}/any/path", broker.secure_websocket),
    ];
    let none: &[&str] = &[];
    for (place, options) in [
        (&["-L", &urls[0]][..], &trust[..]),
        (&["-L", &urls[1]], &trust),
        (&["-L", &urls[1]], &["--insecure"]),
        (&["-L", &urls[2]], &identity),
        (&["-L", &urls[3]], none),
        (&["-L", &urls[4]], &trust),
        (&["-h", &host, "-p", &port], &trust),
    ] {
        for version in ["3.1", "3.1.1", "5"] {
            let common = [place, options, &["-V", version, "-t", "to/wisp", "-q", "1"]].concat();
            let published = wisp(&[&["pub", "-m", "a message", "-r"][..], &common].concat());
            assert!(published.status.success(), "{common:?}: {:?}", published.stderr);
            let received = wisp(&[&["sub", "-C", "1", "-W", "20"][..], &common].concat());
            assert_eq!(received.stdout, ["a message"], "{common:?}: {:?}", received.stderr);
            let removed = wisp(&[&["pub", "-n", "-r"][..], &common].concat());
            assert!(removed.status.success(), "{common:?}: {:?}", removed.stderr);
        }
    }
}

#[test]
fn refusals_of_mosquitto_are_explained() {
    if !is_native() {
        return;
    }
    let broker = Mosquitto::start("refusals");
    let ca = broker.file("ca.pem");
    let (tls, mutual, websocket) = (broker.tls, broker.mutual, broker.websocket);
    for (url, options, part) in [
        (format!("mqtts://{tls}"), &[][..], "--cafile"),
        (format!("mqtts://{mutual}"), &["--cafile", &ca], "--cert FILE --key FILE"),
        (format!("mqtts://{websocket}"), &["--cafile", &ca], "mqtt:// or ws://"),
        (format!("mqtt://{tls}"), &[], "mqtts://"),
        (format!("ws://{tls}"), &[], "wss://"),
    ] {
        let refused = wisp(&[&["pub", "-L", &url, "-t", "t", "-q", "1", "-m", "x"][..], options].concat());
        let [line] = refused.stderr.as_slice() else { panic!("{url}: {:?}", refused.stderr) };
        assert!(!refused.status.success() && line.contains(part), "{url}: {line}");
    }
}

/// The same clients with Wisp's own listeners, and the load generator.
#[test]
fn wisp_pub_sub_and_the_load_generator_reach_wisp_over_every_transport() {
    if !is_native() {
        return;
    }
    let folder = env::temp_dir().join(format!("wisp-e2e-{}-own", process::id()));
    let made = wisp(&["cert", folder.to_str().expect("a plain name"), "--client", "door"]);
    assert!(made.status.success(), "{:?}", made.stderr);
    let file = |name: &str| folder.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("door.pem"), file("door-key.pem"));
    let identity = format!("tls.certificate = {:?}\ntls.key = {:?}\n", file("server.pem"), file("server-key.pem"));
    let [tls, mutual, websocket, secure_websocket] = [(); 4].map(|()| free_addr());
    let listener = |addr: SocketAddr, more: &str| format!("[[listener]]\naddress = \"{addr}\"\n{more}\n");
    let configuration = [
        listener(tls, &identity),
        listener(mutual, &format!("{identity}tls.client-ca = {ca:?}\n")),
        listener(websocket, "protocol = \"websocket\"\n"),
        listener(secure_websocket, &format!("protocol = \"websocket\"\n{identity}")),
    ];
    fs::write(folder.join("wisp.toml"), configuration.concat()).expect("the folder is writable");
    let broker = Broker::start_with(&["--config", &file("wisp.toml")]);
    let identity = ["--cafile", &ca, "--cert", &cert, "--key", &key];
    for (url, options) in [
        (format!("mqtt://{}", broker.addr()), &[][..]),
        (format!("mqtts://{tls}"), &["--cafile", &ca]),
        (format!("mqtts://{mutual}"), &identity),
        (format!("ws://{websocket}"), &[]),
        (format!("wss://{secure_websocket}"), &["--cafile", &ca]),
    ] {
        let common = [&["-L", &url, "-t", "own", "-q", "2"][..], options].concat();
        let published = wisp(&[&["pub", "-m", &url, "-r"][..], &common].concat());
        assert!(published.status.success(), "{url}: {:?}", published.stderr);
        let received = wisp(&[&["sub", "-C", "1", "-W", "20"][..], &common].concat());
        assert_eq!(received.stdout, [url.as_str()], "{:?}", received.stderr);
        for qos in ["0", "1", "2"] {
            let mut command = Command::new(native_program("wisp-loadgen", "WISP_LOADGEN"));
            command.args(["run", "--url", &url, "--count", "5000", "--qos", qos, "--size", "3000"]);
            command.args(["--senders", "3", "--receivers", "3"]).args(options);
            let finished = Program::run(command, b"");
            assert!(finished.status.success(), "{url} at QoS {qos}: {:?} {:?}", finished.stdout, finished.stderr);
        }
    }
    let refused = wisp(&["pub", "-L", &format!("mqtts://{mutual}"), "--cafile", &ca, "-t", "t", "-q", "1", "-n"]);
    assert!(refused.stderr.iter().any(|line| line.contains("--cert FILE --key FILE")), "{:?}", refused.stderr);
    drop(broker);
    let _ = fs::remove_dir_all(&folder);
}

/// mosquitto_pub, OpenSSL and paho-mqtt accept the certificates.
#[test]
fn other_clients_accept_the_certificates_of_wisp_cert() {
    if !is_native() {
        return;
    }
    let broker = Mosquitto::start("certificates");
    let (ca, cert, key) = (broker.file("ca.pem"), broker.file("door.pem"), broker.file("door-key.pem"));
    let (tls, mutual) = (broker.tls.port().to_string(), broker.mutual.port().to_string());
    for (port, identity) in [(&tls, &[][..]), (&mutual, &["--cert", &cert, "--key", &key])] {
        for host in ["localhost", "127.0.0.1"] {
            let mut command = Command::new("mosquitto_pub");
            command.args(["-h", host, "-p", port, "--cafile", &ca, "-t", "t", "-q", "1", "-m", "x"]).args(identity);
            let published = Program::run(command, b"");
            assert!(published.status.success(), "{host}: {:?}", published.stderr);
        }
    }
    let mut command = Command::new("openssl");
    let address = format!("localhost:{mutual}");
    command.args(["s_client", "-connect", &address, "-CAfile", &ca, "-cert", &cert, "-key", &key]);
    command.args(["-verify_return_error", "-verify_hostname", "localhost", "-brief"]);
    let shaken = Program::run(command, b"");
    assert!(shaken.stderr.iter().any(|line| line.contains("Verification: OK")), "{:?}", shaken.stderr);
    let published = Program::run(paho::secure_publisher(&ca, &tls), b"");
    assert!(published.status.success(), "{:?}", published.stderr);
}

#[test]
fn the_load_generator_drives_mosquitto_over_every_transport() {
    if !is_native() {
        return;
    }
    let broker = Mosquitto::start("load");
    let ca = broker.file("ca.pem");
    let none: &[&str] = &[];
    for (url, options, transport) in [
        (format!("mqtts://{}", broker.tls), &["--cafile", &ca][..], "tls"),
        (format!("mqtts://{}", broker.tls), &["--insecure"], "tls"),
        (format!("ws://{}", broker.websocket), none, "websocket"),
        (format!("wss://{}", broker.secure_websocket), &["--cafile", &ca], "websocket-tls"),
    ] {
        for qos in ["0", "1", "2"] {
            let mut command = Command::new(native_program("wisp-loadgen", "WISP_LOADGEN"));
            command.args(["run", "--url", &url, "--count", "5000", "--window", "20", "--qos", qos, "--json"]);
            command.args(["--senders", "2", "--receivers", "2"]).args(options);
            let finished = Program::run(command, b"");
            assert!(finished.status.success(), "{url} at QoS {qos}: {:?} {:?}", finished.stdout, finished.stderr);
            let results: serde_json::Value = serde_json::from_str(&finished.stdout[0]).expect("it is JSON");
            assert_eq!((&results["received"], &results["transport"]), (&5000.into(), &transport.into()), "{url}");
        }
    }
}
