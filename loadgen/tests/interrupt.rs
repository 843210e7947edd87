//! Ctrl-C, while a broker does not answer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use wisp_loadgen::places::Scratch;

/// Far less than what the program would wait for a broker, and far more than it needs.
const SOON: Duration = Duration::from_secs(60);

/// Takes clients and never answers what they subscribe to. Says which process it is once somebody has subscribed.
const BROKER: &str = "import os, socket, sys
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
while True:
    client = listener.accept()[0]
    if client.recv(1000):
        client.sendall(b'\\x20\\x02\\x00\\x00')
    said = client.recv(1000)
    if said[:1] == b'\\x82':
        open(sys.argv[2] + '.new', 'w').write(str(os.getpid()))
        os.rename(sys.argv[2] + '.new', sys.argv[2])
        while client.recv(1000):
            pass
";

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wisp-loadgen"));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap().success());
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
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let child = start(&[command, &["--url", &url]].concat());
        // Those that say nothing only look whether somebody is there.
        let mut client = loop {
            let (mut client, _) = listener.accept().unwrap();
            if client.read(&mut [0; 100]).unwrap() > 0 {
                break client;
            }
        };
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
fn a_second_interrupt_ends_the_program_and_its_broker_at_once() {
    let scratch = Scratch::new().unwrap();
    let (script, told) = (scratch.file("broker.py"), scratch.file("told"));
    fs::write(&script, BROKER).unwrap();
    let broker = format!("python3 {} {{port}} {}", script.display(), told.display());
    let child = start(&["run", "--broker", &broker, "--timeout-s", "600"]);
    let process = wait_for("a subscription", || fs::read_to_string(&told).ok());
    interrupt(&child);
    // Sooner it would be taken for the first one, which has come twice.
    thread::sleep(Duration::from_millis(500));
    interrupt(&child);
    let (status, words) = ended(child);
    assert_eq!(status, Some(130), "{words}");
    if words.contains("again") {
        assert_eq!(words, "wisp-loadgen: interrupted again, and ended at once\n");
    } else {
        // The first one was heard while the subscription was waited for.
        assert_eq!(words, "wisp-loadgen: interrupted\n");
    }
    // Who has ended may not have been waited for by the system's first process.
    let stat = Path::new("/proc").join(&process).join("stat");
    let is_gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    wait_for("the broker's end", || is_gone().then_some(()));
}
