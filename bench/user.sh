#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# bench/user.sh: the user-mode network between a namespace and the host: `twinax run`, pasta, slirp4netns, and the ground
# (a veth pair, loopback), alternating; README.md says how to read it.
#
# USER_RUNS (3) runs of USER_SECONDS (2); USER_ONLY="twinax pasta" only these, of twinax pasta slirp veth lo; USER_WORK="tcp rtt crr
# udp flows" only that; BUILD (build) holds the programs. Ends with 0 when twinax was measured, whatever it reaches.
# shellcheck disable=SC2034 # variables for the files sourced here
set -u
ROOT=${ROOT:-$(cd "$(dirname "$0")/.." && pwd)}
BUILD=${BUILD:-$ROOT/build}
TWINAX=${TWINAX:-$BUILD/twinax}
LOAD=$BUILD/bench/user_load
RUNS=${USER_RUNS:-3}
SECS=${USER_SECONDS:-2}
WORK=${USER_WORK:-tcp rtt crr udp flows}
SUBJECTS=${USER_ONLY:-twinax pasta slirp veth lo}
FLOWS=10000
KIT_HERE=$ROOT/tools
# shellcheck source=../tools/guest-kit.sh
. "$ROOT/tools/guest-kit.sh"
# shellcheck source=lib.sh
. "$ROOT/bench/lib.sh"
say() { echo "user: $*" >&2; }
die() { say "$*"; exit 1; }
wants() { case " $1 " in *" $2 "*) ;; *) return 1 ;; esac; } # LIST WORD

[ -x "$TWINAX" ] && [ -x "$LOAD" ] || die "no program at $TWINAX or $LOAD: run make first"

# What comes from Debian's archive comes before the namespace, which has no way out. The cgroup is for the CPU time of
# everything that a run starts, and goes when nothing is in it any more.
if [ -z "${USER_INSIDE:-}" ]; then
	# shellcheck source=../tools/deps.sh
	. "$ROOT/tools/deps.sh"
	deps_install bench || say "some packages are missing; what needs them is left out"
	kit_tree || say "no newer pasta (see $KIT_CACHE/tree.log): the system's own is used"
	# shellcheck disable=SC3045 # every shell of Debian has it
	ulimit -n "$(ulimit -H -n)"
	USER_CGROUP=
	for b_g in /sys/fs/cgroup/cpuacct /sys/fs/cgroup /sys/fs/cgroup/unified; do
		b_g=$b_g/twinax-bench.$$
		! mkdir "$b_g" 2>/dev/null || { USER_CGROUP=$b_g; break; }
	done
	USER_INSIDE=1
	export USER_INSIDE USER_CGROUP ROOT BUILD
	if [ "$(id -u)" = 0 ]; then b_user=; else b_user=-r; fi
	# shellcheck disable=SC2086
	unshare $b_user -n -m -p --fork --kill-child --mount-proc sh "$0" "$@"
	b_status=$?
	[ -z "$USER_CGROUP" ] || rmdir "$USER_CGROUP" 2>/dev/null || { sleep 1; rmdir "$USER_CGROUP"; }
	exit $b_status
fi

T=$(mktemp -d "${TMPDIR:-/tmp}/twinax-user.XXXXXX") || exit 1
chmod 755 "$T"
trap 'rm -rf "$T"' EXIT
trap 'exit 1' INT TERM
: >"$T/results"
HZ=$(getconf CLK_TCK)
[ -z "$USER_CGROUP" ] || echo 0 >"$USER_CGROUP/cgroup.procs" || USER_CGROUP=
kit_tree || KIT_TREE=

# --- subjects --------------------------------------------------------------------------------------------------------

title() {
	case $1 in
	twinax) echo "twinax run" ;;
	slirp) echo slirp4netns ;;
	veth) echo "ground: veth" ;;
	lo) echo "ground: loopback" ;;
	*) echo "$1" ;;
	esac
}

# Rootless, as people run them: root would be measured with other rights, and pasta gives them up by itself.
as() {
	if [ "$B_ROOT" = 1 ]; then exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; else exec "$@"; fi
}

# A namespace that waits. Its holder's pid is in $T/NAME.h.
hold() { # NAME
	(as unshare -r -n sleep 100000) >/dev/null 2>&1 &
	echo $! >"$T/$1.h"
	b_left=50
	until [ "$(readlink "/proc/$!/ns/net")" != "$(readlink /proc/$$/ns/net)" ] && grep -q . "/proc/$!/uid_map"; do
		b_left=$((b_left - 1))
		[ $b_left -gt 0 ] || return 1
		sleep 0.1
	done
}

