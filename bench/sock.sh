#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# bench/sock.sh: what the socket backends cost per frame, beside QEMU's own and beside bare system calls, in one run.
#
# twinax and QEMU (the system's, and a newer one where it is there) stand with the same backends on the same hubs,
# without a guest, and are fed by the same program (sock_feed.c), which reads the CPU time of the process. The library
# beside bare system calls is sock_backends.c. The runs alternate; medians are printed, and build/bench-sock.json
# has them too. All of it happens in a network namespace of its own.
#
# SOCK_RUNS (3) runs of SOCK_MS (300) milliseconds for each work; BUILD (build) holds the programs.
set -u
ROOT=${ROOT:-$(cd "$(dirname "$0")/.." && pwd)}
BUILD=${BUILD:-$ROOT/build}
RUNS=${SOCK_RUNS:-3}
MS=${SOCK_MS:-300}
# shellcheck disable=SC2034 # for the kit
KIT_HERE=$ROOT/tools
# shellcheck source=../tools/guest-kit.sh
. "$ROOT/tools/guest-kit.sh"
[ -x "$BUILD/bench/sock_feed" ] || { echo "sock: no program at $BUILD/bench/sock_feed: run make first" >&2; exit 1; }

if [ -z "${SOCK_INSIDE:-}" ]; then
	kit_cache
	SOCK_INSIDE=1
	export SOCK_INSIDE ROOT BUILD KIT_CACHE
	if [ "$(id -u)" = 0 ]; then s_user=; else s_user=-r; fi
	# shellcheck disable=SC2086
	exec unshare $s_user -n -m -p --fork --kill-child --mount-proc sh "$0" "$@"
fi
T=$(mktemp -d "${TMPDIR:-/tmp}/twinax-sock.XXXXXX") || exit 1
trap 'rm -rf "$T"' EXIT
trap 'exit 1' INT TERM
ip link set lo up
echo 512 >/proc/sys/net/unix/max_dgram_qlen 2>/dev/null # a burst of unix datagrams fits
: >"$T/results"

# --- the processes ---------------------------------------------------------------------------------------------------

netdevs() { # NAME PORT
	echo "-netdev stream,id=i1,server=on,addr.type=unix,addr.path=$T/$1/in1
		-netdev stream,id=i2,server=on,addr.type=unix,addr.path=$T/$1/in2
		-netdev stream,id=i3,server=on,addr.type=unix,addr.path=$T/$1/in3
		-netdev stream,id=o2,server=on,addr.type=unix,addr.path=$T/$1/out2"
	s_to=remote.type=inet,remote.host=127.0.0.1,remote.port
	s_at=local.type=inet,local.host=127.0.0.1,local.port
	echo "-netdev dgram,id=o3,$s_at=$(($2 + 1)),$s_to=$(($2 + 2))
		-netdev dgram,id=i4,$s_at=$(($2 + 3)),$s_to=$(($2 + 4))"
	for s_h in 1:i1 2:i2 2:o2 3:i3 3:o3 4:i4; do
		echo "-netdev hubport,id=h${s_h#*:},hubid=${s_h%:*},netdev=${s_h#*:}"
	done
	# A hub port without a peer takes what it is given.
	echo "-netdev hubport,id=null1,hubid=1 -netdev hubport,id=null4,hubid=4"
}

start() { # NAME PORT PROGRAM ARG...
	s_n=$1 s_p=$2
	shift 2
	mkdir "$T/$s_n"
	# shellcheck disable=SC2046 # words are wanted
	"$@" $(netdevs "$s_n" "$s_p") </dev/null >"$T/$s_n.log" 2>&1 &
	echo $! >"$T/$s_n.pid"
	s_left=100
	until [ -S "$T/$s_n/out2" ] && [ -S "$T/$s_n/in3" ]; do
		s_left=$((s_left - 1))
		[ $s_left -gt 0 ] && kill -0 "$(cat "$T/$s_n.pid")" 2>/dev/null ||
			{ echo "sock: $s_n does not start: $(cat "$T/$s_n.log")" >&2; return 1; }
		sleep 0.1
	done
	peers="$peers $s_n"
}

qemu_version() { "$1" --version 2>/dev/null | sed -n 's/.*version \([0-9]*\.[0-9]*\).*/\1/p'; }

peers=
bare_qemu="-machine none -nodefaults -no-user-config -display none"
start twinax 7100 "$BUILD/twinax" serve -quiet || exit 1
# shellcheck disable=SC2086 # words are wanted
if command -v qemu-system-x86_64 >/dev/null; then
	start qemu 7200 qemu-system-x86_64 $bare_qemu && QEMU_VERSION=$(qemu_version qemu-system-x86_64)
else
	echo "sock: no QEMU to compare with: install qemu-system-x86" >&2
