//! The segments of a folder: which count, and where they are whole.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use super::found::{Cut, Live, Recovery};
use super::replay::Replay;
use crate::error::OpenError;
use crate::files::Files;
use crate::folder::{self, MARKER};
use crate::format::{
    Group, HeaderError, Identity, Record, SEGMENT_HEADER_BYTES, Seal, Tail, Walk, file_name, identity_of, read_header,
    segment_number,
};
use crate::index::Index;
use crate::report::Problem;

const BASE: u64 = SEGMENT_HEADER_BYTES as u64;

const WRONG_CHECKSUM: &str = "the checksum of a group is wrong";

/// At damage: refuse the store, or list it and read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    Refuse,
    List,
}

/// All that is in a folder.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) index: Index,
    pub(crate) live: Vec<Live>,
    pub(crate) orphans: Vec<u64>,
    /// The segment that was being written.
    pub(crate) head: Option<u32>,
    /// The segment to write to, and whether its file is there.
    pub(crate) ahead: u32,
    pub(crate) ahead_exists: bool,
    /// Files of segments that do not count.
    pub(crate) leftovers: Vec<u32>,
    pub(crate) next_group: u64,
    pub(crate) next_sequence: u64,
    pub(crate) recovery: Recovery,
    pub(crate) problems: Vec<Problem>,
}

/// Reads a folder once.
pub(super) struct Survey<'a> {
    files: &'a mut dyn Files,
    identity: Option<Identity>,
    strictness: Strictness,
    replay: Replay,
    recovery: Recovery,
    problems: Vec<Problem>,
    /// The number and the sequence number of the next group.
    next: (u64, u64),
}

/// The segment that was being written, and the ones behind it.
struct Head {
    number: u32,
    bytes: Arc<Vec<u8>>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(files: &'a mut dyn Files, identity: Option<Identity>, strictness: Strictness) -> Self {
        let recovery = Recovery::default();
        Self { files, identity, strictness, replay: Replay::default(), recovery, problems: Vec::new(), next: (1, 1) }
    }

    pub(super) fn run(mut self) -> Result<Findings, OpenError> {
        let mut numbers: Vec<u32> = folder::list(self.files)?.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        let identity = self.find_identity(&numbers)?;
        let mut unbegun = Vec::new();
        let head = self.find_head(identity, &numbers, &mut unbegun)?;
        let mut counting = BTreeMap::new();
        if let Some(head) = &head {
            counting = self.read_list(identity, head, &numbers)?;
            for (number, length) in &counting {
                self.read_segment(identity, *number, *length)?;
            }
            self.read_head(identity, head)?;
        } else {
            self.problem(MARKER, 0, "the store has lost its segments")?;
        }
        let head = head.map(|head| head.number);
        let last = numbers.last().copied().unwrap_or(0);
        let ahead_exists = matches!(unbegun[..], [(number, true)] if number == last);
        let ahead = if ahead_exists { last } else { last + 1 };
        let counts =
            |number: &u32| counting.contains_key(number) || Some(*number) == head || (ahead_exists && *number == ahead);
        let leftovers = numbers.into_iter().filter(|number| !counts(number)).collect();
        self.recovery.groups = self.replay.groups;
        self.recovery.records = self.replay.records;
        let (index, live, orphans) = self.replay.finish();
        self.recovery.objects = live.len() as u64;
        let (next_group, next_sequence) = self.next;
        let (recovery, problems) = (self.recovery, self.problems);
        Ok(Findings {
            index,
            live,
            orphans,
            head,
            ahead,
            ahead_exists,
            leftovers,
            next_group,
            next_sequence,
            recovery,
            problems,
        })
    }

    /// Refuses the store, or lists the problem.
    fn problem(&mut self, file: &str, offset: u64, what: &'static str) -> Result<(), OpenError> {
        if self.strictness == Strictness::Refuse {
            return Err(self.damaged(file, offset, what));
        }
        self.problems.push(Problem { file: file.to_owned(), offset, bytes: 0, what });
        Ok(())
    }

    fn damaged(&self, file: &str, offset: u64, what: &'static str) -> OpenError {
        OpenError::Damaged { folder: self.files.folder(), file: file.to_owned(), offset, what }
    }

    fn find_identity(&mut self, numbers: &[u32]) -> Result<Identity, OpenError> {
        if let Some(identity) = self.identity {
            return Ok(identity);
        }
        self.problem(MARKER, 0, "missing or damaged")?;
        for number in numbers.iter().rev() {
            let mut header = [0; SEGMENT_HEADER_BYTES];
            let name = file_name(*number);
            self.files.read(&name, 0, &mut header).map_err(|error| folder::io_error(self.files, &name, error))?;
            if let Some(identity) = identity_of(&header) {
                return Ok(identity);
            }
        }
        self.problem(MARKER, 0, "no segment says to which store it belongs")?;
        Ok(Identity(0))
    }

    /// The last segment with a whole group. Segments behind it go to `unbegun`, with whether they are fit to be written to.
    fn find_head(
        &mut self,
        identity: Identity,
        numbers: &[u32],
        unbegun: &mut Vec<(u32, bool)>,
    ) -> Result<Option<Head>, OpenError> {
        for &number in numbers.iter().rev() {
            let Some(bytes) = self.load(number, u64::MAX)? else { continue };
            let header = read_header(&bytes, identity, number);
            let mut walk = walk(&bytes, identity, number);
            let (is_begun, tail) = (walk.next().is_some(), walk.tail());
            match header {
                Ok(()) => {}
                Err(HeaderError::Damaged) if !is_begun && tail != Tail::Damaged => {}
                Err(error) => self.header_problem(number, error)?,
            }
            if is_begun || tail == Tail::Damaged {
                return Ok(Some(Head { number, bytes }));
            }
            unbegun.push((number, header.is_ok() && bytes.len() == SEGMENT_HEADER_BYTES));
        }
        Ok(None)
    }

