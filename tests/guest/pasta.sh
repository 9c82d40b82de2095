#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Called as pasta: the host's own address in the namespace, the host's network beyond, ports, background, the end.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" busybox unshare nsenter ping
[ -w /dev/net/tun ] || { echo "1..0 # SKIP $T_NAME: /dev/net/tun is not open to us"; exit 77; }
unshare -U -r -n true 2>/dev/null || { echo "1..0 # SKIP $T_NAME: no user namespaces"; exit 77; }
ln -s "$(realpath "$TWINAX")" "$T/pasta"
pasta() { timeout 60 "$T/pasta" "$@" </dev/null; }

holds "without a default route: the user-mode network" "$(pasta --config-net -- ip -4 -o addr show tap0)" '*inet 10.0.2.15/24*'

holds "nor with it: --dns-forward" "$(pasta --config-net --dns-forward 169.254.1.1 -- sh -c 'busybox nslookup nobody.invalid 169.254.1.1' 2>&1)" '*169.254.1.1*'
holds "an address alone is not forgotten" "$(pasta --config-net -g 10.0.0.1 -- true 2>&1; echo "status $?")" '*need each other*status 1'

# The host's network: a gateway and a neighbour.
unshare -n sleep 1000 &
lan=$!
until_true 10 sh -c "[ \"\$(readlink /proc/$lan/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ]"
ip link add lan0 type veth peer name lan1 netns $lan
ip addr add 198.51.100.5/24 dev lan0 && ip link set lan0 up && ip route add default via 198.51.100.1
nsenter -t $lan -n sh -c 'ip link set lo up; ip link set lan1 up; ip addr add 198.51.100.1/24 dev lan1; ip addr add 198.51.100.9/24 dev lan1'
nsenter -t $lan -n "$NETPEER" echo 198.51.100.9 7777 &
nsenter -t $lan -n "$NETPEER" echo 198.51.100.1 7777 &
"$NETPEER" echo 127.0.0.1 7778 &
"$NETPEER" echo 198.51.100.5 7779 &
until_true 10 busybox nc -w 1 198.51.100.9 7777 -e true
until_true 10 busybox nc -w 1 198.51.100.5 7779 -e true

holds "the host's address" "$(pasta --config-net -- ip -4 -o addr show lan0)" '*inet 198.51.100.5/24*'
holds "the host's gateway" "$(pasta --config-net -- ip route)" '*default via 198.51.100.1 *'
holds "an address of the user's choice" \
	"$(pasta --config-net -a 198.51.100.77 -I eth7 -m 1300 --ns-mac-addr 02:00:00:00:00:07 -- ip addr show eth7)" \
	'*mtu 1300*02:00:00:00:00:07*inet 198.51.100.77/24*'
step "a neighbour of the host" pasta --config-net -- "$NETPEER" connects 198.51.100.9 7777 20
step "the same by UDP" pasta --config-net -- "$NETPEER" udp 198.51.100.9 7777 20 1000
step "the gateway is the host's loopback" pasta --config-net -- "$NETPEER" connects 198.51.100.1 7778 5
step "--no-map-gw: the gateway is itself" pasta --config-net --no-map-gw -- "$NETPEER" connects 198.51.100.1 7777 5
holds "--no-tcp" "$(pasta --config-net --no-tcp -- sh -c 'busybox nc -w 2 198.51.100.9 7777 </dev/null; echo $?' 2>/dev/null)" 1
holds "-4: no IPv6" "$(pasta --config-net -4 -- ip -6 route)" 'fe80::/64*'
holds "without --config-net the interface is down" "$(pasta -- ip -o link show lan0)" '*state DOWN*'
pasta -- sh -c 'exit 3'
holds "COMMAND's status" "$?" 3
holds "--log-file is not for COMMAND's standard error" "$(pasta -l "$T/pasta.log" -- sh -c 'echo mine >&2' 2>&1; cat "$T/pasta.log")" mine
holds "but for pasta's" "$(pasta -l "$T/pasta.log" -- /nonexistent 2>&1; cat "$T/pasta.log")" '*cannot run /nonexistent*'

unshare -U -r -n sh -c "echo \$\$ >'$T/pid'; exec sleep 1000" &
until_true 10 test -s "$T/pid"
pid=$(cat "$T/pid")
step "in the background, for a process" pasta --config-net -P "$T/pasta.pid" -t 127.0.0.1/2280:80,2281-2283,~2282 -u 2284:84 "$pid"
pp=$(cat "$T/pasta.pid")
step "the pid file names who goes on" kill -0 "$pp"
for port in 80 2281 2283 84; do nsenter -t "$pid" -U --preserve-credentials -n "$NETPEER" echo 0.0.0.0 $port & done
step "a forwarded port" until_true 10 "$NETPEER" connects 127.0.0.1 2280 5
step "a range of ports" until_true 10 "$NETPEER" connects 127.0.0.1 2283 5
holds "without what is excluded" "$(busybox nc -w 2 127.0.0.1 2282 </dev/null 2>&1)" '*refused*'
step "a forwarded UDP port, the neighbour's" nsenter -t $lan -n "$NETPEER" udp 198.51.100.5 2284 20 500
holds "the same, called without standard streams" \
	"$(sh -c "'$T/pasta' --config-net -I eth1 -P '$T/pasta2.pid' $pid <&- >&- 2>&-"; echo $?; kill "$(cat "$T/pasta2.pid")")" 0
kill "$pid"
step "it ends with the process" until_true 10 sh -c "! kill -0 $pp || grep -q 'State:.Z' /proc/$pp/status"

bad() { # TEXT ARG...
	t_want=$1
	shift
	holds "refused: $*" "$(pasta "$@" true 2>&1; echo "status $?")" "*$t_want*status 1"
}
bad 'not done here' -t auto --
bad 'is none' -t 1.2.3.4%eth0/5 --
bad 'all ports but some' -t '~5' --
bad 'is none' -u 70000 --
bad 'different length' -t 1-2:3 --
bad 'take none' -T 5 --
bad 'exclude each other' -4 -6 --
bad 'no MTU' -m 5 --
bad 'no netmask' -a 10.9.8.7 -n 255.0.255.0 -g 10.9.8.1 --
bad 'no interface of this host' -i nosuch0 --
bad 'leave by one' --outbound-if4 lo --outbound-if6 lan0 --
bad 'nrecognized' --no-dhcp --
finish
