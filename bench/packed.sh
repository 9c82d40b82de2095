#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Split rings against packed ones, with DPDK's virtio-user as the driver: frames that twinax carries in a second of its
# own CPU time, between two NICs on a hub. RUNS of each, alternating; the medians and their ratio. Both sides poll or
# copy as fast as they can, so that more than two busy processors elsewhere spoil it.
set -u
ROOT=$(cd "$(dirname "$0")/.." && pwd)
KIT_HERE=$ROOT/tools
# shellcheck source=../tools/guest-kit.sh
. "$KIT_HERE/guest-kit.sh"
TWINAX=${TWINAX:-$ROOT/build/twinax}
RUNS=${RUNS:-5}
SECONDS_EACH=${SECONDS_EACH:-4}
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
command -v dpdk-testpmd >/dev/null || { echo "packed.sh: dpdk-testpmd is not here"; exit 77; }

frames() { "$TWINAX" ctl "$T/q" query-stats | awk '/"frames"/ { gsub(/,/, "", $2); n += $2 } END { printf "%.0f\n", n }'; }
ticks() { awk '{ print $14 + $15 }' "/proc/$twinax/stat"; }

one() { # 0 or 1
	"$TWINAX" serve -qmp "unix:$T/q,server=on,wait=off" \
		-netdev hubport,id=h0,hubid=0 -device "virtio-net,id=nic0,netdev=h0,export=vhost-user:$T/0,packed=on" \
		-netdev hubport,id=h1,hubid=0 -device "virtio-net,id=nic1,netdev=h1,export=vhost-user:$T/1,packed=on" \
		>"$T/twinax.log" 2>&1 &
	twinax=$!
	sleep 1
	mkfifo "$T/in"
	KIT_TESTPMD_VDEV=packed_vq=$1 kit_testpmd "$T/0" "$T/1" <"$T/in" >"$T/testpmd.log" 2>&1 &
	testpmd=$!
	exec 7>"$T/in"
	for _ in $(seq 100); do grep -q 'testpmd>' "$T/testpmd.log" && break; sleep 0.2; done
	echo 'start tx_first 8' >&7
	sleep 2
	frames_0=$(frames) ticks_0=$(ticks)
	sleep "$SECONDS_EACH"
	frames_1=$(frames) ticks_1=$(ticks)
	echo quit >&7
	wait "$testpmd"
	exec 7>&-
	kill "$twinax"
	wait "$twinax"
	rm "$T/in"
	awk "BEGIN { t = $ticks_1 - $ticks_0; print t ? ($frames_1 - $frames_0) * $(getconf CLK_TCK) / t : 0 }" >>"$T/form.$1"
}

median() { sort -n "$T/form.$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for _ in $(seq "$RUNS"); do
	one 0
	one 1
done
awk "BEGIN { printf \"split %.2f, packed %.2f million frames in a CPU second, ratio %.2f\n\", $(median 0) / 1e6, $(median 1) / 1e6, $(median 1) / $(median 0) }"
