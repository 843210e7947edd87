# Installing Debian's packages, for the scripts `setup` here and in bench. Sourced, never run; setup is
# the name of who does so.
# shellcheck shell=bash

# shellcheck disable=SC2154
say() { echo "$setup: $*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root: $*"
    fi
}

apt_lists_are_fresh=no
apt_install() {
    command -v apt-get >/dev/null || die "no apt-get here; install $* by hand"
    say "installing $*"
    if [ "$apt_lists_are_fresh" = no ]; then
        as_root apt-get -qq -o DPkg::Lock::Timeout=600 update
        apt_lists_are_fresh=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 \
        install --no-install-recommends "$@" >/dev/null
}

# A broker's package starts it when it is installed and at every boot, mosquitto on the port that Wisp
# listens on by default. Asking invoke-rc.d to refuse keeps it from ever starting.
install_broker() { # PACKAGE, which has the name of its service
    local broker=$1 policy=/usr/sbin/policy-rc.d made_policy=no
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
        made_policy=yes
    fi
    local status=0
    (apt_install "$broker") || status=$?
    [ $made_policy = no ] || as_root rm -f $policy
    [ $status = 0 ] || exit $status
    if command -v systemctl >/dev/null; then
        # In a container without a running systemd this still removes the start at boot.
        as_root systemctl disable --quiet "$broker.service" 2>/dev/null || say "$broker may start at boot"
        [ ! -d /run/systemd/system ] || as_root systemctl stop "$broker.service"
    elif [ -x /usr/sbin/update-rc.d ]; then
        as_root /usr/sbin/update-rc.d "$broker" disable >&2
    fi
}

has() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ]; }
