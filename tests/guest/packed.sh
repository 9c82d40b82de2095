#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Packed rings with drivers that are not ours: Linux's, in QEMU by vhost-user and by vfio-user, and DPDK's; and a live
# migration, after which a ring goes on in the middle of a lap.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" qemu-system-x86_64 busybox cpio
KIT_PROGRAMS="$(command -v iperf3) $(command -v ping)"
guest_files
PACKED="$VHOST_NIC,packed=on"

mkdir "$T/www"
head -c 20000000 /dev/urandom >"$T/www/file"
serve_http 127.0.0.1 8080 "$T/www"

# The driver has agreed to VIRTIO_F_RING_PACKED, bit 34.
is_packed() { # WANTED
	g "cat /sys/class/net/eth0/device/features | cut -c35" | grep -q "$1"
}

transfers() { # LABEL
	step "$1: DHCP gives an address" g "$DHCP"
	step "$1: ping flood, none lost" g '/bin/ping -q -f -c 2000 10.0.2.2 | grep " 0% packet loss"'
	step "$1: every size of frame" g 'for s in 0 1 17 18 100 1471 1472 4000 20000; do ping -q -c 1 -W 5 -s $s 10.0.2.2 || exit 1; done'
	holds "$1: download" "$(g 'wget -q -O /tmp/file http://10.0.2.2:8080/file && sha256sum /tmp/file')" "$(sum "$T/www/file")*"
	holds "$1: upload" "$(g 'http-put /tmp/file 10.0.2.2 8080 /cgi-bin/put')" "$(sum "$T/www/file")"
	"$NETPEER" echo 127.0.0.1 7777 &
	peer=$!
	step "$1: UDP, many short connections" g 'netpeer udp 10.0.2.2 7777 100 1000 && netpeer connects 10.0.2.2 7777 100'
	kill "$peer"
}

again() { # LABEL
	step "$1: the driver goes and comes back" g 'rmmod virtio_net && insmod /lib/modules/virtio_net.ko'
	step "$1: and works" g "$DHCP && ping -q -c 2 10.0.2.2"
}

# Rings of 256 and of 1024; without event index; without indirect descriptors, where a chain takes several slots.
n=0
for variant in '' ,rx_queue_size=1024,tx_queue_size=1024 ,event_idx=off ,indirect_desc=off ,mrg_rxbuf=off; do
	n=$((n + 1))
	label="vhost-user${variant:+ ${variant#,}}"
	twinax_up "tw$n" -netdev user,id=n0 -device "virtio-net,netdev=n0,export=vhost-user:$T/tw$n.sock" ||
		t_fail "$label: twinax serve comes up" "$(cat "$T/tw$n.log")"
	BOOT_NIC=$PACKED$variant
	step "$label: the guest boots" boot "g$n" "$T/tw$n.sock" || finish
	step "$label: rings are packed" is_packed 1
	transfers "$label"
	again "$label"
	guest_off "$t_g"
	holds "$label: twinax had nothing to complain about" "$(grep -v connected "$T/tw$n.log")" ''
	step "$label: twinax ends with status 0" twinax_end "tw$n"
done

# QEMU is refused what was switched off here, with a word of its own.
twinax_up off -netdev user,id=n0 -device "virtio-net,netdev=n0,export=vhost-user:$T/off.sock,packed=off"
BOOT_NIC=$PACKED
if boot goff "$T/off.sock" >"$T/off.out" 2>&1; then
	step "packed=off: the driver has split rings" is_packed 0
	guest_off "$t_g"
else
	step "packed=off: QEMU says that it is not there" grep -q packed "$t_g/vmm.log"
fi
twinax_kill off

