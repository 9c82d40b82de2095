/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings: their addresses, kicks and states, and when the device gets to have them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hosts/vhost_user.h"

#define POLL_NS 100000 /* how often a ring without a kick fd is looked at */

#define ring_of_watch(w) ((struct vu_ring *)((char *)(w) - offsetof(struct vu_ring, kick_watch)))
#define host_of_poll(t) ((struct vu_host *)((char *)(t) - offsetof(struct vu_host, poll)))

/* Of the thread that runs the queue; all else about a ring is the host's. */
static struct twx_loop *ring_loop(const struct vu_ring *r)
{
	return virtio_queue_loop(r->vu->dev, r->index);
}

static void ring_kick(struct vu_ring *r)
{
	struct vu_host *vu = r->vu;

	TWX_TRACE(twx_loop_trace(ring_loop(r)), TWX_HOP_KICK, vu->host->nic->id, 0, r->index);
	vu->dev->ops->kick(vu->dev, r->index);
}

static void kick_ready(struct twx_watch *w, uint32_t events)
{
	struct vu_ring *r = ring_of_watch(w);
	int err = event_drain(r->kick_fd);

	(void)events;
	if (err < 0) {
		twx_watch_del(w);
		VU_LOG(r->vu, WARNING, "kick fd of queue %u is unusable, it gets no doorbells: %s",
		       r->index, strerror(-err));
		return;
	}
	ring_kick(r);
}

static void poll_arm(struct vu_host *vu)
{
	for (uint32_t i = 0; i < vu->n_rings; i++) {
		if (vu->rings[i].running && vu->rings[i].polled) {
			twx_timer_set(&vu->poll, twx_loop_now(vu->host->loop) + POLL_NS);
			return;
		}
	}
	twx_timer_cancel(&vu->poll);
}

void vu_ring_poll(struct twx_timer *t)
{
	struct vu_host *vu = host_of_poll(t);

	for (uint32_t i = 0; i < vu->n_rings; i++)
		if (vu->rings[i].running && vu->rings[i].polled)
			ring_kick(&vu->rings[i]);
	poll_arm(vu);
}

static bool misaligned(const void *p, uintptr_t align)
{
	return ((uintptr_t)p & (align - 1)) != 0;
}

static int ring_find(struct vu_ring *r, struct virtio_ring *out)
{
	struct mem_map *m = r->vu->mem;
	const struct vhost_vring_addr *a = &r->addr;
	struct virtio_ring_lens len = virtio_ring_lens(r->vu->dev->features, r->num);

	if (r->vu->iotlb != NULL)
		return vu_iotlb_ring_map(r, out);
	*out = (struct virtio_ring){
		.desc = mem_user_ptr(m, a->desc_user_addr, len.desc),
		.avail = mem_user_ptr(m, a->avail_user_addr, len.avail),
		.used = mem_user_ptr(m, a->used_user_addr, len.used),
		.log = (a->flags & VU_BIT(VHOST_VRING_F_LOG)) != 0,
		.log_used_gpa = a->log_guest_addr,
	};
	if (out->desc == NULL || out->avail == NULL || out->used == NULL)
		return -EFAULT;
	return 0;
}

static int ring_translate(struct vu_ring *r, struct virtio_ring *out)
{
	int err = ring_find(r, out);

	if (err < 0)
		return err;
	if (misaligned(out->desc, 16) || misaligned(out->avail, 2) || misaligned(out->used, 4))
		return -EINVAL;
	return 0;
}

void vu_ring_pause(struct vu_ring *r)
{
	if (!r->running)
		return;
	r->running = false;
	twx_watch_del(&r->kick_watch);
	r->base = vu_base_told(vu_packed(r->vu), virtio_queue_stop(r->vu->dev, r->index));
	r->base_set = true;
	inflight_close(&r->inflight);
	vu_iotlb_ring_unmap(r);
	poll_arm(r->vu);
}

/* Everything that can fail about a start; @ring's indices and its record are the device's then. */
static int ring_prepare(struct vu_ring *r)
{
	struct vu_host *vu = r->vu;
	struct virtio_ring ring;
	uint16_t next = virtio_ring_first(vu->dev->features);
	int err = ring_translate(r, &ring);

	if (err == 0 && r->base_set && !vu_base_heard(vu_packed(vu), r->base, &next))
		err = -EINVAL;
	if (err == 0)
		err = vu_inflight_begin(r, &ring, &next);
	if (err == 0)
		err = virtio_queue_setup(vu->dev, r->index, r->num, &ring, next);
	if (err == 0 && r->inflight.region != NULL)
		virtio_queue_track(vu->dev, r->index, &r->inflight);
	if (err == 0 && r->kick_fd >= 0)
		err = twx_watch_add(&r->kick_watch, ring_loop(r), r->kick_fd, EPOLLIN, kick_ready);
	return err;
}

