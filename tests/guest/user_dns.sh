#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Where the user network leads: real resolvers behind the DNS alias, egress rules, forwards at run time, the way out.
# The guest is a namespace of `twinax run`.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" busybox dnsmasq dig curl nsenter unshare
[ -w /dev/net/tun ] || { echo "1..0 # SKIP $T_NAME: /dev/net/tun is not open to us"; exit 77; }
unshare -U -r -n true 2>/dev/null || { echo "1..0 # SKIP $T_NAME: no user namespaces"; exit 77; }

echo "nameserver 127.0.0.1" >"$T/resolv.conf"
mount --bind "$T/resolv.conf" /etc/resolv.conf || { echo "1..0 # SKIP $T_NAME: no right to mount"; exit 77; }

# A resolver for itself; who.test tells which one it is.
resolver() { # ADDRESS WHO
	dnsmasq -d -C /dev/null --listen-address="$1" --bind-interfaces --no-resolv --no-hosts "--address=/who.test/$2" \
		--address=/good.test/192.0.2.10 --address=/bad.test/192.0.2.11 --cname=alias.test,one.good.test --host-record=one.good.test,192.0.2.10 \
		"--txt-record=big.test,$big" >"$T/dnsmasq.$2.log" 2>&1 &
	echo $! >"$T/dnsmasq.$2.pid"
	until_true 10 grep -q started "$T/dnsmasq.$2.log"
}
gone() { # WHO
	kill "$(cat "$T/dnsmasq.$1.pid")"
	wait "$(cat "$T/dnsmasq.$1.pid")" 2>/dev/null
}
big=$(for t_i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24; do printf '%0200d,' "$t_i"; done)
big=${big%,}

guest_up() { # NAME OPTIONS: a namespace that stays
	rm -f "$T/$1.inside"
	timeout 300 "$TWINAX" run -qmp "unix:$T/$1.qmp" -netdev "user,id=n0,$2" -- \
		sh -c "echo \$\$ >'$T/$1.new' && mv '$T/$1.new' '$T/$1.inside' && exec sleep 300" >"$T/$1.log" 2>&1 </dev/null &
	echo $! >"$T/$1.pid"
	until_true 20 [ -s "$T/$1.inside" ]
}
guest_down() {
	kill "$(cat "$T/$1.pid")"
	wait "$(cat "$T/$1.pid")" 2>/dev/null
}
in_guest() { # NAME COMMAND...
	t_g=$(cat "$T/$1.inside")
	shift
	timeout 60 nsenter -t "$t_g" -U -n -m --preserve-credentials "$@"
}
who() { in_guest g dig +short +time=5 +tries=2 "$@" who.test; }
who_is() { # ADDRESS [DIG-ARGUMENT...]
	t_who=$1
	shift
	[ "$(who "$@")" = "$t_who" ]
}

# --- DNS -----------------------------------------------------------------------------------------------------------

resolver 127.0.0.1 192.0.2.1
resolver 127.0.0.2 192.0.2.2
resolver ::1 192.0.2.6
guest_up g host-loopback=off

holds "a name by UDP" "$(who)" 192.0.2.1
holds "a name by TCP" "$(who +tcp)" 192.0.2.1
until_true 20 in_guest g sh -c "ip -6 addr show dev tap0 | grep -q 'inet6 fec0.*global'"
holds "the IPv6 alias, by UDP" "$(who @fec0::3)" 192.0.2.1
holds "the IPv6 alias, by TCP" "$(who +tcp @fec0::3)" 192.0.2.1
holds "what does not fit into UDP is marked so" "$(in_guest g dig +ignore +notcp TXT big.test)" '*flags: qr*tc*'
holds "and dig gets all of it by TCP" "$(in_guest g dig +short TXT big.test | tr -cd 0-9 | wc -c)" 4800
holds "what the resolver says is what the guest gets" "$(in_guest g dig nobody.who.invalid)" '*status: REFUSED*'

echo "nameserver 127.0.0.2" >"$T/resolv.conf"
step "another resolver in resolv.conf is asked" until_true 10 who_is 192.0.2.2
step "by TCP, too" who_is 192.0.2.2 +tcp
echo "nameserver ::1" >"$T/resolv.conf"
step "a resolver of IPv6" until_true 10 who_is 192.0.2.6
step "by TCP, too" who_is 192.0.2.6 +tcp
printf 'nameserver 127.0.0.1\nnameserver 127.0.0.2\n' >"$T/resolv.conf"
step "the first of two" until_true 10 who_is 192.0.2.1
gone 192.0.2.1
holds "the second, when the first is gone" "$(who)" 192.0.2.2
holds "by TCP, too" "$(who +tcp)" 192.0.2.2
gone 192.0.2.2
holds "SERVFAIL when both are" "$(in_guest g dig +tries=1 who.test)" '*status: SERVFAIL*'
holds "by TCP, too" "$(in_guest g dig +tcp +tries=1 who.test)" '*status: SERVFAIL*'
resolver 127.0.0.1 192.0.2.1
holds "and it is asked again when it is back" "$(who)" 192.0.2.1
: >"$T/resolv.conf"
nobody() { in_guest g dig +tries=1 +time=5 who.test 2>&1 | grep -q 'refused\|unreachable'; }
step "without resolvers the port is closed" until_true 10 nobody

