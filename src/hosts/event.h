/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors of a peer that we signal through or are signalled by, whatever they are. */
#ifndef HOSTS_EVENT_H
#define HOSTS_EVENT_H

#include <stddef.h>

/* An eventfd, a pipe (user-mode Linux) or a socket, to signal through. */
enum event_kind { EVENT_NONE, EVENT_FILE, EVENT_PIPE, EVENT_SOCKET };
struct event {
	enum event_kind kind;
	int fd; /* valid unless kind is NONE */
};

/* Replaces and closes the former; takes @fd in every case. */
int event_take(struct event *ev, int fd);
void event_close(struct event *ev);
int event_write(const struct event *ev, const void *buf, size_t len); /* never blocks, no SIGPIPE */
int event_signal(const struct event *ev);

/* To be signalled by. */
/* -EINVAL if a read could block; 1 if an event was there, and is read. Not for pipes and sockets.
 */
int event_probe(int fd);
int event_drain(int fd); /* 0 or -errno when the fd can only spin */

#endif
