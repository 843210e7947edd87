# Shared by the scripts of this folder: names, versions, places. Sourced, never run.
# shellcheck shell=bash disable=SC2034

WASMER_VERSION=7.4.2
# Wasmtime's long-term line that has wasi-threads: the wheel that is fetched, the newest patch, which
# is built where no wheel can be had, and the versions on PATH that are taken instead of both.
WASMTIME_WHEEL=36.0.9
WASMTIME_SOURCE=36.0.20
WASMTIME_OLDEST=25
WASMTIME_NEWEST=46
# For WASI 0.2, which needs no threads, it is the newest wheel, the newest release that the oldest
# supported compiler builds, and any later version on PATH.
WASMTIME_WASIP2_WHEEL=49.0.4
WASMTIME_WASIP2_SOURCE=48.0.8
WASMTIME_WASIP2_OLDEST=36
WASMEDGE_VERSION=0.14.1
# It compiles the C of dependencies for modules. Its C library is the source of the packages' one: the last version with an
# allocator written in C.
ZIGLANG_VERSION=0.15.2

# Wasmer is the last because it takes longest to install.
WASM_HOSTS=(wasip1 wasmedge wasip2 wasix)
# The targets that both toolchains have. The packages' one lacks wasm32-wasip2, whose C library nothing provides.
WASM_TARGETS=(wasm32-wasip1-threads wasm32-wasip1)

targets_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo_root=$(dirname "$targets_dir")
modules_dir=$repo_root/target/wasm
cache_dir=${XDG_CACHE_HOME:-$HOME/.cache}/wisp

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$@"; exit 1; }

# The hosts by their own names, or by the runtime's.
host_name() {
  case $1 in
    wasix | wasmer) echo wasix ;;
    wasip1 | wasmtime) echo wasip1 ;;
    wasmedge | wasip2) echo "$1" ;;
    *) die "unknown host '$1': wasix (Wasmer), wasip1 (Wasmtime), wasmedge or wasip2" ;;
  esac
}

# What a module for a host is compiled for; `plain` stands for any of them.
host_target() {
  case $1 in
    wasmedge | plain) echo wasm32-wasip1 ;;
    wasip2) echo wasm32-wasip2 ;;
    *) echo wasm32-wasip1-threads ;;
  esac
}

# The host's folder here: the runtime's name, but wasip2 for the second host under Wasmtime.
host_runtime() {
  case $1 in
    wasix) echo wasmer ;;
    wasip1) echo wasmtime ;;
    *) echo "$1" ;;
  esac
}

# The name of the runtime's program.
host_program() {
  case $1 in
    wasip2) echo wasmtime ;;
    *) host_runtime "$1" ;;
  esac
}

module_file() { # NAME HOST|plain
  case $2 in
    plain) echo "$modules_dir/$1.wasm" ;;
    *) echo "$modules_dir/$1-$2.wasm" ;;
  esac
}

# The file of an ahead-of-time compiled module: each runtime has a name of its own for it.
aot_file() { # HOST MODULE.wasm
  case $1 in
    wasix) echo "${2%.wasm}.wasmu" ;;
    wasip1 | wasip2) echo "${2%.wasm}.cwasm" ;;
    # Not WasmEdge's other format, the module with machine code added: it is written wrongly for code
    # that calls fmin or fmax, and then interpreted.
    wasmedge) echo "${2%.wasm}.so" ;;
  esac
}

# The C compiler for modules.
zig_folder=$cache_dir/ziglang-$ZIGLANG_VERSION
zig=$zig_folder/ziglang/zig

# Installs it, unless that has been done.
install_zig() {
  [[ ! -x $zig ]] || return 0
  python3 -m pip --version >/dev/null 2>&1 || install_packages python3-pip
  say "installing ziglang $ZIGLANG_VERSION into $zig_folder (90 MB)"
  local work
  mkdir -p "$cache_dir"
  work=$(mktemp -d "$zig_folder.XXXXXX")
  python3 -m pip install --quiet --no-deps --target "$work" "ziglang==$ZIGLANG_VERSION" >&2
  # Another process may have been as far a moment ago.
  [[ -x $zig ]] || mv "$work" "$zig_folder"
  rm -rf "$work"
}

# Runs a command as root, directly or through sudo; fails where there is neither.
as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "this needs root, and there is no sudo: $*"
  fi
}

