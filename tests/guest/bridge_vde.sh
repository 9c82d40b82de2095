#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A guest with two NICs: one in a bridge that Debian's helper joins, one on a VDE switch, through which a second twinax
# and its tap lead to the host.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

HELPER=/usr/lib/qemu/qemu-bridge-helper
need "$TWINAX" "$NETPEER" "$HELPER" vde_switch qemu-system-x86_64 busybox cpio
guest_files

# The helper's list of bridges, in a copy of /etc that ends with this test.
mkdir -p /run/etc/upper /run/etc/work &&
	mount -t overlay etc -o "lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work" /etc ||
	{ echo "1..0 # SKIP $T_NAME: no right to mount over /etc"; exit 77; }
mkdir -p /etc/qemu
echo "allow br0" >/etc/qemu/bridge.conf
[ -c /dev/net/tun ] && { : <>/dev/net/tun; } 2>/dev/null || { echo "1..0 # SKIP $T_NAME: /dev/net/tun cannot be opened"; exit 77; }

for b in br0 br1; do ip link add "$b" type bridge && ip link set "$b" up; done
ip addr add 10.77.0.1/24 dev br0
"$NETPEER" echo 10.77.0.1 7777 &

refused() { # OPTIONS: what serve says
	timeout 20 "$TWINAX" serve -netdev "$1" 2>&1 | tr '\n' ' '
}
holds "a bridge that the list does not allow" "$(refused bridge,id=n0,br=br1)" '*bridge helper failed: access denied by acl file*'
holds "a switch that is not there" "$(refused "vde,id=n0,sock=$T/sw")" '*Could not open vde: No such file or directory*'

vde_switch -s "$T/sw" -d -p "$T/sw.pid" </dev/null >"$T/sw.log" 2>&1
step "the switch runs" until_true 10 test -S "$T/sw/ctl" || finish
step "a bridge and a VDE port behind two NICs" twinax_up tw \
	-netdev bridge,id=b0 -device "virtio-net,id=nic1,netdev=b0,export=vhost-user:$T/1.sock" \
	-netdev "vde,id=v0,sock=$T/sw" -device "virtio-net,id=nic2,netdev=v0,export=vhost-user:$T/2.sock" || finish
step "a tap behind the same switch" twinax_up far \
	-netdev "vde,id=v0,sock=$T/sw" -netdev hubport,id=h0,hubid=0,netdev=v0 \
	-netdev tap,id=t0,ifname=far0,script=no,downscript=no -netdev hubport,id=h1,hubid=0,netdev=t0 || finish
holds "the bridge has our interface" "$(ip -o link show master br0)" '*tap0*'
holds "info network" "$(ctl tw info network)" "*b0: index=0,type=tap,helper=$HELPER,br=br0*v0: index=0,type=vde,sock=$T/sw,fd=*"
ip addr add 10.78.0.1/24 dev far0 && ip link set far0 up
"$NETPEER" echo 10.78.0.1 7778 &

step "the guest boots" boot g1 "$T/1.sock" -chardev "socket,id=c1,path=$T/2.sock" -netdev vhost-user,id=v1,chardev=c1 \
	-device "$(echo "$VHOST_NIC" | sed 's/netdev=v0/netdev=v1/; s/34:56/34:57/')" || finish
g 'ip addr add 10.77.0.2/24 dev eth0; ip link set eth0 up; ip addr add 10.78.0.2/24 dev eth1; ip link set eth1 up' >/dev/null
step "a ping through the bridge" g 'ping -c 3 10.77.0.1'
step "TCP and UDP through the bridge" g 'netpeer connects 10.77.0.1 7777 20 && netpeer udp 10.77.0.1 7777 20 1000'
step "a ping through the switch" g 'ping -c 3 10.78.0.1'
step "TCP and UDP through the switch" g 'netpeer connects 10.78.0.1 7778 20 && netpeer udp 10.78.0.1 7778 20 1000'

head -c 3000000 /dev/urandom >"$T/file"
mkdir "$T/www" && mv "$T/file" "$T/www/file"
serve_http 10.77.0.1 80 "$T/www"
serve_http 10.78.0.1 80 "$T/www"
want="$(sum "$T/www/file")  -"
holds "a file through the bridge, its checksum" "$(g 'wget -q -O - http://10.77.0.1/file | sha256sum')" "$want"
holds "a file through the switch, its checksum" "$(g 'wget -q -O - http://10.78.0.1/file | sha256sum')" "$want"

kill "$(cat "$T/sw.pid")"
step "the switch's end is told" until_true 20 grep -q 'netdev v0: the connection to the switch has ended' "$T/tw.log"
step "nothing goes there any more" g '! ping -c 2 -W 1 10.78.0.1'
step "the bridge stays" g 'ping -c 3 10.77.0.1'
finish
