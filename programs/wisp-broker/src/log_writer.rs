//! The log's way to standard error. A thread writes it, so that a reader that does not read stops no worker: lines that
//! find the buffer full are dropped and counted.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Most bytes that wait to be written.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// How each line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Text for readers.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

impl LogFormat {
    /// The line that says how many lines were dropped. Its moment is that of the next line.
    fn dropped_line(self, dropped: u64) -> String {
        let message = "lines of the log were dropped: standard error was not read";
        match self {
            Self::Text => format!("wisp-broker: {dropped} {message}\n"),
            Self::Json => format!("{{\"level\":\"WARN\",\"message\":\"{message}\",\"dropped\":{dropped}}}\n"),
        }
    }
}

/// A writer for whole lines.
#[derive(Clone)]
pub(crate) enum LogWriter {
    /// Standard error, on hosts without threads.
    Direct,
    /// A buffer that a thread writes to standard error.
    Buffered(Arc<Buffer>),
}

#[derive(Default)]
pub(crate) struct Buffer {
    state: Mutex<State>,
    /// The state has changed.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    dropped: u64,
    /// The thread has taken bytes and not yet written them.
    is_writing: bool,
}

impl LogWriter {
    /// A writer to standard error. `threads`: whether the host has threads.
    pub(crate) fn new(threads: bool, format: LogFormat) -> Self {
        if !threads {
            return Self::Direct;
        }
        let buffer = Arc::<Buffer>::default();
        let source = Arc::clone(&buffer);
        let write = move || source.write_all_to(&mut io::stderr(), format);
        match thread::Builder::new().name("wisp-log".into()).spawn(write) {
            Ok(_) => Self::Buffered(buffer),
            Err(_) => Self::Direct,
        }
    }

    /// Waits until all lines are written, but not for a reader that does not read.
    pub(crate) fn flush_all(&self) {
        if let Self::Buffered(buffer) = self {
            buffer.wait_until_written();
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Direct => io::stderr().write(line),
            Self::Buffered(buffer) => {
                buffer.push(line);
                Ok(line.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    #[cfg(not(target_env = "p2"))]
    fn wait_until_written(&self) {
        const FLUSH_MAX: std::time::Duration = std::time::Duration::from_secs(1);
        let is_busy = |state: &mut State| state.is_writing || !state.bytes.is_empty();
        // After the time the lines are lost.
        drop(self.changed.wait_timeout_while(self.lock(), FLUSH_MAX, is_busy));
    }

    /// WASI 0.2 has no threads, so there is no buffer to wait for. A timed wait would be one more import of its component.
    #[cfg(target_env = "p2")]
    fn wait_until_written(&self) {}

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.bytes.len() + line.len() > BUFFER_BYTES_MAX {
            state.dropped += 1;
            return;
        }
        state.bytes.extend_from_slice(line);
        self.changed.notify_all();
    }

    /// Writes what is pushed, for ever.
    fn write_all_to(&self, output: &mut impl Write, format: LogFormat) {
        loop {
            let mut state = self.lock();
            while state.bytes.is_empty() && state.dropped == 0 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let (bytes, dropped) = (std::mem::take(&mut state.bytes), std::mem::take(&mut state.dropped));
            state.is_writing = true;
            drop(state);
            // A closed standard error cannot be reported anywhere.
            let _ = output.write_all(&bytes);
            if dropped > 0 {
                let _ = output.write_all(format.dropped_line(dropped).as_bytes());
            }
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a write pass for each permission.
    struct Gate {
        permissions: std::sync::mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permissions.recv().map_err(io::Error::other)?;
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_counted() {
        let (permit, permissions) = std::sync::mpsc::channel();
        let (buffer, written) = (Arc::<Buffer>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let mut gate = Gate { permissions, written: Arc::clone(&written) };
        let source = Arc::clone(&buffer);
        thread::spawn(move || source.write_all_to(&mut gate, LogFormat::Text));
        let mut writer = LogWriter::Buffered(Arc::clone(&buffer));
        writer.write_all(b"first\n").unwrap();
        while !buffer.lock().is_writing {
            thread::yield_now();
        }
        // Nothing is read, and no write waits for it.
        let line = vec![b'x'; 1024];
        (0..BUFFER_BYTES_MAX / 1024 + 3).for_each(|_| writer.write_all(&line).unwrap());
        assert!(written.lock().unwrap().is_empty());
        // The first line, the lines in the buffer, the count.
        (0..9).for_each(|_| permit.send(()).unwrap());
        writer.flush_all();
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(written.starts_with("first\nxxx"));
        assert!(written.ends_with("wisp-broker: 3 lines of the log were dropped: standard error was not read\n"));
        assert_eq!(written.matches('x').count(), BUFFER_BYTES_MAX);
        let json = "{\"level\":\"WARN\",\"message\":\"lines of the log were dropped: standard error was not read\",\"dropped\":3}\n";
        assert_eq!(LogFormat::Json.dropped_line(3), json);
    }
}
