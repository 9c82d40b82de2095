#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# One guest sends what no guest should, and dies in the middle of it; the other guests of the same twinax go on.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

CHAOS=$BUILD/tests/guest/chaos
need "$TWINAX" "$NETPEER" "$CHAOS" qemu-system-x86_64 linux.uml busybox cpio
mkdir "$T/www"
head -c 30000000 /dev/urandom >"$T/www/file"
want=$(sum "$T/www/file")
serve_http 127.0.0.1 8080 "$T/www"
"$NETPEER" echo 127.0.0.1 7777 &

twinax_up tw -netdev "user,id=bad,tftp=$T/www" -device "virtio-net,id=nic0,netdev=bad,export=vhost-user:$T/bad.sock" \
	-netdev user,id=good -device "virtio-net,id=nic1,netdev=good,export=vhost-user:$T/good.sock" ||
	t_fail "twinax serve comes up" ""
uml_files "$CHAOS"
step "the good guest boots" boot_uml good "virtio_uml.device=$T/good.sock:1" || finish
step "and has an address" g "$DHCP"
step "the hostile guest boots" boot_uml bad "virtio_uml.device=$T/bad.sock:1" || finish
step "and has an address" g "$DHCP"

private() { awk '/^Private_Dirty/ { print $2 }' "/proc/$(cat "$T/tw.pid")/smaps_rollup"; }
good() { G=$T/good; }
bad() { G=$T/bad; }

# Twenty seconds of nonsense, while the good guest works.
bad
guest "$T/bad" 120 'ip route add 0.0.0.0/0 dev eth0 2>/dev/null; chaos eth0 20 1' >"$T/chaos.log" 2>&1 &
chaos=$!
good
holds "under fire: a download's checksum" "$(g 'wget -q -O - http://10.0.2.2:8080/file | sha256sum')" "$want*"
step "under fire: connections and datagrams" g 'netpeer connects 10.0.2.2 7777 50 && netpeer udp 10.0.2.2 7777 50 1000'
step "the hostile guest got rid of its frames" wait "$chaos"
step "they came through to twinax" test "$(stat_of tw nic0 tx.frames)" -gt 1000
# The address sanitizer keeps what is freed; the bound is for the program itself.
if grep -q libasan "/proc/$(cat "$T/tw.pid")/maps"; then bound=1000000; else bound=65536; fi
step "twinax's own memory is bounded" test "$(private)" -lt "$bound"
step "twinax can be asked" ctl tw info network
bad
step "the hostile guest, peaceful again, reaches the host" g 'netpeer udp 10.0.2.2 7777 20 1000 && netpeer connects 10.0.2.2 7777 20'

# It dies while frames are on their way in both directions.
guest "$T/bad" 60 'wget -q -O /dev/null http://10.0.2.2:8080/file & chaos eth0 30 2' >/dev/null 2>&1 &
sleep 3
guest_kill "$T/bad"
good
holds "after its death: a download's checksum" "$(g 'wget -q -O - http://10.0.2.2:8080/file | sha256sum')" "$want*"
step "its socket takes a new guest" boot_uml next "virtio_uml.device=$T/bad.sock:1"
G=$T/next
step "which has an address and reaches the host" g "$DHCP && netpeer connects 10.0.2.2 7777 20"

# QEMU's guest, killed while it sends: nothing of it stays behind.
guest_kill "$T/next"
guest_files
KIT_PROGRAMS="$NETPEER $CHAOS" kit_root "$T/root" $KIT_VIRTIO && kit_initrd "$T/root" "$T/initrd"
step "a hostile QEMU guest boots on it" boot qemu "$T/bad.sock" || finish
G=$T/qemu
step "it has an address" g "$DHCP"
step "and sends its nonsense" g 'chaos eth0 10 3'
good
holds "after it: a download's checksum" "$(g 'wget -q -O - http://10.0.2.2:8080/file | sha256sum')" "$want*"
fds() { find "/proc/$(cat "$T/tw.pid")/fd" -type l | wc -l; }
guest_kill "$T/qemu"
before=$(fds)
step "twinax ends by SIGTERM with status 0" twinax_end tw
holds "and said nothing of a fault" "$(grep -ciE 'sanitizer|assert|fault' "$T/tw.log")" 0
echo "# $before descriptors at the end, $(cat "$T/chaos.log")"
finish
