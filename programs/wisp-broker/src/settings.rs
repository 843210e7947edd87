//! Every setting of the program, each defined once: its name, its range, and the field of its value. The flags, the
//! environment variables, the keys of the file and the output of `--print-config` all come from this table.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use wisp_broker::{
    AccessOptions, Config, ConfigBuilder, DataDir, LIMITS, Limit, Limits, QueueSettings, SessionsPolicy, StallPolicy,
    SyncMode, WORKERS_MAX, is_mqtt_text,
};

use crate::address::Address;
use crate::listeners::ListenerSettings;
use crate::log_writer::LogFormat;
use crate::tables::toml_text;

/// The settings that the program runs with.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) listen: Vec<Address>,
    pub(crate) workers: Option<NonZeroUsize>,
    pub(crate) log: LevelFilter,
    pub(crate) log_format: LogFormat,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) admin_token_file: Option<Box<str>>,
    pub(crate) sys_interval_s: u16,
    pub(crate) response_information: Option<Box<str>>,
    pub(crate) password_file: Option<Box<str>>,
    pub(crate) acl_file: Option<Box<str>>,
    pub(crate) allow_anonymous: Option<bool>,
    /// 0: the files of users, rules and certificates are not looked at.
    pub(crate) check_files_s: u64,
    pub(crate) limits: Limits,
    pub(crate) queues: Vec<QueueSettings>,
    /// The listeners with settings of their own.
    pub(crate) listeners: Vec<ListenerSettings>,
    pub(crate) data_dir: Option<Box<str>>,
    pub(crate) sync: SyncMode,
    /// 0: as many as the disk takes.
    pub(crate) disk_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let config = Config::default();
        Self {
            listen: config.listeners().iter().map(|listener| Address::Ip(listener.address)).collect(),
            workers: config.workers(),
            log: LevelFilter::INFO,
            log_format: LogFormat::Text,
            admin: None,
            admin_token_file: None,
            sys_interval_s: config.sys_interval_s(),
            response_information: None,
            password_file: None,
            acl_file: None,
            allow_anonymous: None,
            check_files_s: 0,
            limits: *config.limits(),
            queues: Vec::new(),
            listeners: Vec::new(),
            data_dir: None,
            sync: SyncMode::Always,
            disk_bytes_max: 0,
        }
    }
}

impl Settings {
    /// The files of users and rules.
    pub(crate) fn access_options(&self) -> AccessOptions {
        let mut options = AccessOptions::default();
        options.password_file = self.password_file.as_deref().map(Into::into);
        options.acl_file = self.acl_file.as_deref().map(Into::into);
        options.allow_anonymous = self.allow_anonymous;
        options
    }

    /// The folder in which the state is kept.
    fn data_dir(&self) -> Option<DataDir> {
        let mut data_dir = DataDir::new(self.data_dir.as_deref()?);
        data_dir.sync = self.sync;
        data_dir.disk_bytes_max = self.disk_bytes_max;
        Some(data_dir)
    }

    /// How often to look whether files have changed.
    pub(crate) fn check_files(&self) -> Option<Duration> {
        (self.check_files_s > 0).then(|| Duration::from_secs(self.check_files_s))
    }

