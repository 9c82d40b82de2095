#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The program as its user meets it: help, errors in one sentence with what to do, exit status, nothing left behind.
# usage: test_cli.sh TWINAX MAN_PAGE COMPLETION
set -u
twinax=$1
man=$2
completion=$3
dir=$(mktemp -d) || exit 1
pids=
n_failed=0

finish()
{
	for pid in $pids; do
		kill "$pid" 2>/dev/null
	done
	rm -rf "$dir"
}
trap finish EXIT

complain()
{
	echo "FAIL: $*"
	n_failed=$((n_failed + 1))
}

# ok TEXT ARGUMENT...: exit status 0, TEXT on stdout, nothing on stderr
ok()
{
	want=$1
	shift
	timeout 20 "$twinax" "$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	[ $status -eq 0 ] || complain "twinax $*: exit status $status"
	[ -z "$want" ] || grep -qF -- "$want" "$dir/out" || complain "twinax $*: no '$want' in: $(cat "$dir/out")"
	[ ! -s "$dir/err" ] || complain "twinax $*: stderr: $(cat "$dir/err")"
}

# bad TEXT HINT ARGUMENT...: exit status 1, one sentence with TEXT, a second line with HINT; no socket
# left, as long as no twinax runs in the background
bad()
{
	want=$1
	hint=$2
	shift 2
	timeout 20 "$twinax" "$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	[ $status -eq 1 ] || complain "twinax $*: exit status $status"
	sed -n 1p "$dir/err" | grep -qF -- "$want" || complain "twinax $*: no '$want' in: $(cat "$dir/err")"
	grep -q '^twinax: ' "$dir/err" || complain "twinax $*: not in the name of twinax: $(cat "$dir/err")"
	if [ -n "$hint" ]; then
		sed -n 2p "$dir/err" | grep -qF -- "$hint" || complain "twinax $*: no hint '$hint' in: $(cat "$dir/err")"
	fi
	[ "$(wc -l <"$dir/err")" -le 2 ] || complain "twinax $*: more than two lines: $(cat "$dir/err")"
	[ ! -s "$dir/out" ] || complain "twinax $*: stdout: $(cat "$dir/out")"
	[ -n "$pids" ] && return
	[ ! -S "$dir/s" ] && [ ! -S "$dir/s2" ] || complain "twinax $*: left a socket behind"
	rm -f "$dir/s" "$dir/s2"
}

# start NAME ARGUMENT...: in the background, up when it says so; pid in $pid
start()
{
	name=$1
	shift
	"$twinax" serve "$@" >"$dir/$name.out" 2>"$dir/$name.err" </dev/null &
	pid=$!
	pids="$pids $pid"
	i=0
	while ! grep -qsx ready "$dir/$name.out"; do
		i=$((i + 1))
		if [ $i -gt 200 ] || ! kill -0 $pid 2>/dev/null; then
			complain "serve $*: did not start: $(cat "$dir/$name.err")"
			return 1
		fi
		sleep 0.05
	done
}

# gone PID WANTED_STATUS
gone()
{
	wait "$1"
	status=$?
	[ $status -eq "$2" ] || complain "exit status $status instead of $2"
}

# --- help ---

ok 'usage: twinax COMMAND' help
ok 'usage: twinax COMMAND' --help
ok 'usage: twinax serve' help serve
ok 'usage: twinax serve' serve -help
ok 'usage: twinax serve' serve --help
ok 'usage: twinax ctl' help ctl
ok 'usage: twinax qemu' help qemu
ok 'usage: twinax qemu' qemu --help
ok 'twinax ' version
ok 'twinax ' --version
ok 'virtio-net' serve -device help
ok 'filter-dump' serve -object help
ok 'tap' serve -netdev help
ok 'vhost-user' serve -device 'virtio-net,help'
ok 'mac=' serve -device 'virtio-net,help'
ok 'maxlen=' serve -object 'filter-dump,help'
ok 'filter-impair' serve -object help
ok 'jitter=TIME' serve -object 'filter-impair,help'
ok 'ifname=' serve -netdev 'tap,?'
ok 'addr.host=' serve -netdev 'stream,help'
ok 'remote.path=' serve -netdev 'dgram,help'
ok 'mcast=' serve -netdev 'socket,help'
"$twinax" >/dev/null 2>"$dir/err" && complain "twinax alone succeeds"
grep -q '^usage:' "$dir/err" || complain "twinax alone explains nothing"

