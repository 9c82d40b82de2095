#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# User-mode Linux on `-netdev user`: another vhost-user front end, and a guest nearly as fast as the host.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" linux.uml busybox iperf3 dnsmasq
uml_files iperf3

mkdir "$T/www"
head -c 50000000 /dev/urandom >"$T/www/file"
serve_http 127.0.0.1 8080 "$T/www"
serve_dns 5353 name.test 192.0.2.77
"$NETPEER" echo 127.0.0.1 7777 &
iperf3 -s -D --pidfile "$T/iperf3.pid" >/dev/null

twinax_up tw -netdev "user,id=n0,dns-host=127.0.0.1:5353,hostfwd=tcp:127.0.0.1:2222-:22" \
	-device "virtio-net,netdev=n0,export=vhost-user:$T/tw.sock" || t_fail "twinax serve comes up" ""
step "user-mode Linux boots" boot_uml u1 "virtio_uml.device=$T/tw.sock:1" || finish
step "DHCP gives an address" g "$DHCP"
step "10.0.2.2 answers a ping" g 'ping -c 3 10.0.2.2 && ping -c 2 -s 4000 10.0.2.2'
step "a name resolves through 10.0.2.3" g 'nslookup name.test 10.0.2.3 | grep 192.0.2.77'
step "HTTP download" g 'wget -q -O /tmp/file http://10.0.2.2:8080/file'
holds "the download's checksum" "$(g 'sha256sum /tmp/file')" "$(sum "$T/www/file")*"
holds "HTTP upload, the checksum seen by the host" \
	"$(g 'http-put /tmp/file 10.0.2.2 8080 /cgi-bin/put')" "$(sum "$T/www/file")"
step "UDP to the host and back, in fragments too" g 'netpeer udp 10.0.2.2 7777 200 1000 && netpeer udp 10.0.2.2 7777 50 8000'
step "many short connections" g 'netpeer connects 10.0.2.2 7777 500'
step "iperf3, eight streams, guest to host" g 'iperf3 -c 10.0.2.2 -t 2 -P 8'
step "iperf3, eight streams, host to guest" g 'iperf3 -c 10.0.2.2 -t 2 -P 8 -R'
g '(netpeer echo 0.0.0.0 22 >/dev/null 2>&1 &); sleep 1' >/dev/null
step "hostfwd=tcp: the host reaches the guest" "$NETPEER" connects 127.0.0.1 2222 100
finish
