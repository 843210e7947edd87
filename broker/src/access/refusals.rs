//! Refused CONNECTs in the log: with address, user and listener, and one line a minute for each address.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use tracing::{field::display, warn};
use wisp_engine::ConnectRequest;
use wisp_engine::sync::{Mutex, rank};

use super::checker::Job;
use super::failures::Origin;

/// How long an address that has a line is only counted.
const QUIET: Duration = Duration::from_secs(60);
/// Most addresses known. The refusals of further ones share a line.
const ADDRESSES_MAX: usize = 256;

/// Why a CONNECT was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Anonymous,
    NoUsers,
    NoPassword,
    UnknownUser,
    WrongPassword,
    TooManyFailures,
    Busy,
}

/// The refusals since the last line of each address.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<Option<Origin>, Counted, RandomState>, { rank::LEAF }>);

#[derive(Debug)]
struct Counted {
    quiet_until: Instant,
    count: u64,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Anonymous => {
                "it has no user name, and nobody may connect without (allow-anonymous = true lets all in)"
            }
            Self::NoUsers => "no user can be checked without a password-file, and allow-anonymous is not true",
            Self::NoPassword => "it has a user name without a password",
            Self::UnknownUser => "its user is not in the password-file",
            Self::WrongPassword => "wrong password",
            Self::TooManyFailures => "its address has sent too many wrong passwords, and has to wait",
            Self::Busy => "more passwords wait to be checked than can be in time",
        }
    }
}

impl Refusals {
    pub(super) fn note(&self, origin: &Origin, request: &ConnectRequest<'_>, reason: Reason) {
        let ConnectRequest { peer, username, client_id, listener, .. } = request;
        self.log(origin, (*peer, *username, client_id, *listener), reason);
    }

    pub(super) fn note_job(&self, job: &Job, reason: Reason) {
        self.log(&job.origin, (job.peer, Some(&job.user), &job.client_id, job.listener), reason);
    }

    fn log(
        &self,
        origin: &Origin,
        (peer, user, client, listener): (Option<SocketAddr>, Option<&str>, &str, u16),
        reason: Reason,
    ) {
        let Some(count) = self.due(origin, Instant::now()) else { return };
        let (peer, reason) = (peer.map(display), reason.text());
        warn!(peer, user, client, listener, count, "CONNECT refused: {reason}");
    }

    /// How many refusals a line now is about. `None` if there is none now.
    fn due(&self, origin: &Origin, now: Instant) -> Option<u64> {
        let mut known = self.0.lock();
        if known.len() >= ADDRESSES_MAX && !known.contains_key(&Some(origin.clone())) {
            known.retain(|_, counted| now < counted.quiet_until || counted.count > 0);
        }
        let is_known = known.len() < ADDRESSES_MAX || known.contains_key(&Some(origin.clone()));
        let place = is_known.then(|| origin.clone());
        let counted = known.entry(place).or_insert(Counted { quiet_until: now, count: 0 });
        counted.count += 1;
        if now < counted.quiet_until {
            return None;
        }
        counted.quiet_until = now + QUIET;
        Some(std::mem::take(&mut counted.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_line_a_minute_with_a_count() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let one = Origin::of(None, Some("one"));
        assert_eq!(refusals.due(&one, now), Some(1));
        assert_eq!(refusals.due(&Origin::Loopback, now), Some(1), "each address has its own");
        assert_eq!((0..5).filter_map(|_| refusals.due(&one, now)).count(), 0);
        assert_eq!(refusals.due(&one, now + QUIET), Some(6));
    }

    #[test]
    fn any_number_of_addresses_has_bounded_lines_and_memory() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let lines = (0..10 * ADDRESSES_MAX)
            .filter(|number| refusals.due(&Origin::of(None, Some(&number.to_string())), now).is_some())
            .count();
        assert_eq!(lines, ADDRESSES_MAX + 1);
        assert!(refusals.0.lock().len() <= ADDRESSES_MAX + 1);
    }
}
