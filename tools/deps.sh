# SPDX-License-Identifier: BSD-3-Clause
# The Debian packages that building, testing and measuring twinax need, and how they get installed.
# Sourced by ./check, ./demo and bench/run.sh; POSIX sh.
#
#   deps_packages LIST...    the package names of these lists (build, test, cross, guest, tree, demo, bench)
#   deps_install LIST...     names what is missing, installs it as root or through sudo; 1 if it cannot

DEPS_LOG=${DEPS_LOG:-/dev/null}

# Debian's names carry an ABI number for DPDK's drivers and a version for clang's runtime: ask apt.
deps_newest() { # PREFIX [SUFFIX]: the highest-numbered package PREFIX<digits>SUFFIX, or nothing
	apt-cache pkgnames "$1" 2>/dev/null | sed -n "s/^$1\([0-9][0-9]*\)${2-}\$/\1 &/p" | sort -n | tail -1 | cut -d' ' -f2
}

deps_clang_runtime() {
	deps_v=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -1)
	[ -z "$deps_v" ] || echo "libclang-rt-$deps_v-dev"
}

deps_list() {
	case $1 in
	build) echo gcc libc6-dev linux-libc-dev make meson ninja-build pkgconf libjansson-dev liblzma-dev libzstd-dev libmnl-dev libseccomp-dev ;;
	test) echo libcmocka-dev libslirp-dev clang clang-format iproute2 acpica-tools "$(deps_clang_runtime)" ;;
	cross) echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user ;;
	demo) echo qemu-system-x86 busybox-static cpio dnsmasq-base debootstrap ;;
	guest) echo qemu-system-x86 qemu-utils busybox-static cpio dnsmasq-base iproute2 iperf3 slirp4netns user-mode-linux ethtool iputils-ping isc-dhcp-client ndisc6 samba smbclient curl traceroute bind9-dnsutils tshark nghttp2-server openssl python3 ipxe-qemu qemu-system-common vde2 \
		podman crun conmon uidmap rootlesskit \
		dpdk-dev "$(deps_newest librte-net-virtio)" "$(deps_newest librte-mempool-ring)" ;;
	tree) echo debootstrap ;;
	bench) echo iperf3 debootstrap passt slirp4netns ;;
	*) echo "deps: no list '$1'" >&2; return 1 ;;
	esac
}

deps_packages() {
	for deps_l in "$@"; do deps_list "$deps_l"; done | tr ' ' '\n' | grep . | sort -u | tr '\n' ' '
}

deps_missing() { # PACKAGE...: those that are not installed
	for deps_p in "$@"; do
		# shellcheck disable=SC2016 # a format of dpkg-query, not a variable
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$deps_p" 2>/dev/null)" = installed ] || echo "$deps_p"
	done
}

deps_root() { # CMD...: as root, or 1
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		return 1
	fi
}

deps_apt() {
	deps_root env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" >>"$DEPS_LOG" 2>&1 </dev/null
}

# A package that this release of Debian does not have is left out: whoever needs it will skip and say so.
deps_known() {
	for deps_p in "$@"; do
		if apt-cache show "$deps_p" >/dev/null 2>&1; then echo "$deps_p"; else echo "deps: $deps_p is not in this Debian" >&2; fi
	done
}

deps_install() {
	command -v apt-get >/dev/null 2>&1 || {
		echo "This is not a Debian system (no apt-get); install by yourself: $(deps_packages "$@")" >&2
		return 1
	}
	# Without package lists (a fresh container) the computed names below would come out empty.
	[ -n "$(apt-cache pkgnames meson 2>/dev/null)" ] || deps_refresh || return 1
	# shellcheck disable=SC2046
	deps_miss=$(deps_missing $(deps_packages "$@") | tr '\n' ' ')
	[ -n "$deps_miss" ] || return 0
	echo "Packages to install: $deps_miss"
	if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null 2>&1; then
		echo "Installing them takes root, and there is no sudo: run this as root, or first: apt-get install $deps_miss" >&2
		return 1
	fi
	# shellcheck disable=SC2046,SC2086
	deps_apt install -y --no-install-recommends $(deps_known $deps_miss) && return 0
	deps_refresh || return 1
	# shellcheck disable=SC2046,SC2086
	deps_apt install -y --no-install-recommends $(deps_known $deps_miss) && return 0
	echo "apt-get could not install: $deps_miss(see $DEPS_LOG)" >&2
	return 1
}

deps_refresh() {
	deps_apt update && return 0
	echo "apt-get update failed: no root rights, or no way to Debian's archive (see $DEPS_LOG)" >&2
	return 1
}
