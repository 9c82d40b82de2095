/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio-net: options, and the features that they offer. */
#include "nics/virtio_net.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/macros.h"

#define RING_MIN 256
#define RING_MAX 1024
#define CTRL_RING 64
#define RSC_INTERVAL 300000 /* QEMU's default */

/* X(option and feature, bit, help) */
#define VNET_FEATURES(X)                                                                           \
	X("csum", VIRTIO_NET_F_CSUM, "the guest may leave checksums to us")                        \
	X("guest_csum", VIRTIO_NET_F_GUEST_CSUM, "the guest may be given unfinished checksums")    \
	X("gso", VIRTIO_NET_F_GSO, "legacy bit for every kind of segmentation")                    \
	X("guest_tso4", VIRTIO_NET_F_GUEST_TSO4, "the guest may be given large TCP/IPv4 frames")   \
	X("guest_tso6", VIRTIO_NET_F_GUEST_TSO6, "the guest may be given large TCP/IPv6 frames")   \
	X("guest_ecn", VIRTIO_NET_F_GUEST_ECN, "the guest may be given large TCP frames with ECN") \
	X("guest_ufo", VIRTIO_NET_F_GUEST_UFO, "the guest may be given unfragmented UDP")          \
	X("guest_uso4", VIRTIO_NET_F_GUEST_USO4,                                                   \
	  "the guest may be given joined UDP/IPv4 datagrams")                                      \
	X("guest_uso6", VIRTIO_NET_F_GUEST_USO6,                                                   \
	  "the guest may be given joined UDP/IPv6 datagrams")                                      \
	X("host_tso4", VIRTIO_NET_F_HOST_TSO4, "the guest may send large TCP/IPv4 frames")         \
	X("host_tso6", VIRTIO_NET_F_HOST_TSO6, "the guest may send large TCP/IPv6 frames")         \
	X("host_ecn", VIRTIO_NET_F_HOST_ECN, "the guest may send large TCP frames with ECN")       \
	X("host_ufo", VIRTIO_NET_F_HOST_UFO, "the guest may send unfragmented UDP")                \
	X("host_uso", VIRTIO_NET_F_HOST_USO, "the guest may send joined UDP datagrams")            \
	X("mrg_rxbuf", VIRTIO_NET_F_MRG_RXBUF, "received frames may span several buffers")         \
	X("status", VIRTIO_NET_F_STATUS, "the guest sees the link's state")                        \
	X("ctrl_vq", VIRTIO_NET_F_CTRL_VQ, "control queue")                                        \
	X("ctrl_rx", VIRTIO_NET_F_CTRL_RX, "receive filter by the control queue")                  \
	X("ctrl_vlan", VIRTIO_NET_F_CTRL_VLAN, "VLAN filter by the control queue")                 \
	X("ctrl_rx_extra", VIRTIO_NET_F_CTRL_RX_EXTRA, "more receive modes by the control queue")  \
	X("ctrl_mac_addr", VIRTIO_NET_F_CTRL_MAC_ADDR, "MAC address by the control queue")         \
	X("ctrl_guest_offloads", VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,                                 \
	  "receive offloads by the control queue")                                                 \
	X("guest_announce", VIRTIO_NET_F_GUEST_ANNOUNCE, "the guest announces itself when asked")  \
	X("event_idx", VIRTIO_RING_F_EVENT_IDX, "interrupts and doorbells by event index")         \
	X("indirect_desc", VIRTIO_RING_F_INDIRECT_DESC, "indirect descriptors")

