//! Every setting of the program, each defined once: its name, its range, and the field of its value. The flags, the
//! environment variables, the keys of the file and the output of `--print-config` all come from this table.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;

use tracing::level_filters::LevelFilter;
use wisp_broker::{Config, Limits, MQTT_PORT, PACKET_BYTES_CEILING, StallPolicy, TOPIC_LEVELS_CEILING, is_mqtt_text};

/// The settings that the program runs with.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) log: LevelFilter,
}

impl Default for Settings {
    fn default() -> Self {
        Self { config: Config::default(), log: LevelFilter::INFO }
    }
}

/// One setting. `--name` is its flag, `WISP_NAME` its variable, `name` its key in the table of its section.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) section: Section,
    pub(crate) value_name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
}

/// The table of the file that has a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Section {
    /// No table: above all tables.
    Top,
    /// `[limits]`.
    Limits,
}

/// The legal values, and how to write them into [`Settings`] and to read them back.
pub(crate) enum Kind {
    /// The addresses to listen on: the one setting that is a list.
    Addresses,
    /// A number of threads, or `auto`.
    Workers,
    /// One of these words.
    Word { words: &'static [&'static str], get: fn(&Settings) -> &'static str, set: fn(&mut Settings, &str) },
    /// Any text that MQTT can carry; an empty text unsets it.
    Text { get: fn(&Config) -> Option<&str>, set: fn(&mut Config, Option<&str>) },
    /// A whole number.
    Number { range: RangeInclusive<u64>, get: fn(&Limits) -> u64, set: fn(&mut Limits, u64) },
}

const WORKERS_MAX: usize = 256;
/// The word for one thread for each core.
pub(crate) const WORKERS_AUTO: &str = "auto";
const DAY_MS: u64 = 86_400_000;

const LOG_LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// A limit that is a number: its name, unit, range and help, and its field. A number that is in range but too large for
/// the word of a 32-bit host becomes the largest that fits.
macro_rules! limit {
    ($name:literal, $unit:literal, $range:expr, $type:ty, $field:ident, $help:literal) => {
        Setting {
            name: $name,
            section: Section::Limits,
            value_name: $unit,
            help: $help,
            kind: Kind::Number {
                range: $range,
                get: |limits| limits.$field as u64,
                set: |limits, number| limits.$field = <$type>::try_from(number).unwrap_or(<$type>::MAX),
            },
        }
    };
}

