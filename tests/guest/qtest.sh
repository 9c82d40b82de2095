#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The same script of qtest commands against QEMU's pc and ours: firmware's and a driver's work on an e1000 and a
# virtio-net-pci, each answer and each interrupt compared.
#
# QEMU of Debian has no qtest accelerator: its CPU is there, and stands at a firmware that is nothing but a halt. Left out
# are the clock's commands, which it refuses then, and what the two are known to differ in: addresses where nobody is
# (ones here, as on a PC, zeros there), the e1000's I/O registers (not there in QEMU) and its cache line size, where
# virtio's capabilities lie.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

PEER=$BUILD/tests/guest/qtest_peer
need "$TWINAX" "$PEER" qemu-system-x86_64
head -c 65536 /dev/zero | tr '\0' '\364' >"$T/halt.rom" # HLT everywhere

MACHINE="-M pc -m 64 -nodefaults -display none -netdev user,id=n0 -netdev user,id=n1
	-device e1000,netdev=n0,addr=4,mac=52:54:00:12:34:56 -device virtio-net-pci,netdev=n1,addr=5,mac=52:54:00:12:34:57
	-qtest-log none"

# Where the option ROM would be both have none: its BAR reads as nothing.
qemu_up() {
	# shellcheck disable=SC2086
	qemu-system-x86_64 -accel tcg -bios "$T/halt.rom" -global e1000.romfile= -global virtio-net-pci.romfile= \
		$MACHINE -qtest "unix:$T/qemu,server=on,wait=off" >"$T/qemu.log" 2>&1 &
	QEMU_PID=$!
	until_true 20 test -S "$T/qemu"
}

ours_up() {
	# shellcheck disable=SC2086
	"$TWINAX" vm -accel qtest $MACHINE -qtest "unix:$T/ours,server=on,wait=off" >"$T/ours.log" 2>&1 &
	OURS_PID=$!
	until_true 20 test -S "$T/ours"
}

settle() { sed '$s/^/settle /'; }