const struct twx_opt_desc vnet_options[] = {
#define X(key, bit, text) { .name = key, .type = TWX_OPT_BOOL, .def = "on", .help = text },
	VNET_FEATURES(X)
#undef X
		{ .name = "mq",
		  .type = TWX_OPT_BOOL,
		  .help = "offer several queue pairs (on if there are several)" },
	{ .name = "queues",
	  .type = TWX_OPT_INT,
	  .min = 1,
	  .max = TWX_MAX_QUEUES,
	  .help = "queue pairs (as many as the backend has)" },
	{ .name = "host_mtu",
	  .type = TWX_OPT_INT,
	  .def = "0",
	  .min = 0,
	  .max = 65535,
	  .help = "MTU that the guest is told (0: none)" },
	{ .name = "speed",
	  .type = TWX_OPT_INT,
	  .def = "-1",
	  .help = "Mbit/s that the guest is told (-1: unknown)" },
	{ .name = "duplex",
	  .type = TWX_OPT_STR,
	  .words = "half|full",
	  .help = "duplex mode that the guest is told (unknown)" },
	{ .name = "rx_queue_size",
	  .type = TWX_OPT_INT,
	  .def = "256",
	  .help = "entries of a receive ring; not with vhost-user, whose front end makes it" },
	{ .name = "tx_queue_size",
	  .type = TWX_OPT_INT,
	  .def = "256",
	  .help = "entries of a transmit ring; not with vhost-user, whose front end makes it" },
	{ .name = "tx",
	  .type = TWX_OPT_STR,
	  .def = "bh",
	  .words = "bh|timer",
	  .help = "send at once (bh) or after a while (timer)" },
	{ .name = "x-txtimer",
	  .type = TWX_OPT_INT,
	  .def = "150000",
	  .min = 1,
	  .max = 1000000000,
	  .help = "nanoseconds of that while" },
	{ .name = "x-txburst",
	  .type = TWX_OPT_INT,
	  .def = "256",
	  .min = 1,
	  .max = 65536,
	  .help = "frames sent before others get their turn" },
	{ .name = "x-mtu-bypass-backend",
	  .type = TWX_OPT_BOOL,
	  .def = "on",
	  .help = "offer host_mtu whatever the backend says; none here objects" },
	{ .name = "hash", .type = TWX_OPT_BOOL, .help = "off: hash reports are not there" },
	{ .name = "rss", .type = TWX_OPT_BOOL, .help = "off: RSS is not there" },
	{ .name = "ebpf-rss-fds", .type = TWX_OPT_LIST, .help = "refused: RSS is not there" },
	{ .name = "guest_rsc_ext", .type = TWX_OPT_BOOL, .help = "off: RSC is not there" },
	{ .name = "rsc_interval", .type = TWX_OPT_INT, .help = "as it is: RSC is not there" },
	{ .name = "failover", .type = TWX_OPT_BOOL, .help = "off: a matter of the VMM's" },
	{ 0 },
};

static const struct {
	const char *key;
	uint8_t bit;
} vnet_features[] = {
#define X(key, bit, text) { key, bit },
	VNET_FEATURES(X)
#undef X
};

#define GUEST_OFFLOADS                                                                             \
	(VNET_BIT(VIRTIO_NET_F_GUEST_CSUM) | VNET_BIT(VIRTIO_NET_F_GUEST_TSO4) |                   \
	 VNET_BIT(VIRTIO_NET_F_GUEST_TSO6) | VNET_BIT(VIRTIO_NET_F_GUEST_ECN) |                    \
	 VNET_BIT(VIRTIO_NET_F_GUEST_UFO) | VNET_BIT(VIRTIO_NET_F_GUEST_USO4) |                    \
	 VNET_BIT(VIRTIO_NET_F_GUEST_USO6))
#define GUEST_SEGMENTS (GUEST_OFFLOADS & ~VNET_BIT(VIRTIO_NET_F_GUEST_CSUM))
#define HOST_SEGMENTS                                                                              \
	(VNET_BIT(VIRTIO_NET_F_HOST_TSO4) | VNET_BIT(VIRTIO_NET_F_HOST_TSO6) |                     \
	 VNET_BIT(VIRTIO_NET_F_HOST_ECN) | VNET_BIT(VIRTIO_NET_F_HOST_UFO) |                       \
	 VNET_BIT(VIRTIO_NET_F_HOST_USO) | VNET_BIT(VIRTIO_NET_F_GSO))
#define CTRL_CLASSES                                                                               \
	(VNET_BIT(VIRTIO_NET_F_CTRL_RX) | VNET_BIT(VIRTIO_NET_F_CTRL_VLAN) |                       \
	 VNET_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | VNET_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |             \
	 VNET_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | VNET_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) |      \
	 VNET_BIT(VIRTIO_NET_F_MQ))

/* virtio 1.2, 5.1.3.1: what makes no sense without another feature. */
static uint64_t features_require(uint64_t f, unsigned int needs, uint64_t dependents)
{
	return f & VNET_BIT(needs) ? f : f & ~dependents;
}

/* The control queue may be the front end's own, so only offloads depend on each other once agreed
 * on. */
