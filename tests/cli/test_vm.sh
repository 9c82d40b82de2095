#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `twinax vm` as its user meets it, as far as it goes without a CPU: help, errors, warnings, the control socket, the
# console, the ways out, and who is chosen to run the CPUs.
# usage: test_vm.sh TWINAX MAN_PAGE COMPLETION
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
	[ $status -eq 0 ] || complain "twinax $*: exit status $status: $(cat "$dir/err")"
	[ -z "$want" ] || grep -qF -- "$want" "$dir/out" || complain "twinax $*: no '$want' in: $(cat "$dir/out")"
	[ ! -s "$dir/err" ] || complain "twinax $*: stderr: $(cat "$dir/err")"
}

# bad TEXT HINT ARGUMENT...: exit status 1, one sentence with TEXT, a second line with HINT; nothing left behind
bad()
{
	want=$1
	hint=$2
	shift 2
	timeout 20 "$twinax" vm "$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	[ $status -eq 1 ] || complain "vm $*: exit status $status"
	sed -n 1p "$dir/err" | grep -qF -- "$want" || complain "vm $*: no '$want' in: $(cat "$dir/err")"
	grep -q '^twinax: ' "$dir/err" || complain "vm $*: not in the name of twinax: $(cat "$dir/err")"
	if [ -n "$hint" ]; then
		sed -n 2p "$dir/err" | grep -qF -- "$hint" || complain "vm $*: no hint '$hint' in: $(cat "$dir/err")"
	fi
	[ "$(wc -l <"$dir/err")" -le 2 ] || complain "vm $*: more than two lines: $(cat "$dir/err")"
	[ ! -s "$dir/out" ] || complain "vm $*: stdout: $(cat "$dir/out")"
	[ ! -e "$dir/t" ] && [ ! -e "$dir/pid" ] || complain "vm $*: left something behind: $(ls "$dir")"
	rm -f "$dir/t" "$dir/pid"
}

until_true() # COMMAND...
{
	i=0
	until "$@" 2>/dev/null; do
		i=$((i + 1))
		[ $i -le 400 ] || return 1
		sleep 0.05
	done
}

# A machine without a CPU, which every host can have; up when its control socket answers. Pid in $pid.
# start ARGUMENT...
qtest="-accel qtest -qtest unix:$dir/t,server=on,wait=off -qtest-log none"
start()
{
	# shellcheck disable=SC2086
	"$twinax" vm $qtest -qmp "unix:$dir/q,server=on,wait=off" "$@" >"$dir/vm.out" 2>"$dir/vm.err" </dev/null &
	pid=$!
	pids="$pids $pid"
	until_true "$twinax" ctl "$dir/q" query-status >/dev/null || complain "vm $*: did not start: $(cat "$dir/vm.err")"
}

# end WANTED_STATUS: it ends by itself, or was told to; nothing is left
end()
{
	wait "$pid"
	status=$?
	[ $status -eq "$1" ] || complain "exit status $status instead of $1: $(cat "$dir/vm.err")"
	[ ! -e "$dir/q" ] && [ ! -e "$dir/t" ] && [ ! -e "$dir/pid" ] || complain "left behind: $(ls "$dir")"
}

ctl() { "$twinax" ctl "$dir/q" "$@" 2>&1; }

# says TEXT COMMAND...: the control socket's answer has it; or, where TEXT is empty, is nothing
says()
{
	want=$1
	shift
	ctl "$@" >"$dir/said"
	if [ -z "$want" ]; then
		[ ! -s "$dir/said" ] || complain "ctl $*: $(cat "$dir/said")"
		return
	fi
	grep -qF -- "$want" "$dir/said" || complain "ctl $*: no '$want' in: $(cat "$dir/said")"
}

# --- help ---

ok 'usage: twinax vm' help vm
ok 'usage: twinax vm' vm -help
ok 'usage: twinax vm' vm --help
ok 'twinax ' vm -version
ok 'hubport' vm -netdev help
ok 'e1000' vm -device help
ok 'e1000' vm -net 'nic,model=help'
ok 'filter-dump' vm -object help
ok 'socket' vm -chardev help
ok 'path=' vm -chardev 'socket,help'
ok 'ifname=' vm -netdev 'tap,help'
ok '  vm ' help

# Every option of the help is in the manual page and in the completion.
"$twinax" help vm | sed -n 's/^  -\([a-zA-Z-]*\).*/\1/p' >"$dir/options"
[ "$(wc -l <"$dir/options")" -gt 25 ] || complain 'the help lists no options'
while read -r option; do
	sed 's/\\-/-/g' "$man" | grep -qE "(\\\\fB|^\.BI? \"?)-$option\\b" || complain "-$option is not in the manual page"
	grep -qE -- "-$option( |\")" "$completion" || complain "-$option is not in the completion"
