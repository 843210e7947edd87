//! The configuration of wisp-broker: file, environment, flags, and the messages for errors in each.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{self, Command};

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, Host, cannot, native_program};
use wisp_e2e::packet::{Connect, Publish, kind};
use wisp_e2e::program::{Finished, Program};
use wisp_e2e::raw::{Incoming, RawClient};
use wisp_e2e::wait::wait_until;

/// A temporary file of the test, removed when dropped.
pub(crate) struct ConfigFile(PathBuf);

impl ConfigFile {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let path = env::temp_dir().join(format!("wisp-e2e-{}-{name}.toml", process::id()));
        fs::write(&path, text).expect("the temporary folder is writable");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("the temporary folder's name is UTF-8")
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        // If removing it fails, it stays in the temporary folder.
        drop(fs::remove_file(&self.0));
    }
}

/// Runs the broker on the host of this run with `--listen` from the harness, and these flags and variables.
fn run(flags: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut command = Host::current().command(free_addr(), flags);
    command.envs(environment.iter().copied());
    Program::run(command, b"")
}

/// The value of one key in the output of `--print-config`.
fn printed(finished: &Finished, key: &str) -> String {
    assert!(finished.status.success(), "{:?}", finished.stderr);
    let start = format!("{key} = ");
    let value = finished.stdout.iter().find_map(|line| line.strip_prefix(&start));
    value.unwrap_or_else(|| panic!("no {key} in {:?}", finished.stdout)).to_owned()
}

#[test]
fn the_broker_listens_where_the_file_says_and_then_where_the_environment_and_the_flag_say() {
    if cannot(Ability::Addresses) {
        return;
    }
    let [in_file, in_environment, in_flag] = [free_addr(), free_addr(), free_addr()];
    let file = ConfigFile::new("listen", &format!("listen = [\"{in_file}\"]\n"));
    let start = |variable: Option<SocketAddr>, flag: Option<SocketAddr>| {
        let mut command = Command::new(native_program("wisp-broker", "WISP_BROKER_BIN"));
        command.args(["--config", file.path()]);
        command.envs(variable.map(|addr| ("WISP_LISTEN", addr.to_string())));
        command.args(flag.map(|addr| format!("--listen={addr}")));
        Program::start(command)
    };
    let cases = [
        (None, None, in_file),
        (Some(in_environment), None, in_environment),
        (Some(in_environment), Some(in_flag), in_flag),
    ];
    for (variable, flag, expected) in cases {
        let program = start(variable, flag);
        let line = program.wait_stdout("the ready line", |lines| lines.first().cloned());
        assert_eq!(line, format!("wisp-broker listening on {expected}"));
        RawClient::connect(expected, Version::V311, "anybody").ping();
    }
}

#[test]
fn a_limit_from_the_file_holds() {
    if cannot(Ability::Wisp) {
        return;
    }
    let file = ConfigFile::new("limit", "[limits]\nsubscriptions-max = 1\n");
    let broker = Broker::start_with(&["--config", file.path()]);
    let mut client = RawClient::connect(broker.addr(), Version::V5, "collector");
    client.subscribe(&["first"]);
    assert_eq!(client.subscribe_code("second", 0), 0x97);
}

#[test]
fn flags_win_over_the_environment_over_the_file() {
    if cannot(Ability::Wisp) {
        return;
    }
    let file = ConfigFile::new("layers", "workers = 3\nlog = \"warn\"\n[limits]\ntopic-levels-max = 7\n");
    let flags = ["--print-config", "--config", file.path(), "--topic-levels-max", "9"];
    let finished = run(&flags, &[("WISP_LOG", "debug"), ("WISP_TOPIC_LEVELS_MAX", "8")]);
    assert_eq!(printed(&finished, "workers"), "3 # file, line 1");
    assert_eq!(printed(&finished, "log"), "\"debug\" # WISP_LOG");
    assert_eq!(printed(&finished, "topic-levels-max"), "9 # --topic-levels-max");
    assert_eq!(printed(&finished, "connections-max"), "10000 # default");
}

#[test]
fn the_variable_for_the_file_names_it_too() {
    if cannot(Ability::Wisp) {
        return;
    }
    let file = ConfigFile::new("variable", "log = \"trace\"\n");
    let finished = run(&["--print-config"], &[("WISP_CONFIG", file.path())]);
    assert_eq!(printed(&finished, "log"), "\"trace\" # file, line 1");
}

