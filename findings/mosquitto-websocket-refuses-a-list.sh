#!/usr/bin/env bash
# mosquitto 2.1 hangs up on a WebSocket client that offers more than one subprotocol, even if mqtt comes first.
#
# Version: mosquitto 2.1.2-3 (Debian forky), ws 8.18.3 from npm.
# Guess:   Sec-WebSocket-Protocol is a list, from which the server chooses; the MQTT standard itself asks of a client that mqtt is *in*
#          the list. `new WebSocket(url, ["mqtt", "mqttv3.1"])` is the way to reach old and new brokers.
# Happens: the value of the header is compared as a whole, so a list is no known protocol, and the connection closes without
#          an HTTP answer. 2.0, with libwebsockets, takes the first name that it knows: such clients fail with the update.
# Source:  MQTT 5, section 6.0 (MQTT-6.0.0-3, MQTT-6.0.0-4); RFC 6455, sections 4.1 and 11.3.4; src/http_serv.c of mosquitto 2.1.2
# Seen:    mqtt: open
#          mqttv3.1: open
#          mqtt,mqttv3.1: socket hang up
#          mqttv3.1,mqtt: socket hang up
set -euo pipefail
tmp=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT

# Unpacks packages of Debian forky with the C library they need. Nothing is installed.
unpack() { # PACKAGE=VERSION...
    local codename mirror package
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2016 # the words in $() are apt's own
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
        awk -v codename="$codename" '$2 == codename && $3 == "main" && !found++ { print $1 }')
    mkdir -p "$tmp"/{lists,cache/archives}/partial "$tmp/tree"
    : >"$tmp/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg target=Packages] $mirror forky main" >"$tmp/sources"
    local apt=(apt-get -qq -o Dir::Etc::sourcelist="$tmp/sources" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists="$tmp/lists" -o Dir::State::status="$tmp/status" -o Dir::Cache="$tmp/cache"
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o APT::Install-Recommends=false -o Debug::NoLocking=1)
    "${apt[@]}" update
    "${apt[@]}" install -y --download-only "$@" >/dev/null
    for package in "$tmp"/cache/archives/*.deb; do dpkg -x "$package" "$tmp/tree"; done
    /sbin/ldconfig -n "$tmp"/tree/usr/lib/*-linux-gnu # some packages leave the links to their installation
    run=("$tmp"/tree/usr/lib64/ld-linux-*.so.2 --library-path "$(echo "$tmp"/tree/usr/lib/*-linux-gnu)")
}
check() { # WHAT EXPECTED SEEN
    echo "$1: $3"
    [ "$2" = "$3" ] || { echo "the behaviour changed; expected: $2" >&2; exit 1; }
}

unpack mosquitto=2.1.2-3
cd "$tmp"
npm install --silent --no-audit --no-fund --ignore-scripts ws@8.18.3 >/dev/null
cat >client.cjs <<'JS'
const [port, ...protocols] = process.argv.slice(2)
const socket = new (require('ws'))(`ws://127.0.0.1:${port}/mqtt`, protocols)
const end = (word) => { console.log(word); process.exit() }
socket.on('open', () => end('open'))
socket.on('error', (error) => end(error.message))
JS
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '%s\n' "listener $port 127.0.0.1" 'protocol websockets' 'allow_anonymous true' "user $(id -un)" >mosquitto.conf
"${run[@]}" "$tmp/tree/usr/sbin/mosquitto" -c mosquitto.conf >log 2>&1 &
for _ in {1..50}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done
check mqtt open "$(node client.cjs "$port" mqtt)"
check mqttv3.1 open "$(node client.cjs "$port" mqttv3.1)"
check mqtt,mqttv3.1 "socket hang up" "$(node client.cjs "$port" mqtt mqttv3.1)"
check mqttv3.1,mqtt "socket hang up" "$(node client.cjs "$port" mqttv3.1 mqtt)"
