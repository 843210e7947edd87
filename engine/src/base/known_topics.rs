//! Answers about topics, remembered. Most clients use few topics, and the same one many times.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Most topics remembered, and most bytes of their names. Cleared when full.
const TOPICS_MAX: usize = 1024;
const BYTES_MAX: usize = 64 * 1024;

/// The answers.
#[derive(Debug, Default)]
pub(crate) struct KnownTopics {
    /// The topic of the last question; empty, like no topic, at the beginning.
    last: String,
    last_answer: bool,
    answers: HashMap<Box<str>, bool, RandomState>,
    bytes: usize,
}

impl KnownTopics {
    /// The answer about a topic: the one remembered, or else that of `ask`.
    #[inline]
    pub(crate) fn answer(&mut self, topic: &str, ask: impl FnOnce(&str) -> bool) -> bool {
        if self.last != topic {
            self.last_answer = self.look_up(topic, ask);
            self.last.clear();
            self.last.push_str(topic);
        }
        self.last_answer
    }

    fn look_up(&mut self, topic: &str, ask: impl FnOnce(&str) -> bool) -> bool {
        if let Some(answer) = self.answers.get(topic) {
            return *answer;
        }
        let answer = ask(topic);
        if self.answers.len() >= TOPICS_MAX || self.bytes + topic.len() > BYTES_MAX {
            self.clear();
        }
        if topic.len() <= BYTES_MAX / 16 {
            self.bytes += topic.len();
            self.answers.insert(topic.into(), answer);
        }
        answer
    }

    /// Forgets all answers.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_asked_once_until_the_answers_are_forgotten() {
        let (mut known, mut asked) = (KnownTopics::default(), Vec::new());
        for topic in ["a", "a", "b", "a", "b"] {
            let answer = known.answer(topic, |topic| {
                asked.push(topic.to_owned());
                topic == "a"
            });
            assert_eq!(answer, topic == "a");
        }
        assert_eq!(asked, ["a", "b"]);
        known.clear();
        assert!(known.answer("b", |_| true), "the answer has changed");
    }

    #[test]
    fn any_number_of_topics_of_any_length_takes_bounded_memory() {
        let mut known = KnownTopics::default();
        for number in 0..3 * TOPICS_MAX {
            let long = "x".repeat(number % 7000);
            assert!(known.answer(&format!("{number}/{long}"), |_| true));
            let bytes: usize = known.answers.keys().map(|topic| topic.len()).sum();
            assert!(known.answers.len() <= TOPICS_MAX && bytes <= BYTES_MAX && bytes == known.bytes);
        }
    }
}
