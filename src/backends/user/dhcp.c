/* SPDX-License-Identifier: BSD-3-Clause */
/* The DHCP and BOOTP server of the user-mode network (RFC 951, 1542, 2131, 2132, 3397). */

/*
 * Sixteen addresses from dhcpstart= on, leased by client MAC for a day. An offer holds its address
 * for 30 s; an expired or released lease keeps its client's name, so that the same guest gets the
 * same address again as long as nobody else needed it. This server is the only one on its network,
 * so it refuses (NAK) what it does not have instead of keeping silent (RFC 2131, 4.3.2). A declined
 * address rests for ten minutes.
 *
 * Requests: BOOTP and the messages of clients; read through bounded copies, options walked by
 * length. Replies go where RFC 2131, 4.1 says: the relay's address is not honoured (nothing is
 * behind the guest), then ciaddr, then broadcast if asked for, then the new address. Options that
 * do not fit the client's message size (576 bytes of IP, or its option 57) are left out, the least
 * needed ones last in the message.
 *
 * Differences from QEMU: leases end; renewal is by unicast; message size is honoured.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/user/user.h"
#include "base/macros.h"

#define LEASE_S 86400u
#define SECOND_NS 1000000000ull
#define OFFER_NS (30 * SECOND_NS)
#define REST_NS (600 * SECOND_NS)
#define MAGIC 0x63825363u

/* BOOTP's message: offsets of what is used. */
enum {
	B_OP = 0,
	B_HTYPE = 1,
	B_HLEN = 2,
	B_XID = 4,
	B_FLAGS = 10,
	B_CIADDR = 12,
	B_YIADDR = 16,
	B_SIADDR = 20,
	B_CHADDR = 28,
	B_SNAME = 44,
	B_FILE = 108,
	B_MAGIC = 236,
	B_OPTIONS = 240,
	B_MIN = 300, /* RFC 1542, 2.1; shorter replies are padded */
};
#define SNAME_LEN 64
#define FILE_LEN 128

enum {
	OPT_PAD = 0,
	OPT_MASK = 1,
	OPT_ROUTER = 3,
	OPT_DNS = 6,
	OPT_HOSTNAME = 12,
	OPT_DOMAIN = 15,
	OPT_MTU = 26,
	OPT_REQUESTED = 50,
	OPT_LEASE = 51,
	OPT_TYPE = 53,
	OPT_SERVER = 54,
	OPT_MESSAGE = 56,
	OPT_SIZE = 57,
	OPT_CLIENT = 61,
	OPT_TFTP = 66,
	OPT_BOOTFILE = 67,
	OPT_SEARCH = 119,
	OPT_END = 255,
};

enum { BOOTP = 0, DISCOVER = 1, OFFER, REQUEST, DECLINE, DHCP_ACK, NAK, RELEASE, INFORM };

struct lease {
	uint8_t mac[6];
	bool known;	/* mac is valid */
	bool resting;	/* declined: somebody else uses the address */
	uint64_t until; /* taken until then */
};

struct user_dhcp {
	struct lease leases[USER_LEASES];
	uint8_t search[USER_SEARCH_MAX]; /* option 119: never longer than the names spelled out */
	uint32_t search_len;
};

/* What the client said. */
struct request {
	uint8_t type;
	uint8_t mac[6];
	bool broadcast;
	struct in_addr ciaddr, requested, server;
	uint32_t size;	       /* of a reply */
	const uint8_t *client; /* its identifier, in the message; null: none */
	uint8_t client_len;
};

struct reply {
	uint8_t msg[1500];
	uint32_t len, max;
};

/* --- search list, RFC 3397: names compressed as in RFC 1035, 4.1.4, over the whole list --- */

/* Where in @s the rest of a name, already in wire form, occurs; or 0xffff. */
static uint32_t find_suffix(const struct user_dhcp *s, const uint8_t *name, uint32_t len)
{
	/* A pointer has 14 bits; the list is shorter. Names in the list end with a zero or a
	 * pointer: only tails that are spelled out in full are pointed at. */
	for (uint32_t at = 0; at + len <= s->search_len; at++)
		if (!memcmp(s->search + at, name, len))
			return at;
	return 0xffff;
}

