//! Users and rules in mosquitto's files: made by mosquitto_passwd, with mosquitto's clients, and beside mosquitto itself.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::host::{Ability, Host, cannot, native_program};
use wisp_e2e::mosquitto;
use wisp_e2e::packet::{Connect, Publish, Will};
use wisp_e2e::program::Program;
use wisp_e2e::raw::RawClient;
use wisp_e2e::wait::wait_until;

/// A folder for the files of one test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("wisp-e2e-users-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("the temporary folder can be written");
        Folder(folder)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        // In one step, so that a broker that looks meanwhile sees one of the two files.
        fs::write(self.0.join("new"), text).expect("the folder can be written");
        fs::rename(self.0.join("new"), self.0.join(name)).expect("the folder can be written");
        self.path(name)
    }

    /// Adds a user with mosquitto's own program.
    pub(crate) fn add_user(&self, name: &str, password: &str, options: &[&str]) -> String {
        let path = self.path("users");
        let mut command = Command::new("mosquitto_passwd");
        if !Path::new(&path).exists() {
            command.arg("-c");
        }
        command.args(options).args(["-b", &path, name, password]);
        let finished = Program::run(command, b"");
        assert!(finished.status.success(), "mosquitto_passwd: {:?}", finished.stderr);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies in the temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn code(addr: SocketAddr, version: Version, user: Option<(&str, &str)>) -> u8 {
    let mut client = RawClient::open(addr, version);
    client.send(&Connect { user, ..Connect::new(version, "c") }.encode());
    client.read_packet().conn_ack(version).code
}

pub(crate) fn connect_as(addr: SocketAddr, id: &str, user: &str) -> RawClient {
    let mut client = RawClient::open(addr, Version::V5);
    client.send(&Connect::new(Version::V5, id).user(user, user).encode());
    assert_eq!(client.read_packet().conn_ack(Version::V5).code, 0, "{user}");
    client
}

/// The code of the PUBACK.
pub(crate) fn publish(client: &mut RawClient, topic: &str, retain: bool) -> u8 {
    let publish = Publish::new(topic, topic).qos(1);
    let publish = if retain { publish.retained() } else { publish };
    client.send(&publish.encode(Version::V5, 7));
    client.read_packet().publish_acknowledgement(Version::V5).code
}

#[test]
fn users_of_mosquitto_passwd_connect_and_no_others() {
    if cannot(Ability::Files) {
        return;
    }
    let folder = Folder::new();
    folder.add_user("joe", "secret", &[]);
    let users = folder.add_user("a b", "older", &["-H", "sha512"]);
    let broker = Broker::start_with(&["--password-file", &users]);
    for (version, refused) in [(Version::V31, 5), (Version::V311, 5), (Version::V5, 0x87)] {
        // The second time the broker knows the answer.
        for _ in 0..2 {
            assert_eq!(code(broker.addr(), version, Some(("joe", "secret"))), 0);
            assert_eq!(code(broker.addr(), version, Some(("a b", "older"))), 0);
            for wrong in
                [Some(("joe", "older")), Some(("joe", "")), Some(("ann", "secret")), Some(("Joe", "secret")), None]
            {
                assert_eq!(code(broker.addr(), version, wrong), refused, "{wrong:?}");
            }
        }
    }
    let line = broker.wait_log("connect refused");
    assert!(line.contains("joe") && line.contains("listener=0"), "{line}");
}

#[test]
fn mosquittos_clients_use_what_an_acl_file_allows() {
    if cannot(Ability::Files) {
        return;
    }
    let folder = Folder::new();
    folder.add_user("joe", "joe", &[]);
    let users = folder.add_user("ann", "ann", &[]);
    let rules = folder.write("rules", "user joe\ntopic read news/#\ntopic deny news/secret\nuser ann\ntopic write #\n");
    let broker = Broker::start_with(&["--password-file", &users, "--acl-file", &rules]);
    let mut command = mosquitto::client_command("mosquitto_sub", broker.addr(), Version::V5);
    command.args(["-u", "joe", "-P", "joe", "-t", "#", "-q", "1", "-F", "%t", "-C", "2", "-W", "120"]);
    let subscriber = Program::start(command);
    // Nothing shows that the subscription is in effect but its messages.
    let publish = |topic: &str| {
        let mut command = mosquitto::client_command("mosquitto_pub", broker.addr(), Version::V5);
        command.args(["-u", "ann", "-P", "ann", "-t", topic, "-m", "x", "-q", "1", "-r"]);
        assert!(Program::run(command, b"").status.success());
    };
    ["other", "news/secret", "news/1", "news/2"].iter().for_each(|topic| publish(topic));
    let mut subscriber = subscriber;
    let finished = subscriber.finish();
    let mut topics = finished.stdout;
    topics.sort();
    assert_eq!(topics, ["news/1", "news/2"]);
    let mut command = mosquitto::client_command("mosquitto_pub", broker.addr(), Version::V311);
    command.args(["-t", "news/1", "-m", "x"]);
    let refused = Program::run(command, b"");
    assert!(!refused.status.success(), "without a user: {:?}", refused.stderr);
}

const RULES: &str = "topic read open/#
user joe
topic a/+/c
topic b/#
topic deny b/no/#
topic read r
topic write w
topic readwrite $SYS/#
topic readwrite $foo/#
user ann
topic read #
pattern write u/%u/%c
pattern read all
";

const TOPICS: [&str; 17] = [
    "a/b/c",
    "a/b",
    "b",
    "b/x",
    "b/no/x",
    "bb",
    "r",
    "w",
    "open/x",
    "u/joe/joe",
    "u/ann/joe",
    "u/ann/ann",
    "all",
    "$foo/x",
    "$SYS/x",
    "$SYS",
    "none",
];

/// The codes of each user's PUBLISH to each topic, and the topics that a subscription to everything delivers.
fn probe(addr: SocketAddr) -> Vec<(&'static str, Vec<u8>, Vec<String>)> {
    let mut root = connect_as(addr, "root", "root");
    let one = |user| {
        let mut client = connect_as(addr, user, user);
        client.subscribe(&["#", "$foo/#"]);
        // Code 16, no subscribers, is a success too.
        let codes = TOPICS.map(|topic| Some(publish_for(&mut client, topic)).filter(|code| *code >= 0x80).unwrap_or(0));
        for topic in TOPICS {
            publish(&mut root, topic, false);
        }
        // Everyone may read this topic.
        root.send(&Publish::new("all", "end").qos(1).encode(Version::V5, 8));
        root.read_packet();
        let mut topics = Vec::new();
        loop {
            let packet = client.read_packet();
            let (topic, payload) = packet.publish(Version::V5);
            if payload == b"end" {
                break;
            }
            topics.push(topic.to_owned());
        }
        topics.sort();
        topics.dedup();
        (user, codes.to_vec(), topics)
    };
    ["joe", "ann", "bob"].map(one).into()
}

fn publish_for(client: &mut RawClient, topic: &str) -> u8 {
    client.send(&Publish::new(topic, "x").qos(1).encode(Version::V5, 9));
    loop {
        let packet = client.read_packet();
        if packet.kind() == 4 {
            return packet.publish_acknowledgement(Version::V5).code;
        }
    }
}

/// A mosquitto of this machine with the same files.
fn start_mosquitto(folder: &Folder, users: &str, rules: &str) -> (Program, SocketAddr) {
    let addr = free_addr();
    let configuration =
        format!("listener {} {}\npassword_file {users}\nacl_file {rules}\nuser root\n", addr.port(), addr.ip());
    let mut command = Command::new("/usr/sbin/mosquitto");
    command.args(["-c", &folder.write("mosquitto.conf", &configuration)]);
    let program = Program::start(command);
    wait_until("mosquitto accepts", || TcpStream::connect(addr).is_ok());
    (program, addr)
}

#[test]
fn mosquitto_reads_the_files_of_wisp_passwd() {
    if cannot(Ability::Files) || cannot(Ability::Clients) {
        return;
    }
    let folder = Folder::new();
    let users = folder.path("users");
    for (user, options) in [("joe", &["-c", "-H", "sha512-pbkdf2"][..]), ("ann", &["-H", "sha512"])] {
        let arguments = [&["passwd"], options, &["-b", &users, user, user]].concat();
        let finished = Program::run(Host::Native.client_command(&arguments), b"");
        assert!(finished.status.success(), "{:?}", finished.stderr);
    }
    let rules = folder.write("rules", "pattern readwrite #\n");
    let broker = Broker::start_with(&["--password-file", &users]);
    let (_mosquitto, addr) = start_mosquitto(&folder, &users, &rules);
    for addr in [addr, broker.addr()] {
        assert_eq!(["joe", "ann"].map(|user| code(addr, Version::V311, Some((user, user)))), [0, 0]);
        assert_eq!(code(addr, Version::V311, Some(("joe", "ann"))), 5);
    }
}

#[test]
fn each_user_has_the_rights_that_mosquitto_gives_it() {
    if cannot(Ability::Files) {
        return;
    }
    let folder = Folder::new();
    let users = ["joe", "ann", "bob", "root"].map(|user| folder.add_user(user, user, &[]));
    let rules = folder.write("rules", &format!("{RULES}user root\ntopic write #\ntopic write $foo/#\n"));
    let broker = Broker::start_with(&["--password-file", &users[0], "--acl-file", &rules]);
    let (_mosquitto, addr) = start_mosquitto(&folder, &users[0], &rules);
    let (ours, theirs) = (probe(broker.addr()), probe(addr));
    assert_eq!(ours, theirs);
    let of_joe = &ours[0];
    assert_eq!(of_joe.2, ["$foo/x", "a/b/c", "all", "b", "b/x", "r"]);
}

#[test]
fn a_mosquitto_conf_runs_without_an_edit() {
    if cannot(Ability::Addresses) {
        return;
    }
    let folder = Folder::new();
    let users = ["joe", "ann", "bob", "root"].map(|user| folder.add_user(user, user, &[]));
    let rules = folder.write("rules", &format!("{RULES}user root\ntopic write #\ntopic write $foo/#\n"));
    let addr = free_addr();
    let more = format!("# added\nlistener {} {}\nmax_connections 50\n", addr.port(), addr.ip());
    fs::create_dir(folder.path("conf.d")).expect("the folder can be written");
    fs::write(folder.path("conf.d/listener.conf"), more).expect("the folder can be written");
    let text = format!(
        "per_listener_settings false\nallow_anonymous false\npassword_file {}\nacl_file {rules}\nmax_queued_messages 500\n\
         persistence true\npersistence_location {}\nlog_dest stderr\nlog_type all\nuser root\ninclude_dir {}\n",
        users[0],
        folder.path(""),
        folder.path("conf.d"),
    );
    let configuration = folder.write("mosquitto.conf", &text);
    let outcomes = ["/usr/sbin/mosquitto".into(), native_program("wisp-broker", "WISP_BROKER_BIN")].map(|program| {
        let is_mosquitto = program.starts_with("/usr");
        let mut command = Command::new(program);
        command.args([if is_mosquitto { "-c" } else { "--mosquitto-config" }, &configuration]);
        let mut program = Program::start(command);
        wait_until("the broker accepts", || TcpStream::connect(addr).is_ok());
        assert_eq!(code(addr, Version::V5, None), 0x87);
        let outcome = probe(addr);
        if !is_mosquitto {
            let log = program.stderr().join("\n");
            assert!(log.contains("restored from"), "persistence has a folder: {log}");
        }
        program.kill();
        outcome
    });
    assert_eq!(outcomes[0], outcomes[1]);
}

#[test]
fn a_bridge_of_mosquitto_passes_messages_both_ways_and_none_back() {
    if cannot(Ability::Wisp) {
        return;
    }
    let broker = Broker::start();
    let (folder, addr) = (Folder::new(), free_addr());
    let text = format!(
        "listener {} {}\nallow_anonymous true\nuser root\nconnection wisp\naddress {}\ntopic t/# both 1\n",
        addr.port(),
        addr.ip(),
        broker.addr()
    );
    let mut command = Command::new("/usr/sbin/mosquitto");
    command.args(["-c", &folder.write("mosquitto.conf", &text)]);
    let _mosquitto = Program::start(command);
    wait_until("mosquitto accepts", || TcpStream::connect(addr).is_ok());
    let mut ends = [broker.addr(), addr].map(|addr| {
        let mut subscriber = RawClient::connect(addr, Version::V311, "subscriber");
        subscriber.subscribe(&["t/#"]);
        (RawClient::connect(addr, Version::V311, "publisher"), subscriber)
    });
    for from in [0, 1] {
        // Until the bridge is there nothing arrives on the other side.
        let mut first = 0;
        wait_until("a message that crosses the bridge", || {
            first += 1;
            ends[from].0.publish(&format!("t/{from}/first"), format!("{first}").as_bytes());
            let arrived = ends[1 - from].1.read_within(std::time::Duration::from_millis(300));
            arrived.is_some()
        });
        for number in 1..=20 {
            ends[from].0.publish(&format!("t/{from}/more"), format!("{number}").as_bytes());
        }
        for end in &mut ends {
            let mut found = Vec::new();
            while found.len() < 20 {
                let packet = end.1.read_packet();
                let (topic, payload) = packet.publish(Version::V311);
                if topic.ends_with("more") {
                    found.push(String::from_utf8_lossy(payload).into_owned());
                }
            }
            assert_eq!(found, (1..=20).map(|number| number.to_string()).collect::<Vec<_>>(), "once each, in order");
        }
    }
}

#[test]
fn a_change_of_the_files_is_taken_up_on_sighup() {
    if cannot(Ability::Signals) {
        return;
    }
    let folder = Folder::new();
    changes(&folder, &[], &|broker| broker.signal("HUP"));
}

#[test]
fn a_change_of_the_files_is_noticed_where_there_are_no_signals() {
    if cannot(Ability::Files) {
        return;
    }
    let folder = Folder::new();
    changes(&folder, &["--check-files-s", "1"], &|_| {});
}

/// A user that is removed, a right that is taken, a broken file.
fn changes(folder: &Folder, flags: &[&str], announce: &dyn Fn(&Broker)) {
    let users = ["joe", "ann", "bob"].map(|user| folder.add_user(user, user, &[]));
    let rules = folder.write("rules", "user joe\ntopic a\nuser ann\ntopic a\ntopic will\nuser bob\ntopic read will\n");
    let flags = [&["--password-file", &users[0], "--acl-file", &rules], flags].concat();
    let broker = Broker::start_with(&flags);
    let (mut joe, mut bob) = (connect_as(broker.addr(), "joe", "joe"), connect_as(broker.addr(), "bob", "bob"));
    bob.subscribe(&["will"]);
    let mut ann = RawClient::open(broker.addr(), Version::V5);
    ann.send(&Connect::new(Version::V5, "ann").user("ann", "ann").will(Will::new("will", "gone")).encode());
    assert_eq!(ann.read_packet().conn_ack(Version::V5).code, 0);
    assert!(publish(&mut joe, "a", false) < 0x80);

    folder.write("rules", "topik a\n");
    announce(&broker);
    let line = broker.wait_log("rules:1: topik a is no rule");
    assert!(line.to_lowercase().contains("warn"), "{line}");
    assert!(publish(&mut joe, "a", false) < 0x80);

    folder.write("rules", "user joe\ntopic b\nuser ann\ntopic will\nuser bob\ntopic read will\n");
    let text = fs::read_to_string(&users[0]).expect("the file is there");
    let kept: String = text.lines().filter(|line| !line.starts_with("ann:")).map(|line| format!("{line}\n")).collect();
    folder.write("users", &kept);
    announce(&broker);
    ann.expect_disconnect(0x87);
    assert_eq!(bob.read_message("will"), b"gone");
    wait_until("the right to be taken", || publish(&mut joe, "a", false) == 0x87);
    assert!(publish(&mut joe, "b", false) < 0x80, "the connection stays, with its new rights");
    assert_eq!(code(broker.addr(), Version::V5, Some(("ann", "ann"))), 0x87);
}

#[test]
fn a_broker_that_checks_nobody_is_not_opened_to_other_machines_by_accident() {
    if cannot(Ability::Addresses) {
        return;
    }
    let check = |flags: &[&str]| {
        let mut command = Host::Native.command(free_addr(), &[]);
        let mut arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        arguments.truncate(1);
        command = Command::new(command.get_program());
        command.args(arguments).arg("0.0.0.0:1883").args(flags).arg("--check-config");
        Program::run(command, b"")
    };
    let refused = check(&[]);
    assert_eq!((refused.status.code(), refused.stderr.len()), (Some(2), 1), "{:?}", refused.stderr);
    for part in ["0.0.0.0:1883", "wisp passwd -c users NAME", "--password-file users", "--allow-anonymous true"] {
        assert!(refused.stderr[0].contains(part), "{:?}", refused.stderr);
    }
    let folder = Folder::new();
    let users = folder.add_user("joe", "joe", &[]);
    for flags in [&["--allow-anonymous", "true"], &["--password-file", users.as_str()]] {
        let checked = check(flags);
        assert!(checked.status.success(), "{flags:?}: {:?}", checked.stderr);
    }
}
