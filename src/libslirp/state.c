/* SPDX-License-Identifier: BSD-3-Clause */
/* The state that a caller saves with its guest's (savevm, migration) and loads again. */

/*
 * What is saved is what the guest would miss: whose MAC is whose, DHCP's leases, and between which
 * ends it has TCP connections. The connections themselves stay with the process that has their
 * sockets. Whoever loads the state resets each of them to the guest as soon as that runs
 * (orphan.c), so that no program in it waits for a far end that is gone; forwards are the caller's
 * options and are there. Connections that the loading process has are reset to the host: its guest
 * no longer knows them.
 *
 * The format is ours: 8 bytes of name, then big-endian a version and the length of what follows.
 * That is sections: a name of 4 letters, the length, entries of one size. The number that
 * slirp_state_version() says is libslirp's, since QEMU takes no other; a stream of libslirp's own
 * is refused by its beginning, and libslirp refuses ours, whose first byte announces a socket at an
 * address that is none of its network's. Everything is checked before anything is changed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/user/tcp.h"
#include "base/macros.h"
#include "libslirp/slirp.h"

#define STATE_VERSION 1
#define STATE_MAX (8u << 20)
#define HEADER 16
#define LIBSLIRP_VERSION 4 /* of libslirp 4.0 to 4.9 */
#define NEIGH_LEN 22
#define LEASE_LEN 12
#define FLOW_LEN 42

static const char magic[8] = { 't', 'w', 'x', 's', 'l', 'i', 'r', 'p' };

int slirp_state_version(void)
{
	return LIBSLIRP_VERSION;
}

/* --- saving --- */

struct out {
	uint8_t *data;
	uint32_t len, cap;
	bool failed;
};

static uint8_t *grow(struct out *o, uint32_t n)
{
	if (o->len + n > o->cap) {
		uint32_t cap = max(o->cap * 2, o->len + n);
		uint8_t *data = o->failed || cap > STATE_MAX ? NULL : realloc(o->data, cap);

		if (!data) {
			o->failed = true;
			return NULL;
		}
		o->data = data;
		o->cap = cap;
	}
	o->len += n;
	return o->data + o->len - n;
}

/* Where the section's length stands. */
static uint32_t begin(struct out *o, const char name[4])
{
	uint8_t *p = grow(o, 8);

	if (p)
		memcpy(p, name, 4);
	return o->len - 4;
}

static void end(struct out *o, uint32_t at)
{
	if (!o->failed)
		user_put32(o->data + at, o->len - at - 4);
}

static void save_neighbours(struct out *o, const struct user *u)
{
	static const uint8_t none[6];
	uint32_t at = begin(o, "neig");

	for (uint32_t i = 0; i < USER_NEIGHS; i++) {
		const struct user_neigh *n = &u->neighs[i];
		uint8_t *p = memcmp(n->mac, none, 6) ? grow(o, NEIGH_LEN) : NULL;

		if (!p)
			continue;
		memcpy(p, &n->ip, 16);
		memcpy(p + 16, n->mac, 6);
	}
	end(o, at);
}

static void save_leases(struct out *o, struct user *u)
{
	uint32_t at = begin(o, "leas"), left;
	uint8_t mac[6];

	for (uint32_t i = 0; i < USER_LEASES; i++) {
		uint8_t *p = dhcp_lease(u, i, mac, &left) ? grow(o, LEASE_LEN) : NULL;

		if (!p)
			continue;
		user_put16(p, i);
		memcpy(p + 2, mac, 6);
		user_put32(p + 8, left);
	}
	end(o, at);
}

static void save_flows(struct out *o, struct user *u)
{
	uint32_t at = begin(o, "flow");

	for (uint32_t i = 0; i < u->flows.high; i++) {
		struct flow *f = &u->flows.flows[i];
		bool open = f->key.kind == FLOW_TCP && tcp_of(f)->state == TS_OPEN;
		const uint8_t *mac = open ? user_neigh_find(u, &f->key.guest) : NULL;
		uint8_t *p = mac ? grow(o, FLOW_LEN) : NULL;

		if (!p)
			continue;
		memcpy(p, &f->key.guest, 16);
		memcpy(p + 16, &f->key.peer, 16);
		user_put16(p + 32, f->key.guest_port);
		user_put16(p + 34, f->key.peer_port);
		memcpy(p + 36, mac, 6);
	}
	end(o, at);
}

void slirp_state_save(struct Slirp *s, slirp_write_fn *write, void *opaque)
{
	struct out o = { 0 };
	uint8_t *head;

	slirp_settle(s);
	grow(&o, HEADER);
	save_neighbours(&o, s->user);
	save_leases(&o, s->user);
	save_flows(&o, s->user);
	head = o.data;
	/* One that is too long loses its end as a whole: a header alone is a state, too. */
	if (head) {
		o.len = o.failed ? HEADER : o.len;
		memcpy(head, magic, sizeof(magic));
		user_put32(head + 8, STATE_VERSION);
		user_put32(head + 12, o.len - HEADER);
		write(head, o.len, opaque);
	}
	free(o.data);
}