static void add_search(struct user_dhcp *s, const uint8_t *name, uint32_t len)
{
	uint32_t at = 0, ref = 0xffff;

	/* Leading labels until the rest is there already. */
	while (name[at]) {
		ref = find_suffix(s, name + at, len - at);
		if (ref != 0xffff)
			break;
		at += name[at] + 1u;
	}
	memcpy(s->search + s->search_len, name, at);
	s->search_len += at;
	if (ref != 0xffff) {
		user_put16(s->search + s->search_len, 0xc000 | ref);
		s->search_len += 2;
	} else {
		s->search[s->search_len++] = 0;
	}
}

int dhcp_init(struct user *u, struct twx_error *e)
{
	struct user_dhcp *s = calloc(1, sizeof(*s));
	uint32_t len;

	if (!s)
		return twx_error_set(e, ENOMEM, "out of memory");
	u->dhcp = s;
	for (uint32_t at = 0; at < u->search_len; at += len) {
		len = (uint32_t)strlen((const char *)u->search + at) + 1;
		add_search(s, u->search + at, len);
	}
	return 0;
}

void dhcp_fini(struct user *u)
{
	free(u->dhcp);
	u->dhcp = NULL;
}

/* --- leases --- */

static struct in_addr address(const struct user *u, const struct lease *l)
{
	uint32_t i = (uint32_t)(l - u->dhcp->leases);

	return (struct in_addr){ htonl(ntohl(u->cfg.dhcp_start.s_addr) + i) };
}

/* Can the slot's address be given to a guest at all? */
static bool usable(const struct user *u, const struct lease *l)
{
	struct in_addr a = address(u, l);

	return user_in_net(u, a) && !user_is_ours(u, a) && !user_is_broadcast(u, a);
}

static struct lease *lease_of(struct user *u, struct in_addr a)
{
	uint32_t i = ntohl(a.s_addr) - ntohl(u->cfg.dhcp_start.s_addr);

	return i < USER_LEASES && usable(u, &u->dhcp->leases[i]) ? &u->dhcp->leases[i] : NULL;
}

static bool is_mine(const struct lease *l, const uint8_t mac[6])
{
	return l->known && !l->resting && !memcmp(l->mac, mac, 6);
}

static bool is_free(const struct lease *l, uint64_t now)
{
	return !l->until || now >= l->until;
}

static struct lease *lease_by_mac(struct user *u, const uint8_t mac[6])
{
	for (int i = 0; i < USER_LEASES; i++)
		if (is_mine(&u->dhcp->leases[i], mac))
			return &u->dhcp->leases[i];
	return NULL;
}

/* An address for the client: its own, the one it asks for, one that nobody ever had, an ended one.
 */
static struct lease *lease_choose(struct user *u, const struct request *r, uint64_t now)
{
	struct lease *l = lease_by_mac(u, r->mac), *ended = NULL;

	if (l)
		return l;
	l = lease_of(u, r->requested);
	if (l && is_free(l, now) && !l->known)
		return l;
	for (int i = 0; i < USER_LEASES; i++) {
		l = &u->dhcp->leases[i];
		if (!usable(u, l) || !is_free(l, now))
			continue;
		if (!l->known)
			return l;
		if (!ended || l->until < ended->until)
			ended = l;
	}
	return ended;
}

static void lease_take(struct lease *l, const uint8_t mac[6], uint64_t until)
{
	memcpy(l->mac, mac, 6);
	l->known = true;
	l->resting = false;
	l->until = until;
}

/* --- the request --- */

static void read_option(struct request *r, uint8_t code, const uint8_t *v, uint8_t len)
{
	if (code == OPT_TYPE && len == 1)
		r->type = v[0];
	else if (code == OPT_REQUESTED && len == 4)
		memcpy(&r->requested, v, 4);
	else if (code == OPT_SERVER && len == 4)
		memcpy(&r->server, v, 4);
	else if (code == OPT_SIZE && len == 2)
		r->size = user_get16(v);
	else if (code == OPT_CLIENT && len >= 2) {
		r->client = v;
		r->client_len = len;
	}
}

