//! `wisp passwd`: the files that it makes, its messages and its status.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use wisp_access::{DigestKey, HashKind, Memory, Users};

/// Runs `wisp passwd` with this input. Its status, and the line that it printed.
fn passwd(arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wisp"));
    command.arg("passwd").args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that does not read has ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    (output.status.code(), text.trim_end().to_owned())
}

fn accepts(path: &Path, user: &str, password: &str) -> bool {
    let users = Users::parse(&fs::read(path).unwrap()).unwrap();
    let key = DigestKey::new([1; 32]);
    users.verify(user, password.as_bytes(), &key, &mut Memory::default()).unwrap().is_some()
}

#[test]
fn a_file_is_made_and_its_users_are_added_changed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let file = path.to_str().unwrap();
    assert_eq!(passwd(&["-c", file, "joe"], "secret\n"), (Some(0), "user joe added".to_owned()));
    fs::write(&path, format!("# kept\n{}", fs::read_to_string(&path).unwrap())).unwrap();
    assert_eq!(passwd(&["-b", file, "a b", "other"], ""), (Some(0), "user a b added".to_owned()));
    assert_eq!(passwd(&[file, "joe"], "new\r\nnew\r\n"), (Some(0), "user joe changed".to_owned()));
    assert!(accepts(&path, "joe", "new") && !accepts(&path, "joe", "secret") && accepts(&path, "a b", "other"));
    assert_eq!(passwd(&["-D", file, "joe"], ""), (Some(0), "user joe removed".to_owned()));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# kept\na b:$argon2id$v=19$m=47104,t=1,p=1$") && text.lines().count() == 2, "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn each_hash_of_mosquitto_passwd_can_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let file = path.to_str().unwrap();
    for (user, options) in [("a", &["-c", "-H", "sha512"][..]), ("b", &["-H", "sha512-pbkdf2", "-I", "50"]), ("c", &[])]
    {
        assert_eq!(passwd(&[options, &["-b", file, user, "p"]].concat(), "").0, Some(0));
        assert!(accepts(&path, user, "p"));
    }
    let users = Users::parse(&fs::read(&path).unwrap()).unwrap();
    let kind = |user| users.hash(user).unwrap().kind();
    assert_eq!(
        [kind("a"), kind("b"), kind("c")],
        [HashKind::Sha512, HashKind::Pbkdf2 { rounds: 50 }, HashKind::ARGON2ID]
    );
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_a_new_file_and_the_rights_of_an_old_one_stay() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    passwd(&["-c", "-b", path.to_str().unwrap(), "joe", "p"], "");
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    passwd(&["-b", path.to_str().unwrap(), "ann", "p"], "");
    assert_eq!(mode(), 0o640);
    // A link stays one.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    passwd(&["-b", link.to_str().unwrap(), "bob", "p"], "");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && accepts(&path, "bob", "p"));
}

#[test]
fn a_mistake_is_told_in_a_line_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let file = path.to_str().unwrap();
    assert_eq!(passwd(&[file, "joe"], "p\n"), (Some(2), format!("wisp: there is no file {file}: make it with -c")));
    assert!(!path.exists());
    passwd(&["-c", "-b", file, "joe", "p"], "");
    let before = fs::read_to_string(&path).unwrap();
    for (arguments, input, part) in [
        (&["-c", file, "ann"][..], "p\n", "exists already: change it without -c"),
        (&["-D", file, "ann"], "", "there is no user ann"),
        (&[file, "ann"], "", "there is no password on standard input"),
        (&[file, "ann"], "one\ntwo\n", "the two passwords differ"),
        (&[file, "ann"], "\n", "an empty password is never accepted"),
        (&["-b", file, "a:b", "p"], "", "the user name has a colon"),
        (&["-b", file, "#a", "p"], "", "like a comment"),
        (&["-b", file, "ann"], "", "<PASSWORD>"),
        (&[file, "ann", "p"], "", "-b"),
    ] {
        let (status, line) = passwd(arguments, input);
        assert!(status == Some(2) && line.starts_with("wisp: ") && line.contains(part), "{arguments:?}: {line}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
    fs::write(&path, "joe:plain\n").unwrap();
    let (status, line) = passwd(&["-b", file, "ann", "p"], "");
    assert!(status == Some(2) && line.contains("users:1: the user joe: the password is not hashed"), "{line}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "joe:plain\n");
}
