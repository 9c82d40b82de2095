#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A stock QEMU guest on `-netdev tap` through vhost-user: a real interface of the host's side, offloads included.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" qemu-system-x86_64 busybox cpio iperf3
[ -w /dev/net/tun ] || { echo "1..0 # SKIP $T_NAME: /dev/net/tun cannot be opened (as root: chmod 666 /dev/net/tun)"; exit 77; }
KIT_PROGRAMS=$(command -v iperf3)
guest_files

cat >"$T/up" <<-SCRIPT
	#!/bin/sh
	ip addr add 10.9.0.1/24 dev "\$1" && ip link set "\$1" up && echo "\$1" >"$T/up.ran"
SCRIPT
printf '#!/bin/sh\necho "$1" >"%s/down.ran"\n' "$T" >"$T/down"
chmod 755 "$T/up" "$T/down"
twinax_up tw -netdev "tap,id=n0,ifname=tap0,script=$T/up,downscript=$T/down" \
	-device "virtio-net,netdev=n0,export=vhost-user:$T/tw.sock" || t_fail "twinax serve comes up" ""
holds "the script ran with the interface's name" "$(cat "$T/up.ran")" tap0
step "the guest boots" boot g1 "$T/tw.sock" || finish
step "the guest's address" g 'ip link set eth0 up && ip addr add 10.9.0.2/24 dev eth0'

step "guest pings host" g 'ping -c 3 10.9.0.1'
step "host pings guest" busybox ping -c 3 10.9.0.2
step "a full frame passes, and a packet in fragments" g 'ping -c 2 -s 1472 10.9.0.1 && ping -c 2 -s 4000 10.9.0.1'

mkdir "$T/www"
head -c 20000000 /dev/urandom >"$T/www/file"
serve_http 10.9.0.1 8080 "$T/www"
step "HTTP download" g 'wget -q -O /tmp/file http://10.9.0.1:8080/file'
holds "the download's checksum" "$(g 'sha256sum /tmp/file')" "$(sum "$T/www/file")*"
holds "HTTP upload, the checksum seen by the host" \
	"$(g 'http-put /tmp/file 10.9.0.1 8080 /cgi-bin/put')" "$(sum "$T/www/file")"

iperf3 -s -D --pidfile "$T/iperf3.pid" >/dev/null
mean() { # DIRECTION: bytes per frame that the backend saw
	echo $(($(stat_of tw n0 "$1.bytes") / $(stat_of tw n0 "$1.frames")))
}
step "iperf3, guest to host" g 'iperf3 -c 10.9.0.1 -t 3'
step "iperf3, host to guest" g 'iperf3 -c 10.9.0.1 -t 3 -R'
# Mean frames far above the MTU can only be segmentation offload, agreed on from the guest's driver to the tap.
step "the guest's large segments travel whole" test "$(mean rx)" -gt 3000
step "the host's large segments travel whole" test "$(mean tx)" -gt 3000
holds "nothing was segmented in software" "$(stats tw | awk '/software.segmented/ { n += $3 } END { print n }')" 0

g '(netpeer echo 0.0.0.0 23 >/dev/null 2>&1 &); sleep 1' >/dev/null
step "UDP to the guest and back, in fragments too" sh -c "'$NETPEER' udp 10.9.0.2 23 100 1000 && '$NETPEER' udp 10.9.0.2 23 20 8000"

step "twinax ends by SIGTERM with status 0" twinax_end tw
holds "the downscript ran" "$(cat "$T/down.ran")" tap0
step "the interface is gone" sh -c '! ip link show tap0 2>/dev/null'
finish
