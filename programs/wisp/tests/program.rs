//! The program `wisp` over real sockets: its output, its messages and its status.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wisp_wire::{
    ConnAck, List, Packet, PacketId, Properties, ProtocolVersion, PubAck, PubComp, PubRec, Publish, QoS, ReasonCode,
    SubAck, SubscriptionOptions, TopicName,
};

const VERSION: ProtocolVersion = ProtocolVersion::Mqtt5;

fn wisp(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wisp"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The exit status, the output, and the one line of error.
fn ended(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Serves one client: accepts it, answers its subscription with `messages`, and returns the payloads that it published.
fn broker(messages: Vec<(&'static str, &'static [u8])>) -> (String, JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        serve(&mut stream, &messages)
    });
    (url, thread)
}

fn serve(stream: &mut TcpStream, messages: &[(&str, &[u8])]) -> Vec<Vec<u8>> {
    let (mut input, mut published) = (Vec::new(), Vec::new());
    loop {
        let mut answer = Vec::new();
        let used = match wisp_wire::decode(&input, VERSION, u32::MAX).unwrap() {
            None => {
                let mut buffer = [0; 4096];
                // Only a client with a closed output ends without DISCONNECT.
                let Ok(received @ 1..) = stream.read(&mut buffer) else { return published };
                input.extend_from_slice(&buffer[..received]);
                continue;
            }
            Some((packet, length)) => {
                match packet {
                    Packet::Connect(_) => {
                        let code = ReasonCode::Success;
                        let ack = ConnAck { session_present: false, code, properties: Properties::EMPTY };
                        Packet::ConnAck(ack).encode(VERSION, &mut answer).unwrap();
                    }
                    Packet::Subscribe(subscribe) => {
                        let (_, SubscriptionOptions { qos, .. }) = subscribe.filters.iter().next().unwrap();
                        let codes = [ReasonCode::try_from(qos as u8).unwrap()];
                        let codes = List::from_slice(&codes);
                        let ack = SubAck { packet_id: subscribe.packet_id, properties: Properties::EMPTY, codes };
                        Packet::SubAck(ack).encode(VERSION, &mut answer).unwrap();
                        for ((topic, payload), id) in messages.iter().zip((1..=u16::MAX).cycle()) {
                            let packet_id = PacketId::new(id).filter(|_| qos > QoS::AtMostOnce);
                            let publish = Publish::new(TopicName::new(topic).unwrap(), payload);
                            let publish = Publish { qos, packet_id, ..publish };
                            Packet::Publish(publish).encode(VERSION, &mut answer).unwrap();
                        }
                    }
                    Packet::Publish(publish) => {
                        published.push(publish.payload.to_vec());
                        let ack = publish.packet_id.map(|id| match publish.qos {
                            QoS::ExactlyOnce => Packet::PubRec(PubRec::new(id)),
                            _ => Packet::PubAck(PubAck::new(id)),
                        });
                        if let Some(ack) = ack {
                            ack.encode(VERSION, &mut answer).unwrap();
                        }
                    }
                    Packet::PubRel(ack) => {
                        Packet::PubComp(PubComp::new(ack.packet_id)).encode(VERSION, &mut answer).unwrap();
                    }
                    // Acknowledgements are recorded beside the payloads.
                    Packet::PubAck(ack) => published.push(format!("ack {}", ack.packet_id).into_bytes()),
                    Packet::PubRec(ack) => published.push(format!("rec {}", ack.packet_id).into_bytes()),
                    Packet::Disconnect(_) => return published,
                    other => panic!("{other:?}"),
                }
                length
            }
        };
        input.drain(..used);
        // The client may be gone; then the next read fails.
        let _ = stream.write_all(&answer);
    }
}

