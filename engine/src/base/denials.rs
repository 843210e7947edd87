//! Messages that rights have denied, counted until the next report.

use std::sync::Arc;

use crate::base::sync::{AtomicU64, Mutex, Ordering, rank};

/// The use of a topic that was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedUse {
    /// A PUBLISH.
    Publish,
    /// A will that was due.
    Will,
    /// Messages for a subscription.
    Receive,
    /// A PUBLISH or a will to a topic that only the broker publishes to.
    Reserved,
}

/// Denials since the last report.
#[derive(Debug)]
pub struct Denial {
    /// The use.
    pub denied: DeniedUse,
    /// The first client.
    pub client_id: Arc<str>,
    /// Its user name.
    pub user: Option<Box<str>>,
    /// The first topic.
    pub topic: Box<str>,
    /// How often: messages sent, or topics withheld from a subscription.
    pub count: u64,
}

/// The counts since the last report.
#[derive(Debug, Default)]
pub(crate) struct Denials([Row; USES.len()]);

#[derive(Debug, Default)]
struct Row {
    count: AtomicU64,
    first: Mutex<Option<First>, { rank::LEAF }>,
}

#[derive(Debug)]
struct First {
    client_id: Arc<str>,
    user: Option<Box<str>>,
    topic: Box<str>,
}

/// All uses, each at the place of its number.
const USES: [DeniedUse; 4] = [DeniedUse::Publish, DeniedUse::Will, DeniedUse::Receive, DeniedUse::Reserved];

impl Denials {
    /// Counts a denial. No lock of the rank of a leaf is held.
    pub(crate) fn note(&self, denied: DeniedUse, client_id: &Arc<str>, user: Option<&str>, topic: &str) {
        const TOPIC_CHARS_MAX: usize = 200;
        let row = &self.0[denied as usize];
        if row.count.fetch_add(1, Ordering::Relaxed) == 0 {
            let topic: String = topic.chars().take(TOPIC_CHARS_MAX).collect();
            let first = First { client_id: Arc::clone(client_id), user: user.map(Box::from), topic: topic.into() };
            *row.first.lock() = Some(first);
        }
    }

    /// The denials since the last call.
    pub(crate) fn take(&self) -> impl Iterator<Item = Denial> + '_ {
        self.0.iter().zip(USES).filter_map(|(row, denied)| {
            if row.count.load(Ordering::Relaxed) == 0 {
                return None;
            }
            let First { client_id, user, topic } = row.first.lock().take()?;
            Some(Denial { denied, client_id, user, topic, count: row.count.swap(0, Ordering::Relaxed) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_count_and_the_first_client_with_its_topic() {
        let (denials, first, second) = (Denials::default(), Arc::from("first"), Arc::from("second"));
        assert_eq!(denials.take().count(), 0);
        denials.note(DeniedUse::Publish, &first, Some("joe"), "a");
        denials.note(DeniedUse::Publish, &second, None, "b");
        denials.note(DeniedUse::Receive, &second, None, &"x".repeat(1_000));
        let found: Vec<Denial> = denials.take().collect();
        assert!(found[0].denied == DeniedUse::Publish && found[0].count == 2 && found[0].client_id == first);
        assert!(found[0].user.as_deref() == Some("joe") && *found[0].topic == *"a");
        assert!(found[1].denied == DeniedUse::Receive && found[1].topic.len() == 200);
        assert_eq!(denials.take().count(), 0);
    }
}
