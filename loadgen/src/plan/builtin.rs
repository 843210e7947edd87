//! The plans that come with the program.

/// Their names and texts, in the order in which they are listed.
pub const PLANS: [(&str, &str); 10] = [
    ("ceiling", include_str!("../../../bench/plans/ceiling.toml")),
    ("transfer", include_str!("../../../bench/plans/transfer.toml")),
    ("forwarding", include_str!("../../../bench/plans/forwarding.toml")),
    ("enqueueing", include_str!("../../../bench/plans/enqueueing.toml")),
    ("sizes", include_str!("../../../bench/plans/sizes.toml")),
    ("fan", include_str!("../../../bench/plans/fan.toml")),
    ("latency", include_str!("../../../bench/plans/latency.toml")),
    ("start", include_str!("../../../bench/plans/start.toml")),
    ("compute", include_str!("../../../bench/plans/compute.toml")),
    ("compute-long", include_str!("../../../bench/plans/compute-long.toml")),
];
