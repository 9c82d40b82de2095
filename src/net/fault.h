/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that its owner can truncate while it is mapped here, and who is told when that happens. */
#ifndef NET_FAULT_H
#define NET_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <twinax/net.h>

/* One mapping of a file, in whole pages of that file (huge ones on hugetlbfs). */
struct fault_area {
	void *base; /* null: none */
	size_t len;
	size_t unit; /* the file's page size */
};

/*
 * A host that maps such memory, embedded in its state. find() and lost() run in a signal handler,
 * on the loop's thread, in the middle of an access to that very memory: they only look at what does
 * not change during such an access, and lost() only sets flags. The task runs on the loop later and
 * ends the connection.
 */
struct fault_guard {
	struct fault_guard *next;
	struct twx_loop *loop;
	struct twx_task task;
	atomic_bool hit; /* the task is on its way */
	const struct fault_area *(*find)(struct fault_guard *g, uintptr_t addr);
	void (*lost)(struct fault_guard *g);
};

void fault_guard_add(struct twx_net *net, struct fault_guard *g);
void fault_guard_del(struct twx_net *net, struct fault_guard *g);
/* Forgets a fault whose task has not run yet: what was shared is no longer mapped. */
void fault_guard_clear(struct fault_guard *g);

static inline bool fault_area_has(const struct fault_area *a, uintptr_t addr)
{
	return a->base && addr - (uintptr_t)a->base < a->len;
}

/*
 * For backends: a system call has answered EFAULT for this list, which a signal handler does not
 * see. Who shares the memory in it is dealt with as if we had touched it; private memory is
 * ignored.
 */
void fault_report(struct twx_net *net, const struct iovec *iov, size_t n);

/* Changes whenever memory has been lost: what was read meanwhile may be zeros. */
unsigned int fault_count(const struct twx_net *net);

#endif