# --- forwards at run time -----------------------------------------------------------------------------------------

mkdir -p "$T/in/cgi-bin"
cat >"$T/in/cgi-bin/from" <<'CGI'
#!/bin/sh
a=${REMOTE_ADDR#*ffff:}
printf 'Content-Type: text/plain\r\n\r\n%s\n' "${a%]}"
CGI
chmod 755 "$T/in/cgi-bin/from"
in_guest g busybox httpd -p 80 -h "$T/in"
ip addr add 192.0.2.10/32 dev lo
ip addr add 192.0.2.11/32 dev lo
get() { curl -s --max-time 10 "$@"; }
ctl_g() { "$TWINAX" ctl "$T/g.qmp" "$@"; }

step "a forward is added" ctl_g hostfwd_add tcp::8085-:80
holds "the guest sees the client's address" "$(get --interface 192.0.2.10 http://192.0.2.11:8085/cgi-bin/from)" 192.0.2.10*
holds "loopback is the gateway" "$(get http://127.0.0.1:8085/cgi-bin/from)" 10.0.2.2*
step "one of IPv6 to IPv4" ctl_g hostfwd_add 'tcp:[::1]:8085-:80'
holds "is the gateway, too" "$(get 'http://[::1]:8085/cgi-bin/from')" 10.0.2.2*
step "one of a unix socket" ctl_g hostfwd_add "unix:$T/web-1.sock-:80"
holds "is the gateway, too" "$(get --unix-socket "$T/web-1.sock" http://guest/cgi-bin/from)" 10.0.2.2*
g6=$(in_guest g ip -6 -o addr show dev tap0 scope site | sed -n 's,.*inet6 \([^/]*\)/.*,\1,p' | head -n 1)
ip addr add 2001:db8::10/128 dev lo
ip addr add 2001:db8::11/128 dev lo
step "one of IPv6 to IPv6" ctl_g hostfwd_add "tcp:[::]:8087-[$g6]:80"
holds "the guest sees the client's address" "$(get --interface 2001:db8::10 'http://[2001:db8::11]:8087/cgi-bin/from')" *2001:db8::10*
holds "loopback is the gateway" "$(get 'http://[::1]:8087/cgi-bin/from')" *fec0::2*
in_guest g dnsmasq -d -C /dev/null -p 5300 --no-resolv --no-hosts --address=/in.test/192.0.2.88 >"$T/in.log" 2>&1 &
until_true 10 grep -q started "$T/in.log"
step "one of UDP, IPv6 to IPv6" ctl_g hostfwd_add "udp:[::1]:5388-[$g6]:5300"
holds "goes there and back" "$(dig +short +time=5 -p 5388 @::1 in.test)" 192.0.2.88
step "one of UDP, IPv6 to IPv4" ctl_g hostfwd_add "udp:[::1]:5389-:5300"
holds "goes there and back" "$(dig +short +time=5 -p 5389 @::1 in.test)" 192.0.2.88
holds "they are listed" "$(ctl_g info usernet)" "*TCP?HOST_FORWARD?*8085*10.0.2.15*80*UNIX?HOST_FORWARD?*web-1.sock*"
step "one is removed" ctl_g hostfwd_remove tcp::8085
holds "and leads nowhere" "$(get http://192.0.2.11:8085/cgi-bin/from; echo $?)" 7
holds "the other still does" "$(get 'http://[::1]:8085/cgi-bin/from')" 10.0.2.2*
guest_down g

# --- egress rules --------------------------------------------------------------------------------------------------

echo "nameserver 127.0.0.1" >"$T/resolv.conf"
busybox httpd -p 192.0.2.10:8081 -h "$T/in"
busybox httpd -p 192.0.2.11:8081 -h "$T/in"
busybox httpd -p 192.0.2.10:8082 -h "$T/in"
guest_up r 'allow=tcp:*.good.test:8081,allow=alias.test'
fetch() { in_guest r curl -s -o /dev/null --max-time 10 "$1"; echo $?; }

holds "an address is denied, at once" "$(fetch http://192.0.2.10:8081/cgi-bin/from)" 7
holds "a name that is allowed is found and reached" "$(fetch http://www.good.test:8081/cgi-bin/from)" 0
holds "then its address, too" "$(fetch http://192.0.2.10:8081/cgi-bin/from)" 0
holds "at that port alone" "$(fetch http://www.good.test:8082/)" 7
holds "a name that is not is not found" "$(fetch http://www.bad.test:8081/)" 6
holds "it is refused by the forwarder" "$(in_guest r dig www.bad.test)" '*status: REFUSED*'
holds "by TCP, too" "$(in_guest r dig +tcp www.bad.test)" '*status: REFUSED*'
holds "its address is denied" "$(fetch http://192.0.2.11:8081/)" 7
holds "a ping is denied" "$(in_guest r ping -c 1 -W 5 192.0.2.11 2>&1)" '*filtered*'
holds "a name that leads to it by CNAME, learned by TCP" "$(in_guest r dig +tcp +short alias.test | tail -n 1)" 192.0.2.10
holds "opens the way at every port" "$(fetch http://192.0.2.10:8082/cgi-bin/from)" 0
holds "rules count" "$("$TWINAX" ctl "$T/r.qmp" info rules | awk '$3 > 0 { n++ } END { print n }')" 3
guest_down r

busybox httpd -p '[2001:db8::10]:8081' -h "$T/in"
busybox httpd -p '[2001:db8::11]:8081' -h "$T/in"
guest_up d 'deny=192.0.2.11,deny=tcp:any:8082,deny=2001:db8::11'
until_true 20 in_guest d sh -c "ip -6 addr show dev tap0 | grep -q 'inet6 fec0'"
holds "with deny rules alone the rest is allowed" "$(in_guest d curl -s --max-time 10 http://192.0.2.10:8081/cgi-bin/from)" 192.0.2.10*
holds "but what they say" "$(in_guest d curl -s --max-time 10 http://192.0.2.11:8081/; echo $?)" 7
holds "of IPv6, too" "$(in_guest d curl -s --max-time 10 'http://[2001:db8::11]:8081/'; echo $?)" 7
holds "and the rest is allowed" "$(in_guest d curl -s --max-time 10 'http://[2001:db8::10]:8081/cgi-bin/from')" '*2001:db8::*'
holds "of ports, too" "$(in_guest d curl -s --max-time 10 http://192.0.2.10:8082/; echo $?)" 7
guest_down d

# --- the way out ---------------------------------------------------------------------------------------------------

ways() { # two ways to another namespace, where 192.0.2.50 is
	mkdir -p /run/netns && ip netns add far || return 1
	for t_i in 0 1; do
		ip link add "v$t_i" type veth peer name "w$t_i" netns far &&
			ip addr add "10.9.$t_i.1/24" dev "v$t_i" && ip link set "v$t_i" up &&
			ip -n far addr add "10.9.$t_i.2/24" dev "w$t_i" && ip -n far link set "w$t_i" up || return 1
	done
	ip addr add 10.9.0.7/24 dev v0
	ip -n far link set lo up
	ip -n far addr add 192.0.2.50/32 dev lo
	ip route add 192.0.2.50 via 10.9.0.2 dev v0 metric 1
	ip route add 192.0.2.50 via 10.9.1.2 dev v1 metric 2
	ip netns exec far busybox httpd -p 80 -h "$T/in"
	ip netns exec far dnsmasq -d -C /dev/null -q --listen-address=192.0.2.50 --bind-interfaces --no-resolv --no-hosts \
		--address=/far.test/192.0.2.99 >>"$T/far.log" 2>&1 &
	until_true 10 grep -q started "$T/far.log"
}
leaves_from() { # WHAT OPTIONS ADDRESS
	: >"$T/far.log"
	guest_up o "$2"
	holds "$1: TCP" "$(in_guest o curl -s --max-time 10 http://192.0.2.50/cgi-bin/from)" "$3*"
	in_guest o dig +short +tries=1 @192.0.2.50 far.test >/dev/null
	holds "$1: UDP" "$(grep -c "query.*far.test from $3" "$T/far.log")" 1
	echo "nameserver 192.0.2.50" >"$T/resolv.conf"
	sleep 1.1 # it is looked at once a second
	in_guest o dig +short +tries=1 two.far.test >/dev/null
	holds "$1: the forwarder" "$(grep -c "query.*two.far.test from $3" "$T/far.log")" 1
	holds "$1: the host's loopback is where it was" "$(in_guest o curl -s --max-time 10 http://10.0.2.2:8083/cgi-bin/from)" 127.0.0.1*
	guest_down o
}
if ways >"$T/ways.log" 2>&1; then
	busybox httpd -p 127.0.0.1:8083 -h "$T/in"
	leaves_from "by the routes" host-loopback=on 10.9.0.1
	leaves_from "outbound-if=" host-loopback=on,outbound-if=v1 10.9.1.1
	leaves_from "outbound-addr=" host-loopback=on,outbound-addr=10.9.0.7 10.9.0.7
	holds "an address of another interface is refused" \
		"$("$TWINAX" run -netdev user,outbound-if=v1,outbound-addr=10.9.0.7 -- true 2>&1)" '*contradicts outbound-if=v1*'
else
	skip "outbound-if= and outbound-addr=" "no namespace could be made: $(tail -n 1 "$T/ways.log")"
fi
finish