    /// The configuration of the library without listeners.
    pub(crate) fn builder(&self) -> ConfigBuilder {
        let builder = Config::builder().workers(self.workers).limits(self.limits).check_files(self.check_files());
        let builder = builder.allow_anonymous(self.allow_anonymous).sys_interval_s(self.sys_interval_s);
        let builder = builder.admin(self.admin).lists_sessions(self.admin.is_some()).data_dir(self.data_dir());
        let builder = self.queues.iter().cloned().fold(builder, ConfigBuilder::queue);
        match &self.response_information {
            Some(text) => builder.response_information(text.clone()),
            None => builder,
        }
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
    Text { get: fn(&Settings) -> Option<&str>, set: fn(&mut Settings, Option<&str>) },
    /// An address with a port, or a port of loopback; an empty text unsets it.
    Address { get: fn(&Settings) -> Option<SocketAddr>, set: fn(&mut Settings, Option<SocketAddr>) },
    /// `true`, `false`, or `auto` for neither.
    Truth { get: fn(&Settings) -> Option<bool>, set: fn(&mut Settings, Option<bool>) },
    /// When the data folder is synchronised.
    Sync { get: fn(&Settings) -> SyncMode, set: fn(&mut Settings, SyncMode) },
    /// A number that is no limit.
    Count { range: RangeInclusive<u64>, get: fn(&Settings) -> u64, set: fn(&mut Settings, u64) },
    /// A limit of the library.
    Number(&'static Limit),
}

/// The word for one thread for each core, and for a truth value that is not set.
pub(crate) const AUTO: &str = "auto";

const LOG_LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// All settings, in the order in which they are shown.
pub(crate) static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let mut settings =
        vec![LISTEN, WORKERS, LOG, LOG_FORMAT, ADMIN, ADMIN_TOKEN_FILE, SYS_INTERVAL_S, RESPONSE_INFORMATION];
    settings.extend([PASSWORD_FILE, ACL_FILE, ALLOW_ANONYMOUS, CHECK_FILES_S, DATA_DIR, SYNC]);
    for limit in &LIMITS {
        settings.push(Setting::limit(limit));
        match limit.name {
            "stall-ms-max" => settings.push(STALL_POLICY),
            "sessions-max" => settings.push(SESSIONS_POLICY),
            "stored-bytes-max" => settings.push(DISK_BYTES_MAX),
            _ => {}
        }
    }
    settings
});

const LISTEN: Setting = Setting {
    name: "listen",
    section: Section::Top,
    value_name: "ADDR:PORT",
    help: "Address or host name with a port to listen on, or a port alone for all addresses; may be given several times; port 0 picks a free one",
    kind: Kind::Addresses,
};

const WORKERS: Setting = Setting {
    name: "workers",
    section: Section::Top,
    value_name: "N",
    help: "Worker threads; auto: one for each core",
    kind: Kind::Workers,
};

const LOG: Setting = Setting {
    name: "log",
    section: Section::Top,
    value_name: "LEVEL",
    help: "What to log on standard error",
    kind: Kind::Word {
        words: &["error", "warn", "info", "debug", "trace"],
        get: |settings| LOG_LEVELS.iter().find(|(_, level)| *level == settings.log).map_or("off", |(word, _)| word),
        set: |settings, word| {
            settings.log = LOG_LEVELS.iter().find(|(name, _)| *name == word).map_or(settings.log, |(_, level)| *level);
        },
    },
};

const LOG_FORMAT: Setting = Setting {
    name: "log-format",
    section: Section::Top,
    value_name: "FORMAT",
    help: "How to write each line of the log: as text for readers, or as a JSON object for programs",
    kind: Kind::Word {
        words: &["text", "json"],
        get: |settings| match settings.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        },
        set: |settings, word| {
            settings.log_format = if word == "json" { LogFormat::Json } else { LogFormat::Text };
        },
    },
};

const ADMIN: Setting = Setting {
    name: "admin",
    section: Section::Top,
    value_name: "ADDR:PORT",
    help: "Address for metrics, health and the API by HTTP; a port alone is one of 127.0.0.1",
    kind: Kind::Address { get: |settings| settings.admin, set: |settings, address| settings.admin = address },
};

const ADMIN_TOKEN_FILE: Setting = Setting {
    name: "admin-token-file",
    section: Section::Top,
    value_name: "FILE",
    help: "Token for the API of the admin listener; without one nobody changes anything there, and only loopback addresses have it",
    kind: Kind::Text {
        get: |settings| settings.admin_token_file.as_deref(),
        set: |settings, text| settings.admin_token_file = text.map(Box::from),
    },
};

const SYS_INTERVAL_S: Setting = Setting {
    name: "sys-interval-s",
    section: Section::Top,
    value_name: "S",
    help: "How often the topics of $SYS are updated; 0: there are none",
    kind: Kind::Count {
        range: 0..=u16::MAX as u64,
        get: |settings| settings.sys_interval_s.into(),
        set: |settings, seconds| settings.sys_interval_s = u16::try_from(seconds).unwrap_or(u16::MAX),
    },
};

