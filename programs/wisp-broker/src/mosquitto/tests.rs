//! Files of mosquitto, and the configurations that they become.

use std::fs;
use std::path::Path;

use super::convert::{Converted, convert};
use super::directives::{Answer, DIRECTIVES};

fn converted(text: &str) -> Result<Converted, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mosquitto.conf");
    fs::write(&path, text).unwrap();
    let prefix = format!("{}/", folder.path().display());
    convert(&path)
        .map(|mut converted| {
            converted.notes.iter_mut().for_each(|note| *note = note.replace(&prefix, ""));
            converted
        })
        .map_err(|error| error.replace(&prefix, ""))
}

fn toml(text: &str) -> String {
    converted(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).toml
}

fn error(text: &str) -> String {
    converted(text).expect_err(text)
}

#[test]
fn a_file_without_a_listener_serves_this_machine_alone() {
    let local = "listen = []\nallow-anonymous = true\n\n[limits]\n\n[[listener]]\naddress = \"127.0.0.1:1883\"\n";
    assert_eq!(toml("# nothing\n"), local);
    assert_eq!(toml("allow_anonymous false"), local.replace("true", "false"));
    assert!(toml("password_file /etc/users").contains("password-file = \"/etc/users\"\nallow-anonymous = true\n"));
}

#[test]
fn listeners_are_read_as_mosquitto_reads_them() {
    let text = "port 1884\nbind_address 127.0.0.1\nlistener 8884\nmax_connections 7\nlistener 8885 ::1 more\n\
        listener_allow_anonymous true\nlistener 8886 localhost\nsocket_domain ipv4\nmax_connections -1\n";
    let expected = "listen = []\nallow-anonymous = false\n\n[limits]\n\n[[listener]]\naddress = \"127.0.0.1:1884\"\n\n\
        [[listener]]\naddress = \"8884\"\nconnections-max = 7\n\n[[listener]]\naddress = \"[::1]:8885\"\n\
        allow-anonymous = true\n\n[[listener]]\naddress = \"0.0.0.0:8886\"\n";
    assert_eq!(toml(text), expected);
    for wrong in ["listener", "listener x", "listener 70000", "listener 0", "listener 0 /run/socket", "port 0"] {
        assert!(error(wrong).starts_with("mosquitto.conf:1: "), "{}", error(wrong));
    }
}

#[test]
fn tls_and_websocket_of_a_listener_become_keys_of_its_table() {
    let text = "listener 8883\ncertfile c.pem\nkeyfile k.pem\ncafile ca.pem\nrequire_certificate true\ncrlfile r.pem\n\
        listener 9001\nprotocol websockets\nwebsockets_origin https://a.org\nwebsockets_origin https://b.org\n\
        listener 8884\ncertfile c.pem\nkeyfile k.pem\ncafile ca.pem\n";
    let found = toml(text);
    let expected = "[[listener]]\naddress = \"8883\"\ntls.certificate = \"c.pem\"\ntls.client-ca = \"ca.pem\"\n\
        tls.client-certificate = \"required\"\ntls.crl = \"r.pem\"\ntls.key = \"k.pem\"\n\n\
        [[listener]]\naddress = \"9001\"\nprotocol = \"websocket\"\n\
        websocket.origin = [\"https://a.org\", \"https://b.org\"]\n\n\
        [[listener]]\naddress = \"8884\"\ntls.certificate = \"c.pem\"\ntls.key = \"k.pem\"\n";
    assert!(found.ends_with(expected), "{found}");
    assert!(
        error("listener 1\nrequire_certificate true").ends_with("mosquitto.conf:2: require_certificate needs a cafile")
    );
}

#[test]
fn the_name_in_a_certificate_becomes_the_user() {
    let text = "listener 1\ncertfile c\nkeyfile k\ncafile ca\nuse_identity_as_username true\n";
    let found = toml(&format!("{text}require_certificate true\n"));
    assert!(found.contains("tls.client-name = \"common-name\"\n"), "{found}");
    assert!(error(text).ends_with("mosquitto.conf:5: use_identity_as_username needs require_certificate"));
    assert!(error("use_subject_as_username true").contains("is not supported"));
}

