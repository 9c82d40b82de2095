/* SPDX-License-Identifier: BSD-3-Clause */
/* The DHCPv6 server of the user-mode network (RFC 8415, 3646, 5970). */

/*
 * What is not an address: name server, search list and boot file go to whoever asks (information
 * request). Addresses: a guest makes its own from the advertised prefix if that has 64 bits; one
 * that asks here gets one of sixteen from PREFIX::15 on for each of its identity associations
 * (IA_NA), by DUID and IAID, for a day. They are handed out as DHCP's are: an offer holds for 30 s,
 * an ended lease keeps its client's name, a declined address rests for ten minutes, a free one is
 * given to whoever says that it has it (the program may have been restarted). IA_TA is ignored,
 * IA_PD gets "no prefix".
 *
 * A message is read from a private copy. Every option's length is checked before the message is
 * acted on, and again inside IA options; one that passes the end makes the whole message worthless
 * (RFC 8415, 16). Of a DUID 130 bytes are taken (11.1), of the IAs four, of the addresses in each
 * four; more are malformed. What is echoed is therefore bounded, and every append is checked
 * against the room left of the MTU: what does not fit is left out, the search list first.
 *
 * Differences from QEMU: leases; a server identifier; names of DNS; the source is link-local; the
 * address in the boot file's URL is written short.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/user/user.h"
#include "base/macros.h"

#define CLIENT_PORT 546
#define SERVER_PORT 547
#define SECOND_NS 1000000000ull
#define VALID_S 86400u
#define PREFERRED_S 43200u
#define RENEW_S 21600u
#define REBIND_S 34560u
#define REST_S 600u
#define OFFER_S 30u
#define FIRST_HOST 0x15
#define DUID_MAX 130
#define MAX_IAS 4
#define MAX_ADDRS 4
#define REPLY_MAX 1500

enum {
	SOLICIT = 1,
	ADVERTISE,
	REQUEST,
	CONFIRM,
	RENEW,
	REBIND,
	REPLY,
	RELEASE,
	DECLINE,
	INFORMATION_REQUEST = 11
};

enum {
	OPT_CLIENT = 1,
	OPT_SERVER = 2,
	OPT_IA_NA = 3,
	OPT_ADDR = 5,
	OPT_WANTED = 6,
	OPT_PREFERENCE = 7,
	OPT_STATUS = 13,
	OPT_RAPID = 14,
	OPT_DNS = 23,
	OPT_SEARCH = 24,
	OPT_IA_PD = 25,
	OPT_BOOT_URL = 59,
};

enum status { SUCCESS, NO_ADDRESS = 2, NO_BINDING, NOT_ON_LINK, USE_MULTICAST, NO_PREFIX };

struct lease6 {
	uint8_t duid[DUID_MAX];
	uint32_t duid_len; /* 0: never given to anybody */
	uint32_t iaid;
	bool resting;	/* declined: somebody else uses the address */
	uint64_t until; /* taken until then */
};

struct user_dhcp6 {
	struct lease6 leases[USER_LEASES];
	uint8_t duid[10]; /* ours: DUID-LL, RFC 8415, 11.4 */
};

struct ia {
	uint16_t code;
	uint32_t iaid;
	struct in6_addr addrs[MAX_ADDRS];
	int n_addrs;
};

/* What the client said; @duid leads into the message. */
struct request6 {
	uint8_t type;
	const uint8_t *xid, *duid;
	uint32_t duid_len;
	bool to_server, to_us; /* a server is named; it is this one */
	bool rapid;
	bool wants_dns, wants_search, wants_boot;
	struct ia ias[MAX_IAS];
	int n_ias;
};

struct reply6 {
	uint8_t msg[REPLY_MAX];
	uint32_t len, max;
};

int dhcp6_init(struct user *u, struct twx_error *e)
{
	if (!u->cfg.ipv6)
		return 0;
	u->dhcp6 = calloc(1, sizeof(*u->dhcp6));
	if (!u->dhcp6)
		return twx_error_set(e, ENOMEM, "netdev %s: out of memory", u->backend->id);
	memcpy(u->dhcp6->duid, (uint8_t[]){ 0, 3, 0, 1 }, 4);
	memcpy(u->dhcp6->duid + 4, u->mac6, 6);
	return 0;
}

