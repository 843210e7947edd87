//! A data folder without room, on a disk that fails, or that is read-only: nothing is acknowledged that is not stored, and clients
//! whose messages are not stored go on.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, Host, cannot};
use wisp_e2e::packet::{Publish, kind};
use wisp_e2e::program::Program;
use wisp_e2e::raw::{Bystanders, RawClient};
use wisp_e2e::wait::wait_until;

use crate::durable::{Folder, Receiver, Sender, finish};

/// No file may become longer than 512 KiB: then writes fail as on a full disk, until the limit is lifted.
const SMALL_FILES: &str = "trap '' XFSZ && ulimit -S -f 1024";

/// Lets files grow again.
fn lift_limit(broker: &Broker) {
    let lifted = Command::new("prlimit").args(["--pid", &broker.pid().to_string(), "--fsize=unlimited:"]).status();
    assert!(lifted.expect("prlimit can be run").success());
}

/// The command for a broker that alone sees a file system in memory, mounted with these options on a folder.
fn with_mount(options: &str, folder: &Path, addr: SocketAddr, flags: &[&str]) -> Command {
    let broker = Host::Native.command(addr, flags);
    let script = format!("mount -t tmpfs -o {options} tmpfs {} && exec \"$0\" \"$@\"", folder.display());
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    command.arg(broker.get_program()).args(broker.get_args());
    command
}

fn senders() -> [Sender; 3] {
    [("one", 1), ("two", 2), ("three", 2)].map(|(id, qos)| Sender::new(id, qos).with_padding(4096))
}

fn keep_session(broker: &Broker, id: &str, filter: &str) {
    let mut client = Client::kept(broker, Version::V311, id);
    client.subscribe(filter, 2);
    client.disconnect();
}

/// One worker, so that clients whose messages are stored and others have it in common.
fn flags(folder: &Folder) -> Vec<&str> {
    folder.roomy_flags().into_iter().chain(["--workers", "1"]).collect()
}

/// Messages at any QoS between clients without kept sessions go on, and such clients can connect, subscribe and leave.
fn check_memory_only(bystanders: &mut Bystanders, broker: &Broker) {
    bystanders.round_trip();
    for version in Version::ALL {
        let mut receiver = Client::clean(broker, version, "memory receiver");
        let mut sender = Client::clean(broker, version, "memory sender");
        receiver.subscribe("memory/only", 2);
        for qos in [0, 1, 2] {
            sender.publish(&Publish::new("memory/only", "text").qos(qos));
            assert_eq!(receiver.receive().qos, qos);
        }
        receiver.ping();
        receiver.unsubscribe(&["memory/only"]);
        sender.ping();
        receiver.disconnect();
        sender.disconnect();
    }
}

#[test]
fn what_a_full_disk_refuses_is_not_acknowledged_and_kill_9_loses_nothing() {
    if cannot(Ability::ServiceManager) {
        return;
    }
    let folder = Folder::new();
    let mut broker = Broker::start_after(SMALL_FILES, &flags(&folder));
    let addr = broker.addr();
    keep_session(&broker, "receiver", "load/#");
    let mut bystanders = Bystanders::connect(broker.addr(), "memory");
    let (mut senders, never) = (senders(), AtomicBool::new(false));
    thread::scope(|scope| {
        for sender in &mut senders {
            scope.spawn(|| sender.run(addr, &never));
        }
        let line = broker.wait_log("cannot write");
        assert!(line.contains("segment-") && line.contains("make room on the disk of"), "{line}");
        check_memory_only(&mut bystanders, &broker);
        broker.kill();
    });
    let broker = Broker::start_at(addr, &folder.roomy_flags());
    finish(&broker, &mut senders, &mut Receiver::default());
}

#[test]
fn senders_are_held_named_and_counted_while_the_disk_is_full_and_go_on_when_there_is_room() {
    if cannot(Ability::ServiceManager) {
        return;
    }
    let folder = Folder::new();
    let flags: Vec<&str> = flags(&folder).into_iter().chain(["--sys-interval-s", "1"]).collect();
    let broker = Broker::start_after(SMALL_FILES, &flags);
    let addr = broker.addr();
    keep_session(&broker, "receiver", "load/#");
    let mut bystanders = Bystanders::connect(broker.addr(), "memory");
    let mut reader = Client::clean(&broker, Version::V5, "reader");
    reader.subscribe("$SYS/broker/wisp/store_holds", 0);
    let (mut senders, ends) = (senders(), AtomicBool::new(false));
    thread::scope(|scope| {
        for sender in &mut senders {
            scope.spawn(|| sender.run(addr, &ends));
        }
        broker.wait_log("cannot write");
        ends.store(true, Ordering::Release);
        for version in Version::ALL {
            let mut late = RawClient::connect(addr, version, &format!("late {version:?}"));
            let message = Publish::new("late", "text").qos(1).retained();
            late.send(&message.encode(version, 7));
            let line = broker.wait_log("limit reached: data-dir");
            assert!(line.contains("client=") && line.contains("make room"), "{line}");
            assert!(late.read_within(Duration::from_millis(50)).is_none(), "it is not stored");
        }
        wait_until("the count of holds", || reader.next_message().text() != "0");
        check_memory_only(&mut bystanders, &broker);
        lift_limit(&broker);
    });
    broker.wait_log("can be written again");
    finish(&broker, &mut senders, &mut Receiver::default());
}

