//! The program `wisp-compute`: work without sockets, which shows the cost of a runtime apart from the cost of its
//! sockets.
//!
//! `random` makes numbers and touches nothing else; `sort` reads a file of 64-bit numbers, sorts and writes them, and
//! takes the time of each part by its own clock. It is a plain module of WASI preview 1, the same for every runtime.

pub mod args;
pub mod random;
pub mod sort;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use random::Random;

/// How long a number is in a file, the lowest byte first.
pub const NUMBER_BYTES: usize = size_of::<u64>();

/// The times of making random numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Made {
    /// Their sum, so that all of them have to be made.
    pub sum: u64,
    /// How long it took.
    pub compute_s: f64,
}

/// Makes `count` random numbers.
#[must_use]
pub fn make_random(count: u64) -> Made {
    let started = Instant::now();
    let mut random = Random::default();
    let mut sum = 0_u64;
    for _ in 0..count {
        sum = sum.wrapping_add(random.next_number());
    }
    Made { sum, compute_s: started.elapsed().as_secs_f64() }
}

/// The times of sorting a file.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sorted {
    /// How many numbers it has.
    pub numbers: u64,
    /// From opening the file until its bytes were in memory.
    pub read_s: f64,
    /// From bytes to bytes.
    pub compute_s: f64,
    /// Until the bytes were handed to the system, which may write them to the disk later.
    pub write_s: f64,
}

/// Reads a file of numbers and writes them into another one in order.
///
/// # Errors
/// When a file cannot be read or written, or is cut off within a number.
pub fn sort_file(from: &Path, to: &Path) -> io::Result<Sorted> {
    let started = Instant::now();
    let mut bytes = fs::read(from)?;
    let read_s = started.elapsed().as_secs_f64();
    if bytes.len() % NUMBER_BYTES != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is cut off within a number"));
    }
    let started = Instant::now();
    let mut numbers = decode(&bytes);
    sort::merge_sort(&mut numbers);
    encode(&numbers, &mut bytes);
    let compute_s = started.elapsed().as_secs_f64();
    let started = Instant::now();
    fs::write(to, &bytes)?;
    let write_s = started.elapsed().as_secs_f64();
    Ok(Sorted { numbers: numbers.len() as u64, read_s, compute_s, write_s })
}

/// The numbers in a file's bytes. Incomplete ones at the end are ignored.
#[must_use]
pub fn decode(bytes: &[u8]) -> Vec<u64> {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("chunks are as long as numbers"));
    bytes.chunks_exact(NUMBER_BYTES).map(number).collect()
}

fn encode(numbers: &[u64], bytes: &mut [u8]) {
    for (place, number) in bytes.chunks_exact_mut(NUMBER_BYTES).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}
