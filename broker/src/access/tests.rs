//! Decisions about CONNECT, from files as mosquitto writes them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use wisp_access::{HashKind, Memory, PasswordHash, SALT_BYTES};
use wisp_engine::{ConnectRequest, Decision, Policy, Rights, Verdict};
use wisp_wire::{ProtocolVersion, ReasonCode};

use super::Access;
use super::options::{AccessOptions, ListenerAccess};
use crate::watch::Watched;

const LOOPBACK: &str = "127.0.0.1:1883";
const OPEN: &str = "0.0.0.0:1883";
const REFUSED: Result<Arc<dyn Rights>, ReasonCode> = Err(ReasonCode::NotAuthorized);

fn hash(password: &str, salt: u8) -> String {
    let kind = HashKind::Pbkdf2 { rounds: 2 };
    PasswordHash::new(kind, password.as_bytes(), [salt; SALT_BYTES], &mut Memory::default()).unwrap().to_string()
}

fn users(passwords: &[(&str, &str)]) -> String {
    passwords.iter().map(|(user, password)| format!("{user}:{}\n", hash(password, 1))).collect()
}

fn write(folder: &Path, name: &str, text: &str) -> Option<std::path::PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    Some(path)
}

fn options(folder: &Path, users: Option<&str>, rules: Option<&str>) -> AccessOptions {
    AccessOptions {
        password_file: users.and_then(|text| write(folder, "users", text)),
        acl_file: rules.and_then(|text| write(folder, "rules", text)),
        ..AccessOptions::default()
    }
}

fn listener(address: &str, allow_anonymous: Option<bool>) -> ListenerAccess {
    ListenerAccess { address: address.parse().unwrap(), allow_anonymous, requires_certificate: false }
}

fn load(options: AccessOptions, threads: bool, listeners: &[ListenerAccess]) -> Arc<Access> {
    let access = Access::load(options, threads).unwrap();
    access.bind(listeners.to_vec()).unwrap();
    access
}

fn begin(access: &Access, user: Option<&str>, password: Option<&str>, peer: Option<&str>, listener: u16) -> Decision {
    let mut request = ConnectRequest::new("c", ProtocolVersion::Mqtt5);
    (request.username, request.password) = (user, password.map(str::as_bytes));
    request.peer = peer.map(|peer| peer.parse().unwrap());
    request.listener = listener;
    access.connect(&request)
}

fn finish(decision: Decision) -> Result<Arc<dyn Rights>, ReasonCode> {
    let verdict = match decision {
        Decision::Allow => Verdict::Allow,
        Decision::AllowAs(rights) => Verdict::AllowAs(rights),
        Decision::Deny(code) => Verdict::Deny(code),
        Decision::Later(pending) => {
            let begun = Instant::now();
            loop {
                assert!(begun.elapsed() < Duration::from_secs(60), "no answer");
                if let Some(verdict) = pending.verdict() {
                    break verdict;
                }
                thread::yield_now();
            }
        }
    };
    match verdict {
        Verdict::AllowAs(rights) => Ok(rights),
        Verdict::Deny(code) => Err(code),
        Verdict::Allow => panic!("a client without rights"),
    }
}

fn ask(access: &Access, user: Option<&str>, password: Option<&str>) -> Result<Arc<dyn Rights>, ReasonCode> {
    finish(begin(access, user, password, Some("127.0.0.1:9"), 0))
}

/// The error's code, to compare.
fn code(outcome: Result<Arc<dyn Rights>, ReasonCode>) -> Option<ReasonCode> {
    outcome.err()
}

