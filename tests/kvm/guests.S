/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small guests for the tests of the KVM accelerator; what each says goes out by ports.
 *
 * Each is put at GUEST_LOAD and begins in 32-bit protected mode with flat segments, interrupts off
 * and no stack. Labels of a guest are taken relative to its beginning, AT() makes addresses of them.
 * Nothing here uses floating point or anything newer than a 486, so that a KVM that emulates runs it
 * too; but CPUID, where the test is about it.
 */
#include "guests.h"

	.section .note.GNU-stack, "", %progbits
	.section .rodata
	.code32

#define BEGIN(name) .globl guest_##name, guest_##name##_end; .balign 16; guest_##name:
#define END(name) guest_##name##_end:
#define AT(name, label) (label - guest_##name + GUEST_LOAD)

	.macro done
	movw $PORT_DONE, %dx
	outb %al, %dx
9:	hlt
	jmp 9b
	.endm

/* Every width of port access, and strings of them. */
BEGIN(ports)
	movl $GUEST_STACK, %esp
	movw $PORT_OUT, %dx
	movl $0x44332211, %eax
	outb %al, %dx
	outw %ax, %dx
	outl %eax, %dx
	movw $PORT_IN, %dx
	inb %dx, %al
	incb %al
	movw $PORT_OUT, %dx
	outb %al, %dx
	movw $PORT_IN, %dx
	inl %dx, %eax
	notl %eax
	movw $PORT_OUT, %dx
	outl %eax, %dx
	/* A string out, one in, and that one out again. */
	cld
	movl $AT(ports, ports_text), %esi
	movl $5, %ecx
	rep outsb
	movw $PORT_IN, %dx
	movl $GUEST_COUNTER, %edi
	movl $3, %ecx
	rep insw
	movw $PORT_OUT, %dx
	movl $GUEST_COUNTER, %esi
	movl $3, %ecx
	rep outsw
	done
ports_text:
	.ascii "hello"
END(ports)

/* Memory that is no RAM. */
BEGIN(mmio)
	movl $MMIO_BASE, %ebx
	movl $0x87654321, %eax
	movb %al, 1(%ebx)
	movw %ax, 2(%ebx)
	movl %eax, 4(%ebx)
	movl 8(%ebx), %eax
	incl %eax
	movl %eax, 12(%ebx)
	movzbl 3(%ebx), %eax
	movl %eax, 16(%ebx)
	/* Where RAM is, nobody is told. */
	movl $0x600df00d, GUEST_COUNTER
	done
END(mmio)

/* Interrupts: by a pin of the PIC, and by messages to the local APIC. */
BEGIN(irq)
	movl $GUEST_STACK, %esp
	lgdt AT(irq, irq_gdtr)
	ljmp $0x10, $AT(irq, irq_flat)
irq_flat:
	movw $0x18, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	lidt AT(irq, irq_idtr)
	/* PICs: edges, vectors from 20h and 28h, only GSI 5 let through. */
	movb $0x11, %al
	outb %al, $0x20
	outb %al, $0xa0
	movb $0x20, %al
	outb %al, $0x21
	movb $0x28, %al
	outb %al, $0xa1
	movb $4, %al
	outb %al, $0x21
	movb $2, %al
	outb %al, $0xa1
	movb $1, %al
	outb %al, $0x21
	outb %al, $0xa1
	movb $0xdf, %al
	outb %al, $0x21
	movb $0xff, %al
	outb %al, $0xa1
	/* The local APIC on. */
	movl $0x1ff, 0xfee000f0
	/* Ready: from here on everything is the handlers'. */
	movb $'R', %al
irq_say:
	movw $PORT_OUT, %dx
	outb %al, %dx
	/* A handler does not return (an emulating KVM does not know IRET here): it comes here. */
irq_wait:
	movl $GUEST_STACK, %esp
	sti
	hlt
	jmp irq_wait

irq_pin:
	movb $0x20, %al
	outb %al, $0x20
	movb $'P', %al
	jmp irq_say
irq_msg:
	movl $0, 0xfee000b0
	movb $'M', %al
	jmp irq_say
	.balign 8
