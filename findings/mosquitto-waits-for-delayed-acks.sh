#!/usr/bin/env bash
# On loopback mosquitto needs 44 ms to acknowledge ten messages that arrive together, and 0.2 ms with set_tcp_nodelay.
#
# Version: mosquitto 2.0.21-1 (Debian 13), Linux. The same with 2.0.11-1.2+deb12u2 and 2.1.2; aedes 1.2, amqtt 0.12 and nats-server 2.15 do
#          not wait.
# Guess:   ten PUBACKs are 40 bytes, and loopback has no latency. set_tcp_nodelay is for real networks.
# Happens: mosquitto writes each PUBACK with a call of its own. The first leaves at once; Nagle's algorithm keeps the others until the
#          first is acknowledged by TCP, and a client that waits for its window has nothing to send with which to do so: its kernel
#          delays that by 40 ms. So a publisher with a window of ten makes 230 messages a second instead of tens of thousands, and
#          a benchmark with default settings measures the timer of the kernel.
# Source:  RFC 1122, sections 4.2.3.4 and 4.2.3.2 (Nagle's algorithm; delayed ACK); set_tcp_nodelay in mosquitto.conf(5), off by default;
#          https://github.com/eclipse-mosquitto/mosquitto/issues/433
# Seen:    ten messages at QoS 1, median of 30 windows: 44.0 ms
#          with set_tcp_nodelay true: 0.2 ms
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
unpack mosquitto=2.0.21-1
cat >"$tmp/windows.py" <<'PY'
import socket, statistics, sys, time

def text(value):
    return len(value).to_bytes(2, "big") + value

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
connect = text(b"MQTT") + bytes([4, 2, 0, 60]) + text(b"x")
client.sendall(bytes([0x10, len(connect)]) + connect)
client.recv(4)
took = []
for window in range(30):
    packets = b""
    for n in range(1, 11):
        publish = text(b"t") + n.to_bytes(2, "big") + b"m"
        packets += bytes([0x32, len(publish)]) + publish
    start = time.perf_counter()
    client.sendall(packets)
    acknowledged = 0
    while acknowledged < 10 * 4:
        acknowledged += len(client.recv(4096))
    took.append((time.perf_counter() - start) * 1000)
print(f"{statistics.median(took):.1f}")
PY
window() { # LINES of mosquitto.conf...
    local port broker
    port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    printf '%s\n' "listener $port 127.0.0.1" 'allow_anonymous true' "user $(id -un)" "$@" >"$tmp/mosquitto.conf"
    "${run[@]}" "$tmp/tree/usr/sbin/mosquitto" -c "$tmp/mosquitto.conf" >"$tmp/log" 2>&1 &
    broker=$!
    for _ in {1..50}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done
    python3 "$tmp/windows.py" "$port"
    kill $broker
}
default=$(window)
nodelay=$(window "set_tcp_nodelay true")
echo "ten messages at QoS 1, median of 30 windows: $default ms"
echo "with set_tcp_nodelay true: $nodelay ms"
[ "${default%.*}" -ge 30 ] && [ "${nodelay%.*}" -lt 10 ] || { echo "the behaviour changed" >&2; exit 1; }