ns() { # NAME COMMAND...: in its namespace
	case $1 in
	lo-*) shift && "$@" ;;
	veth-*) b_h=$(cat "$T/$1.h") && shift && nsenter -t "$b_h" -n "$@" ;;
	*) b_h=$(cat "$T/$1.h") && shift && nsenter -t "$b_h" -U -n --preserve-credentials "$@" ;;
	esac
}

host_of() { # SUBJECT MTU: the host, as its namespace knows it
	case $1-$2 in lo-*) echo 127.0.0.1 ;; veth-1500) echo 10.0.4.1 ;; veth-*) echo 10.0.3.1 ;; *) echo 10.0.2.2 ;; esac
}

port_of() { # SUBJECT: of its iperf3 server; each has one, since a stalled run occupies it
	case $1 in twinax) echo 5201 ;; pasta) echo 5202 ;; slirp) echo 5203 ;; veth) echo 5204 ;; lo) echo 5205 ;; esac
}

start_twinax() { # NAME MTU
	(as "$T/twinax" run -quiet -netdev "user$LOOPBACK" -mtu "$2" -pid "$(cat "$T/$1.h")") >"$T/$1.log" 2>&1 &
}

start_pasta() {
	(as "$PASTA" -f -q -4 --config-net -I tap0 -a 10.0.2.15 -n 24 -g 10.0.2.2 $PASTA_LOOPBACK -m "$2" \
		-t none -u none -T none -U none "$(cat "$T/$1.h")") >"$T/$1.log" 2>&1 &
}

start_slirp() {
	(as slirp4netns -c -m "$2" "$(cat "$T/$1.h")" tap0) >"$T/$1.log" 2>&1 &
}

start_veth() {
	unshare -n sleep 100000 &
	echo $! >"$T/$1.h"
	sleep 0.3
	b_a=$(host_of veth "$2")
	ip link add "v$2" mtu "$2" type veth peer name e0 mtu "$2" netns $! && ip addr add "$b_a/24" dev "v$2" && ip link set "v$2" up &&
		ns "$1" ip addr add "${b_a%1}2/24" dev e0 && ns "$1" ip link set e0 up
}

up() { # SUBJECT MTU
	b_n=$1-$2
	case $1 in
	lo) return 0 ;;
	veth)
		start_veth "$b_n" "$2"
		return
		;;
	esac
	hold "$b_n" || return 1
	"start_$1" "$b_n" "$2"
	echo $! >"$T/$b_n.pid"
	b_left=50
	until ns "$b_n" ip route 2>/dev/null | grep -q default; do
		b_left=$((b_left - 1))
		[ $b_left -gt 0 ] && kill -0 $! 2>/dev/null || return 1
		sleep 0.1
	done
}

down() { # NAME
	for b_f in "$T/$1.pid" "$T/$1.h"; do
		[ ! -e "$b_f" ] || kill "$(cat "$b_f")" 2>/dev/null
	done
	rm -f "$T/$1.pid" "$T/$1.h"
}

find_pasta() {
	[ -e "${KIT_TREE:-}/.complete" ] && kit_wrapper pasta "$T/pasta" && PASTA=$T/pasta || PASTA=$(command -v pasta) || return 1
	PASTA_VERSION=$("$PASTA" --version 2>/dev/null | sed -n 's/^pasta \([^ ]*\).*/\1/p')
	PASTA_LOOPBACK=
	"$PASTA" --help 2>&1 | grep -q map-host-loopback && PASTA_LOOPBACK="--map-host-loopback 10.0.2.2"
	return 0
}

# --- measuring -------------------------------------------------------------------------------------------------------

result() { echo "$*" >>"$T/results"; say "$*"; }

# CPU time so far, in ms: of a process, by its threads' own clocks, or in ticks where the kernel has none; of all that a run
# starts, or of the machine where there is no cgroup to tell.
cpu_of() {
	if [ -z "$1" ]; then
		echo 0
	elif [ -e "/proc/$1/schedstat" ]; then
		cat "/proc/$1/task/"*/schedstat | awk '{ n += $1 } END { printf "%d", n / 1e6 }'
	else
		echo $(($(cpu_ticks "$1") * 1000 / HZ))
	fi
}
cpu_all() {
	if [ -z "$USER_CGROUP" ]; then
		echo $(($(busy_ticks) * 1000 / HZ))
	elif [ -e "$USER_CGROUP/cpuacct.usage" ]; then
		echo $(($(cat "$USER_CGROUP/cpuacct.usage") / 1000000))
	else
		awk '$1 == "usage_usec" { print int($2 / 1000) }' "$USER_CGROUP/cpu.stat"
	fi
}

pid_of() { cat "$T/$1.pid" 2>/dev/null; } # NAME

