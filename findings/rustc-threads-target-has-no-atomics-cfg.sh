#!/usr/bin/env bash
# On wasm32-wasip1-threads cfg(target_feature = "atomics") is false, though every module for it has atomics, shared memory and threads.
#
# Version: rustc 1.95.0 (the toolchain on the PATH; any stable one can be tried), with the target's standard library.
# Guess:   code under cfg(target_feature = "atomics") is compiled for the WebAssembly target that has threads, and left out for the one
#          that has none, as crates for threads in the browser do on nightly.
# Happens: the feature is unstable, and a stable compiler hides unstable features from cfg. So the code is left out on both targets, without
#          a warning, and a program quietly runs without its threads. The module has +atomics in its section target_features.
# Source:  https://doc.rust-lang.org/rustc/platform-support/wasm32-wasip1-threads.html;
#          https://github.com/rust-lang/rust/issues/77839 (the unstable feature)
# Seen:    rustc 1.95.0
#          cfg(target_feature = "atomics"): false, module: +atomics
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

target=wasm32-wasip1-threads
rustup target list --installed 2>/dev/null | grep -qx $target || rustup target add $target
cat >"$tmp/claim.rs" <<'RS'
fn main() {
    std::thread::spawn(|| println!("{}", if cfg!(target_feature = "atomics") { "CFG-IS-TRUE" } else { "CFG-IS-FALSE" })).join().unwrap();
}
RS
rustc --version | cut -d' ' -f1,2
RUSTC_BOOTSTRAP=0 rustc --edition 2024 --target $target -o "$tmp/claim.wasm" "$tmp/claim.rs"
has() { grep -qa -- "$1" "$tmp/claim.wasm"; }
cfg=unknown module=unknown
if has CFG-IS-TRUE; then cfg=true; elif has CFG-IS-FALSE; then cfg=false; fi
# A plus and the length of the name, as the convention of the tools for WebAssembly writes a feature that is used.
if has "$(printf '+\x07atomics')"; then module=+atomics; fi
seen="cfg(target_feature = \"atomics\"): $cfg, module: $module"
echo "$seen"
[ "$seen" = 'cfg(target_feature = "atomics"): false, module: +atomics' ] || { echo 'the behaviour changed' >&2; exit 1; }