#[test]
fn passwords_are_checked_with_threads_and_without() {
    for threads in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let text = users(&[("joe", "secret"), ("a b", "other")]);
        let access = load(options(folder.path(), Some(&text), None), threads, &[listener(OPEN, None)]);
        // The second time by the memory of the first.
        for _ in 0..2 {
            let rights = ask(&access, Some("joe"), Some("secret")).unwrap();
            assert!(rights.user() == Some("joe") && rights.may_stay() && !rights.restricts_messages());
            assert!(ask(&access, Some("a b"), Some("other")).is_ok());
            for (user, password) in
                [(Some("joe"), Some("wrong")), (Some("joe"), None), (Some("ann"), Some("secret")), (None, None)]
            {
                assert_eq!(code(ask(&access, user, password)), code(REFUSED), "{user:?} {password:?}");
            }
        }
    }
}

#[test]
fn anonymous_clients_connect_where_nothing_forbids_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = users(&[("joe", "secret")]);
    // Users, the option for all, the option of the listener; then whether an anonymous client and an unknown name are let in.
    for (with_users, said, own, anonymous, named) in [
        (false, None, None, true, true),
        (false, Some(true), None, true, true),
        (false, Some(false), None, false, false),
        (false, Some(false), Some(true), true, true),
        (false, Some(true), Some(false), false, false),
        (true, None, None, false, false),
        (true, Some(true), None, true, false),
        (true, None, Some(true), true, false),
        (true, Some(true), Some(false), false, false),
    ] {
        let mut options = options(folder.path(), with_users.then_some(text.as_str()), None);
        options.allow_anonymous = said;
        let access = load(options, true, &[listener(LOOPBACK, own)]);
        let found = (ask(&access, None, None).is_ok(), ask(&access, Some("ann"), Some("x")).is_ok());
        assert_eq!(found, (anonymous, named), "users {with_users}, all {said:?}, listener {own:?}");
    }
}

#[test]
fn a_listener_that_other_machines_reach_is_not_open_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let access = |said, users: Option<&str>| {
        let mut options = options(folder.path(), users, Some("topic a\n"));
        options.allow_anonymous = said;
        Access::load(options, true).unwrap()
    };
    let error = access(None, None).bind(vec![listener(LOOPBACK, None), listener(OPEN, None)]).unwrap_err().to_string();
    for part in ["0.0.0.0:1883", "--allow-anonymous true", "wisp passwd -c users NAME", "--password-file users"] {
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
    assert!(access(Some(true), None).bind(vec![listener(OPEN, None)]).is_ok());
    assert!(access(None, None).bind(vec![listener(OPEN, Some(true))]).is_ok());
    assert!(access(None, None).bind(vec![listener(OPEN, Some(false))]).is_ok());
    assert!(access(None, Some(&users(&[("a", "b")]))).bind(vec![listener(OPEN, None)]).is_ok());
    assert!(access(None, None).bind(vec![listener("[::1]:1", None)]).is_ok());
}

#[test]
fn rules_apply_to_the_user_and_change_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = users(&[("joe", "secret")]);
    let rules = "user joe\ntopic read a\npattern write c/%c\n";
    let access = load(options(folder.path(), Some(&text), Some(rules)), true, &[listener(OPEN, None)]);
    let rights = ask(&access, Some("joe"), Some("secret")).unwrap();
    assert!(rights.restricts_messages() && rights.may_receive("a") && !rights.may_publish("a"));
    assert!(rights.may_publish("c/c") && !rights.may_publish("c/d") && !rights.may_publish("$SYS/x"));
    let version = access.version();
    write(folder.path(), "rules", "user joe\ntopic write a\n");
    assert_eq!((access.version(), rights.may_receive("a")), (version, true), "nothing was read again");
    access.reload(None).unwrap();
    assert!(access.version() != version && !rights.may_receive("a") && rights.may_publish("a") && rights.may_stay());
}