#[test]
fn wrong_command_lines_are_one_line_and_status_2() {
    for arguments in [
        &["pub", "-u", "mqtt://h:1", "-t", "t"][..],
        &["pub", "-u", "mqtt://h:1", "-t", "t", "-m", "x", "-l"],
        &["pub", "--url", "nonsense", "-t", "t", "-m", "x"],
        &["pub", "-u", "http://h", "-t", "t", "-m", "x"],
        &["pub", "-L", "mqtt://h", "-h", "h", "-t", "t", "-m", "x"],
        &["pub", "-L", "mqtt://h", "-u", "mqtt://h", "-t", "t", "-m", "x"],
        &["pub", "-h", "mqtt://h", "-t", "t", "-m", "x"],
        &["pub", "-h", "h", "-p", "x", "-t", "t", "-m", "x"],
        &["pub", "-h", "-t", "t", "-m", "x"],
        &["pub", "-t", "t", "-m", "x", "-n"],
        &["pub", "-h", "127.0.0.1", "-t", "t", "-n", "-u", "me", "--username", "you"],
        &["pub", "-L", "mqtt://127.0.0.1", "--tls", "-t", "t", "-n"],
        &["pub", "-L", "mqtt://127.0.0.1", "--insecure", "-t", "t", "-n"],
        &["pub", "-t", "t", "-n", "--cert", "c"],
        &["pub", "-t", "t", "-n", "--cafile", "/does/not/exist"],
        &["pub", "-t", "t", "-n", "-P", "secret"],
        &["pub", "-t", "t", "-n", "--credentials", "/does/not/exist"],
        &["sub", "-t", "t", "-W", "0"],
        &["sub", "-t", "t", "-c"],
        &["cert", "--client", "../x"],
        &["cert", "--client", "ca"],
        &["pub", "-u", "mqtt://127.0.0.1:1", "-t", "t", "-f", "/does/not/exist"],
        &["sub", "-u", "mqtt://h:1"],
        &["sub", "-u", "mqtt://h:1", "-t", "t", "-n", "0"],
        &["sub", "-u", "mqtt://h:1", "-t", "t", "-V", "4"],
        &["sub", "-u", "mqtt://h:1", "-t", "t", "-q", "3"],
        &["sub", "-u", "mqtt://h:1", "-t", "t", "--retain-handling", "some"],
        &["sub", "-u", "mqtt://h:1", "-t", "t", "--subscription-id", "0"],
        &["sub", "-u", "mqtt://h:1", "-t", "t", "--session-expiry-s", "9"],
        &["sub", "-u", "mqtt://h:1", "-t", "t", "--will-message", "x"],
        &["sub", "-u", "mqtt://127.0.0.1:1", "-t", "t", "-i", "x", "--session-expiry-s", "9", "--clean-start"],
        &["other"],
    ] {
        let (status, printed, complaint) = ended(&wisp(arguments).output().unwrap());
        assert_eq!(status, Some(2), "{arguments:?}: {complaint}");
        assert!(printed.is_empty());
        assert!(complaint.starts_with("wisp: ") && complaint.lines().count() == 1, "{arguments:?}: {complaint}");
    }
}

#[test]
fn nobody_there_is_one_line_and_status_1() {
    // Only root may listen on this port, so no other test gets it.
    let nobody = "127.0.0.1:1";
    let url = format!("mqtt://{nobody}");
    for arguments in [&["pub", "-u", &url, "-t", "t", "-m", "x"][..], &["sub", "-u", &url, "-t", "t"]] {
        let (status, _, complaint) = ended(&wisp(arguments).output().unwrap());
        assert_eq!(status, Some(1), "{complaint}");
        assert!(complaint.contains(nobody) && complaint.lines().count() == 1, "{complaint}");
    }
}

#[test]
fn messages_are_printed_a_line_each_until_the_count() {
    for (flags, expected) in [(&["-n", "2"][..], "one\n\n"), (&["-n", "3", "-v"], "a one\na/b \nc three\n")] {
        let (url, thread) = broker(vec![("a", b"one"), ("a/b", b""), ("c", b"three")]);
        let arguments = [&["sub", "-u", &url, "-V", "5", "-t", "#"][..], flags].concat();
        let (status, printed, complaint) = ended(&wisp(&arguments).output().unwrap());
        assert_eq!((status, printed.as_str()), (Some(0), expected), "{complaint}");
        thread.join().unwrap();
    }
}

