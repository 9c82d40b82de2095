/* SPDX-License-Identifier: BSD-3-Clause */
/* What the small guests of guests.S and the tests that run them agree on. */
#ifndef TESTS_KVM_GUESTS_H
#define TESTS_KVM_GUESTS_H

#define GUEST_LOAD 0x10000 /* where a guest is put, and its first instruction */
#define GUEST_STACK 0x9000
#define GUEST_AP 0x8000	   /* a page boundary below 1 MiB, for what a SIPI starts */
#define GUEST_COUNTER 0x7000

#define PORT_OUT 0x500	/* the guest says something */
#define PORT_IN 0x510	/* the guest asks something */
#define PORT_DONE 0x520 /* the guest has ended */
#define MMIO_BASE 0xd0000000
#define MMIO_LAZY 0xd0001000
#define MMIO_BELL 0xd0002000

#define VECTOR_GSI 0x25 /* GSI 5, as the guest sets up its PIC */
#define VECTOR_MSG 0x41

#ifndef __ASSEMBLER__
#define GUEST(name) extern const unsigned char guest_##name[], guest_##name##_end[]
GUEST(ports);
GUEST(mmio);
GUEST(irq);
GUEST(bell);
GUEST(lazy);
GUEST(late);
GUEST(fault);
GUEST(count);
GUEST(smp);
GUEST(long64);
#undef GUEST
#endif

#endif