/* False if it is no request that can be answered. A cut-off option ends the list; it is not read.
 */
static bool parse(const struct user *u, const uint8_t *data, uint32_t len, struct request *r)
{
	uint32_t at = B_OPTIONS;

	if (len < B_MAGIC || data[B_OP] != 1 || data[B_HTYPE] != 1 || data[B_HLEN] != 6)
		return false;
	*r = (struct request){ .type = BOOTP, .size = 576 };
	memcpy(r->mac, data + B_CHADDR, 6);
	memcpy(&r->ciaddr, data + B_CIADDR, 4);
	r->broadcast = data[B_FLAGS] & 0x80;
	if (len >= B_OPTIONS && user_get32(data + B_MAGIC) == MAGIC) {
		while (at < len && data[at] != OPT_END) {
			if (data[at] == OPT_PAD) {
				at++;
				continue;
			}
			if (at + 2 > len || data[at + 1] > len - at - 2)
				break;
			read_option(r, data[at], data + at + 2, data[at + 1]);
			at += 2u + data[at + 1];
		}
	}
	r->size = max(r->size, 576u);
	r->size = min(min(r->size, u->cfg.mtu), (uint32_t)sizeof(((struct reply *)0)->msg)) - 28;
	return true;
}

/* --- the reply --- */

/* Longer values take several options of one code (RFC 3396). Left out if it does not fit. */
static void put_option(struct reply *m, uint8_t code, const void *v, uint32_t len)
{
	const uint8_t *at = v;

	if (m->len + len + 2 * (len / 255 + 1) + 1 > m->max)
		return;
	do {
		uint32_t part = min(len, 255u);

		m->msg[m->len++] = code;
		m->msg[m->len++] = (uint8_t)part;
		memcpy(m->msg + m->len, at, part);
		m->len += part;
		at += part;
		len -= part;
	} while (len);
}

static void put_text(struct reply *m, uint8_t code, const char *text)
{
	if (text)
		put_option(m, code, text, (uint32_t)strlen(text));
}

static void put_config(struct user *u, struct reply *m)
{
	uint8_t mtu[2];

	put_option(m, OPT_MASK, &u->cfg.mask, 4);
	if (!u->cfg.restricted) {
		put_option(m, OPT_ROUTER, &u->cfg.host, 4);
		put_option(m, OPT_DNS, &u->cfg.dns, 4);
	}
	if (u->cfg.mtu != USER_MTU) {
		user_put16(mtu, u->cfg.mtu);
		put_option(m, OPT_MTU, mtu, 2);
	}
	put_text(m, OPT_HOSTNAME, u->cfg.hostname);
	put_text(m, OPT_DOMAIN, u->cfg.domainname);
	put_text(m, OPT_BOOTFILE, u->cfg.bootfile);
	put_text(m, OPT_TFTP, u->cfg.tftp_server_name);
	if (u->dhcp->search_len)
		put_option(m, OPT_SEARCH, u->dhcp->search, u->dhcp->search_len);
}

static void reply_begin(struct user *u, struct reply *m, const uint8_t *data,
			const struct request *r, struct in_addr yours)
{
	memset(m->msg, 0, B_OPTIONS);
	m->max = r->size;
	m->msg[B_OP] = 2;
	m->msg[B_HTYPE] = 1;
	m->msg[B_HLEN] = 6;
	memcpy(m->msg + B_XID, data + B_XID, 4);
	memcpy(m->msg + B_FLAGS, data + B_FLAGS, 2);
	memcpy(m->msg + B_YIADDR, &yours, 4);
	memcpy(m->msg + B_CHADDR, r->mac, 6);
	user_put32(m->msg + B_MAGIC, MAGIC);
	m->len = B_OPTIONS;
	if (r->type == BOOTP)
		return;
	put_option(m, OPT_TYPE, (uint8_t[]){ r->type == DISCOVER ? OFFER : DHCP_ACK }, 1);
	put_option(m, OPT_SERVER, &u->cfg.host, 4);
	if (r->client) /* RFC 6842 */
		put_option(m, OPT_CLIENT, r->client, r->client_len);
}

