//! The plans that come with the program.

/// Their names and texts, in the order in which they are listed.
pub const PLANS: [(&str, &str); 1] = [("forwarding", include_str!("../../../bench/plans/forwarding.toml"))];
