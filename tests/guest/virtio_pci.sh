#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Linux's virtio drivers on our virtio-net-pci by vfio-user: this system's kernel, and the newest of Debian's later
# suites.
#
# The guest has four cards, each in front of a network of its own: a modern one, a transitional one (which Linux takes
# for modern), one without a modern interface, and one without MSI-X. A fifth has two queue pairs in front of a tap.
# shellcheck source-path=SCRIPTDIR source=lib.sh
T_NEWEST=1
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" busybox cpio ethtool ping iperf3 ip
kit_newer_qemu "$T/qemu" || { echo "1..0 # SKIP $T_NAME: no QEMU that knows vfio-user (CI=true ./check fetches one)"; exit 77; }
KIT_PROGRAMS="$(command -v ethtool) $(command -v ping) $(command -v iperf3) $(command -v ip)"
CARDS="modern trans legacy intx"
PAIRS=
[ -w /dev/net/tun ] && PAIRS=pairs

mkdir "$T/www"
head -c 3000000 /dev/urandom >"$T/www/file"
serve_http 127.0.0.1 8080 "$T/www"

# Names in the guest follow the order in which drivers are loaded, so cards are found by the last byte of their address.
cat >"$T/name-cards" <<-'SCRIPT'
	#!/bin/sh
	for d in /sys/class/net/*; do
		case $(cat $d/address) in
		52:54:00:00:00:01) ip link set ${d##*/} name modern ;;
		52:54:00:00:00:02) ip link set ${d##*/} name trans ;;
		52:54:00:00:00:03) ip link set ${d##*/} name legacy ;;
		52:54:00:00:00:04) ip link set ${d##*/} name intx ;;
		52:54:00:00:00:05) ip link set ${d##*/} name pairs ;;
		esac
	done
	for c in modern trans legacy intx; do ip link show $c >/dev/null || exit 1; done
SCRIPT
# Only one is up at a time: all their networks have the same addresses.
cat >"$T/use-card" <<-'SCRIPT'
	#!/bin/sh
	for c in modern trans legacy intx; do
		[ $c = $1 ] || { ip addr flush dev $c; ip link set $c down; }
	done
	ip link set $1 up && udhcpc -i $1 -s /etc/dhcp -n -q -t 8 -T 2
SCRIPT
# The interrupts of a card's first queues, or of its line.
cat >"$T/interrupts" <<-'SCRIPT'
	#!/bin/sh
	v=$(readlink /sys/class/net/$1/device)
	awk -v d="${v##*/}" 'index($0, d) { for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i } END { print n + 0 }' /proc/interrupts
SCRIPT
chmod 755 "$T/name-cards" "$T/use-card" "$T/interrupts"
KIT_PROGRAMS="$KIT_PROGRAMS $T/name-cards $T/use-card $T/interrupts"

card() { # NAME
	printf '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"%s"}}' "$T/$1.sock"
}

serve_cards() {
	set --
	i=1
	for c in $CARDS; do
		case $c in
		modern) model=virtio-net-pci-non-transitional ;;
		trans) model=virtio-net-pci-transitional ;;
		legacy) model=virtio-net-pci,disable-modern=on ;;
		intx) model=virtio-net-pci,vectors=0 ;;
		esac
		set -- "$@" -netdev "user,id=n$i" \
			-device "$model,id=$c,netdev=n$i,mac=52:54:00:00:00:0$i,export=vfio-user:$T/$c.sock"
		i=$((i + 1))
	done
	[ -z "$PAIRS" ] || set -- "$@" -netdev tap,id=n5,ifname=tap0,queues=2,script=no,downscript=no \
		-device "virtio-net-pci,id=pairs,netdev=n5,mac=52:54:00:00:00:05,export=vfio-user:$T/pairs.sock"
	twinax_up tw "$@" || return 1
	[ -z "$PAIRS" ] || { ip addr add 10.9.0.1/24 dev tap0 && ip link set tap0 up; }
}

boot_cards() { # NAME
	t_g=$T/$1
	mkdir -p "$t_g"
	set --
	for c in $CARDS $PAIRS; do set -- "$@" -device "$(card $c)"; done
	guest_qemu "$t_g" "$T/initrd" "$@" -smp 2 -action reboot=reset && guest_up "$t_g" 120
}

# Bytes are checked, both ways.
transfer() { # LABEL
	holds "$1: download" "$(g 'wget -q -O /tmp/file http://10.0.2.2:8080/file && sha256sum /tmp/file')" "$(sum "$T/www/file")*"
	holds "$1: upload" "$(g 'http-put /tmp/file 10.0.2.2 8080 /cgi-bin/put')" "$(sum "$T/www/file")"
}

features_of() { # CARD: as the driver agreed to them, first bit first
	g "cat /sys/class/net/$1/device/features"
}

