#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# abi_symbols.sh OURS THEIRS: everything that the system's libslirp exports, under the same version and soname, is in our
# library, which exports nothing else but what later versions of libslirp do.
set -u
ours=$1 theirs=$2
bad=0

symbols() { nm -D --defined-only --with-symbol-versions "$1" | awk '$2 != "A" { sub(/@@/, "@", $3); print $3 }' | sort; }
soname() { readelf -d "$1" | sed -n 's/.*SONAME.*\[\(.*\)\].*/\1/p'; }

a=$(soname "$ours") b=$(soname "$theirs")
[ "$a" = "$b" ] || { echo "soname $a, theirs $b"; bad=1; }
n=0
for s in $(symbols "$theirs"); do
	n=$((n + 1))
	symbols "$ours" | grep -qxF "$s" || { echo "missing: $s"; bad=1; }
done
[ "$n" -ge 20 ] || { echo "only $n symbols in $theirs"; bad=1; }
for s in $(symbols "$ours"); do
	symbols "$theirs" | grep -qxF "$s" && continue
	case $s in
	slirp_*@SLIRP_4.[89]) ;;
	*) echo "exported without need: $s"; bad=1 ;;
	esac
done
# One file that brings what it needs.
! readelf -d "$ours" | grep NEEDED | grep -E 'libtwinax|libglib|libslirp' || bad=1
exit $bad
