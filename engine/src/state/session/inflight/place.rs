//! The place of one packet identifier in a window.

use crate::delivery::addressed::Delivery;

#[derive(Debug)]
pub(super) enum Place {
    /// Acknowledged, but behind a place that is not free.
    Free,
    /// The client has the message for good (PUBREC), and only the identifier is still in use.
    Released,
    /// Not acknowledged.
    Sent(Delivery),
}
