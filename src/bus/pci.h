/* SPDX-License-Identifier: BSD-3-Clause */
/* A PCI function: configuration space, BARs, interrupts, DMA; and the host that it is plugged into.
 */
#ifndef BUS_PCI_H
#define BUS_PCI_H

#include <linux/pci_regs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <twinax/error.h>
#include <twinax/loop.h>
#include <twinax/net.h>

#include "bus/mem.h"
#include "bus/state.h"

/*
 * A device (src/nics, bus/virtio_pci) embeds a pci_dev at the start of its private state, describes
 * itself by a pci_info, and implements pci_dev_ops. A host (vfio-user, later KVM and qtest)
 * implements pci_host_ops and calls pci_config_*, pci_bar_*, pci_reset and the state functions.
 * Everything runs on the device's loop.
 *
 * Sources: PCI Local Bus 3.0 (chapter 6: configuration space, MSI, MSI-X), PCI Power
 * Management 1.2, PCI Express Base 3.0 (7.8: the capability of an endpoint).
 */
struct pci_dev;

#define PCI_N_BARS 6
#define PCI_BAR_ROM 6 /* the expansion ROM, as number 6 */
#define PCI_CONFIG_MAX 4096
#define PCI_MSIX_MAX 2048

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_bar {
	enum pci_bar_kind kind; /* MEM64 takes the next number too */
	bool prefetch;
	uint64_t size; /* a power of two: 4 and up for I/O, 16 and up for memory */
	/*
	 * Access widths that the device's bar ops take, powers of two up to 8; aligned. Others are
	 * composed: a wider one is split, low address first; a narrower read is cut out of a wider
	 * one, a narrower write is merged with zeros and carries its byte enables (see bar_write).
	 */
	uint8_t min, max;
};

/*
 * Registers whose writes may be late, as posted writes on a real bus are: a host with threads of its
 * own (vCPUs) need not wait for the device. A read of any register comes after all of them.
 */
enum pci_zone_kind {
	PCI_ZONE_NONE,
	PCI_ZONE_POST, /* the writer goes on; the device's loop carries it out soon */
	PCI_ZONE_LAZY, /* may wait for the next access to the function, or for pci_hurry() */
};
struct pci_zone {
	enum pci_zone_kind kind;
	uint8_t bar;
	uint32_t off, len;
};

/*
 * A write that is nothing but a signal: @size bytes (0: any) at @off of @bar, where @match with the
 * value @value alone.
 */
struct pci_doorbell {
	uint8_t bar, size;
	bool match;
	uint16_t value;
	uint32_t off;
	int fd; /* an eventfd */
};

struct pci_info {
	uint16_t vendor, device, subsys_vendor, subsys;
	uint8_t revision;
	uint32_t class_code; /* 24 bits: 0x020000 */
	uint8_t int_pin;     /* 1: INTA; 0: none */
	uint8_t cache_line;  /* initial value of the cache line size register */
	bool multifunction;  /* its slot has more of them; the host's to set before it plugs */
	bool express; /* an endpoint: PCIe and power management capability, 4 KiB of configuration
			 space */
	struct pci_bar bars[PCI_N_BARS];
	const struct pci_zone *zones; /* ends with PCI_ZONE_NONE; null: none */
	uint16_t n_msix;  /* vectors; 0: no MSI-X */
	uint8_t msix_bar; /* the BAR that table and PBA lie in; accesses there never reach the
			     device */
	uint32_t msix_table_off, msix_pba_off;
	uint8_t n_msi;	    /* vectors, a power of two up to 32; 0: no MSI */
	uint16_t msi_flags; /* PCI_MSI_FLAGS_64BIT, PCI_MSI_FLAGS_MASKBIT, as the model has them */
};

