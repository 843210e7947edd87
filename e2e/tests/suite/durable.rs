//! A broker with a data folder, killed with SIGKILL under load and started again: what it has acknowledged is there, in order, and
//! at QoS 2 once.

mod clients;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io;
use std::process::{self, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, Host, cannot, native_program};
use wisp_e2e::packet::Publish;
use wisp_e2e::program::Program;
use wisp_e2e::random::Random;
use wisp_e2e::wait::{TIMEOUT, wait_until};

use self::clients::{Consumer, Taken, VERSION, assert_nothing_dropped};
pub(crate) use self::clients::{Folder, Receiver, Sender, finish};

/// The number of kills: `WISP_E2E_KILLS`, or a few.
fn kills() -> u32 {
    let default = if Host::current() == Host::Native { 20 } else { 3 };
    env::var("WISP_E2E_KILLS").map_or(default, |kills| kills.parse().expect("a number"))
}

#[test]
fn what_is_acknowledged_survives_kill_9_under_load_and_comes_once_at_qos_2() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (folder, addr) = (Folder::new(), free_addr());
    let mut random = Random::new(Instant::now().elapsed().as_nanos() as u64 ^ u64::from(process::id()));
    let mut senders = [Sender::new("one", 1), Sender::new("two", 2), Sender::new("three", 2)];
    let mut receiver = Receiver::default();
    let never = AtomicBool::new(false);
    for round in 0..kills() {
        let mut broker = Broker::start_at(addr, &folder.roomy_flags());
        if round == 0 {
            let mut client = Client::kept(&broker, VERSION, "receiver");
            client.subscribe("load/#", 2);
            client.disconnect();
        }
        let receives = random.percent(50);
        thread::scope(|scope| {
            for sender in &mut senders {
                scope.spawn(|| sender.run(addr, &never));
            }
            if receives {
                scope.spawn(|| receiver.run(addr, |_| false));
            }
            thread::sleep(Duration::from_millis(5 + random.below(150)));
            broker.kill();
        });
        assert_nothing_dropped(&broker);
    }
    let broker = Broker::start_at(addr, &folder.roomy_flags());
    finish(&broker, &mut senders, &mut receiver);
}

#[test]
fn a_queue_under_load_loses_nothing_at_kill_9_and_repeats_nothing_that_its_consumer_has_for_good() {
    if cannot(Ability::Wisp) {
        return;
    }
    let (folder, addr) = (Folder::new(), free_addr());
    let mut random = Random::new(Instant::now().elapsed().as_nanos() as u64 ^ u64::from(process::id()));
    let mut senders = ["one", "two"].map(|id| Sender::new(id, 2).for_queue());
    let mut consumers = Vec::new();
    let (taken, never) = (Mutex::new(Taken::default()), AtomicBool::new(false));
    for round in 0..kills() {
        let mut broker = Broker::start_at(addr, &folder.roomy_flags());
        if round == 0 {
            consumers =
                [("first", 2), ("second", 2), ("third", 1)].map(|(id, qos)| Consumer::new(&broker, id, qos)).into();
        }
        let consuming = random.below(4) as usize;
        thread::scope(|scope| {
            for sender in &mut senders {
                scope.spawn(|| sender.run(addr, &never));
            }
            for consumer in &mut consumers[..consuming] {
                scope.spawn(|| consumer.run(addr, &taken, |_| false));
            }
            thread::sleep(Duration::from_millis(5 + random.below(150)));
            broker.kill();
        });
        assert_nothing_dropped(&broker);
    }
    let broker = Broker::start_at(addr, &folder.roomy_flags());
    let ends = AtomicBool::new(true);
    for sender in &mut senders {
        sender.run(addr, &ends).expect("the broker runs");
        assert!(!sender.acknowledged.is_empty(), "{}: nothing was acknowledged", sender.id);
    }
    let started = Instant::now();
    let acknowledged: BTreeSet<String> =
        senders.iter().flat_map(|sender| sender.acknowledged.iter().map(|number| sender.text(*number))).collect();
    let is_done = |taken: &Taken| {
        let has_all = acknowledged.is_subset(&taken.received);
        assert!(has_all || started.elapsed() < TIMEOUT, "acknowledged messages are lost");
        has_all
    };
    consumers[0].run(addr, &taken, is_done).expect("the broker runs");
    assert_nothing_dropped(&broker);
}

