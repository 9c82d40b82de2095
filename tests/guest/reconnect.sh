#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# twinax is killed with -9 and started again, many times, under a running QEMU guest with two NICs that are both busy:
# what goes through a tap goes on, to the byte; connections of the user-mode network are reset, and new ones work.
# Once with QEMU as the client of the vhost-user sockets, once as the server.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" qemu-system-x86_64 busybox cpio
[ -w /dev/net/tun ] || { echo "1..0 # SKIP $T_NAME: /dev/net/tun cannot be opened (as root: chmod 666 /dev/net/tun)"; exit 77; }
ROUNDS=${ROUNDS:-10}
KIT_PROGRAMS=
guest_files

# The interface outlives twinax, which opens it by name.
ip tuntap add dev tap0 mode tap && ip addr add 10.9.0.1/24 dev tap0 && ip link set tap0 up
mkdir "$T/www"
head -c 1000000 /dev/urandom >"$T/www/file"
want=$(sum "$T/www/file")
serve_http 127.0.0.1 8080 "$T/www"
"$NETPEER" echo 127.0.0.1 7777 &
"$NETPEER" pour 127.0.0.1 9000 0 >/dev/null &
"$NETPEER" pour 10.9.0.1 9000 0 >"$T/poured" &

now_ms() { echo $(($(date +%s%N) / 1000000)); }

start() { # OPTIONS of the export
	twinax_up tw -netdev "tap,id=t0,ifname=tap0,script=no,downscript=no" -netdev "user,id=u0" \
		-device "virtio-net,id=nic0,netdev=t0,export=vhost-user:$T/0.sock$1" \
		-device "virtio-net,id=nic1,netdev=u0,export=vhost-user:$T/1.sock$1"
}

# Counters are those of this process: it has just begun with none.
flows() { [ "$(stat_of tw t0 rx.bytes)" -gt 100000 ] && [ "$(stat_of tw t0 tx.bytes)" -gt 2000000 ]; }
user_flows() { [ "$(stat_of tw u0 tx.bytes)" -gt 2000000 ]; }
ended() { g "grep -q '^$1.*$2' /tmp/$3"; } # in the guest's log of a client
fetch() { g "wget -q -O - http://10.0.2.2:8080/file | sha256sum"; }

clients() { # in the guest, on the user-mode network: one that only receives, one that asks now and then
	g "netpeer drain 10.0.2.2 9000 /tmp/never >/tmp/drain 2>&1 & netpeer hold 10.0.2.2 7777 >/tmp/hold 2>&1 & \
until grep -qs connected /tmp/drain && grep -qs connected /tmp/hold; do sleep 0.1; done"
}

one_round() { # NUMBER OPTIONS
	clients
	step "round $1: the tap is busy" until_true 30 flows && step "round $1: user, too" until_true 30 user_flows ||
		return 1
	twinax_kill tw
	t0=$(now_ms)
	step "round $1: killed and started again" start "$2" || return 1
	t1=$(now_ms)
	step "round $1: the guest's TCP through the tap goes on" until_true 60 flows
	t2=$(now_ms)
	step "round $1: the old download was reset" until_true 60 ended drained reset drain
	t3=$(now_ms)
	step "round $1: the old conversation was reset" until_true 60 ended ended reset hold
	t4=$(now_ms)
	holds "round $1: a new fetch works" "$(fetch)" "$want*"
	echo "# ms after the kill: listening $((t1 - t0)), tap busy $((t2 - t0)), resets seen $((t3 - t0)) and $((t4 - t0))"
}

torture() { # NAME SECOND_NIC_CHARDEV_OPTIONS EXPORT_OPTIONS
	rm -f "$T/stop"
	step "$1: the guest boots" boot "$1" "$T/0.sock" -chardev "socket,id=c1,path=$T/1.sock$BOOT_CHARDEV" \
		-netdev vhost-user,id=v1,chardev=c1 -device "$(echo "$VHOST_NIC" | sed 's/v0/v1/;s/34:56/34:57/')" || return 1
	step "$1: addresses" g "ip link set eth0 up && ip addr add 10.9.0.2/24 dev eth0 && $(echo "$DHCP" | sed s/eth0/eth1/g)"
	g 'netpeer pour 10.9.0.2 9001 0 >/tmp/poured & netpeer drain 10.9.0.1 9000 /tmp/stop >/tmp/tap-drain 2>&1 &'
	until_true 20 busybox nc -w 1 -e true 10.9.0.2 9001
	"$NETPEER" drain 10.9.0.2 9001 "$T/stop" >"$T/drained" &
	for i in $(seq "$ROUNDS"); do one_round "$1 $i" "$2" || return 1; done
	touch "$T/stop"
	g 'touch /tmp/stop'
	step "$1: the tap's download ends" until_true 60 ended drained closed tap-drain
	holds "$1: and is whole" "$(g 'cat /tmp/tap-drain' | sed -n 's/^drained/poured/p')" "$(tail -n 1 "$T/poured"): closed"
	step "$1: the tap's upload ends" until_true 60 grep -q '^drained.*closed' "$T/drained"
	holds "$1: and is whole" "$(sed -n 's/^drained/poured/p' "$T/drained")" "$(g 'cat /tmp/poured'): closed"
	guest_off "$T/$1"
	twinax_end tw
	holds "$1: twinax ends in good order, its record of connections goes with it" "$(find "$T" -name '*.flows')" ''
}

start '' || t_fail "twinax serve comes up" ""
BOOT_CHARDEV=$(kit_chardev_reconnect)
torture client ''
start ,server=off,reconnect-ms=100 || t_fail "twinax serve comes up" ""
BOOT_CHARDEV=,server=on,wait=off
torture server ,server=off,reconnect-ms=100
finish
