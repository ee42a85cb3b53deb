# Sourced by the other scripts: finds tools, installs what is missing when it may, counts what it cannot have.
#
# Packages come from apt (as root, or through sudo when that asks no password), cargo tools from crates.io, spelling
# from PyPI into target/tools. Nothing is configured on the machine, and nothing of its own is replaced.

PATH="$PATH:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin"
tools=${CARGO_TARGET_DIR:-target}/tools
missing=()
apt_updated=

say() { printf '%s\n' "$*" >&2; }

strict() { [ "${NETBENCH_STRICT:-0}" = 1 ]; }

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif have sudo && sudo -n true 2>/dev/null; then sudo -n "$@"
    else return 1
    fi
}

# quietly LOG COMMAND...: the output is shown only when the command fails.
quietly() {
    local log=$tools/$1.log
    shift
    mkdir -p "$tools"
    "$@" >"$log" 2>&1 </dev/null || { tail -n 15 "$log" >&2; return 1; }
}

# need_package COMMAND PACKAGE WHY: the command is there, or is installed by apt, or is counted as missing.
need_package() {
    have "$1" && return 0
    if have apt-get && as_root true; then
        say "installing $2 ($3)"
        if [ -z "$apt_updated" ]; then quietly apt-update as_root apt-get update -q && apt_updated=1; fi
        quietly "apt-$2" as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$2" \
            && have "$1" && return 0
    fi
    missing+=("$1 ($3): install the package $2")
    return 1
}

# need_openvswitch: its programs, but not its service: tests start daemons of their own. The package would start it (and
# enable it for the next boot) from its installation script, which asks policy-rc.d first: for this one installation we
# answer no there, unless the machine has a policy of its own.
need_openvswitch() {
    have ovs-vswitchd && have ovs-ofctl && return 0
    local policy=/usr/sbin/policy-rc.d ours=
    if have apt-get && as_root true && [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy" && ours=1
    fi
    need_package ovs-vswitchd openvswitch-switch "Open vSwitch, run by tests in private namespaces"
    local status=$?
    [ -n "$ours" ] && as_root rm -f "$policy"
    if [ "$status" = 0 ] && [ -n "$ours" ] && have systemctl; then
        as_root systemctl disable --quiet openvswitch-switch.service 2>/dev/null || true
    fi
    return "$status"
}

# need_cargo_tool COMMAND CRATE WHY: the same from crates.io, built for a short build rather than for speed.
need_cargo_tool() {
    have "$1" && return 0
    say "installing $2 ($3); this is built from source once"
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        quietly "$2" cargo install "$2" --locked && have "$1" && return 0
    missing+=("$1 ($3): cargo install $2 --locked")
    return 1
}

# need_typos: the spelling checker, in an environment of its own under target/.
need_typos() {
    have typos && { typos=typos; return 0; }
    typos=$tools/venv/bin/typos
    [ -x "$typos" ] && return 0
    need_package python3 python3 "for the spelling checker" || return 1
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        have apt-get && as_root true && quietly apt-venv \
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3-venv
    fi
    say "installing typos (spelling) into $tools/venv"
    quietly venv python3 -m venv "$tools/venv" && quietly typos "$tools/venv/bin/pip" install -q typos \
        && [ -x "$typos" ] && return 0
    missing+=("typos (spelling): pip install typos")
    return 1
}