#[test]
fn a_user_with_another_password_or_without_one_may_not_stay() {
    let folder = tempfile::tempdir().unwrap();
    let text = users(&[("joe", "secret"), ("ann", "secret"), ("bob", "secret")]);
    let access = load(options(folder.path(), Some(&text), None), true, &[listener(LOOPBACK, None)]);
    let [joe, ann, bob] = ["joe", "ann", "bob"].map(|user| ask(&access, Some(user), Some("secret")).unwrap());
    write(folder.path(), "users", &format!("joe:{}\nbob:{}\n", hash("other", 1), hash("secret", 1)));
    access.reload(None).unwrap();
    assert_eq!([joe, ann, bob].map(|rights| rights.may_stay()), [false, false, true]);
    // The old passwords are forgotten.
    assert_eq!(code(ask(&access, Some("joe"), Some("secret"))), code(REFUSED));
    assert_eq!(code(ask(&access, Some("ann"), Some("secret"))), code(REFUSED));
    assert!(ask(&access, Some("joe"), Some("other")).is_ok());
}

#[test]
fn clients_that_nothing_checked_may_not_stay_once_users_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let access = load(options(folder.path(), None, Some("topic a\n")), true, &[listener(LOOPBACK, None)]);
    let (anonymous, named) = (ask(&access, None, None).unwrap(), ask(&access, Some("joe"), None).unwrap());
    let mut with_users = options(folder.path(), Some(&users(&[("joe", "secret")])), None);
    access.reload(Some(with_users.clone())).unwrap();
    assert!(!anonymous.may_stay() && !named.may_stay());
    with_users.allow_anonymous = Some(true);
    access.reload(Some(with_users)).unwrap();
    assert!(anonymous.may_stay() && !named.may_stay());
}

#[test]
fn a_broken_file_or_one_that_opens_a_listener_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = users(&[("joe", "secret")]);
    let access = load(options(folder.path(), Some(&text), Some("user joe\ntopic a\n")), true, &[listener(OPEN, None)]);
    let rights = ask(&access, Some("joe"), Some("secret")).unwrap();
    let version = access.version();
    write(folder.path(), "users", "# gone\nann:plain\n");
    let error = access.reload(None).unwrap_err().to_string();
    assert!(error.contains("users:2: the user ann") && !error.contains('\n'), "{error}");
    fs::remove_file(folder.path().join("rules")).unwrap();
    write(folder.path(), "users", &text);
    let error = access.reload(None).unwrap_err().to_string();
    assert!(error.starts_with("cannot read ") && error.contains("rules (acl-file)"), "{error}");
    // Without users the listener would be open.
    let error = access.reload(Some(AccessOptions::default())).unwrap_err().to_string();
    assert!(error.contains("--allow-anonymous true"), "{error}");
    assert!(access.version() == version && rights.may_stay() && rights.may_publish("a") && !rights.may_publish("b"));
    assert_eq!(code(ask(&access, None, None)), code(REFUSED));
}

#[test]
fn changed_files_are_read_again_and_a_fault_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), Some(&users(&[("joe", "secret")])), None);
    let access = load(options, true, &[listener(LOOPBACK, None)]);
    let version = access.version();
    assert_eq!(access.refresh(), None, "nothing has changed");
    write(folder.path(), "users", "a:broken, and longer than before by some bytes\n");
    let error = access.refresh().unwrap().unwrap_err();
    assert!(error.contains("users:1:"), "{error}");
    assert_eq!((access.refresh(), access.version()), (None, version));
    write(folder.path(), "users", &users(&[("joe", "secret"), ("ann", "secret")]));
    assert_eq!(access.refresh(), Some(Ok(())));
    assert_ne!(access.version(), version);
    assert!(ask(&access, Some("ann"), Some("secret")).is_ok());
}

