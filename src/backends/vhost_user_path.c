/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user front end's side of bus/vhost.h: features, memory, rings.
 *
 * The back end gets the guest's memory by file. "User addresses", in which the protocol has rings,
 * are ours to choose: guest addresses with a constant added, so that the back end learns nothing of
 * this process's own, and regions that touch in guest memory and in their file are one, however
 * they are mapped here. With CONFIGURE_MEM_SLOTS there may be as many as the back end has slots,
 * else eight. The table is told anew before the first ring starts: memory changes only while none
 * runs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backends/vhost_user.h"
#include "base/macros.h"

#define USER_BASE (1ull << 40) /* so that no ring is at 0, which some take for none */

#define PROTOCOL_WANTED                                                                            \
	(VU_BIT(VU_P_MQ) | VU_BIT(VU_P_REPLY_ACK) | VU_BIT(VU_P_RARP) | VU_BIT(VU_P_NET_MTU) |     \
	 VU_BIT(VU_P_CONFIGURE_MEM_SLOTS))

static struct vuf_pair *pair_of(struct vhost *v)
{
	return container_of(v, struct vuf_pair, vhost);
}

/* Who is there. */

static int greet_protocol(struct vuf *vu)
{
	uint64_t p = 0;
	int rc = vuf_ask(vu, VU_GET_PROTOCOL_FEATURES, &p, 0, sizeof(p));

	if (rc < 0)
		return rc;
	p &= PROTOCOL_WANTED;
	rc = vuf_say(vu, VU_SET_PROTOCOL_FEATURES, &p, sizeof(p));
	vu->protocol = p;
	if (rc == 0 && vuf_has(vu, VU_P_CONFIGURE_MEM_SLOTS))
		rc = vuf_ask(vu, VU_GET_MAX_MEM_SLOTS, &vu->max_slots, 0, sizeof(vu->max_slots));
	return rc;
}

static int greet_queues(struct vuf *vu, struct twx_error *e)
{
	uint64_t n = 1;
	int rc;

	if (vu->n_pairs == 1)
		return 0;
	if (vuf_has(vu, VU_P_MQ)) {
		rc = vuf_ask(vu, VU_GET_QUEUE_NUM, &n, 0, sizeof(n));
		if (rc < 0)
			return rc;
	}
	if (n >= vu->n_pairs)
		return 0;
	return twx_error_set(e, EINVAL, "you are asking more queues than supported: %llu",
			     (unsigned long long)n);
}

int vuf_greet(struct vuf *vu, struct twx_error *e)
{
	int rc = vuf_say(vu, VU_SET_OWNER, NULL, 0);

	vu->features = vu->protocol = vu->max_slots = 0;
	if (rc == 0)
		rc = vuf_ask(vu, VU_GET_FEATURES, &vu->features, 0, sizeof(vu->features));
	if (rc == 0 && (vu->features & VU_F_PROTOCOL_FEATURES))
		rc = greet_protocol(vu);
	if (rc == 0) {
		rc = greet_queues(vu, e);
		if (rc == -EINVAL)
			return rc;
	}
	return rc < 0 ? twx_error_set(e, -rc, "the back end at %s does not speak vhost-user: %s",
				      vu->path, strerror(-rc))
		      : 0;
}

void vuf_forget(struct vuf *vu)
{
	free(vu->sent);
	vu->sent = NULL;
	vu->n_sent = 0;
}

/* Memory. */

struct table {
	struct vu_region *regions;
	int *fds;
	unsigned int n;
};

static bool same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

static bool joins(const struct table *t, const struct mem_region *m)
{
	const struct vu_region *last = &t->regions[t->n - 1];

	return last->gpa + last->size == m->gpa && last->mmap_off + last->size == m->fd_off &&
	       same_file(t->fds[t->n - 1], m->fd);
}

static int table_make(struct table *t, const struct mem_map *mem)
{
	uint64_t end;

	t->n = 0;
	t->regions = calloc(mem->n + 1, sizeof(*t->regions));
	t->fds = calloc(mem->n + 1, sizeof(*t->fds));
	if (!t->regions || !t->fds)
		return -ENOMEM;
	for (unsigned int i = 0; i < mem->n; i++) {
		const struct mem_region *m = &mem->regions[i];

		if (m->fd < 0)
			return -EOPNOTSUPP;
		if (__builtin_add_overflow(m->gpa + m->size - 1, USER_BASE, &end))
			return -ERANGE;
		if (t->n && joins(t, m)) {
			t->regions[t->n - 1].size += m->size;
			continue;
		}
		t->regions[t->n] =
			(struct vu_region){ m->gpa, m->size, m->gpa + USER_BASE, m->fd_off };
		t->fds[t->n++] = m->fd;
	}
	return 0;
}

