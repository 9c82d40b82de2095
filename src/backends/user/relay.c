/* SPDX-License-Identifier: BSD-3-Clause */
/* Relays: bytes between two stream sockets, each end's pace kept for the other. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/user/user.h"
#include "base/macros.h"

#define RELAY_BUF 65536
#define RELAYS_MAX 1024

/* One way: read from @from, not yet written to the other end. */
struct way {
	uint8_t data[RELAY_BUF];
	uint32_t off, len;
	bool ended; /* nothing more to read */
	bool told;  /* and the other end knows */
};

struct side {
	struct relay *relay;
	struct twx_watch watch;
	int fd;
	struct way way; /* what this side sends */
};

struct relay {
	struct user *u;
	struct side side[2];
	struct relay *next;
};

static void relay_free(struct relay *r)
{
	struct relay **at = &r->u->relays;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	r->u->n_relays--;
	for (int i = 0; i < 2; i++) {
		twx_watch_del(&r->side[i].watch);
		close(r->side[i].fd);
	}
	free(r);
}

/* Until one of the two is not ready. False: the connection is broken. */
static bool move(struct way *w, int from, int to)
{
	ssize_t n;

	if (!w->len && !w->ended) {
		n = recv(from, w->data, sizeof(w->data), MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		w->ended = !n;
		w->off = 0;
		w->len = (uint32_t)n;
	}
	if (w->len) {
		n = send(to, w->data + w->off, w->len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		w->off += (uint32_t)n;
		w->len -= (uint32_t)n;
	}
	if (w->ended && !w->len && !w->told) {
		w->told = true;
		shutdown(to, SHUT_WR);
	}
	return true;
}

static void relay_event(struct twx_watch *w, uint32_t events)
{
	struct relay *r = container_of(w, struct side, watch)->relay;
	struct side *a = &r->side[0], *b = &r->side[1];

	if ((events & EPOLLERR) || !move(&a->way, a->fd, b->fd) || !move(&b->way, b->fd, a->fd) ||
	    (a->way.told && b->way.told)) {
		relay_free(r);
		return;
	}
	/* A side that has sent its end and takes no more has nothing left to report but EPOLLHUP.
	 */
	for (int i = 0; i < 2; i++) {
		struct side *me = &r->side[i], *other = &r->side[!i];

		twx_watch_set(&me->watch, (!me->way.len && !me->way.ended ? EPOLLIN : 0u) |
						  (other->way.len ? EPOLLOUT : 0u));
	}
}

int relay_start_take(struct user *u, int a, int b)
{
	struct relay *r = u->n_relays < RELAYS_MAX ? calloc(1, sizeof(*r)) : NULL;
	int fd[2] = { a, b }, err = 0;

	if (!r) {
		close(a);
		close(b);
		return u->n_relays < RELAYS_MAX ? -ENOMEM : -EAGAIN;
	}
	r->u = u;
	r->next = u->relays;
	u->relays = r;
	u->n_relays++;
	for (int i = 0; i < 2; i++) {
		r->side[i].relay = r;
		r->side[i].fd = fd[i];
		if (!err)
			err = twx_watch_add(&r->side[i].watch, u->loop, fd[i], EPOLLIN,
					    relay_event);
	}
	if (err)
		relay_free(r);
	return err;
}

void relay_fini(struct user *u)
{
	while (u->relays)
		relay_free(u->relays);
}
