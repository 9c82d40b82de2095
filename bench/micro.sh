#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# bench/micro.sh: what a frame, a register and a message cost without a guest, beside QEMU doing the same in the same run.
#
#   e1000      our model on a fake host, QEMU's by qtest: the same work (e1000_work.c), alternating
#   sock       the socket backends in bursts, bare system calls, QEMU's backends (sock.sh)
#   mmio       a register read over vfio-user, a bare ping-pong between two processes (vfio_mmio.c)
#
# MICRO_RUNS (3); BUILD (build) holds the programs. MICRO_ONLY="e1000 sock mmio" chooses. A bar that is missed is a
# result, not an error. README.md says how to read it.
set -u
ROOT=${ROOT:-$(cd "$(dirname "$0")/.." && pwd)}
BUILD=${BUILD:-$ROOT/build}
RUNS=${MICRO_RUNS:-3}
KIT_HERE=$ROOT/tools
# shellcheck source=../tools/guest-kit.sh
. "$ROOT/tools/guest-kit.sh"
B=$BUILD/bench
[ -x "$B/e1000_model" ] || { echo "micro: no program at $B/e1000_model: run make first" >&2; exit 1; }
T=$(mktemp -d "${TMPDIR:-/tmp}/twinax-micro.XXXXXX") || exit 1
trap 'rm -rf "$T"' EXIT
trap 'exit 1' INT TERM

# Debian's QEMU 7.2 has no qtest accelerator; its tcg stands halted meanwhile.
qemu_accel() { if "$1" -accel qtest,help >/dev/null 2>&1 || "$1" -accel help 2>/dev/null | grep -qx qtest; then echo qtest; else echo tcg; fi; }

# WHO, then the lines "WORK<tab>NS" of a program
e1000_run() {
	e_who=$1
	shift
	"$@" 2>>"$T/log" | sed "s/^/$e_who	/" >>"$T/e1000"
}

e1000() {
	e_peers=
	if command -v qemu-system-x86_64 >/dev/null; then e_peers=system; fi
	if kit_newer_qemu "$T/qemu" && [ "$KIT_QEMU" = "$T/qemu" ]; then e_peers="$e_peers newer"; fi
	: >"$T/e1000"
	e_round=0
	while [ $e_round -lt "$RUNS" ]; do
		e_round=$((e_round + 1))
		e1000_run twinax "$B/e1000_model" -s
		for e_p in $e_peers; do
			case $e_p in
			system) e1000_run system "$B/e1000_qtest" "$(qemu_accel qemu-system-x86_64)" qemu-system-x86_64 ;;
			newer) e1000_run newer "$B/e1000_qtest" qtest "$T/qemu" ;;
			esac
		done
	done
	echo "e1000 without a guest, 240 descriptors a doorbell: ns a frame, medians of $RUNS alternating runs"
	for e_p in $e_peers; do
		if [ "$e_p" = system ]; then e_q=qemu-system-x86_64; else e_q=$T/qemu; fi
		echo "  $e_p: $("$e_q" --version | sed -n 's/.*\(version [0-9.]*\).*/QEMU \1/p'), its own e1000 by qtest; receive is CPU time, fed by the stream backend"
	done
	awk -F '\t' -v peers="$e_peers" '
		function median(key,   n, i, j, t, a) {
			n = split(v[key], a, " ")
			for (i = 2; i <= n; i++) for (j = i; j > 1 && a[j - 1] + 0 > a[j] + 0; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
			return n ? a[int((n + 1) / 2)] : "-"
		}
		{ v[$1 SUBSEP $2] = v[$1 SUBSEP $2] " " $3; if (!seen[$2]++) order[++works] = $2 }
		END {
			n_peers = split(peers, p, " ")
			printf "  %-30s %9s", "", "twinax"
			for (i = 1; i <= n_peers; i++) printf " %9s %7s", p[i], "ratio"
			print "   bar"
			for (w = 1; w <= works; w++) {
				us = median("twinax" SUBSEP order[w])
				printf "  %-30s %9s", order[w], us
				best = ""
				for (i = 1; i <= n_peers; i++) {
					them = median(p[i] SUBSEP order[w])
					if (them == "-") { printf " %9s %7s", "-", "-"; continue }
					printf " %9s %7.2f", them, us / them
					if (best == "" || us / them > best) best = us / them
				}
				if (order[w] ~ /whole/) print "   1000: " (us <= 1000 ? "pass" : "short")
				else if (best != "") print "   0.50: " (best <= 0.5 ? "pass" : "short")
				else print ""
			}
		}' "$T/e1000"
	echo
}

sock() { BUILD=$BUILD ROOT=$ROOT sh "$ROOT/bench/sock.sh"; echo; }

mmio() { "$B/vfio_mmio"; echo; }

for m in ${MICRO_ONLY:-e1000 sock mmio}; do "$m"; done
