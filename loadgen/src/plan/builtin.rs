//! The plans that come with the program.

/// Their names and texts, in the order in which they are listed.
pub const PLANS: [(&str, &str); 3] = [
    ("transfer", include_str!("../../../bench/plans/transfer.toml")),
    ("forwarding", include_str!("../../../bench/plans/forwarding.toml")),
    ("compute", include_str!("../../../bench/plans/compute.toml")),
];