/// All settings, in the order in which they are shown.
pub(crate) static SETTINGS: [Setting; 31] = [
    Setting {
        name: "listen",
        section: Section::Top,
        value_name: "ADDR:PORT",
        help: "Address to listen on; may be given several times; port 0 picks a free one",
        kind: Kind::Addresses,
    },
    Setting {
        name: "workers",
        section: Section::Top,
        value_name: "N",
        help: "Worker threads; auto: one for each core",
        kind: Kind::Workers,
    },
    Setting {
        name: "log",
        section: Section::Top,
        value_name: "LEVEL",
        help: "What to log on standard error",
        kind: Kind::Word {
            words: &["error", "warn", "info", "debug", "trace"],
            get: |settings| LOG_LEVELS.iter().find(|(_, level)| *level == settings.log).map_or("off", |(word, _)| word),
            set: |settings, word| {
                settings.log =
                    LOG_LEVELS.iter().find(|(name, _)| *name == word).map_or(settings.log, |(_, level)| *level);
            },
        },
    },
    Setting {
        name: "response-information",
        section: Section::Top,
        value_name: "TEXT",
        help: "What clients of MQTT 5 that ask for it are told to make response topics of",
        kind: Kind::Text {
            get: |config| config.response_information.as_deref(),
            set: |config, text| config.response_information = text.map(Box::from),
        },
    },
    limit!(
        "packet-bytes-max",
        "BYTES",
        64..=PACKET_BYTES_CEILING as u64,
        u32,
        packet_bytes_max,
        "Longest packet accepted"
    ),
    limit!("connections-max", "COUNT", 1..=u32::MAX as u64, u32, connections_count_max, "Most connections at a time"),
    limit!("queue-bytes-max", "BYTES", 1024..=1 << 30, usize, queue_bytes_max, "Most bytes waiting for one receiver"),
    limit!(
        "queue-messages-max",
        "COUNT",
        1..=1 << 30,
        usize,
        queue_messages_max,
        "Most messages waiting for one receiver"
    ),
    limit!(
        "buffered-bytes-max",
        "BYTES",
        1 << 20..=1 << 40,
        usize,
        buffered_bytes_max,
        "Most bytes waiting in all queues and input buffers together"
    ),
    limit!("connect-timeout-ms", "MS", 1..=DAY_MS, u64, connect_timeout_ms, "Longest time from connecting to CONNECT"),
    limit!(
        "keep-alive-s-max",
        "SECONDS",
        1..=u16::MAX as u64,
        u16,
        keep_alive_s_max,
        "Longest keep-alive granted to clients of MQTT 5"
    ),
    Setting {
        name: "stall-ms-max",
        section: Section::Limits,
        value_name: "MS",
        help: "Longest time senders are held back for a receiver whose queue is full; with stall-policy disconnect 30000 \
               by default",
        kind: Kind::Number {
            range: 1..=DAY_MS,
            get: Limits::receiver_stall_ms_max,
            set: |limits, number| limits.stall_ms_max = Some(number),
        },
    },
    Setting {
        name: "stall-policy",
        section: Section::Limits,
        value_name: "POLICY",
        help: "Then: drop messages for the receiver, or disconnect it",
        kind: Kind::Word {
            words: &["drop", "disconnect"],
            get: |settings| match settings.config.limits.stall_policy {
                StallPolicy::Drop => "drop",
                StallPolicy::Disconnect => "disconnect",
            },
            set: |settings, word| {
                settings.config.limits.stall_policy =
                    if word == "drop" { StallPolicy::Drop } else { StallPolicy::Disconnect };
            },
        },
    },
    limit!(
        "queue-stall-ms-max",
        "MS",
        1..=DAY_MS,
        u64,
        queue_stall_ms_max,
        "Longest time senders are held back for a topic queue that is full"
    ),
    limit!(
        "reply-stall-ms-max",
        "MS",
        1..=DAY_MS,
        u64,
        reply_stall_ms_max,
        "Longest time a client may leave replies unread before it is disconnected"
    ),
    limit!(
        "subscriptions-max",
        "COUNT",
        1..=u32::MAX as u64,
        u32,
        subscriptions_count_max,
        "Most subscriptions of one client"
    ),
    limit!(
        "subscription-bytes-max",
        "BYTES",
        1024..=1 << 40,
        usize,
        subscription_bytes_max,
        "Most bytes that the subscriptions of all clients together take, by an estimate"
    ),
    limit!(
        "topic-levels-max",
        "COUNT",
        1..=TOPIC_LEVELS_CEILING as u64,
        u16,
        topic_levels_max,
        "Most levels of a topic"
    ),
    limit!("topic-bytes-max", "BYTES", 1..=u16::MAX as u64, u16, topic_bytes_max, "Longest topic"),
    limit!("client-id-bytes-max", "BYTES", 23..=u16::MAX as u64, u16, client_id_bytes_max, "Longest client identifier"),
    limit!(
        "sessions-max",
        "COUNT",
        1..=u32::MAX as u64,
        u32,
        sessions_count_max,
        "Most sessions at a time, those of clients that are away included"
    ),
    limit!(
        "session-expiry-s-max",
        "SECONDS",
        0..=u32::MAX as u64,
        u32,
        session_expiry_s_max,
        "Longest time a session is kept for a client that is away; 4294967295 for ever"
    ),
    limit!(
        "inflight-max",
        "COUNT",
        1..=u16::MAX as u64,
        u16,
        inflight_count_max,
        "Most messages at QoS 1 and 2 on their way to one client"
    ),
    limit!(
        "receive-maximum",
        "COUNT",
        1..=u16::MAX as u64,
        u16,
        receive_maximum,
        "Most messages at QoS 2 on their way from one client of MQTT 5"
    ),
    limit!(
        "topic-alias-max",
        "COUNT",
        0..=u16::MAX as u64,
        u16,
        topic_alias_max,
        "Most topic aliases each way on one connection"
    ),
    limit!(
        "stored-bytes-max",
        "BYTES",
        1 << 20..=1 << 40,
        usize,
        stored_bytes_max,
        "Most bytes of stored messages together: unacknowledged, for clients that are away, in topic queues"
    ),
    limit!("retained-max", "COUNT", 0..=u32::MAX as u64, u32, retained_count_max, "Most retained messages"),
    limit!(
        "retained-bytes-max",
        "BYTES",
        0..=1 << 40,
        usize,
        retained_bytes_max,
        "Most bytes of retained messages together"
    ),
    limit!(
        "topic-queues-max",
        "COUNT",
        0..=u32::MAX as u64,
        u32,
        topic_queues_count_max,
        "Most topic queues and shared subscription groups"
    ),
    limit!(
        "messages-per-s-max",
        "COUNT",
        0..=u32::MAX as u64,
        u32,
        messages_per_s_max,
        "Most messages a second from one client before it is read more slowly; 0 for any number"
    ),
    limit!(
        "bytes-per-s-max",
        "BYTES",
        0..=1 << 40,
        u64,
        bytes_per_s_max,
        "Most bytes a second from one client before it is read more slowly; 0 for any number"
    ),
];

