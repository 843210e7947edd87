//! The rate limit of one connection: messages and bytes a second.
//!
//! A token bucket for each of the two. It holds the tokens of one second, so a client that was silent may send that
//! much at once. A packet is admitted while both buckets have tokens, and may leave them in debt. So a packet of any
//! length is admitted, and the rate still holds. A connection in debt is not read, and TCP slows its client down.

use wisp_wire::{PacketType, packet_len};

use crate::base::limits::{Limits, PACKET_BYTES_CEILING};
use crate::base::reached::LimitName;

/// The shortest pause of a client in debt, so that a fast client is read in batches.
const PAUSE_MS_MIN: u64 = 5;

/// Tokens are thousandths of a message or byte, so that a millisecond adds a whole number of them at any rate.
const TOKEN: i64 = 1000;

/// The rate limit of one connection.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    messages: Bucket,
    bytes: Bucket,
}

#[derive(Debug)]
struct Bucket {
    /// 0 for no limit.
    per_s: i64,
    /// In thousandths; negative for debt.
    level: i64,
    filled_ms: u64,
}

impl Bucket {
    fn new(per_s: u64, now_ms: u64) -> Self {
        let per_s = i64::try_from(per_s).unwrap_or(i64::MAX).min(i64::MAX / TOKEN);
        Self { per_s, level: per_s * TOKEN, filled_ms: now_ms }
    }

    /// Adds the tokens for the time since the last call.
    fn fill(&mut self, now_ms: u64) {
        let elapsed_ms = i64::try_from(now_ms.saturating_sub(self.filled_ms)).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(self.per_s.saturating_mul(elapsed_ms)).min(self.per_s * TOKEN);
        self.filled_ms = self.filled_ms.max(now_ms);
    }

    fn spend(&mut self, count: u64) {
        if self.per_s > 0 {
            let cost = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(TOKEN);
            self.level = self.level.saturating_sub(cost);
        }
    }

    /// Whether tokens are left after `count` messages or bytes.
    fn has_more_than(&self, count: u64) -> bool {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.per_s == 0 || self.level > count.saturating_mul(TOKEN)
    }

    /// How long until the bucket has tokens.
    fn wait_ms(&self) -> u64 {
        let missing = 1_i64.saturating_sub(self.level);
        if self.has_more_than(0) { 0 } else { missing.unsigned_abs().div_ceil(self.per_s.unsigned_abs()) }
    }
}

impl RateLimiter {
    /// The limiter for these limits; `None` without a limit.
    pub(crate) fn new(limits: &Limits, now_ms: u64) -> Option<Box<Self>> {
        let limited = limits.messages_per_s_max > 0 || limits.bytes_per_s_max > 0;
        limited.then(|| {
            Box::new(Self {
                messages: Bucket::new(limits.messages_per_s_max.into(), now_ms),
                bytes: Bucket::new(limits.bytes_per_s_max, now_ms),
            })
        })
    }

    /// The end of the pause if a bucket is empty, and the limit that causes it.
    pub(crate) fn blocked_until(&mut self, now_ms: u64) -> Option<(u64, LimitName)> {
        self.messages.fill(now_ms);
        self.bytes.fill(now_ms);
        let waits = [(self.messages.wait_ms(), LimitName::MessagesPerS), (self.bytes.wait_ms(), LimitName::BytesPerS)];
        let (wait_ms, name) = waits.into_iter().max_by_key(|(wait_ms, _)| *wait_ms)?;
        (wait_ms > 0).then(|| (now_ms.saturating_add(wait_ms.max(PAUSE_MS_MIN)), name))
    }

    /// The number of bytes that may be handled now, out of the packets of one read: all, or up to the packet at which
    /// the tokens end. Malformed bytes are left to the decoder.
    pub(crate) fn admissible_prefix(&self, bytes: &[u8]) -> usize {
        let (mut used, mut messages) = (0, 0);
        while self.messages.has_more_than(messages) && self.bytes.has_more_than(used as u64) {
            match whole_packet(&bytes[used..]) {
                Some((len, is_message)) => {
                    used += len;
                    messages += u64::from(is_message);
                }
                None => return bytes.len(),
            }
        }
        used
    }

    /// Counts packets that were handled.
    pub(crate) fn spend(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((len, is_message)) = whole_packet(rest) {
            self.messages.spend(is_message.into());
            rest = &rest[len..];
        }
        self.bytes.spend(bytes.len() as u64);
    }

    /// Counts a part of a long packet.
    pub(crate) fn spend_part(&mut self, bytes: usize) {
        self.bytes.spend(bytes as u64);
    }

    /// Counts a long packet of which all parts have been counted.
    pub(crate) fn spend_whole(&mut self, packet: &[u8]) {
        self.messages.spend(is_message(packet).into());
    }
}

fn is_message(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == PacketType::Publish as u8)
}

