#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# bench/lab.sh: `twinax vm` beside QEMU, both under the same KVM, in the lab (tools/guest-kit.sh); README.md says how to read it.
#
# For each kind of NIC and backend two guests are booted, one in each, and work in turns; only one works at a time. Then
# the time from exec to the kernel's first line, and the memory of each process. Every figure is a ratio of two that were
# measured in the same minutes: the lab's processor is emulated, and its absolute speed says nothing.
#
# LAB_RUNS (3) runs of LAB_SECONDS (4); LAB_ONLY="e1000-tap boot ..." measures only these; BUILD (build) holds the program.
# shellcheck disable=SC2034 # variables for the files sourced here
set -u
ROOT=${ROOT:-$(cd "$(dirname "$0")/.." && pwd)}
BUILD=${BUILD:-$ROOT/build}
TWINAX=${TWINAX:-$BUILD/twinax}
LAB_RUNS=${LAB_RUNS:-3}
LAB_SECONDS=${LAB_SECONDS:-4}
ALL="e1000-tap e1000-user virtio-tap virtio-vhost virtio-user boot memory"
LAB_ONLY=${LAB_ONLY:-$ALL}
KIT_HERE=$ROOT/tools
# shellcheck source=../tools/guest-kit.sh
. "$ROOT/tools/guest-kit.sh"
# shellcheck source=lib.sh
. "$ROOT/bench/lib.sh"
say() { echo "lab: $*" >&2; }
die() { say "$*"; exit 1; }

if [ -z "${LAB_INSIDE:-}" ]; then
	[ -x "$TWINAX" ] || die "no program at $TWINAX: run make first"
	kit_kernel || die "no Debian kernel could be had (see $KIT_CACHE/kernel.log)"
	T=$(mktemp -d "${TMPDIR:-/tmp}/twinax-lab.XXXXXX") || exit 1
	trap 'rm -rf "$T"' EXIT
	trap 'exit 1' INT TERM
	KIT_PROGRAMS=iperf3
	# shellcheck disable=SC2086
	kit_root "$T/root" $KIT_VIRTIO e1000 && kit_initrd "$T/root" "$T/initrd" || die "no guest could be made"
	LAB_INSIDE=$T
	KIT_LAB_ENV="ROOT BUILD TWINAX LAB_RUNS LAB_SECONDS LAB_ONLY LAB_INSIDE KIT_KERNEL KIT_MODULES KIT_CACHE"
	KIT_LAB_FOLDERS="$T"
	for d in "$ROOT" "$BUILD"; do case $d in /tmp/*) KIT_LAB_FOLDERS="$KIT_LAB_FOLDERS $d" ;; esac; done
	kit_lab "${LAB_LIMIT:-1500}" "$ROOT/bench/lab.sh"
	exit
fi

# --- inside ----------------------------------------------------------------------------------------------------------

RUNS=$LAB_RUNS SECS=$LAB_SECONDS
T=/run/bench
HZ=100
mkdir -p "$T" && cp "$LAB_INSIDE/initrd" "$T/initrd" && cp "$KIT_KERNEL" "$T/vmlinuz" || exit 1
KIT_KERNEL=$T/vmlinuz
export XDG_CACHE_HOME="$T/cache" # the lab's root cannot be written to
: >"$T/results"
KIT_ACCEL=kvm KIT_CPU=host KIT_MEM=256
wants() { case " $LAB_ONLY " in *" $1 "*) ;; *) return 1 ;; esac; }

title() {
	case $1 in
	e1000-tap) echo "e1000, tap" ;;
	e1000-user) echo "e1000, user" ;;
	virtio-tap) echo "virtio-net, tap" ;;
	virtio-vhost) echo "virtio-net, tap with vhost" ;;
	virtio-user) echo "virtio-net, user" ;;
	esac
}

bars() { # KIND: out and in, in times of QEMU's
	case $1 in
	e1000-tap) echo 1.5 1.5 ;;
	*-user) echo 3 3 ;;
	*) echo 1 1 ;;
	esac
}

# Each guest has a tap of its own; addresses do not meet.
kind_args() { # KIND WHO
	case $1 in
	*-user) echo "-netdev user,id=n0" ;;
	*-vhost) echo "-netdev tap,id=n0,ifname=tap-$2,script=no,downscript=no,vhost=on" ;;
	*) echo "-netdev tap,id=n0,ifname=tap-$2,script=no,downscript=no,vhost=off" ;;
	esac
	case $1 in
	e1000-*) echo "-device e1000,netdev=n0" ;;
	*) echo "-device virtio-net-pci,netdev=n0" ;;
	esac
}

far_end() { # KIND WHO
	case $1$2 in
	*-usertwinax) echo 10.0.2.2 5201 ;;
	*-userqemu) echo 10.0.2.2 5202 ;;
	*twinax) echo 10.0.7.1 5203 ;;
	*) echo 10.0.8.1 5204 ;;
	esac
}

start() { # KIND WHO
	b_g=$T/$2
	mkdir -p "$b_g"
	: >"$b_g/console.log"
	# shellcheck disable=SC2046
	case $2 in
	twinax) guest_vm "$b_g" "$T/initrd" $(kind_args "$1" "$2") ;;
	qemu) guest_qemu "$b_g" "$T/initrd" $(kind_args "$1" "$2" | sed 's/^-device.*/&,romfile=/') ;;
	esac
	guest_up "$b_g" 120 || return 1
	# shellcheck disable=SC2046
	set -- "$2" $(far_end "$1" "$2")
	address "$1" eth0 "${2%.*}.15" "$2" || return 1
	server "$3"
}

