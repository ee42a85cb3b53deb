# shellcheck shell=bash
# Sourced by scripts/vmlab: builds netdevsim, the kernel's own simulated NIC, for the lab's kernel. Debian leaves it out of
# every kernel; the source package has it, the header packages build it, and a kernel without forced signatures loads it.
# Built once: the module (300 KB) stays in target/vmlab; the packages (170 MB) are thrown away.

# build_netdevsim LAB VERSION: 0 when the module is there.
build_netdevsim() {
    local lab=$1 version=$2 module=$1/kernel/lib/modules/$2/extra/netdevsim.ko
    [ -s "$module" ] && return
    need_package make make "builds netdevsim" && need_package gcc gcc "builds netdevsim" || return 1
    local base=${version%-amd64} packaged short work=$lab/netdevsim status=0
    packaged=$(dpkg-deb -f "$lab/linux-image-${version}"_*.deb Version) || return 1
    short=$(printf '%s' "$version" | cut -d. -f1,2)
    rm -rf "$work" && mkdir -p "$work/source" || return 1
    say "fetching the kernel's source (170 MB, once) and building netdevsim"
    # Step by step: `set -e` means nothing in a function that somebody asks for its status.
    {
        (cd "$work" && apt-get -qq download "linux-headers-$version=$packaged" "linux-headers-$base-common=$packaged" \
            "linux-kbuild-$base=$packaged" "linux-source-$short=$packaged") \
            && unpack_for_netdevsim "$work" "$version" "$base" \
            && make -s -j2 -C "$work/build/usr/src/linux-headers-$version" M="$work/source" modules \
            && mkdir -p "$(dirname "$module")" \
            && strip --strip-debug -o "$module.part" "$work/source/netdevsim.ko" \
            && mv "$module.part" "$module" \
            && depmod -b "$lab/kernel" "$version"
    } >"$lab/netdevsim.log" 2>&1 || status=1
    rm -rf "$work"
    [ "$status" = 0 ] || tail -n 5 "$lab/netdevsim.log" >&2
    return "$status"
}

# unpack_for_netdevsim WORK VERSION BASE: headers in WORK/build, the driver's source in WORK/source.
unpack_for_netdevsim() {
    local work=$1 headers=$1/build/usr/src/linux-headers-$2 package
    for package in "$work"/linux-headers-*.deb "$work"/linux-kbuild-*.deb; do dpkg -x "$package" "$work/build" || return 1; done
    echo "include $work/build/usr/src/linux-headers-$3-common/Makefile" >"$headers/Makefile" || return 1
    rm -f "$headers/vmlinux" # no BTF: that would need pahole
    dpkg-deb --fsys-tarfile "$work"/linux-source-*.deb | tar xO --wildcards '*.tar.xz' | xz -dc -T2 \
        | tar x -C "$work/source" --strip-components=4 --wildcards 'linux-source-*/drivers/net/netdevsim/*' || return 1
    # The driver's own Makefile, as one that builds a module out of tree: what this kernel's options leave out stays out.
    sed -e 's/obj-$(CONFIG_NETDEVSIM)/obj-m/' "$work/source/Makefile" >"$work/source/Kbuild"
}
