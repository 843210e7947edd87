//! Limits of a listener of its own, which count for its connections in place of the broker's.

use super::limits::{LimitOutOfRange, Limits};

/// Limits that a listener may have of its own: the ones that a connection has from its beginning, or is told in CONNACK. `None`:
/// the broker's.
///
/// ```
/// use wisp_engine::{Limits, ListenerLimits};
///
/// let own = ListenerLimits::default().with(|own| own.packet_bytes_max = Some(4096));
/// assert_eq!(own.of(&Limits::DEFAULT).packet_bytes_max, 4096);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerLimits {
    /// Longest packet accepted: [`Limits::packet_bytes_max`].
    pub packet_bytes_max: Option<u32>,
    /// Longest time to CONNECT: [`Limits::connect_timeout_ms`].
    pub connect_timeout_ms: Option<u64>,
    /// Longest keep-alive granted: [`Limits::keep_alive_s_max`].
    pub keep_alive_s_max: Option<u16>,
    /// Most topic aliases each way: [`Limits::topic_alias_max`].
    pub topic_alias_max: Option<u16>,
    /// Most messages a second from one client: [`Limits::messages_per_s_max`].
    pub messages_per_s_max: Option<u32>,
    /// Most bytes a second from one client: [`Limits::bytes_per_s_max`].
    pub bytes_per_s_max: Option<u64>,
}

impl ListenerLimits {
    /// These limits with some changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The limits of a connection: the listener's own, and for the rest the broker's.
    pub fn of(&self, limits: &Limits) -> Limits {
        limits.with(|limits| {
            limits.packet_bytes_max = self.packet_bytes_max.unwrap_or(limits.packet_bytes_max);
            limits.connect_timeout_ms = self.connect_timeout_ms.unwrap_or(limits.connect_timeout_ms);
            limits.keep_alive_s_max = self.keep_alive_s_max.unwrap_or(limits.keep_alive_s_max);
            limits.topic_alias_max = self.topic_alias_max.unwrap_or(limits.topic_alias_max);
            limits.messages_per_s_max = self.messages_per_s_max.unwrap_or(limits.messages_per_s_max);
            limits.bytes_per_s_max = self.bytes_per_s_max.unwrap_or(limits.bytes_per_s_max);
        })
    }

    /// Whether each is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), LimitOutOfRange> {
        self.of(&Limits::DEFAULT).check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_has_its_own_limits_and_the_brokers_for_the_rest() {
        let limits = Limits::DEFAULT.with(|limits| limits.receive_maximum = 7);
        assert_eq!(ListenerLimits::default().of(&limits), limits);
        let own = ListenerLimits::default().with(|own| {
            own.packet_bytes_max = Some(100);
            own.bytes_per_s_max = Some(0);
        });
        let expected = limits.with(|limits| (limits.packet_bytes_max, limits.bytes_per_s_max) = (100, 0));
        assert_eq!((own.of(&limits), own.check()), (expected, Ok(())));
        let error = own.with(|own| own.packet_bytes_max = Some(1)).check().unwrap_err();
        assert_eq!((error.limit, error.value), ("packet-bytes-max", 1));
    }
}
