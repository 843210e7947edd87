//! Waiting for a broker on a thread of its own, so that an interrupt is noticed meanwhile.

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::drive::run::{Progress, Watch};

/// How often it is looked whether there is an interrupt.
const LOOK_EVERY: Duration = Duration::from_millis(50);

enum Told<T> {
    Progress(Progress),
    Done(T),
}

/// Watches the work for whoever watches it.
struct Relay<T> {
    tell: Sender<Told<T>>,
    is_interrupted: Arc<AtomicBool>,
}

impl<T: Send> Watch for Relay<T> {
    fn progress(&self, progress: Progress) {
        // After an interrupt nobody listens.
        drop(self.tell.send(Told::Progress(progress)));
    }

    fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }
}

/// Gives what the work gives; None at an interrupt, whatever the work waits for then. It is left alone, told of the interrupt by its own
/// watch.
pub(crate) fn unless_interrupted<T: Send + 'static>(
    watch: &dyn Watch,
    work: impl FnOnce(&dyn Watch) -> T + Send + 'static,
) -> Option<T> {
    let (tell, told) = mpsc::channel();
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let relay = Relay { tell, is_interrupted: Arc::clone(&is_interrupted) };
    let worker = thread::spawn(move || {
        let done = work(&relay);
        drop(relay.tell.send(Told::Done(done)));
    });
    loop {
        match told.recv_timeout(LOOK_EVERY) {
            Ok(Told::Progress(progress)) => watch.progress(progress),
            Ok(Told::Done(done)) => return Some(done),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic::resume_unwind(worker.join().err()?),
        }
        if watch.is_interrupted() {
            is_interrupted.store(true, Ordering::Relaxed);
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Interrupt;

    #[test]
    fn work_is_done_and_its_progress_told() {
        struct Seen(std::sync::Mutex<Vec<u64>>);
        impl Watch for Seen {
            fn progress(&self, progress: Progress) {
                self.0.lock().unwrap().push(progress.sent);
            }
            fn is_interrupted(&self) -> bool {
                false
            }
        }
        let seen = Seen(std::sync::Mutex::default());
        let done = unless_interrupted(&seen, |watch| {
            watch.progress(Progress { sent: 3, ..Progress::default() });
            7
        });
        assert_eq!((done, seen.0.into_inner().unwrap()), (Some(7), vec![3]));
    }

    #[test]
    fn an_interrupt_is_noticed_while_the_work_waits() {
        let interrupt = Interrupt::default();
        let (begun, ended) = (interrupt.clone(), mpsc::channel::<()>());
        let (tell, told) = mpsc::channel();
        let done = unless_interrupted(&interrupt, move |watch| {
            begun.set();
            // For ever, as far as whoever waits for it knows.
            let waited = ended.1.recv();
            tell.send((waited.is_err(), watch.is_interrupted())).unwrap();
        });
        assert_eq!(done, None);
        drop(ended.0);
        assert_eq!(told.recv().unwrap(), (true, true), "the work goes on, and knows");
    }
}
