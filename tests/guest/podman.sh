#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Debian's own podman and rootlesskit, rootless, with twinax in slirp4netns's place: containers reach the host and are
# reached at published ports. The image is made here, of busybox; nothing is fetched.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" "$NETPEER" busybox podman crun conmon newuidmap runuser
no() { echo "1..0 # SKIP $T_NAME: $1"; exit 77; }
awk '$1 == 0 && $3 >= 4294967295 { ok = 1 } END { exit !ok }' /proc/self/uid_map ||
	no "rootless podman needs a user with subordinate ids, which only root can make here"
[ -w /dev/net/tun ] || no "/dev/net/tun is not open to us"

# A user of our own, with files of our own mounted over the system's in this namespace.
U=twxtest
mkdir "$T/etc" "$T/home" "$T/bin" "$T/root"
for f in passwd group subuid subgid; do [ ! -e /etc/$f ] || cp /etc/$f "$T/etc/"; done
echo "$U:x:64242:64242::$T/home:/bin/sh" >>"$T/etc/passwd"
echo "$U:x:64242:" >>"$T/etc/group"
echo "$U:3000000:65536" >>"$T/etc/subuid"
echo "$U:3000000:65536" >>"$T/etc/subgid"
for f in passwd group subuid subgid; do mount --bind "$T/etc/$f" /etc/$f || no "no right to mount"; done
X=/run/u # short: podman puts the path of a socket with 68 bytes of name below it
mkdir -p "$X"
chmod 755 "$T" /run && chown -R 64242:64242 "$T/home" "$X" && chmod 700 "$X"
mount --make-shared / 2>/dev/null # as on most systems; podman warns otherwise
# crun knows no mixture of the two kinds of control groups; the unified one is enough without limits.
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
	umount -R /sys/fs/cgroup 2>/dev/null
	mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || no "cannot mount cgroup2 over this machine's mixture of cgroups"
fi

# Where that user may read it; the link's name makes it slirp4netns.
cp -L "$TWINAX" "$T/bin/twinax" && cp -L "$BUILD/libtwinax.so.0" "$T/bin/" && cp "$NETPEER" "$T/bin/netpeer"
ln -s twinax "$T/bin/slirp4netns"
cat >"$T/containers.conf" <<-CONF
	[engine]
	network_cmd_path = "$T/bin/slirp4netns"
	helper_binaries_dir = ["$T/bin", "/usr/lib/podman", "/usr/libexec/podman"]
	cgroup_manager = "cgroupfs"
	events_logger = "file"
CONF
cat >"$T/storage.conf" <<-CONF
	[storage]
	driver = "vfs"
CONF
as_user() {
	(cd "$T/home" && exec runuser -u $U -- env -i PATH="$PATH" HOME="$T/home" XDG_RUNTIME_DIR="$X" \
		CONTAINERS_CONF="$T/containers.conf" CONTAINERS_STORAGE_CONF="$T/storage.conf" TMPDIR="$T/home" "$@")
}
pod() { as_user timeout 60 podman "$@" </dev/null 2>>"$T/podman.log"; }

mkdir -p "$T/root/bin" "$T/root/tmp"
cp "$(command -v busybox)" "$T/bin/netpeer" "$T/root/bin/"
for f in sh ip wget httpd cat sleep nslookup echo sha256sum nc; do ln -s busybox "$T/root/bin/$f"; done
# Not a static program: with what it needs.
ldd "$NETPEER" | grep -o '/[^ ]*' | while read -r f; do mkdir -p "$T/root$(dirname "$f")" && cp -L "$f" "$T/root$f"; done
tar -C "$T/root" -cf "$T/image.tar" .
step "podman takes the image" as_user timeout 60 podman import "$T/image.tar" tw || finish
# shellcheck disable=SC2119
pod run --rm --network=none tw /bin/echo ok >"$T/first" || {
	skip "podman runs" "rootless podman does not work on this machine even without a network: $(tail -n 1 "$T/podman.log")"
	finish
}

