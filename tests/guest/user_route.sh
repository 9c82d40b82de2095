#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The way beyond the host as a guest of `-netdev user` sees it: ping and traceroute through two routers, a narrow link, a
# network that a router refuses, and one that nobody answers for. IPv4 and IPv6.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" ping traceroute ip
[ -w /dev/net/tun ] || { echo "1..0 # SKIP $T_NAME: /dev/net/tun is not open to us"; exit 77; }
unshare -U -r -n true 2>/dev/null || { echo "1..0 # SKIP $T_NAME: no user namespaces"; exit 77; }

# guest -- this namespace -- r1 -- r2 -- far
node() { # NAME
	ip netns add "$1" && ip -n "$1" link set lo up && ip netns exec "$1" sh -c '
		echo 1 >/proc/sys/net/ipv4/ip_forward
		echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
		echo 0 >/proc/sys/net/ipv4/icmp_ratelimit
		echo 0 >/proc/sys/net/ipv6/icmp/ratelimit'
}
end() { # "" or "-n NAME", INTERFACE, IPv4, IPv6
	# shellcheck disable=SC2086
	ip $1 addr add "$3" dev "$2" && ip $1 addr add "$4" dev "$2" nodad && ip $1 link set "$2" up
}
route() { # "" or "-n NAME", IPv4, IPv6
	# shellcheck disable=SC2086
	ip $1 route add default via "$2" && ip $1 -6 route add default via "$3"
}
world() {
	for n in r1 r2 far; do node $n || return 1; done
	ip link add a0 type veth peer name a1 netns r1 &&
		ip -n r1 link add b0 type veth peer name b1 netns r2 &&
		ip -n r2 link add c0 type veth peer name c1 netns far &&
		end "" a0 192.0.2.1/30 2001:db8:a::1/64 && end "-n r1" a1 192.0.2.2/30 2001:db8:a::2/64 &&
		end "-n r1" b0 192.0.2.5/30 2001:db8:b::1/64 && end "-n r2" b1 192.0.2.6/30 2001:db8:b::2/64 &&
		end "-n r2" c0 192.0.2.9/30 2001:db8:c::1/64 && end "-n far" c1 192.0.2.10/30 2001:db8:c::2/64 &&
		route "" 192.0.2.2 2001:db8:a::2 && route "-n r1" 192.0.2.6 2001:db8:b::2 &&
		route "-n far" 192.0.2.9 2001:db8:c::1 &&
		ip -n r2 route add 192.0.2.0/30 via 192.0.2.5 && ip -n r2 -6 route add 2001:db8:a::/64 via 2001:db8:b::1 &&
		ip -n r2 route add unreachable 198.51.100.0/24 && ip -n r2 -6 route add unreachable 2001:db8:d::/64 &&
		ip -n r2 route add blackhole 203.0.113.0/24 && ip -n r2 -6 route add blackhole 2001:db8:e::/64
}
if ! world >"$T/world" 2>&1; then
	echo "1..0 # SKIP $T_NAME: no routers can be made here: $(tail -n 1 "$T/world")"
	exit 77
fi
{ echo "0 2147483647" || echo "0 0"; } >/proc/sys/net/ipv4/ping_group_range 2>/dev/null
step "the far end answers the host itself" until_true 10 sh -c 'ping -c 1 -W 1 192.0.2.10 && ping -6 -c 1 -W 1 2001:db8:c::2' ||
	finish

guest() { # COMMAND
	timeout 100 "$TWINAX" run -mtu 1500 -netdev user,id=n0 -- sh -c "
		ip -6 addr flush dev tap0 scope site; ip -6 addr add fec0::77/64 dev tap0 nodad
		ip -6 route replace default via fec0::2; $1" </dev/null 2>&1
}
hops() { awk '/^ *[0-9]+ / { printf "%s ", $2 }'; }
trace() { # ARG...
	guest "traceroute -n -q 1 -w 3 -m 8 $*" | hops
}

FOUR="10.0.2.2 192.0.2.2 192.0.2.6 192.0.2.10 "
SIX="fec0::2 2001:db8:a::2 2001:db8:b::2 2001:db8:c::2 "
holds "traceroute by UDP" "$(trace 192.0.2.10)" "$FOUR"
holds "traceroute by ICMP" "$(trace -I 192.0.2.10)" "$FOUR"
holds "traceroute by UDP, IPv6" "$(trace -6 2001:db8:c::2)" "$SIX"
holds "traceroute by ICMP, IPv6" "$(trace -6 -I 2001:db8:c::2)" "$SIX"

step "ping, with the time to live that is left" guest 'ping -c 2 -W 5 192.0.2.10 | grep ttl=61'
step "ping, IPv6" guest 'ping -6 -c 2 -W 5 2001:db8:c::2 | grep ttl=61'
holds "a ping that does not get there" "$(guest 'ping -c 1 -t 3 -W 5 192.0.2.10')" '*From 192.0.2.6 *ime to live exceeded*'
holds "a ping that does not get there, IPv6" "$(guest 'ping -6 -c 1 -t 3 -W 5 2001:db8:c::2')" \
	'*From 2001:db8:b::2 *Time exceeded*'
# Linux's routers do not say this as often as they are asked.
holds "what a router refuses" "$(guest 'ping -c 4 -W 5 198.51.100.1')" '*From 192.0.2.6 *Destination Host Unreachable*'
holds "what a router refuses, IPv6" "$(guest 'ping -6 -c 1 -W 5 2001:db8:d::1')" '*From 2001:db8:b::2 *Destination unreachable*'
holds "nobody's answer is made up" "$(guest 'ping -c 2 -W 2 203.0.113.1; ping -6 -c 2 -W 2 2001:db8:e::1' | grep -c '^From\|bytes from')" 0

ip -n r1 link set b0 mtu 1300
ip -n r2 link set b1 mtu 1300
holds "a narrow link" "$(guest 'ping -c 1 -W 5 -M do -s 1400 192.0.2.10')" '*From 192.0.2.2 *Frag needed*mtu = 1300*'
holds "a narrow link, IPv6" "$(guest 'ping -6 -c 1 -W 5 -M do -s 1400 2001:db8:c::2')" '*From 2001:db8:a::2 *Packet too big*mtu=1300*'
step "and what is smaller passes" guest 'ping -c 1 -W 5 -M do -s 1200 192.0.2.10 && ping -6 -c 1 -W 5 -M do -s 1200 2001:db8:c::2'
finish
