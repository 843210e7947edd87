#!/usr/bin/env bash
# paho-mqtt's publish() returns an error for a message that it keeps, and delivers later.
#
# Version: paho-mqtt 2.2.0 from PyPI, mosquitto 2.0.21-1 (Debian 13).
# Guess:   publish() returns MQTT_ERR_NO_CONN (4) while there is no connection, so nothing has happened: the program keeps the message
#          and tries again later.
# Happens: the same code stands for two outcomes. At QoS 0 the message is dropped. At QoS 1 and 2 it is queued, and sent after the
#          next connect. A program that tries again thus sends it twice, even at QoS 2. To tell, look at the QoS, or at
#          is_published() of the first call.
# Source:  publish() in paho/mqtt/client.py (the message is in _out_messages before its sending fails), whose documentation gives the
#          code alone
# Seen:    publish() without a connection: QoS 0 4, QoS 1 4, QoS 2 4
#          after a connect: qos1 qos2
#          after a second publish() of all three: qos0 qos1 qos2
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
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check paho-mqtt==2.2.0
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '%s\n' "listener $port 127.0.0.1" 'allow_anonymous true' "user $(id -un)" >"$tmp/mosquitto.conf"
"${run[@]}" "$tmp/tree/usr/sbin/mosquitto" -c "$tmp/mosquitto.conf" >"$tmp/log" 2>&1 &
for _ in {1..50}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done
cat >"$tmp/claim.py" <<'PY'
import sys, time
import paho.mqtt.client as mqtt

def new_client():
    return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)

def publish_all(client):
    return [client.publish("t", f"qos{qos}", qos) for qos in (0, 1, 2)]

monitor, got, subscribed = new_client(), [], []
monitor.on_message = lambda _client, _userdata, message: got.append(message.payload.decode())
monitor.on_connect = lambda *_: monitor.subscribe("t", 2)
monitor.on_subscribe = lambda *_: subscribed.append(True)
monitor.connect("127.0.0.1", int(sys.argv[1]))
monitor.loop_start()
while not subscribed:
    time.sleep(0.01)

client = new_client()
codes = [int(message.rc) for message in publish_all(client)]
print("publish() without a connection: QoS 0 %d, QoS 1 %d, QoS 2 %d" % tuple(codes))
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_start()
time.sleep(1)
print("after a connect:", *sorted(got))
first, got[:] = sorted(got), []
for message in publish_all(client):
    message.wait_for_publish(5)
time.sleep(1)
print("after a second publish() of all three:", *sorted(got))
assert codes == [4, 4, 4], "the behaviour changed"
assert first == ["qos1", "qos2"], "the behaviour changed"
assert sorted(got) == ["qos0", "qos1", "qos2"], "the behaviour changed"
client.loop_stop()
monitor.loop_stop()
PY
"$tmp/venv/bin/python" "$tmp/claim.py" "$port"
