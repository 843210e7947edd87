//! A plan of measurements, written as TOML or given by options of a command, and expanded into points.
//!
//! ```text
//!   text or options --source--> settings of each case --settings, values--> points, in the order of the sweep's phases
//! ```
//!
//! ```toml
//! name = "forwarding"            # letters, digits and -; identifies the plan's records
//! title = "Forwarding"
//! about = """The question and the method, for `plans` and for the report."""
//! kind = "throughput"            # throughput, latency or connections; transfer, start and compute are run by wisp-bench
//! repetitions = 5
//! sample_s = 3.0                 # optional: about how long a sample takes, if `seconds` is not set
//!
//! [settings]                     # a value, a list, or a range in text: each with each
//! broker = ["native", "mosquitto"]
//! senders = "1..40"              # or "1..40 step 3", "1..1000 times 10", "cores", "1..20*cores", "1,2,4..8"
//! seconds = 2.0                  # messages of a sample so that it takes about so long; or messages = 100000
//!
//! [[case]]                       # optional: each adds to the settings or changes them; the plan is the union of its cases
//! receivers = 1
//! repetitions = 3                # optional: an upper bound for this case
//! quick = false                  # optional: left out of quick runs; "only" there; or settings, as in quick = { size_bytes = 64 }
//!
//! [quick]                        # optional: changes in quick runs
//! repetitions = 3
//! settings = { seconds = 0.3 }
//!
//! [[figure]]                     # optional: a figure to draw, see `figure`; of fields that samples of the kind have
//! ```
//!
//! Later ones of these win: the settings, a case, quick settings, a case's quick settings, options of the command.

pub mod builtin;
mod changes;
mod combinations;
mod default_figures;
mod error;
mod field;
mod figures;
mod find;
mod load;
mod measurements;
mod point;
mod programs;
mod setting;
mod settings;
mod source;
mod values;

pub use changes::Changes;
pub use combinations::WrittenSettings;
pub use default_figures::figures as default_figures;
pub use error::{Expected, Fault, Mistake, PlanError, SettingError};
pub use load::{BrokerChoice, BrokerSetup, Connections, Load};
pub use measurements::{MAXIMUM_REPETITIONS, Phase, Plan};
pub use point::Point;
pub use programs::{Buffer, Compute, SizeUnit, Start, Transfer, Work};
#[cfg(test)]
pub(crate) use setting::names;
pub use setting::{SIZE_BYTES_MAX, Setting, Value};
pub use settings::Settings;
pub use values::{ValueError, Written, values_of};
pub use wisp_report::kind::Kind;

#[cfg(test)]
mod tests;