/// The length of the packet at the front, and whether it is a message. `None` if it is incomplete or malformed.
fn whole_packet(bytes: &[u8]) -> Option<(usize, bool)> {
    let len = packet_len(bytes, PACKET_BYTES_CEILING).ok().flatten().filter(|len| *len <= bytes.len())?;
    Some((len, is_message(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: [u8; 2] = [0xc0, 0];
    /// Topic `t`, QoS 0, no payload.
    const MESSAGE: [u8; 5] = [0x30, 3, 0, 1, b't'];

    fn limiter(messages_per_s_max: u32, bytes_per_s_max: u64) -> RateLimiter {
        *RateLimiter::new(&Limits { messages_per_s_max, bytes_per_s_max, ..Limits::DEFAULT }, 1_000).unwrap()
    }

    fn until(limiter: &mut RateLimiter, now_ms: u64) -> Option<u64> {
        limiter.blocked_until(now_ms).map(|(until_ms, _)| until_ms)
    }

    /// Handles the bytes admitted at `now_ms`, and returns their number.
    fn handle(limiter: &mut RateLimiter, bytes: &[u8], now_ms: u64) -> usize {
        if limiter.blocked_until(now_ms).is_some() {
            return 0;
        }
        let admitted = limiter.admissible_prefix(bytes);
        limiter.spend(&bytes[..admitted]);
        admitted
    }

    #[test]
    fn without_limits_there_is_no_limiter() {
        assert!(RateLimiter::new(&Limits::DEFAULT, 0).is_none());
    }

    #[test]
    fn messages_of_one_second_pass_at_once_and_then_the_rate_holds() {
        let mut limiter = limiter(100, 0);
        let messages = MESSAGE.repeat(1_000);
        assert_eq!(handle(&mut limiter, &messages, 1_000), 100 * MESSAGE.len());
        assert_eq!(handle(&mut limiter, &messages, 1_000), 0);
        let sent: usize = (1_001..=6_000).map(|now_ms| handle(&mut limiter, &messages, now_ms)).sum();
        assert!((499..=501).contains(&(sent / MESSAGE.len())), "{sent} bytes in five seconds");
    }

    #[test]
    fn the_rate_of_bytes_holds_for_every_packet() {
        let mut limiter = limiter(0, 2_000);
        let pings = PING.repeat(5_000);
        assert_eq!(handle(&mut limiter, &pings, 1_000), 2_000);
        let sent: usize = (1_001..=4_000).map(|now_ms| handle(&mut limiter, &pings, now_ms)).sum();
        assert!((5_990..=6_010).contains(&sent), "{sent} bytes in three seconds");
    }

    #[test]
    fn only_publish_packets_count_as_messages() {
        let pings = PING.repeat(5_000);
        assert_eq!(handle(&mut limiter(1, 0), &pings, 1_000), pings.len());
    }

    #[test]
    fn a_packet_longer_than_the_bucket_passes_and_leaves_a_debt() {
        let mut limiter = limiter(0, 10);
        let packet = [&[0x30, 103, 0, 1, b't'][..], &[0; 100]].concat();
        let packets = packet.repeat(2);
        assert_eq!(handle(&mut limiter, &packets, 1_000), packet.len());
        // The packet had 105 bytes, and there were tokens for 10.
        let until_ms = until(&mut limiter, 1_000).unwrap();
        assert_eq!(until_ms, 1_000 + 9_501);
        assert_eq!(handle(&mut limiter, &packets, until_ms - 1), 0);
        assert_eq!(handle(&mut limiter, &packets, until_ms), packet.len());
    }

    #[test]
    fn a_silent_client_saves_tokens_of_one_second_at_most() {
        let mut limiter = limiter(10, 0);
        let messages = MESSAGE.repeat(1_000);
        assert_eq!(handle(&mut limiter, &messages, 1 << 40), 10 * MESSAGE.len());
    }

    #[test]
    fn a_client_in_debt_waits_until_it_has_tokens_and_a_few_milliseconds_at_least() {
        let mut limiter = limiter(1_000_000, 0);
        limiter.spend(&MESSAGE.repeat(1_001_500));
        assert_eq!(until(&mut limiter, 1_000), Some(1_000 + PAUSE_MS_MIN));
        assert_eq!(until(&mut limiter, 1_001), Some(1_001 + PAUSE_MS_MIN));
        assert_eq!(until(&mut limiter, 1_002), None);
    }

    #[test]
    fn incomplete_and_malformed_packets_are_left_to_the_decoder() {
        for bytes in [&MESSAGE[..4], &[0x30], &[0xf0, 0xff, 0xff, 0xff, 0xff], &[]] {
            let limiter = limiter(10, 10);
            assert_eq!(limiter.admissible_prefix(bytes), bytes.len());
            assert_eq!(limiter.admissible_prefix(&[&PING[..], bytes].concat()), PING.len() + bytes.len());
        }
    }

    #[test]
    fn a_long_packet_is_charged_in_parts_and_is_one_message() {
        let mut limiter = limiter(2, 1_000);
        limiter.spend_part(600);
        assert_eq!(until(&mut limiter, 1_000), None);
        limiter.spend_part(600);
        assert_eq!(until(&mut limiter, 1_000), Some(1_201));
        limiter.spend_whole(&MESSAGE);
        assert_eq!(until(&mut limiter, 1_201), None);
        limiter.spend_whole(&MESSAGE);
        limiter.spend_whole(&MESSAGE);
        assert!(limiter.blocked_until(1_201).is_some());
    }

    #[test]
    fn the_highest_rates_and_the_end_of_time_do_not_overflow() {
        let mut limiter = limiter(u32::MAX, u64::MAX);
        assert_eq!(handle(&mut limiter, &PING, u64::MAX), 2);
        limiter.spend_part(usize::MAX);
        assert_eq!(until(&mut limiter, 1), Some(1 + limiter.bytes.wait_ms().max(PAUSE_MS_MIN)));
    }
}
