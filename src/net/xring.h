/* SPDX-License-Identifier: BSD-3-Clause */
/* A lock-free ring of frames from one thread to another. */
#ifndef NET_XRING_H
#define NET_XRING_H

#include <stdatomic.h>

#include <twinax/frame.h>

/*
 * One thread puts, one takes; frames are copied in and lie in one piece. Records are whole in the
 * ring's memory, so that what is taken is used where it lies.
 */
struct xring {
	uint8_t *data;
	uint32_t size;			    /* a power of two */
	_Alignas(64) _Atomic uint64_t head; /* the reader's, in bytes */
	_Alignas(64) _Atomic uint64_t tail; /* the writer's */
	_Alignas(64) uint64_t next;	    /* the reader's, of records that it has looked at */
};

struct xring_frame {
	uint32_t len;  /* of data */
	uint32_t kind; /* the user's */
	struct twx_meta meta;
	_Alignas(16) uint8_t data[];
};

int xring_init(struct xring *r, uint32_t size); /* 0 or -ENOMEM */
void xring_fini(struct xring *r);		/* harmless without init */
/* False if there is no room. */
bool xring_put(struct xring *r, uint32_t kind, const struct twx_meta *meta, const struct iovec *iov,
	       uint32_t n_iov, uint32_t len);
/* The next one, null if there is none; it stays valid until xring_done(). */
const struct xring_frame *xring_next(struct xring *r);
void xring_done(struct xring *r); /* with all that xring_next() has given */

#endif
