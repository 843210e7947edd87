//! One combination of values, read into typed settings and written from them.

use std::collections::BTreeMap;

use wisp_arguments::parse_version;
use wisp_client::{ProtocolVersion, QoS};
use wisp_loadgen::Pattern;

use crate::broker::{Broker, Mode};
use crate::host::{Host, HostMode};
use crate::plan::error::{Fault, SettingError};
use crate::plan::setting::{Setting, Value};
use crate::plan::values::ValueError;

/// The value of each setting of a combination.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Combination(pub(super) BTreeMap<Setting, Value>);

impl Combination {
    /// Takes a setting out. None if it is not set.
    pub(super) fn optional<T: Field>(&mut self, setting: Setting) -> Result<Option<T>, SettingError> {
        self.0.remove(&setting).map(T::read).transpose().map_err(|fault| fault.of(setting))
    }

    /// Takes a setting out that cannot be missing.
    pub(super) fn required<T: Field>(&mut self, setting: Setting) -> Result<T, SettingError> {
        self.optional(setting)?.ok_or_else(|| Fault::Missing.of(setting))
    }

    /// Takes a list out, which is empty if it is not set.
    pub(super) fn texts(&mut self, setting: Setting) -> Result<Vec<String>, SettingError> {
        Ok(self.optional(setting)?.unwrap_or_default())
    }

    /// The combination with a setting.
    pub(super) fn with(mut self, setting: Setting, field: &impl Field) -> Self {
        self.0.insert(setting, field.write());
        self
    }

    /// The combination with a setting, if there is one.
    pub(super) fn with_some(self, setting: Setting, field: Option<&impl Field>) -> Self {
        match field {
            Some(field) => self.with(setting, field),
            None => self,
        }
    }

    /// The combination with a list, unless it is empty.
    pub(super) fn with_texts(self, setting: Setting, texts: &Vec<String>) -> Self {
        self.with_some(setting, Some(texts).filter(|texts| !texts.is_empty()))
    }
}

/// A type of settings.
pub(super) trait Field: Sized {
    /// Reads a value whose type and range have been checked.
    fn read(value: Value) -> Result<Self, Fault>;

    /// The value as plans write it.
    fn write(&self) -> Value;
}

fn text_of(value: Value) -> Result<String, Fault> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(ValueError::NotText(other.into()).into()),
    }
}

fn whole_of(value: Value, most: u64) -> Result<u64, Fault> {
    match value {
        Value::Whole(number) if number <= most => Ok(number),
        value => Err(ValueError::NotWhole { value, least: 0, most }.into()),
    }
}

macro_rules! whole_field {
    ($($number:ty),*) => {
        $(impl Field for $number {
            fn read(value: Value) -> Result<Self, Fault> {
                whole_of(value, <$number>::MAX.into()).map(|number| number as $number)
            }

            fn write(&self) -> Value {
                Value::Whole((*self).into())
            }
        })*
    };
}

whole_field!(u16, u32, u64);

impl Field for f64 {
    fn read(value: Value) -> Result<Self, Fault> {
        value.number().ok_or_else(|| ValueError::NotNumber(value.clone().into()).into())
    }

    fn write(&self) -> Value {
        Value::of_number(*self)
    }
}

impl Field for String {
    fn read(value: Value) -> Result<Self, Fault> {
        text_of(value)
    }

    fn write(&self) -> Value {
        Value::Text(self.clone())
    }
}

impl Field for Vec<String> {
    fn read(value: Value) -> Result<Self, Fault> {
        match value {
            Value::Texts(texts) => Ok(texts),
            other => text_of(other).map(|text| vec![text]),
        }
    }

    fn write(&self) -> Value {
        Value::Texts(self.clone())
    }
}

impl Field for QoS {
    fn read(value: Value) -> Result<Self, Fault> {
        let number = whole_of(value, 2)?;
        QoS::new(number as u8)
            .ok_or_else(|| ValueError::NotWhole { value: Value::Whole(number), least: 0, most: 2 }.into())
    }

    fn write(&self) -> Value {
        Value::Whole(*self as u64)
    }
}

impl Field for ProtocolVersion {
    fn read(value: Value) -> Result<Self, Fault> {
        let text = text_of(value)?;
        parse_version(&text).map_err(|cause| Fault::Version { text, cause })
    }

    fn write(&self) -> Value {
        Value::Text(
            match self {
                Self::Mqtt31 => "3.1",
                Self::Mqtt311 => "3.1.1",
                Self::Mqtt5 => "5",
            }
            .to_owned(),
        )
    }
}

/// Types that are read and shown as a text.
macro_rules! text_field {
    ($($text:ty),*) => {
        $(impl Field for $text {
            fn read(value: Value) -> Result<Self, Fault> {
                Ok(text_of(value)?.parse()?)
            }

            fn write(&self) -> Value {
                Value::Text(self.to_string())
            }
        })*
    };
}

text_field!(Broker, Mode, Pattern, Host, HostMode);
