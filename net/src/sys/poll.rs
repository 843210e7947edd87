//! The call `poll_oneoff` of WASI preview 1 and its structures.

use std::io;
use std::time::Duration;

use super::wasi::check;

/// WASI's number for "no such descriptor".
pub(super) const ERRNO_BADF: i32 = 8;

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn poll_oneoff(
        questions: *const Question,
        answers: *mut Answer,
        questions_len: usize,
        answers_len: *mut usize,
    ) -> u16;
}

/// One question to `poll_oneoff`. The call uses a union here; with the members that a descriptor does
/// not need set to zero, one plain structure has the layout of each variant.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Question {
    index: u64,
    kind: u8,
    unused: u32,
    fd_or_clock: u32,
    timeout_ns: u64,
    precision_ns: u64,
    clock_flags: u16,
}

const _: () = assert!(size_of::<Question>() == 48 && size_of::<Answer>() == 32);

/// The monotonic clock.
const CLOCK_MONOTONIC: u32 = 1;

impl Question {
    pub(super) fn read(fd: u32, index: usize) -> Question {
        Question::new(Answer::READ, fd, index as u64, 0)
    }

    pub(super) fn write(fd: u32, index: usize) -> Question {
        Question::new(Answer::WRITE, fd, index as u64, 0)
    }

    pub(super) fn clock(wait: Duration) -> Question {
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Question::new(Answer::CLOCK, CLOCK_MONOTONIC, u64::MAX, wait_ns)
    }

    /// Repeats the question of an answer.
    pub(super) fn again(answer: &Answer, fd: u32) -> Question {
        Question::new(answer.kind, fd, answer.index, 0)
    }

    fn new(kind: u8, fd_or_clock: u32, index: u64, timeout_ns: u64) -> Question {
        Question { index, kind, unused: 0, fd_or_clock, timeout_ns, precision_ns: 0, clock_flags: 0 }
    }
}

/// The host's answer to one question.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub(super) struct Answer {
    index: u64,
    errno: u16,
    pub(super) kind: u8,
    pub(super) bytes: u64,
    flags: u16,
}

impl Answer {
    pub(super) const CLOCK: u8 = 0;
    pub(super) const READ: u8 = 1;
    pub(super) const WRITE: u8 = 2;

    /// The index of the question.
    pub(super) fn index(&self) -> usize {
        // The index was a usize.
        self.index as usize
    }

    /// Whether the answer reports neither an error nor a hang-up.
    pub(super) fn is_plain(&self) -> bool {
        self.errno == 0 && self.flags == 0
    }
}

/// Waits until at least one question is answered. There must be one.
pub(super) fn poll(questions: &[Question], answers: &mut Vec<Answer>) -> io::Result<()> {
    answers.resize(questions.len(), Answer::default());
    let mut len = 0;
    // SAFETY: both arrays have as many entries as the call is told, in the call's layout, of which any
    // content is valid; the result goes to a local.
    let errno = unsafe { poll_oneoff(questions.as_ptr(), answers.as_mut_ptr(), questions.len(), &mut len) };
    answers.truncate(if errno == 0 { len } else { 0 });
    check(errno)
}
