#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# IPv6 of `-netdev user` as a Linux guest sees it, through virtio-net (vhost-user) and, where a QEMU is to be had that
# speaks vfio-user, through an e1000: SLAAC, ping, TCP and UDP both ways, forwards, the records of a killed process.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" qemu-system-x86_64 busybox cpio
[ -e /proc/net/if_inet6 ] || { echo "1..0 # SKIP $T_NAME: this kernel has no IPv6"; exit 77; }
grep -q lo /proc/net/if_inet6 || { echo "1..0 # SKIP $T_NAME: IPv6 is off here"; exit 77; }
if kit_newer_qemu "$T/qemu"; then e1000=1; else e1000=; fi
guest_files e1000

mkdir "$T/www"
head -c 20000000 /dev/urandom >"$T/www/file"
serve_http '[::1]' 8080 "$T/www"
"$NETPEER" echo ::1 7777 &
until_true 10 "$NETPEER" connects ::1 7777 1
# An address beyond the gateway.
ip -6 addr add 2001:db8::1/128 dev lo
"$NETPEER" echo 2001:db8::1 7778 &
{ echo "0 2147483647" || echo "0 0"; } >/proc/sys/net/ipv4/ping_group_range 2>/dev/null

# Each card has a network of its own.
virtio() { echo "-netdev user,id=n0,hostfwd=tcp:[::1]:2222-[fec0::15]:22,hostfwd=udp:[::1]:2223-[fec0::15]:23,hostfwd=tcp:127.0.0.1:2224-[fec0::15]:22,guestfwd=tcp:[fec0::100]:7-cmd:cat -device virtio-net,netdev=n0,export=vhost-user:$T/a.sock"; }
intel() { echo "-netdev user,id=n1,ipv6-net=fd00:1::/64,hostfwd=tcp:[::1]:2232-[fd00:1::15]:22,hostfwd=udp:[::1]:2233-[fd00:1::15]:23 -device e1000,netdev=n1,mac=52:54:00:00:00:01,export=vfio-user:$T/b.sock"; }
# shellcheck disable=SC2046
twinax_up tw $(virtio) ${e1000:+$(intel)} || t_fail "twinax serve comes up" "$(cat "$T/tw.log")"
# shellcheck disable=SC2086
step "the guest boots" boot g1 "$T/a.sock" ${e1000:+-device "{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"$T/b.sock\"}}"} || finish

card() { # MAC: the interface's name
	g "grep -l '$1' /sys/class/net/*/address" | cut -d/ -f5
}

# LABEL, INTERFACE, PREFIX, PORTS of the forwards
traffic() {
	step "$1: the link comes up" g "ip link set $2 up && for i in 1 2 3 4 5 6 7 8 9 10; do ip -6 addr show dev $2 | grep -q 'inet6 $3.*global\\|inet6 $3.*site' && exit; sleep 1; done; ip -6 addr; exit 1"
	holds "$1: SLAAC gives an address" "$(g "ip -6 addr show dev $2")" "*inet6 $3:*/64*"
	holds "$1: and a router" "$(g "ip -6 route show dev $2")" '*default via fe80::2*'
	step "$1: an address of its own" g "ip -6 addr add $3:15/64 dev $2 && for i in 1 2 3 4 5 6 7 8 9 10; do ip -6 addr show dev $2 | grep -q tentative || exit 0; sleep 1; done; exit 1"
	step "$1: the gateway answers a ping" g "ping -6 -c 3 $3:2"
	step "$1: so does its link-local address" g "ping -6 -c 2 fe80::2%$2"
	step "$1: a full frame passes, and a packet in fragments" g "ping -6 -c 2 -s 1452 $3:2 && ping -6 -c 2 -s 4000 $3:2"
	step "$1: HTTP download" g "wget -q -O /tmp/file 'http://[$3:2]:8080/file'"
	holds "$1: the download's checksum" "$(g 'sha256sum /tmp/file')" "$(sum "$T/www/file")*"
	holds "$1: HTTP upload, the checksum seen by the host" \
		"$(g "http-put /tmp/file $3:2 8080 /cgi-bin/put")" "$(sum "$T/www/file")"
	step "$1: many short connections" g "netpeer connects $3:2 7777 100"
	step "$1: UDP to the host and back" g "netpeer udp $3:2 7777 100 1000"
	step "$1: UDP datagrams in fragments" g "netpeer udp $3:2 7777 20 8000"
	step "$1: beyond the gateway, TCP" g "ip -6 route add 2001:db8::/32 via fe80::2 dev $2; netpeer connects 2001:db8::1 7778 10"
	step "$1: beyond the gateway, UDP" g "netpeer udp 2001:db8::1 7778 10 1400"
	step "$1: beyond the gateway, ping" g 'ping -6 -c 2 2001:db8::1'
	holds "$1: a refusal reaches the guest at once" "$(g "nc $3:2 9 </dev/null 2>&1")" '*refused*'
	holds "$1: so does the want of a route" "$(g "ip -6 route add 2001:db9::/32 via fe80::2 dev $2; nc 2001:db9::1 9 </dev/null 2>&1")" \
		'*unreachable*'
	g "(netpeer echo $3:15 22 >/dev/null 2>&1 &); (netpeer echo $3:15 23 >/dev/null 2>&1 &); sleep 1" >/dev/null
	step "$1: the host reaches the guest by TCP" "$NETPEER" connects ::1 "$4" 50
	step "$1: and by UDP" "$NETPEER" udp ::1 "$(($4 + 1))" 50 700
	step "$1: and by UDP in fragments" "$NETPEER" udp ::1 "$(($4 + 1))" 10 5000
	g "ip -6 route del 2001:db8::/32 via fe80::2 dev $2; ip -6 route del 2001:db9::/32 via fe80::2 dev $2" >/dev/null
}

V=$(card 52:54:00:12:34:56)
traffic "virtio-net" "$V" fec0: 2222
step "a port of IPv4 leads to a guest of IPv6" "$NETPEER" connects 127.0.0.1 2224 10
holds "guestfwd= to a program" "$(g 'head -c 3000000 /tmp/file | nc fec0::100 7 | sha256sum')" "$(head -c 3000000 "$T/www/file" | sha256sum)"
holds "guestfwd= refuses other ports" "$(g 'nc fec0::100 9 </dev/null 2>&1')" '*refused*'
if [ -n "$e1000" ]; then
	g "ip link set $V down" >/dev/null
	traffic "e1000" "$(card 52:54:00:00:00:01)" fd00:1: 2232
	g "ip link set $V up" >/dev/null
else
	skip "e1000" "no QEMU that knows vfio-user (CI=true ./check fetches one)"
fi
# shellcheck disable=SC2016 # for the guest
holds "the kernel saw no checksum wrong" \
	"$(g 'awk "/^Tcp:/ && \$NF ~ /[0-9]/ { print \$NF } /Udp6InCsumErrors|Icmp6InCsumErrors/ { print \$2 }" /proc/net/snmp /proc/net/snmp6' | sort -u)" 0

step "twinax ends by SIGTERM with status 0" twinax_end tw
finish