# Every type that help lists has help of its own, and the manual page knows all of it.
for option in netdev device object; do
	"$twinax" serve -$option help | sed -n 's/^  \([^ ]*\).*/\1/p' >"$dir/types"
	[ -s "$dir/types" ] || complain "-$option help lists no type"
	while read -r type; do
		ok "-$option $type: " serve -$option "$type,help"
		sed -n 's/^  \([^ =]*\)=.*/\1/p' "$dir/out" | while read -r key; do
			sed 's/\\-/-/g' "$man" | grep -qE "^(\\\\fB|\.BI )$key=" || echo "$type $key"
		done >"$dir/missing"
		[ ! -s "$dir/missing" ] || complain "not in the manual page: $(cat "$dir/missing")"
	done <"$dir/types"
done

# --- the command line ---

user=user,id=n0
nic=virtio-net,netdev=n0,export=vhost-user:$dir/s

bad "no command 'frob'" 'twinax help' frob
bad '-frob: invalid option' 'twinax help serve' serve -frob
bad '-netdev: requires an argument' '' serve -netdev
bad 'user: unexpected argument' 'twinax help serve' serve user
bad "-ready-fd: '77x' is no such descriptor" 'number of a descriptor' serve -ready-fd 77x -netdev $user
bad "'901' is no such descriptor" '' serve -ready-fd 901 -netdev $user

# --- options, types, ids ---

bad "-netdev frob,id=n0: Parameter 'type' does not accept value 'frob'" '' serve -netdev frob,id=n0
bad "Invalid parameter 'frob'" 'user,help' serve -netdev user,id=n0,frob=1
bad "Parameter 'id' is missing" '' serve -netdev user
bad "Parameter 'id' expects an identifier" '' serve -netdev user,id=7up
bad "Duplicate ID 'n0' for netdev" '' serve -netdev $user -netdev $user
bad "-netdev tap,id=t0,queues=x: " '' serve -netdev tap,id=t0,queues=x
bad "invalid with fd=" '' serve -netdev tap,id=t0,fd=3,ifname=x
bad 'is not valid without vhost' '' serve -netdev tap,id=t0,vhost=off,vhostfd=3
bad "'frob' is not a valid device model name" '' serve -device frob
bad "can't find value 'zz'" '-netdev' serve -device "virtio-net,netdev=zz,export=vhost-user:$dir/s"
bad "it's in use" '' serve -netdev $user -device $nic -device "virtio-net,netdev=n0,export=vhost-user:$dir/s2"
bad "'virtio-net.export'" 'HOST:ADDRESS' serve -netdev $user -device virtio-net,netdev=n0,export=frob:x
bad "'virtio-net.mac'" '52:54:00:12:34:56' serve -netdev $user -device "$nic,mac=zebra"
bad 'multicast' '' serve -netdev $user -device "$nic,mac=01:00:5e:00:00:01"
bad "Invalid parameter 'frob'" 'virtio-net,help' serve -netdev $user -device "$nic,frob=1"
bad '-object frob,id=f0' '' serve -netdev $user -object frob,id=f0
bad "Parameter 'file' is missing" '' serve -netdev $user -object filter-dump,id=f0,netdev=n0
bad "expects a time up to 1 h with its unit, such as 20ms, not '20'" '' serve -netdev $user -object filter-impair,id=f0,netdev=n0,delay=20
bad "reorder= needs delay=" 'overtakes' serve -netdev $user -object filter-impair,id=f0,netdev=n0,reorder=1%
bad "Parameter 'netdev' expects a network backend id" '' serve -netdev $user -object filter-dump,id=f0,netdev=zz,file=/dev/null
bad 'Invalid host forwarding rule' '' serve -netdev $user,hostfwd=foo
bad "Invalid parameter 'addr.frob'" 'stream,help' serve -netdev stream,id=s0,addr.type=unix,addr.frob=1
bad "Parameter 'addr' is missing" 'for example' serve -netdev stream,id=s0
bad "Parameter 'addr.port' is unexpected" 'addr.type=unix' serve -netdev stream,id=s0,addr.type=unix,addr.path=/x,addr.port=1
bad "Parameter 'addr.type' does not accept value 'pigeon'" 'inet|unix|fd' serve -netdev stream,id=s0,addr.type=pigeon
bad "'reconnect-ms' option is incompatible" '' serve -netdev "stream,id=s0,server=on,addr.type=unix,addr.path=$dir/s,reconnect-ms=1"
bad 'requires remote parameter' '' serve -netdev "dgram,id=s0,local.type=unix,local.path=$dir/s"
bad 'exactly one of listen=' '' serve -netdev socket,id=s0
bad 'localaddr= is mandatory' 'for example' serve -netdev socket,id=s0,udp=127.0.0.1:1
bad 'does not contain a multicast address' '224.0.0.0' serve -netdev socket,id=s0,mcast=127.0.0.1:1
bad 'descriptor 0 is not a socket' 'inherits' serve -netdev stream,id=s0,addr.type=fd,addr.str=0
bad "is a unix socket" '-qmp unix:PATH' serve -netdev $user -qmp tcp:localhost:1
bad 'waiting' 'wait=off' serve -netdev $user -qmp "unix:$dir/s,server=on,wait=on"

