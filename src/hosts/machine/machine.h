/* SPDX-License-Identifier: BSD-3-Clause */
/* The machine from the inside: what its devices, its boot code and its accelerators share. */
#ifndef HOSTS_MACHINE_H
#define HOSTS_MACHINE_H

#include <stdatomic.h>

#include <twinax/machine.h>

#include "base/hostops.h"
#include "bus/aspace.h"
#include "bus/mem.h"
#include "bus/pci_bus.h"
#include "bus/state.h"

/* The map of memory. RAM lies below MEM_HOLE and, what does not fit, above 4 GiB. */
#define MEM_HOLE 0xc0000000ull	/* first address of the hole */
#define ECAM_BASE 0xe0000000ull /* 256 buses of 1 MiB */
#define PCI_MEM_BASE MEM_HOLE
#define PCI_MEM_END ECAM_BASE
#define MEM_HIGH 0x100000000ull
#define PCI_MEM64_BASE 0x8000000000ull /* 512 GiB */
#define PCI_MEM64_LEN 0x100000000ull
#define IOAPIC_ADDR 0xfec00000ull
#define LAPIC_ADDR 0xfee00000ull
#define PCI_PORT_BASE 0xc000u
#define PCI_PORT_END 0xffffu

/* I/O ports of our own devices, for the ACPI tables. */
#define PM_BASE 0x600u	  /* event block 4, control 2, timer 4 at +8; see pm.c */
#define PM_SCI 9u	  /* GSI of the system control interrupt */
#define RESET_PORT 0xcf9u /* FADT's reset register; value 6 */
#define FWCFG_PORT 0x510u
#define MACHINE_GSIS 24u

/* Where a CPU begins: 64-bit long mode (Linux boot protocol) or 32-bit protected mode (PVH). */
struct machine_entry {
	bool long_mode;
	uint64_t rip, rsi, rbx, cr3; /* rsi: boot_params (64-bit); rbx: hvm_start_info (PVH) */
};

/*
 * What makes instructions go: KVM, or a client of the qtest protocol. @m->accel_priv is its own.
 * Called on the loop.
 */
struct accel {
	const char *name;
	bool threads; /* CPUs are threads, and have rings for what they post */
	int (*open)(struct twx_machine *m,
		    struct twx_error *e);     /* RAM is there, m->ram is filled */
	void (*close)(struct twx_machine *m); /* harmless when open() failed */
	/* CPUs to their reset state, with CPU 0 at m->entry; they do not run yet. */
	int (*reset)(struct twx_machine *m, struct twx_error *e);
	/* Returns when every CPU is inside or outside of the guest for good. */
	int (*run)(struct twx_machine *m, struct twx_error *e);
	void (*pause)(struct twx_machine *m);
	/* Interrupt inputs of PIC and IOAPIC; level or, for the ISA ones, an edge. */
	void (*gsi)(struct twx_machine *m, unsigned int gsi, bool level);
	void (*message)(struct twx_machine *m, uint64_t addr, uint32_t data);
	/* Optional, as in pci_bus_ops. */
	int (*doorbell)(struct twx_machine *m, bool io, uint64_t addr,
			const struct pci_doorbell *bell, bool on);
	int (*message_fd)(struct twx_machine *m, struct pci_dev *dev, unsigned int vector,
			  uint64_t addr, uint32_t data, int fd);
	int (*lazy)(struct twx_machine *m, uint64_t addr, uint32_t len,
		    bool on);		      /* coalesced MMIO */
	void (*hurry)(struct twx_machine *m); /* what is kept by lazy() is carried out soon */
	/* Optional: state of CPUs and of what the accelerator emulates; standing still. malloc()ed.
	 */
	int (*save)(struct twx_machine *m, uint8_t **out, size_t *len, struct twx_error *e);
	int (*load)(struct twx_machine *m, const uint8_t *data, size_t len, struct twx_error *e);
};
extern const struct accel accel_kvm, accel_qtest;
int kvm_probe(struct twx_error *e); /* as twx_machine_probe() */

/* Writes that vCPUs leave for the loop: one ring a CPU, one writer, drained under the loop's lock.
 */
#define POST_RING 256u
struct post_entry {
	uint64_t addr, value; /* the value as in memory */
	uint64_t t;	      /* of the exit, where that is traced; else 0 */
	uint32_t size;
};
struct post_ring {
	_Atomic uint32_t head; /* next to fill */
	_Atomic uint32_t tail; /* next to drain */
	struct post_entry e[POST_RING];
};

#define MACHINE_MAX_CPUS 8u
#define MACHINE_MAX_ZONES 64u
/* Ranges of memory whose writes may be posted; read without the lock, see machine_io.c. */
struct post_zones {
	_Atomic uint32_t seq;
	_Atomic uint32_t n;
	struct {
		_Atomic uint64_t addr;
		_Atomic uint32_t len;
	} z[MACHINE_MAX_ZONES];
};