irq_gdt:
	.quad 0, 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
irq_gdtr:
	.word irq_gdtr - irq_gdt - 1
	.long AT(irq, irq_gdt)
	.balign 8
irq_idt:
	.fill VECTOR_GSI, 8, 0
	.word AT(irq, irq_pin) - 0x10000, 0x10, 0x8e00, 1
	.fill VECTOR_MSG - VECTOR_GSI - 1, 8, 0
	.word AT(irq, irq_msg) - 0x10000, 0x10, 0x8e00, 1
irq_idtr:
	.word irq_idtr - irq_idt - 1
	.long AT(irq, irq_idt)
END(irq)

/* A doorbell that is rung by the value 7 alone, one rung by any. */
BEGIN(bell)
	movl $MMIO_BELL, %ebx
	movw $7, (%ebx)
	movw $8, (%ebx)
	movl $9, 4(%ebx)
	movw $9, 4(%ebx)
	movw $PORT_OUT + 2, %dx
	movw $7, %ax
	outw %ax, %dx
	done
END(bell)

/* Writes that may be late, before one that may not. */
BEGIN(lazy)
	movl $MMIO_LAZY, %ebx
	movl $5, %ecx
lazy_more:
	movl %ecx, (%ebx)
	loop lazy_more
	movl $0x55, MMIO_BASE
	movl $6, (%ebx)
	movl $7, 4(%ebx)
	done
END(lazy)

/* A write that may be late, and nothing more that leaves the guest until it was seen. */
BEGIN(late)
	movl $0x77, MMIO_LAZY
late_more:
	pause
	cmpl $0, GUEST_COUNTER
	je late_more
	done
END(late)

/* No interrupt table, and an interrupt: a triple fault. What it says first tells a second life. */
BEGIN(fault)
	movb $'F', %al
	movw $PORT_OUT, %dx
	outb %al, %dx
	lidt AT(fault, fault_idtr)
	ud2
fault_idtr:
	.word 0
	.long 0
END(fault)

/* Counts, in memory and through a port, for ever. */
BEGIN(count)
	xorl %eax, %eax
	movw $PORT_OUT, %dx
count_more:
	incl %eax
	movl %eax, GUEST_COUNTER
	outl %eax, %dx
	jmp count_more
END(count)

/* Starts the second CPU, which says its number; both say what CPUID knows of them. */
BEGIN(smp)
	movl $GUEST_STACK, %esp
	movl $AT(smp, smp_ap), %esi
	movl $GUEST_AP, %edi
	movl $(smp_ap_end - smp_ap), %ecx
	cld
	rep movsb
	movl $0x1ff, 0xfee000f0
	movl $1, %eax
	cpuid
	shrl $24, %ebx
	movl %ebx, %eax
	movw $PORT_OUT, %dx
	outb %al, %dx
	/* INIT, then SIPI, to APIC 1. */
	movl $0x01000000, 0xfee00310
	movl $0x4500, 0xfee00300
	movl $0x01000000, 0xfee00310
	movl $(0x4600 | GUEST_AP >> 12), 0xfee00300
smp_wait:
	pause
	jmp smp_wait

	.code16
smp_ap:
	movl $1, %eax
	cpuid
	movl %ebx, %ebp
	shrl $24, %ebx
	movb %bl, %al
	movw $PORT_OUT, %dx
	outb %al, %dx
	shrl $16, %ebp
	movl %ebp, %eax
	outb %al, %dx
	movw $PORT_DONE, %dx
	outb %al, %dx
smp_ap_wait:
	hlt
	jmp smp_ap_wait
smp_ap_end:
	.code32
END(smp)

/* Begins in long mode: a 64-bit register goes out in halves, and what the boot protocol passes. */
	.code64
BEGIN(long64)
	movq %rsi, %rax
	movw $PORT_OUT, %dx
	outl %eax, %dx
	shrq $32, %rax
	outl %eax, %dx
	movw %cs, %ax
	outw %ax, %dx
	movw %ss, %ax
	outw %ax, %dx
	done
END(long64)