#[test]
fn a_listener_behind_a_proxy_expects_its_header() {
    for version in ["1", "2"] {
        let found =
            toml(&format!("listener 1884\nenable_proxy_protocol {version}\nproxy_protocol_v2_require_tls false\n"));
        assert!(found.ends_with("[[listener]]\naddress = \"1884\"\nproxy-protocol = true\n"), "{found}");
    }
    assert!(error("listener 1\nenable_proxy_protocol 3").ends_with("mosquitto.conf:2: 3 is not 1 or 2"));
    let error = error("listener 1\nenable_proxy_protocol 2\nproxy_protocol_v2_require_tls true");
    assert!(error.starts_with("mosquitto.conf:3: proxy_protocol_v2_require_tls true is not supported"), "{error}");
}

#[test]
fn anonymous_clients_connect_only_if_the_file_says_so() {
    assert!(toml("listener 1883").contains("allow-anonymous = false\n"));
    assert!(toml("listener 1883\nallow_anonymous true").contains("allow-anonymous = true\n"));
    // Without per_listener_settings the last one counts for all.
    assert!(
        toml("listener 1\nallow_anonymous true\nlistener 2\nallow_anonymous false")
            .contains("]\nallow-anonymous = false\n")
    );
    let each = toml("per_listener_settings true\nlistener 1\npassword_file u\nlistener 2\nallow_anonymous true\n");
    assert!(each.starts_with("listen = []\npassword-file = \"u\"\nallow-anonymous = false\n"), "{each}");
    assert!(each.ends_with("address = \"1\"\n\n[[listener]]\naddress = \"2\"\nallow-anonymous = true\n"), "{each}");
    let early = error("per_listener_settings true\nallow_anonymous true\nlistener 1\n");
    assert!(early.starts_with("mosquitto.conf:2: ") && early.contains("needs a listener to be defined first"));
    let two = error("per_listener_settings true\nlistener 1\nacl_file a\nlistener 2\nacl_file b\n");
    assert!(two.starts_with("mosquitto.conf:4: another acl_file"), "{two}");
}

#[test]
fn limits_are_brought_into_range() {
    let text = "max_queued_messages 50\nmax_queued_bytes 1\nmax_inflight_messages 0\nmax_keepalive 0\nmax_packet_size 2000\n\
        max_topic_alias 0\npersistent_client_expiration 2d\nretain_available false\nglobal_max_connections 9\nlog_type notice\n\
        log_type error\nglobal_max_clients -1\nsys_interval 0\n";
    let found = toml(text);
    for line in [
        "queue-messages-max = 50",
        "queue-bytes-max = 1024",
        "inflight-max = 65535",
        "receive-maximum = 65535",
        "keep-alive-s-max = 65535",
        "packet-bytes-max = 2000",
        "topic-alias-max = 0",
        "session-expiry-s-max = 172800",
        "retained-max = 0",
        "connections-max = 9",
        "sessions-max = 4294967295",
        "log = \"info\"",
        "sys-interval-s = 0",
    ] {
        assert!(found.lines().any(|found| found == line), "{line} is missing in\n{found}");
    }
}

#[test]
fn persistence_is_kept_in_a_folder_below_mosquittos() {
    let folder = |text: &str| toml(text).lines().find(|line| line.starts_with("data-dir")).map(str::to_owned);
    let location = "persistence_location /var/lib/mosquitto/";
    assert_eq!(
        folder(&format!("listener 1883\npersistence true\n{location}")),
        Some("data-dir = \"/var/lib/mosquitto/wisp\"".to_owned())
    );
    assert_eq!(folder(&format!("listener 1883\n{location}\npersistence false")), None);
    assert_eq!(folder("listener 1883\npersistence true"), None);
}

