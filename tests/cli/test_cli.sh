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
	while ! grep -qx ready "$dir/$name.out"; do
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
ok 'twinax ' version
ok 'twinax ' --version
ok 'virtio-net' serve -device help
ok 'filter-dump' serve -object help
ok 'tap' serve -netdev help
ok 'vhost-user' serve -device 'virtio-net,help'
ok 'mac=' serve -device 'virtio-net,help'
ok 'maxlen=' serve -object 'filter-dump,help'
ok 'ifname=' serve -netdev 'tap,?'
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
bad 'at least one -netdev or -device' 'for example: twinax serve' serve
bad 'at least one -netdev or -device' 'for example: twinax serve' serve -quiet -qmp "unix:$dir/s"
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
bad 'vhost=on is not supported' 'vhost=' serve -netdev tap,id=t0,vhost=on
bad "'frob' is not a valid device model name" '' serve -device frob
bad "can't find value 'zz'" '-netdev' serve -device "virtio-net,netdev=zz,export=vhost-user:$dir/s"
bad "it's in use" '' serve -netdev $user -device $nic -device "virtio-net,netdev=n0,export=vhost-user:$dir/s2"
bad "'virtio-net.export'" 'HOST:ADDRESS' serve -netdev $user -device virtio-net,netdev=n0,export=frob:x
bad "'virtio-net.mac'" '52:54:00:12:34:56' serve -netdev $user -device "$nic,mac=zebra"
bad 'multicast' '' serve -netdev $user -device "$nic,mac=01:00:5e:00:00:01"
bad "Invalid parameter 'frob'" 'virtio-net,help' serve -netdev $user -device "$nic,frob=1"
bad '-object frob,id=f0' '' serve -netdev $user -object frob,id=f0
bad "Parameter 'file' is missing" '' serve -netdev $user -object filter-dump,id=f0,netdev=n0
bad "Parameter 'netdev' expects a network backend id" '' serve -netdev $user -object filter-dump,id=f0,netdev=zz,file=/dev/null
bad 'Invalid host forwarding rule' '' serve -netdev $user,hostfwd=foo
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

# A socket file that nobody listens on is replaced.
start c -netdev $user -device $nic -qmp "unix:$dir/q"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
[ -S "$dir/s" ] || complain 'the test expected a stale socket'
start d -netdev $user -device $nic -qmp "unix:$dir/q"
ok '' ctl "$dir/q" quit
gone "$pid" 0
[ ! -e "$dir/s" ] && [ ! -e "$dir/q" ] || complain 'quit left sockets behind'

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
	complete_line 'twinax ctl /x set' set_link
	complete_line 'twinax ctl /x info net' network
fi

[ $n_failed -eq 0 ] && echo 'all passed'
[ $n_failed -eq 0 ]
