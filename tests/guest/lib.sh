# SPDX-License-Identifier: BSD-3-Clause
# What every guest test begins with: namespaces of its own, a folder of its own, results as TAP. POSIX sh.
#
# A test sources this file first. It is then started again inside new network, mount and process namespaces: it talks
# to nothing outside, and whatever it starts ends with it. Nothing here depends on how fast the machine is: every wait
# has an end, and none is part of an assertion.
#
#   need PROGRAM...          skip the whole test (exit 77) if one is missing
#   step TEXT COMMAND...     run it; one TAP line; its output as comments when it fails
#   holds TEXT GOT PATTERN   one TAP line: the text matches the shell pattern
#   skip TEXT WHY            one TAP line
#   in_lab SECONDS           run the rest where KVM runs stock kernels: here, or in the lab (see guest-kit.sh)
#   finish                   the plan and the exit status
#   until_true SECONDS CMD.. poll a condition
#   twinax_up NAME ARG...    `twinax serve ARG...` with a control socket; waits until all of it listens
#   twinax_kill NAME         kill -9 and reap
#   ctl NAME COMMAND...      a command to its control socket
#   stats NAME               query-stats as lines "PORT COUNTER VALUE"; stat_of NAME PORT COUNTER: one value
# shellcheck disable=SC2034 # variables for the tests
set -u
T_ROOT=${T_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
BUILD=${BUILD:-$T_ROOT/build}
TWINAX=${TWINAX:-$BUILD/twinax}
NETPEER=${NETPEER:-$BUILD/tests/guest/netpeer}
T_NAME=$(basename "$0" .sh)

KIT_HERE=$T_ROOT/tools
# shellcheck source=../../tools/guest-kit.sh
. "$T_ROOT/tools/guest-kit.sh"

if [ -z "${T_INSIDE:-}" ]; then
	# Whatever comes over the network or belongs to the caller is had out here.
	kit_cache
	kit_kernel || KIT_KERNEL=
	[ -z "${T_NEWEST:-}" ] || kit_newest_kernel || KIT_NEWEST_KERNEL=
	T_INSIDE=1
	export T_INSIDE KIT_CACHE KIT_KERNEL KIT_MODULES KIT_NEWEST_KERNEL
	if [ "$(id -u)" = 0 ]; then t_user=; else t_user=-r; fi
	# Asked first, so that a machine that forbids namespaces is a skip and not a failure.
	# shellcheck disable=SC2086
	unshare $t_user -n -m -p --fork --kill-child true 2>/dev/null ||
		{ echo "1..0 # SKIP $T_NAME: no right to make namespaces (run as root, or allow user namespaces)"; exit 77; }
	# shellcheck disable=SC2086
	exec unshare $t_user -n -m -p --fork --kill-child --mount-proc sh "$0" "$@"
fi

T=$(mktemp -d "/tmp/twinax-$T_NAME.XXXXXX") || exit 1
t_n=0
t_failed=0
t_guests=
trap t_cleanup EXIT
trap 'exit 1' INT TERM
ip link set lo up
mount -t tmpfs run /run 2>/dev/null # what programs keep there goes with the namespace

t_cleanup() {
	t_status=$?
	if [ "$t_failed" != 0 ] && [ -n "${T_KEEP:-}" ]; then
		echo "# kept: $T"
	else
		rm -rf "$T"
	fi
	exit "$t_status"
}

need() {
	for t_p in "$@"; do
		[ -x "$t_p" ] || command -v "$t_p" >/dev/null 2>&1 ||
			{ echo "1..0 # SKIP $T_NAME: $t_p is not here (./check names its package)"; exit 77; }
	done
}

t_line() { # ok|not ok, TEXT
	t_n=$((t_n + 1))
	echo "$1 $t_n - $T_NAME: $2"
}

t_fail() { # TEXT REASON
	t_line "not ok" "$1"
	t_failed=$((t_failed + 1))
	printf '%s\n' "$2" | tail -n 20 | sed 's/^/# /'
}

# The test begins again in the lab, with what was fetched and made out here; its plan is the whole test's.
in_lab() { # SECONDS
	[ -z "${T_LAB:-}" ] || return 0
	kit_accel
	T_LAB=here
	[ "$KIT_ACCEL" != kvm ] || [ ! -w /dev/net/tun ] || return 0
	need qemu-system-x86_64 cpio
	[ -n "$KIT_KERNEL" ] || { echo "1..0 # SKIP $T_NAME: no Debian kernel could be had (see $KIT_CACHE/kernel.log)"; exit 77; }
	T_LAB=lab
	KIT_LAB_ENV="T_INSIDE T_LAB T_ROOT BUILD TWINAX NETPEER KIT_CACHE KIT_KERNEL KIT_MODULES T_KEEP"
	for t_p in "$T_ROOT" "$BUILD" "$(dirname "$TWINAX")" "$KIT_CACHE"; do
		t_p=$(realpath "$t_p")
		case $t_p in
		/tmp/* | /run/* | /var/tmp/*) KIT_LAB_FOLDERS="${KIT_LAB_FOLDERS:-} $t_p" ;;
		esac
	done
	# Emulation can stop for good, once in some fifty times: its processors wait for each other. A test that hangs by
	# itself does so twice.
	for t_try in first second; do
		kit_lab "$1" "$(realpath "$0")" >"$T/lab.out" 2>&1
		t_status=$?
		case $t_try$t_status in
		first124 | first125)
			echo "# the lab hung or died; what it said last, before it is tried again:"
			tail -n 3 "$T/lab.out" | sed 's/^/# /'
			;;
		*) break ;;
		esac
	done
	cat "$T/lab.out"
	exit "$t_status"
}

step() { # TEXT COMMAND...
	t_text=$1
	shift
	if "$@" >"$T/step.out" 2>&1; then t_line ok "$t_text"; else
		t_fail "$t_text" "status $?: $*
$(cat "$T/step.out")"
		return 1
	fi
}

holds() { # TEXT GOT PATTERN
	# shellcheck disable=SC2254 # the pattern is meant to be one
	case $2 in
	$3) t_line ok "$1" ;;
	*) t_fail "$1" "got: $2
wanted: $3"; return 1 ;;
	esac
}

skip() { # TEXT WHY
	t_n=$((t_n + 1))
	echo "ok $t_n - $T_NAME: $1 # SKIP $2"
}

finish() {
	if [ "$t_failed" != 0 ]; then
		for t_log in "$T"/*.log "$T"/*/console.log "$T"/*/vmm.log; do
			[ ! -s "$t_log" ] || { echo "# --- ${t_log#"$T"/}"; tail -n 15 "$t_log" | tr -d '\r' | sed 's/^/# /'; }
		done
	fi
	echo "1..$t_n"
	[ "$t_failed" = 0 ]
	exit
}

until_true() { # SECONDS COMMAND...
	t_left=$(($1 * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		t_left=$((t_left - 1))
		[ "$t_left" -gt 0 ] || return 1
		sleep 0.1
	done
}

# --- files and services on the host's side -------------------------------------------------------------------------

sum() { sha256sum "$1" | cut -d' ' -f1; }

# A web server on ADDR:PORT over FOLDER; what is posted to /cgi-bin/put is stored and answered with its checksum.
serve_http() { # ADDR PORT FOLDER
	mkdir -p "$3/cgi-bin"
	cat >"$3/cgi-bin/put" <<-'CGI'
		#!/bin/sh
		head -c "$CONTENT_LENGTH" >../uploaded
		printf 'Content-Type: text/plain\r\n\r\n%s\n' "$(sha256sum ../uploaded | cut -d' ' -f1)"
	CGI
	chmod 755 "$3/cgi-bin/put"
	busybox httpd -f -p "$1:$2" -h "$3" >"$T/httpd.$2.log" 2>&1 &
	until_true 10 busybox nc -w 1 "$1" "$2" -e true
}

serve_dns() { # PORT NAME ADDRESS
	# -d: as whoever we are; dropping rights is not possible in every user namespace.
	dnsmasq -d -C /dev/null -p "$1" --listen-address=127.0.0.1 --bind-interfaces --no-resolv --no-hosts \
		"--address=/$2/$3" >"$T/dnsmasq.log" 2>&1 &
	until_true 10 grep -q started "$T/dnsmasq.log"
}

# --- twinax --------------------------------------------------------------------------------------------------------

twinax_up() { # NAME ARG...
	t_x=$1
	shift
	: >"$T/$t_x.out" # a predecessor's "ready" is not this one's
	"$TWINAX" serve "$@" -qmp "unix:$T/$t_x.qmp,server=on,wait=off" </dev/null >"$T/$t_x.out" 2>>"$T/$t_x.log" &
	echo $! >"$T/$t_x.pid"
	until_true 20 twinax_settled "$t_x" && grep -q '^ready' "$T/$t_x.out"
}

twinax_settled() { grep -q '^ready' "$T/$1.out" || ! twinax_alive "$1"; }
twinax_alive() { kill -0 "$(cat "$T/$1.pid")" 2>/dev/null; }

twinax_kill() { # NAME
	t_pid=$(cat "$T/$1.pid")
	kill -9 "$t_pid" 2>/dev/null
	{ wait "$t_pid"; } 2>/dev/null
	return 0
}

twinax_end() { # NAME: politely, with its exit status
	t_pid=$(cat "$T/$1.pid")
	kill -TERM "$t_pid" 2>/dev/null
	{ wait "$t_pid"; } 2>/dev/null
}

ctl() { # NAME COMMAND...
	t_x=$1
	shift
	timeout 10 "$TWINAX" ctl "$T/$t_x.qmp" "$@"
}

# One line a counter: "virtio-net.0 drops.filtered 7"; queues of a port are added up.
stats() { # NAME
	ctl "$1" query-stats | awk '
		/^    "name":/ { name = $2; gsub(/[",]/, "", name) }
		/^    ".*": [{]/ { group = $1; gsub(/[":]/, "", group); group = group "." }
		/^    [}]/ { group = "" }
		$2 ~ /^[0-9]+,?$/ { key = $1; gsub(/[":]/, "", key); sum[name " " group key] += $2 }
		END { for (k in sum) printf "%s %.0f\n", k, sum[k] }' | sort
}

stat_of() { # NAME PORT COUNTER
	stats "$1" | awk -v p="$2" -v c="$3" '$1 == p && $2 == c { print $3 }'
}

# --- guests --------------------------------------------------------------------------------------------------------

# The root folder and initrd that the tests' guests share; made once.
guest_files() { # MODULE... beside virtio's
	[ -n "$KIT_KERNEL" ] || { echo "1..0 # SKIP $T_NAME: no Debian kernel could be had (see $KIT_CACHE/kernel.log)"; exit 77; }
	KIT_MODULES=${KIT_KERNEL%/*}/modules # uml_files may have set its own
	kit_accel
	VHOST_NIC="virtio-net-pci,netdev=v0,romfile=,mac=52:54:00:12:34:56$(kit_nic_quirks)"
	KIT_PROGRAMS="${KIT_PROGRAMS:-} $NETPEER"
	# shellcheck disable=SC2086
	kit_root "$T/root" $KIT_VIRTIO "$@" && kit_initrd "$T/root" "$T/initrd"
}

uml_files() { # "PROGRAM..." MODULE...
	kit_uml_modules "$T/uml-modules"
	KIT_PROGRAMS="$NETPEER $1"
	shift
	kit_root "$T/root" virtio_net "$@"
}

boot_uml() { # NAME ARG...: on a copy of the root folder, which it writes to
	t_g=$T/$1
	mkdir -p "$t_g" && cp -r "$T/root" "$t_g/root" || return 1
	shift
	guest_uml "$t_g" "$t_g/root" "$@" && guest_up "$t_g" 60
}

# boot NAME SOCKET ARG...: QEMU with a virtio-net NIC over a vhost-user socket that twinax serves.
boot() {
	t_g=$T/$1
	mkdir -p "$t_g"
	t_sock=$2
	shift 2
	guest_qemu "$t_g" "$T/initrd" -chardev "socket,id=c0,path=$t_sock${BOOT_CHARDEV:-}" \
		-netdev "vhost-user,id=v0,chardev=c0${BOOT_NETDEV:-}" -device "${BOOT_NIC:-$VHOST_NIC}" "$@" &&
		guest_up "$t_g" 120
}

# vm_start NAME ARG...: `twinax vm` with that initrd in the background, its control socket as of twinax_up; vm_boot
# waits for the guest, too. The guest's console goes to a file, its commands come by pipes.
vm_start() {
	t_g=$T/$1
	t_x=$1
	shift
	mkdir -p "$t_g" && kit_pipes "$t_g" || return 1
	"$TWINAX" vm -accel kvm -nodefaults -kernel "$KIT_KERNEL" -initrd "$T/initrd" -m "${VM_MEM:-256}" \
		-append "console=ttyS0 panic=-1 quiet twinax.ctl=ttyS1" \
		-chardev "file,id=con,path=$t_g/console.log" -serial chardev:con \
		-chardev "pipe,id=ctl,path=$t_g/ctl" -serial chardev:ctl \
		-qmp "unix:$T/$t_x.qmp,server=on,wait=off" "$@" </dev/null >"$t_g/vmm.log" 2>&1 &
	echo $! >"$t_g/pid"
	cp "$t_g/pid" "$T/$t_x.pid"
}
vm_boot() { vm_start "$@" && guest_up "$t_g" 100; }
vm_off() { # by the guest's power-off; with the status of twinax
	g 'poweroff -f' >/dev/null 2>&1
	until_true 30 sh -c "! kill -0 $(cat "$t_g/pid")" || return 1
	wait "$(cat "$t_g/pid")"
}
vm_has_open() { [ -n "$(find "/proc/$(cat "$t_g/pid")/fd" -lname "$1")" ]; }
# The guest's name for the NIC with that address; how many lines of /proc/interrupts have NAME, KIND and were raised.
vm_nic() { g "grep -l '$1' /sys/class/net/*/address" | cut -d/ -f5; }
vm_interrupts() { g "grep '$1' /proc/interrupts" | awk '$2 + $3 > 0' | grep -c "$2"; }

g() { # COMMAND: in the guest booted last, or in $G
	guest "${G:-$t_g}" "${G_SECONDS:-60}" "$1"
}

DHCP="ip link set eth0 up && udhcpc -i eth0 -s /etc/dhcp -n -q -t 8 -T 2"
