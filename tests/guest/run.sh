#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `twinax run`: a network namespace as the guest, with a command of its own and as one that exists.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" busybox dnsmasq ping prlimit unshare
[ -w /dev/net/tun ] || { echo "1..0 # SKIP $T_NAME: /dev/net/tun is not open to us"; exit 77; }
unshare -U -r -n true 2>/dev/null || { echo "1..0 # SKIP $T_NAME: no user namespaces"; exit 77; }

mkdir "$T/www" "$T/in"
before=$(cat /etc/resolv.conf)
head -c 30000000 /dev/urandom >"$T/www/file"
head -c 20000000 /dev/urandom >"$T/in/file"
serve_http 127.0.0.1 8080 "$T/www"
serve_dns 5353 name.test 192.0.2.77
"$NETPEER" echo 127.0.0.1 7777 &
NET=user,dns-host=127.0.0.1:5353
! "$TWINAX" run -netdev user,help | grep -q host-loopback || NET=$NET,host-loopback=on

run() { timeout 60 "$TWINAX" run -netdev "$NET" "$@" </dev/null; }
inside() { run -- sh -c "$1"; } # SCRIPT

# --- the namespace as COMMAND finds it -----------------------------------------------------------------------------

holds "the address is QEMU's first" "$(inside 'ip -4 -o addr show tap0')" '*inet 10.0.2.15/24*'
holds "the route leads to the gateway" "$(inside 'ip route')" '*default via 10.0.2.2*'
holds "loopback is up" "$(inside 'ip -o link show lo')" '*LOOPBACK,UP*'
holds "the MTU is large by default" "$(inside 'ip -o link show tap0')" '*mtu 65520*'
holds "-mtu and -ifname" "$(run -mtu 1400 -ifname ens3 -- ip -o link show ens3)" '*mtu 1400*'
holds "another network of the user's choice" "$(timeout 60 "$TWINAX" run -netdev user,net=192.168.7.0/28,host=192.168.7.14 -- ip -4 addr)" '*192.168.7.15/28*'
holds "the name server is ours" "$(inside 'cat /etc/resolv.conf')" '*nameserver 10.0.2.3*'
holds "and the host's file is untouched" "$(cat /etc/resolv.conf)" "$before"
holds "COMMAND is root there" "$(inside 'id -u')" 0
holds "-no-config leaves the interface down" "$(run -no-config -- ip -o link show tap0)" '*state DOWN*'

# --- traffic -------------------------------------------------------------------------------------------------------

step "the gateway answers a ping" inside 'ping -c 2 -W 5 10.0.2.2'
step "a name resolves by resolv.conf" inside 'busybox nslookup name.test | grep 192.0.2.77'
holds "a download's checksum" "$(inside 'busybox wget -q -O - http://10.0.2.2:8080/file | sha256sum')" "$(sum "$T/www/file")*"
holds "a download's checksum at an MTU of 1500" \
	"$(run -mtu 1500 -- sh -c 'busybox wget -q -O - http://10.0.2.2:8080/file | sha256sum')" "$(sum "$T/www/file")*"
step "UDP to the host and back" inside "$NETPEER udp 10.0.2.2 7777 100 1000"
step "UDP datagrams above 1500 bytes" run -mtu 1500 -- "$NETPEER" udp 10.0.2.2 7777 20 8000
step "UDP datagrams in one frame" inside "$NETPEER udp 10.0.2.2 7777 20 60000"
step "many short connections" inside "$NETPEER connects 10.0.2.2 7777 300"
holds "a refusal comes at once" "$(inside 'busybox nc 10.0.2.2 9 </dev/null 2>&1')" '*refused*'

busybox httpd -f -p '[::1]:8080' -h "$T/www" &
until_true 10 busybox nc -w 1 ::1 8080 -e true
holds "an IPv6 address" "$(inside 'ip -6 -o addr show tap0')" '*inet6 fec0::15/64*'
holds "an IPv6 route" "$(inside 'ip -6 route')" '*default via fec0::2*'
step "the gateway answers a ping by IPv6" inside 'ping -6 -c 2 -W 5 fec0::2'
holds "a download's checksum by IPv6" "$(inside "busybox wget -q -O - 'http://[fec0::2]:8080/file' | sha256sum")" "$(sum "$T/www/file")*"
holds "the same at an MTU of 1500" \
	"$(run -mtu 1500 -- sh -c "busybox wget -q -O - 'http://[fec0::2]:8080/file' | sha256sum")" "$(sum "$T/www/file")*"
