//! How large the files are that a running program needs: its own, the libraries that it has loaded, and modules.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use wisp_lab::failure::Failure;

/// Bytes of one or several files.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Size {
    /// As the files lie on disk, with names and lines for debuggers if they have such.
    pub file_bytes: u64,
    /// The bytes of them that are loaded to run; of a file that is no program, all.
    pub loaded_bytes: u64,
}

impl Size {
    /// Of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(file: &Path) -> Result<Self, Failure> {
        let unreadable = |error: io::Error| Failure::Setup(format!("cannot read {}: {error}", file.display()));
        let file_bytes = fs::metadata(file).map_err(unreadable)?.len();
        let loaded_bytes = loaded_bytes(File::open(file).map_err(unreadable)?).map_err(unreadable)?;
        Ok(Self { file_bytes, loaded_bytes: loaded_bytes.unwrap_or(file_bytes) })
    }

    /// Of several files together.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn of_all<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Result<Self, Failure> {
        files.into_iter().try_fold(Self::default(), |sum, file| {
            let one = Self::of(file)?;
            let (file_bytes, loaded_bytes) = (sum.file_bytes + one.file_bytes, sum.loaded_bytes + one.loaded_bytes);
            Ok(Self { file_bytes, loaded_bytes })
        })
    }
}

/// Offsets and sizes in the headers of ELF, in its form for 64 bits.
const ELF_HEADER_BYTES: usize = 64;
const ELF_64_BITS_LITTLE_ENDIAN: &[u8] = b"\x7fELF\x02\x01";
const SEGMENTS_AT: usize = 32;
const SEGMENT_HEADER_BYTES_AT: usize = 54;
const SEGMENTS_COUNT_AT: usize = 56;
/// Within a segment's header: its kind, and its bytes in the file.
const SEGMENT_FILE_BYTES_AT: usize = 32;
const SEGMENT_HEADER_BYTES_MIN: usize = 56;
const LOADED: [u8; 4] = [1, 0, 0, 0];

/// The bytes of a program's segments that are loaded; None if it is no such program.
fn loaded_bytes(mut file: impl Read + Seek) -> io::Result<Option<u64>> {
    let mut header = [0; ELF_HEADER_BYTES];
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    if !header.starts_with(ELF_64_BITS_LITTLE_ENDIAN) {
        return Ok(None);
    }
    let (each, count) = (short(&header, SEGMENT_HEADER_BYTES_AT), short(&header, SEGMENTS_COUNT_AT));
    if each < SEGMENT_HEADER_BYTES_MIN {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(long(&header, SEGMENTS_AT)))?;
    let mut segments = vec![0; each * count];
    file.read_exact(&mut segments)?;
    let loaded = segments.chunks_exact(each).filter(|segment| segment.starts_with(&LOADED));
    Ok(Some(loaded.map(|segment| long(segment, SEGMENT_FILE_BYTES_AT)).sum()))
}

fn short(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn segments_that_are_loaded_count() {
        let mut file = vec![0; ELF_HEADER_BYTES + 3 * SEGMENT_HEADER_BYTES_MIN];
        file[..6].copy_from_slice(ELF_64_BITS_LITTLE_ENDIAN);
        file[SEGMENTS_AT] = ELF_HEADER_BYTES as u8;
        file[SEGMENT_HEADER_BYTES_AT] = SEGMENT_HEADER_BYTES_MIN as u8;
        file[SEGMENTS_COUNT_AT] = 3;
        for (segment, (kind, bytes)) in [(1, 1000_u64), (4, 77), (1, 234)].into_iter().enumerate() {
            let at = ELF_HEADER_BYTES + segment * SEGMENT_HEADER_BYTES_MIN;
            file[at] = kind;
            file[at + SEGMENT_FILE_BYTES_AT..at + SEGMENT_FILE_BYTES_AT + 8].copy_from_slice(&bytes.to_le_bytes());
        }
        assert_eq!(loaded_bytes(Cursor::new(&file)).unwrap(), Some(1234));
        assert!(loaded_bytes(Cursor::new(&file[..100])).is_err(), "the segments are missing");
        for other in [&b""[..], b"#!/bin/sh\n", &[0; 100]] {
            assert_eq!(loaded_bytes(Cursor::new(other)).unwrap(), None);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_program_is_among_its_files_and_is_loaded_in_part() {
        let own = std::env::current_exe().unwrap();
        let files = wisp_lab::proc::code_files(std::process::id()).unwrap();
        assert!(files.contains(&own), "{files:?}");
        let size = Size::of(&own).unwrap();
        assert!(size.loaded_bytes > 0 && size.loaded_bytes < size.file_bytes, "{size:?}");
        assert!(Size::of_all(&files).unwrap().file_bytes >= size.file_bytes);
    }
}
