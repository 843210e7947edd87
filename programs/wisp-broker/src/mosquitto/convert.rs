//! The directives of a mosquitto.conf as a configuration file of Wisp, with notes about directives without an effect.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use wisp_broker::LIMITS;

use super::directives::{Answer, Value, find};
use super::lines::{Line, read};
use crate::tables::toml_text;

/// A converted file.
#[derive(Debug, Default)]
pub(crate) struct Converted {
    /// The file for `--config`.
    pub(crate) toml: String,
    /// Directives without an effect, a line each.
    pub(crate) notes: Vec<String>,
}

/// A listener of mosquitto.
#[derive(Debug, Default)]
struct Listener {
    place: String,
    port: u16,
    host: Option<String>,
    allow_anonymous: Option<bool>,
    connections_max: Option<u64>,
    topic_alias_max: Option<u64>,
    has_proxy_header: bool,
    password_file: Option<String>,
    acl_file: Option<String>,
    /// Keys of its table for TLS and WebSocket, with their values.
    keys: BTreeMap<&'static str, Vec<String>>,
    /// CAs for client certificates, which count only if these are asked for.
    ca: Option<String>,
    /// Where client certificates are asked for.
    requires_certificate: Option<String>,
    /// Where their common names become user names.
    takes_names: Option<String>,
}

/// The directives read up to now.
#[derive(Debug, Default)]
struct Found {
    listeners: Vec<Listener>,
    /// The listener of `port` and `bind_address`, which options before any `listener` belong to.
    default: Listener,
    has_default: bool,
    /// The position of the listener that options belong to.
    current: Option<usize>,
    per_listener: bool,
    /// Options of rights that belong to no listener.
    security: Listener,
    limits: BTreeMap<&'static str, u64>,
    /// From errors alone to everything.
    log: Option<usize>,
    sys_interval_s: Option<u16>,
    /// Where `persistence true` stands.
    persistence: Option<String>,
    persistence_location: Option<String>,
    notes: Vec<String>,
}

const LOG_LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

/// Reads a mosquitto.conf and the files that it includes.
pub(crate) fn convert(path: &Path) -> Result<Converted, String> {
    let mut found = Found::default();
    for line in read(path)? {
        let place = line.place.clone();
        found.add(line).map_err(|error| format!("{place}: {error}"))?;
    }
    found.finish()
}

impl Found {
    fn add(&mut self, line: Line) -> Result<(), String> {
        let Line { place, name, value, begins } = line;
        if begins {
            self.current = None;
        }
        let directive = find(&name).ok_or_else(|| format!("unknown configuration variable {}", name.escape_debug()))?;
        // Options of plugins have any name behind its beginning.
        let named = name.escape_debug();
        let first = value.split(' ').next().unwrap_or_default();
        match directive.value {
            _ if value.is_empty() => return Err(format!("{named} has no value")),
            Value::Truth => _ = truth(first)?,
            Value::Number => _ = number(first)?,
            Value::Text => {}
        }
        if directive.harmless.contains(&first) {
            return Ok(());
        }
        let shown = value.escape_debug();
        match directive.answer {
            Answer::Honoured(_) => return self.honour(&place, &name, &value, first),
            Answer::NotNeeded(why) => self.notes.push(format!("{place}: {named} is not needed: {why}")),
            Answer::Ignored(why) => self.notes.push(format!("{place}: {named} {shown} has no effect: {why}")),
            Answer::Bridge => self.notes.push(format!("{place}: {named} has no effect: there are no bridges")),
            Answer::Refused(why) => return Err(format!("{named} {shown} is not supported: {why}")),
        }
        Ok(())
    }

