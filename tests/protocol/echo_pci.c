/* SPDX-License-Identifier: BSD-3-Clause */
/* A PCI NIC without a network: registers, a DMA engine, interrupts; lends its DMA range to who
 * sends to it. */
#include "vfio_client.h"

#include <errno.h>
#include <stdlib.h>

static struct echo_pci *echo_of(struct pci_dev *dev)
{
	return (struct echo_pci *)dev;
}

static const struct {
	uint32_t reg;
	size_t off;
	bool write;
} plain[] = {
	{ EP_SCRATCH, offsetof(struct echo_pci, scratch), true },
	{ EP_WRITES, offsetof(struct echo_pci, writes), false },
	{ EP_ADDR_LO, offsetof(struct echo_pci, addr_lo), true },
	{ EP_ADDR_HI, offsetof(struct echo_pci, addr_hi), true },
	{ EP_LEN, offsetof(struct echo_pci, len), true },
	{ EP_RESULT, offsetof(struct echo_pci, result), false },
	{ EP_SUM, offsetof(struct echo_pci, sum), false },
};

static void dma(struct echo_pci *s, uint32_t what)
{
	gpa at = { s->addr_lo | (uint64_t)s->addr_hi << 32 };
	uint32_t len = s->len < EP_DATA ? s->len : EP_DATA;
	int err = what == 2 ? pci_dma_write(&s->dev, at, s->data, len)
			    : pci_dma_read(&s->dev, at, s->data, len);

	s->result = (uint32_t)-err;
}

static uint64_t reg_read(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size)
{
	(void)bar;
	(void)size;
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (plain[i].reg == off)
			return *(uint32_t *)(void *)((char *)dev + plain[i].off);
	if (off == EP_DMA_READ) {
		dma(echo_of(dev), 1);
		return echo_of(dev)->result;
	}
	return off == EP_INTX ? dev->intx_wanted : 0;
}

static void reg_write(struct pci_dev *dev, unsigned int bar, uint64_t off, unsigned int size,
		      uint64_t value, uint64_t mask)
{
	struct echo_pci *s = echo_of(dev);
	uint32_t v = (uint32_t)value;

	(void)bar;
	(void)size;
	s->writes++;
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		uint32_t *reg = (uint32_t *)(void *)((char *)dev + plain[i].off);

		if (plain[i].reg == off && plain[i].write)
			*reg = (uint32_t)((*reg & ~mask) | (v & mask));
	}
	if (off == EP_DMA)
		dma(s, v);
	else if (off == EP_INTX)
		pci_set_intx(dev, v & 1);
	else if (off == EP_VECTOR)
		pci_notify(dev, v);
	else if (off == EP_SUM)
		s->sum = s->sum * 2 + v;
}

static void echo_reset(struct pci_dev *dev)
{
	struct echo_pci *s = echo_of(dev);

	s->resets++;
	s->scratch = s->writes = s->addr_lo = s->addr_hi = s->len = s->result = s->sum = 0;
	pci_set_intx(dev, false);
}

static void echo_run(struct pci_dev *dev, bool running)
{
	echo_of(dev)->runs++;
	echo_of(dev)->stopped = !running;
}

static const struct pci_dev_ops ops = {
	.bar_read = reg_read,
	.bar_write = reg_write,
	.reset = echo_reset,
	.run = echo_run,
};

static const struct pci_info info = {
	.vendor = 0x1af4,
	.device = 0x10ff,
	.class_code = 0x020000,
	.int_pin = 1,
	.bars = {
		[0] = { .kind = PCI_BAR_MEM32, .size = EP_BAR0, .min = 4, .max = 4 },
		[1] = { .kind = PCI_BAR_IO, .size = EP_BAR1, .min = 4, .max = 4 },
		[2] = { .kind = PCI_BAR_MEM64, .size = EP_BAR2, .min = 4, .max = 4 },
	},
	.n_msix = EP_VECTORS,
	.msix_bar = 2,
	.msix_pba_off = 4096,
	.n_msi = EP_MSI,
	.msi_flags = PCI_MSI_FLAGS_64BIT,
};

static const struct state_field fields[] = {
	STATE_U32(struct echo_pci, scratch),
	STATE_U32(struct echo_pci, addr_lo),
	STATE_U32(struct echo_pci, addr_hi),
	STATE_U32(struct echo_pci, len),
	{ 0 },
};

static int check(const void *copy, struct twx_error *e)
{
	const struct echo_pci *s = copy;

	return s->len <= EP_DATA ? 0 : twx_error_set(e, EINVAL, "a length of %u", s->len);
}

static const struct state_section sections[] = {
	{ .name = "echo-pci", .version = 1, .fields = fields, .check = check },
	{ 0 },
};

static int echo_open(struct twx_nic *nic, const struct twx_opts *opts, struct twx_error *e)
{
	struct echo_pci *s = nic->priv;
	int err = pci_dev_init(&s->dev, nic, &ops, &info, e);

	if (err < 0)
		return err;
	s->dev.state = (struct state_desc){ sections, s, sizeof(*s) };
	err = pci_load_rom(&s->dev, opts, e);
	if (err == 0)
		err = twx_nic_add_port(nic, e) != NULL ? 0 : -ENOMEM;
	if (err < 0)
		pci_dev_fini(&s->dev);
	return err;
}

static void echo_close(struct twx_nic *nic)
{
	pci_dev_fini(nic->priv);
}

/* Frames go to where the registers say. */
static int echo_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct echo_pci *s = ((struct twx_nic *)port->owner)->priv;
	gpa at = { s->addr_lo | (uint64_t)s->addr_hi << 32 };

	for (int i = 0; i < n && s->len > 0; i++)
		(void)pci_dma_write(&s->dev, at, frames[i].iov[0].iov_base,
				    (uint32_t)frames[i].iov[0].iov_len);
	return n;
}

/* What is lent is what the registers say. */
static int echo_reserve(struct twx_port *port, size_t min, size_t want, struct twx_lease *lease)
{
	struct echo_pci *s = ((struct twx_nic *)port->owner)->priv;
	gpa at = { s->addr_lo | (uint64_t)s->addr_hi << 32 };
	int n = pci_dma_iov(&s->dev, at, s->len, lease->iov, TWX_LEASE_IOV);

	(void)want;
	if (n <= 0 || s->len < min)
		return -EOPNOTSUPP;
	lease->n_iov = (uint32_t)n;
	lease->len = s->len;
	return 0;
}

static void echo_commit(struct twx_port *port, struct twx_lease *lease, size_t len,
			const struct twx_meta *meta)
{
	struct echo_pci *s = ((struct twx_nic *)port->owner)->priv;

	(void)meta;
	for (uint32_t i = 0; i < lease->n_iov && len > 0; i++) {
		size_t n = lease->iov[i].iov_len < len ? lease->iov[i].iov_len : len;

		mem_dirty(s->dev.mem, lease->iov[i].iov_base, n);
		len -= n;
	}
}

static void echo_abort(struct twx_port *port, struct twx_lease *lease)
{
	(void)port;
	(void)lease;
}

static const struct twx_port_ops port_ops = {
	.receive = echo_receive,
	.reserve = echo_reserve,
	.commit = echo_commit,
	.abort = echo_abort,
};

const struct twx_nic_model echo_pci_model = {
	.name = "echo-pci",
	.help = "registers without a network",
	.bus = "pci",
	.options = pci_options,
	.port_ops = &port_ops,
	.priv_size = sizeof(struct echo_pci),
	.open = echo_open,
	.close = echo_close,
};
