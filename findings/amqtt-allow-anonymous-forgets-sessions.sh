#!/usr/bin/env bash
# With allow_anonymous, its default, amqtt keeps no session of any client, not even of one with a user name.
#
# Version: amqtt 0.12.1 and paho-mqtt 2.2.0 from PyPI.
# Guess:   allow_anonymous says whether clients without a user name are let in. A client with a client identifier and Clean Session
#          0 finds its subscriptions and the messages at QoS 1 again in any case.
# Happens: with allow_anonymous: true every client counts as anonymous, and a task that runs each second removes the session of each
#          anonymous client that has gone. Its messages are acknowledged to their publisher and dropped, and the next CONNACK has Session
#          Present 0. With allow_anonymous: false the same client, with a user name that nothing else checks, keeps its session.
# Source:  MQTT 3.1.1, section 3.1.2.4 (MQTT-3.1.2-4, MQTT-3.1.2-5); AnonymousAuthPlugin in amqtt/plugins/authentication.py and
#          _session_monitor in amqtt/broker.py; https://github.com/Yakifo/amqtt/issues/27 (meant for clients without an identifier)
# Seen:    allow_anonymous: true: session present False, got []
#          allow_anonymous: false: session present True, got ['1', '2']
set -euo pipefail
tmp=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT

python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check amqtt==0.12.1 paho-mqtt==2.2.0
cat >"$tmp/claim.py" <<'PY'
import sys, time
import paho.mqtt.client as mqtt

def connect(name, user, clean):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean)
    client.got = []
    client.present = None
    client.on_connect = lambda _client, _userdata, flags, *_: setattr(client, "present", flags.session_present)
    client.on_message = lambda _client, _userdata, message: client.got.append(message.payload.decode())
    client.username_pw_set(user, "any")
    client.connect("127.0.0.1", int(sys.argv[1]))
    client.loop_start()
    while client.present is None:
        time.sleep(0.01)
    return client

def leave(client):
    client.disconnect()
    client.loop_stop()

client = connect("kept", "joe", clean=False)
client.subscribe("t", 1)
time.sleep(0.5)
leave(client)
time.sleep(2.5)
publisher = connect("publisher", "ann", clean=True)
for payload in ["1", "2"]:
    publisher.publish("t", payload, 1).wait_for_publish(5)
leave(publisher)
client = connect("kept", "joe", clean=False)
time.sleep(1)
leave(client)
print(f"session present {client.present}, got {client.got}")
PY

come_back() { # ALLOW_ANONYMOUS
    local port broker
    port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat >"$tmp/amqtt.yaml" <<YAML
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:$port
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: $1
YAML
    "$tmp/venv/bin/amqtt" -c "$tmp/amqtt.yaml" >"$tmp/log" 2>&1 &
    broker=$!
    for _ in {1..100}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done
    "$tmp/venv/bin/python" "$tmp/claim.py" "$port"
    kill $broker
}
check() { # WHAT EXPECTED SEEN
    echo "$1: $3"
    [ "$2" = "$3" ] || { echo "the behaviour changed; expected: $2" >&2; exit 1; }
}
check "allow_anonymous: true" "session present False, got []" "$(come_back true)"
check "allow_anonymous: false" "session present True, got ['1', '2']" "$(come_back false)"
