//! What the system tells of processes and of the machine, in `/proc`. Only Linux does: elsewhere all of it is an error.

mod figures;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

pub use figures::Memory;
pub(crate) use figures::ProcessorTicks;
#[cfg(target_os = "linux")]
pub(crate) use linux::{children, ignored_signals, memory_bytes, processor_model, processor_ticks, usage_of_group};
#[cfg(target_os = "linux")]
pub use linux::{code_files, forget_peak, memory, peak_rss_bytes, program, written_bytes};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{children, ignored_signals, memory_bytes, processor_model, processor_ticks, usage_of_group};
#[cfg(not(target_os = "linux"))]
pub use other::{code_files, forget_peak, memory, peak_rss_bytes, program, written_bytes};