void dhcp6_fini(struct user *u)
{
	free(u->dhcp6);
	u->dhcp6 = NULL;
}

/* --- leases --- */

/* The address of a slot; false if the prefix has no room for it or it is one of ours. */
static bool address(const struct user *u, uint32_t slot, struct in6_addr *a)
{
	uint32_t bits = 128u - u->cfg.prefix6_len, host = FIRST_HOST + slot;

	if (bits < 6) { /* RFC 4291, 2.6.1: the prefix itself is the routers' */
		host = slot + 1;
		if (host >> bits)
			return false;
	}
	*a = u->cfg.prefix6;
	a->s6_addr[15] |= (uint8_t)host;
	return !user_owns(u, a);
}

bool dhcp6_first(struct user *u, struct in6_addr *a)
{
	return address(u, 0, a);
}

static struct lease6 *lease_at(struct user *u, const struct in6_addr *wanted)
{
	struct in6_addr a;

	for (uint32_t i = 0; i < USER_LEASES; i++)
		if (address(u, i, &a) && user_same(&a, wanted))
			return &u->dhcp6->leases[i];
	return NULL;
}

static bool is_mine(const struct lease6 *l, const struct request6 *r, uint32_t iaid)
{
	return l->duid_len == r->duid_len && l->iaid == iaid && !l->resting &&
	       !memcmp(l->duid, r->duid, r->duid_len);
}

static struct lease6 *lease_of(struct user *u, const struct request6 *r, uint32_t iaid)
{
	for (int i = 0; i < USER_LEASES; i++)
		if (is_mine(&u->dhcp6->leases[i], r, iaid))
			return &u->dhcp6->leases[i];
	return NULL;
}

/* The first address that the client names and that nobody else has. */
static struct lease6 *lease_wished(struct user *u, const struct ia *ia, uint64_t now)
{
	for (int i = 0; i < ia->n_addrs; i++) {
		struct lease6 *l = lease_at(u, &ia->addrs[i]);

		if (l && now >= l->until)
			return l;
	}
	return NULL;
}

/* Its own, one that it names, one that nobody ever had, the one that ended first. */
static struct lease6 *lease_choose(struct user *u, const struct request6 *r, const struct ia *ia)
{
	uint64_t now = twx_loop_now(u->loop);
	struct lease6 *l = lease_of(u, r, ia->iaid), *ended = NULL;
	struct in6_addr a;

	if (!l)
		l = lease_wished(u, ia, now);
	if (l)
		return l;
	for (uint32_t i = 0; i < USER_LEASES; i++) {
		l = &u->dhcp6->leases[i];
		if (!address(u, i, &a) || now < l->until)
			continue;
		if (!l->duid_len)
			return l;
		if (!ended || l->until < ended->until)
			ended = l;
	}
	return ended;
}

/* For so many seconds from now; a lease that runs is not shortened. */
static void lease_take(struct user *u, struct lease6 *l, const struct request6 *r, uint32_t iaid,
		       uint32_t seconds)
{
	uint64_t until = twx_loop_now(u->loop) + seconds * SECOND_NS;

	if (!is_mine(l, r, iaid))
		l->until = 0;
	memcpy(l->duid, r->duid, r->duid_len);
	l->duid_len = r->duid_len;
	l->iaid = iaid;
	l->resting = false;
	l->until = max(l->until, until);
}

/* --- the request --- */

/* The next option: 1; 0 at the end; -1 if it passes the end. */
static int next_option(const uint8_t **at, const uint8_t *end, uint16_t *code, const uint8_t **v,
		       uint32_t *len)
{
	size_t left = (size_t)(end - *at);

	if (!left)
		return 0;
	if (left < 4 || user_get16(*at + 2) > left - 4)
		return -1;
	*code = user_get16(*at);
	*len = user_get16(*at + 2);
	*v = *at + 4;
	*at = *v + *len;
	return 1;
}

