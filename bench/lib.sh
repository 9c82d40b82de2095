# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh disable=SC2034 # the variables are for run.sh and report.sh
# What bench/run.sh measures with: peers, guests that wait for commands, iperf3 runs, processes' CPU and memory.
# POSIX sh; sourced after tools/guest-kit.sh, inside a network namespace. Everything lives in the folder $T.
#
#   bench_qemu                     sets KIT_QEMU, QEMU_VERSION: the newest QEMU that can be had
#   bench_passt                    sets PASST, PASST_VERSION: a passt that knows --vhost-user; 1 if there is none
#   backend_twinax NAME [MODEL HOST]  twinax serve on $T/NAME.sock; its pid in $T/NAME.pid
#   backend_passt NAME             the same with passt
#   boot NAME ARG...               a QEMU guest; boot_uml NAME ARG...: a user-mode Linux guest
#   address NAME DEV GUEST GATEWAY set up its NIC
#   server PORT                    (re)start the iperf3 server on that port
#   run_iperf NAME DIR SECONDS HOST PORT  one run: sets R_STATUS (ok, stall, fail), R_NOTE, R_KBIT, and in ticks the CPU
#                                  time of the back end R_CPU, of the guest's process R_VMM, of others R_OTHERS
#   cpu_ticks PID                  CPU time that the process has used, in ticks; busy_ticks: of all, stolen time included
#   memory PID                     "private resident" in KiB, guest memory left out
#   stats_of FILE KEY...           "median min max n": of the numbers on the lines that begin with KEY...

# --- peers -----------------------------------------------------------------------------------------------------------

bench_qemu() {
	if [ -e "${KIT_TREE:-}/.complete" ] && kit_wrapper qemu-system-x86_64 "$T/qemu" \
		-L "$KIT_TREE/usr/share/qemu" -L "$KIT_TREE/usr/share/seabios"; then
		KIT_QEMU=$T/qemu
	else
		KIT_QEMU=$(command -v qemu-system-x86_64) || return 1
	fi
	QEMU_VERSION=$("$KIT_QEMU" --version 2>/dev/null | sed -n 's/.*version \([0-9.]*\).*/\1/p')
	[ -n "$QEMU_VERSION" ]
}

# passt starts its AVX2 build by path, which fails behind a loader: choose here what it would choose itself.
bench_passt() {
	b_best=passt
	! grep -qw avx2 /proc/cpuinfo || b_best="passt.avx2 passt"
	for PASST in $b_best; do
		[ -e "${KIT_TREE:-}/.complete" ] && kit_wrapper "$PASST" "$T/$PASST" || continue
		PASST=$T/$PASST
		bench_passt_works && return 0
	done
	PASST=$(command -v passt) && bench_passt_works
}

bench_passt_works() {
	"$PASST" --help 2>&1 | grep -q -- --vhost-user || return 1
	PASST_VERSION=$("$PASST" --version 2>/dev/null | sed -n 's/^passt \([^ ]*\).*/\1/p')
}

socket_up() { # PATH PID
	b_left=100
	until [ -S "$1" ]; do
		b_left=$((b_left - 1))
		[ "$b_left" -gt 0 ] && kill -0 "$2" 2>/dev/null || return 1
		sleep 0.1
	done
}

backend_twinax() { # NAME [MODEL HOST]
	"$TWINAX" serve -netdev user,id=n0 -device "${2:-virtio-net},netdev=n0,export=${3:-vhost-user}:$T/$1.sock" \
		-qmp "unix:$T/$1.qmp,server=on,wait=off" </dev/null >"$T/$1.log" 2>&1 &
	echo $! >"$T/$1.pid"
	socket_up "$T/$1.sock" $!
}

backend_passt() { # NAME: the namespace has no route outside, so that passt is told every address
	"$PASST" -f -q --vhost-user -s "$T/$1.sock" -4 -a 10.0.2.15 -n 24 -g 10.0.2.2 --map-host-loopback 10.0.2.2 \
		-m 1500 --runas 0 </dev/null >"$T/$1.log" 2>&1 &
	echo $! >"$T/$1.pid"
	socket_up "$T/$1.sock" $!
}

# --- guests ----------------------------------------------------------------------------------------------------------

boot() { # NAME ARG...
	b_g=$T/$1
	shift
	mkdir -p "$b_g"
	guest_qemu "$b_g" "$T/initrd" "$@" && guest_up "$b_g" 120
}

boot_uml() { # NAME ARG...: root folders are not shared, a guest writes to its own
	b_g=$T/$1
	mkdir -p "$b_g"
	cp -a "$T/uml-root" "$b_g/root" || return 1
	shift
	guest_uml "$b_g" "$b_g/root" "$@" && guest_up "$b_g" 120
}

vhost_user_args() { # NAME
	echo "-chardev socket,id=c0,path=$T/$1.sock -netdev vhost-user,id=n0,chardev=c0"
}