#[test]
fn the_printed_configuration_can_be_read_back() {
    if cannot(Ability::Wisp) {
        return;
    }
    let values = |finished: &Finished| -> Vec<String> {
        assert!(finished.status.success(), "{:?}", finished.stderr);
        let value = |line: &String| line.split(" # ").next().unwrap_or_default().to_owned();
        // The harness gives each run a port of its own.
        finished.stdout.iter().filter(|line| !line.starts_with("listen")).map(value).collect()
    };
    let flags = ["--print-config", "--workers", "1", "--stall-policy", "disconnect", "--queue-bytes-max", "4096"];
    let first = run(&flags, &[]);
    let file = ConfigFile::new("fed-back", &first.stdout.join("\n"));
    let second = run(&["--print-config", "--config", file.path()], &[]);
    assert_eq!(values(&first), values(&second));
    assert_eq!(printed(&second, "queue-bytes-max").split(' ').next(), Some("4096"));
}

#[test]
fn each_listener_of_the_file_accepts_as_many_connections_as_it_may() {
    if cannot(Ability::Wisp) {
        return;
    }
    let [narrow, wide] = [free_addr(), free_addr()];
    let text =
        format!("[[listener]]\naddress = \"{narrow}\"\nconnections-max = 2\n[[listener]]\naddress = \"{wide}\"\n");
    let file = ConfigFile::new("listeners", &text);
    let broker = Broker::start_with(&["--config", file.path()]);
    let ready = broker.output().join("");
    assert_eq!(ready, format!("wisp-broker listening on {}, {narrow}, {wide}", broker.addr()));
    let mut kept: Vec<RawClient> =
        (0..2).map(|number| RawClient::connect(narrow, Version::V311, &format!("narrow-{number}"))).collect();
    let mut others: Vec<RawClient> = [wide, broker.addr()]
        .iter()
        .flat_map(|addr| {
            (0..3).map(move |number| RawClient::connect(*addr, Version::V311, &format!("{addr}-{number}")))
        })
        .collect();
    for _ in 0..3 {
        assert_eq!(RawClient::open(narrow, Version::V311).read_to_close(), []);
    }
    kept.iter_mut().chain(&mut others).for_each(RawClient::ping);
    broker.wait_log("connections-max of a listener");
    let lines = broker.log().iter().filter(|line| line.contains("connections-max of a listener")).count();
    assert_eq!(lines, 1, "{:?}", broker.log());
    // A place is free again when its connection has ended.
    drop(kept.pop());
    wait_until("a free place", || {
        let mut client = RawClient::open(narrow, Version::V311);
        let connect = Connect::new(Version::V311, "the next").encode();
        client.try_send(&connect).is_ok() && matches!(client.read(), Incoming::Packet(_))
    });
}

/// A broker with the queue `jobs`, which holds at most two messages and is bound to `work/#`.
fn with_queue(name: &str, more: &str) -> Option<(ConfigFile, Broker)> {
    if cannot(Ability::Wisp) {
        return None;
    }
    let text = format!("[[queue]]\nname = \"jobs\"\nfilter = \"work/#\"\nmessages-max = 2\n{more}\n");
    let file = ConfigFile::new(name, &text);
    let broker = Broker::start_with(&["--config", file.path()]);
    Some((file, broker))
}

#[test]
fn a_configured_queue_takes_matching_messages_up_to_its_limit() {
    for (policy, kept, code) in
        [("refuse", ["0", "1"], 0x97), ("drop-oldest", ["2", "3"], 0), ("drop-newest", ["0", "1"], 0)]
    {
        let Some((_file, broker)) = with_queue(policy, &format!("policy = \"{policy}\"")) else { return };
        let mut sender = Client::clean(&broker, Version::V5, "sender");
        for (number, topic) in ["work/a", "$queue/jobs", "work/b", "$queue/jobs"].iter().enumerate() {
            let answer = sender.publish_code(&Publish::new(topic, &number.to_string()).qos(1));
            assert_eq!(answer, if number < 2 { 0 } else { code }, "{policy}: message {number}");
        }
        let mut receiver = Client::clean(&broker, Version::V311, "receiver");
        receiver.subscribe("$queue/jobs", 1);
        assert_eq!(receiver.receive_texts(2), kept, "{policy}");
        receiver.nothing_came();
    }
}

