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

/* The models differ in their ids only. */
struct e1000_kind {
	uint16_t device;
	uint8_t revision;
	uint16_t phy_id2;
};

/* Serial EEPROM behind EECD: where the Microwire protocol stands (8254x manual, 5.3). */
struct e1000_eeprom_bus {
	uint32_t eecd; /* the pins as last written */
	uint16_t shift_in, shift_out;
	uint8_t bits_in, bits_out;
	uint8_t reading;
};

struct e1000 {
	struct pci_dev pci; /* first: the host sees only this */
	struct twx_nic *nic;
	struct twx_port *port;
	const struct e1000_kind *kind;
	bool autonegotiation, mitigation, extra_mac_registers, init_vet, migrate_tso_props;
	uint32_t reg[E1000_N_SLOTS];
	uint32_t *pbm; /* packet buffer memory as plain storage, made at the first write */
	uint16_t phy[32];
	uint16_t eeprom[E1000_EEPROM_WORDS];
	struct e1000_eeprom_bus ee;
	uint32_t ioaddr; /* of the I/O BAR's window */
	struct twx_task
		task; /* end of round: transmit again, announce readiness, flush interrupts */
	struct twx_timer autoneg_timer;
	struct e1000_irq irq;
	struct e1000_tx tx;
	struct e1000_rx rx;
};

/* e1000.c: open, PCI, reset, link. */
void e1000_defer(struct e1000 *d);	/* runs the task at the end of this round */
void e1000_link_apply(struct e1000 *d); /* link_down, PHY and auto-negotiation -> STATUS.LU, LSC */

/* e1000_regs.c: one access to a register; @off a multiple of 4 below E1000_MMIO_SIZE. */
uint32_t e1000_reg_read(struct e1000 *d, uint32_t off);
void e1000_reg_write(struct e1000 *d, uint32_t off, uint32_t value);
void e1000_regs_reset(struct e1000 *d);

/* e1000_phy.c */
void e1000_phy_reset(struct e1000 *d);
uint32_t e1000_mdic(struct e1000 *d,
		    uint32_t value); /* what MDIC reads afterwards; may raise MDAC */
bool e1000_phy_loopback(const struct e1000 *d);
void e1000_autoneg_start(struct e1000 *d);

/* e1000_eeprom.c */
void e1000_eeprom_init(struct e1000 *d);
uint32_t e1000_eecd_read(const struct e1000 *d);
void e1000_eecd_write(struct e1000 *d, uint32_t value);
uint32_t e1000_eerd(const struct e1000 *d, uint32_t value);

/*
 * e1000_irq.c. A cause is set at once; when the line follows depends on ITR and on the delay
 * timers. The data path calls one of these once per burst.
 */
void e1000_cause(struct e1000 *d, uint32_t causes);
/* @ide: a descriptor asked for the delay of TIDV and TADV; else TXDW is due at once. */
void e1000_cause_tx(struct e1000 *d, uint32_t causes, bool ide);
/* RXT0 waits for RDTR and RADV where the driver has set them; RXDMT0 and RXO never wait. */
void e1000_cause_rx(struct e1000 *d, uint32_t causes);
void e1000_irq_update(struct e1000 *d); /* after ICR, IMS, ITR changed */
void e1000_irq_reset(struct e1000 *d);

/* e1000_stats.c. Lengths without FCS; the counters' own rules (13.7) are applied there. */
void e1000_count_tx(struct e1000 *d, const uint8_t *dst, uint32_t len);
/* @n segments of a TSO frame: @n - 1 of @len bytes, the last of @last. */
void e1000_count_tso(struct e1000 *d, const uint8_t *dst, uint32_t len, uint32_t last, uint32_t n);
void e1000_count_rx(struct e1000 *d, const uint8_t *dst, uint32_t len);
void e1000_count(
	struct e1000 *d,
	unsigned int stat); /* one more, sticking at the top; stat = offset in 0x4000 / 4 */
uint32_t e1000_stat_read(struct e1000 *d, unsigned int stat);

/* e1000_tx.c */
void e1000_tx_start(struct e1000 *d); /* TDT or TCTL was written */
void e1000_tx_poll(struct e1000 *d);  /* from the task: what the last doorbell's budget left */
void e1000_tx_reset(struct e1000 *d);
void e1000_tx_resume(struct twx_port *port);

/* e1000_rx.c */
int e1000_rx_receive(struct twx_port *port, const struct twx_frame *frames, int n);
/* A frame that loops back (PHY or MAC loopback); never through the peer. */
void e1000_rx_loopback(struct e1000 *d, const struct twx_frame *frames, int n);
void e1000_rx_config(
	struct e1000 *d); /* RCTL, RXCSUM, addresses or link changed: caps and buffer size */
void e1000_rx_refill(struct e1000 *d); /* RDT was written, or receiving became possible */
void e1000_rx_poll(struct e1000 *d);   /* from the task: tells the core that frames are welcome */
void e1000_rx_reset(struct e1000 *d);
void e1000_mem_stale(struct e1000 *d); /* views of guest memory are no longer good */

/* e1000_filter.c: whether the guest wants the frame; @head has 14 bytes at least, tag in place or
 * in @vlan. */
bool e1000_filter_pass(const struct e1000 *d, const uint8_t *head, uint32_t len, bool has_vlan,
		       uint16_t vlan);

/* Sections of the data path for the state table (e1000_state.c has the list). */
extern const struct state_field e1000_tx_fields[], e1000_rx_fields[];
int e1000_tx_check(const void *copy, struct twx_error *e);
int e1000_rx_check(const void *copy, struct twx_error *e);
void e1000_tx_loaded(void *obj);
void e1000_rx_loaded(void *obj);
extern const struct state_section e1000_sections[];

extern const struct twx_nic_model e1000_model, e1000_82540em_model, e1000_82544gc_model,
	e1000_82545em_model;

static inline struct e1000 *e1000_of(struct twx_port *port)
{
	return ((struct twx_nic *)port->owner)->priv;
}

#endif