done <"$dir/options"

for line in 'twinax v:vm' 'twinax vm -ker:-kernel' 'twinax vm -accel k:kvm' 'twinax vm -netdev us:user' \
	'twinax vm -device e1000,ma:e1000,mac=' 'twinax vm -chardev so:socket' 'twinax vm -net d:dgram'; do
	command -v bash >/dev/null || break
	got=$(PATH=$(dirname "$twinax"):$PATH bash -c '
		COMP_WORDBREAKS=" "
		. "$1"
		COMP_LINE=$2 COMP_POINT=${#2}
		read -ra COMP_WORDS <<<"$2"
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		_twinax
		printf "%s " "${COMPREPLY[@]}"' _ "$completion" "${line%:*}")
	case " $got" in
	*" ${line##*:} "*) ;;
	*) complain "completion of '${line%:*}' gives '$got', not '${line##*:}'" ;;
	esac
done

# --- the command line ---

bad 'there is no -kernel' 'twinax help qemu' -accel kvm
bad '-frob: invalid option' 'twinax help vm' -frob
bad '-kernel: requires an argument' '' -kernel
bad 'this machine has no disks' 'twinax qemu -- qemu-system-x86_64 ... -hda ...' -hda disk.img
bad 'this machine has no firmware' 'twinax qemu' -bios x
bad 'this machine takes -vga none' 'twinax qemu' -vga std
bad 'the machine here is a PC' 'twinax help qemu' -M microvm
bad 'invalid accelerator hvf' 'kvm, qemu' -accel hvf
bad "Parameter 'size' expects a size" '512M' -m many
bad "Parameter 'cpus' expects a value between 1 and 8" '' -smp 9

# --- what the machine refuses ---

# shellcheck disable=SC2086
{
	bad "$dir/nokernel" '' $qtest -kernel "$dir/nokernel" -pidfile "$dir/pid"
	echo 'no kernel at all' >"$dir/text"
	bad "$dir/text is neither a bzImage nor an ELF image" 'vmlinuz' $qtest -kernel "$dir/text"
	# A bzImage's header with nothing behind it: 64 MiB at 16 MiB, command lines of 2047 bytes.
	at() { # OFFSET BYTES
		printf "$2" | dd of="$dir/bz" bs=1 seek=$(($1)) conv=notrunc 2>/dev/null
	}
	dd if=/dev/zero of="$dir/bz" bs=65536 count=1 2>/dev/null
	at 0x1f1 '\001'
	at 0x1f4 '\000\014'
	at 0x1fe '\125\252'
	at 0x202 'HdrS\017\002'
	at 0x211 '\001'
	at 0x22c '\377\377\377\177\000\000\040\000\001\025\001'
	at 0x238 '\377\007'
	at 0x25b '\001'
	at 0x263 '\004'
	bad "kernel $dir/bz needs 66 MiB of memory, and the machine has 16 MiB" 'use -m 66' $qtest -m 16 -kernel "$dir/bz"
	truncate -s 300M "$dir/initrd"
	bad "initrd $dir/initrd need 380 MiB of memory" 'use -m 380' $qtest -m 256 -kernel "$dir/bz" -initrd "$dir/initrd"
	bad "$dir/noinitrd" '' $qtest -m 256 -kernel "$dir/bz" -initrd "$dir/noinitrd"
	bad 'the command line has 4000 bytes' '' $qtest -m 256 -kernel "$dir/bz" -append "$(printf '%04000d' 0)"
	rm "$dir/initrd"
	bad 'memory: ' '' $qtest -m 4k
	bad "can't take value 'n0', it's in use" 'e1000.0 has it' $qtest -netdev user,id=n0 -device e1000,netdev=n0 \
		-device virtio-net-pci,netdev=n0
	bad "can't find value 'zz'" '-netdev' $qtest -device e1000,netdev=zz
	bad 'NIC cannot have multicast MAC address (odd 1st byte)' '' $qtest -device e1000,mac=01:00:5e:00:00:01
	bad 'NIC cannot have multicast MAC address (odd 1st byte)' '' $qtest -net nic,macaddr=01:00:5e:00:00:01
	bad 'PCI: slot 5 function 0 not available for e1000, in use by virtio-net-pci' '' $qtest \
		-device virtio-net-pci,addr=5 -device e1000,addr=05
	bad "'virtio-blk-pci' is not a valid device model name" 'twinax help qemu' $qtest -device virtio-blk-pci
	bad "Duplicate ID 'x' for device" '' $qtest -device e1000,id=x -device e1000,id=x
	bad "Parameter 'type' does not accept value 'frob'" 'known types' $qtest -netdev frob,id=n0
	bad "Invalid parameter 'frob'" 'user,help' $qtest -netdev user,id=n0,frob=1
	bad 'No such file or directory' '' $qtest -serial "file:$dir/none/f"
	bad 'nochardev' '' $qtest -serial chardev:nochardev
	bad 'No such file or directory' '' $qtest -pidfile "$dir/none/pid"
	bad 'No such file or directory' '' $qtest -qmp "unix:$dir/none/q"
	bad "$dir/nostate" '' $qtest -loadvm "$dir/nostate"
}

