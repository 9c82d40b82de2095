#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# bench/libslirp.sh: the same unchanged programs with our libslirp.so.0 and with Debian's, in turns; README.md says how to read it.
#
# QEMU with virtio-net and with an e1000, a guest each, and slirp4netns: iperf3 each way. All of it happens in a network
# namespace of its own.
#
# BENCH_RUNS (5) runs of BENCH_SECONDS (4); BENCH_ONLY="virtio e1000 netns netns-mtu"; BUILD (build) holds the library.
# shellcheck disable=SC2034 # variables for the files sourced here
set -u
ROOT=${ROOT:-$(cd "$(dirname "$0")/.." && pwd)}
BUILD=${BUILD:-$ROOT/build}
SLIRP_DIR=${SLIRP_DIR:-$BUILD/src/libslirp}
RUNS=${BENCH_RUNS:-5}
SECS=${BENCH_SECONDS:-4}
KIT_HERE=$ROOT/tools
# shellcheck source=../tools/guest-kit.sh
. "$ROOT/tools/guest-kit.sh"
# shellcheck source=lib.sh
. "$ROOT/bench/lib.sh"
say() { echo "libslirp: $*" >&2; }
die() { say "$*"; exit 1; }

[ -e "$SLIRP_DIR/libslirp.so.0" ] || die "no library in $SLIRP_DIR: run make first"
if [ -z "${BENCH_INSIDE:-}" ]; then
	# shellcheck source=../tools/deps.sh
	. "$ROOT/tools/deps.sh"
	deps_install guest bench || say "some packages are missing; what needs them is left out"
	kit_kernel || die "no Debian kernel could be had (see $KIT_CACHE/kernel.log)"
	BENCH_INSIDE=1
	export BENCH_INSIDE ROOT BUILD
	if [ "$(id -u)" = 0 ]; then b_user=; else b_user=-r; fi
	# shellcheck disable=SC2086
	exec unshare $b_user -n -m -p --fork --kill-child --mount-proc sh "$0" "$@"
fi

T=$(mktemp -d "${TMPDIR:-/tmp}/twinax-bench.XXXXXX") || exit 1
trap 'rm -rf "$T"' EXIT
trap 'exit 1' INT TERM
: >"$T/results"
HZ=$(getconf CLK_TCK)
kit_kernel && kit_accel
ip link set lo up
for b_w in cubic reno; do # as run.sh
	! echo "$b_w" 2>/dev/null >/proc/sys/net/ipv4/tcp_congestion_control || break
done
KIT_QEMU=$(command -v qemu-system-x86_64) || die "no QEMU: install qemu-system-x86"

title() {
	case $1 in
	virtio) echo "QEMU, virtio-net" ;;
	e1000) echo "QEMU, e1000" ;;
	netns) echo "slirp4netns, MTU 65520" ;;
	netns-mtu) echo "slirp4netns, MTU 1500" ;;
	esac
}
port_of() { case $1 in virtio) echo 5301 ;; e1000) echo 5302 ;; netns) echo 5303 ;; netns-mtu) echo 5304 ;; esac; }
with() { # WHOSE COMMAND...: in place of the shell
	[ "$1" = theirs ] || export LD_LIBRARY_PATH="$SLIRP_DIR"
	shift
	exec "$@"
}

# --- QEMU ------------------------------------------------------------------------------------------------------------

for w in ours theirs; do
	printf '#!/bin/sh\n%sexec %s "$@"\n' "$([ $w = theirs ] || echo "LD_LIBRARY_PATH=$SLIRP_DIR ")" "$KIT_QEMU" >"$T/qemu-$w"
	chmod +x "$T/qemu-$w"
done

set_up_guest() { # CONFIG WHOSE
	case $1 in virtio) b_nic=virtio-net-pci ;; *) b_nic=e1000 ;; esac
	KIT_QEMU=$T/qemu-$2
	boot "$1-$2" -netdev user,id=n0,ipv6=off -device "$b_nic,netdev=n0,romfile=" && address "$1-$2" eth0 10.0.2.15 10.0.2.2
}

# --- slirp4netns: a "guest" whose commands run in a namespace ----------------------------------------------------------

set_up_netns() { # CONFIG WHOSE
	mkdir -p "$T/$1-$2"
	unshare -n sleep 100000 &
	echo $! >"$T/$1-$2/netns"
	case $1 in netns) b_mtu=65520 ;; *) b_mtu=1500 ;; esac
	until_unshared "$!" || return 1
	with "$2" slirp4netns -c --mtu=$b_mtu "$!" tap0 >"$T/$1-$2.log" 2>&1 &
	echo $! >"$T/$1-$2/pid"
	cp "$T/$1-$2/pid" "$T/$1-$2.pid"
	b_left=50
	until nsenter -n -t "$(cat "$T/$1-$2/netns")" ip addr show tap0 2>/dev/null | grep -q 10.0.2.100; do
		b_left=$((b_left - 1))
		[ "$b_left" -gt 0 ] || return 1
		sleep 0.1
	done
}
until_unshared() { # PID
	for b_w in 1 2 3 4 5 6 7 8 9 10; do
		[ "$(readlink "/proc/$1/ns/net")" = "$(readlink /proc/self/ns/net)" ] || return 0
		sleep 0.1
	done
	return 1
}

