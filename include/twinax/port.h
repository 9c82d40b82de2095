/* SPDX-License-Identifier: BSD-3-Clause */
/* A port is one end of a cable; two ports are peers. */
#ifndef TWINAX_PORT_H
#define TWINAX_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <twinax/export.h>
#include <twinax/frame.h>
#include <twinax/loop.h>
#include <twinax/trace.h>

struct twx_port;
struct twx_net;
struct twx_queue;  /* src/net/queue.h */
struct twx_filter; /* src/net/filter.h */
struct vhost;	   /* src/bus/vhost.h */

/*
 * Guest buffers that a receiver lends, so that recvmsg() and readv() write into them directly. At most
 * one lease per port is open at a time; it ends with commit or abort before its holder returns to the
 * loop. The iovecs cover the frame from its first byte; the holder writes, never reads them.
 */
#define TWX_LEASE_IOV 128
struct twx_lease {
	struct iovec iov[TWX_LEASE_IOV];
	uint32_t n_iov;
	uint32_t len; /* room: sum of iov */
	uint32_t priv[4]; /* the receiver's */
};

/* Why a frame ended without being delivered. Names by twx_drop_name(). */
#define TWX_DROPS(X)                                                                                   \
	X(LINK_DOWN, "link-down")	  /* one end of the cable is down */                           \
	X(NO_PEER, "no-peer")             /* nothing at the other end */                               \
	X(QUEUE_FULL, "queue-full")	  /* receiver busy, queue at its bound */                      \
	X(TOO_SHORT, "too-short")	  /* under an Ethernet header */                               \
	X(TOO_LONG, "too-long")	          /* over what the receiver or the core takes */               \
	X(BAD_META, "bad-offload")	  /* checksum or GSO request that does not fit the frame */    \
	X(BAD_CHAIN, "bad-descriptor")	  /* malformed descriptors, unmapped address */                \
	X(NO_BUFFER, "no-buffer")	  /* guest buffers too small for the frame */                  \
	X(NOT_FOR_US, "filtered")	  /* receive filter of the NIC, or addressed elsewhere */      \
	X(BAD_PACKET, "bad-packet")	  /* header or checksum wrong */                               \
	X(DENIED, "denied")		  /* restrict, rules */                                        \
	X(LIMIT, "limit")		  /* flow, fragment or memory bound reached */                 \
	X(HOST_ERROR, "host-error")	  /* a system call refused it */                               \
	X(IMPAIRED, "impaired")		  /* lost on purpose, by filter-impair */

enum twx_drop {
#define X(sym, name) TWX_DROP_##sym,
	TWX_DROPS(X)
#undef X
		TWX_N_DROPS
};
TWX_EXPORT const char *twx_drop_name(enum twx_drop cause);

/* Plain counters, written by the port's loop thread, read by anybody (a torn read is not possible on
 * 64-bit machines; on others a reader may see half an update). "tx" is what this port sent to its
 * peer, "rx" what its receive() took. */
struct twx_counters {
	uint64_t tx_frames, tx_bytes, tx_bursts;
	uint64_t rx_frames, rx_bytes, rx_bursts;
	uint64_t queued, flushed; /* frames that went through this port's incoming queue */
	uint64_t csum_sw, seg_sw; /* frames finished in software for this port */
	uint64_t kicks, signals, signals_skipped; /* NICs: doorbells, interrupts, interrupts suppressed */
	uint64_t busy;		  /* receive() took less than it was offered */
	uint64_t drops[TWX_N_DROPS]; /* frames to or from this port, by cause */
};

/*
 * What a kind of port can do. All run on the port's loop thread. The core never calls receive,
 * reserve or resume of a port while one of them is already running for the same port: a frame that
 * would re-enter is queued, or refused to a retaining sender.
 */
struct twx_port_ops {
	/*
	 * Takes a burst of 1..TWX_BURST frames, each within @port->caps, and returns how many it took,
	 * from the front. Taking includes dropping (count it with twx_port_drop()). A port that takes
	 * fewer than @n is busy and owes a twx_port_ready() later.
	 */
	int (*receive)(struct twx_port *port, const struct twx_frame *frames, int n);

	/* Optional: the peer takes frames again; send what was retained. May be called when nothing was. */
	void (*resume)(struct twx_port *port);

	/*
	 * Optional lease of guest buffers, see twx_port_reserve(). reserve returns 0 with at least @min
	 * bytes of room in @lease (up to @want, if the guest has them) or -EAGAIN, and then the port is
	 * busy and owes a twx_port_ready(); -EOPNOTSUPP: not now, use receive.
	 */
	int (*reserve)(struct twx_port *port, size_t min, size_t want, struct twx_lease *lease);
	void (*commit)(struct twx_port *port, struct twx_lease *lease, size_t len,
		       const struct twx_meta *meta);
	void (*abort)(struct twx_port *port, struct twx_lease *lease);