# --- what the host refuses ---

bad 'No such file or directory' '' serve -netdev $user -device "virtio-net,netdev=n0,export=vhost-user:$dir/none/s"
bad 'No such file or directory' '' serve -netdev $user -qmp "unix:$dir/none/s"
# What was made before the failure is taken back.
bad 'No such file or directory' '' serve -netdev $user -device $nic -netdev user,id=n1 \
	-device "virtio-net,netdev=n1,export=vhost-user:$dir/none/s"
bad 'No such file or directory' '' serve -netdev $user -device $nic -qmp "unix:$dir/none/s"
echo precious >"$dir/file"
bad "$dir/file" '' serve -netdev $user -device "virtio-net,netdev=n0,export=vhost-user:$dir/file"
bad "$dir/file" '' serve -netdev $user -qmp "unix:$dir/file"
[ "$(cat "$dir/file")" = precious ] || complain 'a file that is no socket was replaced'
bad "cannot connect to $dir/nobody: No such file or directory" 'reconnect-ms' serve -netdev "stream,id=s0,addr.type=unix,addr.path=$dir/nobody"
bad 'cannot connect to 127.0.0.1:1: Connection refused' 'listening side first' serve -netdev socket,id=s0,connect=127.0.0.1:1
bad "can't resolve host address 'no/name'" 'numeric' serve -netdev stream,id=s0,addr.type=inet,addr.host=no/name,addr.port=1
bad "cannot listen on $dir/file: File exists" 'remove it' serve -netdev "stream,id=s0,server=on,addr.type=unix,addr.path=$dir/file"
bad "cannot bind to $dir/file: File exists" 'remove it' serve -netdev "dgram,id=s0,local.type=unix,local.path=$dir/file,remote.type=unix,remote.path=/x"
[ "$(cat "$dir/file")" = precious ] || complain 'a file that is no socket was replaced'
long=$dir/$(printf '%0120d' 0)
bad 'File name too long' '' serve -netdev $user -qmp "unix:$long"

# That user may not be able to look into the build folder.
chmod 755 "$dir"
mkdir "$dir/lib"
cp -L "$(dirname "$twinax")/libtwinax.so.0" "$dir/lib/" && cp "$twinax" "$dir/twinax"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null && [ -r /dev/net/tun ]; then
	timeout 10 setpriv --reuid=65534 --regid=65534 --clear-groups \
		env LD_LIBRARY_PATH="$dir/lib" "$dir/twinax" serve -netdev tap,id=t0,ifname=twxcli0,script=no \
		>/dev/null 2>"$dir/err" && complain 'tap without rights succeeds'
	sed -n 1p "$dir/err" | grep -qE 'twxcli0|/dev/net/tun' || complain "tap without rights: $(cat "$dir/err")"
	sed -n 2p "$dir/err" | grep -qE 'ip tuntap add|chmod' || complain "tap without rights has no remedy: $(cat "$dir/err")"
fi

# --- life ---

