//! Group testing: finds the ready ones among many descriptors on a host that can only tell whether a
//! group contains one.
//!
//! Most descriptors are not ready, and one question shows this for a whole group. So groups grow until one
//! contains a ready descriptor, and bisection finds the first of them. The next group is as long as the
//! part of this one up to that descriptor; so where many are ready, each is asked about alone.

use std::ops::Range;

/// Calls `found` with the position of each ready descriptor among `len`, in order. `any_ready` tells
/// whether a range of positions contains one. A range that it once affirmed yields one in any case.
pub(super) fn sift(len: usize, mut any_ready: impl FnMut(Range<usize>) -> bool, mut found: impl FnMut(usize)) {
    let (mut start, mut group) = (0, 1);
    while start < len {
        let mut end = len.min(start + group);
        if !any_ready(start..end) {
            start = end;
            group *= 2;
            continue;
        }
        let mut first = start;
        while end - first > 1 {
            let middle = first + (end - first) / 2;
            if any_ready(first..middle) {
                end = middle;
            } else {
                first = middle;
            }
        }
        found(first);
        group = first - start + 1;
        start = first + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result for `ready`: the positions found, the number of questions, and the number of
    /// descriptors in them.
    struct Sifting {
        found: Vec<usize>,
        questions: usize,
        asked_about: usize,
    }

    fn sifted(ready: &[bool]) -> Sifting {
        let mut sifting = Sifting { found: Vec::new(), questions: 0, asked_about: 0 };
        let any_ready = |range: Range<usize>| {
            assert!(!range.is_empty());
            sifting.questions += 1;
            sifting.asked_about += range.len();
            ready[range].contains(&true)
        };
        sift(ready.len(), any_ready, |place| sifting.found.push(place));
        sifting
    }

    fn places(ready: &[bool]) -> Vec<usize> {
        (0..ready.len()).filter(|place| ready[*place]).collect()
    }

    /// Pseudo-random numbers, the same in each run.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn every_combination_of_a_few_is_found() {
        for len in 0..=12 {
            for bits in 0..1_u32 << len {
                let ready: Vec<bool> = (0..len).map(|place| bits >> place & 1 == 1).collect();
                assert_eq!(sifted(&ready).found, places(&ready), "{ready:?}");
            }
        }
    }

    #[test]
    fn that_nothing_is_ready_takes_few_questions_about_each_once() {
        for (len, questions) in [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (1_000, 10)] {
            let sifting = sifted(&vec![false; len]);
            assert_eq!((sifting.questions, sifting.asked_about), (questions, len), "{len} descriptors");
        }
    }

    #[test]
    fn where_all_are_ready_each_is_asked_about_alone() {
        let sifting = sifted(&[true; 1_000]);
        assert_eq!((sifting.questions, sifting.asked_about), (1_000, 1_000));
    }

    #[test]
    fn one_of_a_thousand_takes_few_questions_wherever_it_is() {
        for place in 0..1_000 {
            let mut ready = vec![false; 1_000];
            ready[place] = true;
            let sifting = sifted(&ready);
            assert!(sifting.questions <= 30, "{} questions for place {place}", sifting.questions);
            assert!(sifting.asked_about <= 2_100, "asked about {} for place {place}", sifting.asked_about);
        }
    }

    #[test]
    fn however_many_are_ready_it_takes_little_more_than_asking_about_each() {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for per_mille in (0..=1_000).step_by(50) {
            let ready: Vec<bool> = (0..10_000).map(|_| random(&mut state) % 1_000 < per_mille).collect();
            let sifting = sifted(&ready);
            assert_eq!(sifting.found, places(&ready));
            assert!(sifting.questions <= 13_000, "{} questions at {per_mille} ‰", sifting.questions);
            assert!(sifting.asked_about <= 40_000, "asked about {} at {per_mille} ‰", sifting.asked_about);
        }
    }

    #[test]
    fn it_ends_where_what_was_ready_no_longer_is() {
        // Random answers, as if descriptors changed all the time.
        let mut state = 1;
        for len in 0..200 {
            let mut found = Vec::new();
            sift(len, |_| random(&mut state).is_multiple_of(2), |place| found.push(place));
            assert!(found.is_sorted() && found.last().is_none_or(|last| *last < len), "{found:?} of {len}");
        }
    }
}
