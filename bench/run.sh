#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# bench/run.sh: twinax, its peers and the guests' ceilings on the same work, alternating; README.md says how to read it.
#
# Every guest is booted once and then takes commands, so that a run costs no boot and the configurations alternate:
# round 1 in one order, round 2 in the other, and so on. Only one guest works at a time. All of it happens in a
# network namespace of its own.
#
# BENCH_RUNS (5) runs of BENCH_SECONDS (4); BENCH_ONLY="twinax tap" measures only these; BUILD (build) holds the program.
# Ends with 0 when twinax was measured, whether or not it reaches the bars.
# shellcheck disable=SC2034 # variables for the files sourced here
set -u
ROOT=${ROOT:-$(cd "$(dirname "$0")/.." && pwd)}
BUILD=${BUILD:-$ROOT/build}
TWINAX=${TWINAX:-$BUILD/twinax}
RUNS=${BENCH_RUNS:-5}
SECS=${BENCH_SECONDS:-4}
KIT_HERE=$ROOT/tools
# shellcheck source=../tools/guest-kit.sh
. "$ROOT/tools/guest-kit.sh"
# shellcheck source=lib.sh
. "$ROOT/bench/lib.sh"
say() { echo "bench: $*" >&2; }
die() { say "$*"; exit 1; }

[ -x "$TWINAX" ] || die "no program at $TWINAX: run make first"

# What comes from Debian's archive comes before the namespace, which has no way out.
if [ -z "${BENCH_INSIDE:-}" ]; then
	# shellcheck source=../tools/deps.sh
	. "$ROOT/tools/deps.sh"
	deps_install guest bench || say "some packages are missing; what needs them is left out"
	kit_kernel || die "no Debian kernel could be had (see $KIT_CACHE/kernel.log)"
	kit_tree || say "no newer QEMU and passt (see $KIT_CACHE/tree.log): the system's own are used"
	BENCH_INSIDE=1
	export BENCH_INSIDE ROOT BUILD
	if [ "$(id -u)" = 0 ]; then b_user=; else b_user=-r; fi
	# shellcheck disable=SC2086
	unshare $b_user -n -m -p --fork --kill-child true || die "no right to make namespaces: run as root, or allow user namespaces"
	# shellcheck disable=SC2086
	exec unshare $b_user -n -m -p --fork --kill-child --mount-proc sh "$0" "$@"
fi

T=$(mktemp -d "${TMPDIR:-/tmp}/twinax-bench.XXXXXX") || exit 1
chmod 755 "$T"
trap 'rm -rf "$T"' EXIT
trap 'exit 1' INT TERM
: >"$T/results"
HZ=$(getconf CLK_TCK)
KIT_TREE=${KIT_TREE:-}
kit_kernel && kit_accel
kit_tree || KIT_TREE=
bench_qemu || die "no QEMU: install qemu-system-x86"

# --- configurations --------------------------------------------------------------------------------------------------

ALL="twinax passt slirp tap e1000-vfio e1000 uml-twinax uml-tap"
title() {
	case $1 in
	twinax) echo "twinax user, vhost-user" ;;
	passt) echo "passt, vhost-user" ;;
	slirp) echo "QEMU user, virtio-net-pci" ;;
	e1000-vfio) echo "twinax user, e1000, vfio-user" ;;
	e1000) echo "QEMU user, e1000" ;;
	tap) echo "ceiling: tap with TSO" ;;
	uml-twinax) echo "twinax user, vhost-user" ;;
	uml-tap) echo "ceiling: its tap transport" ;;
	esac
}

