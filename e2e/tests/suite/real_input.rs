//! A long text goes through mosquitto_pub and mosquitto_sub line by line.

use std::hash::{DefaultHasher, Hash, Hasher};

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::mosquitto::{self, Subscriber};

const LINES: usize = 120_000;

#[test]
fn a_long_text_comes_through_unchanged_in_v311() {
    a_long_text_comes_through_unchanged(Version::V311);
}

#[test]
fn a_long_text_comes_through_unchanged_in_v5() {
    a_long_text_comes_through_unchanged(Version::V5);
}

fn a_long_text_comes_through_unchanged(version: Version) {
    let broker = Broker::start();
    let subscriber = Subscriber::start_for_text(broker.addr(), version, &["book"]);
    let lines = book();
    let text = lines.join("\n") + "\n";

    mosquitto::publish_lines(broker.addr(), version, "book", &[], &lines);
    subscriber.wait_for_count(LINES);
    subscriber.settle();

    let received: Vec<String> =
        subscriber.lines().into_iter().map(|line| line.strip_prefix("book ").unwrap_or("?").to_owned()).collect();
    if let Some(line) = (0..LINES).find(|line| received.get(*line) != Some(&lines[*line])) {
        panic!("line {line}: sent {:?}, received {:?}", lines[line], received.get(line));
    }
    assert_eq!(received.len(), LINES, "nothing comes twice");
    assert_eq!(checksum(&(received.join("\n") + "\n")), checksum(&text));
}

fn checksum(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The same text each time: lines of one to some thousand characters, most of them short, in several scripts.
/// No line is empty, since mosquitto_pub omits empty lines.
fn book() -> Vec<String> {
    const WORDS: [&str; 16] = [
        "message",
        "the",
        "of",
        "broker",
        "über",
        "naïve",
        "потік",
        "μήνυμα",
        "消息",
        "通信",
        "メッセージ",
        "رسالة",
        "🦉",
        "=",
        "\t|",
        "\"quoted\\\"",
    ];
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    (0..LINES)
        .map(|number| {
            let words = if next(1000) == 0 { 50 + next(500) } else { next(14) };
            let mut line = number.to_string();
            for _ in 0..words {
                line.push(' ');
                line.push_str(WORDS[next(WORDS.len() as u64) as usize]);
            }
            line
        })
        .collect()
}
