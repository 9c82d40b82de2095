#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `twinax qemu` with the command lines that people have: each guest boots Debian's kernel, gets its address on the card
# that the command line says, in the PCI slot that QEMU would have given it, fetches a file, and powers off; QEMU's exit
# status comes through and nothing is left behind. With the system's QEMU, and with one that knows vfio-user.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" qemu-system-x86_64 busybox cpio
cat >"$T/card" <<-'GUEST'
	#!/bin/busybox sh
	# card LAST-BYTE [ADDRESS]: the driver, slot and features of the card with that address, and what it fetches
	for d in /sys/class/net/*; do
		case $(cat $d/address) in
		52:54:00:12:34:$1) i=${d##*/} ;;
		esac
	done
	[ -n "$i" ] || { echo "no card $1"; exit 1; }
	d=/sys/class/net/$i/device
	echo "$(basename "$(readlink $d/driver)") $(readlink -f $d | grep -o '0000:00:[^/]*' | tail -1)"
	ip link set $i up
	if [ -n "$2" ]; then
		ip addr add $2/24 dev $i
		gateway=${2%.*}.1
	else
		udhcpc -i $i -s /etc/dhcp -n -q -t 8 -T 2 2>/dev/null | grep lease
		gateway=10.0.2.2
	fi
	wget -q -O - http://$gateway:8080/file | sha256sum
	ip link set $i down && ip addr flush dev $i
GUEST
chmod 755 "$T/card"
KIT_PROGRAMS="$T/card"
guest_files e1000
mkdir "$T/www" "$T/run"
head -c 2000000 /dev/urandom >"$T/www/file"
want=$(sum "$T/www/file")
serve_http 127.0.0.1 8080 "$T/www"
XDG_RUNTIME_DIR=$T/run
export XDG_RUNTIME_DIR

# The guest's side of the command line is the same for all; what is tested stands behind it.
n_lines=0
launch() { # ARG...
	n_lines=$((n_lines + 1))
	G=$T/$n_lines
	mkdir -p "$G" && kit_pipes "$G" || return 1
	"$TWINAX" qemu ${QUIET:-} -qmp "unix:$G/qmp" -- "$QEMU" -accel "$KIT_ACCEL" -cpu "$KIT_CPU" -m "$KIT_MEM" -display none \
		-no-reboot -kernel "$KIT_KERNEL" -initrd "$T/initrd" \
		-append "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable no_timer_check random.trust_cpu=on twinax.ctl=ttyS1" \
		-serial "file:$G/console.log" -serial "pipe:$G/ctl" "$@" </dev/null >"$G/vmm.out" 2>"$G/vmm.log" &
	echo $! >"$G/pid"
	guest_up "$G" 120
}

ended() { # STATUS
	timeout 20 tail -s 0.1 --pid="$(cat "$G/pid")" -f /dev/null
	wait "$(cat "$G/pid")"
	status=$?
	[ $status = "$1" ] && [ ! -s "$G/vmm.out" ] && [ -z "$(ls "$T/run")" ] ||
		{ echo "status $status, left: $(ls "$T/run")"; cat "$G/vmm.out" "$G/vmm.log"; return 1; }
}

off() { guest_write "poweroff -f" && ended 0; }
guest_write() { timeout 5 sh -c 'printf "%s\n" "$2" >"$1"' write "$G/ctl.in" "$1"; }