set_up() { # NAME: backend, guest and address, ready for runs
	VIRTIO="virtio-net-pci,netdev=n0,romfile=,mac=52:54:00:12:34:56"
	# shellcheck disable=SC2046
	case $1 in
	twinax) backend_twinax twinax && boot twinax $(vhost_user_args twinax) -device "$VIRTIO$(kit_nic_quirks)" ;;
	passt) bench_passt && backend_passt passt && boot passt $(vhost_user_args passt) -device "$VIRTIO$(kit_nic_quirks)" ;;
	slirp) boot slirp -netdev user,id=n0 -device "$VIRTIO" ;;
	e1000-vfio) kit_knows_vfio_user "$KIT_QEMU" && backend_twinax e1000-vfio e1000 vfio-user &&
		boot e1000-vfio -device "$(vfio_user_device e1000-vfio)" ;;
	e1000) boot e1000 -netdev user,id=n0 -device e1000,netdev=n0,romfile= ;;
	tap) boot tap -netdev tap,id=n0,ifname=tap0,script=no,downscript=no,vhost=off -device "$VIRTIO" ;;
	uml-twinax) backend_twinax uml-twinax && boot_uml uml-twinax "virtio_uml.device=$T/uml-twinax.sock:1" ;;
	uml-tap) boot_uml uml-tap vec0:transport=tap,ifname=tap1,depth=128,gro=1 ;;
	esac || return 1
	case $1 in
	tap) address tap eth0 10.0.9.15 10.0.9.1 ;;
	uml-tap) address uml-tap vec0 10.0.8.15 10.0.8.1 ;;
	*) address "$1" eth0 10.0.2.15 10.0.2.2 ;;
	esac
}

far_end() { # NAME: address and port of its iperf3 server; each has one of its own, since a stalled run occupies it
	case $1 in
	twinax) echo 10.0.2.2 5201 ;;
	passt) echo 10.0.2.2 5202 ;;
	slirp) echo 10.0.2.2 5203 ;;
	e1000) echo 10.0.2.2 5204 ;;
	tap) echo 10.0.9.1 5205 ;;
	e1000-vfio) echo 10.0.2.2 5208 ;;
	uml-twinax) echo 10.0.2.2 5206 ;;
	uml-tap) echo 10.0.8.1 5207 ;;
	esac
}

# The host's end of a connection is a socket of this namespace, which inherits the host's choice. The same one everywhere
# makes runs comparable: Debian's default, cubic, or reno where the host does not lend cubic to a namespace.
congestion_control() {
	for b_w in cubic reno; do
		! echo "$b_w" 2>/dev/null >/proc/sys/net/ipv4/tcp_congestion_control || break
	done
	CONGESTION=$(cat /proc/sys/net/ipv4/tcp_congestion_control)
}

host_side() {
	ip link set lo up
	congestion_control
	ip tuntap add tap0 mode tap && ip addr add 10.0.9.1/24 dev tap0 && ip link set tap0 up &&
		ip tuntap add tap1 mode tap && ip addr add 10.0.8.1/24 dev tap1 && ip link set tap1 up ||
		say "no tap device: there will be no ceilings"
	KIT_PROGRAMS=iperf3
	# shellcheck disable=SC2086
	kit_root "$T/root" $KIT_VIRTIO e1000 && kit_initrd "$T/root" "$T/initrd" || die "no guest could be made"
	command -v linux.uml >/dev/null || return 0
	kit_uml_modules && kit_root "$T/uml-root" virtio_net af_packet
}

# --- measuring -------------------------------------------------------------------------------------------------------

start_all() {
	CONFIGS=
	for c in ${BENCH_ONLY:-$ALL}; do
		# shellcheck disable=SC2046
		set -- $(far_end "$c")
		server "$2"
		if set_up "$c"; then
			CONFIGS="$CONFIGS $c"
			say "$c is up"
		else
			say "$c does not come up: $(cat "$T/$c.log" "$T/$c/vmm.log" 2>/dev/null | tail -n 1)"
			echo "down $c" >>"$T/results"
			guest_kill "$T/$c"
		fi
	done
}

# One run before those that count, each way: translated code, sockets' and congestion windows' memory.
warm_up() {
	for c in $CONFIGS; do
		for d in out in; do
			# shellcheck disable=SC2046
			run_iperf "$c" "$d" 2 $(far_end "$c") || say "$c $d, not counted: $R_STATUS $R_NOTE"
		done
	done
}

