//! Where a sender stands in its stream, and how much of it may be sent now.

use std::io;

use wisp_client::ByteStream;

use crate::drive::outgoing::Outgoing;

/// The least that is assumed of a socket that was full the last time.
const LIKELY_BYTES_MIN: usize = 16 * 1024;

/// One sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    sender: u32,
    position: u64,
    packet_bytes: u64,
    /// How many messages there are, and where they end.
    messages: u64,
    messages_bytes: u64,
    /// The end of the stream, including the bytes after the messages.
    end: u64,
    /// How many messages may be unacknowledged; None where nothing is acknowledged.
    window: Option<u16>,
    /// How many messages are due: all, where no rate is set.
    due: u64,
    /// The bytes that the socket will probably accept, judging by the last time.
    likely_bytes: usize,
    /// Whether the broker held it back the last time, by a full socket or a full window.
    is_held: bool,
    /// When it was last found not to be held back any more.
    free_ns: u64,
}

/// The result of one attempt to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    /// Whether the socket took all, so that it may take more.
    pub(crate) has_room: bool,
}

impl Sending {
    /// One that has sent nothing. With `is_paced` messages become due one by one.
    pub(crate) fn new(sender: u32, outgoing: &Outgoing, window: Option<u16>, is_paced: bool) -> Self {
        let (packet_bytes, messages) = (outgoing.packet_bytes(), outgoing.messages(sender));
        Self {
            sender,
            position: 0,
            packet_bytes,
            messages,
            messages_bytes: messages * packet_bytes,
            end: outgoing.stream_bytes(sender),
            window,
            due: if is_paced { 0 } else { messages },
            likely_bytes: usize::MAX,
            is_held: false,
            free_ns: 0,
        }
    }

    /// How many messages it sends in all.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// One more message is due.
    pub(crate) fn note_due(&mut self) {
        debug_assert!(self.due < self.messages, "no message is due twice");
        self.due += 1;
    }

    /// When the broker last ceased to hold it back, where it turns out at `now_ns` that it does not any more.
    pub(crate) fn note_free(&mut self, now_ns: u64) -> u64 {
        if self.is_held {
            (self.is_held, self.free_ns) = (false, now_ns);
        }
        self.free_ns
    }

    /// Notes after an attempt to send whether the socket has room, and the number of acknowledged messages.
    pub(crate) fn note_attempt(&mut self, has_room: bool, settled: u64) {
        self.is_held = !has_room || self.window.is_some_and(|window| self.sent() >= settled + u64::from(window));
    }

    /// How many messages may be unacknowledged; None where nothing is acknowledged.
    pub(crate) fn window(&self) -> Option<u16> {
        self.window
    }

    /// Whether at least a part of the end of the stream was sent.
    pub(crate) fn is_ending(&self) -> bool {
        self.position > self.messages_bytes
    }

    pub(crate) fn is_done(&self) -> bool {
        self.position == self.end
    }

    /// Which of the senders it is.
    pub(crate) fn sender(&self) -> u32 {
        self.sender
    }

    /// How many messages were sent whole.
    pub(crate) fn sent(&self) -> u64 {
        self.position.min(self.messages_bytes) / self.packet_bytes
    }

    /// Whether there is something to send, when all messages before `settled` are acknowledged.
    #[inline]
    pub(crate) fn may_send(&self, settled: u64) -> bool {
        self.position < self.allowed(settled)
    }

    /// The position up to which the stream may be sent. The end of the stream waits for all acknowledgements, so that
    /// its answer shows that all is done.
    fn allowed(&self, settled: u64) -> u64 {
        let may_end = if self.window.is_some() { settled >= self.messages } else { self.due == self.messages };
        if may_end {
            return self.end;
        }
        let in_window = self.window.map_or(u64::MAX, |window| settled + u64::from(window));
        in_window.min(self.due) * self.packet_bytes
    }

    /// Sends once, as much as is allowed.
    pub(crate) fn send(
        &mut self,
        stream: &mut impl ByteStream,
        outgoing: &mut Outgoing,
        settled: u64,
    ) -> io::Result<Sent> {
        self.send_up_to(stream, outgoing, self.allowed(settled))
    }

    /// Sends the rest of a packet that was begun, so that something else can follow it.
    pub(crate) fn finish_packet(&mut self, stream: &mut impl ByteStream, outgoing: &mut Outgoing) -> io::Result<Sent> {
        let packet_end = if self.position < self.messages_bytes {
            self.position.next_multiple_of(self.packet_bytes)
        } else if self.position == self.messages_bytes {
            self.position
        } else {
            self.end
        };
        self.send_up_to(stream, outgoing, packet_end)
    }

