//! The command line. Read by hand: a library for it would be most of a module that runtimes have to compile.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};

use crate::{Buffer, Settings};

/// The form of the command line.
pub const USAGE: &str = "usage: wisp-transfer --listen ADDR:PORT --messages COUNT --size BYTES --buffer message|BYTES";

/// The command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arguments {
    /// Where the connection comes to. A host whose listeners are handed in ignores it.
    pub listen: SocketAddr,
    /// The transfer.
    pub settings: Settings,
}

/// Why arguments are none. Shown in one line, with the form of the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArgumentsError {
    /// There is no such flag.
    Unknown(String),
    /// A flag stands at the end.
    NoValue(String),
    /// A flag has a wrong value.
    Value {
        /// The flag.
        flag: String,
        /// Its value.
        value: String,
    },
    /// A flag is missing.
    Missing,
}

impl fmt::Display for ArgumentsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(flag) => write!(f, "{flag} is unknown")?,
            Self::NoValue(flag) => write!(f, "{flag} has no value")?,
            Self::Value { flag, value } => write!(f, "{flag} cannot be {value}")?,
            Self::Missing => f.write_str("a flag is missing")?,
        }
        write!(f, "; {USAGE}")
    }
}

impl Error for ArgumentsError {}

impl Arguments {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// The mistake, in one line.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, ArgumentsError> {
        let (mut listen, mut messages, mut size_bytes, mut buffer) = (None, None, None, None);
        while let Some(flag) = words.next() {
            let Some(value) = words.next() else { return Err(ArgumentsError::NoValue(flag)) };
            let understood = match flag.as_str() {
                "--listen" => value.parse::<SocketAddr>().map(|value| listen = Some(value)).is_ok(),
                "--messages" => value.parse::<NonZeroU64>().map(|value| messages = Some(value)).is_ok(),
                "--size" => value.parse::<NonZeroUsize>().map(|value| size_bytes = Some(value)).is_ok(),
                "--buffer" => parse_buffer(&value).map(|value| buffer = Some(value)).is_some(),
                _ => return Err(ArgumentsError::Unknown(flag)),
            };
            if !understood {
                return Err(ArgumentsError::Value { flag, value });
            }
        }
        let (Some(listen), Some(messages), Some(size_bytes), Some(buffer)) = (listen, messages, size_bytes, buffer)
        else {
            return Err(ArgumentsError::Missing);
        };
        Ok(Self { listen, settings: Settings { messages, size_bytes, buffer } })
    }
}

fn parse_buffer(text: &str) -> Option<Buffer> {
    match text {
        "message" => Some(Buffer::Message),
        bytes => bytes.parse().ok().map(Buffer::Bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, ArgumentsError> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_flag_says_its_part() {
        let arguments = parse("--size 3 --buffer 4096 --listen 127.0.0.1:7 --messages 2").unwrap();
        assert_eq!(arguments.listen.to_string(), "127.0.0.1:7");
        let settings = arguments.settings;
        assert_eq!((settings.messages.get(), settings.size_bytes.get()), (2, 3));
        assert_eq!(settings.buffer, Buffer::Bytes(NonZeroUsize::new(4096).unwrap()));
        let arguments = parse("--size 3 --buffer message --listen 127.0.0.1:7 --messages 2").unwrap();
        assert_eq!(arguments.settings.buffer, Buffer::Message);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("", "missing"),
            ("--size 3 --buffer message --listen 127.0.0.1:7", "missing"),
            ("--size", "--size has no value"),
            ("--size 0", "--size cannot be 0"),
            ("--messages many", "--messages cannot be many"),
            ("--buffer 0", "--buffer cannot be 0"),
            ("--listen here", "--listen cannot be here"),
            ("--workers 2", "--workers is unknown"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains(USAGE), "{error}");
        }
    }
}