    fn honour(&mut self, place: &str, name: &str, value: &str, first: &str) -> Result<(), String> {
        match name {
            "listener" => self.open(place, value)?,
            "port" => {
                self.default.port = port(first)?;
                (self.default.place, self.has_default) = (place.to_owned(), true);
            }
            "bind_address" => self.default.host = Some(first.to_owned()),
            "socket_domain" => self.listener().host = Some(any_address(first)?),
            "max_connections" => self.listener().connections_max = count(first)?.filter(|count| *count > 0),
            "max_topic_alias" => self.listener().topic_alias_max = Some(in_range("topic-alias-max", count(first)?)?),
            "enable_proxy_protocol" if ["1", "2"].contains(&first) => self.listener().has_proxy_header = true,
            "enable_proxy_protocol" => return Err(format!("{} is not 1 or 2", first.escape_debug())),
            "listener_allow_anonymous" => self.listener().allow_anonymous = Some(truth(first)?),
            "protocol" if first == "websockets" => self.set_key("protocol", "websocket"),
            "protocol" => return Err(format!("{} is not supported: mqtt or websockets is", first.escape_debug())),
            "certfile" => self.set_key("tls.certificate", value),
            "keyfile" => self.set_key("tls.key", value),
            "crlfile" => self.set_key("tls.crl", value),
            "cafile" => self.listener().ca = Some(value.to_owned()),
            "require_certificate" => self.listener().requires_certificate = truth(first)?.then(|| place.to_owned()),
            "use_identity_as_username" => self.listener().takes_names = truth(first)?.then(|| place.to_owned()),
            "websockets_origin" => {
                self.listener().keys.entry("websocket.origin").or_default().push(value.to_owned());
            }
            "per_listener_settings" => self.per_listener = truth(first)?,
            "allow_anonymous" => self.security(name)?.allow_anonymous = Some(truth(first)?),
            "password_file" => self.security(name)?.password_file = Some(value.to_owned()),
            "acl_file" => self.security(name)?.acl_file = Some(value.to_owned()),
            "sys_interval" => self.sys_interval_s = Some(interval_s(first)?),
            "persistence" => self.persistence = truth(first)?.then(|| place.to_owned()),
            "persistence_location" => self.persistence_location = Some(value.to_owned()),
            "log_type" => self.log = self.log.max(Some(log_level(first)?)),
            "persistent_client_expiration" => _ = self.limits.insert("session-expiry-s-max", seconds(first)?),
            "retain_available" if !truth(first)? => _ = self.limits.insert("retained-max", 0),
            "retain_available" => {}
            _ => self.limit(name, first)?,
        }
        Ok(())
    }

    /// Opens a listener: `PORT [HOST]`. Other words are ignored, as mosquitto does.
    fn open(&mut self, place: &str, value: &str) -> Result<(), String> {
        let mut words = value.split(' ').filter(|word| !word.is_empty());
        let first = words.next().unwrap_or_default();
        if first == "0" {
            return Err("a Unix socket is not supported: give a port".to_owned());
        }
        let listener = Listener {
            place: place.to_owned(),
            port: port(first)?,
            host: words.next().map(str::to_owned),
            ..Listener::default()
        };
        self.listeners.push(listener);
        self.current = Some(self.listeners.len() - 1);
        Ok(())
    }

    fn set_key(&mut self, key: &'static str, value: &str) {
        self.listener().keys.insert(key, vec![value.to_owned()]);
    }

    /// The listener that an option belongs to.
    fn listener(&mut self) -> &mut Listener {
        match self.current {
            Some(at) => &mut self.listeners[at],
            None => &mut self.default,
        }
    }

    /// The place of an option that belongs to the listener or to all.
    fn security(&mut self, name: &str) -> Result<&mut Listener, String> {
        match (self.per_listener, self.current) {
            (false, _) => Ok(&mut self.security),
            (true, Some(at)) => Ok(&mut self.listeners[at]),
            (true, None) => Err(format!("with per_listener_settings, {name} needs a listener to be defined first")),
        }
    }

