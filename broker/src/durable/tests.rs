//! A broker on a folder, in one process: restarted, and with workers that wait for commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wisp_engine::{Change, CommitState, Key, MessageObject, Object, Store};
use wisp_store::{MemoryFiles, Sync};
use wisp_wire::{PacketId, QoS};

use super::{Commits, DataDir, Durable};

fn open(folder: &std::path::Path, sync: Sync, has_thread: bool) -> (Arc<Durable>, usize) {
    let options = DataDir { sync, ..DataDir::new(folder) };
    let (durable, restored) = Durable::open(&options, 2, has_thread).expect("it opens");
    (Arc::new(durable), restored.len())
}

/// Appends an object for the worker and asks for its commit.
fn append(durable: &Durable, worker: usize, key: u64) -> wisp_engine::Ticket {
    let session = Key::new(1).expect("it is not 0");
    let packet_id = PacketId::new(7).expect("it is not 0");
    let change =
        Change::Put { key: Key::new(key).expect("it is not 0"), object: Object::Incoming { session, packet_id } };
    durable.append(worker, &[change]);
    durable.commit(worker)
}

#[test]
fn the_thread_commits_and_wakes_the_worker_that_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let (durable, restored) = open(folder.path(), Sync::Always, true);
    assert_eq!(restored, 0);
    let woken: Arc<[AtomicU64; 2]> = Arc::default();
    let counts = Arc::clone(&woken);
    let wake = move |worker: usize| {
        counts[worker].fetch_add(1, Ordering::SeqCst);
    };
    let commits = Commits::begin(Arc::clone(&durable), wake, || panic!("nothing fails")).expect("a thread");
    for key in 2..200 {
        let before = woken[1].load(Ordering::SeqCst);
        let ticket = append(&durable, 1, key);
        // The worker sleeps until it is woken, unless the commit was there at once.
        let began = Instant::now();
        while durable.state(ticket) == CommitState::Pending && woken[1].load(Ordering::SeqCst) == before {
            assert!(began.elapsed() < Duration::from_secs(60), "the worker sleeps for ever");
            thread::yield_now();
        }
        while durable.state(ticket) == CommitState::Pending {
            assert!(began.elapsed() < Duration::from_secs(60), "it is not committed");
            thread::yield_now();
        }
    }
    assert_eq!(woken[0].load(Ordering::SeqCst), 0, "the other worker waits for nothing");
    assert_eq!(commits.end(), None);
    drop(durable);
    assert_eq!(open(folder.path(), Sync::Always, true).1, 198);
}

#[test]
fn changes_without_a_commit_are_flushed_after_the_turn_and_at_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (durable, _) = open(folder.path(), Sync::Never, true);
    let commits = Commits::begin(Arc::clone(&durable), |_| {}, || {}).expect("a thread");
    let ticket = append(&durable, 0, 2);
    durable.end_turn();
    let began = Instant::now();
    while durable.state(ticket) != CommitState::Committed {
        assert!(began.elapsed() < Duration::from_secs(60), "it is not flushed");
        thread::yield_now();
    }
    append(&durable, 0, 3);
    assert_eq!(commits.end(), None);
    drop(durable);
    assert_eq!(open(folder.path(), Sync::Never, true).1, 2);
}

#[test]
fn without_threads_the_turn_commits() {
    let folder = tempfile::tempdir().expect("a folder");
    let (durable, _) = open(folder.path(), Sync::Always, false);
    let commits = Commits::begin(Arc::clone(&durable), |_| {}, || {}).expect("no thread is needed");
    let ticket = append(&durable, 0, 2);
    assert_eq!((durable.state(ticket), durable.is_due()), (CommitState::Pending, true));
    assert_eq!(durable.stats().commits.buckets.iter().sum::<u64>(), 0);
    assert!(durable.end_turn(), "something is committed");
    assert_eq!(durable.stats().commits.buckets.iter().sum::<u64>(), 1);
    assert_eq!((durable.state(ticket), durable.is_due()), (CommitState::Committed, false));
    assert!(!durable.end_turn(), "there is nothing more");
    append(&durable, 0, 3);
    assert_eq!(commits.end(), None);
    drop(durable);
    assert_eq!(open(folder.path(), Sync::Always, false).1, 2);
}