#[test]
fn an_address_that_keeps_failing_waits_and_a_known_password_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let access = load(options(folder.path(), Some(&users(&[("joe", "secret")])), None), true, &[listener(OPEN, None)]);
    let peer = Some("192.0.2.1:9");
    assert!(finish(begin(&access, Some("joe"), Some("secret"), peer, 0)).is_ok());
    let begun = Instant::now();
    let mut busy = 0;
    // Each with another password, as a guesser does.
    let decisions: Vec<Decision> =
        (0..40).map(|number| begin(&access, Some("joe"), Some(&number.to_string()), peer, 0)).collect();
    for decision in decisions {
        busy += usize::from(code(finish(decision)) == Some(ReasonCode::ServerBusy));
    }
    let mut more = 0;
    while begun.elapsed() < Duration::from_millis(1) || more < 6 {
        let decision = begin(&access, Some("joe"), Some(&format!("more {more}")), peer, 0);
        busy += usize::from(matches!(decision, Decision::Deny(ReasonCode::ServerBusy)));
        drop(decision);
        more += 1;
    }
    assert!(busy > 0, "checks of the address wait, and no more than a few");
    // The address does not delay a client with a known password, nor one at another address.
    assert!(matches!(begin(&access, Some("joe"), Some("secret"), peer, 0), Decision::AllowAs(_)));
    assert_eq!(code(finish(begin(&access, Some("joe"), Some("x"), Some("192.0.2.2:9"), 0))), code(REFUSED));
}

#[test]
fn a_flood_of_checks_is_bounded_with_threads_and_without() {
    for threads in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let kind = HashKind::Pbkdf2 { rounds: 20_000 };
        let slow = PasswordHash::new(kind, b"secret", [1; SALT_BYTES], &mut Memory::default()).unwrap();
        let text = format!("joe:{slow}\n");
        let access = load(options(folder.path(), Some(&text), None), threads, &[listener(OPEN, None)]);
        let decisions: Vec<Decision> =
            (0..3_000).map(|number| begin(&access, Some("joe"), Some(&number.to_string()), None, 0)).collect();
        let waiting = decisions.iter().filter(|decision| matches!(decision, Decision::Later(_))).count();
        let busy =
            decisions.iter().filter(|decision| matches!(decision, Decision::Deny(ReasonCode::ServerBusy))).count();
        assert!(waiting <= 1_100 && busy >= 1_900, "{waiting} wait, {busy} are refused");
        // Clients that have gone are not checked, and others get their turn.
        drop(decisions);
        let begun = Instant::now();
        while finish(begin(&access, Some("joe"), Some("secret"), Some("127.0.0.1:9"), 0)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "threads {threads}");
            thread::yield_now();
        }
    }
}

#[test]
fn the_name_in_a_certificate_is_the_user_and_needs_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "user sensor\ntopic write data\n";
    let options = options(folder.path(), Some(&users(&[("sensor", "secret")])), Some(rules));
    let required = ListenerAccess { requires_certificate: true, ..listener(OPEN, None) };
    let access = load(options, false, &[required]);
    let mut request = ConnectRequest::new("c", ProtocolVersion::Mqtt5);
    (request.username, request.certificate_name) = (Some("other"), Some("sensor"));
    let rights = finish(access.connect(&request)).unwrap();
    assert_eq!(rights.user(), Some("sensor"));
    assert!(rights.may_publish("data") && !rights.may_publish("other") && rights.may_stay());
}

#[test]
fn an_open_listener_opens_no_listener_of_another_broker_with_the_same_users() {
    let folder = tempfile::tempdir().unwrap();
    let access = Access::load(options(folder.path(), Some(&users(&[("a", "b")])), None), false).unwrap();
    access.bind(vec![listener(OPEN, Some(true))]).unwrap();
    assert!(access.bind(vec![listener(OPEN, Some(true))]).is_ok(), "the same configuration again");
    assert!(access.bind(vec![listener(OPEN, None)]).is_err(), "clients without a user would be let in");
}

#[test]
fn a_listener_that_requires_certificates_is_not_open_to_everyone() {
    let folder = tempfile::tempdir().unwrap();
    let access = Access::load(options(folder.path(), None, Some("topic read #\n")), false).unwrap();
    let required = ListenerAccess { requires_certificate: true, ..listener(OPEN, None) };
    assert!(access.bind(vec![listener(OPEN, None)]).is_err());
    access.bind(vec![required]).unwrap();
    assert!(finish(begin(&access, None, None, None, 0)).is_ok(), "it has a certificate without a name");
}
