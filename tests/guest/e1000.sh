#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Linux's e1000 driver on our e1000 by vfio-user: this system's kernel, and the newest of Debian's later suites.
#
# The guest has three cards: an e1000 in front of `user`; and another one that shares a hub with a virtio-net card,
# which lives in a network namespace of its own and is the peer for whatever `user` does not speak (VLANs, jumbo
# frames, multicast).
# shellcheck source-path=SCRIPTDIR source=lib.sh
T_NEWEST=1
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" busybox cpio ethtool ping iperf3 ip
kit_newer_qemu "$T/qemu" || { echo "1..0 # SKIP $T_NAME: no QEMU that knows vfio-user (CI=true ./check fetches one)"; exit 77; }
# In the guest busybox has a ping and an ip of its own, which goes first unless the path is given.
KIT_PROGRAMS="$(command -v ethtool) $(command -v ping) $(command -v iperf3) $(command -v ip)"

MAC_USER=52:54:00:00:00:01
MAC_HUB=52:54:00:00:00:02
MAC_PEER=52:54:00:00:00:03

mkdir "$T/www"
head -c 4000000 /dev/urandom >"$T/www/file"
serve_http 127.0.0.1 8080 "$T/www"

vfio_user() { # NAME
	printf '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"%s"}}' "$T/$1.sock"
}