static int ring_start(struct vu_ring *r)
{
	struct vu_host *vu = r->vu;
	int err = ring_prepare(r);

	if (err < 0) {
		inflight_close(&r->inflight);
		vu_iotlb_ring_unmap(r);
		/* Behind an IOMMU it starts when its addresses have come. */
		return err == -EAGAIN && vu->iotlb != NULL ? 0 : err;
	}
	virtio_queue_start(vu->dev, r->index);
	r->running = true;
	poll_arm(vu);
	ring_kick(r); /* what was offered before we listened */
	/*
	 * A predecessor that died between handing buffers back and saying so leaves a guest that waits
	 * for ever, should it have nothing more to offer. An interrupt too many does no harm.
	 */
	(void)event_signal(&r->call);
	return 0;
}

/* Without any memory a ring waits; with memory that does not hold it, this is the front end's error. */
int vu_ring_update(struct vu_ring *r)
{
	bool want = r->started && r->enabled && r->addr_set && r->num > 0 && r->vu->mem->n > 0;

	if (want && !r->running)
		return ring_start(r);
	if (!want)
		vu_ring_pause(r);
	return 0;
}

bool vu_rings_running(const struct vu_host *vu)
{
	for (uint32_t i = 0; i < vu->n_rings; i++)
		if (vu->rings[i].running)
			return true;
	return false;
}

void vu_rings_pause(struct vu_host *vu)
{
	for (uint32_t i = 0; i < vu->n_rings; i++)
		vu_ring_pause(&vu->rings[i]);
}

void vu_rings_resume(struct vu_host *vu)
{
	for (uint32_t i = 0; i < vu->n_rings; i++) {
		int err = vu_ring_update(&vu->rings[i]);

		if (err < 0)
			VU_LOG(vu, WARNING,
			       "queue %u stays stopped, its ring or its inflight region does not fit: %s", i,
			       strerror(-err));
	}
}

/* No longer started: the front end begins again with SET_VRING_KICK. */
static void ring_halt(struct vu_ring *r)
{
	vu_ring_pause(r);
	if (r->kick_fd >= 0)
		close(r->kick_fd);
	r->kick_fd = -1;
	r->started = false;
	r->polled = false;
}

void vu_rings_stop(struct vu_host *vu)
{
	for (uint32_t i = 0; i < vu->n_rings; i++)
		ring_halt(&vu->rings[i]);
}

void vu_rings_reset(struct vu_host *vu)
{
	vu_rings_stop(vu);
	for (uint32_t i = 0; i < vu->n_rings; i++) {
		struct vu_ring *r = &vu->rings[i];

		event_close(&r->call);
		event_close(&r->err);
		*r = (struct vu_ring){
			.vu = vu, .index = (uint16_t)i, .kick_fd = -1, .call.fd = -1, .err.fd = -1
		};
	}
}

/* The whole 32 bits are compared: an index of 0x10000 + n is not n. */
static struct vu_ring *ring_at(struct vu_host *vu, uint32_t index)
{
	return index < vu->n_rings ? &vu->rings[index] : NULL;
}

int vu_set_vring_num(struct vu_host *vu, struct vu_msg *m)
{
	struct vu_ring *r = ring_at(vu, m->p.state.index);
	uint32_t num = m->p.state.num;

	if (r == NULL || !virtio_ring_size_ok(vu->dev->features, num))
		return -EINVAL;
	if (r->running)
		return -EBUSY;
	r->num = (uint16_t)num;
	return vu_ring_update(r);
}

/* On a running ring this turns the logging of its used ring on and off, or moves it. */
int vu_set_vring_addr(struct vu_host *vu, struct vu_msg *m)
{
	struct vu_ring *r = ring_at(vu, m->p.addr.index), fresh;
	struct virtio_ring ring;
	int err;

	if (r == NULL || (m->p.addr.flags & ~VU_BIT(VHOST_VRING_F_LOG)) != 0)
		return -EINVAL;
	if (vu->iotlb != NULL)
		vu_ring_pause(r); /* what it was in may be gone, and what it will be in not known yet */
	fresh = *r;
	fresh.addr = m->p.addr;
	if (vu->iotlb == NULL && r->num > 0 && vu->mem->n > 0) {
		err = ring_translate(&fresh, &ring);
		if (err < 0)
			return err;
		if (r->running) {
			virtio_queue_move(vu->dev, r->index, &ring);
			ring_kick(r); /* asks for doorbells where the guest looks now */
		}
	}
	r->addr = m->p.addr;
	r->addr_set = true;
	return vu_ring_update(r);
}