pair() { # KIND
	for w in twinax qemu; do
		if ! start "$1" "$w"; then
			echo "down $1 $w" >>"$T/results"
			say "$1: $w does not come up: $(tail -n 1 "$T/$w/vmm.log"; tail -n 2 "$T/$w/console.log")"
		fi
	done
	for w in twinax qemu; do
		# shellcheck disable=SC2046
		for d in out in; do run_iperf "$w" $d 2 $(far_end "$1" "$w"); done
	done
	round=0
	while [ $round -lt "$RUNS" ]; do
		round=$((round + 1))
		order="twinax qemu"
		[ $((round % 2)) = 1 ] || order="qemu twinax"
		for d in out in; do
			for w in $order; do
				# shellcheck disable=SC2046
				run_iperf "$w" $d "$SECS" $(far_end "$1" "$w")
				say "round $round/$RUNS $1 $w $d: $R_STATUS $R_KBIT $R_NOTE"
				[ "$R_STATUS" = ok ] && echo "kbit $1 $w $d $R_KBIT" >>"$T/results" ||
					echo "bad $1 $w $d $R_STATUS $R_NOTE" >>"$T/results"
			done
		done
	done
	if wants memory; then
		for w in twinax qemu; do
			# shellcheck disable=SC2046
			set -- "$1" $(memory "$(cat "$T/$w/pid")" "$KIT_MEM")
			echo "memory $1 $w $2" >>"$T/results"
		done
	fi
	for w in twinax qemu; do guest_kill "$T/$w"; done
}

# From exec to a line of the kernel on the serial port, in ms. earlyprintk brings the first one at once.
boot_line() { # WHO TEXT [NAME in the results]
	rm -f "$T/line"
	mkfifo "$T/line"
	exec 3<>"$T/line" # there is a reader from the beginning: twinax does not wait for one
	b_from=$(date +%s%N)
	case $1 in
	twinax) "$TWINAX" vm -accel kvm -m 256M -nodefaults -kernel "$KIT_KERNEL" -initrd "$T/initrd" -no-reboot \
		-append "earlyprintk=serial console=ttyS0 panic=-1 mitigations=off" -serial "file:$T/line" >/dev/null 2>&1 </dev/null & ;;
	microvm | pc) qemu-system-x86_64 -M "$1" -accel kvm -cpu host -m 256M -nodefaults -no-user-config -display none -no-reboot \
		-kernel "$KIT_KERNEL" -initrd "$T/initrd" -append "earlyprintk=serial console=ttyS0 panic=-1 mitigations=off" \
		-serial "file:$T/line" >/dev/null 2>&1 </dev/null & ;;
	esac
	b_pid=$!
	timeout 60 grep -q -m 1 "$2" "$T/line" && echo "boot ${3:-$1} $(($(date +%s%N) / 1000000 - b_from / 1000000))" >>"$T/results"
	kill -9 $b_pid 2>/dev/null
	{ wait $b_pid; } 2>/dev/null
	exec 3>&-
}

