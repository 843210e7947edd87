//! Where a sender stands in its stream, and how much of it may be sent now.

use std::io;

use wisp_net::Stream;

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
    /// Where the stream ends, with what comes after the messages.
    end: u64,
    /// How many messages may be unacknowledged; None where nothing is acknowledged.
    window: Option<u16>,
    /// What the socket will take, going by the last time.
    likely_bytes: usize,
}

/// What one attempt to send gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    /// Whether the socket took all, so that it may take more.
    pub(crate) has_room: bool,
}

impl Sending {
    pub(crate) fn new(sender: u32, outgoing: &Outgoing, window: Option<u16>) -> Self {
        let (packet_bytes, messages) = (outgoing.packet_bytes(), outgoing.messages(sender));
        Self {
            sender,
            position: 0,
            packet_bytes,
            messages,
            messages_bytes: messages * packet_bytes,
            end: outgoing.stream_bytes(sender),
            window,
            likely_bytes: usize::MAX,
        }
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

    /// Up to where the stream may be sent. What comes after the messages waits for their acknowledgements, so that its
    /// own answer tells that all is done.
    fn allowed(&self, settled: u64) -> u64 {
        match self.window {
            None => self.end,
            Some(_) if settled >= self.messages => self.end,
            Some(window) => (settled + u64::from(window)).min(self.messages) * self.packet_bytes,
        }
    }

    /// Sends once, as much as is allowed.
    pub(crate) fn send(&mut self, stream: &impl Stream, outgoing: &mut Outgoing, settled: u64) -> io::Result<Sent> {
        self.send_up_to(stream, outgoing, self.allowed(settled))
    }

    /// Sends the rest of a packet that was begun, so that something else can follow it.
    pub(crate) fn finish_packet(&mut self, stream: &impl Stream, outgoing: &mut Outgoing) -> io::Result<Sent> {
        let packet_end = if self.position < self.messages_bytes {
            self.position.next_multiple_of(self.packet_bytes)
        } else if self.position == self.messages_bytes {
            self.position
        } else {
            self.end
        };
        self.send_up_to(stream, outgoing, packet_end)
    }

    fn send_up_to(&mut self, stream: &impl Stream, outgoing: &mut Outgoing, end: u64) -> io::Result<Sent> {
        let left = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(Sent { bytes: 0, has_room: true });
        }
        let bytes = outgoing.next(self.sender, self.position, self.likely_bytes.min(left));
        let bytes = &bytes[..bytes.len().min(left)];
        let sent = match stream.send(bytes) {
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
    use crate::drive::payload::Seal;
    use crate::drive::topics::{Naming, Topics};
    use std::net::Shutdown;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use wisp_wire::{ProtocolVersion, QoS};

    fn outgoing(messages: u64) -> Outgoing {
        let layout = Layout::new(Pattern::FanIn, 1, 1, None, messages).unwrap();
        let (topics, seal) = (Topics::new(&layout, "a", Naming::MQTT).unwrap(), Seal::new(9, 20));
        let template = Template::new(&topics, 0, &seal, ProtocolVersion::Mqtt311, QoS::AtLeastOnce).unwrap();
        Outgoing::new(seal, topics, template, 1000)
    }

    /// A socket that has room for so many bytes.
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
        let (mut outgoing, socket) = (outgoing(10), Room(AtomicUsize::new(usize::MAX)));
        let mut sending = Sending::new(0, &outgoing, Some(4));
        for (settled, sent) in [(0, 4), (1, 5), (1, 5), (5, 9), (9, 10)] {
            sending.send(&socket, &mut outgoing, settled).unwrap();
            assert_eq!((sending.sent(), sending.may_send(settled)), (sent, false), "{settled}");
        }
        assert!(!sending.is_done(), "the end waits for the last acknowledgement");
        sending.send(&socket, &mut outgoing, 10).unwrap();
        assert!(sending.is_done() && !sending.may_send(10));
    }

    #[test]
    fn without_a_window_everything_may_be_sent() {
        let (mut outgoing, socket) = (outgoing(10), Room(AtomicUsize::new(usize::MAX)));
        let mut sending = Sending::new(0, &outgoing, None);
        while sending.may_send(0) {
            sending.send(&socket, &mut outgoing, 0).unwrap();
        }
        assert!(sending.is_done());
    }

    #[test]
    fn a_packet_that_was_begun_is_finished_alone() {
        let mut outgoing = outgoing(3);
        let length = outgoing.packet_bytes() as usize;
        let mut sending = Sending::new(0, &outgoing, Some(3));
        let finish = |sending: &mut Sending, outgoing: &mut Outgoing, room| {
            sending.finish_packet(&Room(AtomicUsize::new(room)), outgoing).unwrap().has_room
        };
        assert!(finish(&mut sending, &mut outgoing, 0), "nothing was begun");
        assert!(!sending.send(&Room(AtomicUsize::new(length + 1)), &mut outgoing, 0).unwrap().has_room);
        assert!(!finish(&mut sending, &mut outgoing, 5));
        assert!(finish(&mut sending, &mut outgoing, usize::MAX));
        assert_eq!((sending.sent(), sending.position), (2, 2 * length as u64));
        sending.send(&Room(AtomicUsize::new(usize::MAX)), &mut outgoing, 0).unwrap();
        assert!(finish(&mut sending, &mut outgoing, 0), "the last message has ended");
        sending.send(&Room(AtomicUsize::new(1)), &mut outgoing, 3).unwrap();
        assert!(finish(&mut sending, &mut outgoing, usize::MAX) && sending.is_done());
    }
}