four() { # of a downloader in the background each, the sums that were right
	timeout 60 "$TWINAX" run -netdev "$NET,workers=2" -- sh -c '
		for i in 1 2 3 4; do
			(busybox wget -q -O - http://10.0.2.2:8080/file | sha256sum) &
		done
		wait' | grep -c "$(sum "$T/www/file")"
}
holds "workers=2: four downloads at once over two queues" "$(four)" 4
holds "workers=2: as many queues as workers" \
	"$(timeout 60 "$TWINAX" run -netdev user,workers=2 -- ip -d -o link show tap0)" '*multi_queue numqueues 2*'
holds "without IPv6" "$(timeout 60 "$TWINAX" run -netdev user,ipv6=off -- ip -6 route)" 'fe80::/64*'
holds "without IPv4" "$(timeout 60 "$TWINAX" run -netdev user,ipv4=off -- sh -c 'ip route; cat /etc/resolv.conf')" 'nameserver fec0::3*'
holds "the host's loopback is closed by default" \
	"$(timeout 60 "$TWINAX" run -- sh -c 'busybox wget -O - http://10.0.2.2:8080/file 2>&1 | tail -n 1')" '*refused*'

# --- published ports -----------------------------------------------------------------------------------------------

mkfifo "$T/end"
published() { # WHAT COMMAND...: while a namespace serves
	t_what=$1
	shift
	run -p 127.0.0.1:2280:80 -p '[::1]:2281:80' -p udp:2223:23 -p 2300-2302:100-102 -- sh -c "
		cd '$T/in'
		busybox httpd -f -p 80 -h . & h=\$!
		'$NETPEER' echo 0.0.0.0 23 & a=\$!
		'$NETPEER' echo 0.0.0.0 102 & b=\$!
		cat '$T/end' >/dev/null
		kill \$h \$a \$b" >"$T/pub.log" 2>&1 &
	t_pub=$!
	until_true 20 busybox wget -q -O /dev/null http://127.0.0.1:2280/file
	step "$t_what" "$@"
	echo >"$T/end"
	wait "$t_pub"
}
upload_sum() { [ "$(busybox wget -q -O - http://127.0.0.1:2280/file | sha256sum)" = "$(sha256sum <"$T/in/file")" ]; }
published "-p: a file out of the namespace" upload_sum
upload_sum6() { [ "$(busybox wget -q -O - 'http://[::1]:2281/file' | sha256sum)" = "$(sha256sum <"$T/in/file")" ]; }
published "-p: a file out of the namespace by IPv6" upload_sum6
published "-p udp:" "$NETPEER" udp 127.0.0.1 2223 50 700
published "-p with ranges" "$NETPEER" connects 127.0.0.1 2302 50
holds "a port that is taken is an error" "$(run -p 127.0.0.1:8080:80 -- true 2>&1; echo "status $?")" '*8080*status 1'

# --- the end -------------------------------------------------------------------------------------------------------

status_of() { "$@" >/dev/null 2>&1; echo $?; }
holds "COMMAND's status is ours" "$(status_of inside 'exit 7')" 7
# shellcheck disable=SC2016 # the shell inside expands it
holds "128 and the signal" "$(status_of inside 'kill -9 $$')" 137
holds "127 without COMMAND" "$(status_of run -- /nonexistent)" 127
holds "126 if it cannot be run" "$(status_of run -- /etc/passwd)" 126

"$TWINAX" run -- sh -c 'trap "exit 9" TERM; echo up; while :; do sleep 0.1; done' >"$T/sig.out" &
pid=$!
until_true 10 grep -q up "$T/sig.out"
kill -TERM $pid
wait $pid
holds "SIGTERM is passed on, and COMMAND's answer is ours" "$?" 9

holds "no user namespaces: which sysctl it is" \
	"$(unshare -U -r sh -c "echo 0 >/proc/sys/user/max_user_namespaces; '$TWINAX' run -- true" 2>&1; echo "status $?")" \
	'*cannot make a user*user.max_user_namespaces*status 1'
holds "no network namespaces: the same" \
	"$(unshare -U -r sh -c "echo 0 >/proc/sys/user/max_net_namespaces; '$TWINAX' run -- true" 2>&1; echo "status $?")" \
	'*cannot make a user*user.max_net_namespaces*status 1'

# --- a namespace that exists ---------------------------------------------------------------------------------------

unshare -U -r -n sh -c "echo \$\$ >'$T/ns.pid'; cat '$T/end' >/dev/null" &
until_true 10 test -s "$T/ns.pid"
pid=$(cat "$T/ns.pid")
in_ns() { nsenter -t "$pid" -U --preserve-credentials -n "$@"; }
"$TWINAX" run -netdev "$NET" -pid "$pid" -ready-fd 3 3>"$T/ready" 2>"$T/pid.log" &
tw=$!
step "-pid: ready" until_true 10 grep -q ready "$T/ready"
step "-pid: the namespace reaches the host" in_ns "$NETPEER" connects 10.0.2.2 7777 20
holds "-pid: a second one says what is wrong" "$("$TWINAX" run -pid "$pid" 2>&1; echo "status $?")" '*tap0*already*status 1'
echo >"$T/end"
step "-pid: it ends with the process" until_true 10 sh -c "! kill -0 $tw"
wait $tw
holds "-pid: with status 0" "$?" 0

mkdir -p /run/netns && : >/run/netns/x
unshare -n sh -c 'mount --bind /proc/self/ns/net /run/netns/x' || t_fail "a named namespace" ""
"$TWINAX" run -netdev "$NET" -netns /run/netns/x -ready-fd 3 3>"$T/ready2" 2>"$T/netns.log" &
tw=$!
step "-netns: ready" until_true 10 grep -q ready "$T/ready2"
step "-netns: the namespace reaches the host" nsenter --net=/run/netns/x "$NETPEER" connects 10.0.2.2 7777 20
umount /run/netns/x
step "-netns: it ends when the name is gone" until_true 10 sh -c "! kill -0 $tw"

mkfifo "$T/exit"
unshare -U -r -n sleep 100 &
pid=$!
until_true 10 sh -c "[ \"\$(readlink /proc/$pid/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ]"
"$TWINAX" run -pid "$pid" -exit-fd 4 -ready-fd 3 3>"$T/ready3" 4<"$T/exit" &
tw=$!
exec 5>"$T/exit"
step "-exit-fd: ready" until_true 10 grep -q ready "$T/ready3"
exec 5>&-
step "-exit-fd: it ends when the other end is closed" until_true 10 sh -c "! kill -0 $tw"

# --- called as slirp4netns -----------------------------------------------------------------------------------------

# Descriptors have run out, and a client waits: a process that spins never gives the processor away by itself.
ln -s "$(realpath "$TWINAX")" "$T/slirp4netns"
"$T/slirp4netns" -c -r 3 -a "$T/api" "$pid" tap9 3>"$T/ready4" &
tw=$!
step "slirp4netns: ready" until_true 10 grep -q 1 "$T/ready4"
prlimit --pid "$tw" --nofile=1:
timeout 60 "$TWINAX" ctl "$T/api" info >/dev/null 2>&1 &
client=$!
sleep 1 # it is in the backlog
naps() { awk '/^voluntary/ { print $2 }' "/proc/$tw/status"; }
slept=$(naps)
more_naps() { [ "$(naps)" -gt $((slept + 5)) ]; }
step "slirp4netns: rests while it cannot accept" until_true 10 more_naps
prlimit --pid "$tw" --nofile="$(prlimit --pid $$ --nofile --output HARD --noheadings | tr -d " "):"
step "slirp4netns: and has the client when it can again" until_true 10 sh -c "! kill -0 $client"
kill "$pid"
step "slirp4netns: ends with the process" until_true 10 sh -c "! kill -0 $tw"
finish
