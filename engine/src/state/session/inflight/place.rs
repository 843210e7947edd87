//! The place of one packet identifier in a window.

use crate::delivery::addressed::Delivery;
use crate::store::Key;

#[derive(Debug)]
pub(crate) enum Place {
    /// Acknowledged, but behind a place that is not free.
    Free,
    /// The client has the message for good (PUBREC), and only the identifier is still in use. With its key in the store.
    Released(Option<Key>),
    /// Not acknowledged.
    Sent(Delivery),
}

impl Place {
    /// Its key in the store, if the store keeps it.
    pub(crate) fn key(&self) -> Option<Key> {
        match self {
            Self::Free => None,
            Self::Released(key) => *key,
            Self::Sent(delivery) => delivery.key(),
        }
    }
}