/* What both protocols say about booting. */
static void put_boot(struct user *u, struct reply *m)
{
	memcpy(m->msg + B_SIADDR, &u->cfg.host, 4);
	if (u->cfg.bootfile)
		memcpy(m->msg + B_FILE, u->cfg.bootfile,
		       min(strlen(u->cfg.bootfile), (size_t)FILE_LEN - 1));
	if (u->cfg.tftp_server_name)
		memcpy(m->msg + B_SNAME, u->cfg.tftp_server_name,
		       min(strlen(u->cfg.tftp_server_name), (size_t)SNAME_LEN - 1));
}

/* RFC 2131, 4.1. The client that has no address yet cannot be asked by ARP: its MAC is learned
 * here. */
static void reply_send(struct user *u, struct reply *m, const struct request *r, struct in_addr to)
{
	static const uint8_t everybody[6] = { 255, 255, 255, 255, 255, 255 };
	struct in6_addr src = user_mapped(u->cfg.host), dst = user_mapped(to);
	bool broadcast = to.s_addr == INADDR_BROADCAST;
	uint8_t *frame, *udp;
	uint32_t len;

	m->msg[m->len++] = OPT_END;
	if (m->len < B_MIN) {
		memset(m->msg + m->len, 0, B_MIN - m->len);
		m->len = B_MIN;
	}
	len = 8 + m->len;
	frame = user_out_alloc(u, USER_ETH_LEN + 20 + len);
	udp = user_ip4_header(u, frame, u->cfg.host, to, IPPROTO_UDP, len);
	memcpy(frame, broadcast ? everybody : r->mac, 6);
	user_put16(udp, 67);
	user_put16(udp + 2, 68);
	user_put16(udp + 4, len);
	memcpy(udp + 8, m->msg, m->len);
	user_udp_csum(udp, &src, &dst, len);
	user_out(u, USER_ETH_LEN + 20 + len, NULL);
}

static struct in_addr reply_to(const struct request *r, struct in_addr yours)
{
	if (r->ciaddr.s_addr)
		return r->ciaddr;
	if (r->broadcast || !yours.s_addr)
		return (struct in_addr){ INADDR_BROADCAST };
	return yours;
}

static void refuse(struct user *u, const uint8_t *data, const struct request *r, const char *why)
{
	struct reply m;

	reply_begin(u, &m, data, r, (struct in_addr){ 0 });
	m.msg[B_OPTIONS + 2] = NAK;
	put_text(&m, OPT_MESSAGE, why);
	reply_send(u, &m, r, (struct in_addr){ INADDR_BROADCAST });
}

static void grant(struct user *u, const uint8_t *data, const struct request *r, struct lease *l)
{
	struct in_addr yours = address(u, l);
	struct in6_addr guest = user_mapped(yours);
	uint64_t now = twx_loop_now(u->loop);
	uint8_t seconds[4];
	struct reply m;

	lease_take(l, r->mac, now + (r->type == DISCOVER ? OFFER_NS : LEASE_S * SECOND_NS));
	reply_begin(u, &m, data, r, yours);
	if (r->type == REQUEST)
		memcpy(m.msg + B_CIADDR, &r->ciaddr, 4);
	put_boot(u, &m);
	if (r->type != BOOTP) {
		user_put32(seconds, LEASE_S);
		put_option(&m, OPT_LEASE, seconds, 4);
	}
	put_config(u, &m);
	if (r->type != DISCOVER)
		user_neigh_learn(u, &guest, r->mac);
	reply_send(u, &m, r, reply_to(r, yours));
}

/* --- messages --- */

static void offer(struct user *u, const uint8_t *data, const struct request *r)
{
	uint64_t now = twx_loop_now(u->loop);
	struct lease *l = lease_choose(u, r, now);

	if (!l) {
		twx_port_drop(u->port, TWX_DROP_LIMIT, 0);
		return;
	}
	/* An offer does not shorten a lease that still runs. */
	if (r->type == DISCOVER && is_mine(l, r->mac) && l->until > now + OFFER_NS) {
		uint64_t until = l->until;

		grant(u, data, r, l);
		l->until = until;
		return;
	}
	grant(u, data, r, l);
}