#[test]
fn the_form_of_the_file_is_that_of_mosquitto() {
    assert!(
        converted("  listener 1883\r\n\r\n   \n# c\nmax_queued_messages 5 # x\nmax_queued_messages 0x10\nmax_qos 2 x")
            .is_ok()
    );
    for (text, part) in [
        ("\n # x", "2: unknown configuration variable #"),
        ("listener\t1883", "1: unknown configuration variable listener\\t1883"),
        ("Listener 1883", "1: unknown"),
        ("\u{feff}port 1", "1: unknown"),
        ("allow_anonymous", "1: allow_anonymous has no value"),
        ("allow_anonymous yes", "1: yes is not true, false, 1 or 0"),
        ("max_queued_messages x", "1: x is not a number"),
        ("max_queued_messages 1.5", "1: 1.5 is not a number"),
        ("max_queued_messages 99999999999", "1: 99999999999 is not a number, or out of range"),
        ("persistent_client_expiration 2", "1: 2 is not a number with one of the units"),
        ("log_type x", "1: x is no log type"),
        ("auth_opt_\u{1}", "1: auth_opt_\\u{1} has no value"),
        ("sys_interval 65536", "1: 65536 is not a number from 0 to 65535"),
    ] {
        assert!(error(text).contains(part) && !error(text).contains('\n'), "{text:?}: {}", error(text));
    }
}

#[test]
fn directives_without_an_effect_are_named_and_those_that_would_let_more_in_are_refused() {
    let notes =
        converted("listener 1883\npersistence true\nuser x\nconnection b\naddress h\nset_tcp_nodelay true\nmax_qos 1")
            .unwrap()
            .notes;
    let mut starts: Vec<&str> = notes.iter().map(|note| note.split(" has no").next().unwrap_or_default()).collect();
    // That persistence needs a folder is noted when the whole file is read.
    starts.sort_unstable();
    assert_eq!(starts[0], "mosquitto.conf:2: persistence true");
    assert_eq!((notes.len(), starts[2]), (6, "mosquitto.conf:4: connection"), "{notes:?}");
    for refused in ["capath c", "protocol http_api", "use_username_as_clientid true", "plugin p", "mount_point m"] {
        let error = error(&format!("listener 1883\n{refused}"));
        assert!(error.starts_with("mosquitto.conf:2: ") && error.contains("is not supported"), "{error}");
    }
    let harmless = converted(
        "listener 1883\nprotocol mqtt\nrequire_certificate false\nuse_username_as_clientid false\npersistence 0\nlog_dest stderr",
    );
    assert_eq!(harmless.unwrap().notes, Vec::<String>::new());
}

#[test]
fn included_files_are_read_in_their_place_and_order() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir_all(folder.path().join("conf.d/sub.conf")).unwrap();
    write("conf.d/10.conf", "max_keepalive 10\nlistener 1\n");
    write("conf.d/9.conf", "max_keepalive 9\nmax_connections 9\n");
    write("conf.d/.conf", "unknown\n");
    write("conf.d/a.txt", "unknown\n");
    let main = format!("listener 2\ninclude_dir {}\nmax_connections 5\n", folder.path().join("conf.d").display());
    write("mosquitto.conf", &main);
    let found = convert(&folder.path().join("mosquitto.conf")).unwrap().toml;
    assert!(found.contains("keep-alive-s-max = 9\n") && !found.contains("connections-max"), "{found}");
    assert!(found.ends_with("address = \"2\"\n\n[[listener]]\naddress = \"1\"\n"), "{found}");
    let path = folder.path().join("mosquitto.conf");
    assert_eq!(super::closed_folders(&path), Vec::<String>::new());
    write("mosquitto.conf", &format!("{main}include_dir /no/such folder\n"));
    assert_eq!(super::closed_folders(&path), ["/no/such folder"]);
    write("mosquitto.conf", &main);
    write("conf.d/a.conf", "\ninclude_dir x\n");
    let error = convert(&folder.path().join("mosquitto.conf")).unwrap_err();
    assert!(error.contains("a.conf:2: include_dir in an included file"), "{error}");
    assert!(super::convert::convert(Path::new("/no/such/file")).unwrap_err().starts_with("cannot read /no/such/file"));
}

#[test]
fn the_document_has_each_directive_with_the_answer() {
    let document = include_str!("../../../../docs/from-mosquitto.md");
    for directive in &DIRECTIVES {
        let answer = match directive.answer {
            Answer::Honoured(key) => format!("honoured | {key}"),
            Answer::NotNeeded(why) => format!("not needed | {why}"),
            Answer::Ignored(why) => format!("no effect | {why}"),
            Answer::Refused(why) => format!("refused | {why}"),
            Answer::Bridge => "no effect | there are no bridges".to_owned(),
        };
        let row = format!("| `{}` | {answer} |", directive.name);
        assert!(document.contains(&row), "docs/from-mosquitto.md has not got the row\n{row}");
    }
}
