#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Rings that another process runs: a virtio card of ours by vfio-user, its frames moved by a second twinax and by passt.
#
# The guest (QEMU) has its cards from one `twinax serve`: `one` in front of -netdev vhost-user to a second twinax that has
# the user-mode network, `two` the same by a chardev and with interrupts by the line, `pst` in front of passt. Between
# guest and network no frame passes the first twinax.
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
		52:54:00:00:00:02) ip link set ${d##*/} name two ;;
		52:54:00:00:00:03) ip link set ${d##*/} name pst ;;
		esac
	done
SCRIPT
chmod 755 "$T/name-cards"
KIT_PROGRAMS="$KIT_PROGRAMS $T/name-cards"

PASST=passt
passt --help 2>&1 | grep -q vhost-user || { kit_wrapper passt "$T/passt" && PASST=$T/passt; } || PASST=
[ -z "$PASST" ] || ! "$PASST" --help 2>&1 | grep -q vhost-user && PASST=

back_end() { # two, of one twinax
	twinax_up back -netdev user,id=n1 -device "virtio-net,id=back1,netdev=n1,export=vhost-user:$T/b1.sock" \
		-netdev hubport,id=h0,hubid=0 -device "virtio-net,id=back2,netdev=h0,export=vhost-user:$T/b2.sock"
}

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

# That passed a port; nothing at all if there is none of that name.
frames_of() { # TWINAX PORT
	stats "$1" | awk -v p="$2" '$1 == p && $2 ~ /^[tr]x[.]frames$/ { n += $3; seen = 1 } END { if (seen) print n }'
}

use() { # CARD
	g "ip link set $1 up && udhcpc -i $1 -s /etc/dhcp -n -q -t 8 -T 2"
}

# passt is told the addresses that our own network has.
passt_up() {
	"$PASST" --vhost-user -f --socket "$T/passt.sock" --no-map-gw --mac-addr 52:54:00:00:00:99 -a 10.0.2.15 -n 24 -g 10.0.2.2 \
		--map-host-loopback 10.0.2.2 -4 --log-file "$T/passt.txt" </dev/null >"$T/passt.log" 2>&1 &
	echo $! >"$T/passt.pid"
	until_true 10 test -S "$T/passt.sock"
}

front_up() {
	set -- -netdev "vhost-user,id=v1,path=$T/b1.sock" \
		-device "virtio-net-pci,id=one,netdev=v1,mac=52:54:00:00:00:01,export=vfio-user:$T/one.sock" \
		-chardev "socket,id=c2,path=$T/b2.sock" -netdev vhost-user,id=v2,chardev=c2 \
		-device "virtio-net-pci,id=two,netdev=v2,mac=52:54:00:00:00:02,vectors=0,export=vfio-user:$T/two.sock"
	[ -z "$PASST" ] || set -- "$@" -netdev "vhost-user,id=v3,path=$T/passt.sock" \
		-device "virtio-net-pci,id=pst,netdev=v3,mac=52:54:00:00:00:03,export=vfio-user:$T/pst.sock"
	twinax_up front "$@"
}

step "the back end comes up" back_end || finish
if [ -n "$PASST" ]; then
	step "passt comes up" passt_up
else
	skip "passt" "none that speaks vhost-user is here (CI=true ./check fetches one)"
fi
holds "a filter has nothing to see" \
	"$("$TWINAX" serve -netdev "vhost-user,id=v,path=$T/b2.sock" -object "filter-dump,id=f,netdev=v,file=$T/f" 2>&1)" \
	"*Vhost is not supported*"
holds "an e1000 cannot be in front of it" \
	"$("$TWINAX" serve -netdev "vhost-user,id=v,path=$T/b2.sock" -device "e1000,netdev=v,export=vfio-user:$T/f" 2>&1)" \
	"*vhost-user requires frontend driver virtio-net-*"
step "the cards' twinax comes up" front_up || finish
holds "info network names a connection" "$(ctl front info network)" "*type=vhost-user,vhost-user0 to $T/b1.sock*"
holds "and one by a chardev" "$(ctl front info network)" "*type=vhost-user,vhost-user0 to c2*"
guest_files
t_g=$T/g1
mkdir "$t_g"
set -- -device "$(card one)" -device "$(card two)"
[ -z "$PASST" ] || set -- "$@" -device "$(card pst)"
guest_qemu "$t_g" "$T/initrd" -smp 2 -action reboot=reset "$@"
step "the guest boots" guest_up "$t_g" 120
step "the driver takes the cards" g name-cards

step "a second twinax: DHCP" use one
step "a second twinax: ping flood, none lost" g '/bin/ping -q -f -c 500 10.0.2.2 | grep " 0% packet loss"'
transfer "a second twinax"
holds "no frame passed the first" "$(frames_of front one)" 0
step "all passed the second" test "$(frames_of back back1)" -gt 1000

ctl front set_link one off >/dev/null
step "set_link off takes the carrier" until_true 20 carrier one 0
ctl front set_link one on >/dev/null
step "set_link on brings it back" until_true 20 carrier one 1
step "traffic again" until_true 20 g 'ping -q -c 1 -W 1 10.0.2.2'

twinax_kill back
step "the back end dies: no carrier" until_true 20 carrier one 0
step "the back end again" back_end
step "it is back: the carrier, too" until_true 30 carrier one 1
step "DHCP again" use one
transfer "after the restart"
holds "a lost connection by a chardev stays lost" "$(g 'cat /sys/class/net/two/operstate')" down

step "the driver goes and comes back" g 'rmmod virtio_net && insmod /lib/modules/virtio_net.ko && name-cards'
step "DHCP" use one
transfer "the driver again"
if [ -n "$PASST" ]; then
	step "passt: DHCP" g 'ip link set one down; ip link set pst up && udhcpc -i pst -s /etc/dhcp -n -q -t 8 -T 2'
	transfer "passt"
	holds "no frame passed the first" "$(frames_of front pst)" 0
fi
guest "$t_g" 1 'reboot -f' >/dev/null
step "the guest reboots" guest_up "$t_g" 120
step "the driver takes all cards again" g name-cards
step "DHCP" use one
transfer "after the reboot"
guest_off "$t_g"
step "twinax ends by SIGTERM with status 0" twinax_end front
finish
