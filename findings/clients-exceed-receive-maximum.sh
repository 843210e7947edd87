#!/usr/bin/env bash
# mqtt.js and paho-mqtt send more messages at once than the server's Receive Maximum allows.
#
# Version: mqtt 5.16.0 from npm, paho-mqtt 2.2.0 from PyPI.
# Guess:   a client of MQTT 5 that reads the CONNACK holds back what goes beyond Receive Maximum, so a server can rely on it, and
#          may end a connection that exceeds it.
# Happens: both show the value to the program and send on: mqtt.js all that it is given, paho-mqtt up to its own 20. With mosquitto
#          2.0 and 2.1 and max_inflight_messages 4, 8 of 20 messages of mqtt.js at QoS 2 had PUBREC 0x97; their callbacks got
#          "Quota exceeded", and mqtt.js did not send them again.
# Source:  MQTT 5, sections 3.2.2.3.3, 3.3.4 and 4.9 (no PUBLISH at QoS 1 or 2 once the send quota is used up);
#          _receiveMaximum in build/lib/client.js of mqtt (its own value alone) and _max_inflight_messages in client.py of paho-mqtt
# Seen:    mqtt.js with Receive Maximum 1: 50 of 50 under way
#          paho-mqtt with Receive Maximum 1: 20 of 50 under way
set -euo pipefail
tmp=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT
check() { # WHAT EXPECTED SEEN
    echo "$1: $3"
    [ "$2" = "$3" ] || { echo "the behaviour changed; expected: $2" >&2; exit 1; }
}

cd "$tmp"
npm install --silent --no-audit --no-fund --ignore-scripts mqtt@5.16.0 >/dev/null
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check paho-mqtt==2.2.0

cat >server.py <<'PY'
# Accepts one client with Receive Maximum 1, acknowledges no message, and counts them for two seconds.
import socket, time

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
client, _ = listener.accept()
client.recv(1000)
client.sendall(bytes([0x20, 6, 0, 0, 3, 0x21, 0, 1]))  # CONNACK, Receive Maximum (0x21) 1
client.settimeout(0.1)
data, end = b"", time.monotonic() + 2
while time.monotonic() < end:
    try:
        data += client.recv(65536)
    except TimeoutError:
        pass
publishes = 0
while data:  # packets of less than 128 bytes
    publishes += data[0] >> 4 == 3
    data = data[2 + data[1]:]
print(publishes, flush=True)
PY
cat >client.cjs <<'JS'
const client = require('mqtt').connect(`mqtt://127.0.0.1:${process.argv[2]}`, { protocolVersion: 5, reconnectPeriod: 0 })
client.on('error', () => {})
client.on('close', () => process.exit())
client.on('connect', (connack) => {
  if (connack.properties.receiveMaximum !== 1) process.exit(1)
  for (let i = 0; i < 50; i++) client.publish('t', 'm', { qos: 2 }, () => {})
})
JS
cat >client.py <<'PY'
import sys
import paho.mqtt.client as mqtt

def on_connect(client, _userdata, _flags, _code, properties):
    assert properties.ReceiveMaximum == 1
    for _ in range(50):
        client.publish("t", b"m", qos=2)

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.on_connect = on_connect
client.connect("127.0.0.1", int(sys.argv[1]))
while client.loop(0.1) == mqtt.MQTT_ERR_SUCCESS:
    pass
PY

under_way() { # CLIENT...
    local server
    : >said
    python3 server.py >said &
    server=$!
    for _ in {1..50}; do [ -s said ] && break; sleep 0.1; done
    timeout 10 "$@" "$(head -1 said)" >/dev/null || true
    wait $server
    tail -1 said
}
check "mqtt.js with Receive Maximum 1" "50 of 50 under way" "$(under_way node client.cjs) of 50 under way"
check "paho-mqtt with Receive Maximum 1" "20 of 50 under way" "$(under_way venv/bin/python client.py) of 50 under way"