impl Setting {
    /// The environment variable: `WISP_PACKET_BYTES_MAX`.
    pub(crate) fn variable(&self) -> String {
        format!("WISP_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// True if several values may be given.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::Addresses)
    }

    /// Writes a value, or the values of a list, into the settings. The error describes the legal values.
    pub(crate) fn set(&self, settings: &mut Settings, texts: &[String]) -> Result<(), String> {
        if self.is_list() {
            let addrs: Vec<SocketAddr> = texts.iter().map(|text| socket_addr(text)).collect::<Result<_, _>>()?;
            if addrs.is_empty() {
                return Err("at least one address is needed".to_owned());
            }
            settings.config.listen = addrs;
            return Ok(());
        }
        texts.iter().try_for_each(|text| self.set_one(settings, text))
    }

    fn set_one(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        match &self.kind {
            Kind::Addresses => settings.config.listen = vec![socket_addr(text)?],
            Kind::Workers => settings.config.workers = worker_count(text)?,
            Kind::Word { words, set, .. } => {
                if !words.contains(&text) {
                    return Err(format!("not one of {}", words.join(", ")));
                }
                set(settings, text);
            }
            Kind::Text { set, .. } => {
                if !is_mqtt_text(text) {
                    return Err("not a text of at most 65535 bytes without U+0000".to_owned());
                }
                set(&mut settings.config, Some(text).filter(|text| !text.is_empty()));
            }
            Kind::Number { range, set, .. } => {
                let number = text.parse().ok().filter(|number| range.contains(number));
                let number = number.ok_or_else(|| format!("not a number from {} to {}", range.start(), range.end()))?;
                set(&mut settings.config.limits, number);
            }
        }
        Ok(())
    }

    /// Checks one value without storing it.
    pub(crate) fn check(&self, text: &str) -> Result<(), String> {
        self.set_one(&mut Settings::default(), text)
    }

    /// The value, as TOML.
    pub(crate) fn show(&self, settings: &Settings) -> String {
        match &self.kind {
            Kind::Addresses => {
                let addrs: Vec<String> = settings.config.listen.iter().map(|addr| format!("\"{addr}\"")).collect();
                format!("[{}]", addrs.join(", "))
            }
            Kind::Workers => match settings.config.workers {
                Some(count) => count.to_string(),
                None => format!("\"{WORKERS_AUTO}\""),
            },
            Kind::Word { get, .. } => format!("\"{}\"", get(settings)),
            Kind::Text { get, .. } => toml_text(get(&settings.config).unwrap_or_default()),
            Kind::Number { get, .. } => get(&settings.config.limits).to_string(),
        }
    }
}

/// A text as a TOML string.
pub(crate) fn toml_text(text: &str) -> String {
    let mut quoted = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            // TOML forbids control characters in a string, U+007F included.
            _ if char.is_control() => quoted.push_str(&format!("\\u{:04X}", char as u32)),
            _ => quoted.push(char),
        }
    }
    quoted + "\""
}

