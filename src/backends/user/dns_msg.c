/* SPDX-License-Identifier: BSD-3-Clause */
/* DNS messages (RFC 1035): the question, and the addresses that an answer has for it. */
#include "backends/user/dns_msg.h"

#include <string.h>

#include "base/macros.h"

#define RECORDS_MAX 512	 /* looked at in one answer */
#define POINTERS_MAX 128 /* in one name: it has no more labels */
#define TYPE_A 1
#define TYPE_CNAME 5
#define TYPE_AAAA 28
#define CLASS_IN 1

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* --- names --- */

/* A dot inside of a label must not look like one between two. */
static char host_char(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c | 0x20);
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')
		return (char)c;
	return '?';
}

static bool add_label(struct dns_name *name, uint32_t *used, const uint8_t *label, uint32_t n)
{
	/* 255 bytes on the wire are 253 characters with dots between the labels. */
	if (*used + n + 1 > DNS_NAME_MAX)
		return false;
	if (*used)
		name->text[(*used)++] = '.';
	for (uint32_t i = 0; i < n; i++)
		name->text[(*used)++] = host_char(label[i]);
	return true;
}

/* The name at @off; where it ends, or 0. RFC 1035, 4.1.4: a pointer leads to a prior name, so back,
 * and never into the header. */
static uint32_t read_name(const uint8_t *msg, uint32_t len, uint32_t off, struct dns_name *name)
{
	uint32_t end = 0, used = 0, start = off, n_pointers = 0;

	while (off < len) {
		uint8_t n = msg[off++];

		if (!n) {
			name->text[used] = 0;
			return end ? end : off;
		}
		if ((n & 0xc0) == 0xc0) {
			if (off == len)
				return 0;
			end = end ? end : off + 1;
			off = (n & 0x3fu) << 8 | msg[off];
			if (off < DNS_HDR || off >= start || ++n_pointers > POINTERS_MAX)
				return 0;
			start = off;
			continue;
		}
		if (n & 0xc0 || len - off < n || !add_label(name, &used, msg + off, n))
			return 0;
		off += n;
	}
	return 0;
}

/* --- questions --- */

bool dns_msg_question(const uint8_t *msg, uint32_t len, struct dns_question *q)
{
	uint32_t off;

	if (len < DNS_HDR || get16(msg + 4) != 1)
		return false;
	off = read_name(msg, len, DNS_HDR, &q->name);
	if (!off || len - off < 4)
		return false;
	q->type = get16(msg + off);
	q->class = get16(msg + off + 2);
	q->end = off + 4;
	return true;
}

bool dns_msg_answers(const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len)
{
	struct dns_question qa, qb;

	if (b_len < DNS_HDR || !dns_msg_is_answer(b) || memcmp(a, b, 2))
		return false;
	if (!get16(b + 4) || !dns_msg_question(a, a_len, &qa))
		return true; /* an error may leave the question out (RFC 1035, 4.1.1) */
	return dns_msg_question(b, b_len, &qb) && qa.type == qb.type && qa.class == qb.class &&
	       !strcmp(qa.name.text, qb.name.text);
}

uint32_t dns_msg_refuse(const uint8_t *msg, uint32_t len, uint8_t rcode, uint8_t *out)
{
	struct dns_question q;
	uint32_t n = DNS_HDR;

	if (len < DNS_HDR)
		return 0;
	if (dns_msg_question(msg, len, &q))
		n = q.end;
	memcpy(out, msg, n);
	/* QR, the query's opcode and RD; RA; no records, no question that was not understood. */
	out[2] = (uint8_t)(0x80 | (msg[2] & 0x79));
	out[3] = (uint8_t)(0x80 | rcode);
	memset(out + 4, 0, 8);
	out[5] = n > DNS_HDR;
	return n;
}

/* --- answers --- */

struct record {
	struct dns_name owner;
	uint16_t type, class;
	uint32_t ttl, data, data_len; /* offset */
};

/* The record at @off; where it ends, or 0. */
static uint32_t read_record(const uint8_t *msg, uint32_t len, uint32_t off, struct record *r)
{
	off = read_name(msg, len, off, &r->owner);
	if (!off || len - off < 10)
		return 0;
	r->type = get16(msg + off);
	r->class = get16(msg + off + 2);
	r->ttl = get32(msg + off + 4);
	r->data_len = get16(msg + off + 8);
	r->data = off + 10;
	/* RFC 2181, 8: the top bit set means 0. */
	if (r->ttl & 0x80000000)
		r->ttl = 0;
	return len - r->data < r->data_len ? 0 : r->data + r->data_len;
}

static bool has_name(const struct dns_chain *c, const struct dns_name *name)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (!strcmp(c->names[i].text, name->text))
			return true;
	return false;
}

static uint32_t n_records(const uint8_t *msg)
{
	return min((uint32_t)get16(msg + 6), (uint32_t)RECORDS_MAX);
}

/* One look at all answers for CNAMEs that go on; true if there were some. */
static bool extend_chain(const uint8_t *msg, uint32_t len, uint32_t off, struct dns_chain *c)
{
	uint32_t before = c->n, next;
	struct record r;

	for (uint32_t i = n_records(msg); i && c->n < DNS_CHAIN_MAX; i--, off = next) {
		struct dns_name *to = &c->names[c->n];

		next = read_record(msg, len, off, &r);
		if (!next)
			break;
		if (r.type == TYPE_CNAME && r.class == CLASS_IN && has_name(c, &r.owner) &&
		    read_name(msg, len, r.data, to) == next && !has_name(c, to))
			c->n++;
	}
	return c->n > before;
}

static bool address_of(const uint8_t *msg, const struct record *r, struct in6_addr *a)
{
	if (r->class != CLASS_IN)
		return false;
	if (r->type == TYPE_AAAA && r->data_len == 16) {
		memcpy(a, msg + r->data, 16);
		return !IN6_IS_ADDR_V4MAPPED(a);
	}
	if (r->type != TYPE_A || r->data_len != 4)
		return false;
	memset(a, 0, sizeof(*a));
	a->s6_addr32[2] = htonl(0xffff);
	memcpy(&a->s6_addr32[3], msg + r->data, 4);
	return true;
}

uint32_t dns_msg_addresses(const uint8_t *msg, uint32_t len, dns_address_fn *fn, void *opaque)
{
	struct dns_chain chain = { .n = 1 };
	struct dns_question q;
	uint32_t off, next, found = 0;
	struct record r;

	if (!dns_msg_question(msg, len, &q) || !dns_msg_is_answer(msg))
		return 0;
	chain.names[0] = q.name;
	while (extend_chain(msg, len, q.end, &chain))
		;
	off = q.end;
	for (uint32_t i = n_records(msg); i; i--, off = next) {
		struct in6_addr a;

		next = read_record(msg, len, off, &r);
		if (!next)
			break;
		if (!address_of(msg, &r, &a) || !has_name(&chain, &r.owner))
			continue;
		fn(opaque, &chain, &a, r.ttl);
		found++;
	}
	return found;
}
