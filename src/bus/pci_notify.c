/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts that somebody else signals: eventfds of MSI-X vectors, written by the kernel's vhost
 * or by another process.
 *
 * While the vector could be sent, the eventfd is the host's, where it can take it: then a signal is
 * the message, and this process sees neither. Else it is watched here, and a signal is
 * pci_notify(), which knows of masks and pending bits. After every change of the registers
 * pci_signals_update() moves it between the two. What was signalled before the host has it is read
 * here first, and what came while it is taken back is read right after; the eventfd counts, so that
 * nothing in between is lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/evfd.h"
#include "base/macros.h"
#include "bus/pci_priv.h"

struct pci_signal {
	struct twx_watch watch; /* added unless it is the host's */
	struct pci_dev *dev;
	unsigned int vector;
	int fd;
	bool direct; /* the host's, for this message: */
	uint64_t addr;
	uint32_t data;
};

static void signal_take(struct pci_signal *s)
{
	if (evfd_take(s->fd) > 0)
		pci_notify(s->dev, s->vector);
}

static void signal_ready(struct twx_watch *w, uint32_t events)
{
	struct pci_signal *s = container_of(w, struct pci_signal, watch);
	int rc = evfd_take(s->fd);

	if (rc > 0)
		pci_notify(s->dev, s->vector);
	else if (rc < 0)
		twx_watch_del(w);
}

/* Back from the host. */
static void signal_withdraw(struct pci_signal *s)
{
	struct pci_dev *dev = s->dev;

	if (!s->direct)
		return;
	s->direct = false;
	(void)dev->host_ops->message_fd(dev, s->vector, s->addr, s->data, -1);
	signal_take(s);
}

static bool signal_same(const struct pci_signal *s, const struct pci_msix_entry *entry)
{
	return s->addr == ((uint64_t)entry->addr_hi << 32 | entry->addr_lo) &&
	       s->data == entry->data;
}

/* To the host, if it wants it. */
static bool signal_hand_over(struct pci_signal *s)
{
	struct pci_dev *dev = s->dev;
	const struct pci_msix_entry *entry = &dev->msix[s->vector];

	if (!dev->host_ops || !dev->host_ops->message_fd || dev->host_masks)
		return false;
	signal_take(s);
	s->addr = (uint64_t)entry->addr_hi << 32 | entry->addr_lo;
	s->data = entry->data;
	s->direct = dev->host_ops->message_fd(dev, s->vector, s->addr, s->data, s->fd) == 0;
	return s->direct;
}

static int signal_update(struct pci_signal *s)
{
	struct pci_dev *dev = s->dev;
	bool open = pci_msix_open(dev, s->vector);

	if (s->direct && (!open || !signal_same(s, &dev->msix[s->vector])))
		signal_withdraw(s);
	if (s->direct || (open && signal_hand_over(s))) {
		twx_watch_del(&s->watch);
		return 0;
	}
	if (s->watch.loop)
		return 0;
	return twx_watch_add(&s->watch, dev->loop, s->fd, EPOLLIN, signal_ready);
}

void pci_signals_update(struct pci_dev *dev)
{
	for (uint32_t i = 0; dev->signals && i < dev->info.n_msix; i++)
		if (dev->signals[i])
			(void)signal_update(dev->signals[i]);
}

void pci_signals_withdraw(struct pci_dev *dev)
{
	for (uint32_t i = 0; dev->signals && i < dev->info.n_msix; i++)
		if (dev->signals[i])
			signal_withdraw(dev->signals[i]);
}

static void signal_end(struct pci_dev *dev, unsigned int vector)
{
	struct pci_signal *s = dev->signals ? dev->signals[vector] : NULL;

	if (!s)
		return;
	signal_withdraw(s);
	twx_watch_del(&s->watch);
	signal_take(s);
	dev->signals[vector] = NULL;
	free(s);
}

void pci_signals_fini(struct pci_dev *dev)
{
	for (uint32_t i = 0; dev->signals && i < dev->info.n_msix; i++)
		signal_end(dev, i);
	free(dev->signals);
	dev->signals = NULL;
}

int pci_notify_fd(struct pci_dev *dev, unsigned int vector, int fd)
{
	struct pci_signal *s;
	int rc;

	if (vector >= dev->info.n_msix)
		return -EINVAL;
	signal_end(dev, vector);
	if (fd < 0)
		return 0;
	if (fcntl(fd, F_GETFD) < 0)
		return -errno;
	if (!dev->signals)
		dev->signals = calloc(dev->info.n_msix, sizeof(struct pci_signal *));
	s = dev->signals ? calloc(1, sizeof(*s)) : NULL;
	if (!s)
		return -ENOMEM;
	s->dev = dev;
	s->vector = vector;
	s->fd = fd;
	rc = signal_update(s);
	if (rc < 0) {
		free(s);
		return rc;
	}
	dev->signals[vector] = s;
	return 0;
}