    fn limit(&mut self, name: &str, first: &str) -> Result<(), String> {
        let keys: &[&'static str] = match name {
            "max_queued_messages" => &["queue-messages-max"],
            "max_queued_bytes" => &["queue-bytes-max"],
            "max_inflight_messages" => &["inflight-max", "receive-maximum"],
            "max_keepalive" => &["keep-alive-s-max"],
            "max_packet_size" => &["packet-bytes-max"],
            "global_max_connections" => &["connections-max"],
            "global_max_clients" => &["sessions-max"],
            _ => return Err(format!("{name} cannot be converted")),
        };
        // 0 and -1 are no limit.
        let count = count(first)?.filter(|count| *count > 0);
        for key in keys {
            self.limits.insert(key, in_range(key, count)?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Converted, String> {
        let is_local = self.listeners.is_empty() && !self.has_default;
        if self.has_default || is_local {
            let mut default = std::mem::take(&mut self.default);
            if is_local {
                // Without a listener mosquitto serves this machine alone, and lets all its programs in.
                (default.port, default.host) = (1883, Some("127.0.0.1".to_owned()));
                self.security.allow_anonymous = self.security.allow_anonymous.or(Some(true));
                self.notes.push("no listener: only 127.0.0.1:1883 is listened on".to_owned());
            }
            self.listeners.insert(0, default);
        }
        self.listeners.iter_mut().try_for_each(Listener::ask_for_certificates)?;
        let password_file = self.one_file("password_file", |listener| &listener.password_file)?;
        let acl_file = self.one_file("acl_file", |listener| &listener.acl_file)?;
        let mut toml = String::from("listen = []\n");
        let line = |toml: &mut String, key: &str, value: &dyn std::fmt::Display| {
            writeln!(toml, "{key} = {value}").expect("a string takes all that is written");
        };
        for (key, file) in [("password-file", &password_file), ("acl-file", &acl_file)] {
            if let Some(file) = file {
                line(&mut toml, key, &toml_text(file));
            }
        }
        line(&mut toml, "allow-anonymous", &self.security.allow_anonymous.unwrap_or(false));
        if let Some(level) = self.log {
            line(&mut toml, "log", &toml_text(LOG_LEVELS[level]));
        }
        if let Some(seconds) = self.sys_interval_s {
            line(&mut toml, "sys-interval-s", &seconds);
        }
        match (self.persistence, &self.persistence_location) {
            // The folder itself has mosquitto's own files.
            (Some(_), Some(folder)) => {
                line(&mut toml, "data-dir", &toml_text(&format!("{}/wisp", folder.trim_end_matches('/'))));
            }
            (Some(place), None) => {
                let note = "persistence true has no effect: without persistence_location there is no folder for it";
                self.notes.push(format!("{place}: {note}"));
            }
            (None, _) => {}
        }
        toml.push_str("\n[limits]\n");
        self.limits.iter().for_each(|(key, value)| line(&mut toml, key, value));
        for listener in &self.listeners {
            toml.push_str("\n[[listener]]\n");
            line(&mut toml, "address", &toml_text(&listener.address()));
            if let Some(allow) = listener.allow_anonymous {
                line(&mut toml, "allow-anonymous", &allow);
            }
            if let Some(count) = listener.connections_max {
                line(&mut toml, "connections-max", &count);
            }
            if let Some(count) = listener.topic_alias_max {
                line(&mut toml, "topic-alias-max", &count);
            }
            if listener.has_proxy_header {
                line(&mut toml, "proxy-protocol", &true);
            }
            for (key, values) in &listener.keys {
                let values: Vec<String> = values.iter().map(|value| toml_text(value)).collect();
                let one = values.len() == 1;
                line(&mut toml, key, &if one { values.concat() } else { format!("[{}]", values.join(", ")) });
            }
        }
        Ok(Converted { toml, notes: self.notes })
    }

    /// The file of all listeners, since Wisp has one for all.
    fn one_file(&mut self, name: &str, of: fn(&Listener) -> &Option<String>) -> Result<Option<String>, String> {
        if !self.per_listener {
            return Ok(of(&self.security).clone());
        }
        let mut files: Vec<(&str, &String)> =
            self.listeners.iter().filter_map(|one| Some((one.place.as_str(), of(one).as_ref()?))).collect();
        files.dedup_by_key(|(_, file)| *file);
        if let [_, (place, _), ..] = files[..] {
            return Err(format!("{place}: another {name} than that of the listener before: one for all is possible"));
        }
        let file = files.first().map(|(_, file)| (*file).clone());
        if file.is_some() {
            for listener in self.listeners.iter().filter(|one| of(one).is_none()) {
                self.notes.push(format!("{}: the {name} of other listeners counts for this one too", listener.place));
            }
        }
        Ok(file)
    }
}

impl Listener {
    /// Has client certificates required, if they are asked for.
    fn ask_for_certificates(&mut self) -> Result<(), String> {
        let Some(place) = &self.requires_certificate else {
            // mosquitto lets nobody in then.
            let error = |place| Err(format!("{place}: use_identity_as_username needs require_certificate"));
            return self.takes_names.as_ref().map_or(Ok(()), error);
        };
        let ca = self.ca.clone().ok_or_else(|| format!("{place}: require_certificate needs a cafile"))?;
        self.keys.insert("tls.client-ca", vec![ca]);
        self.keys.insert("tls.client-certificate", vec!["required".to_owned()]);
        if self.takes_names.is_some() {
            self.keys.insert("tls.client-name", vec!["common-name".to_owned()]);
        }
        Ok(())
    }

    fn address(&self) -> String {
        match self.host.as_deref() {
            None => self.port.to_string(),
            Some(host) if host.contains(':') => format!("[{host}]:{}", self.port),
            Some(host) => format!("{host}:{}", self.port),
        }
    }
}

fn truth(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{} is not true, false, 1 or 0", text.escape_debug())),
    }
}

fn number(text: &str) -> Result<i64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let number = parsed.ok().filter(|number| i32::try_from(*number).is_ok() || u32::try_from(*number).is_ok());
    number.ok_or_else(|| format!("{} is not a number, or out of range", text.escape_debug()))
}

/// The value of a limit that comes closest to a count; the largest for no limit.
fn in_range(key: &str, count: Option<u64>) -> Result<u64, String> {
    let limit = LIMITS.iter().find(|limit| limit.name == key).ok_or_else(|| format!("there is no {key}"))?;
    Ok(count.unwrap_or(u64::MAX).clamp(*limit.range.start(), *limit.range.end()))
}

/// A count; `None` for a negative number, which is no limit.
fn count(text: &str) -> Result<Option<u64>, String> {
    Ok(u64::try_from(number(text)?).ok())
}

fn port(text: &str) -> Result<u16, String> {
    let port = u16::try_from(number(text)?).ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("{} is not a port from 1 to 65535", text.escape_debug()))
}