static int tell_table(struct vuf *vu, const struct table *t)
{
	struct {
		uint32_t n, padding;
		struct vu_region regions[VU_TABLE_REGIONS];
	} m = { .n = t->n };

	if (t->n > VU_TABLE_REGIONS)
		return -E2BIG;
	memcpy(m.regions, t->regions, t->n * sizeof(m.regions[0]));
	return vuf_tell(vu, VU_SET_MEM_TABLE, &m,
			(uint32_t)(offsetof(typeof(m), regions) + t->n * sizeof(m.regions[0])),
			t->fds, t->n);
}

static int tell_slot(struct vuf *vu, uint32_t request, const struct vu_region *r, const int *fd)
{
	struct {
		uint64_t padding;
		struct vu_region region;
	} m = { .region = *r };

	return vuf_tell(vu, request, &m, sizeof(m), fd, fd ? 1 : 0);
}

/* @t's regions become the list of what was sent. */
static int tell_slots(struct vuf *vu, struct table *t)
{
	int rc = 0;

	if (t->n > vu->max_slots)
		return -E2BIG;
	while (vu->n_sent && rc == 0)
		rc = tell_slot(vu, VU_REM_MEM_REG, &vu->sent[--vu->n_sent], NULL);
	if (rc < 0)
		return rc;
	free(vu->sent);
	vu->sent = t->regions;
	t->regions = NULL;
	while (vu->n_sent < t->n && rc == 0) {
		rc = tell_slot(vu, VU_ADD_MEM_REG, &vu->sent[vu->n_sent], &t->fds[vu->n_sent]);
		/* The connection may have ended, and the list with it. */
		if (vu->fd < 0)
			return rc < 0 ? rc : -ENOTCONN;
		vu->n_sent += rc == 0;
	}
	return rc;
}

static int tell_memory(struct vuf *vu, const struct mem_map *mem)
{
	struct table t;
	int rc = table_make(&t, mem);

	if (rc == 0)
		rc = vuf_has(vu, VU_P_CONFIGURE_MEM_SLOTS) ? tell_slots(vu, &t)
							   : tell_table(vu, &t);
	free(t.regions);
	free(t.fds);
	return rc;
}

/* The calls of struct vhost_ops. */

static int path_setup(struct vhost *v, uint64_t features, const struct mem_map *mem)
{
	struct vuf *vu = pair_of(v)->vu;
	int rc;

	if (vu->fd < 0)
		return -ENOTCONN;
	if (vu->n_out)
		return 0;
	vu->packed = features & VIRTIO_PACKED;
	features &= VHOST_FEATURES & vu->features;
	features |= vu->features & VU_F_PROTOCOL_FEATURES;
	rc = vuf_tell(vu, VU_SET_FEATURES, &features, sizeof(features), NULL, 0);
	if (rc == 0)
		rc = tell_memory(vu, mem);
	vu->mem = mem;
	return rc;
}

/* 0 is no ring's address. */
static uint64_t user_of(const struct mem_map *mem, const void *p)
{
	const uint8_t *at = p;

	for (unsigned int i = 0; i < mem->n; i++) {
		const struct mem_region *r = &mem->regions[i];

		if (at >= r->host && (uint64_t)(at - r->host) < r->size)
			return r->gpa + (uint64_t)(at - r->host) + USER_BASE;
	}
	return 0;
}

static int tell_state(struct vuf *vu, uint32_t request, unsigned int index, unsigned int num)
{
	struct vhost_vring_state s = { .index = index, .num = num };

	return vuf_tell(vu, request, &s, sizeof(s), NULL, 0);
}

static int tell_fd(struct vuf *vu, uint32_t request, unsigned int index, int fd)
{
	uint64_t u = index | (fd < 0 ? VU_NOFD : 0);

	return vuf_tell(vu, request, &u, sizeof(u), &fd, fd < 0 ? 0 : 1);
}

