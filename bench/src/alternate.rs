//! Two brokers that are driven in turn, slice by slice.
//!
//! The machine's speed changes within a second. Slices that alternate see the same changes, so most of them cancel in the
//! ratio of the sums. A difference of a few percent shows in no other way.

use crate::loadgen::drive_here;
use crate::plan::{Case, Point, WINDOW};
use wisp_lab::broker::Running;
use wisp_lab::failure::{Failure, Interrupt};

/// The slices of a sample. Each is long enough that the start of its connections does not show.
pub(crate) const SLICES: u64 = 4;

/// The work of [`costs`]: 1 KB at QoS 0 from ten senders to ten receivers.
const CASE: Case = Case { qos: 0, point: Point::new(10, 10) };
/// The share of the messages of a sample that warms a broker up.
const WARM_UP_SHARE: u64 = 10;

/// Takes slices of two subjects in turn, by their index and the number of the slice, counted from 1. The subject that goes first
/// changes with each slice, and with each `round`.
pub(crate) fn alternate<T>(
    round: usize,
    slices: u64,
    mut take: impl FnMut(usize, u64) -> Result<T, Failure>,
) -> Result<[Vec<T>; 2], Failure> {
    let mut taken = [Vec::new(), Vec::new()];
    for slice in 1..=slices {
        let first = (round + slice as usize) % 2;
        for index in [first, 1 - first] {
            taken[index].push(take(index, slice)?);
        }
    }
    Ok(taken)
}

/// The cost of forwarding: the sums of all slices.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(crate) struct Cost {
    pub(crate) messages: u64,
    pub(crate) seconds: f64,
    /// Processor time of all threads of the broker, a runtime's included.
    pub(crate) cpu_s: f64,
}

/// Drives both brokers with messages at QoS 0 from ten senders to ten receivers, in alternating slices.
///
/// # Errors
/// When a message was lost, or the system does not count processor time; or when interrupted.
pub(crate) fn costs(
    brokers: [&Running; 2],
    round: usize,
    messages: u64,
    interrupt: &Interrupt,
) -> Result<[Cost; 2], Failure> {
    let drive =
        |index: usize, messages: u64| drive_here(brokers[index], CASE, WINDOW.get(), messages.max(1), interrupt);
    for index in [0, 1] {
        drive(index, messages / WARM_UP_SHARE)?;
    }
    let slices = alternate(round, SLICES, |index, _| {
        let (report, cpu_s) = drive(index, messages / SLICES)?;
        Ok(Cost { messages: report.received, seconds: report.seconds, cpu_s: cpu_s.ok_or_else(uncounted)? })
    })?;
    Ok(slices.map(|slices| {
        slices.into_iter().fold(Cost::default(), |sum, slice| Cost {
            messages: sum.messages + slice.messages,
            seconds: sum.seconds + slice.seconds,
            cpu_s: sum.cpu_s + slice.cpu_s,
        })
    }))
}

/// The failure on a system where processor time is not known.
pub(crate) fn uncounted() -> Failure {
    Failure::Setup("this system does not count the processor time of another process".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_goes_first_as_often_as_the_other() {
        let mut order = Vec::new();
        let [this, other] = alternate(1, 4, |index, slice| {
            order.push(index);
            Ok((index, slice))
        })
        .unwrap();
        assert_eq!(order, [0, 1, 1, 0, 0, 1, 1, 0]);
        assert_eq!(this, [(0, 1), (0, 2), (0, 3), (0, 4)]);
        assert_eq!(other, [(1, 1), (1, 2), (1, 3), (1, 4)]);
        let mut order = Vec::new();
        alternate(2, 1, |index, _| {
            order.push(index);
            Ok(())
        })
        .unwrap();
        assert_eq!(order, [1, 0]);
    }

    #[test]
    fn a_failed_slice_ends_the_sample() {
        let failed = alternate(1, 4, |_, slice| if slice == 2 { Err(uncounted()) } else { Ok(()) });
        assert_eq!(failed, Err(uncounted()));
    }
}
