//! Limits that were reached, counted so that a report costs nothing while they are not.

use std::sync::Arc;

use crate::base::sync::{AtomicU64, Mutex, Ordering, rank};

macro_rules! limit_names {
    ($($name:ident $text:literal)*) => {
        /// A limit that can be reached without the end of a connection, which has its own report.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum LimitName { $(#[doc = $text] $name,)* }

        const NAMES: &[&str] = &[$($text,)*];
    };
}

limit_names! {
    BufferedBytes "buffered-bytes-max"
    BytesPerS "bytes-per-s-max"
    ClientIdBytes "client-id-bytes-max"
    ClientSubscriptionBytes "client-subscription-bytes-max"
    DataDir "data-dir"
    MessagesPerS "messages-per-s-max"
    QueueBytes "queue-bytes-max"
    ReceiveMaximum "receive-maximum"
    Retained "retained-max"
    RetainedBytes "retained-bytes-max"
    StallMs "stall-ms-max"
    StoredBytes "stored-bytes-max"
    SubscriptionBytes "subscription-bytes-max"
    Subscriptions "subscriptions-max"
    TopicBytes "topic-bytes-max"
    TopicLevels "topic-levels-max"
    TopicQueues "topic-queues-max"
}

/// How often each limit was reached since the last report.
#[derive(Debug)]
pub(crate) struct ReachedLimits([Row; NAMES.len()]);

#[derive(Debug, Default)]
struct Row {
    count: AtomicU64,
    /// The first client since the last report.
    client_id: Mutex<Option<Arc<str>>, { rank::LEAF }>,
}

/// A limit that was reached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReachedLimit {
    pub(crate) name: &'static str,
    pub(crate) client_id: Option<Arc<str>>,
    pub(crate) count: u64,
}

impl Default for ReachedLimits {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Row::default()))
    }
}

impl ReachedLimits {
    /// Counts that `client_id`, if it is known, has reached a limit. No lock of the rank of a leaf is held.
    pub(crate) fn note(&self, name: LimitName, client_id: Option<&str>) {
        let row = &self.0[name as usize];
        if row.count.fetch_add(1, Ordering::Relaxed) == 0 {
            *row.client_id.lock() = client_id.map(Arc::from);
        }
    }

    /// The limits that were reached since the last call.
    pub(crate) fn take(&self) -> impl Iterator<Item = ReachedLimit> + '_ {
        self.0.iter().zip(NAMES).filter_map(|(row, name)| {
            if row.count.load(Ordering::Relaxed) == 0 {
                return None;
            }
            let client_id = row.client_id.lock().take();
            Some(ReachedLimit { name, client_id, count: row.count.swap(0, Ordering::Relaxed) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::LIMITS;

    #[test]
    fn each_name_is_one_of_the_limits() {
        // The room for data is the disk's, or a setting of the store.
        for name in NAMES.iter().filter(|name| **name != "data-dir") {
            assert!(LIMITS.iter().any(|limit| limit.name == *name), "{name}");
        }
    }

    #[test]
    fn a_report_has_the_count_and_the_first_client() {
        let reached = ReachedLimits::default();
        assert_eq!(reached.take().count(), 0);
        reached.note(LimitName::Retained, Some("first"));
        reached.note(LimitName::Retained, Some("second"));
        reached.note(LimitName::StoredBytes, None);
        let limit =
            |name, client_id: Option<&str>, count| ReachedLimit { name, client_id: client_id.map(Arc::from), count };
        let expected = [limit("retained-max", Some("first"), 2), limit("stored-bytes-max", None, 1)];
        assert!(reached.take().eq(expected));
        assert_eq!(reached.take().count(), 0);
    }
}