reg() { # OFFSET [VALUE]: a 32-bit access to the e1000
	if [ $# = 1 ]; then echo "readl $((0xe0000000 + $1))"; else echo "writel $((0xe0000000 + $1)) $2"; fi
}

config() { # FUNCTION OFFSET SIZE [VALUE]; the function as 0xcf8 has it
	echo "outl 0xcf8 $((0x80000000 | $1 | $2))"
	if [ $# = 3 ]; then echo "in$3 0xcfc"; else echo "out$3 0xcfc $4"; fi
}

script_board() {
	echo "endianness"
	for i in 0 1 2 3; do config 0 $((i * 4)) l; done # the host bridge, but for its status
	config 0x800 0 l
	config 0x800 0x60 l
	config 0x800 0x60 l 0x0b0a0b0a
	config 0x800 0x60 l
	echo "irq_intercept_in ioapic"
	echo "outw 0x510 0"
	for i in 1 2 3 4; do echo "inb 0x511"; done
	echo "outw 0x510 3"
	for i in 1 2 3 4 5 6 7 8; do echo "inb 0x511"; done
	echo "outw 0x510 5"
	echo "inb 0x511"
	cat <<-SCRIPT
		outl 0xcf8 0
		inl 0xcf8
		inl 0xcfc
		outl 0xcf8 0x80007800
		inl 0xcfc
		inw 0xcfe
		inb 0x9999
		inl 0x9999
		foo
		write 0x2000 8 0x0011223344556677
		readb 0x2001
		readw 0x2001
		readl 0x2001
		readq 0x2000
		writeb 0x2000 0x1ff
		writew 0x2001 0xabcd
		read 0x2000 16
		b64read 0x2000 10
		b64write 0x2100 4 AQIDBA==
		memset 0x2104 4 0x5a
		read 0x20fe 12
		set_irq_in ioapic unnamed-gpio-in 7 1
		set_irq_in ioapic unnamed-gpio-in 7 1
		set_irq_in ioapic unnamed-gpio-in 7 0
	SCRIPT
}

script_e1000() {
	for i in 0 2 4 5 6 7 8 9 10 11 12 13 14 15; do config 0x2000 $((i * 4)) l; done
	for i in 0 1 2; do
		config 0x2000 $((0x10 + i * 4)) l 0xffffffff
		config 0x2000 $((0x10 + i * 4)) l
	done
	config 0x2000 0x10 l 0xe0000000
	config 0x2000 0x14 l 0xc000
	config 0x2000 4 w 7
	config 0x2000 4 w
	for r in 0 8 0x10 0x14 0xc0 0xd0 0x100 0x400 0x1000 0x2800 0x2810 0x3810 0x5400 0x5404; do reg $r; done
	# One frame of 64 bytes.
	echo "memset 0x100000 0x1000 0"
	echo "memset 0x110000 64 0x55"
	echo "writeq 0x100000 0x110000"
	echo "writeq 0x100008 0x0b000040"
	reg 0 0x40
	reg 0x3800 0x100000
	reg 0x3808 128
	reg 0x400 0x0a
	reg 0xd0 1 | settle
	reg 0x3818 1 | settle
	echo "read 0x100000 16"
	reg 0x3810
	reg 0xc0
	reg 0xc0
	reg 0x40d4 # TPT
	reg 0xc8 0x80 | settle
	reg 0xd0 0x80 | settle
	reg 0xd8 0x80 | settle
	reg 0xd0 0x80 | settle
	config 0x2000 4 w 0x407 | settle # INTx off
	config 0x2000 4 w 7 | settle
	reg 0xc0
}

script_virtio() {
	for i in 0 2 3 11 15; do config 0x2800 $((i * 4)) l; done
	for i in 0 1 4; do
		config 0x2800 $((0x10 + i * 4)) l 0xffffffff
		config 0x2800 $((0x10 + i * 4)) l
	done
	config 0x2800 0x10 l 0xc100
	config 0x2800 0x14 l 0xfe010000
	config 0x2800 0x20 l 0xfe014000
	config 0x2800 0x24 l 0
	config 0x2800 4 w 7
	cat <<-SCRIPT
		outb 0xc112 0
		outb 0xc112 3
		quiet inl 0xc100
		outl 0xc104 0x20
		inb 0xc114
		inb 0xc119
		outw 0xc10e 0
		inw 0xc10c
		outw 0xc10e 1
		inw 0xc10c
		outw 0xc10e 7
		inw 0xc10c
		outw 0xc10e 1
		memset 0x200000 0x4000 0
		outl 0xc108 0x200
		outb 0xc112 7
		memset 0x300000 74 0
		writeq 0x200000 0x300000
		writeq 0x200008 74
		writew 0x201002 1
		settle outw 0xc110 1
		readw 0x202002
		read 0x202000 12
		inb 0xc113
		inb 0xc113
		outb 0xc112 0
		inb 0xc112
		memset 0x200000 0x4000 0
		writeb 0xfe014014 0
		writeb 0xfe014014 3
		writel 0xfe014000 1
		writel 0xfe014008 0
		writel 0xfe01400c 0x20
		writel 0xfe014008 1
		writel 0xfe01400c 1
		writeb 0xfe014014 11
		readb 0xfe014014
		readw 0xfe014012
		writew 0xfe014016 1
		readw 0xfe014018
		readw 0xfe01401a
		readw 0xfe01401e
		writel 0xfe014020 0x200000
		writel 0xfe014028 0x201000
		writel 0xfe014030 0x202000
		readl 0xfe014028
		writeq 0xfe010010 0x3000
		writeq 0xfe010018 0x1234
		readl 0xfe010018
		writew 0xfe01401a 1
		readw 0xfe01401a
	SCRIPT
	echo "msix 0x2800"
	cat <<-SCRIPT
		writew 0xfe01401c 1
		readw 0xfe01401c
		writeb 0xfe014014 15
		memset 0x300000 76 0
		writeq 0x200000 0x300000
		writeq 0x200008 76
		writew 0x201002 1
		settle writew 0xfe017004 1
		readw 0x202002
		readl 0x3000
		readb 0xfe016000
		readb 0xfe016005
		writeb 0xfe014014 0
	SCRIPT
}

{ script_board; script_e1000; script_virtio; } >"$T/script"
same() {
	"$PEER" "$T/qemu" <"$T/script" >"$T/qemu.out" && "$PEER" "$T/ours" <"$T/script" >"$T/ours.out" &&
		diff -u "$T/qemu.out" "$T/ours.out"
}

step "QEMU starts" qemu_up
step "twinax vm starts" ours_up
step "answers and interrupts are QEMU's ($(grep -c . "$T/script") commands)" same
kill "$OURS_PID" "$QEMU_PID"
wait "$OURS_PID"
holds "the machine ends in good order" "$?" "[0]"
step "its socket is gone" test ! -e "$T/ours"
finish
