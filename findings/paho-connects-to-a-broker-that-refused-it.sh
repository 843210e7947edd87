#!/usr/bin/env bash
# Over TLS 1.3 paho-mqtt's connect() does not raise at a broker that refuses the client's certificate, and may return 0.
#
# Version: paho-mqtt 2.2.0 from PyPI with Python's ssl, mosquitto 2.0.21-1 (Debian 13). The same with mosquitto 2.1.2.
# Guess:   a broker with require_certificate ends the handshake of a client without one, so connect() raises SSLError, as it does with
#          TLS 1.2. A program that catches SSLError, or tests its certificates that way, is told.
# Happens: in TLS 1.3 the client's handshake is over before the server has looked at its certificate. The refusal arrives with the
#          first read, after paho-mqtt has sent its CONNECT: if that is later, connect() returns 0, and a message at QoS 0, which
#          paho-mqtt takes before the CONNACK, even has is_published() true. Else it returns 7 (connection lost). A short job that does
#          not wait for on_connect takes that for success. Here loopback makes the refusal early; a real network makes it late.
# Source:  RFC 8446, section 2, figure 1 (the client may send after its Finished, without an answer to its certificate);
#          MQTT 5, section 3.1.4 (clients may send packets before CONNACK); publish() in paho/mqtt/client.py
# Seen:    TLS 1.2, of 10: handshake ok 0, connect raised 10, on_connect 0
#          TLS 1.3, of 10: handshake ok 10, connect raised 0, on_connect 0
#          by timing: connect returned 0 2, published 1
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

unpack mosquitto=2.0.21-1
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check paho-mqtt==2.2.0
certificate() { # NAME OPTIONS of openssl req...
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout "$tmp/$1.key" -out "$tmp/$1.pem" "${@:2}" 2>/dev/null
}
certificate server -subj /CN=localhost -addext subjectAltName=DNS:localhost
certificate clients -subj /CN=clients
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '%s\n' "listener $port 127.0.0.1" 'allow_anonymous true' "user $(id -un)" "certfile $tmp/server.pem" "keyfile $tmp/server.key" \
    "cafile $tmp/clients.pem" 'require_certificate true' >"$tmp/mosquitto.conf"
"${run[@]}" "$tmp/tree/usr/sbin/mosquitto" -c "$tmp/mosquitto.conf" >"$tmp/log" 2>&1 &
for _ in {1..50}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done
cat >"$tmp/client.py" <<'PY'
import socket, ssl, sys, time
import paho.mqtt.client as mqtt

version = getattr(ssl.TLSVersion, sys.argv[3])
outcomes = {"handshake ok": 0, "connect raised": 0, "connect returned 0": 0, "on_connect": 0, "published": 0}

def new_context():
    context = ssl.create_default_context(cafile=sys.argv[1])
    context.minimum_version = context.maximum_version = version
    return context

def shake_hands():
    try:
        new_context().wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[2]))), server_hostname="localhost").close()
        outcomes["handshake ok"] += 1
    except ssl.SSLError:
        pass

def publish():
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    client.tls_set_context(new_context())
    client.on_connect = lambda *_: outcomes.update({"on_connect": outcomes["on_connect"] + 1})
    try:
        outcomes["connect returned 0"] += client.connect("localhost", int(sys.argv[2])) == mqtt.MQTT_ERR_SUCCESS
    except ssl.SSLError:
        outcomes["connect raised"] += 1
        return
    message = client.publish("t", b"m", qos=0)
    client.loop_start()
    time.sleep(0.3)
    client.loop_stop()
    # is_published() raises once the message has failed.
    outcomes["published"] += message.rc == mqtt.MQTT_ERR_SUCCESS and message.is_published()

for _ in range(10):
    shake_hands()
    publish()
print(*(f"{name} {outcomes[name]}" for name in ("handshake ok", "connect raised", "on_connect")), sep=", ")
print(*(f"{name} {outcomes[name]}" for name in ("connect returned 0", "published")), sep=", ")
PY
client=("$tmp/venv/bin/python" "$tmp/client.py" "$tmp/server.pem" "$port")
"${client[@]}" TLSv1_2 >"$tmp/seen"
check "TLS 1.2, of 10" "handshake ok 0, connect raised 10, on_connect 0" "$(head -1 "$tmp/seen")"
"${client[@]}" TLSv1_3 >"$tmp/seen"
check "TLS 1.3, of 10" "handshake ok 10, connect raised 0, on_connect 0" "$(head -1 "$tmp/seen")"
echo "by timing: $(tail -1 "$tmp/seen")"