run_netns() { # NAME DIR SECONDS PORT: as run_iperf
	case $2 in in) b_flag=-R ;; *) b_flag= ;; esac
	b_pid=$(cat "$T/$1/pid")
	R_VMM=$(cpu_ticks "$b_pid")
	# shellcheck disable=SC2086
	nsenter -n -t "$(cat "$T/$1/netns")" timeout -s KILL $(($3 + 15)) iperf3 -c 10.0.2.2 -p "$4" -t "$3" -i 0.5 -f k \
		--connect-timeout 5000 $b_flag >"$T/iperf.out" 2>&1
	R_VMM=$(($(cpu_ticks "$b_pid") - R_VMM))
	# shellcheck disable=SC2046
	set -- $(parse_iperf "$T/iperf.out") "$4"
	R_STATUS=$1 R_KBIT=0 R_NOTE=
	if [ "$R_STATUS" = ok ]; then R_KBIT=$2; else
		R_NOTE=$*
		server "$(port_of "$c")"
	fi
	[ "$R_STATUS" = ok ]
}

# --- measuring -------------------------------------------------------------------------------------------------------

one_run() { # CONFIG WHOSE DIR SECONDS
	c=$1
	case $1 in
	netns*) run_netns "$1-$2" "$3" "$4" "$(port_of "$1")" ;;
	*) run_iperf "$1-$2" "$3" "$4" 10.0.2.2 "$(port_of "$1")" ;;
	esac
}

measure() { # CONFIG WHOSE DIR
	if one_run "$1" "$2" "$3" "$SECS"; then
		echo "kbit $1 $2 $3 $R_KBIT" >>"$T/results"
		awk -v k="$1 $2 $3" -v t="$R_VMM" -v r="$R_KBIT" -v s="$SECS" -v hz="$HZ" \
			'BEGIN { printf "cpu %s %.3f\n", k, t / hz / (r * s / 8e6) }' >>"$T/results"
	else
		echo "bad $1 $2 $3 $R_STATUS $R_NOTE" >>"$T/results"
	fi
	say "$1 $2 $3: $R_STATUS $R_KBIT $R_NOTE"
}

KIT_PROGRAMS=iperf3
# shellcheck disable=SC2086
kit_root "$T/root" $KIT_VIRTIO e1000 && kit_initrd "$T/root" "$T/initrd" || die "no guest could be made"
CONFIGS=
for c in ${BENCH_ONLY:-virtio e1000 netns netns-mtu}; do
	server "$(port_of "$c")"
	up=1
	for w in ours theirs; do
		case $c in netns*) set_up_netns "$c" $w ;; *) set_up_guest "$c" $w ;; esac ||
			{ up=0; say "$c with $w does not come up: $(cat "$T/$c-$w.log" "$T/$c-$w/vmm.log" 2>/dev/null | tail -n 1)"; }
		[ $up = 0 ] || one_run "$c" $w out 1
	done
	[ $up = 0 ] || CONFIGS="$CONFIGS $c"
done

round=0
while [ "$round" -lt "$RUNS" ]; do
	round=$((round + 1))
	order="ours theirs" dirs="out in"
	[ $((round % 2)) = 1 ] || order="theirs ours" dirs="in out"
	for c in $CONFIGS; do
		for d in $dirs; do for w in $order; do measure "$c" "$w" "$d"; done; done
	done
done

echo "host   $(uname -r), $(cat /proc/sys/net/ipv4/tcp_congestion_control), $(nproc) CPUs; load $(cut -d' ' -f1 /proc/loadavg)"
echo "peers  QEMU $("$KIT_QEMU" --version | sed -n 's/.*version \([0-9.]*\).*/\1/p'), tcg, 1 vCPU; $(slirp4netns --version 2>/dev/null | tr '\n' ' ')"
echo "runs   iperf3, 1 stream, median of $RUNS alternating runs of $SECS s each way"
echo
printf '%-24s %-14s %9s %9s %6s %6s   %s\n' "Gbit/s" "" ours Debian times bar "CPU seconds per GB of the process: ours, Debian's"
for c in $CONFIGS; do
	for d in out in; do
		case $c-$d in netns*out) b_way="from namespace" ;; netns*) b_way="to namespace" ;; *out) b_way="from guest" ;; *) b_way="to guest" ;; esac
		# shellcheck disable=SC2046
		set -- $(stats_of "$T/results" kbit "$c" ours $d) $(stats_of "$T/results" kbit "$c" theirs $d) \
			$(stats_of "$T/results" cpu "$c" ours $d) $(stats_of "$T/results" cpu "$c" theirs $d)
		awk -v t="$(title "$c")" -v w="$b_way" -v a="$1" -v b="$5" -v ca="$9" -v cb="${13}" -v bar="$(case $c in netns*) ;; *) echo 2 ;; esac)" \
			'BEGIN { printf "%-24s %-14s %9.2f %9.2f %6.2f %6s   %s %s\n", t, w, a / 1e6, b / 1e6, (b > 0 ? a / b : 0), bar, ca, cb }'
	done
done
for c in $CONFIGS; do for w in ours theirs; do guest_kill "$T/$c-$w"; done; done
! grep -q ^bad "$T/results" || grep ^bad "$T/results"
