use std::fs;
use std::time::{Duration, Instant};

use super::start::START_TIMEOUT;
use super::*;
use crate::failure::{Failure, Interrupt};
use crate::paths::Scratch;

/// Starts a command line; its output is lost with the scratch folder.
fn start(line: &str, timeout: Duration) -> (Scratch, Result<Running, Failure>) {
    let broker: Broker = line.parse().unwrap();
    let scratch = Scratch::new().unwrap();
    let started = broker.start_within(timeout, &StartOptions::default(), &scratch, &Interrupt::default());
    (scratch, started)
}

/// A program that answers on a port with a CONNACK of this return code, and then waits for another client.
fn python_broker(code: u8) -> String {
    format!(
        "python3 -c 'import socket\ns = socket.create_server((\"127.0.0.1\", {{port}}))\nwhile True:\n c, _ = s.accept()\n \
         c.recv(100)\n c.sendall(bytes([32, 2, 0, {code}]))\n c.recv(100)'"
    )
}

#[test]
fn a_name_is_written_the_same_everywhere() {
    for broker in Broker::NAMED {
        assert_eq!(broker.name().parse(), Ok(broker.clone()));
        assert_eq!(serde_json::to_value(&broker).unwrap(), broker.name());
        assert_eq!(serde_json::from_value::<Broker>(broker.name().into()).unwrap(), broker);
    }
    for mode in Mode::ALL {
        assert_eq!(mode.name().parse(), Ok(mode));
        assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
    }
}

#[test]
fn a_command_line_is_named_after_its_program_and_written_in_full() {
    for (line, name) in [
        ("/opt/emqx/bin/emqx start --port {port}", "emqx"),
        ("vernemq {address}", "vernemq"),
        ("./broker{port}", "broker{port}"),
    ] {
        let broker: Broker = line.parse().unwrap();
        assert_eq!((broker.name(), broker.to_string().as_str()), (name, line));
        assert_eq!(serde_json::from_value::<Broker>(serde_json::to_value(&broker).unwrap()).unwrap(), broker);
    }
}

#[test]
fn what_is_neither_a_name_nor_a_command_line_is_refused_in_one_line() {
    for (text, part) in [
        ("mosquito", "one of native, wasmer, wasmtime, wasmedge, mosquitto, nats-server, rumqttd, sink"),
        ("Native", "there is no broker"),
        ("", "there is no broker"),
        ("  ", "empty command line"),
        ("/usr/sbin/broker", "put {port} or {address}"),
        ("broker --port 1883", "put {port} or {address}"),
        ("broker '{port}", "is not closed"),
    ] {
        let error = text.parse::<Broker>().unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains('\n'), "{text:?}: {error}");
    }
}

#[test]
fn only_runtimes_have_modes() {
    for broker in Broker::NAMED {
        assert_eq!(broker.modes().first().copied(), broker.wasm_host().map(|_| Mode::default()), "{broker}");
    }
    let options = StartOptions { mode: Some(Mode::Interpreted), ..StartOptions::default() };
    for (broker, part) in [(Broker::Native, "native has no mode"), (Broker::Wasmer, "these: aot, jit")] {
        let failure = broker.start(&options, &Scratch::new().unwrap(), &Interrupt::default()).unwrap_err();
        assert!(matches!(&failure, Failure::Setup(why) if why.contains(part)), "{failure}");
    }
}

#[test]
fn settings_of_peers_are_in_what_they_are_started_with() {
    let address = free_address();
    for (broker, lines) in [
        (Broker::Mosquitto, settings::mosquitto(address)),
        (Broker::NatsServer, settings::nats(address)),
        (Broker::Rumqttd, settings::rumqttd(address)),
    ] {
        assert!(lines.concat().contains(&address.port().to_string()), "{lines:?}");
        for line in broker.settings() {
            assert!(lines.contains(&line), "{line}: {lines:?}");
        }
    }
}

