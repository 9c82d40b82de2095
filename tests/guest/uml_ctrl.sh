#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The control queue, driven by a real driver: user-mode Linux hands it to the back end, as QEMU does not.
#
# The host sends ten raw frames through a tap each time; either the NIC's filter drops them ("filtered"), or the
# guest's interface counts them.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" linux.uml busybox
[ -w /dev/net/tun ] || { echo "1..0 # SKIP $T_NAME: /dev/net/tun cannot be opened (as root: chmod 666 /dev/net/tun)"; exit 77; }
uml_files '' 8021q

twinax_up tw -netdev "tap,id=n0,ifname=tap0,script=no,downscript=no" \
	-device "virtio-net,id=nic0,netdev=n0,mac=52:54:00:12:34:56,export=vhost-user:$T/tw.sock" ||
	t_fail "twinax serve comes up" ""
# Silence, so that every frame counted is one of ours.
echo 1 >/proc/sys/net/ipv6/conf/tap0/disable_ipv6
ip addr add 10.9.0.1/24 dev tap0 && ip link set tap0 up
step "user-mode Linux boots" boot_uml u1 "virtio_uml.device=$T/tw.sock:1" || finish
step "the guest's interface comes up" g 'sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=1; ip link set eth0 up && ip addr add 10.9.0.2/24 dev eth0 && ping -c 1 10.9.0.1' || finish

# frames MAC VLAN: "dropped" or "delivered", by the counters of both sides
frames() {
	before=$(stat_of tw nic0 drops.filtered)
	seen=$(g 'cat /sys/class/net/eth0/statistics/rx_packets')
	"$NETPEER" frames tap0 "$1" "$2" 10
	ping_guest
	filtered=$(($(stat_of tw nic0 drops.filtered) - before))
	received=$(($(g 'cat /sys/class/net/eth0/statistics/rx_packets') - seen))
	case "$filtered $received" in
	"10 "?) echo dropped ;;
	"0 "1[0-9]) echo delivered ;;
	*) echo "$filtered filtered, $received received" ;;
	esac
}
# An answered ping comes behind the frames, so they are through.
ping_guest() { busybox ping -c 1 -W 5 10.9.0.2 >/dev/null; }

mac=$(g 'cat /sys/class/net/eth0/address')
holds "frames for the guest's MAC are delivered" "$(frames "$mac" 0)" delivered
holds "broadcasts are delivered" "$(frames ff:ff:ff:ff:ff:ff 0)" delivered
holds "frames for somebody else are dropped" "$(frames 02:00:00:00:00:99 0)" dropped
step "promiscuous mode on" g 'ip link set eth0 promisc on'
holds "frames for somebody else are delivered" "$(frames 02:00:00:00:00:99 0)" delivered
step "promiscuous mode off" g 'ip link set eth0 promisc off'
holds "and dropped again" "$(frames 02:00:00:00:00:99 0)" dropped

holds "frames for a foreign multicast group are dropped" "$(frames 01:00:5e:01:02:03 0)" dropped
g '(netpeer join 239.1.2.3 1000 >/tmp/joined 2>&1 &); for i in 1 2 3 4 5; do grep -q joined /tmp/joined && break; sleep 1; done' >/dev/null
holds "joined, they are delivered" "$(frames 01:00:5e:01:02:03 0)" delivered
holds "those of another group are still dropped" "$(frames 01:00:5e:01:02:04 0)" dropped
step "all-multicast on" g 'ip link set eth0 allmulticast on || ifconfig eth0 allmulti'
holds "every group is delivered" "$(frames 01:00:5e:01:02:04 0)" delivered

holds "frames of an unknown VLAN are dropped" "$(frames "$mac" 5)" dropped
step "a VLAN interface" g 'ip link add link eth0 name eth0.5 type vlan id 5 && ip link set eth0.5 up'
holds "its frames are delivered" "$(frames "$mac" 5)" delivered
holds "those of another VLAN are dropped" "$(frames "$mac" 6)" dropped
step "the VLAN interface goes" g 'ip link del eth0.5'
holds "its frames are dropped again" "$(frames "$mac" 5)" dropped

step "a new MAC address" g 'ip link set eth0 down && ip link set eth0 address 52:54:00:aa:bb:cc && ip link set eth0 up'
holds "info network shows it" "$(ctl tw info network)" '*macaddr=52:54:00:aa:bb:cc*'
ip neigh flush dev tap0
step "the host reaches it there" busybox ping -c 2 10.9.0.2
holds "the old address is somebody else's" "$(frames "$mac" 0)" dropped
finish
