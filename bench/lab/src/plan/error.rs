//! Why there is no plan, and why settings are none.

use std::io;

use wisp_arguments::UnknownVersion;
use wisp_loadgen::{InvalidTarget, LayoutError, UnknownPattern};
use wisp_report::figure::FigureError;
use wisp_report::kind::Kind;

use crate::broker::{InvalidBroker, Mode, UnknownMode};
use crate::failure::Failure;
use crate::host::UnknownName;
use crate::plan::setting::{CONNECTIONS_MAX, Setting, names};
use crate::plan::values::{ValueError, Written};

/// More combinations than anybody waits for.
pub(super) const POINTS_MAX: usize = 10_000;
/// Repetitions are for medians and quartiles; nobody waits for more of them.
pub(super) const REPETITIONS_MAX: u64 = 1000;
/// The keys of a plan.
pub(super) const KEYS: [&str; 10] =
    ["name", "title", "about", "kind", "repetitions", "sample_s", "settings", "case", "quick", "figure"];

/// Why there is no plan. Shown in one line.
#[derive(thiserror::Error, Debug)]
pub enum PlanError {
    /// Neither a built-in plan nor a file has this name.
    #[error("{name} is neither a plan (which are {known}) nor a file")]
    Unknown {
        /// The name.
        name: String,
        /// The built-in plans.
        known: String,
    },
    /// The file of a plan cannot be read.
    #[error("cannot read {file}: {cause}")]
    Unreadable {
        /// The file.
        file: String,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// The text of a plan is wrong.
    #[error("{origin}: {mistake}")]
    Wrong {
        /// The file, or the name of a built-in plan.
        origin: String,
        /// The first mistake in it.
        #[source]
        mistake: Box<Mistake>,
    },
    /// The settings of a command line are wrong.
    #[error(transparent)]
    Settings(#[from] SettingError),
    /// Another program runs plans of this kind.
    #[error("{plan}: plans of the kind {} are run by {program}", .kind.name())]
    OtherProgram {
        /// The plan.
        plan: String,
        /// Its kind.
        kind: Kind,
        /// The program that runs them.
        program: &'static str,
    },
}

/// A mistake in the text of a plan, with the key where it is.
#[derive(thiserror::Error, Debug)]
pub enum Mistake {
    /// It is no TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// The line, counted from 1.
        line: usize,
        /// The reason.
        message: String,
    },
    /// A plan has no such key.
    #[error("{0}: no key of a plan (which are {known})", known = KEYS.join(", "))]
    UnknownKey(String),
    /// The changes in quick runs have no such key.
    #[error("quick.{0}: no key there (which are repetitions, settings)")]
    UnknownQuickKey(String),
    /// A key is missing.
    #[error("{0}: not there")]
    Missing(&'static str),
    /// A value has another type.
    #[error("{path}: {value} is no {expected}")]
    Type {
        /// The key.
        path: String,
        /// The value.
        value: Written,
        /// The expected type, and its range.
        expected: Expected,
    },
    /// A name with other characters.
    #[error("name: {0:?} is not made of letters, digits and -")]
    Name(String),
    /// A kind that does not exist.
    #[error("kind: {0:?} is none (use {known})", known = Kind::ALL.map(Kind::name).join(", "))]
    Kind(String),
    /// A table in place of a list of them.
    #[error("{key}: {key}s are written as [[{key}]]")]
    NotList {
        /// The key.
        key: &'static str,
    },
    /// What quick runs change in a case.
    #[error("case {case}, quick: {value} is neither true, false, \"only\" nor settings")]
    Quick {
        /// The case, counted from 1.
        case: usize,
        /// The value.
        value: Written,
    },
    /// Quick runs have no case.
    #[error("quick: it leaves no case")]
    NoCase,
    /// The kind has no setting of this name.
    #[error("{place}{name}: no setting of {} (which are {})", .kind.name(), names(*.kind).collect::<Vec<_>>().join(", "))]
    UnknownSetting {
        /// The table with the setting.
        place: String,
        /// The name.
        name: String,
        /// The plan's kind.
        kind: Kind,
    },
    /// A setting of the plan is wrong.
    #[error("settings.{0}")]
    Setting(#[source] SettingError),
    /// A setting of a case is wrong.
    #[error("case {case}, {cause}")]
    CaseSetting {
        /// The case, counted from 1.
        case: usize,
        /// The reason.
        #[source]
        cause: SettingError,
    },
    /// A figure cannot be read.
    #[error("figure {number}: {reason}")]
    Unreadable {
        /// The figure, counted from 1.
        number: usize,
        /// The reason.
        reason: String,
    },
    /// A figure cannot be drawn.
    #[error("figure {figure:?}, {cause}")]
    Figure {
        /// The figure.
        figure: String,
        /// The reason.
        #[source]
        cause: FigureError,
    },
    /// Two figures have one name.
    #[error("figure {0:?}, name: it is another's too")]
    SameName(String),
    /// A figure is of a field that samples do not have.
    #[error("figure {figure:?}, {key}: {field:?} is neither set nor measured in samples of {}{}", .kind.name(), is_it(.similar))]
    UnknownField {
        /// The figure.
        figure: String,
        /// The key of the figure.
        key: &'static str,
        /// The field.
        field: String,
        /// The plan's kind.
        kind: Kind,
        /// A field with a similar name.
        similar: Option<String>,
    },
}

fn is_it(similar: &Option<String>) -> String {
    similar.as_ref().map(|name| format!(" (is it {name}?)")).unwrap_or_default()
}

/// The type of a key of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Expected {
    /// A text.
    #[error("text")]
    Text,
    /// A number above 0.
    #[error("number above 0")]
    Positive,
    /// A number of repetitions.
    #[error("whole number from 1 to {REPETITIONS_MAX}")]
    Repetitions,
    /// A table.
    #[error("table")]
    Table,
}

/// A setting that is wrong, by itself or beside the others.
#[derive(thiserror::Error, Clone, PartialEq, Debug)]
#[error("{setting}: {fault}")]
pub struct SettingError {
    /// The setting.
    pub setting: Setting,
    /// The reason.
    #[source]
    pub fault: Fault,
}

/// What is wrong with a setting.
#[derive(thiserror::Error, Clone, PartialEq, Debug)]
pub enum Fault {
    /// It is no value, list or range of the setting.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// It names no broker.
    #[error(transparent)]
    Broker(#[from] InvalidBroker),
    /// It is no URL of a broker.
    #[error(transparent)]
    Target(#[from] InvalidTarget),
    /// A URL with a user.
    #[error("users and passwords would stand in every record, --url takes them")]
    Credentials,
    /// There is no broker.
    #[error("none is named, neither here nor with --broker or --url")]
    NoBroker,
    /// Connections are those of MQTT.
    #[error("{0} speaks no MQTT, whose connections are measured")]
    NotMqtt(String),
    /// No runtime has such a mode.
    #[error(transparent)]
    Mode(#[from] UnknownMode),
    /// The broker has no such mode.
    #[error("{broker} has no mode {mode}")]
    NoMode {
        /// The broker.
        broker: String,
        /// The mode.
        mode: Mode,
    },
    /// It is no version of MQTT.
    #[error("{text:?} is none, {cause}")]
    Version {
        /// The value.
        text: String,
        /// The reason.
        cause: UnknownVersion,
    },
    /// NATS has QoS 0 alone.
    #[error("{0} speaks NATS, which has QoS 0 alone")]
    NatsQos(String),
    /// There is no such pattern.
    #[error(transparent)]
    Pattern(#[from] UnknownPattern),
    /// The numbers do not fit the pattern.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// There are more clients than ports.
    #[error(
        "{senders} and {receivers} receivers are more than {CONNECTIONS_MAX} connections, which is about as many local ports as \
         there are"
    )]
    Connections {
        /// Connections that send.
        senders: u32,
        /// Connections that receive.
        receivers: u32,
    },
    /// The sink has no receivers.
    #[error("the sink forwards nothing, so that there can be none (0)")]
    SinkReceivers,
    /// At QoS 0 only a receiver can tell how long a message takes.
    #[error("without any, nothing is known of latency at QoS 0")]
    NoReceivers,
    /// Latency is measured at a rate.
    #[error("neither it nor {} is set, and latency is measured at a rate", Setting::RatePerS)]
    NoRate,
    /// Two settings exclude each other.
    #[error("{0} is set too, and only one of them can be")]
    Both(Setting),
    /// There are too many points.
    #[error("with its values there are more than {POINTS_MAX} combinations")]
    Combinations,
    /// The kind cannot do without it.
    #[error("it has to be set")]
    Missing,
    /// The other settings leave it no use.
    #[error("no setting of {kind} beside {beside}")]
    NoUse {
        /// The kind's name.
        kind: &'static str,
        /// The setting that leaves it no use, with its value.
        beside: String,
    },
    /// No host or mode of a host has this name.
    #[error(transparent)]
    Name(#[from] UnknownName),
    /// There is no such program.
    #[error("{0} is neither random nor sort")]
    Program(String),
    /// It is no size of a buffer.
    #[error("{0} is neither message nor a size as in 256 KiB")]
    Buffer(String),
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::Setup(error.to_string())
    }
}

impl From<SettingError> for Failure {
    fn from(error: SettingError) -> Self {
        Self::Setup(error.to_string())
    }
}

impl Fault {
    /// The same, as the fault of a setting.
    pub(super) fn of(self, setting: Setting) -> SettingError {
        SettingError { setting, fault: self }
    }
}
