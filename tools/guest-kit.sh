# SPDX-License-Identifier: BSD-3-Clause
# Real guests for twinax: Debian's kernel, a small root file system, and QEMU, user-mode Linux or DPDK around them.
# Sourced by ./demo, tests/guest/ and bench/; POSIX sh. Everything comes from Debian's archive through apt.
#
#   kit_kernel                      unpack Debian's kernel; sets KIT_KERNEL (image) and KIT_MODULES (folder of .ko)
#   kit_newest_kernel               the newest of Debian's later suites, by way of kit_tree's folder; sets KIT_NEWEST_KERNEL
#   kit_uml_modules [FOLDER]        the same for user-mode Linux's modules
#   kit_root DIR MODULE...          a guest's root folder: busybox, modules, and what KIT_PROGRAMS names
#   kit_initrd DIR OUT              that folder as an initrd
#   kit_accel                       sets KIT_ACCEL and KIT_CPU: kvm where it runs a stock kernel, else tcg
#   kit_nic_quirks                  options that this QEMU's virtio-net-pci needs with vhost-user
#   kit_chardev_reconnect           the same for its chardev, to connect again by itself
#   guest_qemu DIR INITRD ARG...    boot QEMU in the background; DIR keeps its console, pid and control pipe
#   guest_vm DIR INITRD ARG...      the same with `twinax vm` ($TWINAX)
#   guest_uml DIR ROOT ARG...       the same with user-mode Linux on a root folder
#   guest_up DIR SECONDS            wait until the guest takes commands
#   guest DIR SECONDS COMMAND       run COMMAND in the guest: its output, its exit status (124: no answer)
#   guest_off DIR                   power off and wait; guest_kill DIR: at once
#   kit_lab SECONDS SCRIPT ARG...   run SCRIPT as root where there is real KVM, tun and vhost-net (see below)
#   kit_tree                        Debian 13 in a folder, for newer QEMU and passt: sets KIT_TREE
#   kit_tree_run PROGRAM ARG...     a program of that tree, started through the tree's own loader
#   kit_wrapper PROGRAM OUT ARG...  the same as one word: an executable OUT that adds ARG... in front
#   kit_newer_qemu OUT              sets KIT_QEMU to a QEMU that knows vfio-user: the system's, or OUT made for the tree's
#   kit_testpmd SOCKET...           DPDK's testpmd, interactive, as a polling vhost-user front end on these sockets;
#                                   KIT_TESTPMD_VDEV: more options for its devices
#
# A guest is driven through a second serial line: a command goes in as one line, its output comes back, then
# "=EXIT n". The first line is the console, kept in DIR/console.log for when something goes wrong.

# shellcheck disable=SC2012 # file names here are Debian's: no blanks in them
KIT_HERE=${KIT_HERE:?set KIT_HERE to the tools folder before sourcing guest-kit.sh}
KIT_MEM=${KIT_MEM:-320}

kit_cache() {
	[ -z "${KIT_CACHE:-}" ] || return 0
	if [ -n "${TWINAX_CACHE:-}" ]; then
		KIT_CACHE=$TWINAX_CACHE
	elif [ "$(id -u)" = 0 ]; then
		KIT_CACHE=${XDG_CACHE_HOME:-/var/cache}/twinax
	else
		KIT_CACHE=${XDG_CACHE_HOME:-${HOME:-}/.cache}/twinax
	fi
	mkdir -p "$KIT_CACHE" 2>/dev/null && [ -w "$KIT_CACHE" ] && return 0
	KIT_CACHE=$KIT_HERE/../build/cache
	mkdir -p "$KIT_CACHE"
}

# What of the kernel package is kept; dependencies among the modules are resolved when a root is made.
kit_kernel_parts() {
	# shellcheck disable=SC2046 # names without blanks
	printf '*/%s\n' 'boot/vmlinuz-*' 'modules/*/vmlinuz' $(printf 'kernel/%s ' drivers/virtio drivers/vhost drivers/net/ethernet/intel/e1000 \
		drivers/net/ethernet/intel/e1000e drivers/crypto/ccp drivers/char/hw_random drivers/ptp drivers/pps lib \
		net/core net/packet net/8021q net/802 net/llc net/9p fs/9p fs/netfs fs/fscache arch/x86/kvm virt)
	printf '*/kernel/drivers/net/%s.ko*\n' virtio_net net_failover tun tap dummy
}