fn interval_s(text: &str) -> Result<u16, String> {
    let seconds = u16::try_from(number(text)?).ok();
    seconds.ok_or_else(|| format!("{} is not a number from 0 to 65535", text.escape_debug()))
}

fn any_address(domain: &str) -> Result<String, String> {
    match domain {
        "ipv4" => Ok("0.0.0.0".to_owned()),
        "ipv6" => Ok("::".to_owned()),
        _ => Err(format!("{} is not ipv4 or ipv6", domain.escape_debug())),
    }
}

fn log_level(word: &str) -> Result<usize, String> {
    Ok(match word {
        "none" | "error" => 0,
        "warning" => 1,
        "notice" | "information" | "subscribe" | "unsubscribe" => 2,
        "debug" | "all" | "internal" | "websockets" => 3,
        _ => return Err(format!("{} is no log type", word.escape_debug())),
    })
}

/// A time like `2d`.
fn seconds(text: &str) -> Result<u64, String> {
    let units = [("h", 3_600), ("d", 86_400), ("w", 604_800), ("m", 2_592_000), ("y", 31_536_000)];
    let time = units.iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(count.saturating_mul(*seconds).min(u64::from(u32::MAX)))
    });
    time.ok_or_else(|| format!("{} is not a number with one of the units h, d, w, m, y", text.escape_debug()))
}
