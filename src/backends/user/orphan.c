/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections of the guest that a killed process has left behind: recorded, and reset by its
 * successor. */

/*
 * Theory of operation
 *
 * When this process is killed, the host's kernel closes the sockets and tells the far ends, but
 * nobody tells the guest. What it sends later is answered with a RST, since no flow is known. A
 * connection on which the guest only waits, a download, would wait for ever.
 *
 * So the addresses of every open connection stand in a file, PREFIX.ID.flows with the net's
 * state_prefix: a record of 48 bytes at the place of the flow's index, written when the connection
 * is established and wiped when it is forgotten, one pwrite() each. Sequence numbers are not
 * recorded. The file is locked (flock) while its process lives and removed when that ends in good
 * order. Without a prefix, or where the file cannot be made or is somebody else's, all of this is
 * off; a record that cannot be written (disk full) is one connection that is not reset.
 *
 * The successor reads what it finds. As soon as the guest takes frames, each connection gets a
 * probe: one byte at a random sequence number with a random acknowledgement. RFC 9293, 3.10.7.4: an
 * unacceptable segment is answered with an ACK, which says where the guest's window begins, and the
 * RST that tcp.c sends for a segment of an unknown flow then fits it exactly (RFC 5961, 3.2, asks
 * for that). A bare ACK would do for the specification, but Linux answers those twice a second at
 * most, and the first answer may fall into the time when the guest does not see its link up yet. An
 * ARP request of ours goes first: a guest whose link was down has forgotten the gateway, and its
 * own request may be lost in the same way. That a probe be taken for data would need both numbers
 * to fit. Probes are repeated in eight rounds over 3.2 s; whoever has answered is left alone.
 *
 * The file is data of a stranger: a record is used only if it is a TCP connection of a guest of
 * this network. The worst that a forged one can do is to have a guest close one of its own
 * connections.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/user/tcp.h"
#include "base/hostops.h"
#include "base/macros.h"
#include "net/net_priv.h"

#define FRAME_LEN 80
#define BATCH 32 /* probes in a burst, records in a read */

struct record {
	struct flow_key key;
	uint8_t mac[6];
	uint8_t pad[2];
};
_Static_assert(sizeof(struct record) == 48, "on disk");

/* In the file's first record. */
static const char magic[sizeof(struct record)] = "twinax flows 1\n";

static const uint16_t pause_ms[] = { 50, 50, 100, 200, 400, 800, 1600 };

struct user_orphans {
	struct user *user;
	int fd; /* -1: nothing is recorded */
	char *path;
	struct record *list; /* of the predecessor, not yet answered */
	uint32_t n, next;
	uint32_t round;
	struct in6_addr introduced; /* the guest that has heard of us in this round */
	bool refused;		    /* the guest takes no frames: resume() goes on */
	struct twx_timer timer;
};

/* --- the file --- */

static off_t place_of(uint32_t index)
{
	return (off_t)sizeof(struct record) * (1 + (off_t)index);
}

static bool usable(struct user *u, const struct record *r)
{
	const struct flow_key *k = &r->key;
	const struct in6_addr *guest = &k->guest;
	static const uint8_t zero[6];
	struct sockaddr_storage to;
	socklen_t len;

	if (k->kind != FLOW_TCP || user_is_v4(guest) != user_is_v4(&k->peer) || !k->guest_port ||
	    !k->peer_port || (r->mac[0] & 1) || !memcmp(r->mac, zero, 6))
		return false;
	if (!user_may_be_guest(u, guest))
		return false;
	/* Nobody's address, or everybody's. */
	return user_map_out(u, &k->peer, k->peer_port, IPPROTO_TCP, &to, &len) != -EADDRNOTAVAIL;
}

static void load_some(struct user_orphans *o, const struct record *r, size_t n)
{
	struct user *u = o->user;

	for (size_t i = 0; i < n; i++) {
		if (!usable(u, &r[i]))
			continue;
		o->list[o->n] = r[i];
		memset(o->list[o->n].key.pad, 0, sizeof(r->key.pad));
		o->n++;
		user_neigh_learn(u, &r[i].key.guest, r[i].mac);
	}
}