    fn header_problem(&mut self, number: u32, error: HeaderError) -> Result<(), OpenError> {
        let file = file_name(number);
        match error {
            HeaderError::Newer(found) => Err(OpenError::Newer { folder: self.files.folder(), file, found }),
            HeaderError::Damaged => self.problem(&file, 0, "the segment's header is wrong"),
            HeaderError::Foreign => self.problem(&file, 0, "the segment belongs to another store"),
        }
    }

    /// The segments that count, but for the last.
    fn read_list(&mut self, identity: Identity, head: &Head, numbers: &[u32]) -> Result<BTreeMap<u32, u64>, OpenError> {
        let mut list: Option<BTreeMap<u32, u64>> = None;
        let mut walk = walk(&head.bytes, identity, head.number);
        let mut next = walk.next();
        while let Some(group) = next {
            for (_, _, record) in group.records().flatten() {
                match record {
                    Record::Segments(segments) if list.is_none() => list = Some(BTreeMap::from_iter(segments)),
                    Record::Dropped { segment } => _ = list.as_mut().map(|list| list.remove(&segment)),
                    _ => {}
                }
            }
            next = walk.next();
            if next.is_none() && walk.tail() == Tail::Damaged {
                // Without the drops in the damaged group, a segment that was dropped would be missed.
                if self.strictness == Strictness::Refuse {
                    return Err(self.damaged(&file_name(head.number), walk.offset(), WRONG_CHECKSUM));
                }
                next = walk.find_next();
            }
        }
        if let Some(list) = list {
            return Ok(list);
        }
        self.problem(&file_name(head.number), BASE, "the list of segments is missing")?;
        // All that are there, as long as they are.
        Ok(numbers.iter().filter(|number| **number < head.number).map(|number| (*number, u64::MAX)).collect())
    }

    /// Reads a segment that was ended.
    fn read_segment(&mut self, identity: Identity, number: u32, length: u64) -> Result<(), OpenError> {
        let name = file_name(number);
        let Some(bytes) = self.load(number, length)? else {
            return self.problem(&name, 0, "the file is missing");
        };
        if let Err(error) = read_header(&bytes, identity, number) {
            self.header_problem(number, error)?;
        }
        let end = self.read_groups(identity, number, &bytes, Tail::Damaged)?;
        self.replay.note_held(bytes.len() as u64);
        if length != u64::MAX && end < length {
            self.problem(&name, end, "the file is too short")?;
        }
        Ok(())
    }

    fn read_head(&mut self, identity: Identity, head: &Head) -> Result<(), OpenError> {
        let end = self.read_groups(identity, head.number, &head.bytes, Tail::Torn)?;
        let length = head.bytes.len() as u64;
        if end < length {
            self.recovery.cut = Some(Cut { file: file_name(head.number), offset: end, bytes: length - end });
        }
        Ok(())
    }

    /// Applies all whole groups of a segment and returns their end. A tail that is worse than `tolerated` is a problem.
    fn read_groups(
        &mut self,
        identity: Identity,
        number: u32,
        bytes: &Arc<Vec<u8>>,
        tolerated: Tail,
    ) -> Result<u64, OpenError> {
        let name = file_name(number);
        let mut walk = walk(bytes, identity, number);
        let mut end;
        loop {
            for group in walk.by_ref() {
                self.apply((number, &name), bytes, &group)?;
            }
            end = walk.offset();
            let tail = walk.tail();
            if tail == Tail::Clean || (tail == Tail::Torn && tolerated == Tail::Torn) {
                break;
            }
            self.problem(&name, end, WRONG_CHECKSUM)?;
            let next = walk.find_next();
            let found = next.map_or(bytes.len() as u64, |group| group.place.offset);
            if let Some(problem) = self.problems.last_mut() {
                problem.bytes = found - end;
            }
            end = bytes.len() as u64;
            match next {
                Some(group) => self.apply((number, &name), bytes, &group)?,
                None => break,
            }
        }
        self.recovery.segments += 1;
        self.recovery.bytes += bytes.len() as u64;
        self.next = walk.expected().map_or(self.next, |next| (next.0.max(self.next.0), next.1.max(self.next.1)));
        self.replay.set_length(number, end);
        Ok(end)
    }

    fn apply(&mut self, (number, name): (u32, &str), bytes: &Arc<Vec<u8>>, group: &Group<'_>) -> Result<(), OpenError> {
        match self.replay.apply(number, bytes, group) {
            Ok(()) => Ok(()),
            Err(what) => self.problem(name, group.place.offset, what),
        }
    }

    /// A segment's bytes, at most `length_max`. `None`: there is no file.
    fn load(&mut self, number: u32, length_max: u64) -> Result<Option<Arc<Vec<u8>>>, OpenError> {
        let name = file_name(number);
        let length = match self.files.length(&name) {
            Ok(length) => length.min(length_max),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(folder::io_error(self.files, &name, error)),
        };
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let have = self.files.read(&name, 0, &mut bytes).map_err(|error| folder::io_error(self.files, &name, error))?;
        bytes.truncate(have);
        Ok(Some(Arc::new(bytes)))
    }
}

fn walk(bytes: &[u8], identity: Identity, number: u32) -> Walk<'_> {
    Walk::new(bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or_default(), BASE, Seal::new(identity, number))
}