static uint64_t offload_requirements(uint64_t f)
{
	f = features_require(f, VIRTIO_NET_F_CSUM, HOST_SEGMENTS);
	return features_require(f, VIRTIO_NET_F_GUEST_CSUM, GUEST_SEGMENTS);
}

static uint64_t features_offered(const struct vnet *vn, const struct twx_opts *opts)
{
	uint64_t f = VNET_BIT(VIRTIO_F_VERSION_1) | VNET_BIT(VIRTIO_F_ANY_LAYOUT) |
		     VNET_BIT(VIRTIO_NET_F_MAC);
	bool mq = vn->dev.max_pairs > 1;

	for (size_t i = 0; i < array_size(vnet_features); i++)
		if (twx_opts_bool(opts, vnet_features[i].key))
			f |= VNET_BIT(vnet_features[i].bit);
	if (twx_opts_given(opts, "mq"))
		mq = twx_opts_bool(opts, "mq");
	if (mq)
		f |= VNET_BIT(VIRTIO_NET_F_MQ);
	if (vn->host_mtu)
		f |= VNET_BIT(VIRTIO_NET_F_MTU);
	if (vn->speed != (uint32_t)SPEED_UNKNOWN || vn->duplex != DUPLEX_UNKNOWN)
		f |= VNET_BIT(VIRTIO_NET_F_SPEED_DUPLEX);
	return offload_requirements(features_require(f, VIRTIO_NET_F_CTRL_VQ, CTRL_CLASSES));
}

uint64_t vnet_guest_offloads(uint64_t features)
{
	return offload_requirements(features) & GUEST_OFFLOADS;
}

static int vnet_count_pairs(const struct twx_nic *nic, const struct twx_opts *opts, unsigned int *n,
			    struct twx_error *e)
{
	unsigned int has = nic->backend ? nic->backend->n_ports : 1;

	*n = has;
	if (twx_opts_given(opts, "queues"))
		*n = (unsigned int)twx_opts_int(opts, "queues");
	if (!nic->backend || *n <= has)
		return 0;
	twx_error_set(e, EINVAL, "device %s: queues=%u, but netdev %s has %u", nic->id, *n,
		      nic->backend->id, has);
	return twx_error_hint(e, "use at most queues=%u here, or give the netdev more", has);
}

static int vnet_check_mtu(const struct twx_nic *nic, int64_t mtu, struct twx_error *e)
{
	if (mtu == 0 || mtu >= VNET_MTU_MIN)
		return 0;
	twx_error_set(e, EINVAL, "device %s: host_mtu=%d is too small", nic->id, (int)mtu);
	return twx_error_hint(e, "use %d or more, or 0 for none", VNET_MTU_MIN);
}

static int vnet_refuse(const struct twx_nic *nic, const struct twx_opts *opts, struct twx_error *e)
{
	static const struct {
		const char *key, *why;
	} off[] = {
		{ "hash", "hash reports are not there" },
		{ "rss", "RSS is not there" },
		{ "guest_rsc_ext", "RSC is not there" },
		{ "failover", "the VMM, which plugs the primary, has to do it" },
	};

	for (size_t i = 0; i < array_size(off); i++)
		if (twx_opts_bool(opts, off[i].key))
			return twx_error_set(e, EINVAL, "device %s: %s=on is not possible: %s",
					     nic->id, off[i].key, off[i].why);
	if (twx_opts_given(opts, "ebpf-rss-fds"))
		return twx_error_set(e, EINVAL, "device %s: ebpf-rss-fds= is not possible: %s",
				     nic->id, off[1].why);
	if (twx_opts_given(opts, "rsc_interval") &&
	    twx_opts_int(opts, "rsc_interval") != RSC_INTERVAL)
		return twx_error_set(e, EINVAL, "device %s: rsc_interval= is not possible: %s",
				     nic->id, off[2].why);
	return 0;
}

static int vnet_take_ring(const struct twx_nic *nic, const struct twx_opts *opts, const char *key,
			  uint16_t *size, struct twx_error *e)
{
	int64_t n = twx_opts_int(opts, key);

	if (n < RING_MIN || n > RING_MAX || (n & (n - 1))) {
		twx_error_set(e, EINVAL,
			      "Invalid %s (= %lld), must be a power of 2 between %d and %d.", key,
			      (long long)n, RING_MIN, RING_MAX);
		twx_error_prefix(e, "device %s: ", nic->id);
		return -EINVAL;
	}
	*size = (uint16_t)n;
	return 0;
}