/* A device of the board: what it saves, and what a reset does. Embedded in the device. */
struct board_dev {
	const char *name; /* "rtc" */
	void *opaque;
	void (*reset)(void *opaque);
	void (*free)(void *opaque); /* removes its regions; last call */
	struct state_desc state;    /* null sections: nothing to save */
	struct board_dev *next;
};

struct twx_machine {
	struct twx_net *net;
	struct twx_loop *loop;
	struct twx_trace *trace;
	const struct accel *accel;
	void *accel_priv;
	const struct twx_machine_config *config; /* while twx_machine_new() runs */
	unsigned int n_cpus;
	bool started, running, no_reboot;
	bool spoilt; /* a load has filled memory in part */
	struct mem_map *ram;
	uint64_t ram_low, ram_high; /* bytes below MEM_HOLE, above 4 GiB */
	struct aspace mem, io;
	struct pci_bus *pci;
	struct board_dev *devs;
	struct machine_entry entry;
	char *kernel, *initrd, *append, *kernel_cache;
	struct post_ring *post[MACHINE_MAX_CPUS]; /* null without threads */
	struct post_zones zones;
	struct twx_task post_task;
	atomic_bool post_pending;
	/* What a CPU asks of the loop, carried out by ask_task. */
	atomic_uint ask; /* bits of enum machine_ask */
	struct twx_task ask_task;
	atomic_bool ask_pending;
	void (*event)(void *opaque, enum twx_machine_event ev);
	void *opaque;
};

enum machine_ask { MACHINE_ASK_RESET = 1, MACHINE_ASK_SHUTDOWN = 2, MACHINE_ASK_PANIC = 4 };

/* machine_slot.c: the bus's world, and the host of the machine's NICs. */
extern const struct pci_bus_ops machine_bus_ops;
extern const struct twx_host_type machine_host_type;

/* machine.c */
void machine_tell(struct twx_machine *m, enum twx_machine_event ev);
void machine_add_dev(struct twx_machine *m, struct board_dev *d);
const struct twx_hostops *machine_hostops(struct twx_machine *m);
/* From any thread: the reset, the end, carried out by the loop soon. */
void machine_ask(struct twx_machine *m, enum machine_ask what);
void machine_set_gsi(struct twx_machine *m, unsigned int gsi, bool level);

/* Everything to its state after power-on; @with_kernel: and loaded. CPUs do not run yet. */
int machine_power_on(struct twx_machine *m, bool with_kernel, struct twx_error *e);
int machine_go(struct twx_machine *m, struct twx_error *e);
/* 0 for one that can be started or loaded. */
int machine_fresh(const struct twx_machine *m, struct twx_error *e);
void machine_halt(struct twx_machine *m); /* CPUs and devices stand still; nothing is posted */

/*
 * machine_io.c: accesses of a CPU, from its thread (@cpu) and outside of the lock. RAM first, then
 * the address space; @buf has @len bytes, 1 to 8, little-endian. Writes to a zone that may be
 * posted return at once.
 */
void machine_mmio(struct twx_machine *m, unsigned int cpu, uint64_t addr, void *buf, uint32_t len,
		  bool write);
void machine_pio(struct twx_machine *m, unsigned int cpu, uint16_t port, void *buf, uint32_t len,
		 bool write);
/* The same on the loop, or inside twx_loop_enter(): RAM, then the space. Any length. */
void machine_mem_rw(struct twx_machine *m, uint64_t addr, void *buf, uint64_t len, bool write);
/* What was posted, carried out; with the lock. */
void machine_drain(struct twx_machine *m);
void machine_zone(struct twx_machine *m, uint64_t addr, uint32_t len, bool on);

/* Boot: linux.c, acpi.c. With RAM there and the bus assigned. They write memory only. */
int boot_load(struct twx_machine *m, struct machine_entry *entry, struct twx_error *e);
/* Tables in low memory; the address of the RSDP. */
int acpi_build(struct twx_machine *m, uint64_t *rsdp, struct twx_error *e);

/* The devices of the board, each 0 or -errno; they add themselves. */
int board_serial(struct twx_machine *m, unsigned int port, const char *chardev,
		 struct twx_error *e);
int board_rtc(struct twx_machine *m, struct twx_error *e);
int board_i8042(struct twx_machine *m, struct twx_error *e); /* and port 0xcf9 */
int board_pm(struct twx_machine *m, struct twx_error *e);
void board_power_button(struct twx_machine *m);
int board_fwcfg(struct twx_machine *m, struct twx_error *e);
/* Host bridge and ISA bridge with PIIX3's interrupt routing (PIRQRCA to D). */
int board_bridges(struct twx_machine *m, struct twx_error *e);
/* An interrupt line of the PCI bus, as the ISA bridge routes it; firmware's choice of routes. */
void board_pci_line(struct twx_machine *m, unsigned int line, bool level);
void board_route_lines(struct twx_machine *m, const uint8_t irq[4]);

#endif
