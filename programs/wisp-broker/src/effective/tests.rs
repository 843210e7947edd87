//! The layers together: precedence, refusals with their texts, and agreement of the documents with the code.

use wisp_broker::{FullPolicy, QueueSettings};

use super::*;
use crate::address::Address;
use crate::args;
use crate::tables::{Key, KeyKind};

const EXAMPLE: &str = include_str!("../../../../docs/wisp.toml");
const CONFIGURATION: &str = include_str!("../../../../docs/configuration.md");
const LIMITS: &str = include_str!("../../../../docs/limits.md");

fn file(text: &str) -> ConfigFile {
    ConfigFile { name: "wisp.toml".to_owned(), text: text.to_owned() }
}

fn resolve(text: Option<&str>, environment: &[(&str, &str)], flags: &[&str]) -> Result<Effective, String> {
    let flags = args::try_parse(["wisp-broker"].iter().chain(flags).map(OsString::from)).ok().unwrap().flags;
    let variable =
        |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
    Effective::from_layers(text.map(file).as_ref(), variable, &flags)
}

fn config(effective: &Effective) -> Result<Config, String> {
    effective.config(&effective.addresses()?, None, &effective.load_tls()?)
}

fn error(text: &str) -> String {
    resolve(Some(text), &[], &[]).err().unwrap_or_else(|| panic!("accepted: {text}"))
}

/// The values alone, for comparing.
fn shown(effective: &Effective) -> Vec<String> {
    SETTINGS.iter().map(|setting| setting.show(&effective.settings)).collect()
}

