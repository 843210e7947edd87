#!/usr/bin/env bash
# The crate sd-notify does not reach a service manager whose NOTIFY_SOCKET is in the abstract namespace.
#
# Version: sd-notify 0.5.0 from crates.io.
# Guess:   a NOTIFY_SOCKET that begins with "@" is the name of an abstract socket, as sd_notify(3) says; the crate speaks that protocol.
# Happens: the name is taken for the path of a file, and the state is not told: "No such file or directory". A service of Type=notify would
#          be taken for one that never got ready. With a path it works.
# Source:  sd_notify(3), NOTIFY_SOCKET: "/" begins a path, "@" an abstract name, "vsock:" others; connected_unix_datagram in src/lib.rs
# Seen:    path: READY=1
#          abstract: error NotFound
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

mkdir "$tmp/claim" "$tmp/claim/src"
cat >"$tmp/claim/Cargo.toml" <<'TOML'
[package]
name = "claim"
version = "0.0.0"
edition = "2021"

[dependencies]
sd-notify = "=0.5.0"
TOML
cat >"$tmp/claim/src/main.rs" <<'RS'
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

fn tell(what: &str, socket: UnixDatagram, name: &str) {
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // SAFETY: there is one thread.
    unsafe { std::env::set_var("NOTIFY_SOCKET", name) };
    match sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        Ok(()) => {
            let mut buffer = [0; 100];
            let len = socket.recv(&mut buffer).unwrap();
            println!("{what}: {}", String::from_utf8_lossy(&buffer[..len]).trim_end());
        }
        Err(error) => println!("{what}: error {:?}", error.kind()),
    }
}

fn main() {
    let folder = std::env::args().nth(1).unwrap();
    let path = format!("{folder}/notify");
    tell("path", UnixDatagram::bind(&path).unwrap(), &path);
    let name = format!("claim-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    tell("abstract", UnixDatagram::bind_addr(&address).unwrap(), &format!("@{name}"));
}
RS
seen=$(cargo run --quiet --manifest-path "$tmp/claim/Cargo.toml" --target-dir "$tmp/target" -- "$tmp")
echo "$seen"
[ "$seen" = $'path: READY=1\nabstract: error NotFound' ] || { echo 'the behaviour changed' >&2; exit 1; }
