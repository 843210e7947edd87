//! The result of routing.

use std::sync::Arc;

use wisp_wire::ReasonCode;

use crate::base::capacity::Capacity;

/// The result of routing a PUBLISH.
#[derive(Debug)]
pub(crate) enum Routed {
    /// It is staged for all its receivers; false if it has none.
    Done(bool),
    /// A receiver with this capacity is full, or, without one, the store takes no more changes at the moment. Nothing
    /// was staged.
    Blocked(Option<Arc<Capacity>>),
    /// The store has taken no more for too long: it is refused, or dropped at QoS 0. Nothing was staged.
    StoreFull,
    /// It is refused. Nothing was staged. `RESERVED`: only the broker publishes to the topic.
    Refused(ReasonCode),
}