const RESPONSE_INFORMATION: Setting = Setting {
    name: "response-information",
    section: Section::Top,
    value_name: "TEXT",
    help: "What clients of MQTT 5 that ask for it are told to make response topics of",
    kind: Kind::Text {
        get: |settings| settings.response_information.as_deref(),
        set: |settings, text| settings.response_information = text.map(Box::from),
    },
};

const PASSWORD_FILE: Setting = Setting {
    name: "password-file",
    section: Section::Top,
    value_name: "FILE",
    help: "Users and their passwords, as wisp passwd and mosquitto_passwd write them",
    kind: Kind::Text {
        get: |settings| settings.password_file.as_deref(),
        set: |settings, text| settings.password_file = text.map(Box::from),
    },
};

const ACL_FILE: Setting = Setting {
    name: "acl-file",
    section: Section::Top,
    value_name: "FILE",
    help: "Rules that say which topics clients may use, in the format of mosquitto's acl_file",
    kind: Kind::Text {
        get: |settings| settings.acl_file.as_deref(),
        set: |settings, text| settings.acl_file = text.map(Box::from),
    },
};

const ALLOW_ANONYMOUS: Setting = Setting {
    name: "allow-anonymous",
    section: Section::Top,
    value_name: "BOOL",
    help: "Whether clients without a user name may connect; auto: on loopback addresses, if there is no password file",
    kind: Kind::Truth {
        get: |settings| settings.allow_anonymous,
        set: |settings, allow| settings.allow_anonymous = allow,
    },
};

const CHECK_FILES_S: Setting = Setting {
    name: "check-files-s",
    section: Section::Top,
    value_name: "S",
    help: "How often to look whether the files of users, rules and certificates have changed; 0: never, SIGHUP has them read again",
    kind: Kind::Count {
        range: 0..=86_400,
        get: |settings| settings.check_files_s,
        set: |settings, seconds| settings.check_files_s = seconds,
    },
};

const DATA_DIR: Setting = Setting {
    name: "data-dir",
    section: Section::Top,
    value_name: "FOLDER",
    help: "Folder that keeps sessions, their messages and retained messages beyond the end of the process",
    kind: Kind::Text {
        get: |settings| settings.data_dir.as_deref(),
        set: |settings, text| settings.data_dir = text.map(Box::from),
    },
};

const SYNC: Setting = Setting {
    name: "sync",
    section: Section::Top,
    value_name: "WHEN",
    help: "When the data folder is synchronised: always (before each acknowledgement), \"N ms\" (so often), or never",
    kind: Kind::Sync { get: |settings| settings.sync, set: |settings, sync| settings.sync = sync },
};

const DISK_BYTES_MAX: Setting = Setting {
    name: "disk-bytes-max",
    section: Section::Limits,
    value_name: "BYTES",
    help: "Most bytes in the data folder, 16777216 at least: then senders of messages to keep wait; 0: no limit but the disk's",
    kind: Kind::Count {
        range: 0..=1 << 50,
        get: |settings| settings.disk_bytes_max,
        set: |settings, bytes| settings.disk_bytes_max = bytes,
    },
};

const STALL_POLICY: Setting = Setting {
    name: "stall-policy",
    section: Section::Limits,
    value_name: "POLICY",
    help: "Then drop messages for the receiver; hold: wait longer and each time; disconnect: the same, then disconnect it",
    kind: Kind::Word {
        words: &["drop", "hold", "disconnect"],
        get: |settings| match settings.limits.stall_policy {
            StallPolicy::Drop => "drop",
            StallPolicy::Hold => "hold",
            StallPolicy::Disconnect => "disconnect",
        },
        set: |settings, word| {
            settings.limits.stall_policy = match word {
                "drop" => StallPolicy::Drop,
                "hold" => StallPolicy::Hold,
                _ => StallPolicy::Disconnect,
            };
        },
    },
};

const SESSIONS_POLICY: Setting = Setting {
    name: "sessions-policy",
    section: Section::Limits,
    value_name: "POLICY",
    help: "Beyond that: evict the session that was away longest, or refuse the new one",
    kind: Kind::Word {
        words: &["evict", "refuse"],
        get: |settings| match settings.limits.sessions_policy {
            SessionsPolicy::Evict => "evict",
            SessionsPolicy::Refuse => "refuse",
        },
        set: |settings, word| {
            let evicts = word == "evict";
            settings.limits.sessions_policy = if evicts { SessionsPolicy::Evict } else { SessionsPolicy::Refuse };
        },
    },
};