/* RFC 2131, 4.3.2: selecting, after a reboot, renewing and rebinding differ by what is filled in.
 */
static void request(struct user *u, const uint8_t *data, const struct request *r)
{
	struct in_addr wanted = r->requested.s_addr ? r->requested : r->ciaddr;
	struct lease *mine = lease_by_mac(u, r->mac), *l = lease_of(u, wanted);
	uint64_t now = twx_loop_now(u->loop);

	if (r->server.s_addr && r->server.s_addr != u->cfg.host.s_addr) {
		if (mine)
			mine->until = 0; /* took another server's offer */
		return;
	}
	if (!l || (!is_mine(l, r->mac) && !is_free(l, now))) {
		refuse(u, data, r, l ? "address in use" : "no such address here");
		return;
	}
	if (mine && mine != l) {
		mine->known = false;
		mine->until = 0;
	}
	grant(u, data, r, l);
}

static void inform(struct user *u, const uint8_t *data, const struct request *r,
		   const struct user_pkt *p)
{
	struct request to = *r;
	struct reply m;

	if (!to.ciaddr.s_addr)
		to.ciaddr = user_v4(&p->src);
	if (!to.ciaddr.s_addr || !user_in_net(u, to.ciaddr))
		return;
	reply_begin(u, &m, data, r, (struct in_addr){ 0 });
	memcpy(m.msg + B_CIADDR, &r->ciaddr, 4);
	put_boot(u, &m);
	put_config(u, &m);
	reply_send(u, &m, &to, to.ciaddr);
}

static void decline(struct user *u, const struct request *r)
{
	struct lease *l = lease_of(u, r->requested);

	if (!l || !is_mine(l, r->mac))
		return;
	l->resting = true;
	l->until = twx_loop_now(u->loop) + REST_NS;
}

static void release(struct user *u, const struct request *r)
{
	struct lease *l = lease_of(u, r->ciaddr);

	if (l && is_mine(l, r->mac))
		l->until = 0;
}

void dhcp_input(struct user *u, const struct user_pkt *p, const uint8_t *data, uint32_t len)
{
	struct request r;

	if (u->cfg.no_dhcp)
		return;
	if (!parse(u, data, len, &r)) {
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, p->frame->len);
		return;
	}
	/* ciaddr is where the answer goes: it must be a guest's. */
	if (r.ciaddr.s_addr && (!user_in_net(u, r.ciaddr) || user_is_ours(u, r.ciaddr) ||
				user_is_broadcast(u, r.ciaddr)))
		r.ciaddr.s_addr = 0;
	switch (r.type) {
	case BOOTP:
	case DISCOVER:
		offer(u, data, &r);
		break;
	case REQUEST:
		request(u, data, &r);
		break;
	case DECLINE:
		decline(u, &r);
		break;
	case RELEASE:
		release(u, &r);
		break;
	case INFORM:
		inform(u, data, &r, p);
		break;
	default:
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, p->frame->len);
	}
}

/* --- leases that outlive the process --- */

bool dhcp_lease(struct user *u, uint32_t i, uint8_t mac[6], uint32_t *left)
{
	const struct lease *l = &u->dhcp->leases[i];
	uint64_t now = twx_loop_now(u->loop);

	if (!l->known || l->resting)
		return false;
	memcpy(mac, l->mac, 6);
	*left = l->until > now ? (uint32_t)min((l->until - now) / 1000000000, (uint64_t)UINT32_MAX) : 0;
	return true;
}

void dhcp_lease_set(struct user *u, uint32_t i, const uint8_t mac[6], uint32_t left)
{
	struct lease *l = &u->dhcp->leases[i], *other = lease_by_mac(u, mac);

	if (!usable(u, l))
		return;
	if (other && other != l)
		*other = (struct lease){ 0 };
	lease_take(l, mac, twx_loop_now(u->loop) + left * 1000000000ull);
}
