//! What every module takes for granted of its toolchain and runtime: each property is a function, and
//! the first that does not hold ends the program with a panic. `wasm-targets/check` runs it.
//!
//! It matters most for the shim, on which threads and memory stand where rustup's target cannot be had.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const THREADS: usize = 8;

type Property = (&'static str, fn());

const EVERYWHERE: &[Property] = &[
    ("clocks_run_and_sleep_lasts", clocks_run_and_sleep_lasts),
    ("hash_seeds_differ", hash_seeds_differ),
    ("formatting_of_floats_works", formatting_of_floats_works),
    ("floats_have_a_minimum_and_a_maximum", floats_have_a_minimum_and_a_maximum),
    ("freed_memory_is_used_again", freed_memory_is_used_again),
    ("blocks_keep_what_is_in_them", blocks_keep_what_is_in_them),
    ("a_gibibyte_can_be_had", a_gibibyte_can_be_had),
];

const WITH_THREADS: &[Property] = &[
    ("a_contended_mutex_loses_no_increment", a_contended_mutex_loses_no_increment),
    ("a_condition_wakes_its_waiters", a_condition_wakes_its_waiters),
    ("a_wait_ends_at_its_timeout", a_wait_ends_at_its_timeout),
    ("readers_and_writers_exclude_each_other", readers_and_writers_exclude_each_other),
    ("thread_locals_are_dropped_before_join_returns", thread_locals_are_dropped_before_join_returns),
    ("blocks_of_several_threads_keep_what_is_in_them", blocks_of_several_threads_keep_what_is_in_them),
    ("a_block_may_be_freed_by_another_thread", a_block_may_be_freed_by_another_thread),
    ("threads_that_ended_leave_no_memory_behind", threads_that_ended_leave_no_memory_behind),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    assert_eq!(arguments[2..], ["an argument", ""], "arguments arrive as they were given");
    assert_eq!(std::env::var("WISP_CHECK").as_deref(), Ok("a value"), "the environment arrives");
    let with_threads = arguments[1] == "threads";
    let properties = EVERYWHERE.iter().chain(if with_threads { WITH_THREADS } else { &[] });
    for (name, holds) in properties {
        let started = Instant::now();
        holds();
        println!("{name}: {} ms", started.elapsed().as_millis());
    }
    if !with_threads {
        assert!(thread::Builder::new().spawn(|| ()).is_err(), "a host without threads says so");
    }
    // Not 0, so that a status that gets lost on its way is noticed.
    std::process::exit(42);
}

fn in_threads(work: impl Fn(usize) + Send + Sync + 'static) {
    let work = Arc::new(work);
    let start = |index| {
        let work = Arc::clone(&work);
        thread::spawn(move || work(index))
    };
    let threads: Vec<_> = (0..THREADS).map(start).collect();
    for thread in threads {
        thread.join().expect("a thread that panics ends the program");
    }
}

fn clocks_run_and_sleep_lasts() {
    let year_2020 = Duration::from_secs(1_577_836_800);
    assert!(SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970") > year_2020);
    let started = Instant::now();
    thread::sleep(Duration::from_millis(20));
    assert!(started.elapsed() >= Duration::from_millis(20));
}

fn hash_seeds_differ() {
    assert_ne!(RandomState::new().hash_one(1), RandomState::new().hash_one(1));
}

fn formatting_of_floats_works() {
    assert_eq!(format!("{:.3} {:e}", 2f64.sqrt().sin(), f64::MAX), "0.988 1.7976931348623157e308");
}

/// Pages of this module's memory, which only ever grow.
fn memory_pages() -> usize {
    core::arch::wasm32::memory_size(0)
}

/// Compilers make calls of the C library of these, which machine code in a file has to find.
fn floats_have_a_minimum_and_a_maximum() {
    let (smaller, larger) = (black_box(1.5f64), black_box(2.5f64));
    assert_eq!((larger.min(smaller), smaller.max(larger)), (1.5, 2.5));
    let (smaller, larger) = (black_box(1.5f32), black_box(2.5f32));
    assert_eq!((larger.min(smaller), smaller.max(larger)), (1.5, 2.5));
}

fn freed_memory_is_used_again() {
    let churn = || {
        for size in (1..2000).map(|step| step * 97) {
            let blocks: Vec<Vec<u8>> = (0..10).map(|_| vec![1; size]).collect();
            assert!(blocks.iter().all(|block| block[size - 1] == 1));
        }
    };
    churn();
    let pages = memory_pages();
    churn();
    assert!(memory_pages() <= pages + 16, "grew from {pages} to {} pages", memory_pages());
}

fn a_gibibyte_can_be_had() {
    // Not written to, which would take the machine seconds.
    let blocks: Vec<Vec<u8>> = (0..16).map(|_| Vec::with_capacity(64 << 20)).collect();
    assert!(blocks.iter().all(|block| block.capacity() >= 64 << 20));
    black_box(blocks);
}

fn a_contended_mutex_loses_no_increment() {
    let counter = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&counter);
    in_threads(move |_| (0..20_000).for_each(|_| *counted.lock().expect("not poisoned") += 1));
    assert_eq!(*counter.lock().expect("not poisoned"), THREADS * 20_000);
}

fn a_condition_wakes_its_waiters() {
    let turn = (Mutex::new(0), Condvar::new());
    in_threads(move |index| {
        for round in 0..200 {
            let mut now = turn.0.lock().expect("not poisoned");
            while *now != round * THREADS + index {
                now = turn.1.wait(now).expect("not poisoned");
            }
            *now += 1;
            turn.1.notify_all();
        }
    });
}

fn a_wait_ends_at_its_timeout() {
    let (lock, condition) = (Mutex::new(()), Condvar::new());
    let guard = lock.lock().expect("not poisoned");
    let waited = condition.wait_timeout_while(guard, Duration::from_millis(20), |()| true);
    assert!(waited.expect("not poisoned").1.timed_out());
}

fn readers_and_writers_exclude_each_other() {
    let pair = RwLock::new((0, 0));
    in_threads(move |_| {
        for round in 0..2_000 {
            if round % 10 == 0 {
                let mut pair = pair.write().expect("not poisoned");
                pair.0 += 1;
                pair.1 += 1;
            }
            let pair = pair.read().expect("not poisoned");
            assert_eq!(pair.0, pair.1);
        }
    });
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

struct CountsDrop;

impl Drop for CountsDrop {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

thread_local! {
    static EAGER: CountsDrop = const { CountsDrop };
    static LAZY: RefCell<Option<CountsDrop>> = const { RefCell::new(None) };
}

fn thread_locals_are_dropped_before_join_returns() {
    in_threads(|_| {
        EAGER.with(|_| ());
        LAZY.with(|lazy| *lazy.borrow_mut() = Some(CountsDrop));
    });
    assert_eq!(DROPPED.load(Ordering::Relaxed), 2 * THREADS);
}

/// A number that looks random and depends on nothing but the one before.
fn next_random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// A block of the heap, filled with a byte of its own.
struct Block {
    start: *mut u8,
    layout: Layout,
    mark: u8,
}

impl Block {
    fn new(layout: Layout, mark: u8, zeroed: bool) -> Block {
        // SAFETY: no layout here has size 0.
        let start = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
        let block = Block { start, layout, mark: 0 };
        assert_eq!(start as usize % layout.align(), 0);
        if zeroed {
            block.check(layout.size());
        }
        block.fill(mark)
    }

    fn fill(mut self, mark: u8) -> Block {
        assert!(!self.start.is_null());
        self.mark = mark;
        // SAFETY: the block is this long, and nobody else has it.
        unsafe { self.start.write_bytes(mark, self.layout.size()) };
        self
    }

    fn check(&self, size: usize) {
        // SAFETY: the block is at least this long, and has been written to.
        let bytes = unsafe { std::slice::from_raw_parts(self.start, size) };
        assert!(bytes.iter().all(|byte| *byte == self.mark), "a block has changed by itself");
    }

    fn resized(self, size: usize) -> Block {
        // SAFETY: the block came from this allocator with this layout, and the size is not 0.
        let start = unsafe { realloc(self.start, self.layout, size) };
        let layout = Layout::from_size_align(size, self.layout.align()).expect("small");
        let kept = size.min(self.layout.size());
        let (block, mark) = (Block { start, layout, mark: self.mark }, self.mark);
        block.check(kept);
        block.fill(mark)
    }

    fn free(self) {
        self.check(self.layout.size());
        // SAFETY: the block came from this allocator with this layout, and is gone after this.
        unsafe { dealloc(self.start, self.layout) };
    }
}

/// Takes, resizes and frees blocks of random sizes and alignments, and looks at each byte of them.
fn use_the_heap_at_random(seed: usize) {
    let mut state = seed as u64;
    let mut random = |below| next_random(&mut state) % below;
    let mut blocks = Vec::new();
    for _ in 0..20_000 {
        let largest = [600, 600, 600, 20_000, 200_000][random(5)];
        let size = 1 + random(largest);
        match random(4) {
            0 | 1 => {
                let align = if random(8) == 0 { 1 << random(13) } else { 8 };
                let layout = Layout::from_size_align(size, align).expect("small");
                let mark = u8::try_from(random(256)).expect("a byte");
                blocks.push(Block::new(layout, mark, random(3) == 0));
            }
            2 if !blocks.is_empty() => {
                let block = blocks.swap_remove(random(blocks.len()));
                blocks.push(block.resized(size));
            }
            _ if !blocks.is_empty() => blocks.swap_remove(random(blocks.len())).free(),
            _ => {}
        }
        // Now and then nearly all go, so that what is free is joined again.
        let kept = if blocks.len() > 300 { 20 } else { blocks.len() };
        blocks.drain(kept..).for_each(Block::free);
    }
    blocks.into_iter().for_each(Block::free);
}

fn blocks_keep_what_is_in_them() {
    use_the_heap_at_random(1);
}

fn blocks_of_several_threads_keep_what_is_in_them() {
    in_threads(|index| use_the_heap_at_random(index + 1));
}

fn a_block_may_be_freed_by_another_thread() {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    let freer = thread::spawn(move || receiver.iter().filter(|block| block.iter().all(|byte| *byte == 7)).count());
    in_threads(move |_| {
        for size in 1..2_000 {
            sender.send(vec![7; size]).expect("the receiver lives");
        }
    });
    assert_eq!(freer.join().expect("no panic"), THREADS * 1_999);
}

fn threads_that_ended_leave_no_memory_behind() {
    let some_threads = || {
        for round in 0..100 {
            let thread = thread::spawn(|| ());
            if round % 2 == 0 {
                thread.join().expect("no panic");
            } else {
                while !thread.is_finished() {
                    thread::yield_now();
                }
            }
        }
    };
    some_threads();
    let pages = memory_pages();
    some_threads();
    // A few detached threads may still be on their last instructions; a stack is 32 pages.
    assert!(memory_pages() <= pages + 8 * 33, "grew from {pages} to {} pages", memory_pages());
}
