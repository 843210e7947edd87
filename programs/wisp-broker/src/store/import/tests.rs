//! Files that mosquitto 2.0.11 and 2.1.2 wrote, whole, cut and with flipped bits, and made files with rare contents.

use std::convert::Infallible;
use std::fs;

use wisp_engine::{Limits, Restored, Shared, StateBuilder};

use super::file::FileFault;
use super::plan::Plan;
use super::report::{Examples, LeftOut, Report};
use super::{ImportError, import_mosquitto};

const OF_2_0: &[u8] = include_bytes!("../../../fuzz/seeds/mosquitto_db/2.0.11.db");
const OF_2_1: &[u8] = include_bytes!("../../../fuzz/seeds/mosquitto_db/2.1.2.db");

/// Shortly after the files were written.
const NOW_S: u64 = 1_796_081_300;

/// The report of a plan whose state the engine takes up whole.
fn restored(plan: &Plan<'_>) -> Report {
    let mut objects = Vec::new();
    let mut builder = StateBuilder::new(|key, object| {
        let mut body = Vec::new();
        object.encode_head(&mut body);
        body.extend(object.tail());
        objects.push(Restored { key, kind: object.kind(), body });
        Ok::<(), Infallible>(())
    });
    let Ok(()) = plan.write(&mut builder, NOW_S);
    let restoration = Shared::new(Limits::DEFAULT, 1).restore(objects).expect("all objects are legal");
    let report = plan.report.clone();
    assert_eq!(restoration.objects_dropped, 0);
    assert_eq!((restoration.sessions, restoration.subscriptions), (report.sessions, report.subscriptions));
    assert_eq!((restoration.messages, restoration.retained), (report.messages, report.retained));
    report
}

fn report_of(file: &[u8]) -> Report {
    restored(&Plan::new(file, NOW_S).expect("it can be read"))
}

#[test]
fn what_mosquitto_wrote_is_taken_up_by_the_engine() {
    for (file, unkept) in [(OF_2_0, 1), (OF_2_1, 0)] {
        let report = report_of(file);
        let Report { sessions, subscriptions, messages, identifiers, retained, unreleased, is_of_running, left_out } =
            report;
        assert_eq!((sessions, subscriptions, messages, identifiers), (5, 6, 12, 2));
        assert_eq!((retained, unreleased, is_of_running), (4, 1, false));
        let count = |kind| left_out.get(&kind).map_or(0, |examples: &Examples| examples.count);
        assert_eq!((count(LeftOut::UnkeptSession), count(LeftOut::BridgeSession)), (unkept, 1));
        assert_eq!((count(LeftOut::MessageAtQos0), count(LeftOut::MessageOfSuch)), (2, 3 + 2 * unkept));
    }
    // The messages at the end of 13 hours.
    let later = Plan::new(OF_2_1, NOW_S + 50_000).expect("it can be read").report;
    assert_eq!(later.left_out[&LeftOut::ExpiredMessage].first, ["\"a/1\" for \"old\""]);
    assert_eq!(later.left_out[&LeftOut::ExpiredSession].first, ["\"new\"", "\"fly\""]);
}

#[test]
fn a_file_that_is_cut_is_refused_with_the_offset_of_the_chunk() {
    for file in [OF_2_0, OF_2_1] {
        let mut whole = 0;
        for len in 0..file.len() {
            match Plan::new(&file[..len], NOW_S) {
                // Between two chunks: nothing in the file tells how many there were.
                Ok(plan) => {
                    restored(&plan);
                    whole += 1;
                }
                Err(FileFault::Damaged { offset, .. }) => assert!(offset <= len as u64, "{offset} of {len}"),
                Err(fault) => panic!("{len}: {fault}"),
            }
        }
        assert!((30..60).contains(&whole), "{whole}");
    }
}

