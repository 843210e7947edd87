//! `--mosquitto-config`: a mosquitto.conf as Wisp's configuration file.
//!
//! ```text
//! mosquitto.conf, include_dir --lines.rs--> directives with their lines --convert.rs--> TOML, and notes
//! ```
//!
//! Each directive of mosquitto 2.1 is in the table of directives.rs: honoured, not needed, not supported, or refused, since the
//! broker would let in more clients than mosquitto without it.

mod convert;
mod directives;
mod lines;

pub(crate) use self::convert::convert;
pub(crate) use self::lines::closed_folders;

#[cfg(test)]
mod tests;
