#!/usr/bin/env bash
# A member of a shared subscription that may not read a message takes its turn all the same, and the message is lost.
#
# Version: mosquitto and mosquitto-clients 2.0.21-1 (Debian 13). The same with 2.0.11-1.2+deb12u2 and 2.1.2.
# Guess:   a message of a shared subscription goes to one member that may have it. A client without rights on the topic either is
#          refused at SUBSCRIBE or is passed over.
# Happens: SUBSCRIBE is granted (acl_file has no rights for it), and the turn of the member counts although nothing is sent to it.
#          With one member of two without the right, every other message reaches nobody, while its publisher has a PUBACK with
#          success. One wrong line in the file thus costs the other members half of their messages, without a line in the log.
# Source:  MQTT 5, section 4.8.2 (a message goes to one session of the group); subs__send and subs__shared_process in src/subs.c of
#          mosquitto 2.1.2: the refusal counts as success, and the list of members is turned
# Seen:    SUBACK for the member without the right: granted
#          acknowledged with success: 6 of 6
#          the member with the right got: 1 3 5
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
pub=("${run[@]}" "$tmp/tree/usr/bin/mosquitto_pub" -V 5)
sub=("${run[@]}" "$tmp/tree/usr/bin/mosquitto_sub" -V 5)
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf '%s\n' 'user worker' 'topic read jobs/#' 'user stranger' 'topic read other/#' 'user sender' 'topic write jobs/#' >"$tmp/acl"
# Without a password file any client may take any name; only the rights matter here.
printf '%s\n' "listener $port 127.0.0.1" 'allow_anonymous true' "acl_file $tmp/acl" "user $(id -un)" >"$tmp/mosquitto.conf"
"${run[@]}" "$tmp/tree/usr/sbin/mosquitto" -v -c "$tmp/mosquitto.conf" >"$tmp/log" 2>&1 &
for _ in {1..50}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done

filter="\$share/g/jobs/#"
# Waits for the broker's word, since the clients' own is in a buffer.
subscribed() { for _ in {1..50}; do [ "$(grep -c 'Sending SUBACK' "$tmp/log")" = "$1" ] && return; sleep 0.1; done; }
"${sub[@]}" -p "$port" -u worker -q 1 -t "$filter" -W 4 >"$tmp/worker" 2>&1 &
subscribed 1
"${sub[@]}" -p "$port" -u stranger -q 1 -t "$filter" -W 4 -d >"$tmp/stranger" 2>&1 &
subscribed 2
for job in {1..6}; do "${pub[@]}" -p "$port" -u sender -q 1 -t "jobs/$job" -m "$job" -d; done >"$tmp/sender" 2>&1
for _ in {1..80}; do grep -q 'Timed out' "$tmp/stranger" && break; sleep 0.1; done
grep -q 'Subscribed (mid: 1): 1' "$tmp/stranger" && answer=granted || answer=refused
check "SUBACK for the member without the right" granted "$answer"
check "acknowledged with success" "6 of 6" "$(grep -c 'received PUBACK (Mid: 1, RC:0)' "$tmp/sender") of 6"
check "the member with the right got" "1 3 5" "$(grep '^[0-9]$' "$tmp/worker" | xargs)"