per_gb() { # TICKS KBIT: CPU seconds for 10^9 bytes
	awk -v t="$1" -v k="$2" -v s="$SECS" -v hz="$HZ" 'BEGIN { printf "%.3f", t / hz / (k * s / 8e6) }'
}

measure() { # ROUND NAME DIR
	# shellcheck disable=SC2046
	if run_iperf "$2" "$3" "$SECS" $(far_end "$2"); then
		{
			echo "kbit $2 $3 $R_KBIT"
			[ ! -e "$T/$2.pid" ] || echo "cpu $2 $3 $(per_gb "$R_CPU" "$R_KBIT")"
			echo "vmm $2 $3 $(per_gb "$R_VMM" "$R_KBIT")"
			echo "others $((R_OTHERS * 100 / (SECS * HZ * $(nproc))))"
		} >>"$T/results"
	else
		echo "bad $2 $3 $R_STATUS $R_NOTE" >>"$T/results"
	fi
	say "round $1/$RUNS $2 $3: $R_STATUS $R_KBIT $R_NOTE"
}

backwards() { for b_w in "$@"; do echo "$b_w"; done | sed '1!G;h;$!d' | tr '\n' ' '; }

rounds() {
	round=0
	# shellcheck disable=SC2086
	while [ "$round" -lt "$RUNS" ]; do
		round=$((round + 1))
		order=$CONFIGS dirs="out in"
		[ $((round % 2)) = 1 ] || order=$(backwards $CONFIGS) dirs="in out"
		for c in $order; do
			for d in $dirs; do measure "$round" "$c" "$d"; done
			[ -e "$T/results" ] || die "$T has been deleted meanwhile"
		done
	done
}

# How much of a CPU the guests use while none has work: they must not disturb the one that has.
idle_load() {
	b_sum=0
	for c in $CONFIGS; do b_sum=$((b_sum + $(cpu_ticks "$(cat "$T/$c/pid")"))); done
	b_before=$b_sum b_sum=0
	sleep 3
	for c in $CONFIGS; do b_sum=$((b_sum + $(cpu_ticks "$(cat "$T/$c/pid")"))); done
	IDLE=$(((b_sum - b_before) * 100 / (3 * HZ)))
}

# Round trips of small packets, which the built-in device answers without another process.
pings() {
	for c in $CONFIGS; do
		case $c in e1000 | e1000-vfio | twinax | slirp) ;; *) continue ;; esac
		for b_w in 1 2 3; do
			guest "$T/$c" 30 "ping -c 60 -i 0.02 10.0.2.2" | sed -n "s/.* time=\\([0-9.]*\\) ms/rtt $c \\1/p" >>"$T/results"
		done
	done
}

memory_of() { # WHEN
	for c in $CONFIGS; do
		[ -e "$T/$c.pid" ] || continue
		# shellcheck disable=SC2046
		set -- "$1" $(memory "$(cat "$T/$c.pid")")
		echo "memory $c $1 $2 $3" >>"$T/results"
	done
}

start_times() {
	[ -x "$BUILD/bench/start_time" ] || { say "no $BUILD/bench/start_time: start-up is not measured"; return 0; }
	"$BUILD/bench/start_time" 20 "$T/start.sock" "$TWINAX" serve -quiet -netdev user,id=n0 \
		-device "virtio-net,netdev=n0,export=vhost-user:$T/start.sock" 2>/dev/null | sed 's/^/start ms /' >>"$T/results"
}

host_side
start_times
start_all
sleep 2
idle_load
memory_of idle
warm_up
rounds
pings
memory_of after
for c in $CONFIGS; do guest_kill "$T/$c"; done

# shellcheck source=report.sh
. "$ROOT/bench/report.sh"
report_table
report_json >"$BUILD/bench.json" && echo "JSON: $BUILD/bench.json"
grep -q '^kbit twinax\|^kbit uml-twinax\|^kbit e1000-vfio' "$T/results" || die "twinax could not be measured"
