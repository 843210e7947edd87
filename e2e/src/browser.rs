//! A real browser: Chromium loads a page with the package mqtt, and is driven as the other client libraries are.
//!
//! The page comes from a small HTTP server of the test on 127.0.0.1. It asks the server for commands, and tells it the lines that
//! another library's script would print.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, str};

use crate::Version;
use crate::peer::{Options, Peer, hex};
use crate::program::Program;
use crate::wait::wait_until;

/// The page, which connects when it is loaded.
const PAGE: &str = include_str!("../clients/browser_session.html");

/// How long a page waits for a command before the server looks whether the test is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// No sandbox of its own, since tests run as root; no connection to any address but this machine's, and no services.
const FLAGS: [&str; 13] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/// The programs that Chromium may be.
const PROGRAMS: [&str; 2] = ["chromium", "chromium-browser"];

/// True if there is no browser, or no package mqtt for it; the test then returns, as with [`crate::peer::is_missing`].
pub fn browser_is_missing() -> bool {
    let missing = match (program(), crate::peer::mqtt_js_folder().join("dist/mqtt.min.js").exists()) {
        (Some(_), true) => return false,
        (None, _) => "chromium",
        (Some(_), false) => "the package mqtt for Node.js",
    };
    crate::peer::is_missing(missing)
}

fn program() -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let mut programs = env::split_paths(&folders).flat_map(|folder| PROGRAMS.map(|name| folder.join(name)));
    programs.find(|program| program.exists())
}

/// The package mqtt in Chromium. Of the environment of the options it takes `WISP_E2E_SCHEME` (ws or wss), and `WISP_E2E_PIN`, the
/// digest of the key that the server has to have, in place of an authority.
pub fn browser(options: &Options) -> Box<dyn Peer> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let profile = env::temp_dir().join(format!("wisp-e2e-{}-browser-{number}", process::id()));
    let variable = |name: &str| options.environment.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
    let server = Server::start(variable("WISP_E2E_PAGE_PORT").map_or(0, |port| port.parse().expect("a port")));
    let version = match options.version {
        Version::V31 => 3,
        Version::V311 => 4,
        Version::V5 => 5,
    };
    let keeping = if options.clean { "clean" } else { "kept" };
    let (scheme, id) = (variable("WISP_E2E_SCHEME").unwrap_or("ws"), &options.client_id);
    let page = server.addr;
    let url =
        format!("http://{page}/?version={version}&keeping={keeping}&id={id}&url={scheme}://{}/mqtt", options.addr);
    let mut command = Command::new(program().expect("the caller has looked"));
    command.args(FLAGS).arg(format!("--user-data-dir={}", profile.display()));
    command.args(variable("WISP_E2E_PIN").map(|pin| format!("--ignore-certificate-errors-spki-list={pin}")));
    command.arg(url);
    Box::new(Browser { program: Program::start(command), server, profile })
}

/// True if there is no browser; the test then returns.
pub fn chromium_is_missing() -> bool {
    program().is_none() && crate::peer::is_missing("chromium")
}

/// The document that a page of the broker has become after its scripts have run for a few seconds, in a window of this width.
pub fn document_of(url: &str, width: u32) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let profile = env::temp_dir().join(format!("wisp-e2e-{}-document-{number}", process::id()));
    let mut command = Command::new(program().expect("the caller has looked"));
    command.args(FLAGS).arg(format!("--user-data-dir={}", profile.display()));
    command.arg(format!("--window-size={width},800")).args(["--virtual-time-budget=5000", "--dump-dom", url]);
    let finished = Program::run(command, b"");
    // What is left lies in the temporary folder.
    let _ = fs::remove_dir_all(&profile);
    assert!(finished.status.success(), "{:?}", finished.stderr);
    finished.stdout.join("\n")
}

struct Browser {
    program: Program,
    server: Server,
    profile: PathBuf,
}

impl Peer for Browser {
    fn subscribe(&mut self, filter: &str, qos: u8) {
        self.server.shared.tell(format!("subscribe {qos} {filter}"));
    }

    fn publish(&mut self, topic: &str, text: &str, qos: u8, retain: bool) {
        self.server.shared.tell(format!("publish {qos} {} {topic} {}", u8::from(retain), hex(text.as_bytes())));
    }

    fn disconnect(&mut self) {
        self.server.shared.tell("end".to_owned());
        wait_until("the browser's connection to end", || self.lines().iter().any(|line| line == "ended"));
    }

    fn lines(&self) -> Vec<String> {
        self.server.shared.state().lines.clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.program.kill();
        // Its other processes end by themselves, and may still write.
        for _ in 0..20 {
            match fs::remove_dir_all(&self.profile) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => thread::sleep(LOOK_INTERVAL),
                _ => break,
            }
        }
    }
}

/// The HTTP server of one page.
struct Server {
    addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    commands: VecDeque<String>,
    lines: Vec<String>,
    is_over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, command: String) {
        self.state().commands.push_back(command);
        self.changed.notify_all();
    }

    /// The next command; None when the test is over.
    fn next(&self) -> Option<String> {
        let mut state = self.state();
        loop {
            if state.is_over {
                return None;
            }
            if let Some(command) = state.commands.pop_front() {
                return Some(command);
            }
            state = self.changed.wait_timeout(state, LOOK_INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Answers one request. A browser that goes in the middle of it is no fault.
    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let (head, body) = read_request(&mut stream)?;
        let mut words = head.split(' ');
        let (kind, content) = match (words.next(), words.next()) {
            (Some("POST"), Some("/say")) => {
                self.state().lines.push(body);
                ("text/plain", Vec::new())
            }
            (_, Some("/next")) => match self.next() {
                Some(command) => ("text/plain", command.into_bytes()),
                None => return Ok(()),
            },
            (_, Some("/mqtt.min.js")) => {
                ("text/javascript", fs::read(crate::peer::mqtt_js_folder().join("dist/mqtt.min.js"))?)
            }
            (_, Some(path)) if path.starts_with("/?") => ("text/html", PAGE.as_bytes().to_vec()),
            _ => ("text/plain", Vec::new()),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
            content.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(&content)
    }
}

impl Server {
    fn start(port: u16) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        let addr = listener.local_addr().expect("it has an address");
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !of_thread.state().is_over) {
                let of_request = Arc::clone(&of_thread);
                thread::spawn(move || stream.and_then(|stream| of_request.answer(stream)));
            }
        });
        Server { addr, shared, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.changed.notify_all();
        // Wakes the thread.
        drop(TcpStream::connect(self.addr));
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported.
            drop(thread.join());
        }
    }
}

/// The first line of a request, and its body.
fn read_request(stream: &mut TcpStream) -> io::Result<(String, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let body = &bytes[end + 4..];
            if body.len() >= length.unwrap_or(0) {
                let first = head.lines().next().unwrap_or_default().to_owned();
                return Ok((first, String::from_utf8_lossy(body).into_owned()));
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// The digest by which Chromium knows the key of a certificate: SHA-256 of its public key, in base64.
///
/// # Panics
/// If there is no openssl, or no such file.
pub fn pin(certificate: &Path) -> String {
    let script = "openssl x509 -in \"$0\" -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64";
    let output = Command::new("sh").args(["-c", script]).arg(certificate).output().expect("there is sh");
    let pin = str::from_utf8(&output.stdout).expect("base64 is ASCII").trim().to_owned();
    assert!(pin.len() == 44, "openssl makes no digest of the key: {}", String::from_utf8_lossy(&output.stderr));
    pin
}
