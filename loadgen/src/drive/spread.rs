//! The distribution of messages from senders to topics. It follows from three numbers, so that senders and receivers
//! agree on it without communicating.
//!
//! Sender `s` sends its `n`th message to topic `(s + n) mod topics`: to all in turn, and at any moment different
//! senders to different topics.

/// `messages` spread evenly over senders, and by each of them over topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spread {
    /// At least one.
    pub senders: u32,
    /// At least one.
    pub topics: u32,
    /// Over all senders together.
    pub messages: u64,
}

impl Spread {
    /// How many messages a sender sends.
    #[must_use]
    pub fn of_sender(&self, sender: u32) -> u64 {
        share(self.messages, self.senders, sender)
    }

    /// How many messages a sender sends to a topic.
    #[must_use]
    pub fn of_flow(&self, sender: u32, topic: u32) -> u64 {
        share(self.of_sender(sender), self.topics, self.turn(sender, topic))
    }

    /// The number of the message by which a sender comes to a topic for the `sequence`th time.
    #[must_use]
    pub fn number(&self, sender: u32, topic: u32, sequence: u64) -> u64 {
        u64::from(self.turn(sender, topic)) + sequence * u64::from(self.topics)
    }

    /// A sender's first message to a topic.
    fn turn(&self, sender: u32, topic: u32) -> u32 {
        let ahead = u64::from(topic) + u64::from(self.topics - sender % self.topics);
        // A remainder by a u32 fits one.
        (ahead % u64::from(self.topics)) as u32
    }

    /// How many messages a topic gets.
    #[must_use]
    pub fn of_topic(&self, topic: u32) -> u64 {
        (0..self.senders).map(|sender| self.of_flow(sender, topic)).sum()
    }

    /// The topic of a sender's `n`th message, and its sequence there.
    #[inline]
    #[must_use]
    pub fn place(&self, sender: u32, n: u64) -> (u32, u64) {
        let topics = u64::from(self.topics);
        let topic = (u64::from(sender) + n) % topics;
        // A remainder by a u32 fits one.
        (topic as u32, n / topics)
    }
}

/// The share of the `index`th of `parts` in `whole`: the first ones take one more when it does not come out even.
fn share(whole: u64, parts: u32, index: u32) -> u64 {
    let parts = u64::from(parts);
    whole / parts + u64::from(u64::from(index) < whole % parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_is_expected() {
        for (senders, topics, messages) in
            [(1, 1, 0), (1, 1, 7), (3, 2, 20), (2, 5, 3), (4, 4, 1003), (7, 3, 11), (1, 9, 100)]
        {
            let spread = Spread { senders, topics, messages };
            let mut sent = vec![vec![0u64; topics as usize]; senders as usize];
            for sender in 0..senders {
                for n in 0..spread.of_sender(sender) {
                    let (topic, sequence) = spread.place(sender, n);
                    let flow = &mut sent[sender as usize][topic as usize];
                    assert_eq!(sequence, *flow, "sequences count up without a gap");
                    assert_eq!(spread.number(sender, topic, sequence), n);
                    *flow += 1;
                }
            }
            for topic in 0..topics {
                let expected: Vec<_> = (0..senders).map(|sender| spread.of_flow(sender, topic)).collect();
                let seen: Vec<_> = sent.iter().map(|flows| flows[topic as usize]).collect();
                assert_eq!(seen, expected, "{spread:?}");
                assert_eq!(spread.of_topic(topic), seen.iter().sum::<u64>());
            }
            assert_eq!((0..topics).map(|topic| spread.of_topic(topic)).sum::<u64>(), messages);
        }
    }

    #[test]
    fn shares_differ_by_one_at_most() {
        let spread = Spread { senders: 3, topics: 4, messages: 1000 };
        let of_topics: Vec<_> = (0..4).map(|topic| spread.of_topic(topic)).collect();
        let of_senders: Vec<_> = (0..3).map(|sender| spread.of_sender(sender)).collect();
        for shares in [of_topics, of_senders] {
            let (least, most) = (shares.iter().min(), shares.iter().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 3), "{shares:?}");
        }
    }
}
