//! The arguments of `plans`.

use clap::Args;

/// The arguments of `plans`.
#[derive(Args, Debug)]
pub(crate) struct Plans {
    /// The plan to explain, by its name or its path [default: all are listed]
    pub(crate) name: Option<String>,
    /// Their bounded versions
    #[arg(long)]
    pub(crate) quick: bool,
}