# Below the ports that Linux hands out by itself.
fwd=hostfwd=tcp:127.0.0.1:$((20000 + $$ % 10000))-:22
start a -netdev $user,$fwd -device $nic -qmp "unix:$dir/q,server=on,wait=off"
[ -S "$dir/s" ] && [ -S "$dir/q" ] || complain 'no sockets'
grep -q "vhost-user:$dir/s" "$dir/a.out" || complain 'the socket is not told'
a=$pid

timeout 10 "$twinax" serve -netdev $user -device $nic >/dev/null 2>"$dir/err" && complain 'a live socket was taken over'
grep -qi 'in use' "$dir/err" || complain "a live socket: $(cat "$dir/err")"
timeout 10 "$twinax" serve -netdev $user,$fwd >/dev/null 2>"$dir/err" && complain 'a port in use was taken'
grep -q "Could not set up host forwarding rule '${fwd#*=}'" "$dir/err" || complain "port in use: $(cat "$dir/err")"
[ -S "$dir/s" ] || complain 'the failed start removed the socket of the one that runs'

ok 'n0: index=0,type=user' ctl "$dir/q" info network
ok '"minor"' ctl "$dir/q" query-version
ok '"drops"' ctl "$dir/q" query-stats
ok '' ctl "$dir/q" set_link name=n0 up=off
ok '"link": false' ctl "$dir/q" query-stats
ok '' ctl "$dir/q" set_link n0 on
ok '"status"' ctl "$dir/q" '{"execute": "query-status"}'
bad "Device 'zz' not found" '' ctl "$dir/q" set_link name=zz up=on
bad "Parameter 'up' is missing" '' ctl "$dir/q" set_link name=n0
bad "Invalid parameter type for 'up'" '' ctl "$dir/q" set_link name=n0 up=perhaps
bad "there is no trace hop 'moon'" '' ctl "$dir/q" x-trace-frame through=moon
bad 'not one JSON object' '' ctl "$dir/q" '{"execute": '
bad "needs a socket's path and a command" 'help ctl' ctl
bad 'cannot connect' '-qmp unix:PATH' ctl "$dir/nobody" info network
# Forwards while it runs; the words are QEMU's, and nothing before them.
fails() # WORDS COMMAND...
{
	want=$1
	shift
	timeout 10 "$twinax" ctl "$dir/q" "$@" >"$dir/out" 2>"$dir/err" && complain "ctl $* succeeds"
	[ "$(cat "$dir/err")" = "$want" ] || complain "ctl $*: $(cat "$dir/err")"
}
port=$((30000 + $$ % 2000))
ok '' ctl "$dir/q" hostfwd_add "tcp:127.0.0.1:$port-:80"
ok "TCP[HOST_FORWARD]" ctl "$dir/q" info usernet
ok "127.0.0.1 $port       10.0.2.15    80     0     0" ctl "$dir/q" info usernet
ok '"guest-port": 80' ctl "$dir/q" query-hostfwd
fails "Could not set up host forwarding rule 'tcp:127.0.0.1:$port-:81': Address already in use" hostfwd_add n0 "tcp:127.0.0.1:$port-:81"
fails "Invalid host forwarding rule 'foo' (No : separators)" hostfwd_add foo
fails "unrecognized netdev id 'zz'" hostfwd_add zz tcp::1234-:80
fails 'invalid format' hostfwd_remove tcp
fails "host forwarding rule for tcp::$port not found" hostfwd_remove "tcp::$port"
ok "host forwarding rule for tcp:127.0.0.1:$port removed" ctl "$dir/q" hostfwd_remove n0 "tcp:127.0.0.1:$port"
ok '' ctl "$dir/q" hostfwd_add netdev=n0 "rule=unix:$dir/fwd-80-:80"
[ -S "$dir/fwd-80" ] || complain 'no socket of a forward'
ok "\"path\": \"$dir/fwd-80\"" ctl "$dir/q" query-hostfwd netdev=n0
ok '' ctl "$dir/q" hostfwd_remove "rule=unix:$dir/fwd-80"
[ ! -e "$dir/fwd-80" ] || complain "a forward's socket stays behind"
bad "host forwarding rule for unix:$dir/fwd-80 not found" '' ctl "$dir/q" hostfwd_remove netdev=n0 "rule=unix:$dir/fwd-80"
ok '[]' ctl "$dir/q" query-rules
for words in 'frobnicate' 'set_link zz on' 'set_link n0'; do
	# shellcheck disable=SC2086
	timeout 10 "$twinax" ctl "$dir/q" $words >/dev/null 2>"$dir/err" && complain "ctl $words succeeds"
	[ -s "$dir/err" ] || complain "ctl $words says nothing"