# /dev/kvm that is not for this user; that user may not be able to look into the build folder.
chmod 755 "$dir"
mkdir "$dir/lib"
cp -L "$(dirname "$twinax")/libtwinax.so.0" "$dir/lib/" && cp "$twinax" "$dir/twinax"
: >"$dir/kernel"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null && [ -e /dev/kvm ] && [ -z "$(find /dev/kvm -perm -o+w)" ]; then
	timeout 10 setpriv --reuid=65534 --regid=65534 --clear-groups \
		env LD_LIBRARY_PATH="$dir/lib" "$dir/twinax" vm -accel kvm -kernel "$dir/kernel" >/dev/null 2>"$dir/err" </dev/null &&
		complain 'kvm without rights succeeds'
	sed -n 1p "$dir/err" | grep -q 'no right to open /dev/kvm' || complain "kvm without rights: $(cat "$dir/err")"
	sed -n 2p "$dir/err" | grep -q 'group' || complain "kvm without rights has no remedy: $(cat "$dir/err")"
fi

# --- QEMU's warnings ---

start -device e1000 -netdev user,id=n0
grep -qx 'twinax: warning: nic e1000.0 has no peer' "$dir/vm.err" || complain "a NIC without netdev: $(cat "$dir/vm.err")"
grep -qx 'twinax: warning: netdev n0 has no peer' "$dir/vm.err" || complain "a netdev without NIC: $(cat "$dir/vm.err")"
kill -TERM "$pid"
end 0
start -net nic -net user,vlan=1
grep -qx 'twinax: warning: hub 0 is not connected to host network' "$dir/vm.err" || complain "hub 0: $(cat "$dir/vm.err")"
grep -qx 'twinax: warning: hub 1 with no nics' "$dir/vm.err" || complain "hub 1: $(cat "$dir/vm.err")"
kill -INT "$pid"
end 0

# --- networks as QEMU has them ---

start
[ ! -s "$dir/vm.err" ] || complain "unexpected words: $(cat "$dir/vm.err")"
says 'hub0port0: e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56' info network
says 'hub0port1: net0: index=0,type=user,net=10.0.2.0' info network
kill -HUP "$pid"
end 0
start -nodefaults -name lone
[ -z "$(ctl info network)" ] || complain "-nodefaults has networks: $(ctl info network)"
says '"name": "lone"' query-name
says '' quit
end 0
start -net nic,vlan=1,model=virtio,name=v -net user,vlan=1 -net nic -net nic,vlan=2,macaddr=2:0:0:0:0:1 -nic user,id=u
says 'hub1port0: v: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:57' info network
says 'hub0port0: e1000.1: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:58' info network
says 'hub2port0: e1000.2: index=0,type=nic,model=e1000,macaddr=02:00:00:00:00:01' info network
says 'e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56' info network
kill "$pid"
end 0

# --- the control socket ---

start -S -pidfile "$dir/pid" -monitor "unix:$dir/m" -netdev user,id=n0 -device pcie-root-port,id=rp0
[ "$(cat "$dir/pid")" = "$pid" ] || complain "-pidfile has $(cat "$dir/pid"), not $pid"
[ -S "$dir/m" ] || complain 'no monitor'
says '"status": "prelaunch"' query-status
says 'VM status: paused (prelaunch)' info status
says 'nothing to save' save "$dir/state"
says '' cont
says '"status": "running"' query-status
says '' stop
says '"status": "paused"' query-status
says 'VM status: paused' info status
says '' cont
says 'VM status: running' info status
says "Duplicate ID 'n0'" netdev_add type=user id=n0
says '' netdev_add user,id=n1
says 'n1: index=0,type=user' info network
says "Duplicate ID 'n1'" netdev_add user,id=n1
says '' device_add virtio-net-pci,netdev=n1,id=c1,bus=rp0
says 'c1: index=0,type=nic,model=virtio-net-pci' info network
says "Duplicate device ID 'c1'" device_add driver=e1000 id=c1
says 'hotplug' device_add e1000,id=c2
says '' device_del c1
# There is no guest that would hold on to it.
says "Device 'c1' not found" device_del c1
says "Device 'zz' not found" device_del id=zz
says '' netdev_del n0
says "Device 'n0' not found" netdev_del id=n0
says 'started' load "$dir/state"
says '' save "$dir/state"
[ -s "$dir/state" ] || complain 'save wrote nothing'
says '' system_reset
says '' system_powerdown
says "unknown command: 'frob'" frob
says '' quit
end 0
[ ! -e "$dir/m" ] || complain 'the monitor is left behind'

