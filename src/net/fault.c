/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that its owner truncated.
 *
 * A front end shares its guest's memory as files, and may make such a file shorter at any time.
 * Touching a page behind the new end raises SIGBUS in the thread that touches it, in the middle of
 * whatever it does: a copy of a frame, an index of a ring, a bit of the dirty log. The library
 * installs no signal handlers; the program's handler calls twx_net_fault(), which
 *
 *   asks each guard (a connection of a host) whether the address lies in memory that it maps,
 *   puts zeros over that whole mapping, so that the access goes on and finds those, and
 *   posts the guard's task, which ends the connection from the loop.
 *
 * Until that task runs the device works on zeros, which are to it what any other nonsense of a
 * guest is. The whole mapping is replaced, not the page: one fault then covers a burst, and a
 * mapping of huge pages cannot be replaced in part. Where the kernel refuses so much memory (strict
 * overcommit) the one page has to do.
 *
 * The kernel itself gets no signal: a system call with such memory fails with EFAULT. A backend
 * that sees it says so by fault_report().
 *
 * Everything here happens on one thread, at an access to shared memory. The list of guards and the
 * tables that find() reads are private memory, so no access to them is ever interrupted half way.
 * No allocation, no lock, no formatting; mmap() and write() are bare system calls.
 */
#include "net/fault.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/macros.h"
#include "net/net_priv.h"

void fault_guard_add(struct twx_net *net, struct fault_guard *g)
{
	g->next = net->guards;
	net->guards = g;
}

void fault_guard_del(struct twx_net *net, struct fault_guard *g)
{
	struct fault_guard **p;

	for (p = &net->guards; *p; p = &(*p)->next) {
		if (*p == g) {
			*p = g->next;
			break;
		}
	}
	fault_guard_clear(g);
}

void fault_guard_clear(struct fault_guard *g)
{
	if (!atomic_exchange(&g->hit, false))
		return;
	twx_loop_undefer(g->loop, &g->task);
}

static void guard_hit(struct twx_net *net, struct fault_guard *g)
{
	atomic_fetch_add_explicit(&net->n_faults, 1, memory_order_relaxed);
	g->lost(g);
	if (!atomic_exchange(&g->hit, true))
		twx_loop_post(g->loop, &g->task);
}

static bool map_zeros(void *at, size_t len)
{
	return mmap(at, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == at;
}

static bool area_cover(const struct fault_area *a, uintptr_t addr)
{
	/* Pages are counted from the mapping's start: a large one need not be aligned here. */
	size_t off = (addr - (uintptr_t)a->base) & ~(a->unit - 1);

	return map_zeros(a->base, a->len) || map_zeros((char *)a->base + off, a->unit);
}

/* The guard whose memory this is, and its mapping. */
static struct fault_guard *guard_of(struct twx_net *net, uintptr_t addr,
				    const struct fault_area **area)
{
	struct fault_guard *g;

	for (g = net->guards; g; g = g->next) {
		*area = g->find(g, addr);
		if (*area)
			return g;
	}
	return NULL;
}

bool twx_net_fault(struct twx_net *net, const void *addr)
{
	const struct fault_area *area;
	struct fault_guard *g = guard_of(net, (uintptr_t)addr, &area);
	int saved = errno;
	bool ok = g && area_cover(area, (uintptr_t)addr);

	if (ok)
		guard_hit(net, g);
	errno = saved;
	return ok;
}

void fault_report(struct twx_net *net, const struct iovec *iov, size_t n)
{
	const struct fault_area *area;

	for (size_t i = 0; i < n; i++) {
		struct fault_guard *g = guard_of(net, (uintptr_t)iov[i].iov_base, &area);

		if (g)
			guard_hit(net, g);
	}
}

unsigned int fault_count(const struct twx_net *net)
{
	return atomic_load_explicit(&net->n_faults, memory_order_relaxed);
}
