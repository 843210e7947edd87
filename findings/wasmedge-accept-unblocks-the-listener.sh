#!/usr/bin/env bash
# WasmEdge's sock_accept with NONBLOCK makes the listener non-blocking, and leaves the accepted socket blocking.
#
# Version: WasmEdge 0.14.1+dfsg-3.1 (Debian 13).
# Guess:   the flags of sock_accept are the flags of the new descriptor, as with accept4(2).
# Happens: the new socket blocks, so the first read of a silent client stops an event loop; and the next accept on a listener that
#          was blocking returns EAGAIN. Way out: accept with 0, then fd_fdstat_set_flags on the new socket.
# Source:  WASI preview 1, sock_accept (the desired values of the new file descriptor's flags);
#          https://github.com/WasmEdge/WasmEdge/pull/4670 (corrected after 0.14.1)
# Seen:    NONBLOCK of the accepted socket: 0
#          NONBLOCK of the listener: 4
#          a second accept, which should wait: 6
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

unpack wasmedge=0.14.1+dfsg-3.1
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check wasmtime==50.0.1 # for its translator of the text format
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
sed "s/PORT/$port/" >"$tmp/accept.wat" <<'WAT'
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_listen" (func $listen (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fdstat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\7f\00\00\01")
  (func $digit (param $value i32)
    (i32.store8 (i32.const 512) (i32.add (i32.const 48) (local.get $value)))
    (i32.store (i32.const 520) (i32.const 512))
    (i32.store (i32.const 524) (i32.const 1))
    (drop (call $write (i32.const 1) (i32.const 520) (i32.const 1) (i32.const 528))))
  ;; NONBLOCK is 4; a struct fdstat has its flags at 2.
  (func $flags (param $fd i32) (result i32)
    (if (call $fdstat (local.get $fd) (i32.const 64)) (then unreachable))
    (i32.and (i32.load16_u (i32.const 66)) (i32.const 4)))
  (func (export "_start") (local $listener i32)
    (if (call $open (i32.const 1) (i32.const 2) (i32.const 4)) (then unreachable)) ;; IPv4, stream
    (local.set $listener (i32.load (i32.const 4)))
    (i32.store (i32.const 8) (i32.const 16)) ;; the address: 4 bytes at 16
    (i32.store (i32.const 12) (i32.const 4))
    (if (call $bind (local.get $listener) (i32.const 8) (i32.const PORT)) (then unreachable))
    (if (call $listen (local.get $listener) (i32.const 8)) (then unreachable))
    (if (call $accept (local.get $listener) (i32.const 4) (i32.const 4)) (then unreachable)) ;; with NONBLOCK
    (call $digit (call $flags (i32.load (i32.const 4))))
    (call $digit (call $flags (local.get $listener)))
    (call $digit (call $accept (local.get $listener) (i32.const 0) (i32.const 4)))))
WAT
"$tmp/venv/bin/python" -c 'import sys, wasmtime; sys.stdout.buffer.write(wasmtime.wat2wasm(sys.stdin.read()))' \
    <"$tmp/accept.wat" >"$tmp/accept.wasm"
timeout 20 "${run[@]}" "$tmp/tree/usr/bin/wasmedge" "$tmp/accept.wasm" >"$tmp/seen" 2>"$tmp/log" &
guest=$!
for _ in {1..50}; do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done
wait $guest || { cat "$tmp/log" >&2; exit 1; }
seen=$(cat "$tmp/seen")
check "NONBLOCK of the accepted socket" 0 "${seen:0:1}"
check "NONBLOCK of the listener" 4 "${seen:1:1}"
check "a second accept, which should wait" 6 "${seen:2:1}"
