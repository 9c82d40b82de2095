#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Several threads: a Linux guest with two processors and two queue pairs, each with its worker, while what sends moves
# between the processors. Also a multi-queue tap, and the pairs of DPDK's virtio-user.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" qemu-system-x86_64 busybox cpio iperf3 taskset ethtool
KIT_PROGRAMS="$(command -v iperf3) $(command -v ping) $(command -v taskset) $(command -v ethtool)"
kit_newer_qemu "$T/qemu" || true # QEMU 7.2 under tcg has no vectors to give, see kit_nic_quirks
guest_files
BOOT_NETDEV=,queues=2
case $VHOST_NIC in
*vectors=0) BOOT_NIC=$VHOST_NIC,mq=on ;;
*) BOOT_NIC=$VHOST_NIC,mq=on,vectors=6 ;;
esac

mkdir "$T/www"
head -c 30000000 /dev/urandom >"$T/www/file"

threads() { find "/proc/$(cat "$T/$1.pid")/task" -mindepth 1 -maxdepth 1 | grep -c ''; }
# Frames that the guest has sent by each pair.
by_pair() { # NAME NIC
	ctl "$1" query-stats | awk -v nic="$2" '/"name":/ { name = $2; gsub(/[",]/, "", name) }
		/"tx"/ { tx = 1 } /}/ { tx = 0 } tx && /"frames"/ && name == nic { gsub(/,/, "", $2); print $2 }'
}
both_pairs_sent() { [ "$(by_pair "$1" "$2" | awk '$1 > 100' | grep -c '')" = 2 ]; }

# An iperf3 stream that is moved from one processor to the other again and again, while files are fetched and checked.
moves() { # LABEL SERVER
	step "$1: a stream begins" g "(iperf3 -c $2 -t 3600 >/tmp/iperf3 2>&1 & echo \$! >/tmp/pid); sleep 1"
	g '(while kill -0 $(cat /tmp/pid); do for c in 1 2; do taskset -ap $c $(cat /tmp/pid); sleep 0.1; done; done >/dev/null 2>&1 &)' >/dev/null
	for i in 1 2 3; do
		holds "$1: download $i while it moves" "$(g "taskset $((i % 2 + 1)) wget -q -O - http://$2:8080/file | sha256sum")" "$(sum "$T/www/file")*"
		holds "$1: upload $i" "$(g "wget -q -O /tmp/file http://$2:8080/file; taskset $((2 - i % 2)) http-put /tmp/file $2 8080 /cgi-bin/put")" "$(sum "$T/www/file")"
	done
	step "$1: the stream has lived through it" g 'kill -0 $(cat /tmp/pid) && ! grep -i error /tmp/iperf3'
	g 'kill $(cat /tmp/pid)' >/dev/null
	step "$1: a stream the other way" g "iperf3 -c $2 -n 50M -P 4 -R"
}

pairs() { # LABEL SERVER
	step "$1: down to one pair, and it works" g "ethtool -L eth0 combined 1 && ping -q -c 3 $2 && iperf3 -c $2 -n 5M -P 2"
	step "$1: up to two, and they do" g "ethtool -L eth0 combined 2 && ping -q -c 3 $2 && iperf3 -c $2 -n 20M -P 4 -R"
	step "$1: the driver goes and comes back" g 'rmmod virtio_net && insmod /lib/modules/virtio_net.ko'
}

# --- the user network ---
serve_http 127.0.0.1 8080 "$T/www"
iperf3 -s -D -B 127.0.0.1 --pidfile "$T/iperf3.pid" >/dev/null
"$NETPEER" echo 127.0.0.1 7777 &
twinax_up tw -netdev user,id=n0,workers=2,hostfwd=tcp:127.0.0.1:2222-:22 \
	-device "virtio-net,id=nic0,netdev=n0,export=vhost-user:$T/tw.sock" || t_fail "twinax serve comes up" "$(cat "$T/tw.log")"
