/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory of which a part goes away. */
#include "lost_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"

volatile sig_atomic_t lost_faults;
static struct twx_net *volatile fault_net;

static void fault(int sig, siginfo_t *si, void *context)
{
	if (si->si_code > 0 && twx_net_fault(fault_net, si->si_addr))
		lost_faults++;
	else
		signal(sig, SIG_DFL);
}

static const struct fault_area *find(struct fault_guard *g, uintptr_t addr)
{
	struct lost_memory *l = container_of(g, struct lost_memory, guard);

	return fault_area_has(&l->area, addr) ? &l->area : NULL;
}

static void lost(struct fault_guard *g)
{
}

static void told(struct twx_task *t)
{
	struct lost_memory *l = container_of(t, struct lost_memory, guard.task);

	l->told++;
	fault_guard_clear(&l->guard);
}

void lost_open(struct lost_memory *l, struct twx_net *net, size_t len)
{
	*l = (struct lost_memory){
		.net = net,
		.fd = memfd_create("guest", MFD_CLOEXEC),
		.guard = { .loop = twx_net_loop(net), .task.fn = told, .find = find, .lost = lost },
		.area = { .len = len, .unit = (size_t)sysconf(_SC_PAGESIZE) },
	};
	assert_int_equal(ftruncate(l->fd, (off_t)len), 0);
	l->area.base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, l->fd, 0);
	assert_ptr_not_equal(l->area.base, MAP_FAILED);
	l->at = l->area.base;
	lost_faults = 0;
	fault_net = net;
	fault_guard_add(net, &l->guard);
}

void lost_cut(struct lost_memory *l, size_t len)
{
	struct sigaction sa = { .sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	assert_int_equal(sigaction(SIGBUS, &sa, NULL), 0);
	assert_int_equal(ftruncate(l->fd, (off_t)len), 0);
}

void lost_close(struct lost_memory *l)
{
	fault_guard_del(l->net, &l->guard);
	munmap(l->area.base, l->area.len);
	close(l->fd);
	signal(SIGBUS, SIG_DFL);
}