fi
# shellcheck disable=SC2086
if kit_newer_qemu "$T/newer-qemu" && [ "$KIT_QEMU" = "$T/newer-qemu" ]; then
	start newer 7300 "$T/newer-qemu" $bare_qemu && NEWER_VERSION=$(qemu_version "$T/newer-qemu")
fi

# --- runs ------------------------------------------------------------------------------------------------------------

port_of() { case $1 in twinax) echo 7100 ;; qemu) echo 7200 ;; *) echo 7300 ;; esac; }

s_r=0
while [ $s_r -lt "$RUNS" ]; do
	s_r=$((s_r + 1))
	for s_n in $peers; do
		"$BUILD/bench/sock_feed" "$T/$s_n" "$(port_of "$s_n")" "$(cat "$T/$s_n.pid")" "$MS" | sed "s/^/$s_n /" >>"$T/results"
	done
	"$BUILD/bench/sock_backends" | sed 's/^/lib-/' >>"$T/results"
done

# --- the table -------------------------------------------------------------------------------------------------------

awk -v runs="$RUNS" -v qemu="${QEMU_VERSION:-}" -v newer="${NEWER_VERSION:-}" -v json="$BUILD/bench-sock.json" \
	-v host="$(uname -r), $(nproc) CPUs, load $(cut -d' ' -f1 /proc/loadavg)" '
	function median(key,   n, i, j, t, a) {
		n = split(v[key], a, " ")
		for (i = 2; i <= n; i++) for (j = i; j > 1 && a[j - 1] + 0 > a[j] + 0; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
		return n ? a[int((n + 1) / 2)] : "-"
	}
	function ratio(a, b) { return a == "-" || b == "-" || b <= 0 ? "-" : sprintf("%.2f", a / b) }
	function verdict(r, bar) { return r == "-" ? "" : sprintf("%.2f: %s", bar, r <= bar ? "pass" : "short") }
	function out(text) { printf "%s%s\n", text, "" > json }
	NF == 4 { v[$1 " " $2 " " $3] = v[$1 " " $2 " " $3] " " $4 }
	NF == 5 { v[$1 " " $2 " " $3 " " $4] = v[$1 " " $2 " " $3 " " $4] " " $5 }
	END {
		print "socket backends, bursts of 64, ns of CPU a frame; medians of " runs " alternating runs; " host
		printf "%-22s %8s %9s %7s %9s %7s   %s\n", "without a guest", "twinax", qemu ? "QEMU " qemu : "no QEMU", "ratio", \
			newer ? "QEMU " newer : "", newer ? "ratio" : "", "bar"
		out("{\n  \"host\": \"" host "\", \"runs\": " runs ", \"qemu\": \"" qemu "\", \"newer_qemu\": \"" newer "\",\n  \"processes\": [")
		n = split("stream-send stream-receive dgram-send dgram-receive", works, " ")
		for (w = 1; w <= n; w++) for (l = 60; l <= 1514; l += 1454) {
			us = median("twinax " works[w] " " l); q = median("qemu " works[w] " " l); m = median("newer " works[w] " " l)
			bar = works[w] == "stream-send" ? 0.25 : works[w] == "stream-receive" ? 0.67 : 0
			printf "%-22s %8s %9s %7s %9s %7s   %s\n", works[w] " " l, us, q, ratio(us, q), newer ? m : "", newer ? ratio(us, m) : "", \
				bar ? verdict(ratio(us, q), bar) : ""
			out(sprintf("    { \"work\": \"%s\", \"length\": %d, \"twinax\": %s, \"qemu\": \"%s\", \"newer\": \"%s\" }%s", works[w], l, us, q, m, \
				w == n && l > 60 ? "" : ","))
		}
		out("  ],\n  \"library\": [")
		print ""
		printf "%-28s %8s %9s %7s   %s\n", "the library in bursts", "twinax", "bare", "ratio", "one call a frame   bar"
		n = split("stream-unix stream-tcp dgram-udp dgram-unix", kinds, " ")
		for (k = 1; k <= n; k++) for (d = 1; d <= 2; d++) for (l = 60; l <= 1514; l += 1454) {
			work = kinds[k] " " (d == 1 ? "send" : "receive") " " l
			us = median("lib-twinax " work); b = median("lib-bare " work); s = median("lib-single " work)
			printf "%-28s %8s %9s %7s   %-18s %s\n", work, us, b, ratio(us, b), s, kinds[k] ~ /dgram/ ? verdict(ratio(us, b), 1.1) : ""
			out(sprintf("    { \"work\": \"%s\", \"twinax\": %s, \"bare\": %s, \"single\": \"%s\" }%s", work, us, b, s, k == n && d == 2 && l > 60 ? "" : ","))
		}
		out("  ]\n}")
	}' "$T/results"