kit_kernel() {
	kit_cache
	kit_deb=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -1)
	# A kernel unpacked earlier still serves when apt cannot say which is the newest.
	[ -n "$kit_deb" ] && [ -d "$KIT_CACHE/$kit_deb" ] ||
		kit_unpack_kernel "${kit_deb:-}" || kit_deb=$(cd "$KIT_CACHE" && ls -d linux-image-*-amd64 2>/dev/null | tail -1)
	KIT_KERNEL=$(ls "$KIT_CACHE/$kit_deb"/vmlinuz-* 2>/dev/null | head -1)
	KIT_MODULES=$KIT_CACHE/$kit_deb/modules
	[ -n "$kit_deb" ] && [ -n "$KIT_KERNEL" ]
}

# User-mode Linux has modules of its own.
kit_uml_modules() { # [FOLDER to keep links in]
	kit_cache
	KIT_MODULES=${1:-$KIT_CACHE/uml-modules}
	mkdir -p "$KIT_MODULES" &&
		find /usr/lib/uml/modules -name '*.ko' -exec ln -sf {} "$KIT_MODULES/" \;
}

# Kept under another kind of name, so that kit_kernel does not take it for this system's.
kit_newest_kernel() {
	kit_cache
	KIT_NEWEST_KERNEL=
	[ "$(id -u)" = 0 ] && [ -e "$KIT_CACHE/trixie/.complete" ] || return 1
	kit_new=$(chroot "$KIT_CACHE/trixie" apt-cache -o APT::Default-Release=trixie-backports depends linux-image-amd64 \
		2>/dev/null | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -1)
	[ -n "$kit_new" ] || return 1
	[ -d "$KIT_CACHE/newest-$kit_new" ] || kit_unpack_kernel "$kit_new" "newest-$kit_new" "$KIT_CACHE/trixie" || return 1
	KIT_NEWEST_KERNEL=$(ls "$KIT_CACHE/newest-$kit_new"/vmlinuz-* 2>/dev/null | head -1)
	[ -n "$KIT_NEWEST_KERNEL" ]
}

# Debian's kernels from 2026 on have their image and modules in packages of their own.
kit_download() { # PACKAGE FOLDER [ROOT]: a kernel by apt, or by the apt of another root
	if [ -z "${3:-}" ]; then
		(cd "$2" && apt-get -q download "$1")
		return
	fi
	kit_in=$(mktemp -d "$3/tmp/kernel.XXXXXX") && chmod 755 "$kit_in" || return 1
	# shellcheck disable=SC2016 # expanded by the inner shell
	chroot "$3" sh -c 'cd "$1" && apt-get -q download "$2" $(apt-cache depends "$2" |
		sed -n "s/.*Depends: \(linux-binary-.*\|linux-modules-.*\)/\1/p")' \
		kit_download "${kit_in#"$3"}" "$1" && mv "$kit_in"/*.deb "$2/"
	kit_status=$?
	rm -rf "$kit_in"
	return $kit_status
}

