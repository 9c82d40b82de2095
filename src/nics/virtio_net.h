/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net: the state that its files share. */
#ifndef NICS_VIRTIO_NET_H
#define NICS_VIRTIO_NET_H

#include <linux/ethtool.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>

#include <twinax/net.h>

#include "base/endian.h"
#include "bus/virtqueue.h"

/* Newer than the oldest kernel headers that we build with (virtio 1.3, 5.1.3). */
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#endif
#ifndef VIRTIO_NET_F_HOST_USO
#define VIRTIO_NET_F_HOST_USO 56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define VNET_BIT(name) (1ull << (name))
#define VNET_HDR_MAX 12	       /* with num_buffers; 10 in legacy form */
#define VNET_TX_SEGMENTS 16384 /* that they may ask for, so that tiny ones do not hold the loop */
#define VNET_TX_COPY 256 /* frames up to here are copied whole, longer ones up to TWX_HDR_ROOM */
#define VNET_RX_BUFS 256 /* chains fetched ahead, and so the most that one frame may span */
#define VNET_MAC_TABLE 64
#define VNET_MTU_MIN 68

/* struct virtio_net_hdr (virtio 1.2, 5.1.6); num_buffers is absent in legacy form. */
struct vnet_hdr {
	uint8_t flags, gso_type;
	le16 hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

/* One burst on its way out, and what is known of the transmit queue. */
struct vnet_tx {
	bool blocked; /* the peer refused; chains stay in the ring until resume */
	bool polling; /* doorbells are off and the pair's task looks again */
	bool running, resumed;
	uint16_t n_elems, n_frames, n_iov;
	uint32_t n_segs; /* of this burst; frames that are not to be cut count as none */
	struct vq_elem elems[TWX_BURST];
	uint8_t elem_of[TWX_BURST]; /* frame -> chain; dropped chains have no frame */
	struct twx_frame frames[TWX_BURST];
	struct iovec iov[1 + VQ_MAX_IOV];
	uint8_t heads[TWX_BURST][VNET_TX_COPY];
};

/* A chain taken from the receive ring and not used yet. */
struct vnet_buf {
	struct vq_elem elem;
	uint16_t n_iov;
	uint32_t len;
};

/* Receive buffers fetched ahead: a queue of chains, and of their iovecs. */
struct vnet_rx {
	bool starved;	       /* short of buffers, the guest's doorbell is on */
	bool ready;	       /* twx_port_ready() is due in the pair's task */
	bool leased, refused;  /* a lease is out; somebody was turned away because of it */
	uint64_t epoch;	       /* of the queue, when the addresses were translated */
	uint16_t head, tail;   /* bufs */
	uint16_t ihead, itail; /* iov */
	uint32_t bytes;	       /* in bufs[head..tail) */
	struct vnet_buf bufs[VNET_RX_BUFS];
	struct iovec iov[VQ_MAX_IOV];
};

struct vhost;
struct vnet;
struct vnet_crossed; /* virtio_net_cross.c */
struct vnet_pair {
	struct vnet *vn;
	struct twx_port *port;
	struct virtqueue *rxq, *txq;
	struct twx_task task; /* end of round: announce readiness, transmit again, interrupt */
	struct vnet_rx rx;
	struct vnet_tx tx;
	struct twx_timer tx_timer; /* armed between a doorbell and its work, with tx_delay */
	struct vhost *path;	   /* while it has a ring of ours */
	int call_fd[2], err_fd;	   /* its, for interrupts and bad news; -1 until needed */
	struct twx_watch err_watch;
	/* Frames for this pair from ports of others, which other threads run. */
	_Atomic(struct vnet_crossed *) crossed;
	atomic_uint n_crossed;
	struct twx_task cross_task;
	bool learned_valid;
	uint8_t learned[6]; /* source of the last burst that was sent */
};

/* Receive filter, as the control queue sets it. */
struct vnet_filter {
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	bool uni_overflow, multi_overflow;
	bool vlan; /* CTRL_VLAN negotiated: the table counts */
	uint8_t mac[6];
	uint16_t n_uni, n_macs; /* unicast first */
	uint8_t macs[VNET_MAC_TABLE][6];
	uint8_t vlans[4096 / 8];
};

struct vnet {
	struct virtio_dev dev; /* first: the transport sees only this */
	struct twx_nic *nic;
	struct vnet_pair *pairs;
	unsigned int n_active;	 /* leading pairs that have a receive ring and are selected */
	unsigned int curr_pairs; /* as selected by VQ_PAIRS_SET */
	uint16_t mtu;		 /* 0: none agreed on */
	/* As configured. */
	uint16_t host_mtu, rx_size, tx_size;
	uint32_t speed; /* Mbit/s */
	uint8_t duplex;
	uint32_t tx_budget; /* frames per doorbell, and per round after it */
	uint64_t tx_delay;  /* ns from a doorbell to its work; 0: none */