static int vnet_take_speed(struct vnet *vn, const struct twx_opts *opts, struct twx_error *e)
{
	const char *duplex = twx_opts_str(opts, "duplex"), *id = vn->nic->id;
	int64_t speed = twx_opts_int(opts, "speed");

	if (speed < -1 || speed > INT_MAX)
		return twx_error_set(e, EINVAL, "device %s: 'speed' must be between 0 and INT_MAX",
				     id);
	vn->speed = (uint32_t)speed;
	vn->duplex = DUPLEX_UNKNOWN;
	if (!duplex)
		return 0;
	if (strcmp(duplex, "half") != 0 && strcmp(duplex, "full") != 0)
		return twx_error_set(e, EINVAL, "device %s: 'duplex' must be 'half' or 'full'", id);
	vn->duplex = duplex[0] == 'f';
	return 0;
}

static void vnet_take_tx(struct vnet *vn, const struct twx_opts *opts)
{
	const char *tx = twx_opts_str(opts, "tx");

	vn->tx_budget = (uint32_t)twx_opts_int(opts, "x-txburst");
	if (strcmp(tx, "timer") == 0)
		vn->tx_delay = (uint64_t)twx_opts_int(opts, "x-txtimer");
	else if (strcmp(tx, "bh") != 0)
		twx_log(vn->nic->net, TWX_LOG_WARNING,
			"device %s: tx=%s is neither 'timer' nor 'bh', which is taken", vn->nic->id,
			tx);
}

int vnet_take_options(struct vnet *vn, const struct twx_opts *opts, struct twx_error *e)
{
	const struct twx_nic *nic = vn->nic;
	int rc = vnet_count_pairs(nic, opts, &vn->dev.max_pairs, e);

	if (rc == 0)
		rc = vnet_check_mtu(nic, twx_opts_int(opts, "host_mtu"), e);
	if (rc == 0)
		rc = vnet_take_ring(nic, opts, "rx_queue_size", &vn->rx_size, e);
	if (rc == 0)
		rc = vnet_take_ring(nic, opts, "tx_queue_size", &vn->tx_size, e);
	if (rc == 0)
		rc = vnet_take_speed(vn, opts, e);
	if (rc == 0)
		rc = vnet_refuse(nic, opts, e);
	if (rc < 0)
		return rc;
	vn->host_mtu = (uint16_t)twx_opts_int(opts, "host_mtu");
	vnet_take_tx(vn, opts);
	return 0;
}

/* How far the fields reach that the features call for (5.1.4). */
static uint32_t vnet_config_len(uint64_t offered)
{
	static const struct {
		uint8_t bit;
		uint32_t end;
	} ends[] = {
		{ VIRTIO_NET_F_SPEED_DUPLEX, offsetof(struct virtio_net_config, duplex) + 1 },
		{ VIRTIO_NET_F_MTU, offsetof(struct virtio_net_config, mtu) + 2 },
		{ VIRTIO_NET_F_MQ, offsetof(struct virtio_net_config, max_virtqueue_pairs) + 2 },
		{ VIRTIO_NET_F_STATUS, offsetof(struct virtio_net_config, status) + 2 },
	};

	for (size_t i = 0; i < array_size(ends); i++)
		if (offered & VNET_BIT(ends[i].bit))
			return ends[i].end;
	return offsetof(struct virtio_net_config, status);
}

void vnet_describe(struct vnet *vn, const struct twx_opts *opts)
{
	struct virtio_dev *dev = &vn->dev;

	dev->offered = features_offered(vn, opts);
	dev->id = VIRTIO_ID_NET;
	dev->class_code = 0x020000;
	dev->config_len = vnet_config_len(dev->offered);
	dev->legacy_only = VNET_BIT(VIRTIO_NET_F_GSO);
	dev->blind = VNET_BIT(VIRTIO_NET_F_MAC) | VNET_BIT(VIRTIO_NET_F_CSUM) |
		     VNET_BIT(VIRTIO_NET_F_HOST_TSO4) | VNET_BIT(VIRTIO_NET_F_HOST_TSO6) |
		     VNET_BIT(VIRTIO_NET_F_HOST_ECN);
	for (unsigned int i = 0; i < dev->n_queues; i++)
		dev->queues[i].size_max = i & 1 ? vn->tx_size : vn->rx_size;
	dev->queues[dev->n_queues - 1].size_max = CTRL_RING;
}