# Names in the guest follow the order in which drivers are loaded, so cards are found by address.
cat >"$T/name-cards" <<-SCRIPT
	#!/bin/sh
	for d in /sys/class/net/*; do
		case \$(cat \$d/address) in
		$MAC_USER) ip link set \${d##*/} name user0 ;;
		$MAC_HUB) ip link set \${d##*/} name hub0 ;;
		$MAC_PEER) ip link set \${d##*/} name peer0 ;;
		esac
	done
	ip link set user0 up && udhcpc -i user0 -s /etc/dhcp -n -q -t 8 -T 2 &&
		ip addr add 10.8.0.1/24 dev hub0 && ip link set hub0 up
SCRIPT
# The peer gets its namespace from a process that only sleeps; "peer CMD" runs something there.
cat >"$T/start-peer" <<-'SCRIPT'
	#!/bin/sh
	unshare -n sh -c 'echo $$ >/tmp/ns; exec sleep 1000000' >/dev/null 2>&1 &
	sleep 1
	ip link set peer0 netns $(cat /tmp/ns) && peer ip addr add 10.8.0.2/24 dev peer0 && peer ip link set peer0 up &&
		sysctl -w net.ipv4.icmp_echo_ignore_broadcasts=0
SCRIPT
# shellcheck disable=SC2016 # for the guest
printf '#!/bin/sh\nexec nsenter -t $(cat /tmp/ns) -n "$@"\n' >"$T/peer"
# Some settings reset the card, and then the link takes its time.
cat >"$T/reach" <<-'SCRIPT'
	#!/bin/sh
	for i in 1 2 3 4 5 6 7 8 9 10; do ping -q -c 1 -W 2 10.0.2.2 && exit; done
	exit 1
SCRIPT
cat >"$T/add-vlans" <<-'SCRIPT'
	#!/bin/sh
	vlan() { # ADDRESS ID CMD...: through CMD
		a=$1 i=$2 d=$3
		shift 3
		"$@" ip link add link $d name $d.$i type vlan id $i && "$@" ip addr add $a/24 dev $d.$i && "$@" ip link set $d.$i up
	}
	vlan 10.8.5.1 5 hub0 env && vlan 10.8.5.2 5 peer0 peer && vlan 10.8.6.2 6 peer0 peer
SCRIPT
chmod 755 "$T/name-cards" "$T/start-peer" "$T/peer" "$T/add-vlans" "$T/reach"
KIT_PROGRAMS="$KIT_PROGRAMS $T/name-cards $T/start-peer $T/peer $T/add-vlans $T/reach"

start() { # LABEL
	twinax_up tw -netdev "user,id=n0" -device "e1000,id=nic0,netdev=n0,mac=$MAC_USER,export=vfio-user:$T/a.sock" \
		-netdev hubport,id=h0,hubid=0 -device "e1000,id=nic1,netdev=h0,mac=$MAC_HUB,export=vfio-user:$T/b.sock" \
		-netdev hubport,id=h1,hubid=0 -device "virtio-net,id=nic2,netdev=h1,export=vhost-user:$T/c.sock" ||
		{ t_fail "$1: twinax serve comes up" "$(cat "$T/tw.log")"; return 1; }
	rm -rf "$T/root"
	guest_files e1000 8021q
	BOOT_NIC=virtio-net-pci,netdev=v0,romfile=,mac=$MAC_PEER
	step "$1: the guest boots" boot "$2" "$T/c.sock" -device "$(vfio_user a)" -device "$(vfio_user b)" -action reboot=reset || return 1
	step "$1: the driver takes both cards, DHCP gives an address" g 'name-cards && start-peer'
}

# Bytes are checked, both ways.
transfer() { # LABEL
	holds "$1: download" "$(g 'wget -q -O /tmp/file http://10.0.2.2:8080/file && sha256sum /tmp/file')" "$(sum "$T/www/file")*"
	holds "$1: upload" "$(g 'http-put /tmp/file 10.0.2.2 8080 /cgi-bin/put')" "$(sum "$T/www/file")"
}

filtered() { stat_of tw nic1 drops.filtered; }

carrier() { # VALUE
	[ "$(g 'cat /sys/class/net/user0/carrier')" = "$1" ]
}

traffic() { # LABEL
	step "$1: ping flood, none lost" g '/bin/ping -q -f -c 2000 10.0.2.2 | grep " 0% packet loss"'
	step "$1: every size of frame" g 'for s in 0 1 17 18 19 100 1471 1472; do ping -q -c 1 -W 5 -s $s 10.0.2.2 || exit 1; done'
	transfer "$1: TCP"
	step "$1: iperf3 to the peer" g '(peer iperf3 -s -1 >/dev/null &); sleep 1; iperf3 -c 10.8.0.2 -n 10M'
	step "$1: iperf3 from the peer" g '(peer iperf3 -s -1 >/dev/null &); sleep 1; iperf3 -c 10.8.0.2 -n 10M -R'
}

vlans() { # LABEL
	step "$1: VLANs are set up" g add-vlans
	step "$1: ping over a VLAN" g 'ping -q -c 3 -s 1472 10.8.5.2'
	step "$1: tags by software" g 'ethtool -K hub0 rxvlan off txvlan off && ping -q -c 3 10.8.5.2'
	step "$1: tags by the card again" g 'ethtool -K hub0 rxvlan on txvlan on && ping -q -c 3 10.8.5.2'
	before=$(filtered)
	g 'peer ping -c 2 -W 1 10.8.6.1' >/dev/null
	step "$1: the card filters VLANs that nobody has" test "$(filtered)" -gt "$before"
}

jumbo() { # LABEL
	step "$1: MTU 9000" g 'ip link set hub0 mtu 9000 && peer ip link set peer0 mtu 9000'
	step "$1: jumbo frames pass" g 'sleep 1; /bin/ping -q -c 3 -M do -s 8972 10.8.0.2'
	step "$1: TCP in jumbo frames" g '(peer iperf3 -s -1 >/dev/null &); sleep 1; iperf3 -c 10.8.0.2 -n 10M -R'
	step "$1: MTU 1500 again" g 'ip link set hub0 mtu 1500 && peer ip link set peer0 mtu 1500; sleep 1; ping -q -c 2 10.8.0.2'
}

multicast() { # LABEL
	g 'peer ip route add 239.0.0.0/8 dev peer0'
	before=$(filtered)
	step "$1: a group that nobody has joined is silent" g '! peer ping -c 2 -W 1 239.1.2.3'
	step "$1: the card filters it" test "$(filtered)" -gt "$before"
	step "$1: after a join it answers" g '/bin/ip addr add 239.1.2.3/32 dev hub0 autojoin; peer ping -c 3 239.1.2.3'
}

ethtools() { # LABEL
	step "$1: ethtool -t offline" g 'ethtool -t user0 offline'
	step "$1: traffic after it" g reach
	for f in rx tx sg tso gro; do
		step "$1: ethtool -K $f off" g "ethtool -K user0 $f off && reach"
		transfer "$1: without $f"
		step "$1: ethtool -K $f on" g "ethtool -K user0 $f on && reach"
	done
	transfer "$1: all offloads on"
	s=$(g 'ethtool -S user0')
	holds "$1: ethtool -S counts frames" "$s" '*rx_packets: [1-9]*tx_packets: [1-9]*'
	holds "$1: and checksums that the card has checked" "$s" '*rx_csum_offload_good: [1-9]*rx_csum_offload_errors: 0*'
	holds "$1: and frames that the card has cut" "$s" '*tx_tcp_seg_good: [1-9]*tx_tcp_seg_failed: 0*'
}

link_flap() { # LABEL
	ctl tw set_link nic0 off >/dev/null
	step "$1: set_link off takes the carrier" until_true 20 carrier 0
	step "$1: nothing passes" g '! ping -q -c 1 -W 1 10.0.2.2'
	ctl tw set_link nic0 on >/dev/null
	step "$1: set_link on brings it back" until_true 20 carrier 1
	step "$1: traffic again" g reach
}

again() { # LABEL
	step "$1: the module goes and comes back" g 'rmmod e1000 && insmod /lib/modules/e1000.ko'
	step "$1: and works" g 'name-cards && reach'
	guest "$t_g" 1 'reboot -f' >/dev/null
	step "$1: the guest reboots" guest_up "$t_g" 120
	step "$1: the driver takes both cards again" g 'name-cards && start-peer'
	transfer "$1: after the reboot"
	step "$1: the peer, too" g 'ping -q -c 3 10.8.0.2'
}

# shellcheck disable=SC2154 # t_g is the guest booted last
one_kernel() { # LABEL NAME
	if start "$1" "$2"; then
		traffic "$1"
		vlans "$1"
		jumbo "$1"
		multicast "$1"
		ethtools "$1"
		link_flap "$1"
		again "$1"
	fi
	guest_off "$t_g"
	step "$1: twinax ends by SIGTERM with status 0" twinax_end tw
}

one_kernel "this system's kernel" g1
if [ -n "$KIT_NEWEST_KERNEL" ]; then
	KIT_KERNEL=$KIT_NEWEST_KERNEL
	one_kernel "the newest kernel" g2
else
	skip "the newest kernel" "not fetched (CI=true ./check does it)"
fi
finish
