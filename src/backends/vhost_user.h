/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user front end's own: one connection, its queue pairs, and the calls between its files.
 */
#ifndef BACKENDS_VHOST_USER_H
#define BACKENDS_VHOST_USER_H

#include <stdbool.h>
#include <stdint.h>

#include <twinax/net.h>

#include "base/hostops.h"
#include "bus/vhost.h"
#include "bus/vhost_user_wire.h"

#define VUF_PATH_MAX 108 /* of struct sockaddr_un, with the NUL */

struct vuf;
struct vuf_pair {
	struct vuf *vu;
	struct twx_port *port;
	struct vhost vhost;
	bool selected;
	uint8_t out; /* bit per ring that the back end has */
};

struct vuf {
	struct twx_backend *backend;
	struct vuf_pair *pairs;
	uint32_t n_pairs;

	/* vhost_user.c: where the back end is */
	char path[VUF_PATH_MAX];
	const char *label; /* for `info network` */
	bool server;
	uint32_t reconnect_ms; /* 0: a lost connection stays lost */
	int listen_fd;
	struct hostops_sock_file file;
	struct twx_watch listen_watch;
	struct twx_timer retry;
	bool told; /* that it cannot be reached; once until it can */

	/* One connection, vhost_user_msg.c. */
	int fd; /* -1: none */
	struct twx_watch watch;
	struct twx_task lost_task; /* takes the links down, outside of whoever saw it */
	bool late;		   /* it ended because an answer did not come in time */
	int64_t owed, since;	   /* ms that were waited, weighted; the last reckoning */
	uint64_t features;	   /* of the back end, transport bits included */
	uint64_t protocol;	   /* agreed */

	/* vhost_user_path.c */
	unsigned int n_out; /* rings */
	bool packed;	    /* they are */
	const struct mem_map *mem;
	struct vu_region *sent; /* what the back end has mapped, with CONFIGURE_MEM_SLOTS */
	unsigned int n_sent;
	uint64_t max_slots;
};

/* One line of the log: whose, where, what. */
#define VUF_LOG(vu, level, fmt, ...)                                                               \
	twx_log((vu)->backend->net, TWX_LOG_##level, "netdev %s: vhost-user %s: " fmt,             \
		(vu)->backend->id, (vu)->path, ##__VA_ARGS__)

/* vhost_user_msg.c: each waits for the other end, but not for ever; what fails ends the connection.
 */

/* Says it, with an acknowledgement where they are agreed on. 0 or -errno; -EPROTO: refused. */
int vuf_tell(struct vuf *vu, uint32_t request, const void *payload, uint32_t len, const int *fds,
	     uint32_t n_fds);
/* The same, never acknowledged: before that can be agreed on, and for news. */
int vuf_say(struct vuf *vu, uint32_t request, const void *payload, uint32_t len);
/* An answer of exactly @len bytes to a question with the same payload's type, in place. */
int vuf_ask(struct vuf *vu, uint32_t request, void *payload, uint32_t in_len, uint32_t len);
void vuf_close(struct vuf *vu);
/* Ends the connection with a line in the log; links follow at the end of the round. */
void vuf_lost(struct vuf *vu, const char *why);

/* vhost_user_path.c */
extern const struct vhost_ops vuf_vhost_ops;
/* From the first question to the last; the connection is vu->fd. 0 or -errno with a sentence. */
int vuf_greet(struct vuf *vu, struct twx_error *e);
void vuf_forget(struct vuf *vu); /* what a connection that is gone had */

static inline bool vuf_has(const struct vuf *vu, unsigned int protocol_bit)
{
	return vu->protocol & VU_BIT(protocol_bit);
}

#endif