#[test]
fn a_flip_of_any_bit_is_refused_or_gives_a_state_that_is_taken_up_whole() {
    for file in [OF_2_0, OF_2_1] {
        let mut bytes = file.to_vec();
        let mut refused = 0;
        for bit in 0..file.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            match Plan::new(&bytes, NOW_S) {
                Ok(plan) => _ = restored(&plan),
                Err(_) => refused += 1,
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(refused > file.len(), "{refused}");
    }
}

/// A file, chunk by chunk.
struct File(Vec<u8>);

impl File {
    fn new() -> Self {
        let file = Self([&b"\0\xB5\0mosquitto db"[..], &[0; 4], &6u32.to_be_bytes()].concat());
        file.chunk(1, &[&7u64.to_le_bytes(), &[1, 8], &[0; 6]])
    }

    fn chunk(mut self, kind: u32, parts: &[&[u8]]) -> Self {
        let content = parts.concat();
        self.0.extend(kind.to_be_bytes());
        self.0.extend((content.len() as u32).to_be_bytes());
        self.0.extend(content);
        self
    }

    fn message(self, store_id: u64, topic: &str, payload: &str, (qos, retain): (u8, u8)) -> Self {
        let lens = [3u16, 0, topic.len() as u16, 1883].map(u16::to_be_bytes).concat();
        let numbers =
            [&store_id.to_le_bytes()[..], &0u64.to_le_bytes(), &(payload.len() as u32).to_be_bytes(), &[0, 9]];
        self.chunk(2, &[&numbers.concat(), &lens, &[qos, retain], b"pub", topic.as_bytes(), payload.as_bytes()])
    }

    /// The state and direction as mosquitto numbers them.
    fn waiting(self, client: &str, store_id: u64, id: u16, [qos, state, direction]: [u8; 3]) -> Self {
        let lens = [id.to_be_bytes(), (client.len() as u16).to_be_bytes()].concat();
        self.chunk(3, &[&store_id.to_le_bytes(), &lens, &[qos, state, 0, direction], client.as_bytes()])
    }

    fn retained(self, store_id: u64) -> Self {
        self.chunk(4, &[&store_id.to_le_bytes()])
    }

    fn subscription(self, client: &str, filter: &str, qos: u8, options: u8) -> Self {
        let lens = [client.len() as u16, filter.len() as u16].map(u16::to_be_bytes).concat();
        self.chunk(5, &[&[0; 4], &lens, &[qos, options, 0, 0], client.as_bytes(), filter.as_bytes()])
    }

    fn client(self, client: &str, user: &[u8], (ends_s, expiry_s): (u64, u32)) -> Self {
        let lens = [1u16, client.len() as u16, 1883, user.len() as u16].map(u16::to_be_bytes).concat();
        self.chunk(6, &[&ends_s.to_le_bytes(), &expiry_s.to_be_bytes(), &lens, &[0; 4], client.as_bytes(), user])
    }
}

const QUEUED: u8 = 11;
const TO_CLIENT: u8 = 1;

/// The examples of each kind of thing that is left out.
fn left_out(report: &Report) -> Vec<(LeftOut, u64, String)> {
    report.left_out.iter().map(|(kind, found)| (*kind, found.count, found.first.join(", "))).collect()
}

#[test]
fn each_thing_that_cannot_be_imported_is_counted_and_named() {
    let file = File::new()
        .message(1, "a", "one", (1, 0))
        .message(2, "$SYS/x", "sys", (1, 1))
        .message(3, "$queue/q", "queued", (1, 1))
        .message(4, "lost", "unused", (1, 0))
        .client("kept", b"ann\0\x88", (0, u32::MAX))
        .waiting("kept", 1, 5, [1, QUEUED, TO_CLIENT])
        .waiting("kept", 99, 6, [1, QUEUED, TO_CLIENT])
        .waiting("kept", 1, 7, [1, 12, TO_CLIENT])
        .waiting("ghost", 1, 5, [1, QUEUED, TO_CLIENT])
        .client("gone", b"", (NOW_S, 60))
        .waiting("gone", 1, 5, [1, QUEUED, TO_CLIENT])
        .subscription("kept", "$queue/q", 1, 0)
        .subscription("kept", "$share/g/$queue/q", 1, 0)
        .subscription("kept", "a", 0, 0)
        .subscription("kept", "a", 1, 0)
        .subscription("ghost", "a", 1, 0)
        .retained(2)
        .retained(3)
        .retained(98)
        .chunk(40, &[b"later"]);
    let report = report_of(&file.0);
    assert_eq!((report.sessions, report.subscriptions, report.messages, report.retained), (1, 1, 1, 0));
    let expected = [
        (LeftOut::ExpiredSession, 1, "\"gone\""),
        (LeftOut::MessageOfSuch, 1, "\"a\" for \"gone\""),
        (LeftOut::SubscriptionOfUnknown, 1, "\"a\" of \"ghost\""),
        (LeftOut::MessageOfUnknown, 1, "\"a\" for \"ghost\""),
        (LeftOut::User, 1, "of \"kept\""),
        (LeftOut::QueueFilter, 2, "\"$queue/q\" of \"kept\", \"$share/g/$queue/q\" of \"kept\""),
        (LeftOut::MissingMessage, 1, "store id 99 for \"kept\""),
        (LeftOut::UnknownState, 1, "\"a\" for \"kept\""),
        (LeftOut::SysRetained, 1, "\"$SYS/x\""),
        (LeftOut::QueueRetained, 1, "\"$queue/q\""),
        (LeftOut::MissingRetained, 1, "store id 98"),
        (LeftOut::UnusedMessage, 1, "\"lost\""),
        (LeftOut::UnknownChunk, 1, "kind 40 at offset 671"),
    ];
    assert_eq!(left_out(&report), expected.map(|(kind, count, text)| (kind, count, text.to_owned())));
    let text = report.to_string();
    assert_eq!(text.lines().count(), expected.len() + 1, "{text}");
    let line = "left out: 1 user name with a zero byte, as mosquitto 2.0 writes for clients without one: their sessions are there: of \"kept\"";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_message_that_its_sender_has_not_released_goes_to_one_member_of_a_group_and_to_no_sender_that_wants_none_of_its_own()
 {
    let no_local = 4;
    let file = File::new()
        .message(1, "a", "one", (2, 1))
        .message(2, "a", "", (2, 1))
        .message(3, "b", "before", (0, 1))
        .message(4, "b", "", (2, 1))
        .client("sender", b"", (0, u32::MAX))
        .waiting("sender", 1, 1, [2, 7, 0])
        .waiting("sender", 4, 2, [2, 7, 0])
        .client("one", b"", (0, u32::MAX))
        .client("two", b"", (0, u32::MAX))
        .subscription("sender", "a", 2, no_local)
        .subscription("one", "$share/g/a", 1, 0)
        .subscription("two", "$share/g/a", 1, 0)
        .subscription("two", "a/#", 2, 0)
        .retained(3);
    let report = report_of(&file.0);
    assert_eq!((report.unreleased, report.messages, report.identifiers), (2, 2, 2));
    // The one of `b` was deleted.
    assert_eq!(report.retained, 1);
    assert_eq!(left_out(&report), [(LeftOut::UnusedMessage, 1, "\"a\"".to_owned())]);
}

#[test]
fn an_identifier_that_two_messages_have_is_the_first_ones() {
    let file = File::new()
        .message(1, "a", "one", (2, 0))
        .client("kept", b"", (0, u32::MAX))
        .waiting("kept", 1, 1, [1, 3, TO_CLIENT])
        .waiting("kept", 1, 1, [2, 5, TO_CLIENT])
        .waiting("kept", 1, 2, [2, 9, TO_CLIENT])
        .waiting("kept", 1, 2, [2, 9, TO_CLIENT]);
    let report = report_of(&file.0);
    assert_eq!((report.messages, report.identifiers), (2, 1));
}

#[test]
fn other_files_are_refused_in_words() {
    let fault = |bytes: &[u8]| Plan::new(bytes, NOW_S).map(drop).unwrap_err().to_string();
    assert!(fault(b"# a file").starts_with("not a persistence file of mosquitto"));
    assert!(fault(b"").starts_with("damaged at offset 0"));
    assert!(fault(b"SQLite format 3\0...").contains("persist-sqlite"));
    let mut older = File::new().0;
    older[22] = 5;
    assert!(fault(&older).contains("version 5 at offset 19") && fault(&older).contains("writes the file anew"));
    older[22] = 7;
    assert!(fault(&older).contains("version 7") && !fault(&older).contains("anew"));
    let turned = File::new().client("kept", b"", (NOW_S.swap_bytes(), 60)).0;
    assert!(fault(&turned).starts_with("damaged at offset 47: no clock had such a time"), "{}", fault(&turned));
}

#[test]
fn a_file_or_folder_that_cannot_be_used_leaves_everything_as_it_was() {
    let parent = tempfile::tempdir().unwrap();
    let (file, new) = (parent.path().join("mosquitto.db"), parent.path().join("new"));
    fs::write(&file, &OF_2_1[..OF_2_1.len() - 1]).unwrap();
    let Err(ImportError::Failed(error)) = import_mosquitto(&file, &new) else { panic!("it is damaged") };
    let expected = format!("{}: damaged at offset {}: ", file.display(), OF_2_1.len() - 16);
    assert!(error.starts_with(&expected) && error.ends_with(". Nothing was imported"), "{error}");
    assert!(!new.exists());
    fs::write(&file, OF_2_1).unwrap();
    fs::create_dir(&new).unwrap();
    fs::write(new.join("letter.txt"), "dear").unwrap();
    assert!(matches!(import_mosquitto(&file, &new), Err(ImportError::Refused(_))));
    fs::remove_file(new.join("letter.txt")).unwrap();
    assert!(import_mosquitto(&file, &new).is_ok());
    let Err(ImportError::Refused(error)) = import_mosquitto(&file, &new) else { panic!("it has a store") };
    assert!(error.ends_with("has a store already: name a new folder"), "{error}");
    assert!(matches!(import_mosquitto(&parent.path().join("none"), &new), Err(ImportError::Refused(_))));
}
