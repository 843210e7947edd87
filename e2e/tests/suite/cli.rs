//! The command line of wisp-broker: its output and its exit status.

use std::net::{SocketAddr, TcpListener};

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, Host, cannot};
use wisp_e2e::packet::Publish;
use wisp_e2e::program::{Finished, Program};
use wisp_e2e::raw::{Incoming, RawClient};

const FLAGS: [&str; 25] = [
    "--config",
    "--check-config",
    "--print-config",
    "--listen",
    "--workers",
    "--log",
    "--packet-bytes-max",
    "--connections-max",
    "--queue-bytes-max",
    "--queue-messages-max",
    "--buffered-bytes-max",
    "--connect-timeout-ms",
    "--keep-alive-s-max",
    "--stall-ms-max",
    "--stall-policy",
    "--queue-stall-ms-max",
    "--reply-stall-ms-max",
    "--subscriptions-max",
    "--subscription-bytes-max",
    "--topic-levels-max",
    "--topic-bytes-max",
    "--client-id-bytes-max",
    "--help",
    "--version",
    "16777216",
];

fn run(flags: &[&str]) -> Finished {
    Program::run(Host::current().command(free_addr(), flags), b"")
}

/// A usage error: status 2 (see [`Host::ends_with`]), nothing on standard output, and one line that names the error.
fn assert_usage_error(finished: &Finished, names: &str) {
    let text = finished.stderr.join("\n");
    assert_eq!(finished.status.code(), Some(Host::current().ends_with(2)), "for {names}: {text}");
    assert!(finished.stdout.is_empty(), "for {names}: {:?}", finished.stdout);
    let clear = finished.stderr.iter().filter(|line| line.contains(names)).count();
    assert_eq!(clear, 1, "one line names {names}: {text}");
    // Runtimes may print lines of their own.
    if Host::current() == Host::Native {
        assert_eq!(finished.stderr.len(), 1, "one line and no more for {names}: {text}");
    }
}

#[test]
fn help_names_every_flag() {
    if cannot(Ability::Wisp) {
        return;
    }
    let finished = run(&["--help"]);
    assert!(finished.status.success(), "{:?}", finished.stderr);
    let text = finished.stdout.join("\n");
    for flag in FLAGS {
        assert!(text.contains(flag), "{flag} is missing in\n{text}");
    }
}

#[test]
fn version_is_one_line() {
    if cannot(Ability::Wisp) {
        return;
    }
    let finished = run(&["--version"]);
    assert!(finished.status.success(), "{:?}", finished.stderr);
    let [line] = &finished.stdout[..] else { panic!("one line is expected: {:?}", finished.stdout) };
    let version = line.strip_prefix("wisp-broker ").unwrap_or_else(|| panic!("{line:?}"));
    assert!(version.starts_with(|letter: char| letter.is_ascii_digit()), "{line:?}");
}

#[test]
fn a_bad_command_line_is_one_clear_line_and_status_2() {
    if cannot(Ability::Wisp) {
        return;
    }
    let bad: [(&[&str], &str); 10] = [
        (&["--no-such-flag"], "--no-such-flag"),
        (&["stray"], "stray"),
        (&["--workers", "0"], "--workers"),
        (&["--workers", "many"], "many"),
        (&["--packet-bytes-max", "-1"], "-1"),
        (&["--connections-max", "99999999999999999999"], "--connections-max"),
        (&["--log", "loud"], "loud"),
        (&["--stall-policy", "wait"], "wait"),
        (&["--listen", "nonsense"], "nonsense"),
        (&["--listen", "127.0.0.1:99999"], "127.0.0.1:99999"),
    ];
    for (flags, names) in bad {
        assert_usage_error(&run(flags), names);
    }
}

#[test]
fn a_port_in_use_is_one_clear_line_and_status_2() {
    if cannot(Ability::Wisp) {
        return;
    }
    let taken = TcpListener::bind(free_addr()).expect("it was free a moment ago");
    let addr = taken.local_addr().expect("it is bound");
    let finished = Program::run(Host::current().command(addr, &[]), b"");
    assert_usage_error(&finished, &addr.to_string());
    assert!(finished.stderr.join("\n").to_lowercase().contains("in use"), "{:?}", finished.stderr);
}