fn socket_addr(text: &str) -> Result<SocketAddr, String> {
    let hint = format!("not an address and a port, like 127.0.0.1:{MQTT_PORT} or [::1]:{MQTT_PORT}");
    text.parse().map_err(|_| hint)
}

fn worker_count(text: &str) -> Result<Option<NonZeroUsize>, String> {
    if text == WORKERS_AUTO {
        return Ok(None);
    }
    let count: Option<NonZeroUsize> = text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= WORKERS_MAX);
    count.map(Some).ok_or_else(|| format!("not a number from 1 to {WORKERS_MAX}, nor {WORKERS_AUTO}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(setting: &Setting, text: &str) -> Result<String, String> {
        let mut settings = Settings::default();
        setting.set(&mut settings, &[text.to_owned()]).map(|()| setting.show(&settings))
    }

    #[test]
    fn both_ends_of_each_range_are_kept_and_their_neighbours_refused() {
        for setting in &SETTINGS {
            let Kind::Number { range, .. } = &setting.kind else { continue };
            for inside in [range.start(), range.end()] {
                assert_eq!(set(setting, &inside.to_string()), Ok(inside.to_string()), "{}", setting.name);
            }
            for outside in [i128::from(*range.start()) - 1, i128::from(*range.end()) + 1] {
                let error = set(setting, &outside.to_string()).unwrap_err();
                assert_eq!(
                    error,
                    format!("not a number from {} to {}", range.start(), range.end()),
                    "{}",
                    setting.name
                );
            }
        }
    }

    #[test]
    fn each_setting_has_a_place_of_its_own() {
        let default = Settings::default();
        for setting in &SETTINGS {
            let other = match &setting.kind {
                Kind::Addresses => "[::1]:7".to_owned(),
                Kind::Workers => "7".to_owned(),
                Kind::Word { words, .. } => words[words.len() - 1].to_owned(),
                Kind::Text { .. } => "seven".to_owned(),
                Kind::Number { range, .. } => (range.start() + 7).to_string(),
            };
            let mut settings = default.clone();
            setting.set(&mut settings, &[other]).unwrap();
            for one in &SETTINGS {
                let changed = one.show(&settings) != one.show(&default);
                // The default of the one depends on the other.
                let depends = (setting.name, one.name) == ("stall-policy", "stall-ms-max");
                assert_eq!(
                    changed,
                    one.name == setting.name || depends,
                    "setting {} and looking at {}",
                    setting.name,
                    one.name
                );
            }
        }
    }

    #[test]
    fn a_text_is_kept_as_it_is_and_shown_as_toml() {
        for setting in SETTINGS.iter().filter(|setting| matches!(setting.kind, Kind::Text { .. })) {
            assert_eq!(set(setting, ""), Ok("\"\"".to_owned()));
            assert_eq!(set(setting, "a\"b\\c\n\u{7f}\u{85}ü"), Ok(r#""a\"b\\c\u000A\u007F\u0085ü""#.to_owned()));
            assert!(set(setting, &"x".repeat(65_535)).is_ok());
            assert!(set(setting, &"x".repeat(65_536)).is_err());
            assert!(set(setting, "a\0b").is_err());
        }
    }

    #[test]
    fn each_word_is_kept() {
        for setting in &SETTINGS {
            let Kind::Word { words, .. } = &setting.kind else { continue };
            for word in *words {
                assert_eq!(set(setting, word), Ok(format!("\"{word}\"")));
            }
            assert!(set(setting, "wait").is_err());
        }
    }
}
