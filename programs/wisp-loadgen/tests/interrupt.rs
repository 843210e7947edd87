//! Ctrl-C, while a broker does not answer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(target_os = "linux")]

use std::env;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use wisp_lab::failure::Interrupt;
use wisp_lab::paths::Scratch;
use wisp_lab::process::spawn;

/// Far less than the program would wait for a broker, and far more than it needs to end.
const SOON: Duration = Duration::from_secs(60);

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wisp-loadgen"));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

fn interrupt(child: &Child) {
    signal(child, "INT");
}

/// Waits until it gives something.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < SOON, "{what} does not come");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The status and the words of a program that ends soon.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() >= SOON => {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("it does not end");
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    (status.code(), words)
}

#[test]
fn an_interrupt_is_heard_while_a_broker_is_silent() {
    let scratch = Scratch::new().unwrap();
    let out = scratch.file("out");
    for command in
        [&["run", "--timeout-s", "600"][..], &["connections", "--timeout-s", "600", "--out", out.to_str().unwrap()]]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let child = start(&[command, &["--url", &url]].concat());
        // Connections without data only check whether the port is open.
        let mut client = wait_for("a client that says something", || {
            let (mut client, _) = listener.accept().ok()?;
            client.set_nonblocking(false).unwrap();
            client.set_read_timeout(Some(SOON)).unwrap();
            (client.read(&mut [0; 100]).unwrap() > 0).then_some(client)
        });
        let begun = Instant::now();
        interrupt(&child);
        let (status, words) = ended(child);
        assert_eq!(status, Some(130), "{words}");
        assert!(words.contains("interrupted") && !words.contains("broker"), "{words}");
        // Connecting takes ten seconds at most in a run.
        assert!(begun.elapsed() < Duration::from_secs(8), "{command:?} took {:?}", begun.elapsed());
        assert_eq!(client.read(&mut [0; 100]).unwrap_or(0), 0, "the client is gone");
    }
}

#[test]
fn an_interrupt_is_heard_while_a_nats_server_is_silent() {
    let scratch = Scratch::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let child = start(&["sweep", "--url", &url, "--senders", "1,2", "--out", scratch.file("out").to_str().unwrap()]);
    // The first two connections check whether the port is open; the third waits for the server's INFO.
    let clients: Vec<_> = (0..3).map(|_| wait_for("a client", || listener.accept().ok())).collect();
    interrupt(&child);
    let (status, words) = ended(child);
    assert_eq!((status, words.contains("interrupted")), (Some(130), true), "{words}");
    drop(clients);
}

/// Whether a process does not hear that its terminal is gone.
fn ignores_hang_up(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 1
}

#[test]
fn a_terminal_that_is_gone_ends_a_run_unless_nohup_is_before_it() {
    // A shell cannot handle a signal that was ignored when it started.
    for (shell, is_ignored) in
        [("exec \"$0\" \"$@\"", ignores_hang_up("self")), ("trap '' HUP; exec \"$0\" \"$@\"", true)]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", shell, env!("CARGO_BIN_EXE_wisp-loadgen"), "run", "--timeout-s", "600", "--url", &url]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // It takes over signals before it connects.
        let client = wait_for("a client", || listener.accept().ok());
        assert_eq!(ignores_hang_up(&child.id().to_string()), is_ignored);
        signal(&child, if is_ignored { "INT" } else { "HUP" });
        let (status, words) = ended(child);
        assert_eq!((status, words.contains("interrupted")), (Some(130), true), "{words}");
        drop(client);
    }
}

/// A program that hears the first interrupt and goes on all the same, with a child.
#[test]
#[ignore = "it waits to be interrupted twice, by the test that starts it"]
fn deaf() {
    // Somebody may have asked for all that is ignored.
    let Some(scratch) = env::var_os("WISP_SCRATCH").map(PathBuf::from) else { return };
    let interrupt = Interrupt::on_signals("deaf").unwrap();
    let mut child = spawn(Command::new("sleep").arg("600")).unwrap();
    write_whole(&scratch.join("child"), &child.id().to_string());
    wait_for("an interrupt", || interrupt.is_set().then_some(()));
    write_whole(&scratch.join("heard"), "");
    child.wait().unwrap();
    // Its end is not the program's.
    thread::sleep(SOON);
}

fn write_whole(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn a_second_interrupt_ends_the_program_and_its_children_at_once() {
    let scratch = Scratch::new().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "deaf", "--ignored", "--nocapture"]).env("WISP_SCRATCH", scratch.file(""));
    let program = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let child = wait_for("the child", || fs::read_to_string(scratch.file("child")).ok());
    interrupt(&program);
    wait_for("the first interrupt", || scratch.file("heard").exists().then_some(()));
    // Sooner it would be taken for the first one, which has come twice.
    thread::sleep(Duration::from_millis(500));
    interrupt(&program);
    let (status, words) = ended(program);
    assert_eq!((status, words.as_str()), (Some(130), "deaf: interrupted again, and ended at once\n"));
    // An ended process may not have been reaped by the system's first process yet.
    let stat = Path::new("/proc").join(&child).join("stat");
    let is_gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    wait_for("the child's end", || is_gone().then_some(()));
}