/// On files in memory, which can fail.
fn open_on(files: &MemoryFiles, has_thread: bool) -> (Arc<Durable>, usize) {
    let (durable, restored) =
        Durable::open_on(files.clone(), &DataDir::new("memory"), 2, has_thread).expect("it opens");
    (Arc::new(durable), restored.len())
}

#[test]
fn a_failed_sync_ends_the_broker_and_nothing_that_it_covers_is_acknowledged() {
    let files = MemoryFiles::new();
    let (durable, _) = open_on(&files, true);
    let (stopped, woken): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
    let (stops, wakes) = (Arc::clone(&stopped), Arc::clone(&woken));
    let wake = move |_| _ = wakes.fetch_add(1, Ordering::SeqCst);
    let commits = Commits::begin(Arc::clone(&durable), wake, move || _ = stops.fetch_add(1, Ordering::SeqCst));
    let commits = commits.expect("a thread");
    let first = append(&durable, 0, 2);
    wait_until(|| durable.state(first) == CommitState::Committed);
    files.fail_syncs(1);
    let woken_before = woken.load(Ordering::SeqCst);
    let ticket = append(&durable, 0, 3);
    wait_until(|| durable.state(ticket) != CommitState::Pending);
    assert_eq!(durable.state(ticket), CommitState::Failed);
    let later = append(&durable, 1, 4);
    assert_eq!(durable.state(later), CommitState::Failed, "the disk works again, and nobody knows what it has");
    wait_until(|| stopped.load(Ordering::SeqCst) == 1);
    assert!(woken.load(Ordering::SeqCst) > woken_before, "the worker learns of it");
    let reason = commits.end().expect("a reason");
    assert!(reason.ends_with("cannot synchronise: the device has failed"), "{reason}");
}

#[test]
fn a_full_disk_or_64_mib_that_wait_hold_senders_back_until_there_is_room() {
    let files = MemoryFiles::new();
    let (durable, _) = open_on(&files, false);
    let commits = Commits::begin(Arc::clone(&durable), |_| {}, || {}).expect("no thread is needed");
    assert!(durable.admits());
    files.set_capacity(Some(files.total_bytes() + 1000));
    let payload = vec![0; 1 << 20];
    let message = |key: u64| {
        let (topic, properties, payload) = ("a", &[][..], &payload[..]);
        let message =
            MessageObject { topic, properties, payload, qos: QoS::AtLeastOnce, retain: true, expires_ms: None };
        let object = Object::Retained { sender: "c", message };
        durable.append(0, &[Change::Put { key: Key::new(key).expect("it is not 0"), object }]);
        durable.commit(0)
    };
    let tickets: Vec<_> = (2..=66).map(message).collect();
    assert!(!durable.admits(), "65 MiB wait");
    assert!(!durable.end_turn() && !durable.admits());
    assert!(tickets.iter().all(|ticket| durable.state(*ticket) == CommitState::Pending));
    assert!(durable.stats().write_failures > 0);
    files.set_capacity(None);
    wait_until(|| {
        durable.end_turn();
        durable.state(tickets[64]) == CommitState::Committed
    });
    assert!(durable.admits());
    files.set_capacity(Some(files.total_bytes() + 1000));
    message(67);
    assert!(durable.admits(), "nothing has failed yet");
    assert!(!durable.end_turn() && !durable.admits());
    files.set_capacity(None);
    wait_until(|| {
        durable.end_turn();
        durable.admits()
    });
    assert_eq!(commits.end(), None);
    drop(durable);
    files.unlock();
    assert_eq!(open_on(&files, false).1, 66);
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain");
        thread::sleep(Duration::from_millis(1));
    }
}
