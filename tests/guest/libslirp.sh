#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Debian's QEMU, unchanged, with our libslirp.so.0 in place of its own: `-netdev user` as its users know it.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

SLIRP_DIR=${SLIRP_DIR:-$BUILD/src/libslirp}
need "$NETPEER" "$SLIRP_DIR/libslirp.so.0" qemu-system-x86_64 busybox cpio dnsmasq
guest_files e1000
mkdir "$T/www" "$T/tftp"
head -c 20000000 /dev/urandom >"$T/www/file"
head -c 300001 /dev/urandom >"$T/tftp/boot.img"
serve_http 127.0.0.1 8080 "$T/www"
serve_dns 53 name.test 192.0.2.77
echo nameserver 127.0.0.1 >"$T/resolv.conf"
mount --bind "$T/resolv.conf" /etc/resolv.conf
"$NETPEER" echo 127.0.0.1 7777 &

cat >"$T/qemu" <<EOF
#!/bin/sh
LD_LIBRARY_PATH=$SLIRP_DIR exec qemu-system-x86_64 "\$@"
EOF
chmod +x "$T/qemu"
KIT_QEMU=$T/qemu

NETDEV="user,id=n0,tftp=$T/tftp,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp:127.0.0.1:2223-:23,guestfwd=tcp:10.0.2.100:7-cmd:cat,guestfwd=tcp:10.0.2.100:8-tcp:127.0.0.1:7777"
boot_slirp() { # NAME NIC ARG...
	t_g=$T/$1
	mkdir -p "$t_g"
	nic=$2
	shift 2
	guest_qemu "$t_g" "$T/initrd" -netdev "$NETDEV" -device "$nic,netdev=n0,romfile=" \
		-qmp "unix:$t_g/qmp,server=on,wait=off" "$@" && guest_up "$t_g" 120
}
monitor() { timeout 20 "$TWINAX" ctl "$t_g/qmp" "$@"; }

for nic in virtio-net-pci e1000; do
	step "$nic: the guest boots" boot_slirp "g-$nic" "$nic" || continue
	step "$nic: it is our library" grep -q "$SLIRP_DIR/libslirp.so" "/proc/$(cat "$t_g/pid")/maps"
	step "$nic: DHCP gives an address" g "$DHCP"
	holds "$nic: it is QEMU's first address" "$(g 'ip addr show eth0')" '*inet 10.0.2.15/24*'
	step "$nic: 10.0.2.2 answers a ping" g 'ping -c 3 10.0.2.2'
	step "$nic: a name resolves through 10.0.2.3" g 'nslookup name.test 10.0.2.3 | grep 192.0.2.77'
	step "$nic: packets in fragments pass" g 'ping -c 2 -s 4000 10.0.2.2'
	step "$nic: HTTP download" g 'wget -q -O /tmp/file http://10.0.2.2:8080/file'
	holds "$nic: its checksum" "$(g 'sha256sum /tmp/file')" "$(sum "$T/www/file")*"
	holds "$nic: HTTP upload, the checksum seen by the host" \
		"$(g 'http-put /tmp/file 10.0.2.2 8080 /cgi-bin/put')" "$(sum "$T/www/file")"
	step "$nic: UDP to the host and back" g 'netpeer udp 10.0.2.2 7777 100 1000'
	step "$nic: many short connections" g 'netpeer connects 10.0.2.2 7777 300'
	holds "$nic: a refusal reaches the guest at once" "$(g 'nc 10.0.2.2 9 </dev/null 2>&1')" '*refused*'
	step "$nic: TFTP fetches a file" g 'cd /tmp && tftp -g -r boot.img -l boot.img 10.0.2.2'
	holds "$nic: the file's checksum" "$(g 'sha256sum /tmp/boot.img')" "$(sum "$T/tftp/boot.img")*"

	g '(netpeer echo 0.0.0.0 22 >/dev/null 2>&1 &); (netpeer echo 0.0.0.0 23 >/dev/null 2>&1 &); sleep 1' >/dev/null
	step "$nic: hostfwd=tcp" "$NETPEER" connects 127.0.0.1 2222 50
	step "$nic: hostfwd=udp" "$NETPEER" udp 127.0.0.1 2223 50 700
	monitor hostfwd_add tcp:127.0.0.1:2224-:22 >"$T/add.log"
	step "$nic: a forward that the monitor added" "$NETPEER" connects 127.0.0.1 2224 5
	monitor hostfwd_remove tcp:127.0.0.1:2224 >"$T/remove.log"
	step "$nic: and removed" sh -c "! '$NETPEER' connects 127.0.0.1 2224 1"
	holds "$nic: guestfwd= to a program" "$(g 'head -c 3000000 /tmp/file | nc 10.0.2.100 7 | sha256sum')" \
		"$(head -c 3000000 "$T/www/file" | sha256sum)"
	step "$nic: guestfwd= to a chardev" g 'netpeer connects 10.0.2.100 8 1'
	g '(nc 10.0.2.2 7777 >/dev/null </dev/zero &) ; sleep 1' >/dev/null
	holds "$nic: info usernet has the columns and a connection" "$(monitor info usernet)" '*Protocol?State*TCP?ESTABLISHED*10.0.2.15*7777*'
	guest_kill "$t_g"
done
finish