/* Identity association, RFC 8415, 21.4 and 21.21: IAID, T1, T2, options. */
static bool read_ia(struct request6 *r, uint16_t code, const uint8_t *v, uint32_t len)
{
	const uint8_t *at = v + 12, *end = v + len, *sub;
	struct ia *ia = &r->ias[r->n_ias];
	uint16_t sub_code;
	uint32_t sub_len;
	int more;

	if (len < 12 || r->n_ias == MAX_IAS)
		return false;
	*ia = (struct ia){ .code = code, .iaid = user_get32(v) };
	r->n_ias++;
	while ((more = next_option(&at, end, &sub_code, &sub, &sub_len)) > 0) {
		if (sub_code != OPT_ADDR || code != OPT_IA_NA)
			continue;
		if (sub_len < 24 || ia->n_addrs == MAX_ADDRS)
			return false;
		memcpy(&ia->addrs[ia->n_addrs++], sub, 16);
	}
	return !more;
}

static bool read_wanted(struct request6 *r, const uint8_t *v, uint32_t len)
{
	r->wants_dns = r->wants_search = r->wants_boot = false;
	for (uint32_t i = 0; i + 2 <= len; i += 2) {
		uint16_t code = user_get16(v + i);

		r->wants_dns |= code == OPT_DNS;
		r->wants_search |= code == OPT_SEARCH;
		r->wants_boot |= code == OPT_BOOT_URL;
	}
	return len % 2 == 0;
}

static bool read_option(const struct user *u, struct request6 *r, uint16_t code, const uint8_t *v,
			uint32_t len)
{
	switch (code) {
	case OPT_CLIENT:
		r->duid = v;
		r->duid_len = len;
		return len >= 3 && len <= DUID_MAX;
	case OPT_SERVER:
		r->to_server = true;
		r->to_us = len == sizeof(u->dhcp6->duid) && !memcmp(v, u->dhcp6->duid, len);
		return true;
	case OPT_IA_NA:
	case OPT_IA_PD:
		return read_ia(r, code, v, len);
	case OPT_WANTED:
		return read_wanted(r, v, len);
	case OPT_RAPID:
		r->rapid = true;
		return !len;
	default:
		return true;
	}
}

static bool parse(const struct user *u, const uint8_t *data, uint32_t len, struct request6 *r)
{
	const uint8_t *at = data + 4, *end = data + len, *v;
	uint16_t code;
	uint32_t n;
	int more;

	if (len < 4)
		return false;
	*r = (struct request6){ .type = data[0], .xid = data + 1 };
	r->wants_dns = r->wants_search = r->wants_boot = true;
	while ((more = next_option(&at, end, &code, &v, &n)) > 0)
		if (!read_option(u, r, code, v, n))
			return false;
	return !more;
}

/* Which identifiers each message must and must not have: RFC 8415, 16.2 to 16.12. */
static bool is_valid(const struct request6 *r)
{
	switch (r->type) {
	case SOLICIT:
	case CONFIRM:
	case REBIND:
		return r->duid && !r->to_server;
	case REQUEST:
	case RENEW:
	case RELEASE:
	case DECLINE:
		return r->duid && r->to_us;
	case INFORMATION_REQUEST:
		return !r->n_ias && r->to_server == r->to_us;
	default:
		return false;
	}
}

/* --- the reply --- */

/* Room for an option's value; null, and the message stays as it is, if there is none left. */
static uint8_t *put(struct reply6 *m, uint16_t code, uint32_t len)
{
	uint8_t *at = m->msg + m->len;

	if (m->len + 4 > m->max || len > m->max - m->len - 4)
		return NULL;
	user_put16(at, code);
	user_put16(at + 2, len);
	m->len += 4 + len;
	return at + 4;
}

static void put_bytes(struct reply6 *m, uint16_t code, const void *v, uint32_t len)
{
	uint8_t *at = put(m, code, len);

	if (at && len)
		memcpy(at, v, len);
}

static void put_status(struct reply6 *m, enum status status, const char *text)
{
	uint32_t len = (uint32_t)strlen(text);
	uint8_t *at = put(m, OPT_STATUS, 2 + len);

	if (!at)
		return;
	user_put16(at, status);
	memcpy(at + 2, text, len);
}

