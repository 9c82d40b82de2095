#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Two QEMU guests and the user-mode network on one hub: everybody reaches everybody.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" qemu-system-x86_64 busybox cpio
guest_files
"$NETPEER" echo 127.0.0.1 7777 &

twinax_up tw -netdev user,id=n0 -netdev hubport,id=h0,hubid=0,netdev=n0 \
	-netdev hubport,id=h1,hubid=0 -device "virtio-net,id=nic1,netdev=h1,export=vhost-user:$T/1.sock" \
	-netdev hubport,id=h2,hubid=0 -device "virtio-net,id=nic2,netdev=h2,export=vhost-user:$T/2.sock" ||
	t_fail "twinax serve comes up" ""
step "the first guest boots" boot g1 "$T/1.sock" || finish
BOOT_NIC=$(echo "$VHOST_NIC" | sed s/34:56/34:57/)
step "the second guest boots" boot g2 "$T/2.sock" || finish

G=$T/g1
holds "the first guest's address" "$(g "$DHCP")" '*lease 10.0.2.15/24*'
G=$T/g2
holds "the second guest's address" "$(g "$DHCP")" '*lease 10.0.2.16/24*'
step "guest pings guest" g 'ping -c 3 10.0.2.15'
step "guest pings gateway" g 'ping -c 3 10.0.2.2'
step "second guest's TCP and UDP through the shared network" g 'netpeer connects 10.0.2.2 7777 20 && netpeer udp 10.0.2.2 7777 20 1000'
G=$T/g1
g '(netpeer echo 0.0.0.0 23 >/dev/null 2>&1 &); (head -c 8000000 /dev/urandom >/tmp/f; httpd -p 80 -h /tmp); sleep 1' >/dev/null
want=$(g 'sha256sum </tmp/f')
G=$T/g2
step "TCP and UDP from guest to guest" g 'netpeer connects 10.0.2.15 23 20 && netpeer udp 10.0.2.15 23 20 1000'
holds "a file from guest to guest, its checksum" "$(g 'wget -q -O - http://10.0.2.15/f | sha256sum')" "$want"
finish