#[test]
fn a_disk_that_was_full_takes_on_where_it_stopped() {
    if cannot(Ability::Mounts) {
        return;
    }
    let (folder, addr) = (Folder::new(), free_addr());
    let command = with_mount("size=4m", &folder.0, addr, &flags(&folder));
    let broker = Broker::start_by(command, addr);
    // The folder as the broker sees it.
    let seen = PathBuf::from(format!("/proc/{}/root{}", broker.pid(), folder.0.display()));
    let filler = seen.join(".filler");
    fs::write(&filler, vec![0; 3 << 20]).expect("there is room");
    keep_session(&broker, "receiver", "load/#");
    let mut bystanders = Bystanders::connect(broker.addr(), "memory");
    let (mut senders, ends) = (senders(), AtomicBool::new(false));
    thread::scope(|scope| {
        for sender in &mut senders {
            scope.spawn(|| sender.run(addr, &ends));
        }
        let line = broker.wait_log("cannot write");
        assert!(line.contains("No space left on device"), "{line}");
        check_memory_only(&mut bystanders, &broker);
        ends.store(true, Ordering::Release);
        fs::remove_file(&filler).expect("it is ours");
    });
    broker.wait_log("can be written again");
    finish(&broker, &mut senders, &mut Receiver::default());
}

#[test]
fn a_broker_that_ends_while_its_disk_is_full_says_so_by_its_status() {
    if cannot(Ability::ServiceManager) {
        return;
    }
    let folder = Folder::new();
    let mut broker = Broker::start_after(SMALL_FILES, &folder.flags());
    let mut sender = Client::clean(&broker, Version::V311, "sender");
    sender.send_publish(&Publish::new("kept", &vec![b'x'; 1 << 20]).qos(1).retained());
    broker.wait_log("cannot write");
    broker.signal("TERM");
    let finished = broker.finish();
    let last = finished.stderr.last().cloned().unwrap_or_default();
    assert!(last.contains("none of them acknowledged, are lost"), "{last}");
    assert_eq!(finished.status.code(), Some(1));
    assert!(sender.read_to_close().iter().all(|packet| packet.kind() != kind::PUBACK));
}

/// A library that lets `fdatasync` fail from the moment on at which a file is there.
const FAILING_SYNC: &str = "#include <errno.h>\n#include <stdlib.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
    int fdatasync(int fd) {\n\
    if (access(getenv(\"FAIL_SYNC_IF\"), F_OK) == 0) { errno = EIO; return -1; }\n\
    return (int)syscall(SYS_fdatasync, fd);\n}\n";

#[test]
fn a_failed_sync_ends_the_broker_with_the_reason_and_without_an_acknowledgement() {
    if cannot(Ability::ServiceManager) {
        return;
    }
    let (folder, parts) = (Folder::new(), Folder::new());
    let [source, library, fault] = ["sync.c", "sync.so", "fault"].map(|name| parts.0.join(name));
    fs::write(&source, FAILING_SYNC).expect("the temporary folder is writable");
    let mut compiler = Command::new("cc");
    let built = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("the linker that built this test is there").success());
    let setup = format!("export LD_PRELOAD={} FAIL_SYNC_IF={}", library.display(), fault.display());
    let mut broker = Broker::start_after(&setup, &folder.roomy_flags());
    let addr = broker.addr();
    keep_session(&broker, "receiver", "load/#");
    let (mut senders, never) = (senders(), AtomicBool::new(false));
    let finished = thread::scope(|scope| {
        for sender in &mut senders {
            scope.spawn(|| sender.run(addr, &never));
        }
        wait_until("acknowledged messages", || {
            fs::metadata(folder.0.join("segment-0000000002.log")).is_ok_and(|segment| segment.len() > 100_000)
        });
        fs::write(&fault, "").expect("the temporary folder is writable");
        broker.finish()
    });
    assert_eq!(finished.status.code(), Some(1), "{:?}", finished.stderr);
    let last = finished.stderr.last().cloned().unwrap_or_default();
    assert!(last.contains("cannot synchronise: Input/output error"), "{last}");
    let broker = Broker::start_at(addr, &folder.roomy_flags());
    finish(&broker, &mut senders, &mut Receiver::default());
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_at_the_start() {
    if cannot(Ability::Mounts) {
        return;
    }
    let (folder, addr) = (Folder::new(), free_addr());
    let finished = Program::start(with_mount("ro", &folder.0, addr, &folder.flags())).finish();
    assert_eq!(finished.status.code(), Some(2), "{:?}", finished.stderr);
    let last = finished.stderr.last().cloned().unwrap_or_default();
    let expected = format!("wisp-broker: data-dir: {}: cannot write: Read-only file system", folder.0.display());
    assert!(last.starts_with(&expected), "{last}");
}