/* An address inside an IA; lifetimes 0: the client is to forget it. */
static void put_address(struct reply6 *m, const struct in6_addr *a, bool good)
{
	uint8_t *at = put(m, OPT_ADDR, 24);

	if (!at)
		return;
	memcpy(at, a, 16);
	user_put32(at + 16, good ? PREFERRED_S : 0);
	user_put32(at + 20, good ? VALID_S : 0);
}

/* Opens an IA; ia_end() closes it. Null if there is no room even for its head. */
static uint8_t *ia_begin(struct reply6 *m, const struct ia *ia, bool good)
{
	uint8_t *at = put(m, ia->code, 12);

	if (!at)
		return NULL;
	user_put32(at, ia->iaid);
	user_put32(at + 4, good ? RENEW_S : 0);
	user_put32(at + 8, good ? REBIND_S : 0);
	return at;
}

static void ia_end(struct reply6 *m, uint8_t *ia)
{
	user_put16(ia - 2, (uint32_t)(m->msg + m->len - ia));
}

static void put_failed_ia(struct reply6 *m, const struct ia *ia, enum status status,
			  const char *text)
{
	uint8_t *at = ia_begin(m, ia, false);

	if (!at)
		return;
	put_status(m, status, text);
	ia_end(m, at);
}

static void put_config(const struct user *u, const struct request6 *r, struct reply6 *m)
{
	char url[256], host[INET6_ADDRSTRLEN];

	if (r->wants_dns && !u->cfg.restricted && !u->cfg.no_dns)
		put_bytes(m, OPT_DNS, &u->cfg.dns6, 16);
	if (r->wants_boot && u->cfg.bootfile) {
		inet_ntop(AF_INET6, &u->cfg.host6, host, sizeof(host));
		snprintf(url, sizeof(url), "tftp://[%s]/%s", host, u->cfg.bootfile);
		put_bytes(m, OPT_BOOT_URL, url, (uint32_t)strlen(url));
	}
	if (r->wants_search && u->search_len)
		put_bytes(m, OPT_SEARCH, u->search, u->search_len);
}

static void reply_begin(const struct user *u, struct reply6 *m, const struct request6 *r,
			uint8_t type)
{
	m->msg[0] = type;
	memcpy(m->msg + 1, r->xid, 3);
	m->len = 4;
	m->max = min(u->cfg.mtu, (uint32_t)REPLY_MAX) - USER_IP6_LEN - 8;
	if (r->duid)
		put_bytes(m, OPT_CLIENT, r->duid, r->duid_len);
	put_bytes(m, OPT_SERVER, u->dhcp6->duid, sizeof(u->dhcp6->duid));
}

static void reply_send(struct user *u, const struct user_pkt *p, const struct reply6 *m)
{
	struct in6_addr from = user_gateway(u, &p->src);

	udp_to_guest(u, &from, SERVER_PORT, &p->src, CLIENT_PORT, m->msg, m->len);
}

/* --- messages --- */

static bool on_link(const struct user *u, const struct ia *ia)
{
	for (int i = 0; i < ia->n_addrs; i++)
		if (!user_in_prefix(&u->cfg, &ia->addrs[i]))
			return false;
	return true;
}

/* An IA with its address, and without those that the client has and should not. */
static void grant(struct user *u, const struct user_pkt *p, const struct request6 *r,
		  struct reply6 *m, const struct ia *ia, struct lease6 *l, bool commit)
{
	uint8_t *at = ia_begin(m, ia, true);
	struct in6_addr a;

	if (!at || !address(u, (uint32_t)(l - u->dhcp6->leases), &a))
		return;
	put_address(m, &a, true);
	for (int i = 0; i < ia->n_addrs && (r->type == RENEW || r->type == REBIND); i++)
		if (!user_same(&ia->addrs[i], &a))
			put_address(m, &ia->addrs[i], false);
	ia_end(m, at);
	lease_take(u, l, r, ia->iaid, commit ? VALID_S : OFFER_S);
	if (commit)
		user_neigh_learn(u, &a, p->eth + 6);
}