# Stopped and continued.
start
kill -TSTP "$pid"
stopped() { [ "$(cut -d' ' -f3 "/proc/$pid/stat")" = T ]; }
until_true stopped || complain "SIGTSTP: $(cut -d' ' -f3 "/proc/$pid/stat")"
kill -CONT "$pid"
says '"status": "running"' query-status
kill "$pid"
end 0

# In a network that is somebody else's there is no machine.
"$twinax" serve -quiet -netdev user,id=n0 -qmp "unix:$dir/q" >/dev/null 2>"$dir/vm.err" </dev/null &
pid=$!
pids="$pids $pid"
until_true [ -S "$dir/q" ]
says 'no machine' stop
says 'no machine' system_reset
says '"running": true' query-status
says '' netdev_add user,id=n1
says '' netdev_del n1
says '' quit
end 0

# --- the console ---

# The end of standard input is not the end of the machine.
start -serial stdio
sleep 0.2
says '"status": "running"' query-status
says '' quit
end 0
# shellcheck disable=SC2086
printf '\001x' | timeout 20 "$twinax" vm $qtest -serial stdio >"$dir/out" 2>"$dir/err" || complain "Ctrl-A x: $?: $(cat "$dir/err")"
# shellcheck disable=SC2086
printf '\001h\001c\001\001x\001x' | timeout 20 "$twinax" vm $qtest -serial mon:stdio >"$dir/out" 2>"$dir/err" || complain "keys: $?"
grep -q 'Ctrl-A x  end the machine' "$dir/out" || complain "Ctrl-A h: $(cat "$dir/out")"
grep -q 'no monitor here' "$dir/out" || complain "Ctrl-A c: $(cat "$dir/out")"
# shellcheck disable=SC2086
printf '\002x' | timeout 20 "$twinax" vm $qtest -serial stdio -echr 2 >/dev/null 2>"$dir/err" || complain "-echr: $?"
# shellcheck disable=SC2086
printf 'info status\nquit\n' | timeout 20 "$twinax" vm $qtest -monitor stdio >"$dir/out" 2>"$dir/err" || complain "-monitor stdio: $?"
grep -q 'VM status: running' "$dir/out" || complain "-monitor stdio: $(cat "$dir/out")"

# A terminal is given back as it was, whatever the end is: Ctrl-A x, a signal, an error, a stop between.
if command -v script >/dev/null; then
	cat >"$dir/tty.sh" <<-'TTY'
		stty -g >"$dir/before"
		eval "$1"
		stty -g >"$dir/after"
	TTY
	export dir twinax qtest
	terminal() # NAME COMMAND: what it types is stdin
	{
		rm -f "$dir/after"
		timeout 30 script -qec "sh $dir/tty.sh '$2'" /dev/null >"$dir/tty.out" 2>&1
		cmp -s "$dir/before" "$dir/after" || complain "$1: the terminal is not as before: $(cat "$dir/tty.out")"
	}
	(sleep 1; printf '\003'; sleep 0.2; printf '\001x') | terminal 'Ctrl-A x' '$twinax vm $qtest -serial stdio; echo $? >$dir/status'
	[ "$(cat "$dir/status")" = 0 ] || complain "Ctrl-A x on a terminal, after Ctrl-C: $(cat "$dir/status")"
	sleep 3 | terminal 'SIGTERM' '$twinax vm $qtest -serial stdio & sleep 1; kill $!; wait $!'
	sleep 3 | terminal 'an error' '$twinax vm $qtest -serial stdio -loadvm $dir/nostate'
fi

# --- in the background ---

# shellcheck disable=SC2086
timeout 20 "$twinax" vm $qtest -daemonize -pidfile "$dir/pid" -qmp "unix:$dir/q" >"$dir/out" 2>"$dir/err" </dev/null ||
	complain "-daemonize: $?: $(cat "$dir/err")"
