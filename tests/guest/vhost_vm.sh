#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The three data paths of a virtio card under KVM, in the lab: this process, the kernel (vhost=on), another process
# (vhost-user). Doorbells are ioeventfds and interrupts irqfds: the machine's process sees no frame of the latter two.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" busybox cpio
in_lab 280
guest_files

vm() { # NAME ARG...: the one whose control socket is called vm
	vm_boot "$@" && ln -sf "$T/$1.qmp" "$T/vm.qmp"
}
vm_has_not_open() { ! vm_has_open "$1"; }
# That passed the port in this process; nothing at all if there is no such port.
frames_of() { # TWINAX PORT
	stats "$1" | awk -v p="$2" '$1 == p && $2 ~ /^[tr]x[.]frames$/ { n += $3; seen = 1 } END { if (seen) print n }'
}

cat >"$T/up" <<-'SCRIPT'
	#!/bin/sh
	ip addr add 10.9.0.1/24 dev "$1" && ip link set "$1" up
SCRIPT
chmod 755 "$T/up"
TAP="tap,id=t0,ifname=tap0,script=$T/up,downscript=no"
NIC=virtio-net-pci,id=nic0,mac=52:54:00:00:00:02
mkdir "$T/www"
head -c 3000000 /dev/urandom >"$T/www/file"
want=$(sum "$T/www/file")

transfer() { # LABEL ADDRESS PORT
	holds "$1: download" "$(g "wget -q -O /tmp/file http://$2:$3/file && sha256sum /tmp/file")" "$want*"
	holds "$1: upload" "$(g "http-put /tmp/file $2 $3 /cgi-bin/put")" "$want"
}
interrupts() { g "grep virtio.-input /proc/interrupts" | awk '{ print $2 + $3 }'; }

# --- the kernel

[ ! -c /dev/vhost-net ] || step "drivers of all kinds on the kernel's vhost, by a fake guest" "$BUILD/tests/device/test_device_vhost_kernel"

by_tap() { # LABEL PORT
	step "$1: the guest's address" g 'ip link set eth0 up && ip addr add 10.9.0.2/24 dev eth0'
	step "$1: ping" sh -c 'for i in 1 2 3 4 5; do busybox ping -c 1 -W 2 10.9.0.2 && exit; done; exit 1'
	busybox nc -w 1 10.9.0.1 "$2" -e true 2>/dev/null || serve_http 10.9.0.1 "$2" "$T/www"
	transfer "$1" 10.9.0.1 "$2"
}

step "vhost=on: the machine boots" vm v1 -smp 2 -netdev "$TAP,vhost=on" -device "$NIC,netdev=t0" || finish
step "it holds /dev/vhost-net" vm_has_open /dev/vhost-net
by_tap "vhost=on" 8081
holds "no frame passed the process" "$(frames_of vm nic0)" 0
step "interrupts came by messages" test "$(interrupts)" -gt 10
ctl vm set_link nic0 off >/dev/null
step "set_link off takes the carrier" until_true 20 g '! grep -q 1 /sys/class/net/eth0/carrier'
ctl vm set_link nic0 on >/dev/null
step "set_link on brings it back" until_true 20 g 'grep -q 1 /sys/class/net/eth0/carrier'
transfer "after set_link" 10.9.0.1 8081
ctl vm stop >/dev/null
ctl vm cont >/dev/null
transfer "after stop and cont" 10.9.0.1 8081
step "the driver goes and comes back" g 'rmmod virtio_net && insmod /lib/modules/virtio_net.ko && sleep 1'
by_tap "the driver again" 8081
holds "no frame passed the process" "$(frames_of vm nic0)" 0
step "it takes the reboot" g '(sleep 1; reboot -f) >/dev/null 2>&1 &'
step "and boots again" guest_up "$t_g" 100
by_tap "after the reboot" 8081
step "after its power-off twinax ends with status 0" vm_off

step "vhost=on by the line: the machine boots" vm v2 -netdev "$TAP,vhost=on,vhostforce=on" -device "$NIC,netdev=t0,vectors=0" || finish
step "it holds /dev/vhost-net" vm_has_open /dev/vhost-net
by_tap "by the line" 8082
step "after its power-off twinax ends with status 0" vm_off

# --- another process

serve_http 127.0.0.1 8080 "$T/www"
back_end() { twinax_up back -netdev user,id=n0 -device "virtio-net,id=back,netdev=n0,export=vhost-user:$T/back.sock"; }
step "a second twinax comes up" back_end || finish
step "vhost-user: the machine boots" vm v4 -smp 2 -netdev "vhost-user,id=t0,path=$T/back.sock" -device "$NIC,netdev=t0" || finish
step "it holds no network device" vm_has_not_open /dev/net/tun
step "DHCP" g "$DHCP"
transfer "a second twinax" 10.0.2.2 8080
holds "no frame passed the machine's process" "$(frames_of vm nic0)" 0
step "but the other one" test "$(frames_of back back)" -gt 200
twinax_kill back
step "the back end dies: no carrier" until_true 20 g '! grep -q 1 /sys/class/net/eth0/carrier'
step "the back end again" back_end
step "it is back: the carrier, too" until_true 30 g 'grep -q 1 /sys/class/net/eth0/carrier'
step "DHCP again" g "$DHCP"
transfer "after the restart" 10.0.2.2 8080
step "after its power-off twinax ends with status 0" vm_off
finish