	/* Optional: link_down of this port or its peer has changed. */
	void (*link_changed)(struct twx_port *port);
	/* Optional: the peer's caps (or the peer itself) have changed. */
	void (*peer_changed)(struct twx_port *port);
	/* Optional: the text behind "type=T," in `info network`, as QEMU's info_str. */
	void (*info)(struct twx_port *port, char *buf, size_t size);
	/*
	 * Optional: the kernel or another process that would run the queue pair of the NIC at the other
	 * end, in place of receive and of what this port sends; null if there is none. The same one from
	 * open() to close().
	 */
	struct vhost *(*vhost)(struct twx_port *port);
};

enum twx_port_kind { TWX_PORT_BACKEND, TWX_PORT_NIC, TWX_PORT_HUB };

/* One per queue pair; the ports of a multi-queue object share the name. Embedded in or owned by its
 * backend, NIC or hub. Fields are read-only for others unless a comment says who writes. */
struct twx_port {
	const struct twx_port_ops *ops;
	void *owner; /* struct twx_backend, struct twx_nic or the hub's own */
	struct twx_net *net;
	struct twx_loop *loop;
	struct twx_trace *trace;
	struct twx_port *peer;
	char name[64];
	const char *model; /* "user", "virtio-net-pci", "hubport" */
	enum twx_port_kind kind;
	uint16_t queue_index;
	bool link_down;
	bool rx_busy;	  /* receive took too little; until twx_port_ready() */
	bool in_receive;  /* receive, reserve or a flush is running */
	bool sender_waits; /* the peer was refused and gets resume */
	struct twx_caps caps; /* what receive takes; the owner changes it by twx_port_set_caps() */
	struct twx_queue *queue; /* incoming; allocated when first needed */
	struct twx_filter *filters; /* of this port as a netdev, in chain order */
	struct twx_counters count; /* kicks and signals are the owner's to write */
	struct twx_port *next;	   /* in net, creation order */
	void *core;		   /* src/net's own */
};

/* Prepares a zeroed port and enters it into @net. @name is copied. */
TWX_EXPORT int twx_port_init(struct twx_port *port, struct twx_net *net, struct twx_loop *loop,
			     enum twx_port_kind kind, const char *name, const char *model,
			     uint16_t queue_index, const struct twx_port_ops *ops, void *owner,
			     struct twx_error *e);
/* Unpairs, drops what is queued, and leaves @net. No op runs after it returns. */
TWX_EXPORT void twx_port_fini(struct twx_port *port);
TWX_EXPORT int twx_port_pair(struct twx_port *a, struct twx_port *b, struct twx_error *e);
TWX_EXPORT void twx_port_unpair(struct twx_port *port);
TWX_EXPORT void twx_port_set_caps(struct twx_port *port, struct twx_caps caps);
TWX_EXPORT void twx_port_set_link(struct twx_port *port, bool up); /* this port alone; tells both ends */

/*
 * Sends a burst to the peer, for senders that can retain (a transmit ring, a readable socket): returns
 * how many frames are done (delivered or dropped), from the front. The rest was not copied; the sender
 * keeps it and stops until its resume() runs. Frames above the peer's caps are finished in software
 * here. Link down and no peer count as done, as in QEMU.
 */
TWX_EXPORT int twx_port_send(struct twx_port *port, const struct twx_frame *frames, int n);

/* The same for senders that cannot retain (ARP replies, hub copies): what the peer does not take is
 * copied into its queue, bounded; beyond the bound it is dropped and counted. */
TWX_EXPORT void twx_port_post(struct twx_port *port, const struct twx_frame *frames, int n);

/* True if a frame sent now would be done at once: delivered, or dropped for lack of a peer or link. */
TWX_EXPORT bool twx_port_can_send(struct twx_port *port);

/* The receiver takes frames again: flushes its queue, then resumes the peer. Cheap when neither is
 * waiting. Not to be called from within receive. */
TWX_EXPORT void twx_port_ready(struct twx_port *port);

/* Drops what @port's queue holds. */
TWX_EXPORT void twx_port_purge(struct twx_port *port);

/*
 * Asks the peer for guest buffers: at least @min bytes, up to @want. 0, or
 * -EOPNOTSUPP: use twx_port_send() for this frame (peer cannot, is a hub, has frames queued; a filter is attached),
 * -EAGAIN: peer is busy, resume() will come, -ENOLINK: link down or no peer, drop.
 * commit delivers the first @len bytes; abort returns the buffers unused. @len <= lease->len.
 * @meta must be within the peer's caps.
 */
TWX_EXPORT int twx_port_reserve(struct twx_port *port, size_t min, size_t want, struct twx_lease *lease);
TWX_EXPORT void twx_port_commit(struct twx_port *port, struct twx_lease *lease, size_t len,
				const struct twx_meta *meta);
TWX_EXPORT void twx_port_abort(struct twx_port *port, struct twx_lease *lease);

static inline void twx_port_drop(struct twx_port *port, enum twx_drop cause, uint32_t len)
{
	port->count.drops[cause]++;
	TWX_TRACE(port->trace, TWX_HOP_DROP, port->name, len, cause);
}

#endif
