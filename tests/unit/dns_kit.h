/* SPDX-License-Identifier: BSD-3-Clause */
/* DNS messages for tests, written record by record. */
#ifndef DNS_KIT_H
#define DNS_KIT_H

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

struct dns_text {
	uint8_t data[4096];
	uint32_t len;
};

static inline void dt_put16(struct dns_text *m, uint32_t v)
{
	m->data[m->len++] = (uint8_t)(v >> 8);
	m->data[m->len++] = (uint8_t)v;
}

/* "a.b.c" on the wire, without compression. */
static inline void dt_name(struct dns_text *m, const char *name)
{
	while (*name) {
		uint32_t n = (uint32_t)strcspn(name, ".");

		m->data[m->len++] = (uint8_t)n;
		memcpy(m->data + m->len, name, n);
		m->len += n;
		name += n + (name[n] == '.');
	}
	m->data[m->len++] = 0;
}

static inline void dt_begin(struct dns_text *m, uint16_t id, uint16_t flags, const char *name,
			    uint16_t type)
{
	memset(m->data, 0, 12);
	m->len = 0;
	dt_put16(m, id);
	dt_put16(m, flags);
	m->data[5] = 1;
	m->len = 12;
	dt_name(m, name);
	dt_put16(m, type);
	dt_put16(m, 1);
}

static inline struct dns_text dt_query(uint16_t id, const char *name, uint16_t type)
{
	struct dns_text m;

	dt_begin(&m, id, 0x0100, name, type);
	return m;
}

static inline struct dns_text dt_answer(uint16_t id, const char *name, uint16_t type)
{
	struct dns_text m;

	dt_begin(&m, id, 0x8180, name, type);
	return m;
}

static inline void dt_record(struct dns_text *m, const char *owner, uint16_t type, uint32_t ttl,
			     const void *data, uint32_t len)
{
	dt_name(m, owner);
	dt_put16(m, type);
	dt_put16(m, 1);
	dt_put16(m, ttl >> 16);
	dt_put16(m, ttl);
	dt_put16(m, len);
	memcpy(m->data + m->len, data, len);
	m->len += len;
	m->data[7]++;
}

static inline void dt_a(struct dns_text *m, const char *owner, uint32_t ttl, const char *addr)
{
	uint8_t a[4];

	inet_pton(AF_INET, addr, a);
	dt_record(m, owner, 1, ttl, a, 4);
}

static inline void dt_aaaa(struct dns_text *m, const char *owner, uint32_t ttl, const char *addr)
{
	uint8_t a[16];

	inet_pton(AF_INET6, addr, a);
	dt_record(m, owner, 28, ttl, a, 16);
}

static inline void dt_cname(struct dns_text *m, const char *owner, uint32_t ttl, const char *to)
{
	struct dns_text name = { .len = 0 };

	dt_name(&name, to);
	dt_record(m, owner, 5, ttl, name.data, name.len);
}

#endif