static int tell_enable(struct vuf *vu, unsigned int index, bool on)
{
	return vu->features & VU_F_PROTOCOL_FEATURES
		       ? tell_state(vu, VU_SET_VRING_ENABLE, index, on)
		       : 0;
}

static int ring_run(struct vuf *vu, unsigned int index, int kick_fd, bool enable)
{
	struct vhost_vring_state s = { .index = index };
	int rc = tell_fd(vu, VU_SET_VRING_KICK, index, kick_fd);

	if (rc == 0)
		rc = tell_enable(vu, index, enable);
	/* Who refuses may have begun all the same, and two must not run one ring. */
	if (rc < 0 && vu->fd >= 0)
		(void)vuf_ask(vu, VU_GET_VRING_BASE, &s, sizeof(s), sizeof(s));
	return rc;
}

static unsigned int index_of(struct vhost *v, unsigned int ring)
{
	return 2 * pair_of(v)->port->queue_index + ring;
}

static int path_ring_start(struct vhost *v, unsigned int ring, const struct vhost_ring *r)
{
	struct vuf_pair *p = pair_of(v);
	struct vuf *vu = p->vu;
	unsigned int i = index_of(v, ring);
	struct vhost_vring_addr addr = {
		.index = i,
		.desc_user_addr = user_of(vu->mem, r->desc),
		.avail_user_addr = user_of(vu->mem, r->avail),
		.used_user_addr = user_of(vu->mem, r->used),
	};
	int rc = tell_state(vu, VU_SET_VRING_NUM, i, r->size);

	if (rc == 0)
		rc = tell_state(vu, VU_SET_VRING_BASE, i, vu_base_told(vu->packed, r->base));
	if (rc == 0)
		rc = vuf_tell(vu, VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	if (rc == 0)
		rc = tell_fd(vu, VU_SET_VRING_CALL, i, r->call_fd);
	if (rc == 0)
		rc = tell_fd(vu, VU_SET_VRING_ERR, i, r->err_fd);
	if (rc == 0)
		rc = ring_run(vu, i, r->kick_fd, p->selected);
	if (rc < 0)
		return rc;
	p->out |= (uint8_t)(1u << ring);
	vu->n_out++;
	return 0;
}

static int path_ring_stop(struct vhost *v, unsigned int ring, uint16_t *base)
{
	struct vuf_pair *p = pair_of(v);
	struct vuf *vu = p->vu;
	struct vhost_vring_state s = { .index = index_of(v, ring) };
	int rc;

	if (!(p->out & 1u << ring))
		return 0;
	p->out &= (uint8_t) ~(1u << ring);
	vu->n_out--;
	rc = vuf_ask(vu, VU_GET_VRING_BASE, &s, sizeof(s), sizeof(s));
	if (rc < 0)
		return rc;
	if (s.index != index_of(v, ring) || !vu_base_heard(vu->packed, s.num, base)) {
		vuf_lost(vu, "the back end names another ring");
		return -EBADMSG;
	}
	return 0;
}

static void path_select(struct vhost *v, bool on)
{
	struct vuf_pair *p = pair_of(v);

	if (p->selected == on)
		return;
	p->selected = on;
	for (unsigned int ring = 0; ring < VHOST_RINGS; ring++)
		if (p->out & 1u << ring)
			(void)tell_enable(p->vu, index_of(v, ring), on);
}

static void path_set_mtu(struct vhost *v, uint16_t mtu)
{
	struct vuf *vu = pair_of(v)->vu;
	uint64_t u = mtu;

	if (vuf_has(vu, VU_P_NET_MTU))
		(void)vuf_tell(vu, VU_NET_SET_MTU, &u, sizeof(u), NULL, 0);
}

static void path_announce(struct vhost *v, const uint8_t mac[6])
{
	struct vuf *vu = pair_of(v)->vu;
	uint64_t u = 0;

	memcpy(&u, mac, 6);
	if (vuf_has(vu, VU_P_RARP))
		(void)vuf_say(vu, VU_SEND_RARP, &u, sizeof(u));
}

const struct vhost_ops vuf_vhost_ops = {
	.setup = path_setup,
	.ring_start = path_ring_start,
	.ring_stop = path_ring_stop,
	.select = path_select,
	.set_mtu = path_set_mtu,
	.announce = path_announce,
};
