#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A `twinax vm` machine that is saved to a file while it downloads by both NICs: it goes on as if nothing had been, and
# another process that loads the file takes its place, connections included.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" busybox cpio
in_lab 280
guest_files e1000

# The guest's part.
cat >"$T/root/bin/part" <<-'GUEST'
	#!/bin/busybox sh
	cd /tmp
	wait_until() { # COMMAND...: 40 seconds at most
		n=0
		until "$@"; do
			n=$((n + 1))
			[ $n -lt 200 ] || return 1
			sleep 0.2
		done
	}
	grown() { [ "$(stat -c %s "$1" 2>/dev/null || echo 0)" -gt 200000 ]; }
	case $1 in
	addresses)
		for n in 1 2; do
			i=$(grep -l 52:54:00:00:00:0$n /sys/class/net/*/address | cut -d/ -f5)
			ip link set $i up && ip addr add 10.9.$n.2/24 dev $i || exit 1
			wait_until ping -c 1 -W 2 10.9.$n.1 || exit 1
		done
		;;
	begin)
		for i in 1 2; do
			rm -f file$i got$i
			(wget -q -O file$i http://10.9.$i.1:8080/file; sha256sum file$i >got$i) >/dev/null 2>&1 &
		done
		for i in 1 2; do wait_until grown file$i || exit 1; done
		;;
	sums) for i in 1 2; do wait_until [ -s got$i ]; cut -d' ' -f1 got$i; done ;;
	cpus) for c in 1 2; do taskset $c sh -c "sleep 0.1 && echo $c"; done ;;
	esac
GUEST
chmod 755 "$T/root/bin/part" && kit_initrd "$T/root" "$T/initrd"
mkdir "$T/www"

# The interfaces stay when the process goes.
NETS=
for i in 1 2; do
	ip tuntap add dev "tap$i" mode tap && ip addr add "10.9.$i.1/24" dev "tap$i" && ip link set "tap$i" up
	serve_http "10.9.$i.1" 8080 "$T/www"
	NETS="$NETS -netdev tap,id=t$i,ifname=tap$i,script=no,downscript=no"
done
head -c 6000000 /dev/urandom >"$T/www/file"
SUM=$(sum "$T/www/file")
machine() { # vm_start|vm_boot NAME ARG...
	# shellcheck disable=SC2086
	"$@" -smp 2 $NETS -device e1000,netdev=t1,mac=52:54:00:00:00:01 \
		-device virtio-net-pci,netdev=t2,mac=52:54:00:00:00:02
}
sums() { g 'part sums' | tr '\n' ' '; }
cpus() { g 'part cpus' | tr '\n' ' '; }

step "the machine boots" machine vm_boot a || finish
step "both NICs reach the host" g 'part addresses' || finish

step "downloads by both NICs begin" g 'part begin'
step "the machine is saved meanwhile" ctl a x-twinax-save "path=$T/first"
holds "and its downloads are what they should be" "$(sums)" "$SUM $SUM "
holds "both CPUs have a clock" "$(cpus)" "1 2 "

step "downloads by both NICs begin" g 'part begin'
step "the machine is paused" ctl a stop
step "it is saved" ctl a x-twinax-save "path=$T/second"
twinax_kill a
step "another process loads it" machine vm_start b -loadvm "$T/second"
step "its guest goes on" g 'test -s /tmp/file1'
holds "and its downloads are what they should be" "$(sums)" "$SUM $SUM "
holds "both CPUs have a clock" "$(cpus)" "1 2 "
holds "the kernel had nothing to complain of" "$(g 'dmesg' | grep -iE 'nobody cared|BUG:|rcu.*stall|lockup|unit hang')" ""
step "after its power-off twinax ends with status 0" vm_off

# Files that are no good.
refused() { # ARG...: how twinax ends, what it says
	"$TWINAX" vm -accel kvm -nodefaults -kernel "$KIT_KERNEL" -m 256 "$@" </dev/null 2>&1
	echo "status $?"
}
head -c 3000000 "$T/second" >"$T/cut"
holds "a file that was cut is refused" "$(machine refused -loadvm "$T/cut")" "*cut: *status 1"
holds "and one of another machine" "$(refused -smp 1 -loadvm "$T/second")" "*number of CPUs*status 1"
holds "and one with other NICs" "$(refused -smp 2 -loadvm "$T/second")" "*second: *status 1"
finish