/// A value for each setting that is neither its default nor that of another layer, as text and as TOML.
fn sample(index: usize, layer: usize) -> (String, String) {
    match &SETTINGS[index].kind {
        Kind::Addresses => {
            let addr = format!("127.0.0.1:{}", 2000 + layer);
            (addr.clone(), format!("[\"{addr}\"]"))
        }
        Kind::Word { words, .. } => {
            let word = words[layer % words.len()];
            (word.to_owned(), format!("\"{word}\""))
        }
        Kind::Text { .. } => (format!("layer {layer}"), format!("\"layer {layer}\"")),
        Kind::Address { .. } => {
            let addr = format!("127.0.0.1:{}", 3000 + layer);
            (addr.clone(), format!("\"{addr}\""))
        }
        Kind::Workers => ((2 + layer).to_string(), (2 + layer).to_string()),
        Kind::Sync { .. } => (format!("{} ms", 2 + layer), format!("\"{} ms\"", 2 + layer)),
        // Two values serve three layers.
        Kind::Truth { .. } => {
            let truth = (layer == 1).to_string();
            (truth.clone(), truth)
        }
        Kind::Count { range, .. } => {
            let number = (range.start() + 1 + layer as u64).to_string();
            (number.clone(), number)
        }
        Kind::Number(limit) => {
            let number = (limit.range.start() + 1 + layer as u64).to_string();
            (number.clone(), number)
        }
    }
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_default() {
    for (index, setting) in SETTINGS.iter().enumerate() {
        let default = setting.show(&Settings::default());
        let table = if setting.section == Section::Limits { "[limits]\n" } else { "" };
        let [in_file, in_environment, in_flag] = [0, 1, 2].map(|layer| sample(index, layer));
        let text = format!("{table}{} = {}\n", setting.name, in_file.1);
        let (variable, flag) = (setting.variable(), format!("--{}", setting.name));
        // Every subset of the three layers.
        for given in 0..8 {
            let text = (given & 1 != 0).then_some(text.as_str());
            let environment = [(variable.as_str(), in_environment.0.as_str())];
            let environment = if given & 2 != 0 { &environment[..] } else { &[] };
            let flags = [flag.as_str(), &in_flag.0];
            let flags = if given & 4 != 0 { &flags[..] } else { &[] };
            let (value, source) = match given {
                4.. => (&in_flag.1, Source::Flag),
                2.. => (&in_environment.1, Source::Environment),
                1 => (&in_file.1, Source::File { line: 1 + table.lines().count() }),
                _ => (&default, Source::Default),
            };
            let effective = resolve(text, environment, flags).unwrap();
            assert_eq!(&setting.show(&effective.settings), value, "{} with layers {given:03b}", setting.name);
            assert_eq!(effective.sources[index], source, "{} with layers {given:03b}", setting.name);
        }
    }
}

#[test]
fn nothing_given_is_the_default_of_the_library() {
    let effective = resolve(Some(""), &[], &[]).unwrap();
    let (config, default) = (config(&effective).unwrap(), wisp_broker::Config::default());
    let addresses = |config: &wisp_broker::Config| config.listeners().iter().map(|one| one.address).collect::<Vec<_>>();
    assert_eq!((addresses(&config), config.limits()), (addresses(&default), default.limits()));
    assert_eq!(config.workers(), None);
}

#[test]
fn what_is_wrong_in_a_file_is_said_with_its_line() {
    let cases = [
        ("log = \"info\"\n\nworkrs = 2\n", "wisp.toml:3: unknown key workrs"),
        ("\n[limits]\npacket-bytes = 2\n", "wisp.toml:3: unknown key packet-bytes"),
        ("[limit]\n", "wisp.toml:1: unknown key limit"),
        (
            "connections_max = 5",
            "wisp.toml:1: unknown key connections_max: did you mean connections-max in the table [limits]?",
        ),
        ("[limits]\nlog = \"info\"", "wisp.toml:2: unknown key log: did you mean log, above all tables?"),
        ("\"a\\nb\" = 1", "wisp.toml:1: unknown key a\\nb"),
        ("workers = 2\nworkers = 3\n", "wisp.toml:2: duplicate key"),
        ("[limits]\n\n[limits]\n", "wisp.toml:3: duplicate key"),
        ("\nworkers = 257", "wisp.toml:2: workers = 257: not a number from 1 to 256, nor auto"),
        ("workers = -1", "wisp.toml:1: workers = -1: not a number from 1 to 256, nor auto"),
        ("workers = \"2\"", "wisp.toml:1: workers: expected a whole number or \"auto\", found a string"),
        ("[limits]\ntopic-levels-max = 0", "wisp.toml:2: topic-levels-max = 0: not a number from 1 to 1024"),
        (
            "[limits]\ntopic-levels-max = 99999999999999999999999",
            "wisp.toml:2: topic-levels-max = 99999999999999999999999: not a number from 1 to 1024",
        ),
        ("[limits]\n\nstall-ms-max = \"1\"", "wisp.toml:3: stall-ms-max: expected a whole number, found a string"),
        ("[limits]\nstall-ms-max = 1.5", "wisp.toml:2: stall-ms-max: expected a whole number, found a fraction"),
        ("limits = 3", "wisp.toml:1: expected a table, [limits], found a whole number"),
        ("log = true", "wisp.toml:1: log: expected a string, found a truth value"),
        ("allow-anonymous = 1", "wisp.toml:1: allow-anonymous: expected true, false or \"auto\", found a whole number"),
        ("allow-anonymous = \"yes\"", "wisp.toml:1: allow-anonymous: expected true, false or \"auto\", found a string"),
        ("check-files-s = 86401", "wisp.toml:1: check-files-s = 86401: not a number from 0 to 86400"),
        ("log = \"loud\"", "wisp.toml:1: log = loud: not one of error, warn, info, debug, trace"),
        ("listen = []", "wisp.toml:1: listen = []: at least one address is needed, or a table [[listener]]"),
        (
            "listen = [\"[::1]:1\", \"here\"]",
            "wisp.toml:1: listen = [[::1]:1, here]: \
             not an address and a port, like 127.0.0.1:1883, [::1]:1883 or localhost:1883, nor a port",
        ),
        ("listen = [\n  \"[::1]:1\",\n  7,\n]", "wisp.toml:3: listen: expected a string, found a whole number"),
        ("\nlisten = 1883", "wisp.toml:2: listen: expected a string or an array of strings, found a whole number"),
        // The first of several.
        ("zz = 1\naa = 2", "wisp.toml:1: unknown key zz"),
    ];
    for (text, message) in cases {
        assert_eq!(error(text), message, "for {text:?}");
    }
}

#[test]
fn what_is_wrong_with_a_queue_is_said_with_its_line() {
    let cases = [
        ("queue = 3", "wisp.toml:1: expected tables, [[queue]], found a whole number"),
        ("queue = [\n3]", "wisp.toml:2: expected tables, [[queue]], found a whole number"),
        ("\n[queue]\nname = \"a\"", "wisp.toml:2: expected tables, [[queue]], found a table"),
        ("\n[[queue]]\nfilter = \"a\"", "wisp.toml:2: a queue without a name"),
        ("[[queue]]\nname = 7", "wisp.toml:2: name: expected a string, found a whole number"),
        (
            "[[queue]]\nname = \"a\"\nbytes-max = \"1\"",
            "wisp.toml:3: bytes-max: expected a whole number, found a string",
        ),
        ("[[queue]]\nname = \"a\"\nname = \"b\"", "wisp.toml:3: duplicate key"),
        ("[[queue]]\nname = \"a\"\ncolour = 7", "wisp.toml:3: unknown key colour of a queue"),
        ("[[queue]]\nname = \"a\"\nbytes_max = 7", "wisp.toml:3: unknown key bytes_max: did you mean bytes-max?"),
        (
            "[[queue]]\nname = \"a\"\n\npolicy = \"wait\"",
            "wisp.toml:4: policy = wait: not one of refuse, drop-oldest, drop-newest",
        ),
        (
            "[[queue]]\nname = \"a\"\nmessages-max = 0",
            "wisp.toml:3: messages-max = 0: not a number from 1 to 1073741824",
        ),
        (
            "[[queue]]\nfilter = \"a\"\nname = \"a/#\"",
            "wisp.toml:3: \"a/#\" is no name for a queue: it has to be a legal topic name",
        ),
        (
            "[[queue]]\nname = \"a\"\nfilter = \"$share/g/a\"",
            "wisp.toml:3: \"$share/g/a\" is no filter for a queue: \
             it has to be a legal topic filter that is not itself of a queue or shared",
        ),
        (
            "[[queue]]\nname = \"a\"\ndead-letter = \"a\"",
            "wisp.toml:3: \"a\" is no queue for dead letters: it has to be a legal topic name, and another queue",
        ),
        (
            "[[queue]]\nname = \"a\"\n[[queue]]\nfilter = \"b\"\nname = \"a\"",
            "wisp.toml:5: the queue \"a\" is configured twice",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(error(text), message, "for {text:?}");
    }
}

#[test]
fn what_is_wrong_with_a_listener_is_said_with_its_line() {
    let address = "not an address and a port, like 127.0.0.1:1883, [::1]:1883 or localhost:1883, nor a port";
    let cases = [
        ("[listener]", "wisp.toml:1: expected tables, [[listener]], found a table".to_owned()),
        (
            "[[listener]]\nconnections-max = 1",
            "wisp.toml:1: a listener without an address, like address = \"127.0.0.1:8883\"".to_owned(),
        ),
        (
            "[[listener]]\naddress = true",
            "wisp.toml:2: address: expected an address or a port, found a truth value".to_owned(),
        ),
        ("[[listener]]\naddress = \"here\"", format!("wisp.toml:2: address = here: {address}")),
        ("[[listener]]\naddress = 65536", format!("wisp.toml:2: address = 65536: {address}")),
        ("[[listener]]\naddress = 1\nport = 2", "wisp.toml:3: unknown key port of a listener".to_owned()),
        (
            "[[listener]]\naddress = 1\nallow_anonymous = true",
            "wisp.toml:3: unknown key allow_anonymous: did you mean allow-anonymous?".to_owned(),
        ),
        (
            "[[listener]]\naddress = 1\nallow-anonymous = 1",
            "wisp.toml:3: allow-anonymous: expected true or false, found a whole number".to_owned(),
        ),
        (
            "[[listener]]\naddress = 1\nconnections-max = 0",
            "wisp.toml:3: connections-max = 0: not a number from 1 to 4294967295".to_owned(),
        ),
        (
            "[[listener]]\naddress = 1\npacket-bytes-max = 63",
            "wisp.toml:3: packet-bytes-max = 63: not a number from 64 to 268435460".to_owned(),
        ),
        (
            "[[listener]]\naddress = 1\nproxy-protocol-from = \"10.0.0.0/8\"",
            "wisp.toml:3: proxy-protocol-from: it needs proxy-protocol = true".to_owned(),
        ),
        (
            "[[listener]]\naddress = 1\nproxy-protocol = true\nproxy-protocol-from = [\"::1\", \"proxy\"]",
            "wisp.toml:4: proxy-protocol-from = [::1, proxy]: not an address or a network, like 192.0.2.7 or 10.0.0.0/8".to_owned(),
        ),
    ];
    for (text, message) in cases {
        assert_eq!(error(text), message, "for {text:?}");
    }
    let text = "[[listener]]\nconnections-max = 1\naddress = \"no-such-host.invalid:1\"";
    let message = resolve(Some(text), &[], &[]).unwrap().addresses().err().unwrap();
    let start = "wisp.toml:3: address = no-such-host.invalid:1: no address is known for no-such-host.invalid: ";
    assert!(message.starts_with(start), "{message}");
}

#[test]
fn what_is_no_toml_is_one_line_with_its_number() {
    for (text, line) in [("log", 1), ("\n\nlog = ", 3), ("log = \"info", 1), ("# a\n[limits\n", 2), ("a b = 1", 1)] {
        let message = error(text);
        assert!(message.starts_with(&format!("wisp.toml:{line}: ")) && !message.contains('\n'), "{message:?}");
    }
}

#[test]
fn numbers_may_be_written_in_every_way_of_toml() {
    for text in ["1_024", "0x400", "0o2000", "0b100_0000_0000", "+1024"] {
        let effective = resolve(Some(&format!("[limits]\nqueue-bytes-max = {text}")), &[], &[]).unwrap();
        assert_eq!(effective.settings.limits.queue_bytes_max, 1024, "{text}");
    }
}

#[test]
fn a_wrong_value_is_refused_also_where_a_later_layer_hides_it() {
    let flags = ["--workers", "2"];
    assert!(resolve(Some("workers = 0"), &[], &flags).is_err());
    let message = resolve(None, &[("WISP_WORKERS", "none")], &flags).err().unwrap();
    assert_eq!(message, "WISP_WORKERS=none: not a number from 1 to 256, nor auto");
}

#[test]
fn addresses_of_a_layer_replace_those_of_the_one_below() {
    let text = Some("listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]");
    let listen = |environment: &[(&str, &str)], flags: &[&str]| {
        let listen = resolve(text, environment, flags).unwrap().settings.listen;
        listen.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let environment = [("WISP_LISTEN", "127.0.0.1:3, [::1]:4")];
    assert_eq!(listen(&[], &[]), ["127.0.0.1:1", "127.0.0.1:2"]);
    assert_eq!(listen(&environment, &[]), ["127.0.0.1:3", "[::1]:4"]);
    assert_eq!(listen(&environment, &["--listen", "localhost:5", "--listen", "6"]), ["localhost:5", "6"]);
}

#[test]
fn an_empty_variable_counts_as_none() {
    let args = args::try_parse(["wisp-broker".into()]).ok().unwrap();
    let effective = Effective::resolve(&args, |_| Some(OsString::new())).unwrap();
    assert_eq!(effective.sources, vec![Source::Default; SETTINGS.len()]);
}

#[test]
fn what_is_printed_gives_the_same_again() {
    let text = (0..SETTINGS.len()).fold(String::new(), |text, index| {
        let table = if SETTINGS[index].name == "memory-bytes-max" { "[limits]\n" } else { "" };
        format!("{text}{table}{} = {}\n", SETTINGS[index].name, sample(index, 1).1)
    });
    for first in [resolve(None, &[], &[]), resolve(Some(&text), &[("WISP_WORKERS", "9")], &["--log", "warn"])] {
        let first = first.unwrap();
        let second = resolve(Some(&first.to_toml()), &[], &[]).unwrap();
        assert_eq!(shown(&first), shown(&second));
        assert!(second.sources.iter().all(|source| matches!(source, Source::File { .. })));
    }
}

#[test]
fn limits_follow_from_the_memory_of_any_layer_unless_a_layer_has_them() {
    let file = Some("[limits]\nstored-bytes-max = 1_000_000\n");
    let settings = resolve(file, &[("WISP_RETAINED_BYTES_MAX", "5")], &["--memory-bytes-max", "268435456"]).unwrap();
    let (limits, derived) = (settings.settings.limits, Limits::for_memory(256 << 20));
    assert_eq!((limits.stored_bytes_max, limits.retained_bytes_max), (1_000_000, 5));
    assert_eq!(
        (limits.buffered_bytes_max, limits.queue_bytes_max),
        (derived.buffered_bytes_max, derived.queue_bytes_max)
    );
}

#[test]
fn what_is_printed_says_where_each_value_came_from() {
    let text = Some("\nworkers = 3");
    let printed = resolve(text, &[("WISP_LOG", "warn")], &["--topic-levels-max", "9"]).unwrap().to_toml();
    for line in ["workers = 3 # file, line 2", "log = \"warn\" # WISP_LOG", "topic-levels-max = 9 # --topic-levels-max"]
    {
        assert!(printed.lines().any(|printed| printed == line), "{line} is missing in\n{printed}");
    }
    assert!(printed.contains("listen = [\"127.0.0.1:1883\"] # default\n"), "{printed}");
}

const QUEUES: &str = r#"
[[queue]]
name = "orders"
filter = "orders/#"
messages-max = 10_000
bytes-max = 1_048_576
policy = "drop-oldest"
deliveries-max = 3
dead-letter = "orders-dead"

[[queue]]
name = "with \"quotes\""
"#;

#[test]
fn queues_are_as_the_file_says_and_for_the_rest_as_the_limits_of_all_layers_say() {
    let config = resolve(Some(QUEUES), &[("WISP_QUEUE_BYTES_MAX", "2048")], &["--queue-messages-max", "7"]);
    let settings = config.unwrap().settings;
    let mut orders = QueueSettings::new("orders", &settings.limits);
    orders.filter = Some("orders/#".into());
    (orders.messages_max, orders.bytes_max) = (10_000, 1 << 20);
    orders.policy = FullPolicy::DropOldest;
    orders.deliveries_max = Some(3);
    orders.dead_letter = Some("orders-dead".into());
    let quotes = QueueSettings::new("with \"quotes\"", &settings.limits);
    assert_eq!((quotes.messages_max, quotes.bytes_max), (7, 2048));
    assert_eq!(settings.queues, [orders, quotes]);
}

#[test]
fn queues_that_are_printed_give_the_same_again_and_say_where_they_came_from() {
    let first = resolve(Some(QUEUES), &[], &["--queue-messages-max", "7"]).unwrap();
    let printed = first.to_toml();
    assert_eq!(resolve(Some(&printed), &[], &[]).unwrap().settings.queues, first.settings.queues);
    for line in [
        "[[queue]] # file, line 2",
        "name = \"orders\" # file, line 3",
        "deliveries-max = 3 # file, line 8",
        "name = \"with \\\"quotes\\\"\" # file, line 12",
        "messages-max = 7 # default",
        "policy = \"refuse\" # default",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is missing in\n{printed}");
    }
}

const LISTENERS: &str = r#"
[[listener]]
address = "127.0.0.1:8883"
allow-anonymous = false
connections-max = 10

[[listener]]
address = 8884
allow-anonymous = true
"#;

#[test]
fn listeners_of_the_file_take_the_place_of_the_default_and_stand_beside_addresses_that_are_given() {
    let listeners = |environment: &[(&str, &str)], flags: &[&str]| {
        let config = config(&resolve(Some(LISTENERS), environment, flags).unwrap()).unwrap();
        let listener = |one: &ListenerConfig| (one.address.to_string(), one.allow_anonymous, one.connections_max);
        config.listeners().iter().map(listener).collect::<Vec<_>>()
    };
    let own = [("127.0.0.1:8883".to_owned(), Some(false), Some(10)), ("[::]:8884".to_owned(), Some(true), None)];
    assert_eq!(listeners(&[], &[]), own);
    let beside = [&[("127.0.0.1:1".to_owned(), None, None)][..], &own].concat();
    assert_eq!(listeners(&[("WISP_LISTEN", "127.0.0.1:1")], &[]), beside);
    assert_eq!(listeners(&[], &["--listen", "127.0.0.1:1"]), beside);
    let none = resolve(Some(&format!("listen = []\n{LISTENERS}")), &[], &[]).unwrap();
    assert_eq!(none.settings.listen, []);
}

#[test]
fn a_listener_has_limits_of_its_own_and_the_others_for_the_rest() {
    let text = "[limits]\npacket-bytes-max = 5000\n[[listener]]\naddress = 1\nallow-anonymous = true\npacket-bytes-max = 100\n\
        connect-timeout-ms = 7\nkeep-alive-s-max = 8\ntopic-alias-max = 0\nmessages-per-s-max = 9\nbytes-per-s-max = 10\n";
    let config = config(&resolve(Some(text), &[], &[]).unwrap()).unwrap();
    let own = config.listeners()[0].limits.of(config.limits());
    assert_eq!((own.packet_bytes_max, own.connect_timeout_ms, own.keep_alive_s_max), (100, 7, 8));
    assert_eq!((own.topic_alias_max, own.messages_per_s_max, own.bytes_per_s_max), (0, 9, 10));
    assert_eq!((config.limits().packet_bytes_max, own.receive_maximum), (5000, config.limits().receive_maximum));
}

const SECURE: &str = "[[listener]]
address = 8883
tls.certificate = \"a.pem\"
tls.key = \"a.key\"
tls.client-ca = \"ca.pem\"
tls.crl = \"crl.pem\"
";

#[test]
fn a_reload_takes_other_files_of_a_listener_and_leaves_the_rest_to_a_restart() {
    let started = resolve(Some(SECURE), &[], &[]).unwrap();
    let files = |effective: &Effective| effective.settings.listeners[0].tls();
    for (from, to, is_taken) in [
        ("\"a.pem\"", "\"b.pem\"", true),
        ("\"a.key\"", "\"b.key\"", true),
        ("\"ca.pem\"", "\"other.pem\"", true),
        ("\"crl.pem\"", "[\"crl.pem\", \"more.pem\"]", true),
        ("tls.crl = \"crl.pem\"", "", false),
        ("tls.crl = \"crl.pem\"", "tls.crl = \"crl.pem\"\ntls.client-certificate = \"optional\"", false),
        ("tls.crl = \"crl.pem\"", "tls.crl = \"crl.pem\"\ntls.client-name = \"common-name\"", false),
        ("8883", "8884", false),
        ("8883", "8883\nconnections-max = 7", true),
        (&SECURE[SECURE.find("tls.client-ca").unwrap()..], "", false),
        (&SECURE[SECURE.find("tls.").unwrap()..], "", false),
    ] {
        let new = resolve(Some(&SECURE.replace(from, to)), &[], &[]).unwrap();
        assert_eq!(started.differences(&new).is_empty(), is_taken, "{from} -> {to}");
        let expected = if is_taken { files(&new) } else { files(&started) };
        assert_eq!(started.listeners_from(&new)[0].tls(), expected, "{from} -> {to}");
    }
    for setting in SETTINGS.iter() {
        let Kind::Number(limit) = &setting.kind else { continue };
        let other = (limit.range.start() + 7).to_string();
        let new = resolve(Some(SECURE), &[(&setting.variable(), &other)], &[]).unwrap();
        assert_eq!(!started.differences(&new).contains(&setting.name), limit.is_live(), "{}", setting.name);
    }
    let none = resolve(None, &[], &["--listen", "127.0.0.1:1883"]).unwrap();
    assert_eq!(started.listeners_from(&none), [&started.settings.listeners[0]]);
    assert!(started.differences(&none).contains(&"[[listener]]"));
}

#[test]
fn listeners_that_are_printed_give_the_same_again_and_say_where_they_came_from() {
    let first = resolve(Some(LISTENERS), &[], &[]).unwrap();
    let printed = first.to_toml();
    let second = resolve(Some(&printed), &[], &[]).unwrap();
    assert_eq!(second.settings.listeners, first.settings.listeners);
    assert_eq!(second.settings.listen, first.settings.listen);
    for line in [
        "listen = [] # default",
        "[[listener]] # file, line 2",
        "allow-anonymous = false # file, line 4",
        "address = \"8884\" # file, line 8",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is missing in\n{printed}");
    }
}

#[test]
fn a_launcher_is_told_the_listeners_in_their_order_and_the_workers() {
    let needs = |flags: &[&str]| resolve(Some(LISTENERS), &[], flags).unwrap().needs().unwrap();
    let files = needs(&["--acl-file", "a b/rules", "--password-file", "users"]);
    assert!(files.ends_with("file users\nfile a b/rules\n"), "{files}");
    assert_eq!(needs(&[]), "listener 127.0.0.1:8883\nlistener [::]:8884\n");
    assert_eq!(
        needs(&["--listen", "127.0.0.1:1", "--workers", "3"]),
        "listener 127.0.0.1:1\nlistener 127.0.0.1:8883\nlistener [::]:8884\nworkers 3\n"
    );
    // The broker opens it behind the others.
    assert_eq!(needs(&["--admin", "9"]), "listener 127.0.0.1:8883\nlistener [::]:8884\nlistener 127.0.0.1:9\n");
}

#[test]
fn addresses_are_texts_or_ports() {
    let listen = |text: &str| resolve(Some(text), &[], &[]).unwrap().settings.listen;
    assert_eq!(listen("listen = \"8883\""), [Address::Port(8883)]);
    assert_eq!(listen("listen = [\"localhost:1\"]"), [Address::Name("localhost".to_owned(), 1)]);
}

#[test]
fn the_documents_name_every_key_of_a_table_with_its_values() {
    fn check<T>(keys: &[Key<T>]) {
        for key in keys {
            let values = match &key.kind {
                KeyKind::Text => "a text".to_owned(),
                KeyKind::Texts => "a text, or several".to_owned(),
                KeyKind::Truth => "`true`, `false`".to_owned(),
                KeyKind::Address => "an address or a port".to_owned(),
                KeyKind::Word(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
                KeyKind::Number(range) => format!("{} to {}", range.start(), range.end()),
                KeyKind::Limit(name) => {
                    let limit =
                        wisp_broker::LIMITS.iter().find(|limit| limit.name == *name).expect("there is such a limit");
                    format!("{} to {}", limit.range.start(), limit.range.end())
                }
            };
            let row = format!("| `{}` | {values} |", key.name);
            assert!(CONFIGURATION.contains(&row), "docs/configuration.md has not got the row\n{row}");
            assert!(EXAMPLE.contains(&format!("# {} = ", key.name)), "docs/wisp.toml has no {}", key.name);
        }
    }
    check(&queues::KEYS);
    check(&listeners::KEYS);
}

#[test]
fn the_example_has_every_key_with_its_default() {
    let example = resolve(Some(EXAMPLE), &[], &[]).unwrap();
    assert_eq!(shown(&example), shown(&resolve(None, &[], &[]).unwrap()));
    for (setting, source) in SETTINGS.iter().zip(example.sources) {
        assert!(matches!(source, Source::File { .. }), "{} is missing", setting.name);
    }
}

#[test]
fn the_documents_name_every_setting_with_its_range_and_default() {
    for setting in SETTINGS.iter() {
        let default = setting.show(&Settings::default());
        let values = match &setting.kind {
            Kind::Addresses => "addresses with ports".to_owned(),
            Kind::Workers => "1 to 256, or `\"auto\"`".to_owned(),
            Kind::Word { words, .. } => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
            Kind::Text { .. } => "a text".to_owned(),
            Kind::Address { .. } => "an address with a port, or a port".to_owned(),
            Kind::Truth { .. } => "`true`, `false` or `\"auto\"`".to_owned(),
            Kind::Sync { .. } => "`\"always\"`, `\"1 ms\"` to `\"60000 ms\"`, `\"never\"`".to_owned(),
            Kind::Count { range, .. } => format!("{} to {}", range.start(), range.end()),
            Kind::Number(limit) => format!("{} to {}", limit.range.start(), limit.range.end()),
        };
        let row = format!("| `{}` | `{}` | {values} | `{default}` |", setting.name, setting.variable());
        assert!(CONFIGURATION.contains(&row), "docs/configuration.md has not got the row\n{row}");
        let taken_up = CONFIGURATION.lines().find(|line| line.ends_with("`connections-max` of a listener | |"));
        let is_live = matches!(setting.kind, Kind::Number(limit) if limit.is_live());
        let is_named = taken_up.is_some_and(|line| line.contains(&format!("`{}`", setting.name)));
        assert_eq!(is_named, is_live, "docs/configuration.md on SIGHUP: {}", setting.name);
        let explained = setting.section == Section::Top || LIMITS.contains(&format!("`--{}`", setting.name));
        assert!(explained, "docs/limits.md does not explain {}", setting.name);
    }
}