#[test]
fn several_addresses_are_listened_on_and_named_in_one_line() {
    if cannot(Ability::Wisp) {
        return;
    }
    let second = free_addr();
    let broker = Broker::start_with(&["--listen", &second.to_string()]);
    let expected = format!("wisp-broker listening on {}, {second}", broker.addr());
    assert_eq!(broker.output(), [expected]);
    let mut subscriber = RawClient::connect(broker.addr(), Version::V5, "on the first");
    subscriber.subscribe(&["between"]);
    let mut publisher = RawClient::connect(second, Version::V311, "on the second");
    publisher.publish("between", b"listeners");
    assert_eq!(subscriber.read_message("between"), b"listeners");
}

#[test]
fn wasmtime_takes_no_backtraces_of_errors_that_it_returns_to_its_guest() {
    if Host::current() != Host::Wasmtime {
        return;
    }
    let mut command = Host::current().command(free_addr(), &[]);
    command.env("RUST_BACKTRACE", "1").env_remove("RUST_LIB_BACKTRACE");
    let program = Program::start(command);
    // By then the launcher has replaced itself with the runtime.
    program.wait_stdout("the address", |lines| lines.first().cloned());
    let environment = std::fs::read(format!("/proc/{}/environ", program.pid())).expect("it runs");
    let variables: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
    assert!(variables.contains(&&b"RUST_BACKTRACE=1"[..]), "it applies to panics");
    assert!(variables.contains(&&b"RUST_LIB_BACKTRACE=0"[..]), "one for each call that would block");
}

#[test]
fn port_0_picks_a_port_and_says_which() {
    if cannot(Ability::PortZero) {
        return;
    }
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let program = Program::start(Host::current().command(any, &[]));
    let addr: SocketAddr = program.wait_stdout("the address", |lines| {
        let addr = lines.first()?.strip_prefix("wisp-broker listening on ")?;
        Some(addr.parse().expect("an address"))
    });
    assert_ne!(addr.port(), 0);
    RawClient::connect(addr, Version::V311, "anybody").ping();
}

#[test]
fn other_signals_do_not_end_the_broker_and_have_a_line_in_the_log() {
    if cannot(Ability::Signals) {
        return;
    }
    let broker = Broker::start();
    let mut client = RawClient::connect(broker.addr(), Version::V5, "stays");
    for (signal, line) in
        [("HUP", "sighup: nothing has changed"), ("USR1", "summary: clients"), ("USR2", "sigusr2 ignored")]
    {
        broker.signal(signal);
        broker.wait_log(line);
        client.ping();
    }
}

#[test]
fn the_log_counts_at_the_end_what_is_lost() {
    if cannot(Ability::Signals) {
        return;
    }
    let mut broker = Broker::start();
    for version in [Version::V311, Version::V5] {
        let mut away = Client::kept(&broker, version, &format!("away {version:?}"));
        away.subscribe("news", 1);
        away.disconnect();
    }
    let mut sender = Client::clean(&broker, Version::V5, "sender");
    for topic in ["news", "news", "$queue/jobs"] {
        sender.publish(&Publish::new(topic, "x").qos(1));
    }
    sender.publish(&Publish::new("state", "x").qos(1).retained());
    broker.signal("TERM");
    let finished = broker.finish();
    let expected = "is lost sessions=2 retained_messages=1 queued_messages=5";
    let found = finished.stderr.iter().filter(|line| line.contains(expected)).count();
    assert_eq!(found, 1, "{:?}", finished.stderr);
}

#[test]
fn sigterm_and_sigint_end_the_broker_in_order() {
    if cannot(Ability::Signals) {
        return;
    }
    for signal in ["TERM", "INT"] {
        let mut broker = Broker::start();
        let mut clients =
            Version::ALL.map(|version| RawClient::connect(broker.addr(), version, &format!("{version:?}")));
        clients[0].subscribe(&["#"]);
        broker.signal(signal);
        let finished = broker.finish();
        assert_eq!(finished.status.code(), Some(0), "SIG{signal}: {:?}", finished.stderr);
        assert_eq!(finished.stdout.len(), 1, "SIG{signal}: only the ready line: {:?}", finished.stdout);
        for client in &mut clients {
            match client.read() {
                Incoming::Closed => {}
                // Server shutting down.
                Incoming::Packet(packet) => assert_eq!(packet.disconnect_code(), 0x8B),
            }
        }
    }
}