#[test]
fn an_unacknowledged_message_ends_in_the_dead_letter_queue() {
    let more = "deliveries-max = 2\ndead-letter = \"jobs/dead\"";
    let Some((_file, broker)) = with_queue("dead", more) else { return };
    let mut sender = Client::clean(&broker, Version::V5, "sender");
    sender.publish(&Publish::new("work/hard", "too hard").qos(1));
    for again in [false, true] {
        let mut receiver = Client::clean(&broker, Version::V311, "receiver");
        receiver.subscribe("$queue/jobs", 1);
        let message = receiver.next_message();
        assert_eq!((message.text(), message.duplicate), ("too hard", again));
        receiver.die();
    }
    let mut coroner = Client::clean(&broker, Version::V5, "coroner");
    coroner.subscribe("$queue/jobs/dead", 1);
    let dead = coroner.next_message();
    assert_eq!((&*dead.topic, dead.text()), ("work/hard", "too hard"));
    coroner.answer(kind::PUBACK, dead.packet_id);
    let mut receiver = Client::clean(&broker, Version::V311, "receiver");
    receiver.subscribe("$queue/jobs", 1);
    receiver.nothing_came();
}

#[test]
fn a_wrong_file_is_one_line_with_its_number_and_status_2() {
    if cannot(Ability::Wisp) {
        return;
    }
    let cases = [
        ("unknown", "log = \"warn\"\n\nno-such-key = 1\n", ":3: unknown key no-such-key"),
        ("range", "[limits]\ntopic-levels-max = 5000\n", ":2: topic-levels-max = 5000: not a number from 1 to 1024"),
        ("type", "log = 5\n", ":1: log: expected a string, found a whole number"),
        ("twice", "log = \"warn\"\nlog = \"info\"\n", ":2: duplicate key"),
        ("queue", "[[queue]]\nname = \"a/+\"\n", ":2: \"a/+\" is no name for a queue"),
        ("queue-key", "[[queue]]\nname = \"a\"\ncolour = 1\n", ":3: unknown key colour of a queue"),
        (
            "queue-twice",
            "[[queue]]\nname = \"a\"\n[[queue]]\nname = \"a\"\n",
            ":4: the queue \"a\" is configured twice",
        ),
        ("syntax", "\n\n\nlog = = 5\n", ":4: "),
    ];
    for (name, text, message) in cases {
        let file = ConfigFile::new(name, text);
        // Launchers pass the file as standard input.
        let called = if Host::current() == Host::Native { file.path() } else { "standard input" };
        for flags in [&["--config", file.path()][..], &["--check-config", "--config", file.path()]] {
            let finished = run(flags, &[]);
            let words = finished.stderr.join("\n");
            assert_eq!(finished.status.code(), Some(Host::current().ends_with(2)), "{name}: {words}");
            assert!(finished.stdout.is_empty(), "{name}: {:?}", finished.stdout);
            let expected = format!("wisp-broker: {called}{message}");
            let lines = finished.stderr.iter().filter(|line| line.starts_with(&expected)).count();
            assert_eq!(lines, 1, "{name}: {expected:?} is one line of\n{words}");
            if Host::current() == Host::Native {
                assert_eq!(finished.stderr.len(), 1, "{name}: {words}");
            }
        }
    }
}

#[test]
fn a_wrong_variable_and_a_missing_file_are_refused_by_name() {
    if cannot(Ability::Wisp) {
        return;
    }
    let wrong = run(&[], &[("WISP_STALL_POLICY", "wait")]);
    assert_eq!(wrong.status.code(), Some(Host::current().ends_with(2)), "{:?}", wrong.stderr);
    assert!(wrong.stderr.join("\n").contains("WISP_STALL_POLICY=wait: not one of drop, hold, disconnect"));

    let missing = env::temp_dir().join("wisp-e2e-no-such-file.toml");
    let missing = missing.to_str().expect("the temporary folder's name is UTF-8");
    let finished = run(&["--config", missing], &[]);
    assert_eq!(finished.status.code(), Some(2), "{:?}", finished.stderr);
    let lines = finished.stderr.iter().filter(|line| line.contains(missing)).count();
    assert_eq!(lines, 1, "{:?}", finished.stderr);
}

#[test]
fn a_valid_configuration_is_reported_as_valid() {
    if cannot(Ability::Wisp) {
        return;
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wisp.toml");
    let finished = run(&["--check-config", "--config", example], &[]);
    assert_eq!(finished.status.code(), Some(0), "{:?}", finished.stderr);
    assert_eq!(finished.stdout, ["wisp-broker: configuration OK"]);
}
