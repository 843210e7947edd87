#!/usr/bin/env bash
# paho-mqtt's callback for the filter of a shared subscription is never called.
#
# Version: paho-mqtt 2.2.0 from PyPI, mosquitto 2.0.21-1 (Debian 13); aiomqtt 2.5.1 from PyPI beside it.
# Guess:   message_callback_add takes the filter that subscribe takes, so a worker that subscribes to $share/g/jobs/# gives the same
#          text to both.
# Happens: a message has its own topic, jobs/1, and the filter is matched as it stands, with $share and the group as levels. The message goes to
#          on_message, and if there is none it is acknowledged and dropped without a word, while the group counts it as done. The
#          callback must be added for jobs/#. aiomqtt, which is built on paho-mqtt, matches the same filter.
# Source:  MQTT 5, section 4.8.2 (the filter of $share/g/jobs/# is jobs/#); https://github.com/eclipse-paho/paho.mqtt.python/issues/472
# Seen:    paho-mqtt: callback for $share/g/jobs/#: 0, on_message: 1
#          paho-mqtt: callback for jobs/#: 1, on_message: 0
#          aiomqtt: matches $share/g/jobs/#: True
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
"$tmp/venv/bin/pip" install -q --disable-pip-version-check paho-mqtt==2.2.0 aiomqtt==2.5.1
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '%s\n' "listener $port 127.0.0.1" 'allow_anonymous true' "user $(id -un)" >"$tmp/mosquitto.conf"
"${run[@]}" "$tmp/tree/usr/sbin/mosquitto" -c "$tmp/mosquitto.conf" >"$tmp/log" 2>&1 &
for _ in {1..50}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done
cat >"$tmp/worker.py" <<'PY'
import sys, time
import paho.mqtt.client as mqtt

own, other = [], []
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.message_callback_add(sys.argv[2], lambda *_: own.append(1))
client.on_message = lambda *_: other.append(1)
client.on_connect = lambda *_: client.subscribe("$share/g/jobs/#", 1)
client.on_subscribe = lambda *_: client.publish("jobs/1", b"m", 1)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_start()
end = time.monotonic() + 5
while not own + other and time.monotonic() < end:
    time.sleep(0.01)
client.loop_stop()
print(f"{len(own)}, on_message: {len(other)}")
PY
filter="\$share/g/jobs/#"
check "paho-mqtt: callback for $filter" "0, on_message: 1" "$("$tmp/venv/bin/python" "$tmp/worker.py" "$port" "$filter")"
check "paho-mqtt: callback for jobs/#" "1, on_message: 0" "$("$tmp/venv/bin/python" "$tmp/worker.py" "$port" "jobs/#")"
check "aiomqtt: matches $filter" True \
    "$("$tmp/venv/bin/python" -c 'import aiomqtt, sys; print(aiomqtt.Topic("jobs/1").matches(sys.argv[1]))' "$filter")"