/* The device's side. @off + @size lies inside the BAR. */
struct pci_dev_ops {
	uint64_t (*bar_read)(struct pci_dev *dev, unsigned int bar, uint64_t off,
			     unsigned int size);
	/* @mask has ones where bytes were written; all ones of @size unless the access was
	 * composed. */
	void (*bar_write)(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size,
			  uint64_t value, uint64_t mask);
	/* Optional: something was written behind the header (a capability), or to the command
	 * register; the value may be what it was. */
	void (*config_written)(struct pci_dev *dev, uint32_t off, uint32_t len);
	/* Optional: a read behind the header, which may have a side (virtio's PCI-cfg window);
	 * before the bytes are taken. */
	void (*config_reads)(struct pci_dev *dev, uint32_t off, uint32_t len);
	/* To the state after open. The PCI part has been reset. */
	void (*reset)(struct pci_dev *dev);
	/* The host's memory map is about to change / has changed: views of guest memory go stale.
	 * Optional. */
	void (*mem_changing)(struct pci_dev *dev);
	void (*mem_changed)(struct pci_dev *dev);
	/* Optional: the machine stops (nothing of the guest's may change from now on) or runs
	 * again. */
	void (*run)(struct pci_dev *dev, bool running);
};

enum pci_irq { PCI_IRQ_INTX, PCI_IRQ_MSI, PCI_IRQ_MSIX };

/* The host's side. */
struct pci_host_ops {
	/* The line changes; called on changes only, with masking by the command register applied.
	 */
	void (*intx)(struct pci_dev *dev, bool level);
	/* One message interrupt; address and data are the guest's, for hosts that send the write
	 * themselves. */
	void (*message)(struct pci_dev *dev, enum pci_irq kind, unsigned int vector, uint64_t addr,
			uint32_t data);
	/*
	 * Optional: DMA to memory that the host knows and that is not mapped here (vfio-user
	 * without fds). 0 or -errno; may wait for the host, bounded.
	 */
	int (*dma)(struct pci_dev *dev, uint64_t addr, void *buf, uint32_t len, bool write);
	/* Optional: a BAR was moved, enabled or disabled (for hosts that dispatch addresses). */
	void (*bars_changed)(struct pci_dev *dev);
	/*
	 * Optional: from now on (@on) the guest's writes there signal the eventfd and do not come by
	 * pci_bar_write(), wherever the BAR moves. 0 or -errno: then they come that way.
	 */
	int (*doorbell)(struct pci_dev *dev, const struct pci_doorbell *bell, bool on);
	/*
	 * Optional: a signal on the eventfd @fd is the message @addr, @data, without this process;
	 * @fd -1 ends it. Of a vector that is not masked. 0 or -errno: then it is watched here.
	 */
	int (*message_fd)(struct pci_dev *dev, unsigned int vector, uint64_t addr, uint32_t data,
			  int fd);
	/* Optional: writes to PCI_ZONE_LAZY that still wait are to be carried out soon. False:
	 * there are none, ever. */
	bool (*hurry)(struct pci_dev *dev);
};

/* As in the table that the guest sees (PCI 3.0, 6.8.2), native integers. */
struct pci_msix_entry {
	uint32_t addr_lo, addr_hi;
	uint32_t data;
	uint32_t ctrl; /* bit 0: masked */
};

struct pci_signal; /* pci_notify.c */
struct pci_dev {
	const struct pci_dev_ops *ops;
	const struct pci_host_ops *host_ops; /* null until a host attaches */
	void *host;
	struct twx_nic *nic; /* for the log */
	struct twx_loop *loop;
	struct mem_map *mem; /* the host's; never null, empty while there is none */
	struct mem_map *no_mem;
	struct pci_info info;
	struct state_desc state; /* the device's own sections; null sections: none */
	struct state_desc inner; /* those of what it carries (a virtio device), as well */
	bool running;		 /* false while the machine stands still; true at first */
	bool dma_on;		 /* bus master enable, running, and powered */
	/*
	 * The host masks vectors by itself and says by pci_irq_mode() what is in use (vfio-user,
	 * where the VMM keeps the MSI-X table): mask bits and enables in our registers are then not
	 * looked at, but for INTX_DISABLE.
	 */
	bool host_masks;
	enum pci_irq irq_mode; /* what interrupts are sent as now */
	bool intx_wanted;      /* what the device says */
	bool intx_level;       /* what the host was told */
	uint32_t config_size;  /* 256 or 4096 */
	uint8_t config[PCI_CONFIG_MAX];
	uint8_t wmask[PCI_CONFIG_MAX]; /* bits that can be written */
	uint8_t w1c[PCI_CONFIG_MAX];   /* bits that a one clears */
	uint8_t live[PCI_CONFIG_MAX];  /* bits that change by themselves */
	uint8_t initial[PCI_CONFIG_MAX];
	uint8_t last_cap;			    /* offset of the capability added last */
	uint16_t cap_end;			    /* where the next one goes */
	uint8_t msi_cap, msix_cap, pm_cap, exp_cap; /* offsets, 0: none */
	uint32_t msi_pending;			    /* bit per vector, masked or not */
	struct pci_msix_entry *msix;		    /* n_msix */
	uint64_t *msix_pba;			    /* bit per vector, in the same allocation */
	struct pci_signal **signals;		    /* of pci_notify_fd(), by vector; may be null */
	struct state_field msix_fields[3];
	struct state_section msix_sections[2];
	uint8_t *rom;	   /* padded to rom_size */
	uint32_t rom_size; /* a power of two, 0: none */
};