counts() { # NIC: frames both ways, or nothing where twinax has no such NIC
	[ -S "$G/qmp" ] && "$TWINAX" ctl "$G/qmp" query-stats | awk -v p="\"$1" '
		/^    "name":/ { on = index($2, p) }
		/^    ".*": [{]/ { group = $1 }
		on && /"frames":/ { gsub(/,/, "", $2); n[group] += $2 }
		END { for (g in n) printf "%s%d ", g, n[g] }'
}

# The card DRIVER at SLOT works; by twinax if BY is a name of its NIC, else by QEMU alone.
card() { # LABEL LAST DRIVER SLOT BY [ADDRESS]
	lease='lease*'
	[ -z "${6:-}" ] || lease=
	holds "$1: $3 in slot $4 fetches a file" "$(g "card $2 ${6:-}" | tr '\n' ' ')" "$3 0000:00:0$4.0 $lease$want*"
	got=$(counts "$5" 2>/dev/null)
	if [ "$5" = qemu ]; then
		holds "$1: it is QEMU's own" "$got" ''
	else
		holds "$1: its frames went through twinax" "$got" '*":[1-9]* *":[1-9]*'
	fi
}

says() { # LABEL TEXT
	holds "$1: it is said: $2" "$(cat "$G/vmm.log")" "*$2*"
}

# One line with one card, from start to end.
line() { # LABEL LAST DRIVER SLOT BY ARG...
	l_label=$1 l_last=$2 l_driver=$3 l_slot=$4 l_by=$5
	shift 5
	step "$l_label: boots" launch "$@" || return 1
	card "$l_label" "$l_last" "$l_driver" "$l_slot" "$l_by"
	[ "$l_by" != qemu ] || [ -z "$SENTENCE" ] || says "$l_label" "$SENTENCE"
	step "$l_label: ends" off
}

none() { # LABEL ARG...
	l_label=$1
	shift
	step "$l_label: boots" launch "$@" || return 1
	holds "$l_label: the guest has no card" "$(g 'ls /sys/class/net')" lo
	holds "$l_label: nothing is said" "$(cat "$G/vmm.log")" ''
	step "$l_label: ends" off
}

# The card that is PCI's is QEMU's own where QEMU is too old.
both_qemus() { # NAME-OF-QEMU E1000-BY
	q=$1 by=$2
	line "$q, -nic virtio" 56 virtio_net 3 virtio-net -nic user,model=virtio-net-pci
	line "$q, -nic e1000" 56 e1000 3 "$by" -nic user,model=e1000
	line "$q, -net nic -net user" 56 e1000 3 "$by" -net nic -net user
	line "$q, no network options" 56 e1000 3 "$by"
	line "$q, -netdev and -device e1000" 7a e1000 5 "$(echo "$by" | sed s/e1000/nic/)" -netdev user,id=n0 \
		-device e1000,netdev=n0,id=nic,mac=52:54:00:12:34:7a,addr=05.0,bootindex=1 \
		-object filter-dump,id=f,netdev=n0,file="$T/$q.pcap"
	step "$q: the filter has written frames" test "$(stat -c %s "$T/$q.pcap")" -gt 1000000
	none "$q, -nic none" -nic none

	if step "$q, both at once: boots" launch -nic user,model=e1000 -nic user,model=virtio; then
		card "$q, both at once" 56 e1000 3 "$by"
		[ "$by" = qemu ] || card "$q, both at once" 57 virtio_net 4 virtio-net
		[ "$by" != qemu ] || holds "$q, both at once: the other" "$(g 'card 57' | tr '\n' ' ')" "virtio_net 0000:00:0[34].0 lease*$want*"
		step "$q, both at once: ends" off
	fi
	if step "$q, -net nic,model=virtio and hostfwd: boots" launch -net nic,model=virtio \
		-net user,hostfwd=tcp:127.0.0.1:5580-:80 -device isa-debug-exit,iobase=0xf4,iosize=0x4; then
		card "$q, -net nic,model=virtio" 56 virtio_net 3 virtio-net
		g 'ip link set eth0 up; udhcpc -i eth0 -s /etc/dhcp -n -q -t 8 -T 2; mkdir /w; echo inside >/w/x; httpd -p 80 -h /w' >/dev/null
		holds "$q, hostfwd: the host reaches the guest" "$(timeout 20 busybox wget -q -O - http://127.0.0.1:5580/x)" inside
		guest_write 'printf "\003" | dd of=/dev/port bs=1 seek=244'
		step "$q, the guest's own exit status" ended 7
	fi
	if step "$q, -nodefaults, JSON: boots" launch -nodefaults -netdev '{"type":"user","id":"n0"}' -device \
		'{"driver":"virtio-net-pci","netdev":"n0","addr":"0x4","guest_tso4":false,"host_ecn":false,"id":"nic"}'; then
		bits=$(g 'cat /sys/class/net/eth0/device/features')
		# Bit 7 is GUEST_TSO4, 8 GUEST_TSO6; 11 HOST_TSO4, 13 HOST_ECN.
		holds "$q: switched off bits are off" "$(echo "$bits" | cut -c 8,9,12,14)" 0110
		card "$q, JSON" 56 virtio_net 4 nic
		step "$q, JSON: ends" off
	fi
}

tap() { # NAME-OF-QEMU DRIVER BY ARG...
	[ -w /dev/net/tun ] || { skip "$1, tap" "/dev/net/tun cannot be opened"; return; }
	q=$1 driver=$2 by=$3
	shift 3
	ip tuntap add dev tap0 mode tap && ip addr add 10.9.0.1/24 dev tap0 && ip link set tap0 up
	[ -n "${tap_served:-}" ] || serve_http 10.9.0.1 8080 "$T/www"
	tap_served=1
	if step "$q, -net tap: boots" launch "$@" -net tap,ifname=tap0,script=no,downscript=no; then
		card "$q, -net tap" 56 "$driver" 3 "$by" 10.9.0.2
		step "$q, -net tap: ends" off
	fi
	ip link del tap0
}

IDLE="-m 64 -display none -S -nic user,model=virtio" # a machine that does not run
monitor() { # LINE
	ctl mon "{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\": \"$1\"}}"
}
nothing_left() { [ -z "$(ls "$T/run")" ]; }

# What ends QEMU, and twinax with it.
ends() { # NAME-OF-QEMU
	# shellcheck disable=SC2086
	"$TWINAX" qemu -quiet -- "$QEMU" $IDLE -qmp "unix:$T/mon.qmp,server=on,wait=off" >/dev/null &
	pid=$!
	until_true 20 monitor 'info status'
	kill -TERM "$pid"
	wait "$pid"
	holds "$1: SIGTERM ends the machine in good order" "$?" 0
	step "$1: nothing is left" nothing_left
	# shellcheck disable=SC2086
	if step "$1, -daemonize: the command returns" timeout 60 "$TWINAX" qemu -quiet -- "$QEMU" $IDLE -daemonize \
		-pidfile "$T/pidfile" -qmp "unix:$T/mon.qmp,server=on,wait=off"; then
		step "$1, -daemonize: QEMU runs" kill -0 "$(cat "$T/pidfile")"
		holds "$1, -daemonize: its NIC is connected" "$(monitor 'info network')" '*virtio-net-pci.0*vhost-user*'
		step "$1, -daemonize: its socket is there" test -S "$T/run/twinax/nic0"
		kill -TERM "$(cat "$T/pidfile")"
		step "$1, -daemonize: twinax ends with it" until_true 20 nothing_left
	fi
}

# What `twinax serve` prints for QEMU is what QEMU takes.
pasted() { # NAME-OF-QEMU MODEL MONITOR-LINE PATTERN
	sed -n "/^$2 has a user-mode/,/\.\.\.\$/p" "$T/served" | sed "1d; s|qemu-system-x86_64|$QEMU|
		s|\.\.\.\$|-display none -S -qmp unix:$T/mon.qmp,server=on,wait=off|" >"$T/paste"
	sh "$T/paste" >"$T/paste.log" 2>&1 &
	pid=$!
	until_true 20 monitor 'info status'
	holds "$1: the line for $2 that twinax serve prints" "$(monitor "$3"; cat "$T/paste.log")" "$4"
	ctl mon quit
	wait "$pid"
}

paste_lines() { # NAME-OF-QEMU [e1000]
	"$TWINAX" serve >"$T/served" 2>"$T/serve.log" &
	serve=$!
	until_true 20 grep -q ready "$T/served"
	pasted "$1" virtio-net 'info network' '*virtio-net-pci.0*vhost-user*'
	[ -z "${2:-}" ] || pasted "$1" e1000 'info pci' '*8086:100e*'
	kill "$serve"
	wait "$serve"
}

QEMU=qemu-system-x86_64
old=$(qemu-system-x86_64 -version | sed -n 's/.*version \([0-9]*\.[0-9]*\).*/\1/p')
if ! kit_knows_vfio_user qemu-system-x86_64; then
	SENTENCE="stays with QEMU: e1000 takes QEMU 10.1 or newer with vfio-user-pci, and this is $old"
	both_qemus "$old" qemu
	tap "$old" virtio_net virtio-net -net nic,model=virtio
	ends "$old"
	paste_lines "$old"
fi
SENTENCE=
if kit_newer_qemu "$T/qemu"; then
	QEMU=$KIT_QEMU
	new=$("$QEMU" -version | sed -n 's/.*version \([0-9]*\.[0-9]*\).*/\1/p')
	both_qemus "$new" e1000
	tap "$new" e1000 e1000 -net nic
	ends "$new"
	paste_lines "$new" e1000
else
	skip "a QEMU with vfio-user" "there is none (CI=true ./check fetches one)"
fi
finish
