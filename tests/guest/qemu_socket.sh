#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# QEMU's own -netdev stream, dgram and socket on the other end of ours: one guest with a NIC for each kind of
# connection, each leading over its socket to a hub in twinax with a user-mode network of its own.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" qemu-system-x86_64 busybox cpio
guest_files
ip link set lo multicast on
ip route add 224.0.0.0/4 dev lo

mkdir "$T/www"
head -c 2000000 /dev/urandom >"$T/www/f"
want=$(sum "$T/www/f")
serve_http 127.0.0.1 8080 "$T/www"

n=0 tw_args='' qemu_args='' names=''
# kind NAME OURS QEMUS: the n-th becomes the guest's eth(n-1) and the network 10.0.n.0/24
kind() {
	n=$((n + 1))
	names="$names $1"
	tw_args="$tw_args -netdev $2,id=s$n -netdev user,id=u$n,net=10.0.$n.0/24
		-netdev hubport,id=a$n,hubid=$n,netdev=s$n -netdev hubport,id=b$n,hubid=$n,netdev=u$n"
	k_slot=$(printf '%02x' $((n + 2)))
	qemu_args="$qemu_args -netdev $3,id=q$n -device virtio-net-pci,netdev=q$n,romfile=,addr=0x$k_slot,mac=52:54:00:00:01:$k_slot"
}

udp() { # PREFIX PORT
	echo "$1.type=inet,$1.host=127.0.0.1,$1.port=$2"
}

# Nobody at the other end ever has to be told to connect again.
kind dgram-unix "dgram,local.type=unix,local.path=$T/d1,remote.type=unix,remote.path=$T/d2" \
	"dgram,local.type=unix,local.path=$T/d2,remote.type=unix,remote.path=$T/d1"
kind dgram-inet "dgram,$(udp local 7001),$(udp remote 7002)" "dgram,$(udp local 7002),$(udp remote 7001)"
kind dgram-for-udp "dgram,$(udp local 7003),$(udp remote 7004)" socket,udp=127.0.0.1:7003,localaddr=127.0.0.1:7004
kind udp-for-dgram socket,udp=127.0.0.1:7006,localaddr=127.0.0.1:7005 "dgram,$(udp local 7006),$(udp remote 7005)"
kind mcast-for-dgram socket,mcast=230.0.0.1:7007 dgram,remote.type=inet,remote.host=230.0.0.1,remote.port=7007
kind dgram-for-mcast dgram,remote.type=inet,remote.host=230.0.0.1,remote.port=7008 socket,mcast=230.0.0.1:7008
# We connect, and again when the other end goes.
kind connect-unix "stream,addr.type=unix,addr.path=$T/c1,reconnect-ms=200" "stream,server=on,addr.type=unix,addr.path=$T/c1"
kind connect-inet stream,addr.type=inet,addr.host=localhost,addr.port=7009,reconnect=1 socket,listen=127.0.0.1:7009
n_ours=$n
# We listen. QEMU 7.2 connects once, newer ones again; `socket` never does.
kind listen-unix "stream,server=on,addr.type=unix,addr.path=$T/l1" "stream,addr.type=unix,addr.path=$T/l1AGAIN"
kind listen-abstract "stream,server=on,addr.type=unix,addr.abstract=on,addr.path=twx$$" \
	"stream,addr.type=unix,addr.abstract=on,addr.path=twx${$}AGAIN"
kind socket-listen socket,listen=127.0.0.1:7011 stream,addr.type=inet,addr.host=127.0.0.1,addr.port=7011AGAIN
n_newer=$n
kind listen-inet stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=7010 socket,connect=127.0.0.1:7010

boot_kinds() { # DIR [OPTION of a stream client]
	mkdir -p "$T/$1"
	# shellcheck disable=SC2046 # words are wanted
	guest_qemu "$T/$1" "$T/initrd" $(echo "$qemu_args" | sed "s/AGAIN/${2:-}/g") && guest_up "$T/$1" 120 && G=$T/$1 &&
		g "for i in \$(seq 1 $n); do e=eth\$((i - 1)); ip addr add 10.0.\$i.15/24 dev \$e && ip link set \$e up || exit 1; done"
}

each() { # N TEXT COMMAND: for the first N kinds, with the number in place of @
	e_i=0
	for e_name in $names; do
		e_i=$((e_i + 1))
		[ $e_i -le "$1" ] || break
		step "$e_name: $2" g "$(echo "$3" | sed "s/@/$e_i/g")"
	done
}

again() { # NAME N: kill -9 and a successor
	twinax_kill tw
	# shellcheck disable=SC2086 # words are wanted
	step "twinax comes up again after kill -9 ($1)" twinax_up tw $tw_args
	each "$2" "ping after that ($1)" "$patiently"
}

pinged='ping -c 1 -W 5 10.0.@.2'
patiently="for i in 1 2 3 4 5 6; do $pinged && exit; done; false"
fetched="wget -q -O /tmp/f http://10.0.@.2:8080/f && echo '$want  /tmp/f' | sha256sum -c"
# shellcheck disable=SC2086 # words are wanted
twinax_up tw $tw_args || t_fail "twinax serve comes up" ""
step "the guest boots" boot_kinds g1 || finish
each $n "ping" "$pinged"
each $n "a full frame" 'ping -c 1 -W 5 -s 1472 10.0.@.2'
each $n "a file comes whole" "$fetched"
each $n "and goes back" "[ \$(http-put /tmp/f 10.0.@.2 8080 /cgi-bin/put) = $want ]"
step "the first by DHCP" g "ip addr flush dev eth0; udhcpc -i eth0 -s /etc/dhcp -n -q -t 8 -T 2 | grep 'lease 10.0.1.15'"
for line in "s1: index=0,type=dgram,udp=$T/d1:$T/d2" "s2: index=0,type=dgram,udp=127.0.0.1:7001/127.0.0.1:7002" \
	"s5: index=0,type=socket,socket: mcast=230.0.0.1:7007" "s6: index=0,type=dgram,mcast=230.0.0.1:7008" \
	"s7: index=0,type=stream,unix:$T/c1" "s8: index=0,type=stream,tcp:127.0.0.1:7009" \
	"s11: index=0,type=socket,socket: connection from 127.0.0.1:"; do
	holds "info network" "$(ctl tw info network)" "*$line*"
done
again qemu $n_ours

guest_kill "$T/g1"
rm -f "$T/d2" "$T/c1"
step "another guest boots after the first was killed" boot_kinds g2 || finish
each $n "ping from there" "$patiently"
each $n "a file from there" "$fetched"
guest_kill "$T/g2"

if [ -z "${KIT_QEMU:-}" ] && kit_newer_qemu "$T/qemu"; then
	rm -f "$T/d2" "$T/c1"
	step "a guest of a newer QEMU boots" boot_kinds g3 ,reconnect-ms=200 || finish
	each $n "ping (newer QEMU)" "$patiently"
	each $n "a file (newer QEMU)" "$fetched"
	again "newer QEMU" $n_newer
	guest_kill "$T/g3"
else
	skip "newer QEMU" "there is none (tools/guest-kit.sh: kit_tree)"
fi
step "twinax ends by SIGTERM with status 0" twinax_end tw
holds "and leaves no socket behind" "$(ls "$T"/l1 "$T"/d1 "$T/tw.qmp" 2>/dev/null)" ''
finish
