//! The arguments that all programs have which take samples.

use std::path::PathBuf;

use clap::Args;
use wisp_report::time;

/// How often a point is measured if no plan says it.
const REPETITIONS: u32 = 5;

/// How often samples are taken, and where they go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Samples")]
pub struct Place {
    /// How often each combination is measured [default: as the plan says, else 5]
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repetitions: Option<u32>,
    /// The folder for records, plots and the report [default: results/NAME-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Take only the samples that the folder lacks, and the failed ones again
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// The seed of the order of samples [default: a new number, which is recorded]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
}

impl Place {
    /// How often each combination is measured, where no plan says it.
    #[must_use]
    pub fn repetitions(&self) -> u32 {
        self.repetitions.unwrap_or(REPETITIONS)
    }

    /// Where the records of a plan go.
    #[must_use]
    pub fn folder(&self, plan: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            let now = time::now().replace(':', "");
            PathBuf::from("results").join(format!("{plan}-{}", now.trim_end_matches('Z')))
        })
    }
}
