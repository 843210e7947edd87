//! Topics that only the broker publishes to.

use wisp_wire::{TopicFilter, TopicName};

/// The topics to which bridges publish their state.
const BRIDGE_STATES: &str = "$SYS/broker/connection/+/state";

/// Whether only the broker publishes to the topic: it is one of `$SYS`, and not the state of a bridge. As in mosquitto, a
/// first level that only begins with `$SYS` is reserved too.
pub(crate) fn is_reserved(topic: TopicName<'_>) -> bool {
    let is_state = || TopicFilter::new(BRIDGE_STATES).is_ok_and(|states| states.matches(topic));
    topic.as_str().starts_with("$SYS") && !is_state()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_sys_are_reserved_but_for_the_states_of_bridges() {
        let reserved = |topic| is_reserved(TopicName::new(topic).unwrap());
        for topic in ["$SYS", "$SYS/x", "$SYS/broker/uptime", "$SYS/broker/connection/a/b/state", "$SYSTEM"] {
            assert!(reserved(topic), "{topic}");
        }
        for topic in ["a", "a/$SYS", "$sys/x", "$S", "$other/x", "$SYS/broker/connection/a/state"] {
            assert!(!reserved(topic), "{topic}");
        }
    }
}