mkdir "$T/www"
head -c 20000000 /dev/urandom >"$T/www/file"
serve_http 127.0.0.1 8080 "$T/www"
"$NETPEER" echo 127.0.0.1 7777 &

S=slirp4netns:allow_host_loopback=true
holds "the container's address is what podman expects" \
	"$(pod run --rm --network=slirp4netns tw /bin/ip -4 addr show tap0)" '*inet 10.0.2.100/24*'
holds "the MTU, too" "$(pod run --rm --network=slirp4netns tw /bin/ip addr show tap0)" '*mtu 65520*'
holds "its name server is the network's" "$(pod run --rm --network=slirp4netns tw /bin/cat /etc/resolv.conf)" '*nameserver 10.0.2.3*'
holds "a download's checksum" \
	"$(pod run --rm --network=$S tw /bin/sh -c 'wget -q -O - http://10.0.2.2:8080/file | sha256sum')" "$(sum "$T/www/file")*"
holds "UDP to the host and back" "$(pod run --rm --network=$S tw /bin/netpeer udp 10.0.2.2 7777 50 1000 && echo "done")" '*done'
holds "the host's loopback is closed by default" \
	"$(pod run --rm --network=slirp4netns tw /bin/sh -c 'wget -q -O - http://10.0.2.2:8080/file | sha256sum')" \
	"$(printf '' | sha256sum | cut -d' ' -f1)*"
holds "cidr= and mtu=" "$(pod run --rm --network=$S,cidr=10.7.0.0/24,mtu=1400 tw /bin/ip addr show tap0)" '*mtu 1400*inet 10.7.0.100/24*'

# By podman's own forwarder, and by our API socket.
for handler in rootlesskit slirp4netns; do
	pod run -d --name "web-$handler" --network="slirp4netns:port_handler=$handler" -p 127.0.0.1:9080:80 -p 127.0.0.1:9081:81/udp tw \
		/bin/sh -c 'echo published >/tmp/f; httpd -p 80 -h /tmp; exec netpeer echo 0.0.0.0 81' >/dev/null
	step "$handler: a published port" until_true 20 sh -c '[ "$(busybox wget -q -O - http://127.0.0.1:9080/f)" = published ]'
	step "$handler: a published UDP port" "$NETPEER" udp 127.0.0.1 9081 20 500
	pid=$(pgrep -f "$T/bin/slirp4netns" | head -n 1)
	step "$handler: slirp4netns runs while the container does" test -n "$pid"
	holds "$handler: it sees /etc and /run alone" "$(ls "/proc/$pid/root" | tr '\n' ' ')" 'etc run '
	holds "$handler: and may do next to nothing" "$(grep CapEff "/proc/$pid/status")" '*0000000000000400'
	pod rm -f -t 0 "web-$handler" >/dev/null
	step "$handler: and ends with it" until_true 20 sh -c "! kill -0 $pid"
done

if command -v rootlesskit >/dev/null 2>&1; then
	kit() { as_user timeout 60 rootlesskit --net=slirp4netns --slirp4netns-binary="$T/bin/slirp4netns" --copy-up=/etc "$@" </dev/null 2>>"$T/kit.log"; }
	holds "rootlesskit: its address" "$(kit ip -4 addr show tap0)" '*inet 10.0.2.100/24*'
	holds "rootlesskit: a download's checksum" \
		"$(kit sh -c 'busybox wget -q -O - http://10.0.2.2:8080/file | sha256sum')" "$(sum "$T/www/file")*"
	for driver in builtin slirp4netns; do
		kit --slirp4netns-sandbox=true --slirp4netns-seccomp=true --disable-host-loopback --port-driver=$driver -p 127.0.0.1:9090:80/tcp "$T/bin/netpeer" echo 0.0.0.0 80 >/dev/null &
		kit_pid=$!
		step "rootlesskit: a port by $driver" until_true 20 "$NETPEER" connects 127.0.0.1 9090 5
		pkill -f "$T/bin/netpeer echo 0.0.0.0 80"
		wait $kit_pid
	done
else
	skip "rootlesskit" "it is not installed"
fi
as_user podman system migrate >/dev/null 2>&1
pkill -u 64242
finish
