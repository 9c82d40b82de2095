#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `twinax vm` under KVM, in the lab where this machine's own is not up to it: Debian's kernel on two CPUs, an e1000 on
# `user` and a virtio-net on a tap, interrupts by lines and by messages, reboot and power-off.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" busybox cpio
in_lab 280
guest_files e1000

cat >"$T/up" <<-'SCRIPT'
	#!/bin/sh
	ip addr add 10.9.0.1/24 dev "$1" && ip link set "$1" up
SCRIPT
chmod 755 "$T/up"
has_no() { ! vm_has_open "$1"; }
TAP="tap,id=t0,ifname=tap0,script=$T/up,downscript=no"
mkdir "$T/www"
head -c 3000000 /dev/urandom >"$T/www/file"
serve_http 127.0.0.1 8080 "$T/www"

step "a machine with an e1000 and a virtio-net boots" vm_boot v1 -smp 2 \
	-netdev user,id=u0 -device e1000,netdev=u0,mac=52:54:00:00:00:01 \
	-netdev "$TAP" -device virtio-net-pci,netdev=t0,mac=52:54:00:00:00:02 || finish
step "it holds /dev/kvm" vm_has_open /dev/kvm
step "and /dev/net/tun" vm_has_open /dev/net/tun
step "and not /dev/vhost-net" has_no /dev/vhost-net
holds "both CPUs run" "$(g 'grep -c ^processor /proc/cpuinfo')" 2

# eth0 is whichever driver came first.
E=$(vm_nic 52:54:00:00:00:01)
V=$(vm_nic 52:54:00:00:00:02)
step "DHCP through the e1000" g "ip link set $E up && udhcpc -i $E -s /etc/dhcp -n -q -t 8 -T 3"
step "the e1000 pings user's gateway" g 'ping -c 3 10.0.2.2'
step "HTTP download through the e1000" g 'wget -q -O /tmp/file http://10.0.2.2:8080/file'
holds "its checksum" "$(g 'sha256sum /tmp/file')" "$(sum "$T/www/file")*"
holds "HTTP upload, the checksum seen by the host" \
	"$(g 'http-put /tmp/file 10.0.2.2 8080 /cgi-bin/put')" "$(sum "$T/www/file")"
holds "its interrupts come by a line" "$(vm_interrupts "$E" IO-APIC)" 1

step "the virtio-net's address" g "ip link set $V up && ip addr add 10.9.0.2/24 dev $V"
step "the host pings the virtio-net" busybox ping -c 3 10.9.0.2
serve_http 10.9.0.1 8081 "$T/www"
step "HTTP download through the tap" g 'wget -q -O /tmp/file2 http://10.9.0.1:8081/file'
holds "its checksum" "$(g 'sha256sum /tmp/file2')" "$(sum "$T/www/file")*"
holds "its interrupts come by messages" "$(vm_interrupts virtio.-input PCI-MSI)" 1

step "it takes the reboot" g '(sleep 1; reboot -f) >/dev/null 2>&1 &'
step "and boots again" guest_up "$t_g" 100
step "with a network" g "ip link set $E up && udhcpc -i $E -s /etc/dhcp -n -q -t 8 -T 3"
holds "and both CPUs" "$(g 'grep -c ^processor /proc/cpuinfo')" 2
step "after its power-off twinax ends with status 0" vm_off
holds "the kernel had nothing to complain of" \
	"$(grep -iE 'nobody cared|call trace|ACPI.*error|unable to|lockup|unit hang' "$t_g/console.log")" ""

# The other way round: virtio's interrupts by a line, e1000 on a tap; and a virtio-net whose frames the kernel moves.
ip tuntap add dev tap1 mode tap && ip addr add 10.9.1.1/24 dev tap1 && ip link set tap1 up
step "a machine with the NICs changed over boots" vm_boot v2 -smp 2 \
	-netdev user,id=u0 -device virtio-net-pci,netdev=u0,mac=52:54:00:00:00:01,vectors=0 \
	-netdev "$TAP" -device e1000,netdev=t0,mac=52:54:00:00:00:02 \
	-netdev tap,id=t1,ifname=tap1,script=no,downscript=no,vhost=on \
	-device virtio-net-pci,netdev=t1,mac=52:54:00:00:00:03 || finish
V=$(vm_nic 52:54:00:00:00:01)
E=$(vm_nic 52:54:00:00:00:02)
K=$(vm_nic 52:54:00:00:00:03)
step "DHCP through the virtio-net" g "ip link set $V up && udhcpc -i $V -s /etc/dhcp -n -q -t 8 -T 3"
step "HTTP download through the virtio-net" g 'wget -q -O /tmp/file http://10.0.2.2:8080/file'
holds "its checksum" "$(g 'sha256sum /tmp/file')" "$(sum "$T/www/file")*"
holds "its interrupts come by a line" "$(vm_interrupts 'virtio.$' IO-APIC)" 1
step "the e1000's address" g "ip link set $E up && ip addr add 10.9.0.2/24 dev $E"
step "the host pings the e1000" sh -c 'for i in 1 2 3 4 5; do busybox ping -c 1 -W 2 10.9.0.2 && exit; done; exit 1'
serve_http 10.9.0.1 8082 "$T/www"
step "HTTP download through the tap" g 'wget -q -O /tmp/file2 http://10.9.0.1:8082/file'
holds "its checksum" "$(g 'sha256sum /tmp/file2')" "$(sum "$T/www/file")*"
step "with vhost=on it holds /dev/vhost-net" vm_has_open /dev/vhost-net
step "the address of the one with vhost" g "ip link set $K up && ip addr add 10.9.1.2/24 dev $K"
step "the host pings it" busybox ping -c 3 10.9.1.2
serve_http 10.9.1.1 8083 "$T/www"
step "HTTP download through vhost" g 'wget -q -O /tmp/file3 http://10.9.1.1:8083/file'
holds "its checksum" "$(g 'sha256sum /tmp/file3')" "$(sum "$T/www/file")*"
holds "its interrupts come by messages" "$(vm_interrupts virtio.-input PCI-MSI)" 1
step "after its power-off twinax ends with status 0" vm_off
finish