kit_unpack_kernel() { # PACKAGE [NAME [ROOT]]
	[ -n "$1" ] || return 1
	kit_tmp=$(mktemp -d "$KIT_CACHE/new.XXXXXX") || return 1
	chmod 755 "$kit_tmp"
	mkdir "$kit_tmp/x" "$kit_tmp/modules"
	kit_download "$1" "$kit_tmp" "${3:-}" >>"$KIT_CACHE/kernel.log" 2>&1 || { rm -rf "$kit_tmp"; return 1; }
	kit_kernel_parts >"$kit_tmp/parts"
	# tar complains about parts that this kernel has built in; what counts is checked below.
	for kit_p in "$kit_tmp"/linux-*.deb; do
		dpkg-deb --fsys-tarfile "$kit_p" |
			tar -x -C "$kit_tmp/x" --wildcards -T "$kit_tmp/parts" 2>>"$KIT_CACHE/kernel.log"
	done
	find "$kit_tmp/x" -name 'vmlinuz-*' -exec mv {} "$kit_tmp/" \;
	find "$kit_tmp/x" -name vmlinuz -exec mv {} "$kit_tmp/vmlinuz-image" \;
	find "$kit_tmp/x" -name '*.ko*' -exec mv {} "$kit_tmp/modules/" \;
	find "$kit_tmp/modules" -name '*.xz' -exec busybox unxz {} \;
	rm -rf "$kit_tmp/x" "$kit_tmp"/*.deb "$kit_tmp/parts"
	if ls "$kit_tmp"/vmlinuz-* >/dev/null 2>&1 && mv "$kit_tmp" "$KIT_CACHE/${2:-$1}" 2>/dev/null; then return 0; fi
	rm -rf "$kit_tmp"
	return 1
}

# Module names, what each needs before itself. A name without a file is built into this kernel.
kit_module_order() { # NAME...
	for kit_m in "$@"; do
		kit_f=
		for kit_n in "$kit_m" "$(echo "$kit_m" | tr _ -)" "$(echo "$kit_m" | tr - _)"; do
			[ ! -e "$KIT_MODULES/$kit_n.ko" ] || { kit_f=$kit_n; break; }
		done
		[ -n "$kit_f" ] || continue
		kit_needs=$(tr '\0' '\n' <"$KIT_MODULES/$kit_f.ko" | sed -n 's/^depends=//p' | tr ',' ' ')
		# shellcheck disable=SC2086
		[ -z "$kit_needs" ] || (kit_module_order $kit_needs)
		echo "$kit_f"
	done | awk '!seen[$0]++'
}

# shellcheck disable=SC2034 # for those who source this file
KIT_VIRTIO="virtio_pci virtio_net af_packet"

kit_root() { # DIR MODULE...
	kit_d=$1
	shift
	mkdir -p "$kit_d/bin" "$kit_d/lib/modules" "$kit_d/proc" "$kit_d/sys" "$kit_d/dev" "$kit_d/tmp" "$kit_d/etc" || return 1
	cp "$(command -v busybox)" "$kit_d/bin/busybox" || return 1
	cp "$KIT_HERE/guest-init" "$kit_d/init" && cp "$KIT_HERE/guest-dhcp" "$kit_d/etc/dhcp" &&
		cp "$KIT_HERE/guest-put" "$kit_d/bin/http-put" || return 1
	chmod 755 "$kit_d/init" "$kit_d/etc/dhcp" "$kit_d/bin/http-put"
	kit_module_order "$@" >"$kit_d/lib/modules/order"
	while read -r kit_m; do cp "$KIT_MODULES/$kit_m.ko" "$kit_d/lib/modules/"; done <"$kit_d/lib/modules/order"
	for kit_p in ${KIT_PROGRAMS:-}; do kit_program "$kit_d" "$kit_p" || return 1; done
}

kit_program() { # DIR PROGRAM: into the guest, with its libraries where the loader looks for them
	kit_p=$(command -v "$2") && cp -L "$kit_p" "$1/bin/" || return 1
	ldd "$kit_p" 2>/dev/null | grep -o '/[^ )]*' | while read -r kit_l; do
		mkdir -p "$1/$(dirname "$kit_l")" && cp -L "$kit_l" "$1/$kit_l"
		# What libc loads by itself when a thread is cancelled.
		kit_l=$(dirname "$kit_l")/libgcc_s.so.1
		[ ! -e "$kit_l" ] || cp -L "$kit_l" "$1/$kit_l"
	done
}

kit_initrd() { # DIR OUT
	(cd "$1" && find . | cpio -o -H newc --quiet) >"$2"
}

# KVM may be there and yet be unable to run a stock kernel (nested or emulated KVM): boot one and see, once per boot
# of this machine.
kit_accel() {
	kit_cache
	[ "${T_LAB:-}" != lab ] || { KIT_ACCEL=kvm KIT_CPU=host; return 0; }
	KIT_ACCEL=tcg KIT_CPU=max
	[ -r /dev/kvm ] && [ -w /dev/kvm ] || return 0
	kit_id=$(cat /proc/sys/kernel/random/boot_id)
	if [ "$(cut -d' ' -f1 "$KIT_CACHE/kvm" 2>/dev/null)" != "$kit_id" ]; then
		kit_tmp=$(mktemp -d) || return 0
		kit_root "$kit_tmp/root" && kit_initrd "$kit_tmp/root" "$kit_tmp/initrd"
		KIT_ACCEL=kvm KIT_CPU=host
		guest_qemu "$kit_tmp" "$kit_tmp/initrd" && guest_up "$kit_tmp" 6 && kit_kvm=kvm || kit_kvm=tcg
		guest_kill "$kit_tmp"
		rm -rf "$kit_tmp"
		echo "$kit_id $kit_kvm" >"$KIT_CACHE/kvm"
	fi
	case $(cat "$KIT_CACHE/kvm") in
	*" kvm") KIT_ACCEL=kvm KIT_CPU=host ;;
	*) KIT_ACCEL=tcg KIT_CPU=max ;;
	esac
}

kit_pipes() { # DIR
	rm -f "$1/ctl.in" "$1/ctl.out"
	mkfifo "$1/ctl.in" "$1/ctl.out"
}

kit_cmdline() {
	echo "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable no_timer_check random.trust_cpu=on twinax.ctl=ttyS1 ${KIT_APPEND:-}"
}

guest_qemu() { # DIR INITRD ARG...
	kit_g=$1 kit_i=$2
	shift 2
	kit_pipes "$kit_g" || return 1
	"${KIT_QEMU:-qemu-system-x86_64}" -M "${KIT_MACHINE:-pc}" -accel "${KIT_ACCEL:-tcg}" -cpu "${KIT_CPU:-max}" -m "${KIT_MEM}M" \
		-object "memory-backend-memfd,id=ram,size=${KIT_MEM}M,share=on" -machine memory-backend=ram \
		-nodefaults -no-user-config -display none -no-reboot -kernel "$KIT_KERNEL" -initrd "$kit_i" \
		-append "$(kit_cmdline)" \
		-serial "file:$kit_g/console.log" -serial "pipe:$kit_g/ctl" "$@" </dev/null >"$kit_g/vmm.log" 2>&1 &
	echo $! >"$kit_g/pid"
}

guest_vm() { # DIR INITRD ARG...
	kit_g=$1 kit_i=$2
	shift 2
	kit_pipes "$kit_g" || return 1
	"$TWINAX" vm -accel "${KIT_ACCEL:-kvm}" -m "${KIT_MEM}M" -nodefaults -no-reboot -kernel "$KIT_KERNEL" -initrd "$kit_i" \
		-append "$(kit_cmdline)" -serial "file:$kit_g/console.log" -serial "pipe:$kit_g/ctl" "$@" \
		</dev/null >"$kit_g/vmm.log" 2>&1 &
	echo $! >"$kit_g/pid"
}

guest_uml() { # DIR ROOT ARG...
	kit_g=$1 kit_i=$2
	shift 2
	kit_pipes "$kit_g" || return 1
	# con1 gets the control pipe as two descriptors; con0 is the console. The kernel is several processes: one group.
	setsid linux.uml "mem=${KIT_MEM}M" root=/dev/root rootfstype=hostfs "rootflags=$kit_i" rw init=/init quiet con=null \
		con0=null,fd:1 con1=fd:3,fd:4 twinax.ctl=tty1 "$@" </dev/null >"$kit_g/console.log" 2>"$kit_g/vmm.log" \
		3<>"$kit_g/ctl.in" 4<>"$kit_g/ctl.out" &
	echo $! >"$kit_g/pid"
}

# QEMU 7.2 under tcg dies in its MSI-X code when a vhost-user NIC starts, whatever the back end; with INTx it does not.
kit_nic_quirks() {
	case $KIT_ACCEL$("${KIT_QEMU:-qemu-system-x86_64}" --version 2>/dev/null) in
	"tcgQEMU emulator version 7."*) echo ,vectors=0 ;;
	esac
}

# How this QEMU is told to connect again when the back end goes away.
kit_chardev_reconnect() {
	case $("${KIT_QEMU:-qemu-system-x86_64}" --version 2>/dev/null) in
	*"version "[5678].* | *"version 9.0."* | *"version 9.1."*) echo ,reconnect=1 ;;
	*) echo ,reconnect-ms=200 ;;
	esac
}

guest_alive() { kill -0 "$(cat "$1/pid" 2>/dev/null)" 2>/dev/null; }

# Reads up to the next "=EXIT n" or "=UP" line; one shell read at a time, so that nothing behind it is swallowed.
guest_read() { # DIR SECONDS
	# shellcheck disable=SC2016 # expanded by the inner shell
	timeout "$2" sh -c 'exec <"$1"
		while IFS= read -r l; do
			case $l in
			"=UP") exit 0 ;;
			"=EXIT "*) exit "${l#=EXIT }" ;;
			*) printf "%s\n" "$l" ;;
			esac
		done
		exit 125' guest_read "$1/ctl.out"
}

guest_up() { # DIR SECONDS
	guest_read "$1" "$2" >/dev/null && guest_alive "$1"
}

guest() { # DIR SECONDS COMMAND
	guest_alive "$1" || { echo "the guest has ended: $(tail -n 1 "$1/vmm.log" 2>/dev/null)" >&2; return 125; }
	# Opening a pipe waits for its other end, which may just have died.
	# shellcheck disable=SC2016 # expanded by the inner shell
	timeout 5 sh -c 'printf "%s\n" "$2" >"$1"' guest "$1/ctl.in" "$3" || return 125
	guest_read "$1" "$2"
}

guest_off() { # DIR
	guest_alive "$1" || return 0
	# shellcheck disable=SC2016 # expanded by the inner shell
	timeout 1 sh -c 'echo "poweroff -f" >"$1"' guest_off "$1/ctl.in"
	for kit_n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		guest_alive "$1" || return 0
		sleep 0.25
	done
	guest_kill "$1"
	return 1
}

guest_kill() { # DIR
	kit_pid=$(cat "$1/pid" 2>/dev/null) || return 0
	kill -s KILL -- "-$kit_pid" 2>/dev/null || kill -9 "$kit_pid" 2>/dev/null
	wait "$kit_pid" 2>/dev/null
	return 0
}

# The lab: Debian's kernel in QEMU, which emulates a processor with SVM, so that /dev/kvm in there is the kernel's own
# and runs stock kernels, on any machine. /dev/net/tun and /dev/vhost-net are there as well. Its files are this machine's,
# read-only, at the same places; /tmp, /run and /var/tmp are its own and empty, but for what KIT_LAB_FOLDERS names in
# them. SCRIPT's output is ours, and its exit status; 124 when SECONDS were not enough, 125 when the lab died.
# Variables named in KIT_LAB_ENV are passed on. Up in some 3 seconds; code runs there at a tenth of the speed.
KIT_LAB_MODULES="9p 9pnet_virtio virtio_pci kvm kvm-amd tun tap vhost_net"

kit_quote() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }

kit_lab_files() { # DIR SCRIPT ARG...
	kit_lab=$1
	shift
	# shellcheck disable=SC2086
	kit_root "$kit_lab/root" $KIT_LAB_MODULES && cp "$KIT_HERE/lab-init" "$kit_lab/root/init" &&
		mkdir "$kit_lab/root/lab" "$kit_lab/root/root" || return 1
	{
		echo "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run"
		for kit_v in ${KIT_LAB_ENV:-}; do
			eval "kit_w=\${$kit_v:-}"
			# shellcheck disable=SC2154 # set by eval
			echo "export $kit_v=$(kit_quote "$kit_w")"
		done
		echo "cd $(kit_quote "$PWD") || cd /"
		printf 'exec sh'
		for kit_v in "$@"; do printf ' %s' "$(kit_quote "$kit_v")"; done
		echo
	} >"$kit_lab/root/lab/run"
	for kit_v in ${KIT_LAB_FOLDERS:-}; do echo "$kit_v"; done >"$kit_lab/root/lab/folders"
	kit_initrd "$kit_lab/root" "$kit_lab/initrd"
}

# Lines as they come, up to the last.
kit_lab_read() {
	while IFS= read -r kit_l; do
		case $kit_l in
		"=EXIT "*) return "${kit_l#=EXIT }" ;;
		*) printf '%s\n' "$kit_l" ;;
		esac
	done
	return 125
}

kit_lab() { # SECONDS SCRIPT [ARG...]
	kit_t=$1
	shift
	kit_lab=$(mktemp -d) || return 125
	if ! kit_lab_files "$kit_lab" "$@"; then
		rm -rf "$kit_lab"
		return 125
	fi
	{
		timeout -k 5 "$kit_t" qemu-system-x86_64 -M pc -accel tcg,thread=multi -cpu max,+svm -smp 2 -m "${KIT_LAB_MEM:-2048}" \
			-nodefaults -no-user-config -display none -no-reboot -kernel "$KIT_KERNEL" -initrd "$kit_lab/initrd" \
			-append "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable no_timer_check random.trust_cpu=on" \
			-serial "file:$kit_lab/console.log" -chardev stdio,id=out,signal=off -serial chardev:out \
			-virtfs local,path=/,mount_tag=outer,security_model=none,multidevs=remap,readonly=on \
			-virtfs local,path=/,mount_tag=outer2,security_model=none,multidevs=remap,readonly=on \
			</dev/null 2>"$kit_lab/vmm.log"
		echo $? >"$kit_lab/status"
	} | kit_lab_read
	kit_status=$?
	if [ "$kit_status" = 125 ]; then
		[ "$(cat "$kit_lab/status" 2>/dev/null)" != 124 ] || kit_status=124
		echo "the lab ended: $(tail -n 1 "$kit_lab/vmm.log")"
		tail -n 5 "$kit_lab/console.log" | tr -d '\r'
	fi >&2
	rm -rf "$kit_lab"
	return "$kit_status"
}

kit_mirror() {
	kit_m=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -1)
	[ -n "$kit_m" ] || kit_m=$(sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\).*/\2/p' /etc/apt/sources.list 2>/dev/null | head -1)
	echo "$kit_m"
}

