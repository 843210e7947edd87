//! All directives of mosquitto 2.1, and Wisp's answer to each.

use self::Answer::{Bridge, Honoured, Ignored, NotNeeded, Refused};
use self::Value::{Number, Text, Truth};

/// A directive.
pub(super) struct Directive {
    /// A name, or the beginning of one with `*` behind it.
    pub(super) name: &'static str,
    pub(super) value: Value,
    pub(super) answer: Answer,
    /// The values for which nothing has to be said.
    pub(super) harmless: &'static [&'static str],
}

/// The legal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `true`, `false`, `1`, `0`.
    Truth,
    Number,
    Text,
}

/// Wisp's answer to a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It becomes this key.
    Honoured(&'static str),
    /// It changes nothing here.
    NotNeeded(&'static str),
    /// It has no effect.
    Ignored(&'static str),
    /// It has no effect, and clients could do more than with mosquitto: the broker does not start.
    Refused(&'static str),
    /// It belongs to a bridge, of which there are none.
    Bridge,
}

/// The directive of this name.
pub(super) fn find(name: &str) -> Option<&'static Directive> {
    DIRECTIVES.iter().find(|directive| match directive.name.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => directive.name == name,
    })
}

const fn directive(name: &'static str, value: Value, answer: Answer, harmless: &'static [&'static str]) -> Directive {
    Directive { name, value, answer, harmless }
}

/// All directives, by name.
#[rustfmt::skip]
pub(super) static DIRECTIVES: [Directive; 141] = [
    directive("accept_protocol_versions", Text, Ignored("all versions are accepted"), &[]),
    directive("acl_file", Text, Honoured("acl-file"), &[]),
    directive("address", Text, Bridge, &[]),
    directive("addresses", Text, Bridge, &[]),
    directive("allow_anonymous", Truth, Honoured("allow-anonymous"), &[]),
    directive("allow_duplicate_messages", Truth, Ignored("a message comes once, however many filters match"), &["false", "0"]),
    directive("allow_zero_length_clientid", Truth, Refused("clients without an identifier get one"), &["true", "1"]),
    directive("auth_plugin", Text, Refused("no plugin can check clients"), &[]),
    directive("auth_plugin_deny_special_chars", Truth, Ignored("options of plugins"), &[]),
    directive("auto_id_prefix", Text, Ignored("assigned identifiers begin with wisp-"), &[]),
    directive("autosave_interval", Number, NotNeeded("data-dir has each change at once"), &[]),
    directive("autosave_on_changes", Truth, NotNeeded("data-dir has each change at once"), &["false", "0"]),
    directive("bind_address", Text, Honoured("address of [[listener]]"), &[]),
    directive("bind_interface", Text, Refused("the listener would be open on all interfaces"), &[]),
    directive("bridge_alpn", Text, Bridge, &[]),
    directive("bridge_attempt_unsubscribe", Truth, Bridge, &[]),
    directive("bridge_bind_address", Text, Bridge, &[]),
    directive("bridge_cafile", Text, Bridge, &[]),
    directive("bridge_capath", Text, Bridge, &[]),
    directive("bridge_certfile", Text, Bridge, &[]),
    directive("bridge_ciphers", Text, Bridge, &[]),
    directive("bridge_ciphers_tls1.3", Text, Bridge, &[]),
    directive("bridge_identity", Text, Bridge, &[]),
    directive("bridge_insecure", Truth, Bridge, &[]),
    directive("bridge_keyfile", Text, Bridge, &[]),
    directive("bridge_max_packet_size", Text, Bridge, &[]),
    directive("bridge_max_topic_alias", Text, Bridge, &[]),
    directive("bridge_outgoing_retain", Truth, Bridge, &[]),
    directive("bridge_protocol_version", Text, Bridge, &[]),
    directive("bridge_psk", Text, Bridge, &[]),
    directive("bridge_receive_maximum", Text, Bridge, &[]),
    directive("bridge_reload_type", Text, Bridge, &[]),
    directive("bridge_require_ocsp", Truth, Bridge, &[]),
    directive("bridge_session_expiry_interval", Text, Bridge, &[]),
    directive("bridge_tcp_keepalive", Text, Bridge, &[]),
    directive("bridge_tcp_user_timeout", Text, Bridge, &[]),
    directive("bridge_tls_use_os_certs", Truth, Bridge, &[]),
    directive("bridge_tls_version", Text, Bridge, &[]),
    directive("cafile", Text, Honoured("tls.client-ca of [[listener]], with require_certificate"), &[]),
    directive("capath", Text, Refused("give the certificates in one cafile"), &[]),
    directive("certfile", Text, Honoured("tls.certificate of [[listener]]"), &[]),
    directive("check_retain_source", Truth, Ignored("retained messages stay when their author loses the right"), &["false", "0"]),
    directive("ciphers", Text, Ignored("the suites of rustls are offered"), &[]),
    directive("ciphers_tls1.3", Text, Ignored("the suites of rustls are offered"), &[]),
    directive("cleansession", Truth, Bridge, &[]),
    directive("clientid", Text, Bridge, &[]),
    directive("clientid_prefixes", Text, Refused("every client identifier is allowed"), &[]),
    directive("connection", Text, Bridge, &[]),
    directive("connection_messages", Truth, Ignored("log = \"warn\" leaves them out"), &["true", "1"]),
    directive("crlfile", Text, Honoured("tls.crl of [[listener]]"), &[]),
    directive("dhparamfile", Text, NotNeeded("mosquitto 2.1 ignores it too"), &[]),
    directive("disable_client_cert_date_checks", Truth, Ignored("expired certificates are refused"), &["false", "0"]),
    directive("enable_control_api", Truth, Ignored("there are no $CONTROL topics"), &["false", "0"]),
    directive("enable_proxy_protocol", Number, Honoured("proxy-protocol of [[listener]]"), &[]),
    directive("global_max_clients", Number, Honoured("sessions-max"), &[]),
    directive("global_max_connections", Number, Honoured("connections-max"), &[]),
    directive("global_plugin", Text, Refused("no plugin can check clients"), &[]),
    directive("http_dir", Text, Ignored("there is no HTTP server"), &[]),
    directive("idle_timeout", Text, Bridge, &[]),
    directive("include_dir", Text, Honoured("read in its place"), &[]),
    directive("keepalive_interval", Text, Bridge, &[]),
    directive("keyfile", Text, Honoured("tls.key of [[listener]]"), &[]),
    directive("listener", Text, Honoured("[[listener]]"), &[]),
    directive("listener_allow_anonymous", Truth, Honoured("allow-anonymous of [[listener]]"), &[]),
    directive("listener_auto_id_prefix", Text, Ignored("assigned identifiers begin with wisp-"), &[]),
    directive("local_cleansession", Truth, Bridge, &[]),
    directive("local_clientid", Text, Bridge, &[]),
    directive("local_password", Text, Bridge, &[]),
    directive("local_username", Text, Bridge, &[]),
    directive("log_dest", Text, Ignored("the log goes to standard error"), &["stderr"]),
    directive("log_facility", Number, Ignored("the log goes to standard error"), &[]),
    directive("log_timestamp", Truth, Ignored("each line of the log has its time"), &["true", "1"]),
    directive("log_timestamp_format", Text, Ignored("each line of the log has its time"), &[]),
    directive("log_type", Text, Honoured("log"), &[]),
    directive("max_connections", Number, Honoured("connections-max of [[listener]]"), &[]),
    directive("max_inflight_bytes", Number, Ignored("queue-bytes-max bounds them"), &["0"]),
    directive("max_inflight_messages", Number, Honoured("inflight-max, receive-maximum"), &[]),
    directive("max_keepalive", Number, Honoured("keep-alive-s-max"), &[]),
    directive("max_packet_size", Number, Honoured("packet-bytes-max"), &[]),
    directive("max_qos", Number, Ignored("clients may use QoS 0 to 2"), &["2"]),
    directive("max_queued_bytes", Number, Honoured("queue-bytes-max"), &[]),
    directive("max_queued_messages", Number, Honoured("queue-messages-max"), &[]),
    directive("max_topic_alias", Number, Honoured("topic-alias-max of [[listener]]"), &[]),
    directive("max_topic_alias_broker", Number, Ignored("topic-alias-max counts in both directions"), &[]),
    directive("maximum_qos", Number, Ignored("clients may use QoS 0 to 2"), &["2"]),
    directive("memory_limit", Number, Ignored("buffered-bytes-max and stored-bytes-max bound the memory"), &["0"]),
    directive("message_size_limit", Number, Ignored("packet-bytes-max bounds whole packets"), &["0"]),
    directive("mount_point", Text, Refused("the topics of this listener would mix with those of others"), &[]),
    directive("notification_topic", Text, Bridge, &[]),
    directive("notifications", Truth, Bridge, &[]),
    directive("notifications_local_only", Truth, Bridge, &[]),
    directive("packet_buffer_size", Number, NotNeeded("buffers have the size that is best on the host"), &[]),
    directive("password", Text, Bridge, &[]),
    directive("password_file", Text, Honoured("password-file"), &[]),
    directive("per_listener_settings", Truth, Honoured("allow-anonymous of [[listener]]"), &[]),
    directive("persistence", Truth, Honoured("data-dir"), &[]),
    directive("persistence_file", Text, NotNeeded("data-dir has files of its own"), &[]),
    directive("persistence_location", Text, Honoured("data-dir"), &[]),
    directive("persistent_client_expiration", Text, Honoured("session-expiry-s-max"), &[]),
    directive("pid_file", Text, Ignored("the service manager knows the process"), &[]),
    directive("plugin", Text, Refused("no plugin can check clients"), &[]),
    directive("plugin_load", Text, Refused("no plugin can check clients"), &[]),
    directive("plugin_use", Text, Refused("no plugin can check clients"), &[]),
    directive("port", Number, Honoured("address of [[listener]]"), &[]),
    directive("protocol", Text, Honoured("protocol of [[listener]]"), &["mqtt"]),
    directive("proxy_protocol_v2_require_tls", Truth, Refused("clients without TLS before the proxy would be let in"), &["false", "0"]),
    directive("psk_file", Text, Refused("there is no TLS with pre-shared keys"), &[]),
    directive("psk_hint", Text, Refused("there is no TLS with pre-shared keys"), &[]),
    directive("queue_qos0_messages", Truth, Ignored("messages at QoS 0 are not kept for absent clients"), &["false", "0"]),
    directive("remote_clientid", Text, Bridge, &[]),
    directive("remote_password", Text, Bridge, &[]),
    directive("remote_username", Text, Bridge, &[]),
    directive("require_certificate", Truth, Honoured("tls.client-certificate of [[listener]]"), &["false", "0"]),
    directive("restart_timeout", Text, Bridge, &[]),
    directive("retain_available", Truth, Honoured("retained-max = 0"), &[]),
    directive("retain_expiry_interval", Number, NotNeeded("retained messages expire when they are due"), &[]),
    directive("retained_persistence", Truth, NotNeeded("data-dir has retained messages too"), &["true", "1"]),
    directive("retry_interval", Text, NotNeeded("mosquitto ignores it too"), &[]),
    directive("round_robin", Truth, Bridge, &[]),
    directive("set_tcp_nodelay", Truth, NotNeeded("it is always on"), &[]),
    directive("socket_domain", Text, Honoured("address of [[listener]]"), &[]),
    directive("start_type", Text, Bridge, &[]),
    directive("sys_interval", Number, Honoured("sys-interval-s"), &[]),
    directive("threshold", Text, Bridge, &[]),
    directive("tls_engine", Text, Refused("keys are read from files"), &[]),
    directive("tls_engine_kpass_sha1", Text, Ignored("keys are read from files"), &[]),
    directive("tls_keyform", Text, Ignored("keys are PEM"), &[]),
    directive("tls_version", Text, Ignored("TLS 1.2 and 1.3 are accepted"), &[]),
    directive("topic", Text, Bridge, &[]),
    directive("try_private", Truth, Bridge, &[]),
    directive("upgrade_outgoing_qos", Truth, Ignored("messages are delivered at the lower QoS"), &["false", "0"]),
    directive("use_identity_as_username", Truth, Honoured("tls.client-name of [[listener]], with require_certificate"), &["false", "0"]),
    directive("use_subject_as_username", Truth, Refused("clients need a user name of their own"), &["false", "0"]),
    directive("use_username_as_clientid", Truth, Refused("clients would share the sessions of others by their identifiers"), &["false", "0"]),
    directive("user", Text, Ignored("start the program as the user that it is to run as"), &[]),
    directive("username", Text, Bridge, &[]),
    directive("websockets_headers_size", Number, NotNeeded("buffers have the size that is best on the host"), &[]),
    directive("websockets_log_level", Number, NotNeeded("there is one log level"), &[]),
    directive("websockets_origin", Text, Honoured("websocket.origin of [[listener]]"), &[]),
    directive("auth_opt_*", Text, Ignored("options of plugins"), &[]),
    directive("plugin_opt_*", Text, Ignored("options of plugins"), &[]),
];
