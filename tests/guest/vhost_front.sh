#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Rings that another process runs: a virtio card of ours by vfio-user, its frames moved by a second twinax and by passt.
#
# The guest (QEMU) has two cards from one `twinax serve`: `one` in front of -netdev vhost-user to a second twinax that
# has the user-mode network, `pst` in front of passt. Between guest and network no frame passes the first twinax.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" busybox cpio ping
kit_newer_qemu "$T/qemu" || { echo "1..0 # SKIP $T_NAME: no QEMU that knows vfio-user (CI=true ./check fetches one)"; exit 77; }
KIT_PROGRAMS="$(command -v ping)"

mkdir "$T/www"
head -c 3000000 /dev/urandom >"$T/www/file"
serve_http 127.0.0.1 8080 "$T/www"

cat >"$T/name-cards" <<-'SCRIPT'
	#!/bin/sh
	for d in /sys/class/net/*; do
		case $(cat $d/address) in
		52:54:00:00:00:01) ip link set ${d##*/} name one ;;
		52:54:00:00:00:02) ip link set ${d##*/} name pst ;;
		esac
	done
SCRIPT
chmod 755 "$T/name-cards"
KIT_PROGRAMS="$KIT_PROGRAMS $T/name-cards"

back_end() { twinax_up back -netdev user,id=n0 -device "virtio-net,id=back,netdev=n0,export=vhost-user:$T/back.sock"; }

card() { # NAME
	printf '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"%s"}}' "$T/$1.sock"
}

transfer() { # LABEL
	holds "$1: download" "$(g 'wget -q -O /tmp/file http://10.0.2.2:8080/file && sha256sum /tmp/file')" "$(sum "$T/www/file")*"
	holds "$1: upload" "$(g 'http-put /tmp/file 10.0.2.2 8080 /cgi-bin/put')" "$(sum "$T/www/file")"
}

carrier() { # CARD VALUE
	[ "$(g "cat /sys/class/net/$1/carrier")" = "$2" ]
}

frames_of() { # NAME PORT: that passed it
	stats "$1" | awk -v p="$2" '$1 == p && ($2 == "tx_frames" || $2 == "rx_frames") { n += $3 } END { print n + 0 }'
}

step "the back end comes up" back_end || finish
step "the card's twinax comes up" twinax_up front \
	-netdev "vhost-user,id=v0,path=$T/back.sock" \
	-device "virtio-net-pci,id=one,netdev=v0,mac=52:54:00:00:00:01,export=vfio-user:$T/one.sock" || finish
holds "info network names the connection" "$(ctl front info network)" "*type=vhost-user,vhost-user0 to $T/back.sock*"
guest_files
t_g=$T/g1
mkdir "$t_g"
step "the guest boots" sh -c : && guest_qemu "$t_g" "$T/initrd" -device "$(card one)" -smp 2 && guest_up "$t_g" 120
step "the driver takes the card" g name-cards
step "DHCP" g 'ip link set one up && udhcpc -i one -s /etc/dhcp -n -q -t 8 -T 2'
step "ping" g 'ping -q -c 3 10.0.2.2'
transfer "a second twinax"
holds "no frame passed the first" "$(frames_of front one)" 0
finish