#[test]
fn a_session_with_its_subscriptions_and_messages_is_there_after_a_clean_end_too() {
    if cannot(Ability::Signals) {
        return;
    }
    let (folder, addr) = (Folder::new(), free_addr());
    let mut broker = Broker::start_at(addr, &folder.flags());
    for version in Version::ALL {
        let id = format!("kept {version:?}");
        let mut client = Client::kept(&broker, version, &id);
        client.subscribe(&format!("{version:?}/+"), 2);
        client.disconnect();
        let mut publisher = Client::clean(&broker, version, "publisher");
        for (number, qos) in [1, 2, 1].into_iter().enumerate() {
            publisher.publish(&Publish::new(&format!("{version:?}/{qos}"), &number.to_string()).qos(qos));
        }
        publisher.disconnect();
    }
    broker.signal("TERM");
    broker.finish();
    let broker = Broker::start_at(addr, &folder.flags());
    broker.wait_log("restored from");
    for version in Version::ALL {
        let mut client = Client::kept(&broker, version, &format!("kept {version:?}"));
        let mut texts: Vec<String> = (0..3).map(|_| client.receive().text().to_owned()).collect();
        texts.sort_unstable();
        assert_eq!(texts, ["0", "1", "2"], "{version:?}");
        client.nothing_came();
        client.disconnect();
    }
}

#[test]
fn a_folder_in_use_damaged_or_foreign_is_refused_by_name() {
    if cannot(Ability::Signals) {
        return;
    }
    let folder = Folder::new();
    let refusal = || {
        let command = Host::current().command(free_addr(), &folder.flags());
        let mut program = Program::start(command);
        wait_until("the end of the second broker", || program.ended().is_some());
        let finished = program.finish();
        assert_eq!(finished.status.code(), Some(2), "{:?}", finished.stderr);
        finished.stderr.last().cloned().unwrap_or_default()
    };
    let mut broker = Broker::start_with(&folder.flags());
    assert!(refusal().contains("in use by another process"), "{}", refusal());
    let mut client = Client::clean(&broker, VERSION, "sender");
    client.publish(&Publish::new("kept", "value").qos(1).retained());
    client.publish(&Publish::new("kept", "other").qos(1).retained());
    broker.kill();
    let segment = folder.0.join("segment-0000000002.log");
    let mut bytes = fs::read(&segment).expect("the segment is there");
    bytes[90] ^= 1;
    fs::write(&segment, bytes).expect("it can be written");
    let refused = refusal();
    assert!(refused.contains("segment-0000000002.log: damaged at offset"), "{refused}");
    fs::remove_dir_all(&folder.0).expect("it is ours");
    fs::create_dir(&folder.0).expect("it is gone");
    fs::write(folder.0.join("letter.txt"), "dear").expect("it can be written");
    assert!(refusal().contains("not a store"), "{}", refusal());
}

/// Runs `wisp-broker store`. Returns the status, standard output, and the last line of standard error.
fn store(words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(native_program("wisp-broker", "WISP_BROKER_BIN"));
    command.arg("store").args(words);
    let finished = Program::run(command, b"");
    let last = finished.stderr.last().cloned().unwrap_or_default();
    (finished.status.code(), finished.stdout.join("\n"), last)
}

/// The retained messages below `kept/`.
fn kept(broker: &Broker, count: usize) -> BTreeMap<String, String> {
    let mut client = Client::clean(broker, VERSION, "reader");
    client.subscribe("kept/#", 0);
    let messages = (0..count).map(|_| client.next_message());
    let texts = messages.map(|message| (message.topic.clone(), message.text().to_owned())).collect();
    client.nothing_came();
    client.disconnect();
    texts
}

