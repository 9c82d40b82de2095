#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Two QEMU guests and the user-mode network on one hub: everybody reaches everybody; then a third guest, with an e1000.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" qemu-system-x86_64 busybox cpio
guest_files e1000
"$NETPEER" echo 127.0.0.1 7777 &

twinax_up tw -netdev user,id=n0 -netdev hubport,id=h0,hubid=0,netdev=n0 \
	-netdev hubport,id=h1,hubid=0 -device "virtio-net,id=nic1,netdev=h1,export=vhost-user:$T/1.sock" \
	-netdev hubport,id=h2,hubid=0 -device "virtio-net,id=nic2,netdev=h2,export=vhost-user:$T/2.sock" \
	-netdev hubport,id=h3,hubid=0 -device "e1000,id=nic3,netdev=h3,mac=52:54:00:12:34:58,export=vfio-user:$T/3.sock" ||
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

if ! kit_newer_qemu "$T/qemu"; then
	skip "a guest with an e1000" "no QEMU that knows vfio-user (tools/guest-kit.sh: kit_tree)"
	finish
fi
guest_kill "$T/g2" # two at a time
mkdir "$T/g3"
t_g=$T/g3 G=$T/g3
guest_qemu "$G" "$T/initrd" \
	-device "{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"$T/3.sock\"}}"
step "a guest with an e1000 boots" guest_up "$G" 120 || finish
holds "its address" "$(g "$DHCP")" '*lease 10.0.2.17/24*'
step "it pings the guest with virtio-net" g 'ping -c 3 10.0.2.15'
step "TCP and UDP between e1000 and virtio-net" g 'netpeer connects 10.0.2.15 23 20 && netpeer udp 10.0.2.15 23 20 1000'
holds "a file from virtio-net to e1000, its checksum" "$(g 'wget -q -O /tmp/f http://10.0.2.15/f && sha256sum </tmp/f')" "$want"
g '(httpd -p 80 -h /tmp); sleep 1' >/dev/null
G=$T/g1
holds "and back, its checksum" "$(g 'wget -q -O - http://10.0.2.17/f | sha256sum')" "$want"
finish
