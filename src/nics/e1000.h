/* SPDX-License-Identifier: BSD-3-Clause */
/* e1000: the state that its files share. */
#ifndef NICS_E1000_H
#define NICS_E1000_H

#include <stdbool.h>
#include <stdint.h>

#include <twinax/net.h>

#include "base/endian.h"
#include "bus/pci.h"
#include "nics/e1000_regs.h"
#include "nics/e1000_ring.h"

#define E1000_MMIO_SIZE 0x20000
#define E1000_IO_SIZE 64
#define E1000_EEPROM_WORDS 64
#define E1000_PHY_REGS 32
#define E1000_N_SECTIONS 7

/* The models differ in their ids only. */
struct e1000_kind {
	const char *model;
	uint16_t device, phy_id2;
};

/* Options without which registers are not there. */
enum e1000_gate { E1000_ALWAYS = 0, E1000_EXTRA = 1, E1000_MITIG = 2 };

/* Serial EEPROM behind EECD: where the Microwire protocol stands (8254x manual, 5.3). */
enum e1000_ee_phase { EE_IDLE, EE_COMMAND, EE_READING };
struct e1000_eeprom_bus {
	uint8_t phase; /* enum e1000_ee_phase */
	uint8_t n;     /* bits of the command so far, or of the word still to come */
	uint8_t addr;  /* of the word that is being read */
	uint8_t out;   /* level of DO */
	uint16_t shift;
};

/* Interrupt moderation, see e1000_irq.c. Times are the device's (e1000_now). */
struct e1000_irq {
	uint32_t held;		 /* causes that wait for a delay timer before they enter ICR */
	uint64_t next;		 /* no rising edge before this time */
	uint64_t rx_abs, tx_abs; /* when RADV and TADV end, counted from the first held cause */
	uint64_t rx_due, tx_due; /* when what is held enters ICR */
	struct twx_timer timer;
};

struct e1000 {
	struct pci_dev pci; /* first: the host sees only this */
	struct twx_nic *nic;
	struct twx_port *port;
	const struct e1000_kind *kind;
	bool autonegotiation, init_vet, migrate_tso_props;
	bool cable; /* as last heard of: not link_down */
	bool pbm_used;
	uint8_t gated; /* enum e1000_gate: options that are off */
	struct e1000_eeprom_bus ee;
	uint32_t reg[E1000_N_SLOTS];
	uint16_t phy[E1000_PHY_REGS];
	uint16_t eeprom[E1000_EEPROM_WORDS];
	uint32_t ioaddr;      /* of the I/O BAR's window */
	uint64_t clock;	      /* device time while it stands still, and when it was saved */
	uint64_t clock_off;   /* the loop's time less the device's while it runs */
	uint64_t autoneg_due; /* device time; 0: no negotiation is under way */
	struct twx_timer autoneg_timer;
	struct twx_task task; /* end of round: transmit again, announce readiness */
	struct e1000_irq irq;
	struct state_section sections[E1000_N_SECTIONS + 1]; /* as migrate_tso_props wants them */
	struct e1000_tx tx;
	struct e1000_rx rx;
	/* Last: its pages are not touched until the guest writes there, which none does. */
	uint32_t pbm[E1000_PBM_WORDS];
};

/*
 * The device's clock: ns, standing still with the machine, so that every deadline keeps its
 * distance when a guest is stopped or moved. Deadlines are kept in it; timers are derived.
 */
static inline uint64_t e1000_now(const struct e1000 *d)
{
	return d->pci.running ? twx_loop_now(d->pci.loop) - d->clock_off : d->clock;
}
void e1000_timer_set(struct e1000 *d, struct twx_timer *t, uint64_t due);

/* e1000.c: open, PCI, reset, clock. */
void e1000_defer(struct e1000 *d);     /* runs the task at the end of this round */
void e1000_reset_mac(struct e1000 *d); /* CTRL.RST: everything but PHY and configuration space */

/* e1000_regs.c: one access to a register; @off a multiple of 4 below E1000_MMIO_SIZE. */
uint32_t e1000_reg_read(struct e1000 *d, uint32_t off);
void e1000_reg_write(struct e1000 *d, uint32_t off, uint32_t value);
void e1000_regs_reset(struct e1000 *d);
int e1000_regs_check(const struct e1000 *copy, struct twx_error *e);
extern const struct state_field e1000_reg_fields[];