static void load(struct user_orphans *o, off_t size)
{
	struct record buf[BATCH];
	uint32_t max =
		(uint32_t)min((uint64_t)size / sizeof(buf[0]), (uint64_t)o->user->cfg.max_flows);
	ssize_t n = pread(o->fd, buf, sizeof(buf[0]), 0);

	if (n != sizeof(buf[0]) || memcmp(buf, magic, sizeof(magic)) != 0)
		return;
	o->list = calloc(max, sizeof(*o->list));
	for (uint32_t i = 0; o->list && i < max; i += BATCH) {
		uint32_t want = min(max - i, (uint32_t)BATCH);

		n = pread(o->fd, buf, want * sizeof(buf[0]), place_of(i));
		if (n <= 0)
			break;
		load_some(o, buf, (size_t)n / sizeof(buf[0]));
	}
}

/* Made by us or by a predecessor under the same user, and by nobody living. */
static int take_file(int fd, off_t *size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink > 1)
		return -EEXIST;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &st) < 0)
		return -errno;
	*size = st.st_size;
	return st.st_nlink == 1 ? 0 : -ESTALE;
}

/* Leaves o->fd open and locked, or -1. */
static int open_file(struct user_orphans *o, off_t *size)
{
	int err;

	o->fd = hostops_open(net_hostops(o->user->backend->net), o->path,
			     O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
	if (o->fd < 0) {
		err = o->fd;
		o->fd = -1;
		return err;
	}
	err = take_file(o->fd, size);
	if (err < 0) {
		close(o->fd);
		o->fd = -1;
	}
	return err;
}

/* Only while the path still leads to our file. */
static void end(struct user_orphans *o)
{
	struct stat ours, there;

	if (o->fd < 0)
		return;
	if (fstat(o->fd, &ours) == 0 && lstat(o->path, &there) == 0 &&
	    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
		(void)hostops_unlink(net_hostops(o->user->backend->net), o->path);
	close(o->fd);
	o->fd = -1;
}

static int begin(struct user_orphans *o)
{
	off_t size = 0;
	int err = open_file(o, &size);

	/* Its owner was just removing it. */
	if (err == -ESTALE)
		err = open_file(o, &size);
	if (err < 0)
		return err;
	load(o, size);
	if (ftruncate(o->fd, 0) < 0)
		err = -errno;
	else if (pwrite(o->fd, magic, sizeof(magic), 0) != sizeof(magic))
		err = -ENOSPC;
	if (err < 0)
		end(o);
	return err;
}

void orphan_record(struct user *u, struct flow *f)
{
	struct user_orphans *o = u->orphans;
	struct record r = { .key = f->key };
	const uint8_t *mac = user_neigh_find(u, &f->key.guest);

	if (!o || o->fd < 0 || !mac)
		return;
	memcpy(r.mac, mac, 6);
	if (pwrite(o->fd, &r, sizeof(r), place_of(flow_index(&u->flows, f))) == sizeof(r))
		tcp_of(f)->flags |= TF_RECORDED;
}

void orphan_wipe(struct user *u, struct flow *f)
{
	static const struct record none;
	struct user_orphans *o = u->orphans;
	ssize_t n;

	if (!o || o->fd < 0 || !(tcp_of(f)->flags & TF_RECORDED))
		return;
	/* One that stays costs a probe to nobody. */
	n = pwrite(o->fd, &none, sizeof(none), place_of(flow_index(&u->flows, f)));
	(void)n;
}

/* --- probes --- */

static void all_done(struct user_orphans *o)
{
	free(o->list);
	o->list = NULL;
	o->n = o->next = 0;
	o->refused = false;
	twx_timer_cancel(&o->timer);
}

static void forget(struct user_orphans *o, uint32_t i)
{
	o->list[i] = o->list[--o->n];
}

static void introduce(struct user_orphans *o, const struct record *r)
{
	const struct in6_addr *guest = &r->key.guest;

	if (user_same(&o->introduced, guest))
		return;
	o->introduced = *guest;
	if (user_is_v4(guest))
		arp_introduce(o->user, user_v4(guest), r->mac);
	else
		ndp_introduce(o->user, guest, r->mac);
}

/* A burst from the list's next on; false if the guest takes no more. */
static bool probe_some(struct user_orphans *o)
{
	struct user *u = o->user;
	struct twx_frame frames[BATCH];
	struct iovec iov[BATCH];
	uint8_t bytes[BATCH][FRAME_LEN] = { 0 };
	uint32_t n = 0, done;

	while (n < BATCH && o->next + n < o->n) {
		const struct record *r = &o->list[o->next + n];
		const struct flow_key *key = &r->key;
		uint64_t salt = flow_hash(&u->flows, key, sizeof(*key)) + twx_loop_now(u->loop);
		uint32_t len;

		/* The guest has begun anew with the same port. */
		if (flow_find(&u->flows, key)) {
			forget(o, o->next + n);
			continue;
		}
		introduce(o, r);
		len = tcp_probe(u, bytes[n], key, flow_hash(&u->flows, &salt, sizeof(salt)));
		iov[n] = (struct iovec){ bytes[n], len };
		frames[n] = (struct twx_frame){ .iov = &iov[n], .n_iov = 1, .len = len };
		n++;
	}
	done = n ? (uint32_t)user_send(u, frames, (int)n) : 0;
	o->next += done;
	return done == n;
}

/* One round; what the guest does not take is left to orphan_resume(). */
static void probe(struct user_orphans *o)
{
	struct user *u = o->user;

	o->refused = false;
	while (o->next < o->n) {
		if (!probe_some(o)) {
			o->refused = true;
			return;
		}
	}
	o->next = 0;
	o->introduced = in6addr_any;
	if (o->n == 0 || o->round == array_size(pause_ms)) {
		all_done(o);
		return;
	}
	twx_timer_set(&o->timer, twx_loop_now(u->loop) + pause_ms[o->round++] * TCP_MS);
}

static void probe_due(struct twx_timer *t)
{
	probe(container_of(t, struct user_orphans, timer));
}

void orphan_resume(struct user *u)
{
	if (u->orphans && u->orphans->refused)
		probe(u->orphans);
}

void orphan_answered(struct user *u, const struct flow_key *key)
{
	struct user_orphans *o = u->orphans;

	for (uint32_t i = 0; o && i < o->n; i++) {
		if (!memcmp(&o->list[i].key, key, sizeof(*key))) {
			forget(o, i);
			return;
		}
	}
}

/* --- a guest that has moved --- */

static struct user_orphans *orphans_new(struct user *u)
{
	struct user_orphans *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->user = u;
	o->fd = -1;
	twx_timer_init(&o->timer, u->loop, probe_due);
	u->orphans = o;
	return o;
}

void orphan_expect(struct user *u, const struct flow_key *key, const uint8_t mac[6])
{
	struct user_orphans *o = u->orphans ? u->orphans : orphans_new(u);
	struct record r = { .key = *key }, *list;

	memcpy(r.mac, mac, 6);
	if (!o || o->n >= u->cfg.max_flows || !usable(u, &r))
		return;
	list = reallocarray(o->list, o->n + 1, sizeof(*list));
	if (!list)
		return;
	o->list = list;
	load_some(o, &r, 1);
}

void orphan_begin(struct user *u)
{
	struct user_orphans *o = u->orphans;

	if (!o || !o->n)
		return;
	o->round = o->next = 0;
	twx_timer_set(&o->timer, twx_loop_now(u->loop));
}

/* --- beginning and end --- */

static char *path_of(const struct user *u, const char *prefix)
{
	char *path;

	return asprintf(&path, "%s.%s.flows", prefix, u->backend->id) < 0 ? NULL : path;
}

void orphan_init(struct user *u)
{
	struct twx_net *net = u->backend->net;
	const char *prefix = net_state_prefix(net);
	struct user_orphans *o = prefix ? orphans_new(u) : NULL;
	int err;

	if (!o)
		return;
	o->path = path_of(u, prefix);
	err = o->path ? begin(o) : -ENOMEM;
	/* Where there is no such folder, the socket beside it cannot be made either, and says so.
	 */
	if (err < 0 && err != -ENOENT)
		twx_log(net, TWX_LOG_INFO,
			"netdev %s: connections will not be reset after a crash, cannot use %s: %s",
			u->backend->id, o->path ? o->path : prefix, strerror(-err));
	if (o->n == 0) {
		all_done(o);
		return;
	}
	twx_log(net, TWX_LOG_INFO,
		"netdev %s: resetting %u connections of the process before this one",
		u->backend->id, o->n);
	twx_timer_set(&o->timer, twx_loop_now(u->loop));
}

void orphan_fini(struct user *u)
{
	struct user_orphans *o = u->orphans;

	if (!o)
		return;
	u->orphans = NULL;
	end(o);
	all_done(o);
	free(o->path);
	free(o);
}