vfio_user_device() { # NAME
	printf '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"%s"}}' "$T/$1.sock"
}

address() { # NAME DEV GUEST GATEWAY
	guest "$T/$1" 20 "ip addr add $3/24 dev $2 && ip link set $2 up && ip route add default via $4 && cat /sys/class/net/$2/mtu" \
		>"$T/mtu" && [ "$(tail -n 1 "$T/mtu")" = 1500 ]
}

# --- runs ------------------------------------------------------------------------------------------------------------

server() { # PORT
	if [ -e "$T/server.$1" ]; then
		b_pid=$(cat "$T/server.$1")
		kill -9 "$b_pid" 2>/dev/null
		{ wait "$b_pid"; } 2>/dev/null
	fi
	iperf3 -s -p "$1" >/dev/null 2>&1 </dev/null &
	echo $! >"$T/server.$1"
	sleep 0.3
}

cpu_ticks() { # PID
	sed 's/.*) //' "/proc/${1:-none}/stat" 2>/dev/null | awk '{ print $12 + $13 }' | grep . || echo 0
}

busy_ticks() { awk '$1 == "cpu" { print $2 + $3 + $4 + $7 + $8 + $9 }' /proc/stat; }

# A run counts if iperf3 ends well, and if no half second of it passed (nearly) without data.
parse_iperf() { # FILE: "ok KBIT", "stall NOTE" or "fail NOTE"
	awk '
		/iperf3: error|^unable to/ { sub(/.*error - /, ""); error = $0 }
		/Kbits\/sec/ {
			sub(/^\[ *[0-9]+\]/, "")
			split($1, t, "-")
			if ($NF == "receiver") total = $5
			else if ($NF != "sender" && t[2] - t[1] > 0.25) { n++; sum += $5; if (low == "" || $5 < low) low = $5 }
		}
		END {
			if (error != "") print "fail " error
			else if (total == "" || total <= 0) print "fail no result"
			else if (n && low < 0.05 * sum / n) print "stall " low " kbit/s in one half second, the mean is " int(sum / n)
			else print "ok " total
		}' "$1"
}

run_iperf() { # NAME DIR SECONDS HOST PORT
	case $2 in in) b_flag=-R ;; *) b_flag= ;; esac
	b_pid=$(cat "$T/$1.pid" 2>/dev/null)
	b_vmm=$(cat "$T/$1/pid")
	b_server=$(cat "$T/server.$5")
	R_CPU=$(cpu_ticks "$b_pid")
	R_VMM=$(cpu_ticks "$b_vmm")
	R_OTHERS=$(($(busy_ticks) - $(cpu_ticks "$b_server")))
	guest "$T/$1" $(($3 + 40)) "timeout -s KILL $(($3 + 15)) iperf3 -c $4 -p $5 -t $3 -i 0.5 -f k --connect-timeout 5000 $b_flag \
>/tmp/out 2>&1; echo status \$?; cat /tmp/out" >"$T/iperf.out" 2>&1
	b_status=$?
	R_CPU=$(($(cpu_ticks "$b_pid") - R_CPU))
	R_VMM=$(($(cpu_ticks "$b_vmm") - R_VMM))
	R_OTHERS=$(($(busy_ticks) - $(cpu_ticks "$b_server") - R_OTHERS - R_CPU - R_VMM))
	R_STATUS=fail R_KBIT=0 R_NOTE="the guest does not answer"
	if [ "$b_status" = 0 ]; then
		# shellcheck disable=SC2046 # words are wanted
		set -- "$5" $(parse_iperf "$T/iperf.out")
		R_STATUS=$2
		if [ "$R_STATUS" = ok ]; then R_KBIT=$3 R_NOTE=; else
			b_port=$1
			shift 2
			R_NOTE=$*
			server "$b_port"
		fi
	fi
	[ "$R_STATUS" = ok ]
}

# --- numbers ---------------------------------------------------------------------------------------------------------

# Memory that the front end lent is not the back end's own: QEMU's memfd, user-mode Linux's file; nor is a guest's of
# GUEST-MIB in a mapping of a VMM's own.
memory() { # PID [GUEST-MIB]
	awk -v large="$((${2:-1048576} * 1024))" '
		/^[0-9a-f]+-[0-9a-f]+ / { guest = ($6 ~ /memfd:memory-backend|vm_file-/) }
		$1 == "Size:" && $2 >= large { guest = 1 }
		$1 == "Rss:" && !guest { rss += $2 }
		$1 == "Anonymous:" && !guest { anon += $2 }
		END { print anon + 0, rss + 0 }' "/proc/$1/smaps"
}

stats_of() { # FILE KEY...
	b_f=$1
	shift
	awk -v key="$*" 'index($0, key " ") == 1 { print $NF }' "$b_f" | sort -n |
		awk '{ v[NR] = $1 }
			END { if (!NR) print "- - - 0"
				else print (NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2), v[1], v[NR], NR }'
}
