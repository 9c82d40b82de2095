/* SPDX-License-Identifier: BSD-3-Clause */
/* Streams of bytes by name: what a serial port, a forward of `user` or a filter talks to. */
#ifndef NET_CHARDEV_H
#define NET_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twinax/net.h>

/* Who uses a chardev, embedded in that object; one at a time. All of it runs on the net's loop. */
struct chardev_user {
	/* Bytes came in; at most what chardev_room() last allowed. */
	void (*input)(struct chardev_user *u, const uint8_t *buf, size_t len);
	/* Optional: somebody is at the other end, or no longer. */
	void (*opened)(struct chardev_user *u, bool open);
	/* Optional: after a short chardev_write(), there is room again. */
	void (*drained)(struct chardev_user *u);
};

struct twx_chardev *chardev_find(struct twx_net *net, const char *id);
/*
 * A chardev by its id, by "chardev:ID", or made as QEMU's short form says ("null", "stdio",
 * "tcp:HOST:PORT", "unix:PATH", "file:PATH", "pipe:PATH") under the id @id. 0, 1 when it was made
 * for this, and the caller may free it, or -errno.
 */
int chardev_by_text(struct twx_chardev **out, struct twx_net *net, const char *id, const char *text,
		    struct twx_error *e);
void chardev_free(struct twx_chardev *c); /* what is left goes with the net */
const char *chardev_id(const struct twx_chardev *c);

/*
 * From here on input() may run; see chardev_room(). A socket is listened on, or connected, by this
 * call; whether somebody is at the other end already says chardev_is_open(), for opened() comes
 * from the loop alone, as all of the user's calls do. -EBUSY with a sentence when somebody has it;
 * -ECONNREFUSED and the like when there is no server, and no reconnect.
 */
int chardev_take(struct twx_chardev *c, struct chardev_user *u, struct twx_error *e);
void chardev_release(struct twx_chardev *c); /* of a claim, too */

/* Bytes that the user can take now; 0 stops reading, until the next call. At first 0. It outlasts
 * the other end: whoever comes next may send that much. */
void chardev_room(struct twx_chardev *c, size_t room);
/* How many bytes were taken, all of them when nobody is at the other end (they are lost then). */
size_t chardev_write(struct twx_chardev *c, const void *buf, size_t len);
bool chardev_is_open(const struct twx_chardev *c);

/* For users that make the connection themselves (vhost-user passes descriptors); null for a chardev
 * that is no unix stream socket. Such a user does not take the chardev, it claims it. */
struct chardev_socket {
	const char *path;
	bool server, wait;
	uint32_t reconnect_ms; /* 0: a lost connection stays lost */
};
const struct chardev_socket *chardev_claim_socket(struct twx_chardev *c, struct twx_error *e);

#endif
