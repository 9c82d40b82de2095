/* SPDX-License-Identifier: BSD-3-Clause */
/* A board without CPUs: memory, ports and interrupt inputs that remember what came. */
#include "board_kit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop_virtual.h"

static void gsi(struct twx_machine *m, unsigned int n, bool level)
{
	struct board *b = (struct board *)m;

	if (n >= MACHINE_GSIS)
		abort();
	b->n_sets++;
	if (level && !b->gsi[n])
		b->edges[n]++;
	b->gsi[n] = level;
}

static const struct accel accel_fake = { .name = "fake", .gsi = gsi };

static void ask_run(struct twx_task *t)
{
	(void)t;
}

static int add_ram(struct board *b, uint64_t addr, uint64_t len)
{
	int fd = len ? memfd_create("board", MFD_CLOEXEC) : -1;

	if (len == 0)
		return 0;
	if (fd < 0 || ftruncate(fd, (off_t)len) < 0)
		return -errno;
	return mem_add_take(&b->ram, addr, len, 0, fd, 0);
}

int board_kit_open(struct board *b, uint64_t low, uint64_t high)
{
	struct twx_net_config c = { .size = sizeof(c) };
	int rc;

	memset(b, 0, sizeof(*b));
	rc = twx_loop_new(&b->m.loop, NULL);
	c.loop = b->m.loop;
	if (rc == 0)
		rc = twx_net_new(&b->net, &c, NULL);
	if (rc < 0)
		return rc;
	mem_init(&b->ram);
	as_init(&b->m.mem, "memory", UINT64_MAX);
	as_init(&b->m.io, "I/O", 0xffff);
	b->m.net = b->net;
	b->m.accel = &accel_fake;
	b->m.ram = &b->ram;
	b->m.ram_low = low;
	b->m.ram_high = high;
	b->m.n_cpus = 1;
	b->m.ask_task.fn = ask_run;
	rc = add_ram(b, 0, low);
	return rc ? rc : add_ram(b, MEM_HIGH, high);
}

void board_kit_close(struct board *b)
{
	while (b->m.devs) {
		struct board_dev *d = b->m.devs;

		b->m.devs = d->next;
		d->free(d->opaque);
	}
	board_settle(b);
	if (b->clock.loop) {
		twx_watch_del(&b->clock);
		close(b->clock.fd);
		loop_virtual_stop(b->m.loop);
	}
	as_fini(&b->m.io);
	as_fini(&b->m.mem);
	mem_fini(&b->ram);
	twx_net_free(b->net);
	twx_loop_free(b->m.loop);
	free(b->m.kernel);
	free(b->m.initrd);
	free(b->m.append);
}

uint32_t board_in(struct board *b, unsigned int port, unsigned int size)
{
	return (uint32_t)as_read(&b->m.io, port, size);
}

void board_out(struct board *b, unsigned int port, unsigned int size, uint32_t value)
{
	as_write(&b->m.io, port, size, value);
}

struct board_dev *board_dev_named(struct board *b, const char *name)
{
	struct board_dev *d = b->m.devs;

	while (d && strcmp(d->name, name) != 0)
		d = d->next;
	return d;
}

unsigned int board_asked(struct board *b)
{
	board_settle(b);
	atomic_store(&b->m.ask_pending, false);
	return atomic_exchange(&b->m.ask, 0);
}

void board_settle(struct board *b)
{
	for (int i = 0; i < 16; i++)
		(void)twx_loop_poll(b->m.loop, 0);
}

static void clock_moves(struct twx_watch *w, uint32_t events)
{
	struct board *b = (struct board *)((char *)w - offsetof(struct board, clock));
	uint64_t n;

	(void)events;
	if (read(w->fd, &n, sizeof(n)) != sizeof(n))
		abort();
	while (!loop_virtual_advance(w->loop, b->until, 1000))
		;
}

void board_advance(struct board *b, uint64_t ns)
{
	uint64_t one = 1;

	if (!b->clock.loop) {
		loop_virtual_start(b->m.loop);
		if (twx_watch_add(&b->clock, b->m.loop, eventfd(0, EFD_NONBLOCK), EPOLLIN,
				  clock_moves) < 0)
			abort();
	}
	b->until = twx_loop_now(b->m.loop) + ns;
	if (write(b->clock.fd, &one, sizeof(one)) != sizeof(one))
		abort();
	board_settle(b);
}

int board_chardev(struct board *b)
{
	struct twx_chardev *c;
	char text[64];
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) < 0)
		abort();
	snprintf(text, sizeof(text), "fd,id=c0,fd=%d", fds[0]);
	if (twx_chardev_new(&c, b->net, text, NULL) < 0)
		abort();
	return fds[1];
}