#[test]
fn what_is_received_is_acknowledged_as_it_was_subscribed() {
    for (qos, word) in [("1", "ack"), ("2", "rec")] {
        let (url, thread) = broker(vec![("a", b"one"), ("b", b"two"), ("c", b"not taken")]);
        let arguments = ["sub", "-u", &url, "-V", "5", "-t", "#", "-n", "2", "-vv", "-q", qos];
        let (status, printed, complaint) = ended(&wisp(&arguments).output().unwrap());
        let expected = format!("[qos {qos}] a one\n[qos {qos}] b two\n");
        assert_eq!((status, printed), (Some(0), expected), "{complaint}");
        let expected = [1, 2].map(|id| format!("{word} {id}").into_bytes());
        assert_eq!(thread.join().unwrap(), expected);
    }
}

#[test]
fn texts_files_and_lines_are_published() {
    let file = std::env::temp_dir().join(format!("wisp-program-{}", std::process::id()));
    std::fs::write(&file, b"all\nof\xffit\n").unwrap();
    let path = file.to_str().unwrap().to_owned();
    for (source, input, expected) in [
        (&["-m", "text"][..], "", vec![b"text".to_vec()]),
        (&["-m", "text", "-q", "1", "-r"], "", vec![b"text".to_vec()]),
        (&["-l", "-q", "2"], "one\ntwo", vec![b"one".to_vec(), b"two".to_vec()]),
        (&["-f", &path], "", vec![b"all\nof\xffit\n".to_vec()]),
        (&["-l"], "one\n\nthree", vec![b"one".to_vec(), Vec::new(), b"three".to_vec()]),
    ] {
        let (url, thread) = broker(Vec::new());
        let arguments = [&["pub", "-u", &url, "-V", "5", "-t", "t"][..], source].concat();
        let mut child = wisp(&arguments).stdin(Stdio::piped()).spawn().unwrap();
        // A child that does not read its input may have ended by now.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let (status, _, complaint) = ended(&child.wait_with_output().unwrap());
        assert_eq!(status, Some(0), "{complaint}");
        assert_eq!(thread.join().unwrap(), expected);
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_broker_that_goes_away_is_one_line_and_status_1() {
    for command in ["sub", "pub"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let extra: &[&str] = if command == "pub" { &["-l"] } else { &[] };
        let arguments = [&[command, "-u", &url, "-t", "t"][..], extra].concat();
        let mut child = wisp(&arguments).stdin(Stdio::piped()).spawn().unwrap();
        // Kept open, so that it is not the end of input that ends `pub -l`.
        let input = child.stdin.take();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&[0x20, 2, 0, 0]).unwrap();
        drop(stream);
        let (status, _, complaint) = ended(&child.wait_with_output().unwrap());
        assert_eq!(status, Some(1), "{command}: {complaint}");
        assert!(complaint.starts_with("wisp: ") && complaint.lines().count() == 1, "{command}: {complaint}");
        drop(input);
    }
}

#[test]
fn a_closed_output_ends_quietly() {
    let (url, thread) = broker(vec![("t", b"line"); 50_000]);
    let mut child = wisp(&["sub", "-u", &url, "-V", "5", "-t", "t"]).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 5]).unwrap();
    drop(output);
    let (status, _, complaint) = ended(&child.wait_with_output().unwrap());
    assert_eq!((status, complaint.as_str()), (Some(0), ""));
    thread.join().unwrap();
}

/// The arguments of mosquitto_pub and mosquitto_sub mean the same here.
#[test]
fn the_letters_of_mosquitto_are_understood() {
    let (url, thread) = broker(Vec::new());
    let (host, port) = url.strip_prefix("mqtt://").unwrap().split_once(':').unwrap();
    let login = ["-h", host, "-p", port, "-u", "me", "-P", "secret", "-V", "mqttv5", "-i", "me", "-k", "10", "-d"];
    let arguments = [&["pub"][..], &login, &["-t", "t", "-q", "1", "-r", "-n"]].concat();
    let (status, _, told) = ended(&wisp(&arguments).output().unwrap());
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("connected as me with MQTT 5"), "{told}");
    assert_eq!(thread.join().unwrap(), [b""]);

    let (url, thread) = broker(vec![("a", b"one")]);
    let (host, port) = url.strip_prefix("mqtt://").unwrap().split_once(':').unwrap();
    let arguments = ["sub", "-h", host, "-p", port, "-V", "5", "-t", "#", "-C", "1", "-W", "20", "-N"];
    let (status, printed, complaint) = ended(&wisp(&arguments).output().unwrap());
    assert_eq!((status, printed.as_str()), (Some(0), "one"), "{complaint}");
    thread.join().unwrap();
}