done

kill -TERM "$a"
gone "$a" 0
[ ! -e "$dir/s" ] && [ ! -e "$dir/q" ] || complain 'SIGTERM left sockets behind'

start b -netdev $user -device $nic -qmp "unix:$dir/q"
kill -INT "$pid"
gone "$pid" 0
[ ! -e "$dir/s" ] && [ ! -e "$dir/q" ] || complain 'SIGINT left sockets behind'

# Egress rules in their order.
start r -netdev "$user,deny=10.0.0.0/8,allow=tcp:*.example.com:443" -device $nic -qmp "unix:$dir/q"
ok '"rule": "tcp:*.example.com:443"' ctl "$dir/q" query-rules netdev=n0
timeout 10 "$twinax" ctl "$dir/q" info rules n0 | tr -s ' ' | tr '\n' '|' | grep -qF ' deny 10.0.0.0/8 0|allow tcp:*.example.com:443 0| deny any 0|' || complain "info rules: $("$twinax" ctl "$dir/q" info rules)"
fails "unrecognized netdev id 'zz'" info rules zz
kill -INT "$pid"
gone "$pid" 0
start j -netdev '{"type":"user","id":"n0","rule":["deny:10.0.0.0/8","allow:any"]}' -device $nic -qmp "unix:$dir/q"
ok '"rule": "10.0.0.0/8"' ctl "$dir/q" query-rules
kill -INT "$pid"
gone "$pid" 0
bad "Invalid egress rule '10.0.0.0/33' (Bad prefix length)" 'a network' serve -netdev "$user,allow=10.0.0.0/33"
bad 'outbound-if=nosuch0: there is no such interface' 'ip link' serve -netdev $user,outbound-if=nosuch0
bad 'allow= contradicts restrict=on' '' serve -netdev $user,restrict=on,allow=any

# A socket file that nobody listens on is replaced.
start c -netdev $user -device $nic -qmp "unix:$dir/q"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
[ -S "$dir/s" ] || complain 'the test expected a stale socket'
start d -netdev $user -device $nic -qmp "unix:$dir/q"
ok '' ctl "$dir/q" quit
gone "$pid" 0
[ ! -e "$dir/s" ] && [ ! -e "$dir/q" ] || complain 'quit left sockets behind'

# Socket backends: a port and a path in use, an end that comes later, and nothing left behind.
start s -netdev "stream,id=s0,server=on,addr.type=unix,addr.path=$dir/s2" -netdev "socket,id=s1,listen=127.0.0.1:$((20000 + $$ % 10000))" \
	-netdev "stream,id=s2,addr.type=unix,addr.path=$dir/later,reconnect-ms=20" -qmp "unix:$dir/q"
s=$pid
bad "cannot listen on $dir/s2: Address already in use" 'another path' serve -netdev "stream,id=s0,server=on,addr.type=unix,addr.path=$dir/s2"
bad ': Address already in use' 'another port' serve -netdev "socket,id=s0,listen=127.0.0.1:$((20000 + $$ % 10000))"
start t -netdev "stream,id=s0,server=on,addr.type=unix,addr.path=$dir/later" -netdev "stream,id=s1,addr.type=unix,addr.path=$dir/s2"
i=0
while "$twinax" ctl "$dir/q" info network | grep -q 'type=stream,\(connection error\)*$'; do
	i=$((i + 1))
	[ $i -le 200 ] || { complain "not connected: $("$twinax" ctl "$dir/q" info network)"; break; }
	sleep 0.05
done
ok "s0: index=0,type=stream,unix:$dir/s2" ctl "$dir/q" info network
ok "s2: index=0,type=stream,unix:$dir/later" ctl "$dir/q" info network
kill "$pid"
gone "$pid" 0
kill "$s"
gone "$s" 0
[ ! -e "$dir/s2" ] && [ ! -e "$dir/later" ] || complain 'a stream left its socket behind'