says '"status": "running"' query-status
kill "$(cat "$dir/pid")"
until_true [ ! -e "$dir/pid" ] || complain 'the background has left its pid behind'
bad "there is no chardev 'nobody'" '-chardev KIND,id=nobody' -accel qtest -qtest "unix:$dir/t,server=on,wait=off" -serial chardev:nobody
bad "$dir/none/q" '' -accel qtest -qtest "unix:$dir/t,server=on,wait=off" -daemonize -qmp "unix:$dir/none/q"

# --- who runs the CPUs: with programs in the place of QEMU that say what they were given ---

export XDG_RUNTIME_DIR="$dir/run"
mkdir "$dir/run" "$dir/old" "$dir/new"
for version in old:7.2 new:10.1; do
	cat >"$dir/${version%:*}/qemu-system-x86_64" <<-FAKE
		#!/bin/sh
		case \$* in
		-version) echo "QEMU emulator version ${version#*:}.0"; exit ;;
		"-device vfio-user-pci,help") echo 'socket=<SocketAddress>'; exit ;;
		esac
		echo "${version#*:}" >"$dir/who"
		printf '%s\n' "\$@" >"$dir/args"
		exit 7
	FAKE
	chmod 755 "$dir/${version%:*}/qemu-system-x86_64"
done
# qemu STATUS ARGUMENT...
qemu()
{
	want=$1
	shift
	rm -f "$dir/args" "$dir/who"
	timeout 20 env PATH="$dir/old:$dir/new:$PATH" "$twinax" vm "$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	[ $status -eq "$want" ] || complain "vm $*: exit status $status: $(cat "$dir/err")"
	[ -z "$(ls "$dir/run")" ] || complain "vm $*: left behind: $(ls "$dir/run")"
}
has() { tr '\n' ' ' <"$dir/args" | grep -qF -- "$1" || complain "QEMU has no '$1': $(tr '\n' ' ' <"$dir/args")"; }

qemu 7 -accel qemu -kernel K -append 'a b' -m 256 -smp 2 -netdev user,id=n0 -device e1000,netdev=n0
[ "$(cat "$dir/who")" = 10.1 ] || complain "not the newest QEMU: $(cat "$dir/who")"
has '-kernel K -append a b'
has '-m 262144k -smp 2'
has 'vfio-user-pci'
has '-serial mon:stdio'
grep -q 'serves e1000 on n0 by vfio-user' "$dir/err" || complain "nothing is said: $(cat "$dir/err")"
qemu 7 -accel qemu,binary="$dir/old/qemu-system-x86_64" -netdev user,id=n0 -device virtio-net-pci,netdev=n0
[ "$(cat "$dir/who")" = 7.2 ] || complain 'binary= is not obeyed'
has 'vhost-user'
TWINAX_QEMU=$dir/old/qemu-system-x86_64 qemu 7 -accel tcg -net nic,vlan=3 -net user,vlan=3
[ "$(cat "$dir/who")" = 7.2 ] || complain 'TWINAX_QEMU is not obeyed'
has '-accel tcg'
grep -q 'stays with QEMU: e1000 takes QEMU 10.1 or newer.*virtio-net-pci works' "$dir/err" || complain "an old QEMU: $(cat "$dir/err")"
qemu 1 -accel qemu,binary="$dir/nobody" -loadvm x
grep -q 'not by QEMU' "$dir/err" || complain "-loadvm with QEMU: $(cat "$dir/err")"
qemu 127 -accel qemu,binary="$dir/nobody" -nic user
grep -q "cannot run $dir/nobody" "$dir/err" || complain "a QEMU that is not there: $(cat "$dir/err")"

# By default: one line says who it is and why. Where KVM works, it runs the kernel, which is none.
rm -f "$dir/args"
timeout 30 env PATH="$dir/old:$dir/new:$PATH" "$twinax" vm -kernel "$dir/kernel" -nodefaults >"$dir/out" 2>"$dir/err" </dev/null
case $(sed -n 1p "$dir/err") in
'twinax: -accel kvm: '*) [ ! -e "$dir/args" ] || complain 'KVM and QEMU' ;;
'twinax: -accel qemu,binary='*': KVM: '*) [ "$(cat "$dir/who")" = 10.1 ] || complain 'not the newest QEMU by default' ;;
*) complain "nothing is said about the choice: $(cat "$dir/err")" ;;
esac

[ $n_failed -eq 0 ] || echo "$n_failed failed"
[ $n_failed -eq 0 ]
