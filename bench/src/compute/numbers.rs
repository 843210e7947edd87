//! Files of numbers: made, and looked over after they were sorted, a stretch at a time, so that this program stays small.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use wisp_compute::random::Random;
use wisp_compute::{NUMBER_BYTES, decode};

/// How much of a file is looked at at once: whole numbers.
const STRETCH_BYTES: usize = 1 << 20;

/// The content of a file of numbers, independent of their order.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Contents {
    numbers: u64,
    sum: u64,
    mixed: u64,
}

impl Contents {
    fn add(&mut self, number: u64) {
        self.numbers += 1;
        self.sum = self.sum.wrapping_add(number);
        // A sum alone would not see that one number grew as another shrank.
        self.mixed = self.mixed.wrapping_add(Random::new(number).next_number());
    }
}

/// Writes a file of random numbers, with as many bytes as fit whole ones.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_random(file: &Path, bytes: u64) -> io::Result<Contents> {
    let mut out = BufWriter::with_capacity(STRETCH_BYTES, File::create(file)?);
    let (mut random, mut contents) = (Random::default(), Contents::default());
    for _ in 0..bytes / NUMBER_BYTES as u64 {
        let number = random.next_number();
        contents.add(number);
        out.write_all(&number.to_le_bytes())?;
    }
    out.flush()?;
    Ok(contents)
}

/// The content of a file; `InvalidData` if its numbers are not in order.
///
/// # Errors
/// If it cannot be read, is not in order or ends within a number.
pub(super) fn read_sorted(file: &Path) -> io::Result<Contents> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let input = File::open(file)?;
    let (mut contents, mut before) = (Contents::default(), 0);
    let mut stretch = Vec::with_capacity(STRETCH_BYTES);
    loop {
        stretch.clear();
        (&input).take(STRETCH_BYTES as u64).read_to_end(&mut stretch)?;
        if stretch.is_empty() {
            return Ok(contents);
        }
        if stretch.len() % NUMBER_BYTES != 0 {
            return Err(wrong("it is cut off within a number"));
        }
        for number in decode(&stretch) {
            if number < before {
                return Err(wrong("its numbers are not in order"));
            }
            before = number;
            contents.add(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use wisp_compute::sort_file;
    use wisp_lab::paths::Scratch;

    use super::*;

    fn write(file: &Path, numbers: &[u64]) {
        fs::write(file, numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    }

    #[test]
    fn a_file_has_the_same_contents_after_it_was_sorted() {
        let scratch = Scratch::new().unwrap();
        let (from, to) = (scratch.file("from"), scratch.file("to"));
        for bytes in [8, 1024, 3 * STRETCH_BYTES as u64 + 8] {
            let written = write_random(&from, bytes).unwrap();
            assert_eq!(from.metadata().unwrap().len(), bytes);
            sort_file(&from, &to).unwrap();
            assert_eq!(read_sorted(&to).unwrap(), written);
        }
        assert_eq!(read_sorted(&from).unwrap_err().kind(), io::ErrorKind::InvalidData, "it is not sorted");
    }

    #[test]
    fn anything_else_is_found_out() {
        let scratch = Scratch::new().unwrap();
        let file = scratch.file("numbers");
        let contents = |numbers: &[u64]| {
            write(&file, numbers);
            read_sorted(&file).unwrap()
        };
        let right = contents(&[1, 5, 5, 9]);
        for other in [&[1, 5, 9][..], &[1, 5, 5, 9, 9], &[1, 4, 6, 9], &[]] {
            assert_ne!(contents(other), right, "{other:?}");
        }
        fs::write(&file, [0; NUMBER_BYTES + 1]).unwrap();
        assert_eq!(read_sorted(&file).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read_sorted(&scratch.file("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