#[test]
fn arguments_that_only_mosquitto_has_are_refused_with_a_way_out() {
    for (arguments, part) in [
        (&["pub", "-h"][..], "-h is the broker's host; --help"),
        (&["pub", "-t", "t", "-n", "-D", "publish"], "MQTT 5 properties"),
        (&["sub", "-t", "t", "--capath", "/etc"], "--cafile"),
        (&["sub", "-t", "t", "-F", "%p"], "-vv"),
    ] {
        let (status, printed, complaint) = ended(&wisp(arguments).output().unwrap());
        assert_eq!((status, printed.as_str()), (Some(2), ""), "{complaint}");
        assert!(complaint.contains(part) && complaint.lines().count() == 1, "{complaint}");
    }
    let (status, printed, _) = ended(&wisp(&["pub", "--help"]).output().unwrap());
    assert!(status == Some(0) && printed.contains("--cafile"), "{printed}");
}

/// Takes CONNECT on the next connection and returns its user and password.
fn login_of(listener: &TcpListener) -> (Option<String>, Option<Vec<u8>>) {
    let (mut stream, _) = listener.accept().unwrap();
    let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let received = stream.read(&mut buffer).unwrap();
        assert!(received > 0, "CONNECT comes first");
        input.extend_from_slice(&buffer[..received]);
        if let Some((Packet::Connect(connect), _)) = wisp_wire::decode(&input, VERSION, u32::MAX).unwrap() {
            return (connect.username.map(str::to_owned), connect.password.map(<[u8]>::to_vec));
        }
    }
}

#[test]
fn user_and_password_come_from_arguments_a_file_variables_or_the_url() {
    let file = std::env::temp_dir().join(format!("wisp-credentials-{}", std::process::id()));
    std::fs::write(&file, "filed:a:b\nmore\n").unwrap();
    let path = file.to_str().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (plain, url) = (format!("mqtt://{address}"), format!("mqtt://linked:word@{address}"));
    for (arguments, variables, expected) in [
        (&["-L", &plain][..], false, (None, None)),
        (&["-L", &url], false, (Some("linked"), Some("word"))),
        (&["-L", &url], true, (Some("varied"), Some("secret"))),
        (&["-L", &url, "--credentials", path], true, (Some("filed"), Some("a:b"))),
        (&["-L", &plain, "-u", "me", "-P", "mine"], true, (Some("me"), Some("mine"))),
        (&["-L", &plain, "--username", "me", "--credentials", path], false, (Some("me"), Some("a:b"))),
    ] {
        let mut command = wisp(&[&["pub", "-V", "5", "-t", "t", "-n"][..], arguments].concat());
        if variables {
            command.env("WISP_USERNAME", "varied").env("WISP_PASSWORD", "secret");
        }
        let child = command.spawn().unwrap();
        let (user, password) = login_of(&listener);
        let password = password.map(|password| String::from_utf8(password).unwrap());
        assert_eq!((user.as_deref(), password.as_deref()), expected, "{arguments:?}");
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1), "there was no CONNACK");
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn sub_ends_with_status_27_when_its_time_is_over() {
    let (url, thread) = broker(vec![("a", b"one")]);
    let arguments = ["sub", "-L", &url, "-V", "5", "-t", "#", "-C", "2", "-W", "0.3"];
    let (status, printed, complaint) = ended(&wisp(&arguments).output().unwrap());
    assert_eq!((status, printed.as_str()), (Some(27), "one\n"), "{complaint}");
    thread.join().unwrap();
}

