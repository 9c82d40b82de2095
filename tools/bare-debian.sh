#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Runs a command of this project as a new user would, in a bare Debian: tools/bare-debian.sh bookworm|trixie COMMAND...
#
# The tree (debootstrap, minbase: no make, no compiler) is made once under the cache folder and copied
# for each run; the project is cloned into it from the last commit. Needs root. Everything is mounted in
# a mount namespace of its own and gone with it.
set -eu
suite=${1:?usage: tools/bare-debian.sh bookworm|trixie COMMAND...}
shift
[ $# -gt 0 ] || set -- ./demo
here=$(cd "$(dirname "$0")/.." && pwd)
cache=${TWINAX_CACHE:-/var/cache/twinax}
base=$cache/bare-$suite
run=$cache/run-$suite.$$ # two at a time do not meet
[ "$(id -u)" = 0 ] || { echo "bare-debian: needs root (debootstrap and chroot)" >&2; exit 77; }
command -v debootstrap >/dev/null || { echo "bare-debian: install the package debootstrap" >&2; exit 77; }

# The mirror of this machine's own apt sources.
mirror=$(awk '/^URIs/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources 2>/dev/null ||
	awk '$1 == "deb" {print $2; exit}' /etc/apt/sources.list)

mkdir -p "$cache"
if [ ! -e "$base/.complete" ]; then
	rm -rf "$base"
	echo "bare-debian: debootstrap of $suite"
	debootstrap --variant=minbase "$suite" "$base" "$mirror" >"$cache/bare-$suite.log" 2>&1
	cp -r /etc/apt/apt.conf.d/. "$base/etc/apt/apt.conf.d/"
	touch "$base/.complete"
fi
cp -a "$base" "$run"
git clone -q "$here" "$run/root/twinax"
status=0
# Not chroot: the guest tests make mount namespaces of their own, which takes a root that is a mount point.
unshare -m sh -euc '
	run=$1; shift
	mount --make-rprivate /
	mount --bind "$run" "$run"
	for x in proc sys dev; do mount --rbind "/$x" "$run/$x"; done
	mount -t tmpfs run "$run/run"
	# what a machine has and a bare tree lacks: its resolver, and its own name
	cp -L /etc/resolv.conf "$run/etc/resolv.conf" 2>/dev/null || true
	[ -e "$run/etc/hosts" ] || echo "127.0.0.1 localhost" >"$run/etc/hosts"
	cd "$run"
	mkdir -p old
	pivot_root . old
	umount -l /old
	rmdir /old
	cd /root/twinax
	exec "$@"
' sh "$run" "$@" || status=$?
rm -rf --one-file-system "$run"
exit $status
