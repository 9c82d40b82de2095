#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A stock QEMU guest on `-netdev user` through vhost-user: every service of the user-mode network, used for real.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" qemu-system-x86_64 busybox cpio dnsmasq
guest_files

mkdir "$T/www" "$T/tftp"
head -c 20000000 /dev/urandom >"$T/www/file"
head -c 300001 /dev/urandom >"$T/tftp/boot.img"
serve_http 127.0.0.1 8080 "$T/www"
serve_dns 5353 name.test 192.0.2.77
"$NETPEER" echo 127.0.0.1 7777 &
until_true 10 busybox nc -w 1 127.0.0.1 7777 -e true # twinax connects to it by itself

twinax_up tw -netdev "user,id=n0,dns-host=127.0.0.1:5353,tftp=$T/tftp,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp:127.0.0.1:2223-:23,guestfwd=tcp:10.0.2.100:7-cmd:cat,guestfwd=tcp:10.0.2.100:8-tcp:127.0.0.1:7777" \
	-device "virtio-net,netdev=n0,export=vhost-user:$T/tw.sock" || t_fail "twinax serve comes up" ""
step "the guest boots" boot g1 "$T/tw.sock" || finish

step "DHCP gives an address" g "$DHCP"
holds "it is QEMU's first address" "$(g 'ip addr show eth0')" '*inet 10.0.2.15/24*'
holds "the route leads to 10.0.2.2" "$(g 'ip route')" '*default via 10.0.2.2*'
step "10.0.2.2 answers a ping" g 'ping -c 3 10.0.2.2'
step "a name resolves through 10.0.2.3" g 'nslookup name.test 10.0.2.3 | grep 192.0.2.77'
step "a full frame passes, and a packet in fragments" g 'ping -c 2 -s 1472 10.0.2.2 && ping -c 2 -s 4000 10.0.2.2'

step "HTTP download" g 'wget -q -O /tmp/file http://10.0.2.2:8080/file'
holds "the download's checksum" "$(g 'sha256sum /tmp/file')" "$(sum "$T/www/file")*"
holds "HTTP upload, the checksum seen by the host" \
	"$(g 'http-put /tmp/file 10.0.2.2 8080 /cgi-bin/put')" "$(sum "$T/www/file")"

step "UDP to the host and back" g 'netpeer udp 10.0.2.2 7777 100 1000'
step "UDP datagrams in fragments" g 'netpeer udp 10.0.2.2 7777 20 8000'
step "many short connections" g 'netpeer connects 10.0.2.2 7777 300'
holds "a refusal reaches the guest at once" "$(g 'nc 10.0.2.2 9 </dev/null 2>&1')" '*refused*'

g '(netpeer echo 0.0.0.0 22 >/dev/null 2>&1 &); (netpeer echo 0.0.0.0 23 >/dev/null 2>&1 &); sleep 1' >/dev/null
step "hostfwd=tcp: the host reaches the guest" "$NETPEER" connects 127.0.0.1 2222 50
step "hostfwd=udp: the host reaches the guest" "$NETPEER" udp 127.0.0.1 2223 50 700

step "guestfwd='s address answers a ping" g 'ping -c 2 10.0.2.100'
holds "guestfwd= to a program" "$(g 'head -c 3000000 /tmp/file | nc 10.0.2.100 7 | sha256sum')" "$(head -c 3000000 "$T/www/file" | sha256sum)"
step "guestfwd= to many programs" g 'netpeer connects 10.0.2.100 7 50'
step "guestfwd= to a chardev" g 'netpeer connects 10.0.2.100 8 1'
holds "guestfwd= refuses other ports" "$(g 'nc 10.0.2.100 9 </dev/null 2>&1')" '*refused*'

step "TFTP fetches a file" g 'cd /tmp && tftp -g -r boot.img -l boot.img 10.0.2.2'
holds "the file's checksum" "$(g 'sha256sum /tmp/boot.img')" "$(sum "$T/tftp/boot.img")*"
step "TFTP does not leave its folder" g '! tftp -g -r ../www/file -l /tmp/no 10.0.2.2 2>/dev/null'

step "twinax ends by SIGTERM with status 0" twinax_end tw
holds "and leaves no socket behind" "$(ls "$T"/tw.sock "$T"/tw.qmp 2>/dev/null)" ''
finish