/* For devices. */

/* The table's checks are asserts: an info is our own text. 0 or -ENOMEM. */
int pci_dev_init(struct pci_dev *dev, struct twx_nic *nic, const struct pci_dev_ops *ops,
		 const struct pci_info *info, struct twx_error *e);
void pci_dev_fini(struct pci_dev *dev);

/* romfile, rombar and romsize: options of every PCI NIC, and how they are obeyed; after
 * pci_dev_init(). The macro is for tables that have more. */
#define PCI_OPTIONS                                                                                \
	{ .name = "romfile",                                                                       \
	  .type = TWX_OPT_STR,                                                                     \
	  .help = "option ROM that the firmware finds on the card (none)",                         \
	  .words = "PATH" },                                                                       \
		{ .name = "rombar",                                                                \
		  .type = TWX_OPT_INT,                                                             \
		  .def = "1",                                                                      \
		  .min = 0,                                                                        \
		  .max = 1,                                                                        \
		  .help = "0 hides the option ROM" },                                              \
	{                                                                                          \
		.name = "romsize", .type = TWX_OPT_SIZE,                                           \
		.help = "room for the option ROM, a power of two (what the file needs)"            \
	}
extern const struct twx_opt_desc pci_options[];
int pci_load_rom(struct pci_dev *dev, const struct twx_opts *opts, struct twx_error *e);

/*
 * Adds a capability of @len bytes with the body @body (null: zeros) behind the two bytes of id and
 * link; its offset. @wmask (null: read-only) has the writable bits of the body. The head of the
 * list is the one added last, as in QEMU.
 */
uint8_t pci_add_capability(struct pci_dev *dev, uint8_t id, uint8_t len, const void *body,
			   const void *wmask);

/* What the guest's driver has chosen, by the enable bit alone. */
bool pci_msix_enabled(const struct pci_dev *dev);
/* Level of the interrupt pin, before any masking. */
void pci_set_intx(struct pci_dev *dev, bool level);
/*
 * One message; MSI or MSI-X as is in use. While the vector is masked, or the machine stands still,
 * or (without host_masks) bus master is off, it is pending. Nothing while INTx is in use or no host
 * is there. A vector that there is not is ignored.
 */
void pci_notify(struct pci_dev *dev, unsigned int vector);

/*
 * Signals on the eventfd @fd, which somebody else writes (the kernel's vhost, another process), are
 * notifications of @vector from now on; -1 ends it. MSI-X alone. Masking is obeyed: a signal that
 * comes while the vector is masked is pending. 0 or -errno. The fd stays the caller's.
 */
int pci_notify_fd(struct pci_dev *dev, unsigned int vector, int fd);

/*
 * What was written to a PCI_ZONE_LAZY register may still wait, and the device has begun to miss it:
 * the write comes soon, if there is one. A guest may never access the function again but there, so
 * who depends on such a register asks for as long as it does. False: nothing ever waits.
 */