    fn send_up_to(&mut self, stream: &mut impl ByteStream, outgoing: &mut Outgoing, end: u64) -> io::Result<Sent> {
        let left = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(Sent { bytes: 0, has_room: true });
        }
        let bytes = outgoing.next(self.sender, self.position, self.likely_bytes.min(left));
        let bytes = &bytes[..bytes.len().min(left)];
        let sent = match stream.write(bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.position += sent as u64;
        self.likely_bytes = sent.saturating_mul(2).max(LIKELY_BYTES_MIN);
        Ok(Sent { bytes: sent as u64, has_room: sent == bytes.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::outgoing::Template;
    use crate::drive::pattern::{Layout, Pattern};
    use crate::drive::payload::PayloadFormat;
    use crate::drive::topics::{Naming, Topics};
    use std::net::Shutdown;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use wisp_net::Stream;
    use wisp_wire::{ProtocolVersion, QoS};

    fn outgoing(messages: u64) -> Outgoing {
        let layout = Layout::new(Pattern::FanIn, 1, 1, None, messages).unwrap();
        let (topics, payloads) = (Topics::new(&layout, "a", Naming::MQTT).unwrap(), PayloadFormat::new(9, 20));
        let template = Template::new(&topics, 0, &payloads, ProtocolVersion::Mqtt311, QoS::AtLeastOnce).unwrap();
        Outgoing::new(payloads, topics, template, 1000)
    }

    /// A socket with room for a number of bytes.
    struct Room(AtomicUsize);

    impl Stream for Room {
        fn send(&self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0.load(Ordering::Relaxed));
            self.0.fetch_sub(taken, Ordering::Relaxed);
            if taken > 0 { Ok(taken) } else { Err(io::ErrorKind::WouldBlock.into()) }
        }

        fn recv(&self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn shutdown(&self, _: Shutdown) -> io::Result<()> {
            Ok(())
        }

        fn set_nodelay(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_more_than_the_window_is_on_its_way() {
        let (mut outgoing, mut socket) = (outgoing(10), Room(AtomicUsize::new(usize::MAX)));
        let mut sending = Sending::new(0, &outgoing, Some(4), false);
        for (settled, sent) in [(0, 4), (1, 5), (1, 5), (5, 9), (9, 10)] {
            sending.send(&mut socket, &mut outgoing, settled).unwrap();
            assert_eq!((sending.sent(), sending.may_send(settled)), (sent, false), "{settled}");
        }
        assert!(!sending.is_done(), "the end waits for the last acknowledgement");
        sending.send(&mut socket, &mut outgoing, 10).unwrap();
        assert!(sending.is_done() && !sending.may_send(10));
    }

    #[test]
    fn without_a_window_everything_may_be_sent() {
        let (mut outgoing, mut socket) = (outgoing(10), Room(AtomicUsize::new(usize::MAX)));
        let mut sending = Sending::new(0, &outgoing, None, false);
        while sending.may_send(0) {
            sending.send(&mut socket, &mut outgoing, 0).unwrap();
        }
        assert!(sending.is_done());
    }

    #[test]
    fn no_more_than_is_due_is_sent_and_the_end_after_the_last() {
        for window in [None, Some(2)] {
            let (mut outgoing, mut socket) = (outgoing(4), Room(AtomicUsize::new(usize::MAX)));
            let mut sending = Sending::new(0, &outgoing, window, true);
            assert!(!sending.may_send(0));
            for (due, settled, sent) in [(1, 0, 1), (3, 0, 2), (3, 1, 3), (3, 3, 3), (4, 3, 4)] {
                while sending.due < due {
                    sending.note_due();
                }
                sending.send(&mut socket, &mut outgoing, settled).unwrap();
                let sent = if window.is_some() { sent } else { due };
                assert_eq!(sending.sent(), sent, "{window:?} {due}: all that may be sent goes with one call");
                let has_end = sending.may_send(settled);
                assert_eq!(has_end, window.is_none() && due == 4, "{window:?} {due}");
            }
            assert!(!sending.is_done());
            sending.send(&mut socket, &mut outgoing, 4).unwrap();
            assert!(sending.is_done());
        }
    }

    #[test]
    fn a_sender_is_free_from_when_it_was_found_to_be() {
        let (mut outgoing, mut socket) = (outgoing(10), Room(AtomicUsize::new(usize::MAX)));
        let mut sending = Sending::new(0, &outgoing, Some(2), false);
        assert_eq!(sending.note_free(5), 0, "nothing held it back");
        let mut attempt = |sending: &mut Sending, has_room, settled| {
            sending.send(&mut socket, &mut outgoing, settled).unwrap();
            sending.note_attempt(has_room, settled);
        };
        attempt(&mut sending, false, 0);
        assert_eq!(sending.note_free(7), 7, "the socket was full");
        attempt(&mut sending, true, 0);
        assert_eq!(sending.note_free(9), 9, "the window was full");
        sending.note_attempt(true, 1);
        assert_eq!(sending.note_free(11), 9);
    }

    #[test]
    fn a_packet_that_was_begun_is_finished_alone() {
        let mut outgoing = outgoing(3);
        let length = outgoing.packet_bytes() as usize;
        let mut sending = Sending::new(0, &outgoing, Some(3), false);
        let finish = |sending: &mut Sending, outgoing: &mut Outgoing, room| {
            sending.finish_packet(&mut Room(AtomicUsize::new(room)), outgoing).unwrap().has_room
        };
        assert!(finish(&mut sending, &mut outgoing, 0), "nothing was begun");
        assert!(!sending.send(&mut Room(AtomicUsize::new(length + 1)), &mut outgoing, 0).unwrap().has_room);
        assert!(!finish(&mut sending, &mut outgoing, 5));
        assert!(finish(&mut sending, &mut outgoing, usize::MAX));
        assert_eq!((sending.sent(), sending.position), (2, 2 * length as u64));
        sending.send(&mut Room(AtomicUsize::new(usize::MAX)), &mut outgoing, 0).unwrap();
        assert!(finish(&mut sending, &mut outgoing, 0), "the last message has ended");
        sending.send(&mut Room(AtomicUsize::new(1)), &mut outgoing, 3).unwrap();
        assert!(finish(&mut sending, &mut outgoing, usize::MAX) && sending.is_done());
    }
}