/* e1000_phy.c: PHY, auto-negotiation, and the link that STATUS shows. */
void e1000_phy_reset(struct e1000 *d);	    /* as after power-on: the link is there */
void e1000_phy_hard_reset(struct e1000 *d); /* CTRL.PHY_RST: negotiates anew */
/* What MDIC reads afterwards; may raise MDAC. */
uint32_t e1000_mdic(struct e1000 *d, uint32_t value);
bool e1000_phy_loopback(const struct e1000 *d);
void e1000_autoneg_done(struct twx_timer *t);
void e1000_link_apply(struct e1000 *d);	 /* the cable was plugged in or out: negotiation, LSC */
void e1000_link_status(struct e1000 *d); /* STATUS follows the PHY, and what CTRL forces */
int e1000_phy_check(const struct e1000 *copy, struct twx_error *e);
void e1000_phy_loaded(struct e1000 *d);

/* e1000_eeprom.c */
void e1000_eeprom_init(struct e1000 *d);
void e1000_eeprom_load(struct e1000 *d); /* what the MAC reads by itself: its address */
uint32_t e1000_eecd_read(const struct e1000 *d);
void e1000_eecd_write(struct e1000 *d, uint32_t value);
uint32_t e1000_eerd(const struct e1000 *d);
int e1000_eeprom_check(const struct e1000 *copy, struct twx_error *e);

/*
 * e1000_irq.c. When the line follows a cause depends on ITR and on the delay timers. The data path
 * calls one of these once per burst.
 */
void e1000_cause(struct e1000 *d, uint32_t causes);
/* @ide: every descriptor with RS asked for the delay of TIDV and TADV; else TXDW is due at once. */
void e1000_cause_tx(struct e1000 *d, uint32_t causes, bool ide);
/* RXT0 waits for RDTR and RADV where the driver has set them; other causes never wait. */
void e1000_cause_rx(struct e1000 *d, uint32_t causes);
void e1000_irq_flush_rx(struct e1000 *d);   /* RDTR.FPD: RXT0 is due now */
uint32_t e1000_irq_causes(struct e1000 *d); /* ICR as of now */
void e1000_irq_update(struct e1000 *d);	    /* after ICR, IMS, ITR changed */
void e1000_irq_throttle(struct e1000 *d);   /* ITR was written */
void e1000_irq_reset(struct e1000 *d);
void e1000_irq_timer(struct twx_timer *t);
int e1000_irq_check(const struct e1000 *copy, struct twx_error *e);

/*
 * e1000_stats.c. Lengths without FCS; the counters' own rules (13.7) are applied there.
 */
void e1000_count_tx(struct e1000 *d, const uint8_t *dst, uint32_t len);
/* @n segments of a TSO frame: @n - 1 of @len bytes, the last of @last. TSCTC too. */
void e1000_count_tso(struct e1000 *d, const uint8_t *dst, uint32_t len, uint32_t last, uint32_t n);
void e1000_count_rx(struct e1000 *d, const uint8_t *dst, uint32_t len);
void e1000_count(struct e1000 *d, enum e1000_stat stat);      /* one more, sticking at the top */
uint32_t e1000_stat_read(struct e1000 *d, unsigned int stat); /* offset in 0x4000 / 4 */

/* e1000_tx.c */
void e1000_tx_start(struct e1000 *d); /* TDT or TCTL was written */
void e1000_tx_poll(struct e1000 *d);  /* from the task: what the last doorbell's budget left */
void e1000_tx_reset(struct e1000 *d);
void e1000_tx_resume(struct twx_port *port);
void e1000_tx_wait(struct e1000 *d); /* the clock runs again, maybe for a peer that refused */
void e1000_tx_impatient(struct twx_timer *t);

/* e1000_rx.c */
int e1000_rx_receive(struct twx_port *port, const struct twx_frame *frames, int n);
/* A frame that loops back (PHY or MAC loopback); never through the peer. */
void e1000_rx_loopback(struct e1000 *d, const struct twx_frame *frames, int n);
/* RCTL, RXCSUM, VET, CTRL, the link changed: caps, and whoever waits tries again. */
void e1000_rx_config(struct e1000 *d);
void e1000_rx_refill(struct e1000 *d); /* RDT was written, or receiving became possible */
void e1000_rx_poll(struct e1000 *d);   /* from the task: tells the core that frames are welcome */
void e1000_rx_hurry(struct twx_timer *t);

/* e1000_filter.c: whether the guest wants the frame; @head has 14 bytes at least, tag in place or
 * in @vlan. */
bool e1000_filter_pass(const struct e1000 *d, const uint8_t *head, uint32_t len, bool has_vlan,
		       uint16_t vlan);

/* e1000_state.c, and what the data path adds to its table. */
extern const struct state_field e1000_tx_fields[];
void e1000_tx_loaded(void *obj);
void e1000_state_init(struct e1000 *d);

extern const struct twx_nic_model e1000_model, e1000_82540em_model, e1000_82544gc_model,
	e1000_82545em_model;

static inline struct e1000 *e1000_of(struct twx_port *port)
{
	return ((struct twx_nic *)port->owner)->priv;
}

#endif