# A ring stops, and goes on in another twinax.
migrates() {
	for side in a b; do
		twinax_up "$side" -netdev user,id=n0 -device "virtio-net,netdev=n0,export=vhost-user:$T/$side.sock" || return 1
	done
	# See migrate.sh for the size.
	KIT_MEM=256.0625
	BOOT_NIC=$PACKED
	boot m1 "$T/a.sock" -qmp "unix:$T/qemu-m1.qmp,server=on,wait=off" || return 1
	g "$DHCP && ping -q -c 1 10.0.2.2 && for i in 1 2 3; do wget -q -O /dev/null http://10.0.2.2:8080/file || exit 1; done"
	mkdir -p "$T/m2"
	guest_qemu "$T/m2" "$T/initrd" -chardev "socket,id=c0,path=$T/b.sock" -netdev vhost-user,id=v0,chardev=c0 \
		-device "$PACKED" -qmp "unix:$T/qemu-m2.qmp,server=on,wait=off" -incoming "unix:$T/wire" || return 1
	until_true 20 ctl qemu-m2 '{"execute": "query-status"}'
	g '(ping -i 0.01 -c 3000 10.0.2.2 >/tmp/ping 2>&1 &); sleep 1' >/dev/null
	ctl qemu-m1 "migrate -d unix:$T/wire" >/dev/null
	until_true 60 sh -c "timeout 10 '$TWINAX' ctl '$T/qemu-m2.qmp' '{\"execute\": \"query-status\"}' | grep -q '\"running\": true'" || return 1
	guest_kill "$T/m1"
	t_g=$T/m2
}
step "migration: the guest moves from one twinax to another" migrates
if [ "$t_failed" = 0 ]; then
	step "migration: it is packed still" is_packed 1
	step "migration: and works" g 'ping -q -c 20 -i 0.1 10.0.2.2'
	holds "migration: download" "$(g 'wget -q -O /tmp/file http://10.0.2.2:8080/file && sha256sum /tmp/file')" "$(sum "$T/www/file")*"
	guest_off "$t_g"
fi

# The card itself by vfio-user.
if kit_newer_qemu "$T/qemu"; then
	twinax_up pci -netdev user,id=n0 -device "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56,packed=on,export=vfio-user:$T/pci.sock"
	mkdir -p "$T/gp"
	t_g=$T/gp
	KIT_MEM=320
	vfio_boot() {
		guest_qemu "$t_g" "$T/initrd" -device "{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"$T/pci.sock\"}}" &&
			guest_up "$t_g" 120
	}
	if step "vfio-user: the guest boots" vfio_boot; then
		step "vfio-user: rings are packed" is_packed 1
		transfers "vfio-user"
		again "vfio-user"
		guest_off "$t_g"
	fi
	holds "vfio-user: twinax had nothing to complain about" "$(grep -v connected "$T/pci.log")" ''
else
	skip "vfio-user" "no QEMU that knows it (CI=true ./check fetches one)"
fi

# DPDK polls, so there is no suppression; it has paths of its own for rings with and without IN_ORDER and mergeable buffers.
dpdk_moved() { [ "$(stat_of dp "$1" tx.frames)" -gt 20000 ]; }
dpdk() { # LABEL OPTIONS
	twinax_up dp -netdev hubport,id=h0,hubid=0 -device "virtio-net,id=nic0,netdev=h0,export=vhost-user:$T/d0.sock,packed=on" \
		-netdev hubport,id=h1,hubid=0 -device "virtio-net,id=nic1,netdev=h1,export=vhost-user:$T/d1.sock,packed=on" ||
		t_fail "$1: twinax serve comes up" ""
	rm -f "$T/in"
	mkfifo "$T/in"
	KIT_TESTPMD_VDEV=packed_vq=1$2 kit_testpmd "$T/d0.sock" "$T/d1.sock" <"$T/in" >"$T/testpmd.log" 2>&1 &
	pmd=$!
	exec 7>"$T/in"
	step "$1: testpmd starts on both NICs" until_true 30 grep -q 'testpmd>' "$T/testpmd.log" || finish
	echo 'start tx_first' >&7
	step "$1: frames cross from the first NIC to the second" until_true 60 dpdk_moved nic0
	step "$1: and from the second to the first" until_true 60 dpdk_moved nic1
	echo stop >&7
	echo 'start tx_first' >&7
	echo quit >&7
	step "$1: testpmd ends" wait "$pmd"
	exec 7>&-
	holds "$1: no ring broke" "$(grep -c malformed "$T/dp.log")" 0
	step "$1: twinax ends with status 0" twinax_end dp
}
if command -v dpdk-testpmd >/dev/null 2>&1; then
	dpdk "DPDK" ''
	dpdk "DPDK, no mergeable buffers" ,mrg_rxbuf=0
	dpdk "DPDK, a small ring" ,queue_size=64
else
	skip "DPDK" "dpdk-testpmd is not here"
fi
finish
