#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A guest behind QEMU's intel-iommu on a vhost-user NIC with iommu_platform=on: every address of its rings and buffers
# goes through IOTLB messages. Strict, lazy, and passed through; traffic both ways, driver unbound and bound, reboots.
#
# What QEMU needs for it: device-iotlb=on, ats=on and a root port above the NIC. On the root bus there is no ATS, QEMU then
# learns of a lazy guest's invalidations too little, and the kernel's vhost, too, works on pages that are the guest's no longer.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" qemu-system-x86_64 busybox cpio
KIT_MACHINE=q35
KIT_PROGRAMS=
guest_files
SYSTEM_NIC=$VHOST_NIC

"$NETPEER" echo 127.0.0.1 7777 &
mkdir "$T/www"
head -c 3000000 /dev/urandom >"$T/www/file"
want=$(sum "$T/www/file")
serve_http 127.0.0.1 8080 "$T/www"

start() { # twinax, anew
	twinax_up tw -netdev user,id=n0 -device "virtio-net,netdev=n0,export=vhost-user:$T/tw.sock"
}

iommu_boot() { # NAME ARG...
	t_g=$T/$1
	mkdir -p "$t_g"
	shift
	guest_qemu "$t_g" "$T/initrd" -device intel-iommu,intremap=off,device-iotlb=on -device pcie-root-port,id=rp,chassis=1 \
		-chardev "socket,id=c0,path=$T/tw.sock$BOOT_CHARDEV" -netdev vhost-user,id=v0,chardev=c0 \
		-device "$VHOST_NIC,bus=rp,disable-legacy=on,iommu_platform=on,ats=on" -action reboot=reset "$@" && guest_up "$t_g" 120
}

both_ways() { # WHAT
	step "$1: DHCP" g "$DHCP"
	step "$1: ping, whole frames and fragments" g 'ping -c 2 10.0.2.2 && ping -c 2 -s 4000 10.0.2.2'
	holds "$1: download" "$(g 'wget -q -O /tmp/file http://10.0.2.2:8080/file; sha256sum /tmp/file')" "$want*"
	holds "$1: upload, as the host has it" "$(g 'http-put /tmp/file 10.0.2.2 8080 /cgi-bin/put')" "$want"
	step "$1: UDP" g 'netpeer udp 10.0.2.2 7777 50 1000'
}

PCI=/sys/bus/pci/drivers/virtio-pci
rebind() {
	# shellcheck disable=SC2016 # for the guest
	g 'cd '$PCI'; d=$(ls -d 0000:*) && echo "$d" >unbind && ! [ -e /sys/class/net/eth0 ] && echo "$d" >bind && [ -e /sys/class/net/eth0 ]'
}

reboot() { # WHAT
	guest "$t_g" 1 'reboot -f' >/dev/null
	step "$1: the guest reboots" guest_up "$t_g" 120
	both_ways "$1 after the reboot"
}

one_guest() { # NAME APPEND MODE
	KIT_APPEND=$2
	step "$1: the guest boots" iommu_boot "$1" || return 1
	holds "$1: its IOMMU" "$(g 'dmesg | grep iommu:')" "$3"
	both_ways "$1"
	step "$1: the driver lets go, and takes over again" rebind
	both_ways "$1 again"
	[ "$1" = through ] || reboot "$1"
	guest_off "$t_g"
}

BOOT_CHARDEV=
start || t_fail "twinax serve comes up" ""
one_guest strict "intel_iommu=on iommu.strict=1" "*Translated*strict*"
holds "twinax knows of the IOMMU" "$(cat "$T/tw.log")" "*go through the front end's IOMMU*"
one_guest lazy "intel_iommu=on iommu.strict=0" "*Translated*lazy*"
one_guest through "intel_iommu=on iommu=pt" "*Passthrough*"

# The same without the option is what it always was.
KIT_APPEND=
: >"$T/tw.log"
step "without: the guest boots" boot without "$T/tw.sock"
step "without: DHCP" g "$DHCP"
holds "without: no IOMMU" "$(cat "$T/tw.log")" "*connected"
guest_off "$t_g"

# A new twinax under a guest that goes on.
BOOT_CHARDEV=$(kit_chardev_reconnect)
KIT_APPEND="intel_iommu=on iommu.strict=0"
step "restart: the guest boots" iommu_boot restart
both_ways "restart"
twinax_kill tw
step "restart: twinax, killed, starts again" start
step "restart: the guest goes on" g 'ping -c 1 10.0.2.2 || ping -c 1 10.0.2.2 || ping -c 2 10.0.2.2'
holds "restart: download" "$(g 'wget -q -O - http://10.0.2.2:8080/file | sha256sum')" "$want*"
BOOT_CHARDEV=
guest_off "$t_g"

# A newer QEMU, with its MSI-X.
if kit_newer_qemu "$T/qemu"; then
	VHOST_NIC="virtio-net-pci,netdev=v0,romfile=,mac=52:54:00:12:34:56$(kit_nic_quirks)"
	one_guest newer "intel_iommu=on iommu.strict=0" "*Translated*lazy*"
	KIT_QEMU=
	VHOST_NIC=$SYSTEM_NIC
else
	skip "newer QEMU" "it is not here"
fi
step "twinax ends by SIGTERM with status 0" twinax_end tw
holds "and had nothing to complain of" "$(grep -E 'refused|malformed|stays stopped|cannot' "$T/tw.log")" ''
finish