/* Solicit, request, renew, rebind: RFC 8415, 18.3.1 to 18.3.5. */
static void assign(struct user *u, const struct user_pkt *p, const struct request6 *r)
{
	bool commit = r->type != SOLICIT || r->rapid,
	     extend = r->type == RENEW || r->type == REBIND;
	struct reply6 m;

	reply_begin(u, &m, r, commit ? REPLY : ADVERTISE);
	if (r->type == SOLICIT && r->rapid)
		put(&m, OPT_RAPID, 0);
	/* There is no other server to wait for. */
	if (r->type == SOLICIT)
		put_bytes(&m, OPT_PREFERENCE, (uint8_t[]){ 255 }, 1);
	for (int i = 0; i < r->n_ias; i++) {
		const struct ia *ia = &r->ias[i];
		struct lease6 *l;

		if (ia->code == OPT_IA_PD) {
			put_failed_ia(&m, ia, NO_PREFIX, "no prefixes here");
			continue;
		}
		if (r->type == REQUEST && !on_link(u, ia)) {
			put_failed_ia(&m, ia, NOT_ON_LINK, "not an address of this link");
			continue;
		}
		l = extend ? lease_of(u, r, ia->iaid) : lease_choose(u, r, ia);
		if (!l && extend)
			l = lease_wished(u, ia, twx_loop_now(u->loop));
		if (l)
			grant(u, p, r, &m, ia, l, commit);
		else
			put_failed_ia(&m, ia, extend ? NO_BINDING : NO_ADDRESS, "no such lease");
	}
	put_config(u, r, &m);
	reply_send(u, p, &m);
}

static void confirm(struct user *u, const struct user_pkt *p, const struct request6 *r)
{
	bool any = false, good = true;
	struct reply6 m;

	for (int i = 0; i < r->n_ias; i++) {
		any |= r->ias[i].n_addrs > 0;
		good &= on_link(u, &r->ias[i]);
	}
	if (!any)
		return; /* RFC 8415, 18.3.3 */
	reply_begin(u, &m, r, REPLY);
	put_status(&m, good ? SUCCESS : NOT_ON_LINK, good ? "on this link" : "not on this link");
	put_config(u, r, &m);
	reply_send(u, p, &m);
}

/* Release and decline. */
static void give_back(struct user *u, const struct user_pkt *p, const struct request6 *r)
{
	struct reply6 m;

	reply_begin(u, &m, r, REPLY);
	put_status(&m, SUCCESS, "done");
	for (int i = 0; i < r->n_ias; i++) {
		const struct ia *ia = &r->ias[i];
		struct lease6 *l = ia->code == OPT_IA_NA ? lease_of(u, r, ia->iaid) : NULL;

		if (!l) {
			put_failed_ia(&m, ia, NO_BINDING, "no such lease");
			continue;
		}
		l->resting = r->type == DECLINE;
		l->until = l->resting ? twx_loop_now(u->loop) + REST_S * SECOND_NS : 0;
	}
	reply_send(u, p, &m);
}

static void inform(struct user *u, const struct user_pkt *p, const struct request6 *r)
{
	struct reply6 m;

	reply_begin(u, &m, r, REPLY);
	put_config(u, r, &m);
	reply_send(u, p, &m);
}

/* RFC 8415, 18.4: servers are spoken to by multicast, unless they allow more; this one does not. */
static void unicast(struct user *u, const struct user_pkt *p, const struct request6 *r)
{
	struct reply6 m;

	if (!r->to_us)
		return;
	reply_begin(u, &m, r, REPLY);
	put_status(&m, USE_MULTICAST, "use multicast");
	reply_send(u, p, &m);
}

void dhcp6_input(struct user *u, const struct user_pkt *p, const uint8_t *data, uint32_t len)
{
	struct request6 r;

	if (u->cfg.no_dhcp)
		return;
	if (!u->dhcp6 || IN6_IS_ADDR_UNSPECIFIED(&p->src) || !parse(u, data, len, &r) ||
	    !is_valid(&r)) {
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, p->frame->len);
		return;
	}
	if (!IN6_IS_ADDR_MULTICAST(&p->dst)) {
		unicast(u, p, &r);
		return;
	}
	switch (r.type) {
	case INFORMATION_REQUEST:
		inform(u, p, &r);
		break;
	case CONFIRM:
		confirm(u, p, &r);
		break;
	case RELEASE:
	case DECLINE:
		give_back(u, p, &r);
		break;
	default:
		assign(u, p, &r);
	}
}