identity() { # LABEL
	holds "$1: modern: its ids" "$(g 'cat /sys/class/net/modern/device/../device')" 0x1041
	holds "$1: transitional: its ids" "$(g 'cat /sys/class/net/trans/device/../device')" 0x1000
	for c in modern trans intx; do
		holds "$1: $c: the driver is modern" "$(features_of $c | cut -c33)" 1
	done
	holds "$1: legacy: the driver is not" "$(features_of legacy | cut -c33)" 0
	step "$1: MSI-X has a vector for each queue" g \
		'd=$(readlink -f /sys/class/net/modern/device/..); [ $(ls $d/msi_irqs | wc -l) -ge 3 ]'
	holds "$1: without it there is the line" \
		"$(g 'ls $(readlink -f /sys/class/net/intx/device/..)/msi_irqs 2>/dev/null | wc -l')" 0
}

one_card() { # LABEL CARD
	step "$1: $2: DHCP" g "use-card $2"
	before=$(g "interrupts $2")
	step "$1: $2: ping flood, none lost" g '/bin/ping -q -f -c 1000 10.0.2.2 | grep " 0% packet loss"'
	step "$1: $2: every size of frame" g 'for s in 0 1 17 18 100 1471 1472; do ping -q -c 1 -W 5 -s $s 10.0.2.2 || exit 1; done'
	transfer "$1: $2"
	[ "$2" = intx ] || step "$1: $2: interrupts came to it" test "$(g "interrupts $2")" -gt "$before"
}

carrier() { # CARD VALUE
	[ "$(g "cat /sys/class/net/$1/carrier")" = "$2" ]
}

link_flap() { # LABEL CARD
	g "use-card $2" >/dev/null
	ctl tw set_link "$2" off >/dev/null
	step "$1: $2: set_link off takes the carrier" until_true 20 carrier "$2" 0
	ctl tw set_link "$2" on >/dev/null
	step "$1: $2: set_link on brings it back" until_true 20 carrier "$2" 1
	step "$1: $2: traffic again" until_true 20 g 'ping -q -c 1 -W 1 10.0.2.2'
}

two_pairs() { # LABEL
	[ -n "$PAIRS" ] || { skip "$1: two queue pairs" "/dev/net/tun cannot be opened"; return; }
	step "$1: two queue pairs, both in use" g \
		'ip addr add 10.9.0.2/24 dev pairs && ip link set pairs up && ethtool -l pairs | grep -c "^Combined:.*2" | grep 2'
	iperf3 -s -D --pidfile "$T/iperf3.pid" -B 10.9.0.1 >/dev/null
	step "$1: streams out" g 'iperf3 -c 10.9.0.1 -n 30M -P 8'
	step "$1: streams in" g 'iperf3 -c 10.9.0.1 -n 30M -P 8 -R'
	holds "$1: receive interrupts of both" "$(g "awk '/virtio[0-9]+-input.1/ { print (\$2 + \$3 > 10) }' /proc/interrupts")" 1
	step "$1: one pair" g 'ethtool -L pairs combined 1 && ping -q -c 2 10.9.0.1 && iperf3 -c 10.9.0.1 -n 5M -P 4 -R'
	step "$1: two again" g 'ethtool -L pairs combined 2 && iperf3 -c 10.9.0.1 -n 5M -P 4 -R'
	kill "$(cat "$T/iperf3.pid")"
}

again() { # LABEL
	step "$1: the driver goes and comes back" g 'rmmod virtio_net && insmod /lib/modules/virtio_net.ko && name-cards'
	step "$1: and works" g 'use-card modern && ping -q -c 2 10.0.2.2'
	# Newer kernels have it built in.
	if g 'grep -q "^virtio_pci " /proc/modules'; then
		step "$1: the transport's driver, too" g \
			'rmmod virtio_net virtio_pci && insmod /lib/modules/virtio_pci.ko && insmod /lib/modules/virtio_net.ko && name-cards'
	fi
	step "$1: and works" g 'use-card legacy && ping -q -c 2 10.0.2.2'
	step "$1: cards are taken from the bus and found again" g \
		'for c in modern intx; do echo 1 >/sys/class/net/$c/device/../remove; done; echo 1 >/sys/bus/pci/rescan; sleep 1; name-cards'
	step "$1: and work" g 'use-card intx && ping -q -c 2 10.0.2.2'
	guest "$t_g" 1 'reboot -f' >/dev/null
	step "$1: the guest reboots" guest_up "$t_g" 120
	step "$1: the driver takes all cards again" g 'name-cards'
	for c in $CARDS; do
		step "$1: $c after the reboot" g "use-card $c && ping -q -c 2 10.0.2.2"
	done
	transfer "$1: after the reboot"
}

one_kernel() { # LABEL NAME
	serve_cards || { t_fail "$1: twinax serve comes up" "$(cat "$T/tw.log")"; return 1; }
	rm -rf "$T/root"
	guest_files
	step "$1: the guest boots" boot_cards "$2" || return 1
	step "$1: drivers take the cards" g name-cards
	identity "$1"
	for c in $CARDS; do one_card "$1" $c; done
	for c in modern legacy intx; do link_flap "$1" $c; done
	two_pairs "$1"
	again "$1"
	guest_off "$t_g"
	holds "$1: twinax had nothing to complain about" "$(grep -v -e connected "$T/tw.log")" ''
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
