//! How large the files are that a running program needs: its own, the libraries that it has loaded, and modules.

use std::collections::BTreeSet;
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

/// The files of which a process runs code: its program and all libraries that it has loaded by now.
///
/// # Errors
/// When the system does not tell, as only Linux does.
pub fn files_of(process: u32) -> Result<BTreeSet<PathBuf>, Failure> {
    let maps = format!("/proc/{process}/maps");
    let text = fs::read_to_string(&maps).map_err(|error| Failure::Setup(format!("cannot read {maps}: {error}")))?;
    Ok(executable_files(&text))
}

/// Of `/proc/PID/maps`, the files of which something may be executed.
fn executable_files(maps: &str) -> BTreeSet<PathBuf> {
    let file = |line: &str| {
        let permissions = line.split_ascii_whitespace().nth(1)?;
        // A mapping without a file has a name in brackets or none; a deleted file is skipped.
        let path = &line[line.find('/')?..];
        (permissions.contains('x') && !path.ends_with("(deleted)")).then(|| PathBuf::from(path))
    };
    maps.lines().filter_map(file).collect()
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
    fn files_with_code_are_found_once() {
        let maps = "\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/a program
00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/a program
00652000-00655000 r-xp 00052000 08:02 173521      /usr/bin/a program
00e03000-00e24000 rw-p 00000000 00:00 0           [heap]
35b1800000-35b1820000 r-xp 00000000 08:02 135522  /usr/lib/ld.so
35b1a21000-35b1a22000 rw-p 00000000 00:00 0
35b1c00000-35b1dac000 r--p 00000000 08:02 135870  /usr/share/data
7f2c6ff8c000-7f2c7078c000 r-xp 00000000 00:00 9   /memfd:code (deleted)
7fffb2d48000-7fffb2d49000 r-xp 00000000 00:00 0   [vdso]
";
        let files: Vec<_> = executable_files(maps).into_iter().collect();
        assert_eq!(files, [PathBuf::from("/usr/bin/a program"), "/usr/lib/ld.so".into()]);
    }

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
        let files = files_of(std::process::id()).unwrap();
        assert!(files.contains(&own), "{files:?}");
        let size = Size::of(&own).unwrap();
        assert!(size.loaded_bytes > 0 && size.loaded_bytes < size.file_bytes, "{size:?}");
        assert!(Size::of_all(&files).unwrap().file_bytes >= size.file_bytes);
    }
}