# Runs COMMAND in a namespace: its output in $T/out, CPU time in ms of the process in R_CPU and of all in R_ALL.
timed() { # NAME SECONDS COMMAND...
	b_n=$1 b_t=$2
	shift 2
	R_CPU=$(cpu_of "$(pid_of "$b_n")") R_ALL=$(cpu_all)
	ns "$b_n" timeout -s KILL "$b_t" "$@" >"$T/out" 2>&1
	b_status=$?
	R_CPU=$(($(cpu_of "$(pid_of "$b_n")") - R_CPU)) R_ALL=$(($(cpu_all) - R_ALL))
	return $b_status
}

# "ok|stall KBIT", or "fail WHY": a run stalls when a half second of it passes (nearly) without data.
parse_tcp() { # STREAMS
	if [ "$1" -gt 1 ]; then grep 'SUM\|error' "$T/out" | sed 's/^\[SUM\]/[  0]/'; else cat "$T/out"; fi | awk '
		/iperf3: error/ { sub(/.*error - /, ""); error = $0 }
		/Kbits\/sec/ {
			sub(/^\[ *[0-9]+\]/, "")
			split($1, t, "-")
			if ($NF == "receiver") total = $5
			else if ($NF != "sender" && t[2] - t[1] > 0.25) { n++; sum += $5; if (low == "" || $5 < low) low = $5 }
		}
		END {
			if (error != "") print "fail " error
			else if (total == "" || total <= 0) print "fail no result"
			else print (n && low < 0.05 * sum / n ? "stall " : "ok ") total
		}'
}

run_tcp() { # SUBJECT MTU DIR STREAMS
	case $3 in in) b_flag=-R ;; *) b_flag= ;; esac
	timed "$1-$2" $((SECS + 10)) iperf3 -c "$(host_of "$1" "$2")" -p "$(port_of "$1")" -t "$SECS" -i 0.5 -f k -P "$4" --connect-timeout 5000 $b_flag
	# shellcheck disable=SC2046 # words are wanted
	set -- "$@" $(parse_tcp "$4")
	case $5 in
	ok | stall)
		[ "$5" = ok ] && result "tcp $1 $2 $3 $4 $6" || result "bad tcp $1 $2 $3 $4 stall $6"
		# Of a run that brings next to nothing, CPU time by the byte says nothing.
		[ -z "$(pid_of "$1-$2")" ] || [ "${6%.*}" -lt 100000 ] || echo "cpu $1 $2 $3 $4 $(awk -v t="$R_CPU" -v k="$6" -v s="$SECS" 'BEGIN { printf "%.3f", t / (k * s / 8e3) }')" >>"$T/results"
		echo "all $1 $2 $3 $4 $(awk -v t="$R_ALL" -v k="$6" -v s="$SECS" 'BEGIN { printf "%.3f", t / (k * s / 8e3) }')" >>"$T/results"
		;;
	*) result "bad tcp $1 $2 $3 $4 fail $*" ;;
	esac
	[ "$5" = ok ] || server "$(port_of "$1")"
}

work_tcp() { # SUBJECT...: 4 and 16 streams are compared with one of our own
	for b_s in "$@"; do
		for b_m in 65520 1500; do
			[ "$b_s $b_m" != "lo 1500" ] || continue
			for b_d in out in; do
				run_tcp "$b_s" "$b_m" "$b_d" 1
				[ "$b_s" = twinax ] && [ "$b_d" = in ] || continue
				for b_p in 4 16; do
					run_tcp "$b_s" "$b_m" out $b_p
					run_tcp "$b_s" "$b_m" in $b_p
				done
			done
		done
	done
}

work_rtt() {
	for b_s in "$@"; do
		timed "$b_s-65520" 20 "$LOAD" rr "$(host_of "$b_s" 65520)" 7000 1 || { result "bad rtt $b_s $(cat "$T/out")"; continue; }
		result "rtt $b_s $(cut -d' ' -f1 "$T/out")"
		result "p99 $b_s $(cut -d' ' -f2 "$T/out")"
	done
}

work_crr() {
	for b_s in "$@"; do
		timed "$b_s-65520" 20 "$LOAD" crr "$(host_of "$b_s" 65520)" 7000 1 || { result "bad crr $b_s $(tail -n 1 "$T/out")"; continue; }
		result "crr $b_s $(cat "$T/out")"
	done
}

# Datagrams a second of the process's CPU, at the highest rate whose loss is under 0.1 %: looked for once, twice at each rate.
run_udp() { # SUBJECT DIR SIZE RATE: 0 if it counts
	timed "$1-65520" 20 "$LOAD" udp "$2" "$(host_of "$1" 65520)" 7000 1 "$3" "$4" || { R_LOSS=fail; return 1; }
	R_LOSS=$(awk '{ print $1 ? ($1 - $2) / $1 : 1 }' "$T/out")
	awk -v l="$R_LOSS" 'BEGIN { exit !(l < 0.001) }'
}

