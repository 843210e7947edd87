#!/usr/bin/env bash
# mosquitto_passwd drops all users of a password file with a comment, and exits with 0.
#
# Version: mosquitto 2.0.21-1 (Debian 13). The same with 2.0.11-1.2+deb12u2 and 2.1.2.
# Guess:   the broker skips lines that begin with #, so a password file may have comments, and mosquitto_passwd adds a user to it
#          as to any other file. If it cannot read a line, it leaves the file alone, and its status says so.
# Happens: it prints "Corrupt password file at line 1", writes a file with the new user alone, and exits with 0. After the next
#          reload nobody else can log in.
# Source:  apps/mosquitto_passwd/mosquitto_passwd.c (pwfile_iterate ends at the first such line, update_pwuser goes on) and
#          plugins/password-file/password_parse.c (the broker skips them) of mosquitto 2.1.2
# Seen:    before: # staff, ann, bob
#          ann logs in: yes
#          mosquitto_passwd -b FILE joe ...: status 0, Error: Corrupt password file at line 1.
#          after: joe
#          ann logs in: no
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
passwd() { "${run[@]}" "$tmp/tree/usr/bin/mosquitto_passwd" "$@" >"$tmp/said" 2>&1; }
names() { cut -d: -f1 "$tmp/users" | paste -sd, | sed 's/,/, /g'; }
# Each time with a broker of its own, that reads the file as it is then.
can_log_in() { # USER PASSWORD
    local port broker answer=no
    port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    printf 'listener %s 127.0.0.1\npassword_file %s\nuser %s\n' "$port" "$tmp/users" "$(id -un)" >"$tmp/mosquitto.conf"
    "${run[@]}" "$tmp/tree/usr/sbin/mosquitto" -c "$tmp/mosquitto.conf" >"$tmp/log" 2>&1 &
    broker=$!
    for _ in {1..50}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done
    "${run[@]}" "$tmp/tree/usr/bin/mosquitto_pub" -p "$port" -u "$1" -P "$2" -q 1 -t t -m m 2>/dev/null && answer=yes
    kill $broker
    echo $answer
}

umask 077
passwd -c -b "$tmp/ann-and-bob" ann secret-of-ann
passwd -b "$tmp/ann-and-bob" bob secret-of-bob
{ echo '# staff'; cat "$tmp/ann-and-bob"; } >"$tmp/users"
check before '# staff, ann, bob' "$(names)"
check "ann logs in" yes "$(can_log_in ann secret-of-ann)"
status=0
passwd -b "$tmp/users" joe secret-of-joe || status=$?
check "mosquitto_passwd -b FILE joe ..." "status 0, Error: Corrupt password file at line 1." "status $status, $(grep Error "$tmp/said")"
check after joe "$(names)"
check "ann logs in" no "$(can_log_in ann secret-of-ann)"
