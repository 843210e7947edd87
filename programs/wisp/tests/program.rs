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
        &["pub", "-u", "nonsense", "-t", "t", "-m", "x"],
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