#[test]
fn a_folder_is_checked_listed_and_repaired_by_the_command_line() {
    if cannot(Ability::Signals) {
        return;
    }
    let (folder, parent) = (Folder::new(), Folder::new());
    let new = Folder(parent.0.join("new"));
    let [dir, new_dir] = [folder.flags()[1], new.flags()[1]];
    let mut broker = Broker::start_with(&folder.flags());
    let mut client = Client::clean(&broker, VERSION, "sender");
    for (topic, payload) in [("kept/1", "first"), ("kept/2", "second"), ("kept/3", "third\u{1b}[31m")] {
        client.publish(&Publish::new(topic, payload).qos(1).retained());
    }
    let used = format!("wisp-broker: {dir}: in use by another process");
    for words in [vec!["check", dir], vec!["dump", dir], vec!["compact", dir], vec!["repair", dir, new_dir]] {
        assert_eq!(store(&words), (Some(2), String::new(), used.clone()), "{words:?}");
    }
    broker.kill();

    let (status, report, _) = store(&["check", dir]);
    assert!(status == Some(0) && report.ends_with("3 objects\nwhole"), "{status:?} {report}");
    let (status, dump, _) = store(&["dump", dir]);
    let line = "client=\"sender\" topic=\"kept/3\" qos=1 retain payload-bytes=10 payload=\"third\\u{1b}[31m\"";
    assert!(status == Some(0) && dump.lines().any(|found| found.ends_with(line)), "{status:?} {dump}");
    let (reader, writer) = io::pipe().expect("there are pipes");
    drop(reader);
    let mut command = Command::new(native_program("wisp-broker", "WISP_BROKER_BIN"));
    let unread = command.args(["store", "dump", dir]).stdout(writer).output().expect("it starts");
    assert!(unread.status.success() && unread.stderr.is_empty(), "{unread:?}");

    let segment = folder.0.join("segment-0000000002.log");
    let mut bytes = fs::read(&segment).expect("the segment is there");
    let place = bytes.windows(6).position(|window| window == b"second").expect("the payload is there");
    bytes[place] ^= 1;
    fs::write(&segment, bytes).expect("it can be written");
    let (status, report, last) = store(&["check", dir]);
    assert!(status == Some(1) && report.starts_with("damaged: segment-0000000002.log: offset "), "{status:?} {report}");
    assert!(last.contains(&format!("`wisp-broker store repair {dir} NEWFOLDER`")), "{last}");
    let (status, report, last) = store(&["repair", dir, new_dir]);
    assert!(status == Some(0) && report.starts_with("damaged: segment-0000000002.log"), "{status:?} {report} {last}");
    assert!(report.contains(&format!("\n2 objects saved to {new_dir}; {dir} stays")), "{report}");
    let (status, report, _) = store(&["compact", new_dir]);
    assert!(status == Some(0) && report.ends_with(" after, 2 objects"), "{status:?} {report}");
    let broker = Broker::start_with(&new.flags());
    let expected = [("kept/1", "first"), ("kept/3", "third\u{1b}[31m")];
    let expected = expected.map(|(topic, text)| (topic.to_owned(), text.to_owned()));
    assert_eq!(kept(&broker, 2), BTreeMap::from(expected));
}

#[test]
fn a_copy_of_a_running_broker_has_all_that_was_acknowledged_before() {
    if cannot(Ability::Signals) {
        return;
    }
    let (folder, parent) = (Folder::new(), Folder::new());
    let copy = Folder(parent.0.join("copy"));
    let broker = Broker::start_with(&folder.roomy_flags());
    let addr = broker.addr();
    let mut client = Client::kept(&broker, VERSION, "receiver");
    client.subscribe("load/#", 2);
    client.disconnect();
    let (never, soon) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut before = [Sender::new("early", 1), Sender::new("earlier", 2)];
    let mut during = [Sender::new("one", 1).with_padding(2000), Sender::new("two", 2).with_padding(2000)];
    thread::scope(|scope| {
        for sender in &mut before {
            scope.spawn(|| sender.run(addr, &soon));
        }
        thread::sleep(Duration::from_millis(100));
        soon.store(true, Ordering::Release);
    });
    let mut broker = broker;
    thread::scope(|scope| {
        for sender in &mut during {
            scope.spawn(|| sender.run(addr, &never));
        }
        // So that segments end while others are copied.
        wait_until("some segments", || folder.0.join("segment-0000000004.log").exists());
        let (status, report, last) = store(&["backup", folder.flags()[1], copy.flags()[1]]);
        assert!(status == Some(0) && report.starts_with("copied: "), "{status:?} {report} {last}");
        broker.kill();
    });
    assert_eq!(store(&["check", copy.flags()[1]]).0, Some(0));
    let broker = Broker::start_at(addr, &copy.roomy_flags());
    // The sessions of these senders are as they were, so they go on where they were.
    finish(&broker, &mut before, &mut Receiver::default());
}
