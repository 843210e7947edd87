//! Each refusal is one line that says the party at fault and the way out.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use rcgen::date_time_ymd;
use wisp_client::{Error, Fault, TlsOptions};

use crate::certificates::{Ca, Identity, server, trusting};
use crate::messages::connect;
use crate::server::{Layers, serve};

/// Connects to a server with this certificate, and returns the error.
fn refusal(identity: Identity, host: &str, tls: &TlsOptions) -> Error {
    let (address, thread) = serve(Layers { tls: Some(server(identity)), websocket: false }, 1);
    let address = address.to_string().replace("127.0.0.1", host);
    let url: wisp_client::ServerUrl = format!("mqtts://{address}").parse().unwrap();
    let options = wisp_client::ConnectOptions::new(wisp_client::ProtocolVersion::Mqtt5).over(&url, tls).unwrap();
    let error = wisp_client::Client::connect_to(&url, options).err().expect("the certificate is refused");
    assert!(thread.join().unwrap().remove(0).is_err());
    error
}

fn assert_line(error: &Error, fault: Fault, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.fault(), fault, "{text}");
    assert!(error.is_final() && !text.contains('\n'), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
}

#[test]
fn certificates_are_refused_with_the_reason() {
    let (ca, other, anew) = (Ca::new(), Ca::named("another"), Ca::new());
    let here = &["127.0.0.1"];
    let error = refusal(ca.identity(here, |_| {}), "127.0.0.1", &other.options());
    assert_line(&error, Fault::Caller, &["not signed by a CA of the CA file"]);

    let error = refusal(ca.identity(here, |_| {}), "127.0.0.1", &anew.options());
    assert_line(&error, Fault::Caller, &["another CA of the same name"]);

    let error = refusal(ca.itself(), "localhost", &ca.options());
    assert_line(&error, Fault::Broker, &["openssl req -x509", "wisp cert", "basicConstraints=critical,CA:FALSE"]);

    let error = refusal(ca.identity(&["broker.example", "10.0.0.1"], |_| {}), "127.0.0.1", &ca.options());
    assert_line(&error, Fault::Caller, &["is for broker.example, 10.0.0.1: connect by that name"]);

    let error = refusal(ca.identity(&[], |_| {}), "127.0.0.1", &ca.options());
    assert_line(&error, Fault::Broker, &["names no host", "subjectAltName"]);

    let old = ca.identity(here, |params| params.not_after = date_time_ymd(2020, 1, 1));
    let error = refusal(old, "127.0.0.1", &ca.options());
    assert_line(&error, Fault::Broker, &["expired", "days ago"]);

    let early = ca.identity(here, |params| params.not_before = date_time_ymd(2900, 1, 1));
    let error = refusal(early, "127.0.0.1", &ca.options());
    assert_line(&error, Fault::Host, &["valid only in", "days"]);
}

#[test]
fn a_server_that_wants_a_certificate_is_told_of() {
    let (ca, other) = (Ca::new(), Ca::named("another"));
    let mut wrong = other.client("client");
    wrong.ca_file = ca.options().ca_file;
    for (options, part) in [(ca.options(), "--cert FILE --key FILE"), (wrong, "client certificate")] {
        let (address, thread) = serve(Layers { tls: Some(ca.strict_server()), websocket: false }, 1);
        let error = connect("mqtts", address, &options).err().expect("no certificate, no connection");
        assert_line(&error, Fault::Caller, &[part]);
        assert!(thread.join().unwrap().remove(0).is_err());
    }
}

/// A server that reads a little, answers `answer` and closes.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut first = [0; 1000];
        assert!(socket.read(&mut first).unwrap() > 0);
        socket.write_all(answer).unwrap();
        // The client's bytes are read to the end: else its system might drop the answer.
        let _ = socket.shutdown(std::net::Shutdown::Write);
        while socket.read(&mut first).is_ok_and(|bytes| bytes > 0) {}
    });
    address
}

#[test]
fn the_wrong_port_is_named_so() {
    let mut any = TlsOptions::default();
    any.insecure = true;
    let none = TlsOptions::default();
    let not_found = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let bad_request = b"HTTP/1.1 400 Bad Request\r\nServer: one with a long name\r\nContent-Length: 0\r\n\
        Connection: close\r\nContent-Type: text/html; charset=utf-8\r\n\r\n";
    for (scheme, tls, answer, fault, part) in [
        ("mqtts", &any, &b""[..], Fault::Broker, "use mqtt:// or ws://"),
        ("mqtts", &any, b"\x20\x02\x00\x00", Fault::Caller, "answers without TLS: use mqtt://"),
        ("mqtts", &any, bad_request, Fault::Caller, "answers without TLS"),
        ("wss", &any, bad_request, Fault::Caller, "or ws://"),
        ("mqtt", &none, b"\x15\x03\x01\x00\x02\x02\x46", Fault::Caller, "use mqtts://"),
        ("mqtt", &none, bad_request, Fault::Caller, "use ws://"),
        ("ws", &none, b"\x15\x03\x01\x00\x02\x02\x46", Fault::Caller, "use wss://"),
        ("ws", &none, b"", Fault::Caller, "use mqtt://"),
        ("ws", &none, b"\x20\x02\x00\x05", Fault::Caller, "use mqtt://"),
        ("ws", &none, not_found, Fault::Caller, "HTTP 404: is the path right?"),
        ("ws", &none, b"HTTP/1.1 500 Oops\r\n\r\n", Fault::Broker, "HTTP 500"),
        ("ws", &none, b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", Fault::Broker, "another key"),
    ] {
        let error = connect(scheme, answering(answer), tls).err().expect("the port is wrong");
        assert_line(&error, fault, &[part]);
    }
}

#[test]
fn unusable_files_are_named() {
    let ca = Ca::new();
    let mine = ca.client("client");
    let write = |name: &str, content: &str| {
        let path = ca.path(name);
        fs::write(&path, content).unwrap();
        Some(path)
    };
    let nothing = write("nothing.pem", "no certificate here");
    let broken = write("broken.pem", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n");
    let encrypted =
        write("encrypted.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let with = |change: &dyn Fn(&mut TlsOptions)| {
        let mut options = mine.clone();
        change(&mut options);
        options
    };
    let other_key = ca.client("other").key_file;
    for (options, parts) in [
        (trusting(&ca.path("absent.pem")), &["cannot read", "absent.pem"][..]),
        (with(&|options| options.ca_file.clone_from(&nothing)), &["nothing.pem", "no certificate"]),
        (with(&|options| options.ca_file.clone_from(&broken)), &["broken.pem", "not a PEM file"]),
        (with(&|options| options.key_file = None), &["--key FILE"]),
        (with(&|options| options.cert_file = None), &["--cert FILE"]),
        (with(&|options| options.key_file.clone_from(&encrypted)), &["encrypted.pem is encrypted", "openssl pkey"]),
        (with(&|options| options.key_file.clone_from(&nothing)), &["nothing.pem has no key"]),
        (with(&|options| options.key_file.clone_from(&other_key)), &["other-key.pem is not the key of", "client.pem"]),
    ] {
        let error = connect("mqtts", "127.0.0.1:1".parse().unwrap(), &options).err().expect("no file, no connection");
        let text = error.to_string();
        assert!(matches!(error, Error::Usage(_)) && !text.contains('\n'), "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?}: {text}");
    }
    let error = connect("mqtt", "127.0.0.1:1".parse().unwrap(), &mine).err().expect("certificates need TLS");
    assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("mqtts://"), "{error}");
}
