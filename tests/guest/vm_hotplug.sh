#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `twinax vm` under KVM: one frame followed from the guest's store to the system call and back, and a NIC that is plugged in and
# taken away while the guest runs.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" busybox cpio
in_lab 280
guest_files e1000

pings() { busybox ping -c "${2:-3}" -W 3 "$1"; }

ip tuntap add tap0 mode tap vnet_hdr && ip addr add 10.9.0.1/24 dev tap0 && ip link set tap0 up
mkdir "$T/www"
head -c 3000000 /dev/urandom >"$T/www/file"
serve_http 127.0.0.1 8080 "$T/www"
serve_http 10.9.0.1 8081 "$T/www"

step "a machine with an e1000 boots" vm_boot v2 -smp 2 -device pcie-root-port,id=rp0 \
	-netdev tap,id=t0,ifname=tap0,script=no,downscript=no -device e1000,id=nic0,netdev=t0,mac=52:54:00:00:00:03 || finish
A=$(vm_nic 52:54:00:00:00:03)
g "ip link set $A up; ip addr add 10.9.0.2/24 dev $A" >/dev/null
step "the guest pings the host" g 'for i in 1 2 3 4 5; do ping -c 1 -W 2 10.9.0.1 && exit 0; done; exit 1'
frame() { # DIRECTION HOP: the names of its hops, in order, on one line
	(sleep 1; pings 10.9.0.2 5 >/dev/null 2>&1) &
	ctl v2 x-trace-frame "direction=$1" "through=$2" timeout-ms=9000 | sed -n 's/^ *"hop": "\(.*\)",*$/\1/p' | tr '\n' '>'
}
holds "a frame out: exit, lookup, register, descriptors, port, backend, system call" "$(frame out 'tap writev')" \
	'vm exit>address lookup>e1000 TDT>e1000 tx>port send>port receive>tap writev>*'
holds "a frame in: read, port, descriptors, interrupt line" "$(frame in 'vm line')" '*tap readv>port send>port receive>e1000 rx>e1000 interrupt>vm line>*'

# What a CPU leaves to the loop it says by eight bytes to an eventfd; frames are written by the loop's thread.
cpu_writes() {
	for t_f in "/proc/$(cat "$t_g/pid")"/task/*; do
		! grep -q '^CPU ' "$t_f/comm" || awk '$1 == "wchar:" { w = $2 } $1 == "syscw:" { c = $2 }
			END { print c && w == 8 * c ? "signals" : w " bytes in " c " calls" }' "$t_f/io"
	done | sort -u
}
holds "an upload by the e1000" "$(g 'wget -q -O /tmp/f http://10.9.0.1:8081/file && http-put /tmp/f 10.9.0.1 8081 /cgi-bin/put')" "$(sum "$T/www/file")"
holds "its frames were not written by a CPU's thread" "$(cpu_writes)" signals

step "a backend is added" ctl v2 '{"execute":"netdev_add","arguments":{"type":"user","id":"u1"}}'
step "a NIC is plugged in" ctl v2 '{"execute":"device_add","arguments":{"driver":"virtio-net-pci","id":"hot","netdev":"u1","bus":"rp0","mac":"52:54:00:00:00:04"}}'
plugged() { [ -n "$(vm_nic 52:54:00:00:00:04)" ]; }
unplugged() { [ -z "$(vm_nic 52:54:00:00:00:04)" ]; }
step "the guest finds it" until_true 40 plugged
B=$(vm_nic 52:54:00:00:00:04)
step "DHCP through it" g "ip link set $B up && udhcpc -i $B -s /etc/dhcp -n -q -t 8 -T 3"
holds "a download through it" "$(g 'wget -q -O - http://10.0.2.2:8080/file | sha256sum')" "$(sum "$T/www/file")*"
step "it is asked to go" ctl v2 '{"execute":"device_del","arguments":{"id":"hot"}}'
step "the guest lets go of it" until_true 40 unplugged
gone() { ! ctl v2 info network | grep -q '^hot:'; }
step "and it is gone" until_true 40 gone
step "plugged in again" ctl v2 '{"execute":"device_add","arguments":{"driver":"virtio-net-pci","id":"hot","netdev":"u1","bus":"rp0","mac":"52:54:00:00:00:04"}}'
step "the guest finds it again" until_true 40 plugged
step "after its power-off twinax ends with status 0" vm_off
finish
