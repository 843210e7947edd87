# Unpacking packages of another Debian suite without installing them: their C library may be newer than the machine's, so
# the libraries are unpacked too, and a launcher starts the program through the unpacked loader. Sourced by scripts that
# define say, die and as_root.
# shellcheck shell=bash

# The machine's Debian mirror: the source that has the suite of the running system itself, not its
# security updates or somebody else's packages.
find_debian_mirror() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016 # the words in $() are apt's own
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
        awk -v codename="$codename" '$2 == codename && $3 == "main" && !found++ { print $1 }'
}

# Makes an apt that knows only one suite, from the machine's own mirror and verified by the archive keyring, as apt
# always does. It believes that no package is installed, so that it fetches every dependency.
open_suite() { # SUITE FOLDER
    local suite=$1 folder=$2 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg tool
    for tool in apt-get dpkg; do
        command -v "$tool" >/dev/null || die "there is no $tool here to unpack Debian's packages with"
    done
    mirror=$(find_debian_mirror)
    if [[ -z $mirror ]]; then
        # A new machine's apt has no lists yet, and knows its sources only by them.
        say "fetching apt's lists"
        as_root apt-get update >&2
        mirror=$(find_debian_mirror)
    fi
    [[ -n $mirror ]] || die "apt knows no Debian mirror here"
    [[ -e $keyring ]] || die "there is no $keyring to verify the packages with: install debian-archive-keyring"
    mkdir -p "$folder"/{lists/partial,cache/archives/partial}
    : >"$folder/status"
    echo "deb [signed-by=$keyring target=Packages] $mirror $suite main" >"$folder/sources.list"
    suite_apt "$folder" update
}

suite_apt() { # FOLDER ARGUMENTS...
    local folder=$1
    apt-get -qq -o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$folder/lists" -o Dir::State::status="$folder/status" -o Dir::Cache="$folder/cache" \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o APT::Install-Recommends=false \
        -o Debug::NoLocking=1 "${@:2}" >&2
}

# Links libNAME.so.1.2.3 as libNAME.so.1.2 and libNAME.so.1. Some packages leave this to their installation.
link_libraries() { # FOLDER
    local library name
    for library in "$1/root"/usr/lib/*-linux-gnu/lib*.so.*.*; do
        name=$(basename "$library")
        while name=${name%.*} && [[ $name == *.so.* ]]; do
            [[ -e $(dirname "$library")/$name ]] || ln -s "$(basename "$library")" "$(dirname "$library")/$name"
        done
    done
}

# Writes FOLDER/bin/NAME, which starts FOLDER/root/PROGRAM with the C library it was unpacked with.
write_launcher() { # FOLDER PROGRAM
    local launcher
    launcher=$1/bin/$(basename "$2")
    link_libraries "$1"
    mkdir -p "$1/bin"
    sed "s|PROGRAM|$2|" >"$launcher" <<'EOF'
#!/bin/sh
# Starts the unpacked program with the C library it was unpacked with.
root=$(dirname "$(dirname "$(readlink -f "$0")")")/root
for loader in "$root"/usr/lib*/ld-linux-*.so.*; do break; done
for libraries in "$root"/usr/lib/*-linux-gnu; do break; done
exec "$loader" --library-path "$libraries" "$root/PROGRAM" "$@"
EOF
    chmod +x "$launcher"
}