holds "there is a thread for each worker" "$(threads tw)" 3
step "user: the guest boots" boot g1 "$T/tw.sock" -smp 2 || finish
step "user: DHCP" g "$DHCP"
holds "user: two queue pairs" "$(g 'ethtool -l eth0 | grep -c "^Combined:.*2"')" 2
step "user: ping flood on either processor" g 'for c in 1 2; do taskset $c /bin/ping -q -f -c 500 10.0.2.2 | grep " 0% packet loss" || exit 1; done'
step "user: fragments" g 'taskset 2 ping -q -c 3 -s 8000 10.0.2.2'
moves user 10.0.2.2
step "user: both pairs have sent" both_pairs_sent tw nic0
step "user: UDP, short connections" g 'netpeer udp 10.0.2.2 7777 100 1000 && taskset 2 netpeer connects 10.0.2.2 7777 100 && taskset 1 netpeer connects 10.0.2.2 7777 100'
g '(netpeer echo 0.0.0.0 22 >/dev/null 2>&1 &); sleep 1' >/dev/null
step "user: hostfwd" "$NETPEER" connects 127.0.0.1 2222 100
pairs user 10.0.2.2
step "user: and works" g "$DHCP && ping -q -c 2 10.0.2.2"
holds "user: info usernet" "$(ctl tw info usernet)" '*TCP*HOST_FORWARD*'
step "user: the link goes and comes back" eval 'ctl tw set_link n0 off && ctl tw set_link n0 on && until_true 20 g "ping -q -c 1 -W 1 10.0.2.2"'
guest_off "$t_g"
holds "user: twinax had nothing to complain about" "$(grep -v connected "$T/tw.log")" ''
step "user: twinax ends with status 0" twinax_end tw
kill "$(cat "$T/iperf3.pid")"

# --- tap ---
if [ -w /dev/net/tun ]; then
	twinax_up tap -netdev tap,id=n0,ifname=tap0,queues=2,workers=2,script=no,downscript=no \
		-device "virtio-net,id=nic0,netdev=n0,export=vhost-user:$T/tap.sock" || t_fail "twinax serve comes up" "$(cat "$T/tap.log")"
	ip addr add 10.9.0.1/24 dev tap0 && ip link set tap0 up
	iperf3 -s -D -B 10.9.0.1 --pidfile "$T/iperf3.pid" >/dev/null
	serve_http 10.9.0.1 8080 "$T/www"
	step "tap: the guest boots" boot g2 "$T/tap.sock" -smp 2 || finish
	g 'ip addr add 10.9.0.2/24 dev eth0 && ip link set eth0 up' >/dev/null
	step "tap: ping" g 'ping -q -c 3 10.9.0.1'
	moves tap 10.9.0.1
	step "tap: both pairs have sent" both_pairs_sent tap nic0
	pairs tap 10.9.0.1
	guest_off "$t_g"
	holds "tap: twinax had nothing to complain about" "$(grep -v connected "$T/tap.log")" ''
	step "tap: twinax ends with status 0" twinax_end tap
	kill "$(cat "$T/iperf3.pid")"
else
	skip "tap" "/dev/net/tun cannot be opened"
fi

# --- what is refused ---
refused() { # TEXT PATTERN ARG...
	r_text=$1 r_why=$2
	shift 2
	holds "refused: $r_text" "$("$TWINAX" serve "$@" 2>&1 </dev/null)" "$r_why"
}
refused "a card on a PCI bus" '*workers=2, which is for NICs behind vhost-user*' -netdev user,id=n0,workers=2 \
	-device "virtio-net-pci,netdev=n0,export=vfio-user:$T/x.sock"
refused "guestfwd" '*guestfwd= is not possible with workers=2*' -netdev "user,id=n0,workers=2,guestfwd=tcp:10.0.2.100:7-cmd:cat"
refused "more workers than queues" '*workers=3, but there are*' -netdev tap,id=n0,workers=3,script=no,downscript=no
refused "an IOMMU" '*iommu_platform=on is not possible with workers=2*' -netdev user,id=n0,workers=2 \
	-device "virtio-net,netdev=n0,export=vhost-user:$T/x.sock,iommu_platform=on"
finish