static inline bool pci_hurry(struct pci_dev *dev)
{
	return dev->host_ops && dev->host_ops->hurry && dev->host_ops->hurry(dev);
}

/* DMA; RAM only, never a device's registers. 0, -EPERM without bus master, -EFAULT outside of
 * memory. */
int pci_dma_read_slow(struct pci_dev *dev, gpa addr, void *buf, uint32_t len);
int pci_dma_write_slow(struct pci_dev *dev, gpa addr, const void *buf, uint32_t len);

static inline int pci_dma_read(struct pci_dev *dev, gpa addr, void *buf, uint32_t len)
{
	const void *p = mem_hit(dev->mem, addr, len);

	if (__builtin_expect(!p || !dev->dma_on, 0))
		return pci_dma_read_slow(dev, addr, buf, len);
	memcpy(buf, p, len);
	return 0;
}

static inline int pci_dma_write(struct pci_dev *dev, gpa addr, const void *buf, uint32_t len)
{
	void *p = mem_hit(dev->mem, addr, len);

	if (__builtin_expect(!p || !dev->dma_on, 0))
		return pci_dma_write_slow(dev, addr, buf, len);
	memcpy(p, buf, len);
	mem_dirty(dev->mem, p, len);
	return 0;
}

/*
 * Views for bursts, valid until the device's loop callback returns or mem_changing(). The pointer
 * is null, and the count -EFAULT, where some of it is not mapped here: copy by pci_dma_read() then.
 * Who writes through a view says mem_dirty(). Null without bus master.
 */
static inline void *pci_dma_ptr(struct pci_dev *dev, gpa addr, uint64_t len)
{
	return dev->dma_on ? mem_ptr(dev->mem, addr, len) : NULL;
}
int pci_dma_iov(struct pci_dev *dev, gpa addr, uint64_t len, struct iovec *iov, unsigned int max);

/* For hosts. */

/* Enters a host, whose memory map is @mem; set host_masks before. Leaving resets the device, with
 * the host's memory still there and its interrupts not, and lets it run should it stand still. */
void pci_attach(struct pci_dev *dev, const struct pci_host_ops *ops, void *host,
		struct mem_map *mem);
void pci_detach(struct pci_dev *dev);

/* Any size and alignment inside the space; -EINVAL beyond it. Writes obey the masks. */
int pci_config_read(struct pci_dev *dev, uint32_t off, void *buf, uint32_t len);
int pci_config_write(struct pci_dev *dev, uint32_t off, const void *buf, uint32_t len);

/*
 * Any size and alignment inside the BAR; -EINVAL beyond it, or for a BAR that is not there. While
 * the command register does not decode the space (or the function sleeps in D3), reads give ones
 * and writes are lost. The ROM is read-only, and can always be read: VMMs fetch it before there is
 * a guest; who dispatches addresses asks pci_bar_addr().
 */
int pci_bar_read(struct pci_dev *dev, unsigned int bar, uint64_t off, void *buf, uint32_t len);
int pci_bar_write(struct pci_dev *dev, unsigned int bar, uint64_t off, const void *buf,
		  uint32_t len);
uint64_t pci_bar_size(const struct pci_dev *dev, unsigned int bar); /* 0: none */
/* Where the guest put it; false while not decoded. */
bool pci_bar_addr(const struct pci_dev *dev, unsigned int bar, uint64_t *addr);

/* With host_masks: which kind of interrupt the VMM has set up. */
void pci_irq_mode(struct pci_dev *dev, enum pci_irq mode);
/* Stops and restarts the device around migration; while stopped it moves no frame and no bit of
 * memory. */
void pci_run(struct pci_dev *dev, bool running);
void pci_reset(struct pci_dev *dev);

/* Before and after every change of the map that pci_attach() was given. */
void pci_mem_changing(struct pci_dev *dev);
void pci_mem_changed(struct pci_dev *dev);

/* Configuration space, MSI-X table and the device's own sections. */
int pci_save(struct pci_dev *dev, uint8_t **out, size_t *len);
int pci_load(struct pci_dev *dev, const uint8_t *data, size_t len, struct twx_error *e);

#endif
