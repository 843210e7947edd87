//! A child process: its output is read continuously, and it is killed and reaped when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::wait::{wait_for, wait_or_report};

/// A running program. Both outputs are drained continuously, so it never blocks on a full pipe.
pub struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
}

/// The status and output of a program that has ended.
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// The lines of its standard output.
    pub stdout: Vec<String>,
    /// The lines of its standard error.
    pub stderr: Vec<String>,
}

impl Program {
    /// Starts the command with all three standard streams connected to the test.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut command: Command) -> Program {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}; has e2e/setup been run?"));
        let stdout = Lines::read(child.stdout.take().expect("stdout is piped"));
        let stderr = Lines::read(child.stderr.take().expect("stderr is piped"));
        Program { name, stdin: child.stdin.take(), child, stdout, stderr }
    }

    /// Starts the command, writes all of `input` to it, and waits for its end.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn run(command: Command, input: &[u8]) -> Finished {
        Program::start_with_input(command, input.to_vec()).finish()
    }

    /// Starts the command, and writes `input` to it while the test continues.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with_input(command: Command, input: Vec<u8>) -> Program {
        let mut program = Program::start(command);
        let mut stdin = program.stdin.take().expect("standard input is open");
        // A program that ends early closes the pipe; the test checks its exit status.
        thread::spawn(move || drop(stdin.write_all(&input)));
        program
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes one line to the program's input.
    ///
    /// # Panics
    /// If it no longer reads.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        writeln!(stdin, "{line}").unwrap_or_else(|error| panic!("{} does not listen: {error}", self.name));
    }

    /// The lines of its standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// Passes the lines of its standard output so far to `look`, without copying them.
    pub fn with_stdout<T>(&self, look: impl FnOnce(&[String]) -> T) -> T {
        self.stdout.with(look)
    }

    /// The lines of its standard error so far.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// Waits until `find` accepts the lines of standard output so far.
    ///
    /// # Panics
    /// After the time limit, with everything the program wrote.
    pub fn wait_stdout<T>(&self, what: &str, mut find: impl FnMut(&[String]) -> Option<T>) -> T {
        wait_or_report(what, || self.stdout.with(&mut find), || self.last_words())
    }

    /// Like [`Program::wait_stdout`], for standard error.
    ///
    /// # Panics
    /// After the time limit, with everything the program wrote.
    pub fn wait_stderr<T>(&self, what: &str, mut find: impl FnMut(&[String]) -> Option<T>) -> T {
        wait_or_report(what, || self.stderr.with(&mut find), || self.last_words())
    }

    /// The exit status, if the program has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Closes its input and waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not.
    pub fn finish(&mut self) -> Finished {
        self.stdin = None;
        let name = self.name.clone();
        let status = wait_for(&format!("the end of {name}"), || self.ended());
        Finished { status, stdout: self.stdout.drain(), stderr: self.stderr.drain() }
    }

    /// Kills it with SIGKILL and reaps it.
    pub fn kill(&mut self) -> ExitStatus {
        // An error means that it has ended already.
        drop(self.child.kill());
        self.child.wait().expect("a child can be waited for")
    }

    /// Sends a signal by name, as in "TERM".
    ///
    /// # Panics
    /// If there is no such process or signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.expect("kill can be run").success(), "cannot send SIG{name} to {}", self.name);
    }

    /// Everything the program wrote, shortened, for the message of a failing test.
    pub fn last_words(&self) -> String {
        let tail = |lines: Vec<String>| {
            let skipped = lines.len().saturating_sub(40);
            let shown: Vec<String> = lines[skipped..].iter().map(|line| shorten(line)).collect();
            format!("({skipped} lines before)\n{}", shown.join("\n"))
        };
        format!("--- {} stdout {}\n--- {} stderr {}", self.name, tail(self.stdout()), self.name, tail(self.stderr()))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{}... ({} bytes)", &line[..end], line.len()),
        None => line.to_owned(),
    }
}

/// The lines read from a pipe so far.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Lines {
    fn read(pipe: impl Read + Send + 'static) -> Lines {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            let mut pipe = BufReader::with_capacity(1 << 16, pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                let text = String::from_utf8_lossy(&line).into_owned();
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                line.clear();
            }
        });
        Lines { lines, reader: Some(reader) }
    }

    fn with<T>(&self, find: impl FnOnce(&[String]) -> T) -> T {
        find(&self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn all(&self) -> Vec<String> {
        self.with(<[String]>::to_vec)
    }

    /// Everything up to the end of the pipe, which closes when the program ends.
    fn drain(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        self.all()
    }
}
