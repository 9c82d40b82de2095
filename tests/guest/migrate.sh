#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Live migration: a busy QEMU guest moves from one twinax to another and back, its connections with it. Both have a tap
# on the same bridge. What twinax writes into guest memory while QEMU copies it must be in the dirty log: while all
# pages are copied once, slow streams trickle into sockets that nobody reads, and every byte is checked after the move.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" "${KIT_QEMU:-qemu-system-x86_64}" busybox cpio iperf3
[ -w /dev/net/tun ] || { echo "1..0 # SKIP $T_NAME: /dev/net/tun cannot be opened (as root: chmod 666 /dev/net/tun)"; exit 77; }
MOVES=${MOVES:-4} # of the system's QEMU; half as many of a newer one, where it is
# QEMU 7.2 under tcg forgets stores of the guest, with any NIC, if memory is a multiple of 256 KiB: it then takes a
# short cut through the dirty bitmap that does not reach the translated code.
KIT_MEM=256.0625
KIT_PROGRAMS=$(command -v iperf3)
guest_files

# The guest's part, under a short name: a serial line that has just migrated may lose a byte of a long command.
cat >"$T/root/bin/mg" <<-'GUEST'
	#!/bin/busybox sh
	cd /tmp
	case $1 in
	load) # PORT [MBIT/S]
		rm -f stop still drain.*
		iperf3 -c 10.9.0.1 -p "$2" -t 3600 --bidir ${3:+-b "$3"} >iperf3 2>&1 &
		echo $! >iperf3.pid
		;;
	readers) # COUNT of connections that are accepted and not read
		for i in $(seq "$2"); do
			netpeer drain 10.9.0.1 9000 /tmp/stop >drain.$i 2>&1 &
			p=$!
			until grep -qs connected drain.$i; do sleep 0.1; done
			kill -STOP $p
			echo $p >>still
		done
		;;
	get) wget -q -O file http://10.9.0.1:8080/file; sha256sum <file ;;
	sum) sha256sum <file ;;
	alive) kill -0 "$(cat iperf3.pid)" && ! grep -i error iperf3 || { cat iperf3; false; } ;;
	read)
		touch stop
		kill -CONT $(cat still)
		kill "$(cat iperf3.pid)"
		;;
	ended) # COUNT
		[ "$(cat drain.* | grep -c '^drained\|^wrong')" = "$2" ]
		;;
	verdict) cat drain.* | grep -v '^connected' | sed 's/drained [0-9]* bytes/all right/' | sort | uniq -c ;;
	esac
GUEST
chmod 755 "$T/root/bin/mg" && kit_initrd "$T/root" "$T/initrd"

ip link add br0 type bridge forward_delay 0 && ip addr add 10.9.0.1/24 dev br0 && ip link set br0 up
for side in a b; do
	ip tuntap add dev "tap$side" mode tap && ip link set "tap$side" master br0 up
	twinax_up "$side" -netdev "tap,id=n0,ifname=tap$side,script=no,downscript=no" \
		-device "virtio-net,id=nic0,netdev=n0,export=vhost-user:$T/$side.sock" || t_fail "twinax serve comes up" ""
done
mkdir "$T/www"
head -c 8000000 /dev/urandom >"$T/www/file"
want=$(sum "$T/www/file")
serve_http 10.9.0.1 8080 "$T/www"
"$NETPEER" pour 10.9.0.1 9000 300000 >/dev/null &

mon() { ctl "qemu-$1" "$2"; } # a line to the human monitor of that QEMU
ask() { mon "$1" "{\"execute\": \"query-$2\"}"; }

# The stack of one side: QEMU with its NIC on that side's twinax.
vmm() { # NAME SIDE ARG...
	v_name=$1 v_side=$2
	shift 2
	mkdir -p "$T/$v_name"
	guest_qemu "$T/$v_name" "$T/initrd" -chardev "socket,id=c0,path=$T/$v_side.sock" \
		-netdev vhost-user,id=v0,chardev=c0 -device "$VHOST_NIC" \
		-qmp "unix:$T/qemu-$v_name.qmp,server=on,wait=off" "$@"
}

listens() { ss -Hltn "sport = :$1" | grep -q .; }
is_in_state() { ask "$1" migrate | grep -q "^  \"status\": \"$2\""; }
is_running() { ask "$1" status | grep -q '"running": true'; }
copied_once() { [ "$(ask "$1" migrate | sed -n 's/.*"dirty-sync-count": \([0-9]*\).*/\1/p')" -gt 1 ]; }

