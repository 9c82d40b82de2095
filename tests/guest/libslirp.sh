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

# --- a saved guest in another process ---------------------------------------------------------------------------------

# What is promised: leases and neighbours, forwards by the options, and that whoever waits on a connection of before hears
# that it is gone.
migrated() { monitor info migrate | grep -q completed; }
runs() { monitor info status | grep -q running; }
step "a guest that will be saved" boot_slirp g-save virtio-net-pci || finish
step "it has an address" g "$DHCP"
g 'mkfifo /tmp/in; (sleep 1000 >/tmp/in &); (nc 10.0.2.2 7777 </tmp/in >/dev/null 2>&1; touch /tmp/ended) & sleep 1' >/dev/null
holds "and a connection" "$(monitor info usernet)" '*TCP?ESTABLISHED*7777*'
monitor migrate -d "\"exec:cat >$T/state\"" >"$T/migrate.log" 2>&1
step "it is saved" until_true 60 migrated
guest_kill "$t_g"
t_g=$T/g-load
mkdir "$t_g"
guest_qemu "$t_g" "$T/initrd" -netdev "$NETDEV" -device virtio-net-pci,netdev=n0,romfile= \
	-qmp "unix:$t_g/qmp,server=on,wait=off" -incoming "exec:cat $T/state"
step "another process goes on with it" until_true 60 runs || finish
step "the connection of before is reset" g 'n=0; until [ -e /tmp/ended ]; do n=$((n + 1)); [ $n -lt 30 ] || exit 1; sleep 1; done'
step "new ones work" g 'netpeer connects 10.0.2.2 7777 20'
holds "and a download, its checksum" "$(g 'wget -q -O - http://10.0.2.2:8080/file | sha256sum')" "$(sum "$T/www/file")*"
guest_kill "$t_g"

# A state that Debian's libslirp has written is not ours, and is refused.
t_g=$T/g-theirs
mkdir "$t_g"
KIT_QEMU=qemu-system-x86_64
step "a guest with Debian's libslirp" boot_slirp g-theirs virtio-net-pci || finish
monitor migrate -d "\"exec:cat >$T/theirs\"" >"$T/migrate.log" 2>&1
step "is saved" until_true 60 migrated
guest_kill "$t_g"
t_g=$T/g-foreign
mkdir "$t_g"
KIT_QEMU=$T/qemu
guest_qemu "$t_g" "$T/initrd" -netdev "$NETDEV" -device virtio-net-pci,netdev=n0,romfile= -incoming "exec:cat $T/theirs"
step "and ours refuses it" until_true 60 grep -q 'is not of twinax' "$t_g/vmm.log"
guest_kill "$t_g"

# --- slirp4netns ------------------------------------------------------------------------------------------------------

if ! command -v slirp4netns >/dev/null; then
	skip "slirp4netns" "it is not installed"
	finish
fi
for mtu in 1500 65520; do
	unshare -n sleep 1000 &
	ns=$!
	until_true 10 sh -c "[ \"\$(readlink /proc/$ns/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ]"
	LD_LIBRARY_PATH=$SLIRP_DIR slirp4netns -c --mtu=$mtu "$ns" tap0 >"$T/slirp4netns.log" 2>&1 &
	s4n=$!
	inside() { nsenter -n -t "$ns" "$@"; }
	step "slirp4netns, MTU $mtu: its interface comes up" until_true 20 sh -c "nsenter -n -t $ns ip addr show tap0 | grep -q 10.0.2.100" || break
	step "it is our library" grep -q "$SLIRP_DIR/libslirp.so" "/proc/$s4n/maps"
	holds "MTU $mtu: HTTP download" "$(inside busybox wget -q -O - http://10.0.2.2:8080/file | sha256sum)" "$(sum "$T/www/file")*"
	step "MTU $mtu: many connections" inside "$NETPEER" connects 10.0.2.2 7777 300
	step "MTU $mtu: UDP" inside "$NETPEER" udp 10.0.2.2 7777 100 1000
	kill "$s4n" "$ns" 2>/dev/null
	{ wait "$s4n" "$ns"; } 2>/dev/null
done
finish
