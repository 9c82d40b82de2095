#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The libraries of an arm64 Debian in a folder, to cross-build against: tools/arm64-root.sh FOLDER [CROSSFILE]
#
# apt works on lists and settings of its own in there, so the system's architectures and packages stay
# as they are. With CROSSFILE, also writes what meson needs to build with them and to run the tests
# under qemu-aarch64.
set -eu
root=${1:?usage: tools/arm64-root.sh FOLDER [CROSSFILE]}
cross=${2:-}
triplet=aarch64-linux-gnu

if [ ! -e "$root/.complete" ]; then
	mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial" "$root/apt/etc"
	root=$(cd "$root" && pwd)
	: >"$root/apt/status"
	cd "$root/apt/archives"
	set -- -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$root/apt" \
		-o Dir::State::status="$root/apt/status" -o Dir::State::lists="$root/apt/lists" -o APT::Sandbox::User=root
	apt-get "$@" update
	apt-get "$@" download libjansson-dev libjansson4 libcmocka-dev libcmocka0 ||
		apt-get "$@" download libjansson-dev libjansson4 libcmocka-dev libcmocka0t64
	for deb in *.deb; do dpkg -x "$deb" "$root"; done
	cd /
	rm -rf "$root/apt"
	touch "$root/.complete"
fi
root=$(cd "$root" && pwd)

[ -n "$cross" ] || exit 0
cat >"$cross" <<-END
	[binaries]
	c = '$triplet-gcc'
	ar = '$triplet-ar'
	strip = '$triplet-strip'
	pkgconfig = 'pkg-config'
	exe_wrapper = ['qemu-aarch64', '-L', '/usr/$triplet', '-E', 'LD_LIBRARY_PATH=$root/usr/lib/$triplet']
	[properties]
	needs_exe_wrapper = true
	sys_root = '$root'
	pkg_config_libdir = '$root/usr/lib/$triplet/pkgconfig'
	[built-in options]
	c_link_args = ['-Wl,-rpath-link,$root/usr/lib/$triplet']
	[host_machine]
	system = 'linux'
	cpu_family = 'aarch64'
	cpu = 'aarch64'
	endian = 'little'
END