# True if the sysroot has the standard library of the targets; without targets, of all in WASM_TARGETS.
has_wasm_std() { # SYSROOT [TARGET...]
  local sysroot=$1 target
  shift
  (($#)) || set -- "${WASM_TARGETS[@]}"
  for target; do
    compgen -G "$sysroot/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null || return 1
  done
}

# Where the packages' compiler keeps the standard library that `toolchain` built for it. The key
# has everything that goes in: the compiler, the C library's source, the shim.
packages_sysroot() {
  local shim
  shim=$(cat "$targets_dir/sysroot" "$targets_dir"/shim/* | sha256sum | cut -c1-12)
  echo "$cache_dir/sysroot-$(/usr/bin/rustc --version | cut -d' ' -f2)-zig-$ZIGLANG_VERSION-$shim"
}

# Sets WASM_KIND, WASM_CARGO and WASM_RUSTC (and WASM_SYSROOT, for the packages' compiler) to a
# toolchain that has the targets; fails if there is none yet. WISP_WASM_TOOLCHAIN=rustup|packages
# rules the other out.
find_toolchain() {
  local wanted=${WISP_WASM_TOOLCHAIN:-any} sysroot
  if [[ $wanted != packages ]] && command -v rustc >/dev/null; then
    sysroot=$(cd "$repo_root" && rustc --print sysroot)
    if has_wasm_std "$sysroot"; then
      WASM_KIND=rustup WASM_CARGO=cargo WASM_RUSTC=rustc WASM_SYSROOT=
      return 0
    fi
  fi
  if [[ $wanted != rustup && -x /usr/bin/rustc && -x /usr/bin/cargo && -x /usr/bin/rust-lld ]]; then
    sysroot=$(packages_sysroot)
    if has_wasm_std "$sysroot"; then
      WASM_KIND=packages WASM_CARGO=/usr/bin/cargo WASM_RUSTC=/usr/bin/rustc WASM_SYSROOT=$sysroot
      return 0
    fi
  fi
  return 1
}

# True if the toolchain that was found builds modules for a host.
builds_host() { # HOST
  [[ $1 != wasip2 ]] || { [[ $WASM_KIND == rustup ]] && has_wasm_std "$(cd "$repo_root" && rustc --print sysroot)" wasm32-wasip2; }
}

# The hosts that a script works for when none is named: all that the toolchain builds modules for.
default_hosts() {
  local host any=false
  find_toolchain || any=true
  for host in "${WASM_HOSTS[@]}"; do
    if $any || builds_host "$host"; then
      echo "$host"
    else
      say "without $host: the toolchain has no standard library for $(host_target "$host")"
    fi
  done
}

# The most memory a module may ever have: one page short of 4 GiB, since at 4 GiB the C library's
# sbrk would count the memory's size as zero. It is address space only; what is used is bounded by
# the broker's own limits.
MEMORY_BYTES_MAX=$((65535 * 65536))

# rustc's options for a module, beyond its target. All three runtimes have had bulk memory for years;
# SIMD, which they have too, made no difference that could be measured.
module_flags() { # HOST|plain
  local host=
  [[ $1 == plain ]] || host="--cfg wisp_host=\"$1\""
  echo "$host -C target-feature=+bulk-memory" \
    "-C link-arg=--max-memory=$MEMORY_BYTES_MAX${WASM_SYSROOT:+ --sysroot $WASM_SYSROOT}"
}

# Where this project installs a host's runtime itself. WISP_WASMTIME=wheel|source rules the other out.
runtime_folders() {
  case $1 in
    wasix) echo "$cache_dir/wasmer-$WASMER_VERSION" ;;
    wasip1)
      [[ ${WISP_WASMTIME:-any} == wheel ]] || echo "$cache_dir/wasmtime-$WASMTIME_SOURCE"
      [[ ${WISP_WASMTIME:-any} == source ]] || echo "$cache_dir/wasmtime-$WASMTIME_WHEEL"
      ;;
    wasmedge) echo "$cache_dir/wasmedge-$WASMEDGE_VERSION" ;;
    wasip2)
      [[ ${WISP_WASMTIME:-any} == source ]] || echo "$cache_dir/wasmtime-$WASMTIME_WASIP2_WHEEL"
      [[ ${WISP_WASMTIME:-any} == wheel ]] || echo "$cache_dir/wasmtime-$WASMTIME_WASIP2_SOURCE"
      ;;
  esac
}

runtime_version() { # PROGRAM
  local version
  version=$("$1" --version 2>/dev/null | grep -Eo '[0-9]+\.[0-9]+\.[0-9]+') && echo "${version%%$'\n'*}"
}

# True if a runtime of this version runs this project's modules: what is tried is taken, and so is
# what only adds to it. Wasmtime 47 has no wasi-threads; an older Wasmer has another WASIX.
suitable_version() { # HOST VERSION
  local major minor
  IFS=. read -r major minor _ <<<"$2"
  case $1 in
    wasix) ((major == 7 && minor >= 4)) ;;
    wasip1) ((major >= WASMTIME_OLDEST && major <= WASMTIME_NEWEST)) ;;
    wasmedge) ((major == 0 && minor >= 14)) ;;
    wasip2) ((major >= WASMTIME_WASIP2_OLDEST)) ;;
  esac
}

# Wasmtime's option for threads; since 40 the shared memory that they need is an option of its own.
wasmtime_threads() { # PROGRAM
  local version
  version=$(runtime_version "$1")
  if ((${version%%.*} < 40)); then
    echo threads=y
  else
    echo threads=y,shared-memory=y
  fi
}

# Prints the path of a host's runtime; fails if there is none that fits.
find_runtime() { # HOST
  local runtime folders programs program version
  runtime=$(host_program "$1")
  mapfile -t folders < <(runtime_folders "$1")
  programs=("$(command -v "$runtime")" "${folders[@]/%//bin/$runtime}")
  for program in "${programs[@]}"; do
    if [[ -x $program ]] && version=$(runtime_version "$program") && suitable_version "$1" "$version"; then
      echo "$program"
      return 0
    fi
  done
  return 1
}

# True if WasmEdge runs a module that it has compiled in the interpreter, tens of times slower, as it
# does where it cannot use the machine code. All it does then is print a line, which asking the module
# for a function that it does not have shows without starting the program.
wasmedge_interprets() { # PROGRAM COMPILED
  [[ $("$1" --reactor "$2" no-such-function 2>&1) == *"interpreter mode"* ]]
}

# Installs Debian packages; says what is missing where it cannot.
install_packages() {
  command -v apt-get >/dev/null || die "please install these, or what they are called here: $*"
  say "installing $*"
  # Something else may be installing packages at this moment.
  as_root apt-get -o DPkg::Lock::Timeout=600 update >&2
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "$@" >&2
}

# Reads the arguments that the `run` scripts share, `[OPTIONS] ADDR:PORT [FLAGS...]`, and sets what they
# start: runtime, mode, module, address and flags. WISP_MODULE names another program than wisp-broker;
# one that does not listen is started with `[OPTIONS] -- ARGUMENTS...`, and then address is empty and
# all its arguments are flags.
read_run_arguments() { # HOST ARGUMENTS...
  local host=$1
  mode=aot print=false
  shift
  while (($#)); do
    case $1 in
      --mode) mode=${2:-}; shift; (($# == 0)) || shift ;;
      --mode=*) mode=${1#*=}; shift ;;
      --jit) mode=jit; shift ;;
      --print) print=true; shift ;;
      *) break ;;
    esac
  done
  case ${1:-} in
    --) address= flags=("${@:2}") ;;
    *:*) address=$1 flags=(--listen "$1" "${@:2}") ;;
    *)
      echo "usage: wasm-targets/$(host_runtime "$host")/run [OPTIONS] ADDR:PORT [wisp-broker's flags...]" >&2
      echo "       WISP_MODULE=wisp wasm-targets/$(host_runtime "$host")/run [OPTIONS] -- [its arguments...]" >&2
      echo "options: --mode $(host_modes "$host"), --jit for --mode jit, --print" >&2
      exit 2
      ;;
  esac
  case "|$(host_modes "$host")|" in
    *"|$mode|"*) ;;
    *) die "$(host_runtime "$host") has no mode '$mode': use $(host_modes "$host")" ;;
  esac
  runtime=$(find_runtime "$host") || die "there is no $(host_runtime "$host"): run wasm-targets/runtimes $host"
  module=$modules_dir/${WISP_MODULE:-wisp-broker}-$host.wasm
  [[ -e $module ]] || die "there is no $module: run wasm-targets/build $host"
  [[ $mode == aot ]] || return 0
  local compiled
  compiled=$(aot_file "$host" "$module")
  # An older file would silently be another broker than the one just built.
  [[ $compiled -nt $module ]] || die "$compiled is missing or older than its module: run wasm-targets/aot $host, or use --jit"
  module=$compiled
}

# How a runtime can run a module: compiled ahead of time by `aot`, which is what `run` does unless
# told otherwise, compiled at the start, or interpreted.
host_modes() {
  case $1 in
    wasmedge) echo 'aot|jit|interpreted' ;;
    *) echo 'aot|jit' ;;
  esac
}

# Becomes the command. With --print it is printed instead, each word ended by a zero byte, for
# callers that time the start: what is looked up here takes longer than some runtimes start.
launch() { # COMMAND [ARGUMENTS...]
  $print || exec "$@"
  printf '%s\0' "$@"
}

# The guest is granted no folder for its configuration. The file that --config, or else WISP_CONFIG, names
# is opened here and handed in as standard input, which the guest is told to read. Sets config to a name
# under which the file can be read again, or to nothing.
hand_in_config() {
  local at
  config=
  [[ ${WISP_MODULE:-wisp-broker} == wisp-broker ]] || return 0
  for ((at = 0; at < ${#flags[@]}; at++)); do
    case ${flags[at]} in
      --config)
        ((at + 1 < ${#flags[@]})) || break
        config=${flags[at + 1]} flags[at + 1]=-
        ;;
      --config=*) config=${flags[at]#*=} flags[at]=--config=- ;;
    esac
  done
  if [[ -z $config && -n ${WISP_CONFIG:-} ]]; then
    config=$WISP_CONFIG
    export WISP_CONFIG=-
  fi
  [[ -n $config ]] || return 0
  ! $print || die "a command that is printed cannot hand in $config"
  if [[ $config == - ]]; then
    # Kept in a file without a name, since it is read twice.
    config=$(mktemp)
    cat >"$config"
    exec {handed_in}<"$config"
    rm "$config"
    config=/dev/fd/$handed_in
  fi
  if [[ ! -r $config || -d $config ]]; then
    say "cannot read $config"
    exit 2
  fi
  exec <"$config"
}

# Asks the guest itself what its file, the environment and the flags name, so that they have one parser, and grants it
# the folders of the files. The script has the functions `guest`, which starts the guest, and `grant`, which adds a
# folder to the options for it. Sets needs to the answer, a line for each: `listener ADDR:PORT`, `workers N`,
# `file PATH` and `data FOLDER`, which `grant_writable` adds to the options. Ends with the guest's message and status if
# something is wrong. Without any file there is nothing to ask: needs stays empty.
ask_needs() {
  local at mosquitto= flag_needs='-file|--admin|--data-dir'
  needs=
  [[ ${WISP_MODULE:-wisp-broker} == wisp-broker ]] || return 0
  for ((at = 0; at < ${#flags[@]}; at++)); do
    case ${flags[at]} in
      --mosquitto-config) mosquitto=${flags[at + 1]:-} ;;
      --mosquitto-config=*) mosquitto=${flags[at]#*=} ;;
    esac
  done
  if [[ -n $config$mosquitto || ${flags[*]} =~ $flag_needs || -n ${WISP_PASSWORD_FILE:-}${WISP_ACL_FILE:-}${WISP_ADMIN:-}${WISP_DATA_DIR:-} ]]; then
    # It may include a folder, so it cannot be handed in.
    [[ -z $mosquitto ]] || grant_once "$(dirname "$mosquitto")"
    needs=$(guest "${flags[@]}" --print-needs <"${config:-/dev/null}") || exit
    if [[ $needs == folder\ * ]]; then
      while read -r folder; do grant_once "$folder"; done < <(sed -n 's/^folder //p' <<<"$needs")
      needs=$(guest "${flags[@]}" --print-needs) || exit
    fi
  fi
  while read -r folder; do grant_once "$folder"; done < <(sed -n 's/^file //p' <<<"$needs" | while read -r file; do dirname "$file"; done)
  while read -r folder; do
    # It is made if its parent is there.
    [[ -e $folder ]] || mkdir "$folder" || exit
    grant_writable "$folder"
  done < <(sed -n 's/^data //p' <<<"$needs")
}

# Grants a folder that the guest writes to. A script whose runtime tells the two apart has a function of its own.
grant_writable() { grant "$1"; }

# Grants a folder, unless that has been done.
declare -A granted=()
grant_once() { # FOLDER
  if [[ ! -d $1 ]]; then
    say "cannot read the folder $1"
    exit 2
  fi
  [[ -z ${granted[$1]:-} ]] || return 0
  granted[$1]=yes
  grant "$1"
}

# Appends to the runtime's options the variables that go on into the sandbox: the project's own and
# RUST_BACKTRACE. The rest of the environment is none of the guest's business.
add_guest_environment() {
  local name
  for name in $(compgen -e); do
    case $name in
      RUST_BACKTRACE | WISP_*) options+=(--env "$name=${!name}") ;;
    esac
  done
}

# Prints the path of a program of tools/, built first if that has not been done.
tool() { # NAME
  local source_file=$targets_dir/tools/$1.rs program=$modules_dir/tools/$1
  if [[ ! -x $program || $source_file -nt $program ]]; then
    mkdir -p "$modules_dir/tools"
    rustc --edition 2024 -O -o "$program.$$" "$source_file" >&2
    mv "$program.$$" "$program"
  fi
  echo "$program"
}