int vu_set_vring_base(struct vu_host *vu, struct vu_msg *m)
{
	struct vu_ring *r = ring_at(vu, m->p.state.index);

	bool open = vu->features == 0 && (vu->dev->offered & VIRTIO_PACKED) != 0;
	uint16_t next;

	/* What it means is known with the features, and looked at again when the ring starts. */
	if (r == NULL || !vu_base_heard(open || vu_packed(vu), m->p.state.num, &next))
		return -EINVAL;
	if (r->running)
		return -EBUSY;
	r->base = m->p.state.num;
	r->base_set = true;
	return 0;
}

int vu_get_vring_base(struct vu_host *vu, struct vu_msg *m)
{
	struct vu_ring *r = ring_at(vu, m->p.state.index);

	if (r == NULL)
		return -EINVAL;
	ring_halt(r);
	m->p.state.num = r->base_set ? r->base : vu_base_told(vu_packed(vu), virtio_ring_first(vu->dev->features));
	m->head.size = sizeof(m->p.state);
	return 0;
}

/* Takes index and fd of SET_VRING_KICK, _CALL, _ERR apart; *@fd is -1 when the NOFD bit says so. */
static int ring_fd(struct vu_host *vu, struct vu_msg *m, struct vu_ring **r, int *fd)
{
	uint64_t v = m->p.u64;
	bool none = (v & VU_NOFD) != 0;

	if ((v & ~(uint64_t)(VU_NOFD | VU_INDEX)) != 0 || m->n_fds != (none ? 0 : 1))
		return -EINVAL;
	*r = ring_at(vu, (uint32_t)(v & VU_INDEX));
	if (*r == NULL)
		return -EINVAL;
	*fd = none ? -1 : m->fds[0];
	m->fds[0] = -1;
	return 0;
}

/* Refuses what cannot be waited for: a file, a device. The peer shares the flags, so reads do not rely
 * on them alone. A kick that is read here is not lost: a ring is looked at whenever it gets an fd. */
static int kick_check(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_mode & S_IFMT) != 0 && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
		return -EINVAL;
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return (st.st_mode & S_IFMT) == 0 ? event_probe(fd) : 0;
}

/* The new fd of a ring that runs: same index, no restart. */
static int kick_replace(struct vu_ring *r)
{
	int err = 0;

	if (r->kick_fd >= 0)
		err = twx_watch_add(&r->kick_watch, ring_loop(r), r->kick_fd, EPOLLIN, kick_ready);
	poll_arm(r->vu);
	if (err < 0)
		ring_halt(r);
	else
		ring_kick(r);
	return err;
}

int vu_set_vring_kick(struct vu_host *vu, struct vu_msg *m)
{
	struct vu_ring *r;
	int fd, err = ring_fd(vu, m, &r, &fd);

	if (err < 0)
		return err;
	if (fd >= 0 && (err = kick_check(fd)) < 0) {
		close(fd);
		return err;
	}
	twx_watch_del(&r->kick_watch);
	if (r->kick_fd >= 0)
		close(r->kick_fd);
	r->kick_fd = fd;
	r->polled = fd < 0;
	r->started = true;
	return r->running ? kick_replace(r) : vu_ring_update(r);
}

/*
 * Signals that went nowhere are made good by one: a spurious interrupt does no harm. They may have
 * gone to the former fd, too: QEMU starts a ring with one that it empties unread before it gives
 * the guest's (seen in 11.1 with MSI-X under tcg), and what was said in between is lost.
 */
int vu_set_vring_call(struct vu_host *vu, struct vu_msg *m)
{
	struct vu_ring *r;
	int fd, err = ring_fd(vu, m, &r, &fd);

	if (err < 0)
		return err;
	if (fd < 0) {
		event_close(&r->call);
		return 0;
	}
	err = event_take(&r->call, fd);
	if (err == 0 && r->running)
		(void)event_signal(&r->call);
	return err;
}

int vu_set_vring_err(struct vu_host *vu, struct vu_msg *m)
{
	struct vu_ring *r;
	int fd, err = ring_fd(vu, m, &r, &fd);

	if (err < 0)
		return err;
	if (fd >= 0)
		return event_take(&r->err, fd);
	event_close(&r->err);
	return 0;
}

int vu_set_vring_enable(struct vu_host *vu, struct vu_msg *m)
{
	struct vu_ring *r = ring_at(vu, m->p.state.index);

	if (r == NULL || m->p.state.num > 1)
		return -EINVAL;
	r->enabled = m->p.state.num == 1;
	return vu_ring_update(r);
}