work_udp() {
	for b_s in "$@"; do
		case $b_s in lo | veth) continue ;; esac
		for b_d in out in; do
			for b_z in 64 1400; do
				b_f=$T/rate.$b_s.$b_d.$b_z
				for b_r in $(cat "$b_f" 2>/dev/null || echo 200000 100000 60000 40000 25000 15000 8000 4000); do
					echo "$b_r" >"$b_f"
					run_udp "$b_s" "$b_d" "$b_z" "$b_r" && break
					run_udp "$b_s" "$b_d" "$b_z" "$b_r" && break
				done
				if [ "$R_LOSS" != fail ] && awk -v l="$R_LOSS" 'BEGIN { exit !(l < 0.001) }' && [ "$R_CPU" -gt 0 ]; then
					result "udp $b_s $b_d $b_z $(awk -v c="$R_CPU" '{ printf "%d", $2 * 1000 / c }' "$T/out")"
					echo "udprate $b_s $b_d $b_z $b_r" >>"$T/results"
					echo "udpall $b_s $b_d $b_z $(awk -v c="$R_ALL" '{ printf "%d", $2 * 1000 / c }' "$T/out")" >>"$T/results"
				else
					result "bad udp $b_s $b_d $b_z loss $R_LOSS at $b_r a second"
				fi
			done
		done
	done
}

private_of() { memory "$(pid_of "$1-65520")" | cut -d' ' -f1; } # SUBJECT: KiB

work_flows() {
	for b_s in "$@"; do
		case $b_s in twinax | pasta) ;; *) continue ;; esac
		b_before=$(private_of "$b_s")
		ns "$b_s-65520" "$LOAD" idle "$(host_of "$b_s" 65520)" 7000 $FLOWS >"$T/idle" 2>&1 &
		b_client=$!
		b_left=300
		until grep -q . "$T/idle" 2>/dev/null || [ $b_left = 0 ]; do b_left=$((b_left - 1)); sleep 0.1; done
		if grep -q "^open" "$T/idle"; then
			sleep 1
			result "flows $b_s $(awk -v a="$b_before" -v b="$(private_of "$b_s")" -v n=$FLOWS 'BEGIN { printf "%.3f", (b - a) / n }')"
		else
			result "bad flows $b_s $(cat "$T/idle")"
		fi
		kill $b_client
		{ wait $b_client; } 2>/dev/null
		sleep 1
	done
}

# --- all of it -------------------------------------------------------------------------------------------------------

[ "$(id -u)" = 0 ] && setpriv --reuid 65534 --regid 65534 --clear-groups true 2>/dev/null && B_ROOT=1 || B_ROOT=0
cp "$TWINAX" "$T/twinax" && cp -L "$(dirname "$TWINAX")"/libtwinax.so.0 "$T" && chmod 755 "$T"/*twinax* || exit 1
LOOPBACK=
"$TWINAX" run -netdev user,help 2>/dev/null | grep -q host-loopback && LOOPBACK=,host-loopback=on
ip link set lo up
ip link add none0 type veth 2>/dev/null || die "no right to make interfaces"
ip link del none0
PASTA_VERSION=
find_pasta || SUBJECTS=$(echo "$SUBJECTS" | sed 's/pasta//')
command -v slirp4netns >/dev/null || SUBJECTS=$(echo "$SUBJECTS" | sed 's/slirp//')
"$LOAD" serve 7000 >/dev/null 2>&1 &
for s in $SUBJECTS; do server "$(port_of "$s")"; done
READY=
for s in $SUBJECTS; do
	if up "$s" 65520 && up "$s" 1500; then READY="$READY $s"; else
		result "down $s $(tail -n 1 "$T/$s-1500.log" "$T/$s-65520.log" 2>/dev/null | tr '\n' ' ')"
	fi
done
[ -z "$READY" ] && die "nothing to measure"
sleep 1
for s in $READY; do
	[ ! -e "$T/$s-65520.pid" ] || result "idle $s $(private_of "$s")"
done
round=0
while [ $round -lt "$RUNS" ]; do
	round=$((round + 1))
	order=$READY
	[ $((round % 2)) = 1 ] || order=$(for s in $READY; do echo "$s"; done | sed '1!G;h;$!d')
	for w in tcp rtt crr udp; do
		# shellcheck disable=SC2086
		! wants "$WORK" $w || "work_$w" $order
	done
done
# shellcheck disable=SC2086
! wants "$WORK" flows || work_flows $READY
for s in $READY; do down "$s-65520"; down "$s-1500"; done

# shellcheck source=user_report.sh
. "$ROOT/bench/user_report.sh"
user_table
user_json >"$BUILD/bench-user.json" && echo "JSON: $BUILD/bench-user.json"
grep -q '^[a-z0-9]* twinax' "$T/results" || die "twinax could not be measured"