# Output that nobody reads any more is no reason to die.
start e -netdev $user -device $nic
[ -s "$dir/e.err" ] && complain "unexpected words: $(cat "$dir/e.err")"
kill "$pid"
gone "$pid" 0
mkfifo "$dir/fifo"
"$twinax" serve -quiet -netdev $user -device $nic -ready-fd 3 3>"$dir/fifo" >"$dir/out" 2>&1 &
pid=$!
pids="$pids $pid"
[ "$(timeout 10 cat "$dir/fifo")" = ready ] || complain '-ready-fd says nothing'
kill "$pid"
gone "$pid" 0
[ ! -s "$dir/out" ] || complain "-quiet speaks: $(cat "$dir/out")"

# --- serve without arguments: one NIC of each kind in a private folder ---

export XDG_RUNTIME_DIR="$dir/run"
mkdir "$XDG_RUNTIME_DIR"
start f
f=$pid
[ "$(stat -c %a "$dir/run/twinax")" = 700 ] || complain "the sockets' folder is not private"
for kind in 'virtio-net vhost-user' 'e1000 vfio-user'; do
	# shellcheck disable=SC2086
	set -- $kind
	sock=$dir/run/twinax/$1.sock
	[ -S "$sock" ] || complain "no socket for $1"
	grep -qxF "$1 at $2:$sock" "$dir/f.out" || complain "it is not said that $1 is at $sock"
	[ "$(grep -cF "$sock" "$dir/f.out")" -eq 2 ] || complain "the line for QEMU does not name $sock"
done
grep -q 'QEMU 10.1' "$dir/f.out" || complain 'the QEMU that vfio-user needs is not named'
start g -qmp "unix:$dir/q"
[ -S "$dir/run/twinax-2/e1000.sock" ] || complain 'a second one has no sockets of its own'
ok 'n1: index=0,type=user,net=10.0.3.0' ctl "$dir/q" info network
kill "$pid"
gone "$pid" 0
[ ! -e "$dir/run/twinax-2" ] || complain 'the second one left its folder behind'
kill -KILL "$f"
wait "$f" 2>/dev/null
start h
grep -qF "e1000 at vfio-user:$dir/run/twinax/e1000.sock" "$dir/h.out" || complain 'a left folder is not taken over'
kill "$pid"
gone "$pid" 0
[ -z "$(ls "$dir/run")" ] || complain "serve left behind: $(ls "$dir/run")"

# --- qemu: with a program in the place of QEMU that says what it was given ---

cat >"$dir/qemu-system-x86_64" <<-'FAKE'
	#!/bin/sh
	case $* in
	-version) echo "QEMU emulator version ${FAKE_VERSION:-10.1.0}"; exit ;;
	"-device vfio-user-pci,help") echo 'socket=<SocketAddress>'; exit ;;
	esac
	printf '%s\n' "$@" >"$FAKE/args"
	ls -l /proc/$$/fd 2>/dev/null | sed 's/.* -> //' | grep -c twinax >"$FAKE/fds"
	grep SigBlk /proc/self/status >"$FAKE/mask"
	ls "$XDG_RUNTIME_DIR"/twinax >"$FAKE/sockets" 2>/dev/null
	eval "${FAKE_DO:-:}"
FAKE
chmod 755 "$dir/qemu-system-x86_64"
fake=$dir/qemu-system-x86_64
export FAKE="$dir" FAKE_DO

# qemu STATUS ARGUMENT...: what the fake does is in $FAKE_DO
qemu()
{
	want=$1
	shift
	rm -f "$dir/args" "$dir/sockets"
	timeout 20 "$twinax" qemu "$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	[ $status -eq "$want" ] || complain "twinax qemu $*: exit status $status: $(cat "$dir/err")"
	[ -z "$(ls "$dir/run")" ] || complain "twinax qemu $*: left behind: $(ls "$dir/run")"
}