/* --- loading --- */

static bool load_neighbour(struct user *u, const uint8_t *p, bool apply)
{
	struct in6_addr ip;

	memcpy(&ip, p, 16);
	if (apply)
		user_neigh_learn(u, &ip, p + 16);
	return true;
}

static bool load_lease(struct user *u, const uint8_t *p, bool apply)
{
	if (user_get16(p) >= USER_LEASES)
		return false;
	if (apply)
		dhcp_lease_set(u, user_get16(p), p + 2, user_get32(p + 8));
	return true;
}

static bool load_flow(struct user *u, const uint8_t *p, bool apply)
{
	struct flow_key key = {
		.guest_port = user_get16(p + 32),
		.peer_port = user_get16(p + 34),
		.kind = FLOW_TCP,
	};

	memcpy(&key.guest, p, 16);
	memcpy(&key.peer, p + 16, 16);
	if (apply)
		orphan_expect(u, &key, p + 36);
	return true;
}

static const struct section {
	char name[5];
	uint32_t entry;
	bool (*load)(struct user *u, const uint8_t *p, bool apply);
} sections[] = {
	{ "neig", NEIGH_LEN, load_neighbour },
	{ "leas", LEASE_LEN, load_lease },
	{ "flow", FLOW_LEN, load_flow },
};

static const struct section *section_find(const uint8_t *name)
{
	for (size_t i = 0; i < array_size(sections); i++)
		if (!memcmp(name, sections[i].name, 4))
			return &sections[i];
	return NULL;
}

static int load_sections(struct user *u, const uint8_t *p, uint32_t len, bool apply,
			 struct twx_error *e)
{
	while (len) {
		const struct section *sec = len >= 8 ? section_find(p) : NULL;
		uint32_t n = len >= 8 ? user_get32(p + 4) : 0;

		if (len < 8)
			return twx_error_set(e, EINVAL, "the saved state ends inside a section");
		if (!sec)
			return twx_error_set(e, EINVAL,
					     "section '%.4s' of the saved state is not known here",
					     (const char *)p);
		if (n > len - 8 || n % sec->entry)
			return twx_error_set(e, EINVAL,
					     "section '%s' of the saved state has a wrong length",
					     sec->name);
		for (uint32_t off = 8; off < 8 + n; off += sec->entry)
			if (!sec->load(u, p + off, apply))
				return twx_error_set(e, EINVAL,
						     "section '%s' of the saved state is damaged",
						     sec->name);
		p += 8 + n;
		len -= 8 + n;
	}
	return 0;
}

static bool read_all(slirp_read_fn *read, void *opaque, uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = read(buf, len, opaque);

		if (n <= 0 || (size_t)n > len)
			return false;
		buf += n;
		len -= (size_t)n;
	}
	return true;
}

/* malloc()ed, null and an error otherwise. */
static uint8_t *read_state(slirp_read_fn *read, void *opaque, uint32_t *len, struct twx_error *e)
{
	uint8_t head[HEADER], *data;

	if (!read_all(read, opaque, head, sizeof(head)) ||
	    memcmp(head, magic, sizeof(magic)) != 0) {
		twx_error_set(e, EINVAL,
			      "the saved state is not of twinax, but of another libslirp");
		return NULL;
	}
	*len = user_get32(head + 12);
	if (user_get32(head + 8) != STATE_VERSION) {
		twx_error_set(e, EINVAL, "the saved state is of version %u, not %u",
			      user_get32(head + 8), STATE_VERSION);
		return NULL;
	}
	if (*len > STATE_MAX) {
		twx_error_set(e, EINVAL, "the saved state is too long");
		return NULL;
	}
	data = malloc(*len + 1);
	if (data && read_all(read, opaque, data, *len))
		return data;
	free(data);
	twx_error_set(e, EINVAL, "the saved state is cut off");
	return NULL;
}

int slirp_state_load(struct Slirp *s, int version, slirp_read_fn *read, void *opaque)
{
	struct twx_error e = { 0 };
	struct user *u = s->user;
	struct flow *f;
	uint32_t len = 0;
	uint8_t *data;
	int ret;

	if (version != LIBSLIRP_VERSION)
		return -EINVAL;
	data = read_state(read, opaque, &len, &e);
	ret = data ? load_sections(u, data, len, false, &e) : -e.code;
	if (ret) {
		slirp_complain(&e);
		free(data);
		return ret;
	}
	slirp_settle(s);
	while ((f = flow_oldest(&u->flows, FLOW_TCP)))
		tcp_abort_host(u, f);
	load_sections(u, data, len, true, &e);
	orphan_begin(u);
	free(data);
	return 0;
}
