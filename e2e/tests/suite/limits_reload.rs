//! Limits that a running broker takes up on SIGHUP, and the ones that it names.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::raw::RawClient;
use wisp_e2e::wait::{TIMEOUT, wait_until};

use crate::config::ConfigFile;

fn text(listener: SocketAddr, of_listener: u32, of_all: u32, rate: u32) -> String {
    format!(
        "[[listener]]\naddress = \"{listener}\"\nconnections-max = {of_listener}\n\n[limits]\nconnections-max = {of_all}\n\
         messages-per-s-max = {rate}\ninflight-max = {rate}\n"
    )
}

/// Whether the broker closes a new connection at once. One that it keeps is closed again.
fn refuses(addr: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(addr).expect("the system accepts");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a time limit can be set");
    let connect = wisp_e2e::packet::Connect::new(Version::V311, "probe").encode();
    let sent = std::io::Write::write_all(&mut stream, &connect);
    let mut answer = [0; 4];
    sent.is_err() || stream.read_exact(&mut answer).is_err()
}

#[test]
fn limits_of_connections_to_come_are_taken_up_on_sighup_and_the_others_named() {
    if cannot(Ability::Signals) {
        return;
    }
    let listener = free_addr();
    let file = ConfigFile::new("limits-reload", &text(listener, 1, 10, 7));
    let broker = Broker::start_with(&["--config", file.path()]);
    let _first = RawClient::connect(listener, Version::V311, "first");
    assert!(refuses(listener) && !refuses(broker.addr()));
    let reload = |of_listener, of_all, rate, line: &str| {
        fs::write(file.path(), text(listener, of_listener, of_all, rate)).expect("the file can be written");
        broker.signal("HUP");
        broker.wait_log(line);
    };

    reload(2, 10, 7, &format!("sighup: read again: connections-max of {listener}"));
    let _second = RawClient::connect(listener, Version::V311, "second");
    assert!(refuses(listener));

    reload(2, 1, 9, "sighup: read again: connections-max, messages-per-s-max; needs a restart: inflight-max");
    assert!(refuses(broker.addr()), "there are more than allowed already");
    reload(2, 20, 7, "sighup: read again: connections-max, messages-per-s-max");
    wait_until("a connection more", || !refuses(broker.addr()));
    assert!(refuses(listener));
}
