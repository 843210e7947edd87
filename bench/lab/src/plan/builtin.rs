//! The plans that come with the program.

/// Their names and texts, in the order in which they are listed.
pub const PLANS: [(&str, &str); 10] = [
    ("ceiling", include_str!("../../../plans/ceiling.toml")),
    ("transfer", include_str!("../../../plans/transfer.toml")),
    ("forwarding", include_str!("../../../plans/forwarding.toml")),
    ("enqueueing", include_str!("../../../plans/enqueueing.toml")),
    ("sizes", include_str!("../../../plans/sizes.toml")),
    ("fan", include_str!("../../../plans/fan.toml")),
    ("latency", include_str!("../../../plans/latency.toml")),
    ("start", include_str!("../../../plans/start.toml")),
    ("compute", include_str!("../../../plans/compute.toml")),
    ("compute-long", include_str!("../../../plans/compute-long.toml")),
];
