//! Addresses that send wrong passwords again and again: their next checks wait, longer each time.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

/// Failures without a delay: a user mistypes a password.
const FREE_FAILURES: u32 = 3;
/// The delay after the next failure. It doubles with each.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// The longest delay, and the longest time that a CONNECT waits for the ones before it.
const DELAY_MAX: Duration = Duration::from_secs(5);
/// How long after its last failure an address is forgotten.
const FORGET: Duration = Duration::from_secs(300);
/// Most addresses known.
const ADDRESSES_MAX: usize = 4096;

/// The party that failures are counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    Address(IpAddr),
    /// On a host that tells no addresses: the user.
    User(Box<str>),
    /// Loopback, which has no limits for an address.
    Loopback,
}

/// The address that a limit counts for: an address of IPv4, or a network of IPv6, since each client has one. None of a
/// loopback address, which many clients share.
fn counted_address(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Some(IpAddr::V6(network.into()))
        }
        address => Some(address),
    }
}

/// The addresses that have failed.
#[derive(Debug, Default)]
pub(super) struct Failures(HashMap<Origin, Failing, RandomState>);

#[derive(Debug)]
struct Failing {
    count: u32,
    last: Instant,
    /// When the next check may begin.
    next: Instant,
}

impl Origin {
    pub(super) fn of(peer: Option<SocketAddr>, user: Option<&str>) -> Self {
        match peer {
            Some(peer) => counted_address(peer.ip()).map_or(Self::Loopback, Self::Address),
            None => Self::User(user.unwrap_or_default().into()),
        }
    }
}

impl Failing {
    fn delay(&self) -> Duration {
        match self.count.checked_sub(FREE_FAILURES + 1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_DELAY.saturating_mul(1 << doublings.min(16)).min(DELAY_MAX),
        }
    }
}

impl Failures {
    /// When a check for this party may begin. `None` if too many of its checks wait.
    pub(super) fn admit(&mut self, origin: &Origin, now: Instant) -> Option<Instant> {
        let Some(failing) = self.0.get_mut(origin).filter(|failing| now < failing.last + FORGET) else {
            return Some(now);
        };
        let start = failing.next.max(now);
        if start > now + DELAY_MAX {
            return None;
        }
        // Checks that wait at the same time do so one after the other.
        failing.next = start + failing.delay();
        Some(start)
    }

    /// Notes a wrong password.
    pub(super) fn note(&mut self, origin: &Origin, now: Instant) {
        if *origin == Origin::Loopback {
            return;
        }
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(origin) {
            self.make_room(now);
        }
        let failing = self.0.entry(origin.clone()).or_insert(Failing { count: 0, last: now, next: now });
        if now >= failing.last + FORGET {
            failing.count = 0;
        }
        failing.count = failing.count.saturating_add(1);
        failing.last = now;
        failing.next = failing.next.max(now + failing.delay());
    }

    /// Forgets the addresses that have not failed for long, or else the half that failed least.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, failing| now < failing.last + FORGET);
        if self.0.len() >= ADDRESSES_MAX {
            let mut counts: Vec<u32> = self.0.values().map(|failing| failing.count).collect();
            let (_, median, _) = counts.select_nth_unstable(ADDRESSES_MAX / 2);
            let (median, mut left) = (*median, ADDRESSES_MAX / 4);
            self.0.retain(|_, failing| {
                let is_chosen = failing.count == median && left > 0;
                left -= usize::from(is_chosen);
                is_chosen || failing.count > median
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Origin {
        Origin::of(Some(SocketAddr::new(IpAddr::V4((0x0A00_0000 + number).into()), 1)), None)
    }

    #[test]
    fn an_address_that_keeps_failing_waits_longer_each_time_and_is_forgotten_at_last() {
        let (mut failures, one, start) = (Failures::default(), address(1), Instant::now());
        let mut now = start;
        let mut delays = Vec::new();
        for _ in 0..12 {
            let admitted = failures.admit(&one, now).unwrap();
            delays.push((admitted - now).as_millis());
            now = admitted;
            failures.note(&one, now);
        }
        assert_eq!(delays[..6], [0, 0, 0, 0, 200, 400]);
        assert_eq!(delays[11], DELAY_MAX.as_millis());
        assert_eq!(failures.admit(&address(2), now), Some(now), "others do not wait");
        assert_eq!(failures.admit(&one, now + FORGET), Some(now + FORGET));
    }

    #[test]
    fn checks_of_one_address_that_wait_at_the_same_time_do_so_one_after_the_other_and_are_few() {
        let (mut failures, one, now) = (Failures::default(), address(1), Instant::now());
        (0..5).for_each(|_| failures.note(&one, now));
        let starts: Vec<_> = std::iter::from_fn(|| failures.admit(&one, now)).map(|start| start - now).collect();
        assert!(starts.windows(2).all(|pair| pair[1] >= pair[0] + FIRST_DELAY), "{starts:?}");
        assert!(starts.len() > 3 && starts.len() < 20 && starts[starts.len() - 1] <= DELAY_MAX);
    }

    #[test]
    fn loopback_does_not_wait_and_any_number_of_addresses_takes_bounded_memory() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let loopback = Origin::of(Some("127.0.0.9:1".parse().unwrap()), None);
        let mapped = Origin::of(Some("[::ffff:127.0.0.1]:1".parse().unwrap()), None);
        assert_eq!((&loopback, &mapped), (&Origin::Loopback, &Origin::Loopback));
        (0..50).for_each(|_| failures.note(&loopback, now));
        assert_eq!(failures.admit(&loopback, now), Some(now));
        (0..20).for_each(|_| failures.note(&address(0), now));
        for number in 1..3 * ADDRESSES_MAX as u32 {
            failures.note(&address(number), now);
            assert!(failures.0.len() <= ADDRESSES_MAX);
        }
        assert!(failures.admit(&address(0), now).is_none_or(|start| start > now), "the one that failed most is known");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address_and_without_addresses_the_user_does() {
        let of = |text: &str| Origin::of(Some(text.parse().unwrap()), None);
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::2:3]:9"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        assert_ne!(Origin::of(None, Some("a")), Origin::of(None, Some("b")));
    }
}
