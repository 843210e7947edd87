//! Topic names and topic filters, which are legal by construction, and matching.

use core::fmt;
use core::iter::FusedIterator;

use crate::DecodeError;
use crate::text::{self, FIELD_BYTES_MAX};

/// Why a string is not a legal topic name or filter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TopicError {
    /// It is empty.
    Empty,
    /// It is longer than 65,535 bytes.
    TooLong,
    /// It contains U+0000.
    Nul,
    /// It is a name with a wildcard.
    Wildcard,
    /// It is a filter in which `#` is not alone in the last level.
    Hash,
    /// It is a filter in which `+` is not alone in its level.
    Plus,
    /// It starts with `$share/` and is not `$share/NAME/FILTER`.
    Share,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::TooLong => "it is longer than 65535 bytes",
            Self::Nul => "it contains U+0000",
            Self::Wildcard => "a topic name contains a wildcard",
            Self::Hash => "# is not alone in the last level",
            Self::Plus => "+ is not alone in its level",
            Self::Share => "a shared subscription is not $share/NAME/FILTER",
        })
    }
}

impl core::error::Error for TopicError {}

/// The levels of a topic name or filter, in order.
#[derive(Clone, Debug)]
pub struct Levels<'a>(core::str::Split<'a, char>);

impl<'a> Iterator for Levels<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        self.0.next()
    }
}

impl FusedIterator for Levels<'_> {}

/// The topic of a message: at least one character, no wildcard, no U+0000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks that `name` is a legal topic name.
    #[inline]
    pub fn new(name: &'a str) -> Result<Self, TopicError> {
        if name.is_empty() {
            return Err(TopicError::Empty);
        }
        if name.len() > FIELD_BYTES_MAX {
            return Err(TopicError::TooLong);
        }
        if text::contains_any(name.as_bytes(), [0, b'+', b'#']) {
            return Err(if text::contains_any(name.as_bytes(), [0]) { TopicError::Nul } else { TopicError::Wildcard });
        }
        Ok(Self(name))
    }

    /// The topic name in a field of a packet.
    #[inline]
    pub(crate) fn decode(field: &'a [u8]) -> Result<Self, DecodeError> {
        let name = str::from_utf8(field).map_err(|_| DecodeError::Utf8)?;
        Self::new(name).map_err(|error| match error {
            TopicError::Nul => DecodeError::Nul,
            TopicError::Empty => DecodeError::TopicNameEmpty,
            // A packet's field cannot be too long, and the remaining errors concern filters.
            _ => DecodeError::TopicNameWildcard,
        })
    }

    /// The name as text.
    #[inline]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels between the slashes; a level may be empty.
    #[inline]
    pub fn levels(self) -> Levels<'a> {
        Levels(self.0.split('/'))
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The filter of a subscription: a topic name in which `+` may stand for one level and a final `#` for all remaining
/// ones, or `$share/NAME/FILTER`, a shared subscription.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicFilter<'a>(&'a str);

const SHARE_PREFIX: &str = "$share/";

impl<'a> TopicFilter<'a> {
    /// Checks that `filter` is a legal topic filter. A shared subscription to a shared subscription is refused, since
    /// no topic could match it in a useful way.
    pub fn new(filter: &'a str) -> Result<Self, TopicError> {
        if filter.is_empty() {
            return Err(TopicError::Empty);
        }
        if filter.len() > FIELD_BYTES_MAX {
            return Err(TopicError::TooLong);
        }
        if text::contains_any(filter.as_bytes(), [0]) {
            return Err(TopicError::Nul);
        }
        match filter.strip_prefix(SHARE_PREFIX) {
            Some(shared) => check_shared(shared)?,
            None => check_levels(filter)?,
        }
        Ok(Self(filter))
    }

    /// The topic filter in a field of a packet.
    pub(crate) fn decode(field: &'a [u8]) -> Result<Self, DecodeError> {
        let filter = str::from_utf8(field).map_err(|_| DecodeError::Utf8)?;
        Self::new(filter).map_err(|error| match error {
            TopicError::Nul => DecodeError::Nul,
            TopicError::Hash => DecodeError::TopicFilterHash,
            TopicError::Plus => DecodeError::TopicFilterPlus,
            TopicError::Share => DecodeError::TopicFilterShare,
            // A packet's field cannot be too long, and the remaining errors concern names.
            _ => DecodeError::TopicFilterEmpty,
        })
    }

    /// The filter as text, `$share/NAME/` included.
    #[inline]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels between the slashes; a level may be empty. A shared subscription's first level is `$share`.
    #[inline]
    pub fn levels(self) -> Levels<'a> {
        Levels(self.0.split('/'))
    }

    /// The share name and the filter behind it, if this is a shared subscription.
    #[inline]
    pub fn shared(self) -> Option<(&'a str, TopicFilter<'a>)> {
        let (name, filter) = self.0.strip_prefix(SHARE_PREFIX)?.split_once('/')?;
        Some((name, TopicFilter(filter)))
    }

    /// Whether it contains `+` or `#`.
    #[inline]
    pub fn has_wildcard(self) -> bool {
        text::contains_any(self.0.as_bytes(), [b'+', b'#'])
    }

    /// Whether a message published to `topic` matches. A leading wildcard does not match a name that starts with `$`
    /// [MQTT-4.7.2-1], and `a/#` also matches `a`. A shared subscription matches if its inner filter does.
    pub fn matches(self, topic: TopicName<'_>) -> bool {
        let filter = self.shared().map_or(self, |(_, filter)| filter);
        if topic.0.starts_with('$') && filter.0.starts_with(['+', '#']) {
            return false;
        }
        let mut names = topic.levels();
        for level in filter.levels() {
            if level == "#" {
                return true;
            }
            match names.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

fn check_levels(filter: &str) -> Result<(), TopicError> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(TopicError::Hash);
        }
        if level.contains('+') && level != "+" {
            return Err(TopicError::Plus);
        }
    }
    Ok(())
}

/// Checks the part behind `$share/`: a share name without wildcards, a slash, a filter.
fn check_shared(shared: &str) -> Result<(), TopicError> {
    let (name, filter) = shared.split_once('/').ok_or(TopicError::Share)?;
    if name.is_empty() || name.contains(['+', '#']) || filter.is_empty() || filter.starts_with(SHARE_PREFIX) {
        return Err(TopicError::Share);
    }
    check_levels(filter)
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