	uint8_t hdr_len;
	bool mergeable;
	bool link_up, announcing; /* the two bits of `status` */
	bool announce_due;	  /* the guest has come from elsewhere; once it runs */
	bool apart;	    /* pairs live on loops of their own (net/workers.h) */
	struct twx_task task; /* end of round, on the NIC's loop: control queue, paths, announcement */
	uint64_t offloads;  /* GUEST_* in force */
	struct vnet_filter filter;
	struct state_desc state;
	struct virtqueue *ctrl; /* while CTRL_VQ is negotiated, else null */
	bool ctrl_again;	/* commands are left for the next round */
	/* virtio_net_path.c */
	bool path_up;		     /* both ends of the cable were, when it was last looked at */
	bool path_failed;	     /* the peer's path is not asked again for now */
	bool select_due, retake_due; /* at the end of the round */
};

/* virtio_net.c */
void vnet_update_caps(struct vnet *vn);
void vnet_update_active(struct vnet *vn);
void vnet_defer(struct vnet_pair *p);
void vnet_defer_all(struct vnet *vn); /* what concerns no pair: vn->task */
void vnet_link_changed(struct twx_port *port);
void vnet_ready_later(struct vnet *vn); /* twx_port_ready() for every port, at the round's end */
/* The pair whose receive ring takes this port's frames; null while none does. */
struct vnet_pair *vnet_rx_pair(struct vnet_pair *p);

/* virtio_net_opts.c */
extern const struct twx_opt_desc vnet_options[];
int vnet_take_options(struct vnet *vn, const struct twx_opts *opts, struct twx_error *e);
void vnet_describe(struct vnet *vn, const struct twx_opts *opts); /* features, to the transport */
uint64_t vnet_guest_offloads(uint64_t features);

/* virtio_net_state.c */
extern const struct state_section vnet_sections[];

/* virtio_net_path.c: rings that somebody else runs */
int vnet_path_open(struct vnet *vn, struct twx_error *e); /* offers what the peer's path can do */
void vnet_path_init(struct vnet_pair *p);
void vnet_path_fini(struct vnet_pair *p);
/* Hands the ring over: false if it is ours to run. */
bool vnet_path_queue_start(struct vnet_pair *p, struct virtqueue *vq);
void vnet_path_queue_stop(struct vnet_pair *p, struct virtqueue *vq); /* harmless for ours */
void vnet_path_link_changed(struct vnet *vn);
void vnet_path_pairs_changed(struct vnet *vn);
void vnet_path_task(struct vnet *vn);
bool vnet_path_announce(struct vnet *vn, const uint8_t mac[6]); /* false: by a frame */

/* virtio_net_hdr.c */
/* Translates what the guest wrote; false if it asks for what was not negotiated. */
bool vnet_hdr_to_meta(const struct vnet_hdr *h, uint64_t features, uint32_t len,
		      struct twx_meta *meta);
void vnet_hdr_from_meta(struct vnet_hdr *h, const struct twx_meta *meta, uint16_t num_buffers);

/* virtio_net_tx.c */
void vnet_tx_kick(struct vnet_pair *p);
void vnet_tx_poll(struct vnet_pair *p); /* from the pair's task */
void vnet_tx_resume(struct twx_port *port);
void vnet_tx_due(struct twx_timer *t); /* tx=timer */
void vnet_tx_stop(struct vnet_pair *p);

/* virtio_net_rx.c */
int vnet_rx_receive(struct twx_port *port, const struct twx_frame *frames, int n);
int vnet_rx_reserve(struct twx_port *port, size_t min, size_t want, struct twx_lease *lease);
void vnet_rx_commit(struct twx_port *port, struct twx_lease *lease, size_t len,
		    const struct twx_meta *meta);
void vnet_rx_abort(struct twx_port *port, struct twx_lease *lease);
void vnet_rx_kick(struct vnet_pair *p);
void vnet_rx_stop(struct vnet_pair *p);

/* virtio_net_cross.c */
/* Takes copies of frames over to the pair of another thread; how many are done with. */
int vnet_cross(struct vnet_pair *from, struct vnet_pair *to, const struct twx_frame *frames, int n);
void vnet_cross_init(struct vnet_pair *p);
void vnet_cross_fini(struct vnet_pair *p);

/* virtio_net_ctrl.c */
void vnet_ctrl_kick(struct vnet *vn);
void vnet_filter_reset(struct vnet *vn);
/* Whether the guest wants this frame; @head holds its first @len bytes, 14 at least. */
bool vnet_filter_pass(const struct vnet_filter *f, const uint8_t *head, uint32_t len);

extern const struct twx_nic_model virtio_net_model, virtio_net_pci_model,
	virtio_net_transitional_model, virtio_net_non_transitional_model;

static inline struct vnet_pair *vnet_pair(struct twx_port *port)
{
	struct vnet *vn = ((struct twx_nic *)port->owner)->priv;

	return &vn->pairs[port->queue_index];
}

#endif