FAKE_DO='echo from-qemu; exit 7'
qemu 7 -- "$fake" -m 64 -nic user,model=virtio disk.img
[ "$(cat "$dir/out")" = from-qemu ] || complain "standard output is not QEMU's alone: $(cat "$dir/out")"
[ "$(cat "$dir/sockets")" = nic0 ] || complain 'no socket listened when QEMU started'
[ "$(cat "$dir/fds")" = 0 ] || complain 'QEMU has inherited descriptors'
grep -q '0000000000000000$' "$dir/mask" || complain "QEMU has signals blocked: $(cat "$dir/mask")"
tail -n 3 "$dir/args" | tr '\n' ' ' | grep -qx -- '-m 64 disk.img ' || complain "QEMU's arguments: $(cat "$dir/args")"
grep -q 'serves virtio-net-pci on net0 by vhost-user' "$dir/err" || complain "nothing is said: $(cat "$dir/err")"
qemu 7 -quiet "$fake" -nic user,model=e1000
[ ! -s "$dir/err" ] || complain "-quiet speaks: $(cat "$dir/err")"
FAKE_DO='kill -KILL $$'
qemu 137 -- "$fake" -nic user,model=e1000
FAKE_DO='echo "$1"'
qemu 0 -- "$fake" -device help
[ "$(cat "$dir/out")" = -device ] || complain "help is not QEMU's: $(cat "$dir/out")"
qemu 0 -- "$fake" -nic none
[ "$(cat "$dir/out" "$dir/err")" = -nic ] || complain "a QEMU without networks: $(cat "$dir/out" "$dir/err")"
FAKE_VERSION=10.0.2
export FAKE_VERSION
qemu 0 -- "$fake" -nic user,model=e1000
grep -q 'stays with QEMU: e1000 takes QEMU 10.1 or newer.*this is 10.0' "$dir/err" || complain "too old: $(cat "$dir/err")"
[ "$(cat "$dir/args")" = "-nic
user,model=e1000" ] || complain "an old QEMU gets: $(cat "$dir/args")"
unset FAKE_VERSION

# Signals reach QEMU, which decides.
for signal in TERM:5 INT:2 HUP:1 QUIT:3; do
	FAKE_DO="trap 'kill \$!; exit 3${signal#*:}' ${signal%:*}; sleep 20 & echo \$PPID >\$FAKE/up; wait"
	rm -f "$dir/up"
	# Not by a shell's background, where SIGINT and SIGQUIT are ignored.
	setsid -f sh -c 'trap - INT QUIT; "$1" qemu -- "$2" -nic user,model=virtio; echo $? >"$3"' _ "$twinax" "$fake" \
		"$dir/status" >/dev/null 2>&1
	i=0
	until [ -s "$dir/up" ] || [ $i -gt 200 ]; do
		sleep 0.05
		i=$((i + 1))
	done
	kill "-${signal%:*}" "$(cat "$dir/up")"
	until [ -s "$dir/status" ] || [ $i -gt 400 ]; do
		sleep 0.05
		i=$((i + 1))
	done
	[ "$(cat "$dir/status" 2>/dev/null)" = "3${signal#*:}" ] || complain "SIG${signal%:*}: status $(cat "$dir/status")"
	rm -f "$dir/status"
	[ -z "$(ls "$dir/run")" ] || complain "SIG${signal%:*}: left behind: $(ls "$dir/run")"
done

# Stopped and continued, both of them.
FAKE_DO='exec sleep 20'
state() { cut -d' ' -f3 "/proc/$1/stat"; }
child_of() # PID NAME; pgrep is not on every machine
{
	cat /proc/[0-9]*/stat 2>/dev/null | awk -v p="$1" -v n="($2)" '$4 == p && $2 == n { print $1 }'
}
reaches() # PID STATE
{
	i=0
	until [ "$(state "$1")" = "$2" ] || [ $i -gt 200 ]; do
		sleep 0.05
		i=$((i + 1))
	done
	[ "$(state "$1")" = "$2" ] || complain "process $1 is in state $(state "$1"), not $2"
}
setsid "$twinax" qemu -quiet -- "$fake" -nic user,model=virtio &
pid=$!
pids="$pids $pid"
i=0
until child=$(child_of "$pid" sleep) && [ -n "$child" ] || [ $i -gt 200 ]; do
	sleep 0.05
	i=$((i + 1))
done
kill -TSTP "$pid"
reaches "$pid" T
reaches "$child" T
kill -CONT "$pid"
reaches "$pid" S
reaches "$child" S
kill -TERM "$pid"
gone "$pid" 143

# The control socket is twinax's; `quit` ends QEMU, too.
rm -f "$dir/up"
FAKE_DO='trap "kill \$!; exit 0" TERM; sleep 20 & : >$FAKE/up; wait'
"$twinax" qemu -qmp "unix:$dir/q" -- "$fake" -nic user,model=virtio >/dev/null 2>&1 &
pid=$!
pids="$pids $pid"
i=0
until "$twinax" ctl "$dir/q" info network >"$dir/out" 2>/dev/null || [ $i -gt 200 ]; do
	sleep 0.05
	i=$((i + 1))
done
grep -q 'net0: index=0,type=user' "$dir/out" || complain "the control socket of qemu: $(cat "$dir/out")"
# Not before it has its trap.
until [ -e "$dir/up" ] || [ $i -gt 400 ]; do
	i=$((i + 1))
	sleep 0.05
done
ok '' ctl "$dir/q" quit
gone "$pid" 0

# A dry run prints what a shell can run.
FAKE_DO='echo ran'
qemu 0 -n -- "$fake" -name "it's me" -nic user,model=e1000 -nic user,model=virtio
grep -q '^  -netdev user,id=net0 ' "$dir/out" || complain "dry run: $(cat "$dir/out")"
sed -n '/qemu-system/,$p' "$dir/out" >"$dir/line"
[ "$(sh "$dir/line")" = ran ] || complain "the printed line does not run: $(cat "$dir/line")"
grep -qx "it's me" "$dir/args" || complain "the printed line has lost its quotes: $(cat "$dir/args")"

qemu 127 -- "$dir/none" -nic user,model=virtio
grep -q 'cannot run .*/none: No such file' "$dir/err" || complain "no QEMU: $(cat "$dir/err")"
qemu 127 -- "$dir/none" -nic none
bad "needs QEMU's command line" 'for example: twinax qemu' qemu
bad "needs QEMU's command line" '' qemu -quiet --
bad '-frob: invalid option' 'twinax help qemu' qemu -frob -- "$fake"
bad "can't find value 'zz'" '-netdev TYPE,id=zz' qemu -- "$fake" -nic none -device virtio-net-pci,netdev=zz
bad 'Invalid host forwarding rule' '' qemu -quiet -- "$fake" -nic user,hostfwd=foo,model=virtio
bad "guest memory 'm' is not shared" 'share=on' qemu -- "$fake" -object memory-backend-file,id=m,size=1M,mem-path=/x \
	-machine memory-backend=m -nic user,model=virtio
unset XDG_RUNTIME_DIR

# --- completion ---

# complete LINE WANTED
complete_line()
{
	got=$(PATH=$(dirname "$twinax"):$PATH bash -c '
		COMP_WORDBREAKS=" "
		. "$1"
		COMP_LINE=$2 COMP_POINT=${#2}
		read -ra COMP_WORDS <<<"$2"
		[[ $2 == *" " ]] && COMP_WORDS+=("")
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		_twinax
		printf "%s " "${COMPREPLY[@]}"' _ "$completion" "$1")
	case " $got" in
	*" $2 "*) ;;
	*) complain "completion of '$1' gives '$got', not '$2'" ;;
	esac
}
if command -v bash >/dev/null; then
	complete_line 'twinax se' serve
	complete_line 'twinax serve -net' -netdev
	complete_line 'twinax serve -netdev us' user
	complete_line 'twinax serve -netdev user,id=n0,hostf' user,id=n0,hostfwd=
	complete_line 'twinax serve -netdev user,id=n0 -device virtio-net,ma' virtio-net,mac=
	complete_line 'twinax serve -object fil' filter-dump
	complete_line 'twinax qe' qemu
	complete_line 'twinax qemu -dry' -dry-run
	complete_line 'twinax qemu -- qemu-system-x86_64 -net' -netdev
	complete_line 'twinax qemu -- qemu-system-x86_64 -netdev us' user
	complete_line 'twinax qemu -- qemu-system-x86_64 -device e1' e1000
	complete_line 'twinax ctl /x set' set_link
	complete_line 'twinax ctl /x info net' network
fi

[ $n_failed -eq 0 ] && echo 'all passed'
[ $n_failed -eq 0 ]