# Mounts are made in a mount namespace of their own, so that they are gone whatever happens.
kit_tree() {
	kit_cache
	KIT_TREE=$KIT_CACHE/trixie
	[ ! -e "$KIT_TREE/.complete" ] || return 0
	[ "$(id -u)" = 0 ] || return 1
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare -m sh -euc 'tree=$1 mirror=$2 new=$1.new.$$
		mount --make-rprivate /
		debootstrap --variant=minbase trixie "$new" "$mirror"
		printf "deb %s trixie main\ndeb %s trixie-backports main\n" "$mirror" "$mirror" >"$new/etc/apt/sources.list"
		cp -r /etc/apt/apt.conf.d/. "$new/etc/apt/apt.conf.d/"
		for d in proc sys dev; do mount --rbind "/$d" "$new/$d"; done
		export DEBIAN_FRONTEND=noninteractive
		chroot "$new" apt-get update
		chroot "$new" apt-get install -y --no-install-recommends -t trixie-backports qemu-system-x86 passt iproute2
		for d in proc sys dev; do umount -R -l "$new/$d"; done
		touch "$new/.complete"
		rm -rf "$tree"
		mv "$new" "$tree"' kit_tree "$KIT_TREE" "$(kit_mirror)" >"$KIT_CACHE/tree.log" 2>&1
}

