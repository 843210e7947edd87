#!/usr/bin/env bash
# mosquitto with persistence forgets the shared subscriptions of kept sessions when it restarts, and says that the session is present.
#
# Version: mosquitto and mosquitto-clients 2.0.21-1 (Debian 13). The same with 2.0.11-1.2+deb12u2 and 2.1.2.
# Guess:   with `persistence true` a kept session survives a restart of the broker with all its subscriptions. CONNACK says that the
#          session is present, so the client has no reason to subscribe again, and many clients do not.
# Happens: the plain subscriptions are back; the shared ones ($share/GROUP/FILTER) are not in the file and are gone. Messages for
#          the group are lost from then on, while their publishers have PUBACK, and nothing is in the log.
# Source:  MQTT 5, section 4.1 (the session state of the server has the subscriptions) and 3.2.2.1.1 (Session Present);
#          persist__subs_save in src/persist_write.c of mosquitto 2.0.20: it writes the list `subs` of each level, and shared
#          subscriptions are in the list `shared`
# Seen:    before the restart the member got: shared plain
#          session present after the restart: 1
#          after the restart the member got: plain
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
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '%s\n' "listener $port 127.0.0.1" 'allow_anonymous true' 'persistence true' "persistence_location $tmp/" \
    "user $(id -un)" >"$tmp/mosquitto.conf"
start() {
    "${run[@]}" "$tmp/tree/usr/sbin/mosquitto" -c "$tmp/mosquitto.conf" >>"$tmp/log" 2>&1 &
    broker=$!
    for _ in {1..50}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done
}
# A client of MQTT 3.1.1 with a kept session, which subscribes to the filters that it is given, and prints whether the session was
# present, and the messages that waited for it up to the last one, `plain`.
member() {
    python3 - "$port" "$@" <<'EOF'
import socket, struct, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10)
stream = client.makefile("rb")

def read():  # packets here are short
    head = stream.read(2)
    return head[0], stream.read(head[1])

def text(value):
    return struct.pack("!H", len(value)) + value.encode()

def send(first, body):
    client.sendall(bytes([first, len(body)]) + body)

send(0x10, text("MQTT") + b"\x04\x00\x00\x3c" + text("member"))
words = [str(read()[1][0])]
if sys.argv[2:]:
    send(0x82, b"\0\1" + b"".join(text(filter) + b"\1" for filter in sys.argv[2:]))
    read()
else:
    while words[-1] != "plain":
        first, body = read()
        topic = struct.unpack("!H", body[:2])[0]
        client.sendall(b"\x40\x02" + body[2 + topic:4 + topic])
        words.append(body[4 + topic:].decode())
client.sendall(b"\xe0\0")
stream.read()
print(*words)
EOF
}
messages() {
    local pub=("${run[@]}" "$tmp/tree/usr/bin/mosquitto_pub" -p "$port" -q 1)
    "${pub[@]}" -t jobs/1 -m shared
    "${pub[@]}" -t news -m plain
}

start
member "\$share/g/jobs/#" news >/dev/null
messages
read -r _ before <<<"$(member)"
check "before the restart the member got" "shared plain" "$before"
kill "$broker"
wait "$broker" || true
start
messages
read -r present after <<<"$(member)"
check "session present after the restart" 1 "$present"
check "after the restart the member got" "plain" "$after"