# Frames through a side's twinax since `mark`, both ways: more than a few packets of something else would be.
mark() {
	m_rx=$(stat_of "$1" n0 rx.frames)
	m_tx=$(stat_of "$1" n0 tx.frames)
}
flows() { [ "$(stat_of "$1" n0 rx.frames)" -gt $((m_rx + 100)) ] && [ "$(stat_of "$1" n0 tx.frames)" -gt $((m_tx + 100)) ]; }

move() { # NAME PORT FROM TO SIDE [MBIT/S]
	n=$1 port=$2 from=$3 to=$4 side=$5
	step "move $n: a QEMU waits on the other side" vmm "$to" "$side" -incoming "unix:$T/wire.$port" || return 1
	until_true 20 ask "$to" status
	iperf3 -s -1 -D -p "$port" >/dev/null
	until_true 20 listens "$port"
	g "mg load $port ${6:-}"
	mon "$from" 'migrate_set_parameter max-bandwidth 40M' >/dev/null
	mon "$from" 'migrate_set_parameter downtime-limit 500' >/dev/null
	g "mg readers 8"
	mon "$from" "migrate -d unix:$T/wire.$port" >/dev/null
	holds "move $n: a file received while pages are copied" "$(g 'mg get')" "$want*"
	step "move $n: each page has been copied" until_true 90 copied_once "$from" || return 1
	mon "$from" 'migrate_set_parameter max-bandwidth 1000M' >/dev/null
	step "move $n: the migration ends well" until_true 60 is_in_state "$from" completed || { ask "$from" migrate; return 1; }
	t0=$(date +%s%N)
	step "move $n: the guest runs on the other side" until_true 20 is_running "$to" || return 1
	mark "$side"
	step "move $n: traffic flows there" until_true 30 flows "$side"
	echo "# move $n: $((($(date +%s%N) - t0) / 1000000)) ms from QEMU's word to 100 frames each way; QEMU:" \
		"$(ask "$from" migrate | sed -n 's/^ *"\(total-time\|downtime\|dirty-sync-count\)": \([0-9]*\).*/\1 \2/p' | tr '\n' ' ')"
	guest_kill "$T/$from"
	G=$T/$to
	holds "move $n: the bridge has learned the guest's new place" "$(bridge fdb show br br0 | grep -i 52:54:00:12:34:56)" "*dev tap$side *"
	holds "move $n: the file in the guest's memory" "$(g 'mg sum')" "$want*"
	step "move $n: iperf3 runs on" g 'mg alive'
	g 'mg read'
	step "move $n: the readers come to an end" until_true 60 g 'mg ended 8'
	holds "move $n: what waited in the guest's memory is as it was sent" "$(g 'mg verdict')" '*8 all right: closed'
}

session() { # NAME MOVES
	step "$1: the guest boots" vmm "$1-0" a || return 1
	G=$T/$1-0
	step "$1: and takes commands" guest_up "$G" 120 || return 1
	step "$1: its address" g 'ip link set eth0 up && ip addr add 10.9.0.2/24 dev eth0'
	# Room for what nobody reads.
	g 'echo 4096 4194304 6291456 >/proc/sys/net/ipv4/tcp_rmem'
	for i in $(seq "$2"); do
		side=a
		[ $((i % 2)) = 0 ] || side=b
		# Slow traffic leaves many pages lent to twinax while they are copied; fast traffic has the rings full.
		rate=
		[ $((i % 4)) -gt 1 ] || rate=10M
		port=$((port + 1))
		move "$1 $i" "$port" "$1-$((i - 1))" "$1-$i" "$side" $rate || return 1
	done
	guest_kill "$G"
}

port=5200
session qemu "$MOVES" || for pid in "$T"/*/pid; do guest_kill "$(dirname "$pid")"; done
if [ -z "${KIT_QEMU:-}" ] && kit_newer_qemu "$T/qemu"; then
	VHOST_NIC="${VHOST_NIC%,vectors=0}$(kit_nic_quirks)"
	session newer-qemu "$((MOVES / 2))"
else
	skip "newer QEMU" "there is none (tools/guest-kit.sh: kit_tree)"
fi
step "twinax a lives" twinax_alive a
step "twinax b lives" twinax_alive b
finish