impl Setting {
    fn limit(limit: &'static Limit) -> Self {
        Self {
            name: limit.name,
            section: Section::Limits,
            value_name: limit.unit,
            help: limit.help,
            kind: Kind::Number(limit),
        }
    }

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
            settings.listen = texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
            return Ok(());
        }
        texts.iter().try_for_each(|text| self.set_one(settings, text))
    }

    fn set_one(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        match &self.kind {
            Kind::Addresses => settings.listen = vec![text.parse()?],
            Kind::Workers => settings.workers = worker_count(text)?,
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
                set(settings, Some(text).filter(|text| !text.is_empty()));
            }
            Kind::Address { set, .. } => set(settings, admin_address(text)?),
            Kind::Truth { set, .. } => match text {
                "true" => set(settings, Some(true)),
                "false" => set(settings, Some(false)),
                AUTO => set(settings, None),
                _ => return Err(format!("not true, false or {AUTO}")),
            },
            Kind::Sync { set, .. } => set(settings, sync_mode(text)?),
            Kind::Count { range, set, .. } => {
                let number = text.parse().ok().filter(|number| range.contains(number));
                set(settings, number.ok_or_else(|| format!("not a number from {} to {}", range.start(), range.end()))?);
            }
            Kind::Number(limit) => {
                let set = text.parse().ok().and_then(|number| limit.set(&mut settings.limits, number).ok());
                set.ok_or_else(|| format!("not a number from {} to {}", limit.range.start(), limit.range.end()))?;
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
                let addrs: Vec<String> = settings.listen.iter().map(|addr| format!("\"{addr}\"")).collect();
                format!("[{}]", addrs.join(", "))
            }
            Kind::Workers => match settings.workers {
                Some(count) => count.to_string(),
                None => format!("\"{AUTO}\""),
            },
            Kind::Word { get, .. } => format!("\"{}\"", get(settings)),
            Kind::Text { get, .. } => toml_text(get(settings).unwrap_or_default()),
            Kind::Address { get, .. } => {
                format!("\"{}\"", get(settings).map(|addr| addr.to_string()).unwrap_or_default())
            }
            Kind::Truth { get, .. } => get(settings).map_or_else(|| format!("\"{AUTO}\""), |truth| truth.to_string()),
            Kind::Sync { get, .. } => match get(settings) {
                SyncMode::Always => "\"always\"".to_owned(),
                SyncMode::Every(interval) => format!("\"{} ms\"", interval.as_millis()),
                SyncMode::Never => "\"never\"".to_owned(),
            },
            Kind::Count { get, .. } => get(settings).to_string(),
            Kind::Number(limit) => limit.get(&settings.limits).to_string(),
        }
    }
}

fn admin_address(text: &str) -> Result<Option<SocketAddr>, String> {
    let port = || text.parse().ok().map(|port: u16| (Ipv4Addr::LOCALHOST, port).into());
    match text.parse().ok().or_else(port) {
        None if !text.is_empty() => Err("not an IP address and a port, like 127.0.0.1:9090, nor a port".to_owned()),
        address => Ok(address),
    }
}

/// `always`, `N ms` or `never`.
fn sync_mode(text: &str) -> Result<SyncMode, String> {
    const MS: RangeInclusive<u64> = 1..=60_000;
    match text {
        "always" => Ok(SyncMode::Always),
        "never" => Ok(SyncMode::Never),
        _ => {
            let number = text.strip_suffix("ms").and_then(|number| number.trim_end().parse().ok());
            let number = number.filter(|number| MS.contains(number)).map(Duration::from_millis);
            number.map(SyncMode::Every).ok_or_else(|| "not always, never, nor from \"1 ms\" to \"60000 ms\"".to_owned())
        }
    }
}

fn worker_count(text: &str) -> Result<Option<NonZeroUsize>, String> {
    if text == AUTO {
        return Ok(None);
    }
    let count: Option<NonZeroUsize> = text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= WORKERS_MAX);
    count.map(Some).ok_or_else(|| format!("not a number from 1 to {WORKERS_MAX}, nor {AUTO}"))
}

#[cfg(test)]
mod tests;
