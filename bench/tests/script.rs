//! `bench/experiments`, which runs plan after plan: where results go, and how it ends. The programs are replaced by one that only
//! tells how it was called.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use wisp_lab::paths::Scratch;

/// Ends with 1 for the plan `sizes`, as one whose broker loses messages, and with 2 for `fan`, as one that cannot run.
const PROGRAM: &str = "#!/bin/sh\necho \"$@\"\ncase $2 in sizes) exit 1 ;; fan) exit 2 ;; esac\n";

/// A folder like the repository, with nothing in it but the script and its programs.
struct Repository {
    root: PathBuf,
    _scratch: Scratch,
}

impl Repository {
    fn new() -> Self {
        let scratch = Scratch::new().unwrap();
        let root = scratch.file("repository");
        let programs = root.join("target/release");
        fs::create_dir_all(&programs).unwrap();
        fs::create_dir_all(root.join("bench")).unwrap();
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments"), root.join("bench/experiments")).unwrap();
        for name in ["wisp-loadgen", "wisp-bench"] {
            let program = programs.join(name);
            fs::write(&program, PROGRAM).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { root, _scratch: scratch }
    }

    /// Leaves results of a day.
    fn results(&self, day: &str, is_complete: bool) {
        let folder = self.root.join("docs/results").join(day);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("run.json"), format!("{{\"plans\":[{{\"is_complete\": {is_complete}}}]}}")).unwrap();
    }

    /// Runs the script: its status, the folder of each call in turn, and the plans.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, Vec<String>, Vec<String>) {
        let mut command = Command::new("bash");
        command.arg(self.root.join("bench/experiments")).args(arguments).env_remove("CARGO_TARGET_DIR");
        let ended = command.output().unwrap();
        let calls = String::from_utf8(ended.stdout).unwrap();
        let word = |call: &str, at: usize| call.split(' ').nth(at).unwrap().to_owned();
        let folders = calls.lines().map(|call| call.split_once("--out ").unwrap().1.to_owned()).collect();
        (ended.status.code(), folders, calls.lines().map(|call| word(call, 1)).collect())
    }
}

#[test]
fn results_go_to_a_folder_of_the_day_unless_others_were_begun() {
    let repository = Repository::new();
    let is_of_a_day = |folder: &str| {
        let day = folder.strip_prefix("docs/results/").unwrap_or_default();
        day.len() == 10 && day.starts_with("20") && day != "2001-02-03" && day != "2001-02-04"
    };
    let (status, folders, _) = repository.run(&["forwarding", "start"]);
    assert!(
        status == Some(0) && folders.len() == 2 && folders.iter().all(|it| is_of_a_day(it)),
        "{status:?} {folders:?}"
    );
    repository.results("2001-02-03", true);
    let (status, folders, _) = repository.run(&["forwarding"]);
    assert!(status == Some(0) && is_of_a_day(&folders[0]), "all others are complete: {status:?} {folders:?}");
    repository.results("2001-02-04", false);
    let (status, folders, _) = repository.run(&["forwarding"]);
    assert_eq!((status, folders[0].as_str()), (Some(0), "docs/results/2001-02-04"));
    let (status, folders, _) = repository.run(&["--out", "elsewhere", "forwarding"]);
    assert_eq!((status, folders[0].as_str()), (Some(0), "elsewhere"));
}

#[test]
fn lost_messages_are_a_result_and_what_is_missing_ends_all() {
    let repository = Repository::new();
    let (status, _, plans) = repository.run(&["sizes", "latency"]);
    assert_eq!((status, plans), (Some(1), vec!["sizes".to_owned(), "latency".to_owned()]));
    let (status, _, plans) = repository.run(&["fan", "latency"]);
    assert_eq!((status, plans), (Some(2), vec!["fan".to_owned()]));
    assert_eq!(repository.run(&["no-such-plan"]), (Some(2), vec![], vec![]));
}
