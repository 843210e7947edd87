//! All cases, in the order of the page.

mod away_cycles;
mod batch_worker;
mod churn;
mod connections;
mod filters;
mod floods;
mod idle_queues;
mod lost_puback;
mod memory;
mod mutual;
mod receivers;
mod retained;
mod returning_sessions;
mod shared_group;
mod slow_worker;
mod stuck_receivers;
mod takeovers;
mod unreleased;
mod wrong_passwords;

use crate::case::Case;

/// Every case.
pub(crate) const CASES: &[Case] = &[
    receivers::SILENT_QOS0,
    receivers::SILENT_QOS1,
    receivers::RECONNECTING,
    receivers::READS_25_KB,
    receivers::READS_200_KB,
    receivers::NO_PUBACK,
    receivers::SILENT_MEMBER,
    slow_worker::CASE,
    batch_worker::CASE,
    lost_puback::CASE,
    mutual::CASE,
    takeovers::CASE,
    returning_sessions::CASE,
    unreleased::CASE,
    away_cycles::CASE,
    stuck_receivers::CASE,
    floods::OFFERED,
    floods::LOADED,
    retained::CASE,
    connections::CASE,
    idle_queues::CASE,
    shared_group::CASE,
    filters::NEW_TOPICS,
    filters::DEEP,
    churn::CASE,
    wrong_passwords::PBKDF2,
    wrong_passwords::ARGON2ID,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn cases_and_their_figures_have_names_of_their_own() {
        let names: HashSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        for case in CASES {
            let figures: HashSet<_> = case.figures.iter().map(|figure| figure.name).collect();
            assert!(figures.len() == case.figures.len() && !figures.is_empty(), "{}", case.name);
        }
    }
}
