#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `twinax vm` under KVM, in the lab where this machine's own is not up to it: Debian's kernel on two CPUs, an e1000 on
# `user` and a virtio-net on a tap, interrupts by lines and by messages, reboot and power-off.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" busybox cpio
in_lab 380
guest_files e1000

# A twinax machine in the background: the guest's console in a file, its commands by pipes.
vm() { # NAME ARG...
	t_g=$T/$1
	shift
	mkdir -p "$t_g" && kit_pipes "$t_g" || return 1
	"$TWINAX" vm -accel kvm -nodefaults -kernel "$KIT_KERNEL" -initrd "$T/initrd" -m 256 \
		-append "console=ttyS0 panic=-1 quiet twinax.ctl=ttyS1" \
		-chardev "file,id=con,path=$t_g/console.log" -serial chardev:con \
		-chardev "pipe,id=ctl,path=$t_g/ctl" -serial chardev:ctl "$@" </dev/null >"$t_g/vmm.log" 2>&1 &
	echo $! >"$t_g/pid"
	guest_up "$t_g" 100
}
has_open() { [ -n "$(find "/proc/$(cat "$t_g/pid")/fd" -lname "$1")" ]; }
has_not_open() { ! has_open "$1"; }
ended() { # with status 0 after the guest's power-off
	g 'poweroff -f' >/dev/null 2>&1
	until_true 20 sh -c "! kill -0 $(cat "$t_g/pid")" || return 1
	wait "$(cat "$t_g/pid")"
}
# NAME PATTERN: a device of that name has had interrupts of that kind.
interrupts() { g "grep '$1' /proc/interrupts" | awk '$2 + $3 > 0' | grep -c "$2"; }

cat >"$T/up" <<-'SCRIPT'
	#!/bin/sh
	ip addr add 10.9.0.1/24 dev "$1" && ip link set "$1" up
SCRIPT
chmod 755 "$T/up"
TAP="tap,id=t0,ifname=tap0,script=$T/up,downscript=no"
mkdir "$T/www"
head -c 3000000 /dev/urandom >"$T/www/file"
serve_http 127.0.0.1 8080 "$T/www"

step "a machine with an e1000 and a virtio-net boots" vm v1 -smp 2 \
	-netdev user,id=u0 -device e1000,netdev=u0,mac=52:54:00:00:00:01 \
	-netdev "$TAP" -device virtio-net-pci,netdev=t0,mac=52:54:00:00:00:02 || finish
step "it holds /dev/kvm" has_open /dev/kvm
step "and /dev/net/tun" has_open /dev/net/tun
step "and not /dev/vhost-net" has_not_open /dev/vhost-net
holds "both CPUs run" "$(g 'grep -c ^processor /proc/cpuinfo')" 2

# eth0 is whichever driver came first.
net_of() { g "grep -l '$1' /sys/class/net/*/address" | cut -d/ -f5; }
E=$(net_of 52:54:00:00:00:01)
V=$(net_of 52:54:00:00:00:02)
step "DHCP through the e1000" g "ip link set $E up && udhcpc -i $E -s /etc/dhcp -n -q -t 8 -T 3"
step "the e1000 pings user's gateway" g 'ping -c 3 10.0.2.2'
step "HTTP download through the e1000" g 'wget -q -O /tmp/file http://10.0.2.2:8080/file'
holds "its checksum" "$(g 'sha256sum /tmp/file')" "$(sum "$T/www/file")*"
holds "HTTP upload, the checksum seen by the host" \
	"$(g 'http-put /tmp/file 10.0.2.2 8080 /cgi-bin/put')" "$(sum "$T/www/file")"
holds "its interrupts come by a line" "$(interrupts "$E" IO-APIC)" 1

step "the virtio-net's address" g "ip link set $V up && ip addr add 10.9.0.2/24 dev $V"
step "the host pings the virtio-net" busybox ping -c 3 10.9.0.2
serve_http 10.9.0.1 8081 "$T/www"
step "HTTP download through the tap" g 'wget -q -O /tmp/file2 http://10.9.0.1:8081/file'
holds "its checksum" "$(g 'sha256sum /tmp/file2')" "$(sum "$T/www/file")*"
holds "its interrupts come by messages" "$(interrupts virtio.-input PCI-MSI)" 1

step "it takes the reboot" g '(sleep 1; reboot -f) >/dev/null 2>&1 &'
step "and boots again" guest_up "$t_g" 100
step "with a network" g "ip link set $E up && udhcpc -i $E -s /etc/dhcp -n -q -t 8 -T 3"
holds "and both CPUs" "$(g 'grep -c ^processor /proc/cpuinfo')" 2
step "after its power-off twinax ends with status 0" ended
holds "the kernel had nothing to complain of" "$(grep -ciE 'nobody cared|call trace|ACPI.*error' "$t_g/console.log")" 0

# The other way round: virtio's interrupts by a line, e1000 on a tap.
step "a machine with the NICs changed over boots" vm v2 -smp 2 \
	-netdev user,id=u0 -device virtio-net-pci,netdev=u0,mac=52:54:00:00:00:01,vectors=0 \
	-netdev "$TAP" -device e1000,netdev=t0,mac=52:54:00:00:00:02 || finish
V=$(net_of 52:54:00:00:00:01)
E=$(net_of 52:54:00:00:00:02)
step "DHCP through the virtio-net" g "ip link set $V up && udhcpc -i $V -s /etc/dhcp -n -q -t 8 -T 3"
step "HTTP download through the virtio-net" g 'wget -q -O /tmp/file http://10.0.2.2:8080/file'
holds "its checksum" "$(g 'sha256sum /tmp/file')" "$(sum "$T/www/file")*"
holds "its interrupts come by a line" "$(interrupts virtio IO-APIC)" 1
step "the e1000's address" g "ip link set $E up && ip addr add 10.9.0.2/24 dev $E"
step "the host pings the e1000" sh -c 'for i in 1 2 3 4 5; do busybox ping -c 1 -W 2 10.9.0.2 && exit; done; exit 1'
serve_http 10.9.0.1 8082 "$T/www"
step "HTTP download through the tap" g 'wget -q -O /tmp/file2 http://10.9.0.1:8082/file'
holds "its checksum" "$(g 'sha256sum /tmp/file2')" "$(sum "$T/www/file")*"
step "after its power-off twinax ends with status 0" ended
finish