#[test]
fn further_settings_are_in_the_file_of_a_broker_that_has_one() {
    let scratch = Scratch::new().unwrap();
    let options = StartOptions { settings: vec!["set_tcp_nodelay true".to_owned()], ..StartOptions::default() };
    let fails = |broker: Broker| broker.start(&options, &scratch, &Interrupt::default()).unwrap_err();
    assert!(matches!(fails(Broker::Native), Failure::Setup(why) if why.contains("native is told nothing in a file")));
    // It is not known to be there.
    if let Ok(command) = Broker::Mosquitto.command(free_address(), None, &options, &scratch.file("")) {
        let file = command.get_args().last().unwrap();
        assert!(fs::read_to_string(file).unwrap().ends_with("\nset_tcp_nodelay true\n"));
    }
}

#[test]
fn a_command_line_is_started_measured_and_stopped() {
    let began = Instant::now();
    let (_scratch, started) = start(&python_broker(0), START_TIMEOUT);
    let running = started.unwrap();
    assert!(running.startup() > Duration::ZERO && running.startup() <= began.elapsed());
    assert_eq!(running.url(), format!("mqtt://{}", running.address()));
    assert_eq!((running.broker().name(), running.has_died()), ("python3", None));
    if cfg!(target_os = "linux") {
        let usage = running.usage().unwrap();
        assert!(usage.cpu_s > 0.0 && usage.threads == 1 && usage.peak_rss_bytes > 1 << 20, "{usage:?}");
    }
    let address = running.address();
    running.stop().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "it goes on");
}

#[test]
fn what_a_command_line_has_started_ends_with_it() {
    let line = format!("sh -c {}", quote(&format!("{} & wait", python_broker(0))));
    let (_scratch, started) = start(&line, START_TIMEOUT);
    let running = started.unwrap();
    let address = running.address();
    drop(running);
    let deadline = Instant::now() + Duration::from_secs(30);
    // The inner one is not waited for here, and takes a moment to end.
    while std::net::TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "it goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[test]
fn one_that_dies_is_told_with_its_last_words() {
    let line = python_broker(0).replace("c.recv(100)'", "c.recv(100); import sys; sys.exit(3 * \"no more \")'");
    let (_scratch, started) = start(&line, START_TIMEOUT);
    let running = started.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while running.has_died().is_none() {
        assert!(Instant::now() < deadline, "it lives");
        std::thread::sleep(Duration::from_millis(10));
    }
    let failure = running.stop().unwrap_err();
    assert!(
        matches!(&failure, Failure::Broken(why) if why.contains("no more no more no more") && why.contains("exit status: 1")),
        "{failure}"
    );
}

#[test]
fn what_does_not_come_up_is_told_with_the_reason() {
    let refuses = python_broker(5);
    let second = Duration::from_secs(1);
    for (line, timeout, part) in [
        ("/nowhere/broker {port}", START_TIMEOUT, "cannot start"),
        ("sh -c 'echo $((3 * 37)) is {port} >&2; exit 3'", START_TIMEOUT, "111 is "),
        ("sh -c 'exit 3' {port}", START_TIMEOUT, "it said nothing"),
        ("sleep 600{port}", second, "does not answer MQTT on 127.0.0.1"),
        (refuses.as_str(), START_TIMEOUT, "return code 5"),
    ] {
        let failure = start(line, timeout).1.unwrap_err();
        assert!(
            matches!(&failure, Failure::Setup(why) if why.contains(part) && !why.contains('\n')),
            "{line}: {failure}"
        );
    }
}

#[test]
fn an_interrupt_ends_the_wait() {
    let broker: Broker = "sleep 600{port}".parse().unwrap();
    let interrupt = Interrupt::default();
    interrupt.set();
    let scratch = Scratch::new().unwrap();
    let failure = broker.start(&StartOptions::default(), &scratch, &interrupt).unwrap_err();
    assert_eq!(failure, Failure::Interrupted);
}
