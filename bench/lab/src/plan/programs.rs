//! The settings of samples without a load: transfers, starts of brokers, and work without sockets.

use std::fmt;
use std::str::FromStr;

use crate::broker::{Broker, Mode};
use crate::host::{Host, HostMode};
use crate::plan::error::{Fault, SettingError};
use crate::plan::field::{Combination, Field};
use crate::plan::setting::{Setting, Value};

const KIB: u64 = 1024;
/// The word for one message in each call.
const MESSAGE: &str = "message";

/// Messages over one plain connection, to a program on a host and back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// Where the program runs.
    pub host: Host,
    /// Messages in each direction.
    pub messages: u64,
    /// Bytes of each.
    pub size_bytes: u64,
    /// The bytes of one call.
    pub buffer: Buffer,
}

impl Transfer {
    pub(super) fn read(from: &mut Combination) -> Result<Self, SettingError> {
        Ok(Self {
            host: from.required(Setting::Host)?,
            messages: from.required(Setting::Messages)?,
            size_bytes: from.required(Setting::SizeBytes)?,
            buffer: from.required(Setting::Buffer)?,
        })
    }

    pub(super) fn write(&self) -> Combination {
        Combination::default()
            .with(Setting::Host, &self.host)
            .with(Setting::Messages, &self.messages)
            .with(Setting::SizeBytes, &self.size_bytes)
            .with(Setting::Buffer, &self.buffer)
    }
}

/// The bytes that a program asks its host for in one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Buffer {
    /// Those of one message.
    Message,
    /// So many units.
    Size {
        /// How many.
        count: u64,
        /// Of which unit.
        unit: SizeUnit,
    },
}

/// A unit of sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SizeUnit {
    /// Bytes.
    B,
    /// Kibibytes.
    KiB,
    /// Mebibytes.
    MiB,
}

impl SizeUnit {
    const ALL: [Self; 3] = [Self::B, Self::KiB, Self::MiB];

    fn name(self) -> &'static str {
        match self {
            Self::B => "B",
            Self::KiB => "KiB",
            Self::MiB => "MiB",
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::B => 1,
            Self::KiB => KIB,
            Self::MiB => KIB * KIB,
        }
    }
}

impl Buffer {
    /// The bytes; None for those of one message.
    #[must_use]
    pub fn bytes(self) -> Option<u64> {
        match self {
            Self::Message => None,
            Self::Size { count, unit } => count.checked_mul(unit.bytes()),
        }
    }
}

impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message => f.write_str(MESSAGE),
            Self::Size { count, unit } => write!(f, "{count} {}", unit.name()),
        }
    }
}

impl FromStr for Buffer {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if text == MESSAGE {
            return Ok(Self::Message);
        }
        let unit = |name: &str| SizeUnit::ALL.into_iter().find(|unit| unit.name() == name);
        text.split_once(' ')
            .and_then(|(count, name)| Some(Self::Size { count: count.parse().ok()?, unit: unit(name)? }))
            .filter(|size| size.bytes().is_some_and(|bytes| bytes > 0))
            .ok_or_else(|| Fault::Buffer(text.to_owned()))
    }
}

impl Field for Buffer {
    fn read(value: Value) -> Result<Self, Fault> {
        String::read(value)?.parse()
    }

    fn write(&self) -> Value {
        Value::Text(self.to_string())
    }
}

/// The start of a broker, and what it needs. None stands for the measurement's own default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// The broker.
    pub broker: Broker,
    /// How a runtime runs it. Native programs are ahead of time, too.
    pub mode: Option<Mode>,
    /// Workers of brokers that have such a setting.
    pub workers: Option<u32>,
    /// Messages that it forwards while its memory is watched.
    pub messages: Option<u64>,
    /// Connections that send them.
    pub senders: Option<u32>,
    /// Connections that receive them.
    pub receivers: Option<u32>,
}

impl Start {
    pub(super) fn read(from: &mut Combination) -> Result<Self, SettingError> {
        Ok(Self {
            broker: from.required(Setting::Broker)?,
            mode: from.optional(Setting::Mode)?,
            workers: from.optional(Setting::Workers)?,
            messages: from.optional(Setting::Messages)?,
            senders: from.optional(Setting::Senders)?,
            receivers: from.optional(Setting::Receivers)?,
        })
    }

    pub(super) fn write(&self) -> Combination {
        Combination::default()
            .with(Setting::Broker, &self.broker)
            .with_some(Setting::Mode, self.mode.as_ref())
            .with_some(Setting::Workers, self.workers.as_ref())
            .with_some(Setting::Messages, self.messages.as_ref())
            .with_some(Setting::Senders, self.senders.as_ref())
            .with_some(Setting::Receivers, self.receivers.as_ref())
    }
}

/// Work without sockets on a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compute {
    /// Where the program runs.
    pub host: Host,
    /// How the host runs it.
    pub mode: HostMode,
    /// The work.
    pub work: Work,
}

/// The work of `wisp-compute`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// To make random numbers.
    Random {
        /// How many.
        count: u64,
    },
    /// To sort a file.
    Sort {
        /// How long it is.
        file_bytes: u64,
    },
}

impl Work {
    /// The name as plans write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Random { .. } => "random",
            Self::Sort { .. } => "sort",
        }
    }
}

impl Compute {
    pub(super) fn read(from: &mut Combination) -> Result<Self, SettingError> {
        let program: String = from.required(Setting::Program)?;
        let work = match program.as_str() {
            "random" => Work::Random { count: from.required(Setting::Count)? },
            "sort" => Work::Sort { file_bytes: from.required(Setting::FileBytes)? },
            _ => return Err(Fault::Program(program).of(Setting::Program)),
        };
        let other = match work {
            Work::Random { .. } => Setting::FileBytes,
            Work::Sort { .. } => Setting::Count,
        };
        if from.optional::<u64>(other)?.is_some() {
            let beside = format!("{} {}", Setting::Program, work.name());
            return Err(Fault::NoUse { kind: "compute", beside }.of(other));
        }
        Ok(Self { host: from.required(Setting::Host)?, mode: from.required(Setting::Mode)?, work })
    }

    pub(super) fn write(&self) -> Combination {
        let combination = Combination::default()
            .with(Setting::Host, &self.host)
            .with(Setting::Mode, &self.mode)
            .with(Setting::Program, &self.work.name().to_owned());
        match self.work {
            Work::Random { count } => combination.with(Setting::Count, &count),
            Work::Sort { file_bytes } => combination.with(Setting::FileBytes, &file_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_read_with_their_unit_and_written_alike() {
        for (text, bytes) in
            [("message", None), ("7 B", Some(7)), ("256 KiB", Some(262_144)), ("2 MiB", Some(2_097_152))]
        {
            let buffer: Buffer = text.parse().unwrap();
            assert_eq!((buffer.bytes(), buffer.to_string().as_str()), (bytes, text));
        }
        for wrong in ["", "256", "256KiB", "0 KiB", "-1 B", "1 GB", "99999999999999999999 B", "9999999999999999 MiB"] {
            assert_eq!(wrong.parse::<Buffer>(), Err(Fault::Buffer(wrong.to_owned())));
        }
    }
}
