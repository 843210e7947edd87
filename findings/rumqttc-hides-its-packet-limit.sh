#!/usr/bin/env bash
# rumqttc takes packets of 10 KiB at most and does not tell the broker, so one longer message ends every connection of its session.
#
# Version: rumqttc 0.25.1 from crates.io (its MQTT 5 client), mosquitto 2.0.21-1 (Debian 13).
# Guess:   a client of MQTT 5 with a limit announces it as Maximum Packet Size; the broker then leaves longer messages out. Without the
#          property there is no limit.
# Happens: the limit is checked, but announced only if the program sets it. A message of 20,000 bytes at QoS 1 in a kept session ends
#          the connection, is never acknowledged, and comes first at each reconnect: nothing behind it arrives. Setting the limit to the
#          very value that it has already makes the broker drop that message, and the others arrive.
# Source:  MQTT 5, section 3.1.2.11.4 (the client announces; the server discards); default_max_incoming_size in src/v5/mod.rs and
#          max_incoming_pkt_size in src/v5/eventloop.rs of rumqttc; https://github.com/bytebeamio/rumqtt/issues/924 and issues/614
# Seen:    as it comes: failed again and again, received []
#          max_packet_size 10240: failed never, received [5]
#          max_packet_size 100000: failed never, received [20000, 5]
set -euo pipefail
tmp=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT

# Unpacks packages of Debian 13 with the C library they need. Nothing is installed.
unpack() { # PACKAGE=VERSION...
    local codename mirror package
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2016 # the words in $() are apt's own
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
        awk -v codename="$codename" '$2 == codename && $3 == "main" && !found++ { print $1 }')
    mkdir -p "$tmp"/{lists,cache/archives}/partial "$tmp/tree"
    : >"$tmp/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg target=Packages] $mirror trixie main" >"$tmp/sources"
    local apt=(apt-get -qq -o Dir::Etc::sourcelist="$tmp/sources" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists="$tmp/lists" -o Dir::State::status="$tmp/status" -o Dir::Cache="$tmp/cache"
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o APT::Install-Recommends=false -o Debug::NoLocking=1)
    "${apt[@]}" update
    "${apt[@]}" install -y --download-only "$@" >/dev/null
    for package in "$tmp"/cache/archives/*.deb; do dpkg -x "$package" "$tmp/tree"; done
    run=("$tmp"/tree/usr/lib64/ld-linux-*.so.2 --library-path "$(echo "$tmp"/tree/usr/lib/*-linux-gnu)")
}
check() { # WHAT EXPECTED SEEN
    echo "$1: $3"
    [ "$2" = "$3" ] || { echo "the behaviour changed; expected: $2" >&2; exit 1; }
}

unpack mosquitto=2.0.21-1 mosquitto-clients=2.0.21-1
mkdir -p "$tmp/client/src"
cat >"$tmp/client/Cargo.toml" <<'TOML'
[package]
name = "client"
version = "0.0.0"
edition = "2021"

[dependencies]
rumqttc = { version = "=0.25.1", default-features = false }
TOML
cat >"$tmp/client/src/main.rs" <<'RUST'
//! Subscribes in a kept session for some seconds, and tells how often the connection failed and what it received.
use rumqttc::v5::{mqttbytes::v5::ConnectProperties, mqttbytes::QoS, Client, Event, Incoming, MqttOptions};
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let mut options = MqttOptions::new(&arguments[1], "127.0.0.1", arguments[2].parse().unwrap());
    let properties = ConnectProperties {
        session_expiry_interval: Some(3600),
        max_packet_size: arguments.get(3).map(|bytes| bytes.parse().unwrap()),
        ..ConnectProperties::new()
    };
    options.set_clean_start(false).set_connect_properties(properties);
    let (client, mut connection) = Client::new(options, 10);
    client.subscribe("t", QoS::AtLeastOnce).unwrap();
    let (mut failures, mut received) = (0, Vec::new());
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        match connection.recv_timeout(Duration::from_millis(100)) {
            Ok(Ok(Event::Incoming(Incoming::Publish(message)))) => received.push(message.payload.len()),
            Ok(Err(_)) => {
                failures += 1;
                std::thread::sleep(Duration::from_millis(200));
            }
            _ => {}
        }
    }
    let failed = ["never", "again and again"][usize::from(failures > 5)];
    println!("failed {failed}, received {received:?}");
}
RUST
(cd "$tmp/client" && cargo build --quiet --target-dir "$tmp/target")

port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '%s\n' "listener $port 127.0.0.1" 'allow_anonymous true' "user $(id -un)" >"$tmp/mosquitto.conf"
"${run[@]}" "$tmp/tree/usr/sbin/mosquitto" -v -c "$tmp/mosquitto.conf" >"$tmp/log" 2>&1 &
for _ in {1..50}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done

outcome() { # CLIENT [BYTES]
    local client pub=("${run[@]}" "$tmp/tree/usr/bin/mosquitto_pub" -p "$port" -q 1 -t t)
    "$tmp/target/debug/client" "$1" "$port" "${@:2}" >"$tmp/seen" &
    client=$!
    for _ in {1..50}; do grep -q "Sending SUBACK to $1" "$tmp/log" && break; sleep 0.1; done
    head -c 20000 /dev/zero | tr '\0' x | "${pub[@]}" -s
    "${pub[@]}" -m small
    wait $client
    cat "$tmp/seen"
}
check "as it comes" "failed again and again, received []" "$(outcome plain)"
check "max_packet_size 10240" "failed never, received [5]" "$(outcome same 10240)"
check "max_packet_size 100000" "failed never, received [20000, 5]" "$(outcome more 100000)"
