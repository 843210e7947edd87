//! The modules of the program that read configurations and files, compiled from its files as they are, and what has to hold for any file.

#[path = "../src"]
#[allow(dead_code, unused_imports, reason = "no broker is started")]
mod src {
    pub(crate) mod address;
    pub(crate) mod args;
    pub(crate) mod effective;
    pub(crate) mod file;
    pub(crate) mod listeners;
    pub(crate) mod log_writer;
    pub(crate) mod mosquitto;
    pub(crate) mod queues;
    pub(crate) mod settings;
    pub(crate) mod store;
    pub(crate) mod tables;
}

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

// By the names that the modules have for each other.
use src::{address, args, effective, file, listeners, log_writer, mosquitto, queues, settings, store, tables};

use effective::Effective;
use store::import::plan::Plan;
use wisp_engine::{Limits, Restoration, Restored, Shared, StateBuilder};

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    fs::create_dir(folder.path().join("conf.d")).expect("the temporary folder can be written");
    folder
});

fn write(name: &str, content: &[u8]) -> PathBuf {
    let path = FOLDER.path().join(name);
    fs::write(&path, content).expect("the temporary folder can be written");
    path
}

/// Reads a file as the program does; an error is one line.
fn resolve(flag: &str, file: &Path) -> Option<Effective> {
    let words: [OsString; 3] = ["wisp-broker".into(), flag.into(), file.into()];
    let args = args::try_parse(words).expect("the command line is legal");
    match Effective::resolve(&args, |_| None) {
        Ok(effective) => Some(effective),
        Err(error) => {
            assert!(!error.contains(char::is_control), "{error:?}");
            None
        }
    }
}

/// The lines of a printed configuration, without the origins of the values.
fn values(printed: &str) -> Vec<&str> {
    printed.lines().map(|line| line.rsplit_once(" # ").map_or(line, |(value, _)| value)).collect()
}

/// What is printed is a file that gives the same again.
fn check_printed(effective: &Effective) {
    let printed = effective.to_toml();
    let again = resolve("--config", &write("printed.toml", printed.as_bytes()));
    let again = again.unwrap_or_else(|| panic!("it cannot be read again:\n{printed}")).to_toml();
    assert_eq!(values(&printed), values(&again));
}

/// Any bytes as a file for `--config`.
pub fn check_config_file(text: &[u8]) {
    if let Some(effective) = resolve("--config", &write("wisp.toml", text)) {
        check_printed(&effective);
    }
}

/// Any bytes as a persistence file of mosquitto: refused in one line, or imported as a state that the engine takes up whole.
pub fn check_mosquitto_db(bytes: &[u8]) {
    const NOW_S: u64 = 1_796_000_000;
    match Plan::new(bytes, NOW_S) {
        Ok(plan) => check_state(&plan, NOW_S),
        Err(fault) => assert!(!fault.to_string().contains(char::is_control)),
    }
}

fn check_state(plan: &Plan<'_>, now_s: u64) {
    let mut objects = Vec::new();
    let mut builder = StateBuilder::new(|key, object| {
        let mut body = Vec::new();
        object.encode_head(&mut body);
        body.extend(object.tail());
        objects.push(Restored { key, kind: object.kind(), body });
        Ok::<(), Infallible>(())
    });
    let Ok(()) = plan.write(&mut builder, now_s);
    let restoration = Shared::new(Limits::DEFAULT, 1).restore(objects).expect("all objects are legal");
    let Restoration { sessions, subscriptions, messages, retained, objects_dropped, .. } = restoration;
    let report = &plan.report;
    assert_eq!((sessions, subscriptions, objects_dropped), (report.sessions, report.subscriptions, 0));
    assert_eq!((messages, retained), (report.messages, report.retained));
}

/// Any bytes as a mosquitto.conf, and behind the first zero byte the file that it includes at its end.
pub fn check_mosquitto_conf(bytes: &[u8]) {
    const INCLUDE: &[u8] = b"include_dir";
    if bytes.windows(INCLUDE.len()).any(|part| part == INCLUDE) {
        // Other folders are this machine's, and have what they have.
        return;
    }
    let mut files = bytes.splitn(2, |byte| *byte == 0);
    let [main, included] = [(); 2].map(|()| files.next().unwrap_or_default());
    write("conf.d/included.conf", included);
    let end = format!("\ninclude_dir {}\n", FOLDER.path().join("conf.d").display());
    if let Some(effective) = resolve("--mosquitto-config", &write("mosquitto.conf", &[main, end.as_bytes()].concat())) {
        assert!(effective.notes.iter().all(|note| !note.contains(char::is_control)), "{:?}", effective.notes);
        check_printed(&effective);
    }
}