# --- the table -------------------------------------------------------------------------------------------------------

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (a == "-" || b == "-" || b == 0) print "-"; else printf "%.2f", a / b }'; }
verdict() { awk -v r="$1" -v b="$2" -v low="${3:-}" 'BEGIN { print r == "-" ? "not measured" : (low ? r <= b : r >= b) ? "pass" : "SHORT" }'; }
mid() { stats_of "$T/results" "$@" | cut -d' ' -f1; }

table() {
	echo "lab    $(uname -r) in QEMU's tcg with SVM, 2 CPUs; guests: the same kernel, 1 vCPU, ${KIT_MEM}M; QEMU $(qemu-system-x86_64 --version | sed -n 's/.*version \([0-9.]*\).*/\1/p')"
	echo "runs   iperf3, 1 stream, MTU 1500, median of $RUNS alternating runs of ${SECS} s each way"
	echo
	printf '%-28s %-9s %-9s %-7s %-18s %-9s %-9s %-7s %s\n' "Mbit/s" "out" "QEMU" "times" "bar" "in" "QEMU" "times" "bar"
	for c in $LAB_ONLY; do
		[ -n "$(title "$c")" ] || continue
		# shellcheck disable=SC2046
		set -- $(bars "$c")
		t_line=$(printf '%-28s' "$(title "$c")")
		for d in out in; do
			t_a=$(mid kbit "$c" twinax "$d") t_b=$(mid kbit "$c" qemu "$d")
			t_r=$(ratio "$t_a" "$t_b")
			t_line="$t_line $(printf '%-9s %-9s %-7s %-18s' "${t_a%???}" "${t_b%???}" "$t_r" "$1: $(verdict "$t_r" "$1")")"
			shift
		done
		echo "$t_line"
	done
	echo
	if wants boot; then
		t_a=$(mid boot twinax) t_b=$(mid boot microvm)
		t_r=$(ratio "$t_a" "$t_b")
		echo "exec to the kernel's first line: $t_a ms; QEMU -M microvm $t_b, -M pc $(mid boot pc); $t_r of microvm's, bar 0.5: $(verdict "$t_r" 0.5 low)"
		echo "the first start ever of that kernel, which unpacks it: $(mid boot first) ms"
	fi
	wants memory && for c in $LAB_ONLY; do
		[ -n "$(title "$c")" ] || continue
		t_a=$(mid memory "$c" twinax) t_b=$(mid memory "$c" qemu)
		t_r=$(ratio "$t_a" "$t_b")
		echo "private memory, $(title "$c"): $t_a KiB; QEMU $t_b; $t_r, bar 0.2: $(verdict "$t_r" 0.2 low)"
	done
	! grep '^bad\|^down' "$T/results"
}

for w in twinax qemu; do
	case $w in twinax) a=10.0.7.1 ;; *) a=10.0.8.1 ;; esac
	ip tuntap add "tap-$w" mode tap vnet_hdr && ip addr add $a/24 dev "tap-$w" && ip link set "tap-$w" up || die "no tap device"
done
for c in $LAB_ONLY; do [ -z "$(title "$c")" ] || pair "$c"; done
if wants boot; then
	boot_line twinax "Linux version" first
	for round in 1 2 3; do for w in twinax microvm pc; do boot_line $w "Linux version"; done; done
fi
table
