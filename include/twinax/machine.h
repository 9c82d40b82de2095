/* SPDX-License-Identifier: BSD-3-Clause */
/* A small PC in this process: memory, CPUs and a PCI bus for the NICs of a network. */
#ifndef TWINAX_MACHINE_H
#define TWINAX_MACHINE_H

#include <twinax/net.h>

/*
 * The machine becomes the world of its net's NICs (twx_net_set_host()): make the machine, then the
 * NICs, then start it. Everything but the CPUs runs on the net's loop; CPUs are threads of their
 * own that enter the loop (twx_loop_enter()) where they touch a device. All functions here are
 * called from the loop's thread; while CPUs run, whatever neither pauses nor ends the machine
 * (twx_machine_unplug(), and everything that changes the net) from a callback of the loop, or
 * between twx_loop_enter() and twx_loop_leave().
 */
struct twx_machine;

enum twx_machine_event {
	TWX_MACHINE_RESET,    /* the guest restarts, or was reset */
	TWX_MACHINE_SHUTDOWN, /* the guest switched itself off */
	TWX_MACHINE_PANIC,    /* it cannot go on (an unknown exit, a reset without its kernel) */
	TWX_MACHINE_STOP,     /* paused */
	TWX_MACHINE_RESUME,
	TWX_MACHINE_UNPLUGGED, /* a NIC is gone that twx_machine_unplug() asked for */
};

/* Zero it, set size = sizeof. Strings are borrowed until twx_machine_new() returns. */
struct twx_machine_config {
	size_t size;
	struct twx_net *net; /* required; its loop must be twx_loop_share()d for "kvm" */
	const char *accel;   /* required: "kvm" or "qtest" */
	uint64_t memory;     /* bytes of RAM, a multiple of 4 KiB; 0: 128 MiB */
	unsigned int n_cpus; /* 1 to 8; 0: 1 */
	const char *kernel;  /* bzImage or ELF with a PVH entry; null with qtest alone */
	const char *initrd;
	const char *append;
	const char *serial[4]; /* ids of chardevs for COM1 to COM4; null: none */
	const char *qtest;     /* for "qtest": "unix:PATH[,server=on][,wait=off]" */
	const char *qtest_log; /* path, "none" or null: stderr */
	bool shared_memory; /* RAM is a file that other processes can map: netdev vhost-user needs
			       it */
	bool no_reboot;	    /* a reset is a TWX_MACHINE_SHUTDOWN */
	void (*event)(void *opaque, enum twx_machine_event ev);
	void *opaque;
	/* A directory of the caller's own where unpacked kernels are kept, some 40 MB each: the
	 * next start with the same bzImage does not unpack it. Null: none. */
	const char *kernel_cache;
};

TWX_EXPORT int twx_machine_new(struct twx_machine **out, const struct twx_machine_config *config,
			       struct twx_error *e);
/* After its NICs were freed, or with them. */
TWX_EXPORT void twx_machine_free(struct twx_machine *m);

/* Root ports: "pcie-root-port,id=rp0[,bus=pcie.0][,addr=4]". Others are -ENODEV. Before start. */
TWX_EXPORT int twx_machine_device(struct twx_machine *m, const char *text, struct twx_error *e);

/* Firmware's work (places of BARs, ACPI tables), the kernel in memory, CPUs running. */
TWX_EXPORT int twx_machine_start(struct twx_machine *m, struct twx_error *e);
TWX_EXPORT bool twx_machine_running(const struct twx_machine *m);
TWX_EXPORT int twx_machine_pause(struct twx_machine *m, struct twx_error *e);
TWX_EXPORT int twx_machine_resume(struct twx_machine *m, struct twx_error *e);
/* One that fails (the kernel's file is gone) is a TWX_MACHINE_PANIC; a later one may work. */
TWX_EXPORT int twx_machine_reset(struct twx_machine *m, struct twx_error *e);
TWX_EXPORT void twx_machine_power_button(struct twx_machine *m);

/* Hot-plug is twx_nic_new() with bus=ROOTPORT while the machine runs; this asks the guest to let go
 * and frees the NIC then. */
TWX_EXPORT int twx_machine_unplug(struct twx_machine *m, struct twx_nic *nic, struct twx_error *e);

/* The whole machine to a file and back; it stands still meanwhile and goes on as before. Loading is
 * into a machine made with the same options, in place of twx_machine_start(). */
TWX_EXPORT int twx_machine_save(struct twx_machine *m, const char *path, struct twx_error *e);
TWX_EXPORT int twx_machine_load(struct twx_machine *m, const char *path, struct twx_error *e);

/*
 * Whether @accel can run here: 0; -ENOENT: no such device file; -EACCES: no right to it; -ENOTSUP:
 * it is there and cannot run a stock kernel. The text says why and what to do. Takes some
 * milliseconds.
 */
TWX_EXPORT int twx_machine_probe(const char *accel, struct twx_error *e);

#endif