/// The broker goes away and comes back; the subscription is made anew where the broker has no session.
#[test]
fn sub_connects_again_when_asked_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let arguments = ["sub", "-L", &url, "-V", "5", "-t", "#", "-C", "2", "--reconnect"];
    let child = wisp(&arguments).spawn().unwrap();
    for messages in [[("a", &b"one"[..])], [("b", b"two")]] {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        serve_until_subscribed(&mut stream, &messages);
    }
    let (status, printed, told) = ended(&child.wait_with_output().unwrap());
    assert_eq!((status, printed.as_str()), (Some(0), "one\ntwo\n"), "{told}");
    assert!(told.contains("connecting again in") && told.lines().count() == 1, "{told}");

    // A refusal that another attempt would get again ends the program.
    let child = wisp(&arguments).spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&[0x20, 3, 0, 0x87, 0]).unwrap();
    let (status, _, told) = ended(&child.wait_with_output().unwrap());
    assert!(status == Some(1) && told.lines().count() == 1, "{told}");
}

/// Accepts a client and its subscription, sends messages, and closes once the client has them.
fn serve_until_subscribed(stream: &mut TcpStream, messages: &[(&str, &[u8])]) {
    let mut server = stream.try_clone().unwrap();
    let messages: Vec<_> = messages.iter().map(|(topic, payload)| ((*topic).to_owned(), payload.to_vec())).collect();
    let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
    let mut reply = Vec::new();
    while reply.len() <= 5 {
        let received = server.read(&mut buffer).unwrap();
        assert!(received > 0);
        input.extend_from_slice(&buffer[..received]);
        while let Some((packet, length)) = wisp_wire::decode(&input, VERSION, u32::MAX).unwrap() {
            reply.clear();
            match packet {
                Packet::Connect(_) => reply.extend_from_slice(&[0x20, 3, 0, 0, 0]),
                Packet::Subscribe(subscribe) => {
                    let codes = [ReasonCode::Success];
                    let (packet_id, codes) = (subscribe.packet_id, List::from_slice(&codes));
                    let ack = SubAck { packet_id, properties: Properties::EMPTY, codes };
                    Packet::SubAck(ack).encode(VERSION, &mut reply).unwrap();
                    for (topic, payload) in &messages {
                        let publish = Publish::new(TopicName::new(topic).unwrap(), payload);
                        Packet::Publish(publish).encode(VERSION, &mut reply).unwrap();
                    }
                }
                other => panic!("{other:?}"),
            }
            input.drain(..length);
            server.write_all(&reply).unwrap();
        }
    }
}

#[test]
fn cert_makes_a_ca_and_certificates_and_replaces_no_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("wisp-cert-{}", std::process::id()));
    let path = folder.to_str().unwrap();
    let cert = |more: &[&str]| ended(&wisp(&[&["cert", path][..], more].concat()).output().unwrap());
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (status, printed, complaint) = cert(&["--client", "door"]);
    assert_eq!(status, Some(0), "{complaint}");
    assert!(printed.contains("ca.pem") && printed.contains("localhost, 127.0.0.1, ::1"), "{printed}");
    for (name, mode) in [
        ("ca.pem", 0o644),
        ("ca-key.pem", 0o600),
        ("server.pem", 0o644),
        ("server-key.pem", 0o600),
        ("door.pem", 0o644),
        ("door-key.pem", 0o600),
    ] {
        let found = std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name}: {found:o}");
    }
    let before = ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem", "door.pem"].map(read);
    for again in [&[][..], &["--host", "h"], &["--client", "door"], &["--client", "other", "--client", "door"]] {
        let (status, _, complaint) = cert(again);
        assert!(status == Some(2) && complaint.contains("exists"), "{again:?}: {complaint}");
    }
    assert!(!folder.join("other.pem").exists(), "nothing is written if anything is in the way");
    let (status, _, complaint) = cert(&["--client", "window"]);
    assert_eq!(status, Some(0), "{complaint}");
    assert_eq!(before, ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem", "door.pem"].map(read));

    std::fs::write(folder.join("ca.pem"), read("server.pem")).unwrap();
    let (status, _, complaint) = cert(&["--client", "roof"]);
    assert!(status == Some(2) && complaint.contains("not a CA of wisp cert"), "{complaint}");
    std::fs::remove_file(folder.join("ca.pem")).unwrap();
    let (status, _, complaint) = cert(&["--client", "roof"]);
    assert!(status == Some(2) && complaint.contains("ca-key.pem is there without"), "{complaint}");
    std::fs::remove_dir_all(&folder).unwrap();
}
