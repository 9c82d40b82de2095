#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Network boot: iPXE's own e1000 driver, from the ROM BAR that twinax serves, boots Linux over TFTP from `user`.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

ROM=/usr/lib/ipxe/qemu/pxe-e1000.rom
need "$TWINAX" "$NETPEER" busybox cpio
[ -r "$ROM" ] || { echo "1..0 # SKIP $T_NAME: no $ROM (package ipxe-qemu)"; exit 77; }
guest_files e1000
kit_newer_qemu "$T/qemu" || { echo "1..0 # SKIP $T_NAME: no QEMU that knows vfio-user (tools/guest-kit.sh: kit_tree)"; exit 77; }

mkdir "$T/tftp" "$T/g1"
cp "$KIT_KERNEL" "$T/tftp/vmlinuz"
cp "$T/initrd" "$T/tftp/initrd"
cat >"$T/tftp/boot.ipxe" <<'SCRIPT'
#!ipxe
echo net0 is ${net0/mac} ${net0/ip} by ${net0/chip}
kernel vmlinuz console=ttyS0 panic=-1 quiet mitigations=off no_timer_check random.trust_cpu=on twinax.ctl=ttyS1
initrd initrd
boot
SCRIPT
twinax_up tw -netdev "user,id=n0,tftp=$T/tftp,bootfile=boot.ipxe" \
	-device "e1000,netdev=n0,mac=52:54:00:00:00:07,romfile=$ROM,export=vfio-user:$T/e.sock" ||
	t_fail "twinax serve comes up" ""

# No -kernel: the firmware finds the ROM, and the ROM the network.
kit_pipes "$T/g1"
"$KIT_QEMU" -M pc,graphics=off,memory-backend=ram -accel "$KIT_ACCEL" -cpu "$KIT_CPU" -m "${KIT_MEM}M" \
	-object "memory-backend-memfd,id=ram,size=${KIT_MEM}M,share=on" -nodefaults -no-user-config -display none -no-reboot \
	-serial "file:$T/g1/console.log" -serial "pipe:$T/g1/ctl" -boot n \
	-device "{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"$T/e.sock\"}}" \
	</dev/null >"$T/g1/vmm.log" 2>&1 &
echo $! >"$T/g1/pid"
t_g=$T/g1
step "Linux boots over TFTP" guest_up "$T/g1" 180
# The serial console of SeaBIOS colours and moves about: only the text counts.
said=$(tr -d '\000\033' <"$T/g1/console.log" | sed 's/\[[0-9;]*[A-Za-z]//g')
holds "iPXE ran from the card's ROM and had an address" "$(echo "$said" | grep -m1 -o 'net0 is .*')" "*52:54:00:00:00:07 10.0.2.15 by *82540*"
step "the same card serves Linux" g "$DHCP && ping -c 2 10.0.2.2"
step "and powers off" guest_off "$T/g1"
step "twinax lives" twinax_alive tw
finish
