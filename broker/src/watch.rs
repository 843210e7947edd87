//! Looks whether files have changed, and has them read again: on a thread of its own, so that no worker waits for a disk; on hosts
//! without threads by the first worker.

use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

/// Files that can be read again.
pub(crate) trait Watched: Debug + Send + Sync {
    /// Reads the files again if they look otherwise than when they were read last. `None` if nothing has changed; an error
    /// says why the old state stays.
    fn refresh(&self) -> Option<Result<(), String>>;
}

/// Looks every so often whether the files of a broker have changed: of users, rules and certificates.
/// [`Config::file_watch`](crate::Config::file_watch) has it.
#[derive(Clone, Debug, Default)]
pub struct FileWatch(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// With the name of each in the log.
    files: Vec<(String, Arc<dyn Watched>)>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    every: Option<Duration>,
    next: Option<Instant>,
    /// The running brokers with these files.
    brokers: usize,
    /// Whether the host has threads.
    threads: bool,
    has_thread: bool,
}

/// Has the files of a running broker looked at until it is dropped.
#[derive(Debug)]
pub(crate) struct Watching(FileWatch);

impl FileWatch {
    pub(crate) fn new(files: Vec<(String, Arc<dyn Watched>)>, every: Option<Duration>) -> Self {
        let state = State { every, ..State::default() };
        Self(Arc::new(Inner { files, state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// Changes how often to look. `None`: never.
    pub fn set_interval(&self, every: Option<Duration>) {
        let mut state = self.0.state();
        state.every = every;
        state.schedule();
        self.spawn(&mut state);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Begins to look, for a broker that starts. `threads`: whether the host has threads.
    pub(crate) fn begin(&self, threads: bool) -> Watching {
        let mut state = self.0.state();
        state.brokers += 1;
        state.threads = threads;
        state.schedule();
        self.spawn(&mut state);
        drop(state);
        Watching(self.clone())
    }

    /// Starts the thread if there is work for one. If the host gives none now, the first worker looks.
    fn spawn(&self, state: &mut State) {
        if state.threads && state.next.is_some() && !state.has_thread && !self.0.files.is_empty() {
            let inner = Arc::clone(&self.0);
            state.has_thread = wisp_net::spawn_thread("wisp-files", move || inner.run()).is_ok();
        }
    }
}

impl State {
    fn schedule(&mut self) {
        let every = self.every.filter(|_| self.brokers > 0);
        self.next = every.map(|every| Instant::now() + every);
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread. It ends when there is nothing to look for any more.
    fn run(&self) {
        let mut state = self.state();
        while let Some(at) = state.next {
            let now = Instant::now();
            if now < at {
                let waited = self.changed.wait_timeout(state, at - now);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            drop(state);
            self.look();
            state = self.state();
            state.schedule();
        }
        state.has_thread = false;
    }

    fn look(&self) {
        let mut read = Vec::new();
        for (name, files) in &self.files {
            match files.refresh() {
                None => {}
                Some(Ok(())) => read.push(name.as_str()),
                Some(Err(error)) => warn!("{name} stay as they were: {error}"),
            }
        }
        if !read.is_empty() {
            info!("files have changed and were read again: {}", read.join(", "));
        }
    }
}

impl FileWatch {
    /// Looks, if it is time and no thread does it. For a worker.
    pub(crate) fn poll(&self) {
        let Self(inner) = self;
        let mut state = inner.state();
        if state.has_thread || state.next.is_none_or(|at| Instant::now() < at) {
            return;
        }
        state.schedule();
        drop(state);
        inner.look();
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let Self(FileWatch(inner)) = self;
        let mut state = inner.state();
        state.brokers -= 1;
        state.schedule();
        drop(state);
        inner.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[derive(Debug, Default)]
    struct Counted(AtomicUsize);

    impl Watched for Counted {
        fn refresh(&self) -> Option<Result<(), String>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            None
        }
    }

    fn watch(every: Option<Duration>) -> (Arc<Counted>, FileWatch) {
        let counted = Arc::<Counted>::default();
        let watch = FileWatch::new(vec![("files".to_owned(), Arc::clone(&counted) as _)], every);
        (counted, watch)
    }

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    const OFTEN: Option<Duration> = Some(Duration::from_millis(1));

    #[test]
    fn a_thread_looks_as_long_as_a_broker_runs_and_an_interval_is_set() {
        let (counted, watch) = watch(None);
        let [first, second] = [watch.begin(true), watch.begin(true)];
        assert!(!watch.0.state().has_thread, "nothing is to be looked at");
        watch.set_interval(OFTEN);
        wait_until("looks", || counted.0.load(Ordering::Relaxed) > 3);
        watch.set_interval(None);
        wait_until("the end of the thread", || !watch.0.state().has_thread);
        watch.set_interval(OFTEN);
        drop(first);
        let before = counted.0.load(Ordering::Relaxed);
        wait_until("looks for the other broker", || counted.0.load(Ordering::Relaxed) > before + 3);
        drop(second);
        wait_until("the end of the thread", || !watch.0.state().has_thread);
    }

    #[test]
    fn without_threads_the_worker_looks_when_it_is_time() {
        let (counted, watch) = watch(OFTEN);
        let _watching = watch.begin(false);
        wait_until("a look", || {
            watch.poll();
            counted.0.load(Ordering::Relaxed) > 1
        });
        watch.set_interval(Some(Duration::from_secs(3_600)));
        let before = counted.0.load(Ordering::Relaxed);
        watch.poll();
        assert_eq!(counted.0.load(Ordering::Relaxed), before, "it is not time");
    }
}