kit_tree_run() { # PROGRAM ARG...
	kit_p=$1
	shift
	"$KIT_TREE/lib64/ld-linux-x86-64.so.2" --library-path "$KIT_TREE/usr/lib/x86_64-linux-gnu" "$KIT_TREE/usr/bin/$kit_p" "$@"
}

kit_wrapper() { # PROGRAM OUT ARG...
	kit_p=$1 kit_o=$2
	shift 2
	[ -x "$KIT_TREE/usr/bin/$kit_p" ] || return 1
	{
		echo '#!/bin/sh'
		echo "export QEMU_MODULE_DIR='$KIT_TREE/usr/lib/x86_64-linux-gnu/qemu'"
		# shellcheck disable=SC2016 # for the wrapper
		printf 'exec "%s/lib64/ld-linux-x86-64.so.2" --library-path "%s/usr/lib/x86_64-linux-gnu" "%s/usr/bin/%s" %s "$@"\n' \
			"$KIT_TREE" "$KIT_TREE" "$KIT_TREE" "$kit_p" "$*"
	} >"$kit_o"
	chmod 755 "$kit_o"
}

kit_knows_vfio_user() { "$1" -device vfio-user-pci,help 2>/dev/null | grep -q "^vfio-user-pci options"; }

kit_newer_qemu() { # OUT
	if kit_knows_vfio_user qemu-system-x86_64; then
		KIT_QEMU=qemu-system-x86_64
		return 0
	fi
	kit_cache
	KIT_TREE=$KIT_CACHE/trixie
	[ -e "$KIT_TREE/.complete" ] && kit_wrapper qemu-system-x86_64 "$1" -L "$KIT_TREE/usr/share/qemu" \
		-L "$KIT_TREE/usr/share/seabios" && kit_knows_vfio_user "$1" && KIT_QEMU=$1
}

# One polling core and one for the prompt; memory is a memfd, so no huge pages are needed.
kit_testpmd() { # SOCKET...
	kit_i=0
	for kit_s in "$@"; do
		set -- "$@" --vdev "net_virtio_user$kit_i,path=$kit_s,queues=1,server=0${KIT_TESTPMD_VDEV:+,$KIT_TESTPMD_VDEV}"
		shift
		kit_i=$((kit_i + 1))
	done
	dpdk-testpmd --lcores '0@0,1@0' --no-pci --no-huge -m 256 --file-prefix="twinax$$" "$@" -- \
		--forward-mode=io --total-num-mbufs=8192 -i
}
