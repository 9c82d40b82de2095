/* SPDX-License-Identifier: BSD-3-Clause */
/* The DNS forwarder: queries to the DNS alias go to the resolvers of the host. */

/*
 * The resolvers are those of /etc/resolv.conf, all of them, IPv4 and IPv6 (with scope), loopback
 * ones too, or the one of dns-host=. The file is looked at when a query comes, once a second at
 * most; a query that is under way keeps the list that it began with.
 *
 * UDP: each query has a socket of its own, connected to the resolver (so the port is random and
 * answers from elsewhere do not reach us), and an identifier drawn for it; an answer must have that
 * identifier and the same question. It goes back to the guest as it is, TC bit and all. TCP:
 * dns_tcp.c.
 *
 * Who is asked: servers in the file's order ("rotate": each query begins with the next one), those
 * that lately did not answer last, for 30 s. The next one is asked when a server refuses the
 * datagram (ICMP), answers SERVFAIL, NOTIMP or REFUSED, or is silent for "timeout:" (2 s when not
 * given: the guest's own clock runs, too), and at once when the guest repeats its query. Where
 * there is one alone it has 5 s, and is sent the query again from the same socket, so that its late
 * answer counts. After "attempts:" rounds (2), 30 s at most, the guest gets SERVFAIL, or what the
 * last server answered: its resolver goes on from there at once, where silence would cost it
 * seconds. When the host has no resolver at all, nothing listens at the alias: port unreachable.
 *
 * Bounds: 512 queries at a time, the oldest gives way; queries of 4 KiB.
 *
 * Egress rules (rules.c): a query for a name that may not be asked for gets REFUSED; answers are
 * read for the addresses of names that rules have.
 */
#include "backends/user/dns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "backends/user/rules.h"
#include "base/macros.h"
#include "net/net_priv.h"

#define REREAD_NS 1000000000ull
#define DOWN_NS 30000000000ull
#define TIMEOUT_NS 2000000000ull
#define TIMEOUT_ALONE_NS 5000000000ull
#define GIVE_UP_NS 30000000000ull
#define ATTEMPTS 2
#define QUERIES_MAX 512
#define QUERY_LEN 4096
#define ANSWER_LEN 65507
#define READ_BUDGET 16
#define UDP_HDR 8

struct dns_query {
	struct user *u;
	struct dns_query *next, *prev; /* newer, older */
	struct in6_addr guest, alias;
	uint16_t port;
	uint8_t id[2]; /* the guest's; msg has ours */
	uint8_t rcode; /* what the guest gets when nobody answers */
	struct dns_servers servers;
	int tries;
	int fd;
	struct twx_watch watch;
	struct twx_timer timer;
	uint64_t give_up;
	uint32_t len;
	uint8_t msg[];
};

/* --- servers --- */

socklen_t dns_addr_len(const union user_addr *a)
{
	return a->sa.sa_family == AF_INET6 ? sizeof(a->in6) : sizeof(a->in);
}

static bool same_server(const struct sockaddr_storage *a, const union user_addr *b)
{
	return !memcmp(a, b, sizeof(*b));
}

/* The file is small and this runs at most once a second, when a query comes: cheaper than a watch
 * that must survive renames, mounts and symlinks into /run. */
static void reread(struct user *u)
{
	struct user_dns *d = u->dns;
	uint64_t now = twx_loop_now(u->loop);
	struct hostops_resolv old = d->conf;

	if (d->read_at && now - d->read_at < REREAD_NS)
		return;
	d->read_at = now;
	if (u->cfg.dns_host.sa.sa_family) {
		memset(&d->conf, 0, sizeof(d->conf));
		memcpy(&d->conf.server[0], &u->cfg.dns_host, sizeof(u->cfg.dns_host));
		d->conf.n = 1;
	} else {
		hostops_resolv_conf(net_hostops(u->backend->net), &d->conf);
	}
	if (old.n != d->conf.n || memcmp(old.server, d->conf.server, sizeof(old.server)))
		memset(d->down_until, 0, sizeof(d->down_until));
}

bool dns_servers(struct user *u, struct dns_servers *s)
{
	struct user_dns *d = u->dns;
	uint64_t now = twx_loop_now(u->loop);
	int first = 0;

	reread(u);
	*s = (struct dns_servers){ .attempts = d->conf.attempts ? d->conf.attempts : ATTEMPTS };
	s->timeout = d->conf.n > 1 ? TIMEOUT_NS : TIMEOUT_ALONE_NS;
	if (d->conf.timeout)
		s->timeout = (uint64_t)d->conf.timeout * 1000000000;
	if (d->conf.rotate && d->conf.n)
		first = (int)(d->turn++ % (uint32_t)d->conf.n);
	for (int down = 0; down < 2; down++) {
		for (int i = 0; i < d->conf.n; i++) {
			int k = (first + i) % d->conf.n;

			if ((now < d->down_until[k]) == !!down)
				memcpy(&s->at[s->n++], &d->conf.server[k], sizeof(s->at[0]));
		}
	}
	return s->n;
}

void dns_mark(struct user *u, const union user_addr *server, bool answered)
{
	struct user_dns *d = u->dns;

	for (int i = 0; i < d->conf.n; i++)
		if (same_server(&d->conf.server[i], server))
			d->down_until[i] = answered ? 0 : twx_loop_now(u->loop) + DOWN_NS;
}

bool dns_may_ask(struct user *u, const struct in6_addr *alias, uint8_t proto, const uint8_t *msg,
		 uint32_t len)
{
	struct rules_to to = { .addr = *alias, .port = 53, .proto = proto, .place = RULES_DNS };
	uint64_t now = twx_loop_now(u->loop);
	struct dns_question q;
	bool read;

	if (!u->rules)
		return true;
	read = dns_msg_question(msg, len, &q);
	return rules_allow_name(u->rules, &to, read ? q.name.text : NULL, now);
}

bool dns_is_failure(const uint8_t *msg)
{
	uint8_t rcode = dns_msg_rcode(msg);

	return rcode == DNS_SERVFAIL || rcode == DNS_NOTIMP || rcode == DNS_REFUSED;
}

/* --- a query's life --- */

static void query_free(struct dns_query *q)
{
	struct user_dns *d = q->u->dns;

	*(q->prev ? &q->prev->next : &d->oldest) = q->next;
	*(q->next ? &q->next->prev : &d->newest) = q->prev;
	d->n_queries--;
	twx_watch_del(&q->watch);
	twx_timer_cancel(&q->timer);
	if (q->fd >= 0)
		close(q->fd);
	free(q);
}

/* @msg, an answer to @q, to the guest. */
static void deliver(struct dns_query *q, uint8_t *msg, uint32_t len)
{
	struct user *u = q->u;

	if (u->rules)
		rules_learn(u->rules, msg, len, twx_loop_now(u->loop));
	memcpy(msg, q->id, 2);
	udp_to_guest(u, &q->alias, 53, &q->guest, q->port, msg, len);
	query_free(q);
}

static void give_up(struct dns_query *q)
{
	uint8_t msg[QUERY_LEN];
	uint32_t len = dns_msg_refuse(q->msg, q->len, q->rcode, msg);

	deliver(q, msg, len);
}

static twx_watch_fn answer_event;

static int send_query(const struct dns_query *q)
{
	return send(q->fd, q->msg, q->len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int ask(struct dns_query *q, const union user_addr *server)
{
	int err = 0;

	if (q->fd >= 0 && q->servers.n == 1)
		return send_query(q);
	twx_watch_del(&q->watch);
	if (q->fd >= 0)
		close(q->fd);
	q->fd = socket(server->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (q->fd < 0)
		return -errno;
	err = sock_outbound(q->u, q->fd, &server->sa);
	if (err)
		return err;
	if (connect(q->fd, &server->sa, dns_addr_len(server)) < 0)
		return -errno;
	err = send_query(q);
	return err ? err : twx_watch_add(&q->watch, q->u->loop, q->fd, EPOLLIN, answer_event);
}

/* The next server, or the end of the query. */
static void ask_next(struct dns_query *q)
{
	uint64_t now = twx_loop_now(q->u->loop);

	while (q->tries < q->servers.n * q->servers.attempts && now < q->give_up) {
		const union user_addr *server = &q->servers.at[q->tries++ % q->servers.n];
		int err = ask(q, server);

		if (!err) {
			twx_timer_set(&q->timer, now + q->servers.timeout);
			return;
		}
		if (err != -EMFILE && err != -ENFILE)
			dns_mark(q->u, server, false);
	}
	give_up(q);
}

static const union user_addr *asked(const struct dns_query *q)
{
	return &q->servers.at[(q->tries - 1) % q->servers.n];
}

static void query_timeout(struct twx_timer *t)
{
	struct dns_query *q = container_of(t, struct dns_query, timer);

	dns_mark(q->u, asked(q), false);
	ask_next(q);
}

static void answer_event(struct twx_watch *w, uint32_t events)
{
	struct dns_query *q = container_of(w, struct dns_query, watch);
	uint8_t *buf = q->u->dns->buf;

	for (int i = 0; i < READ_BUDGET; i++) {
		ssize_t n = recv(q->fd, buf, ANSWER_LEN, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			dns_mark(q->u, asked(q), false);
			ask_next(q);
			return;
		}
		if (!dns_msg_answers(q->msg, q->len, buf, (uint32_t)n))
			continue;
		if (dns_is_failure(buf) && q->tries < q->servers.n) {
			q->rcode = dns_msg_rcode(buf);
			ask_next(q);
			return;
		}
		dns_mark(q->u, asked(q), true);
		deliver(q, buf, (uint32_t)n);
		return;
	}
}

/* --- from the guest --- */

static struct dns_query *find_same(struct user *u, const struct user_pkt *p, uint16_t port,
				   const uint8_t *msg, uint32_t len)
{
	struct dns_query *q = u->dns->oldest;

	while (q && (q->port != port || q->len != len || memcmp(q->id, msg, 2) ||
		     memcmp(q->msg + 2, msg + 2, len - 2) || !user_same(&q->guest, &p->src) ||
		     !user_same(&q->alias, &p->dst)))
		q = q->next;
	return q;
}

static struct dns_query *query_new(struct user *u, const struct user_pkt *p, uint16_t port,
				   const uint8_t *msg, uint32_t len)
{
	struct user_dns *d = u->dns;
	struct dns_query *q;

	if (d->n_queries >= QUERIES_MAX)
		give_up(d->oldest);
	if (!d->buf)
		d->buf = malloc(ANSWER_LEN);
	q = d->buf ? calloc(1, sizeof(*q) + len) : NULL;
	if (!q)
		return NULL;
	q->u = u;
	q->guest = p->src;
	q->alias = p->dst;
	q->port = port;
	q->rcode = DNS_SERVFAIL;
	q->fd = -1;
	q->len = len;
	q->give_up = twx_loop_now(u->loop) + GIVE_UP_NS;
	memcpy(q->id, msg, 2);
	memcpy(q->msg, msg, len);
	twx_timer_init(&q->timer, u->loop, query_timeout);
	q->prev = d->newest;
	*(q->prev ? &q->prev->next : &d->oldest) = q;
	d->newest = q;
	d->n_queries++;
	/* Should there be no randomness, the guest's own is left. */
	if (getrandom(q->msg, 2, GRND_NONBLOCK) != 2)
		memcpy(q->msg, msg, 2);
	return q;
}

static void refuse(struct user *u, const struct user_pkt *p, uint16_t port, const uint8_t *msg,
		   uint32_t len)
{
	uint8_t out[QUERY_LEN];

	len = dns_msg_refuse(msg, len, DNS_REFUSED, out);
	udp_to_guest(u, &p->dst, 53, &p->src, port, out, len);
}

void dns_input(struct user *u, const struct user_pkt *p)
{
	uint16_t port = user_get16(p->l4);
	uint32_t len = p->l4_len - UDP_HDR;
	struct dns_servers servers;
	uint8_t msg[QUERY_LEN];
	struct dns_query *q;

	if (u->cfg.restricted) {
		user_refuse(u, p, -EACCES);
		return;
	}
	if (len < DNS_HDR || len > sizeof(msg) || p->frame->meta.gso ||
	    !user_pkt_copy(p, UDP_HDR, msg, len) || dns_msg_is_answer(msg)) {
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, p->frame->len);
		return;
	}
	if (!dns_may_ask(u, &p->dst, IPPROTO_UDP, msg, len)) {
		refuse(u, p, port, msg, len);
		return;
	}
	q = find_same(u, p, port, msg, len);
	if (q && q->servers.n == 1)
		send_query(q); /* the socket's next event tells how that went */
	else if (q)
		ask_next(q);
	if (q)
		return;
	if (!dns_servers(u, &servers)) {
		user_refuse(u, p, -ECONNREFUSED);
		return;
	}
	q = query_new(u, p, port, msg, len);
	if (!q) {
		twx_port_drop(u->port, TWX_DROP_LIMIT, p->frame->len);
		return;
	}
	q->servers = servers;
	ask_next(q);
}

int dns_init(struct user *u)
{
	u->dns = calloc(1, sizeof(*u->dns));
	return u->dns ? 0 : -ENOMEM;
}

void dns_fini(struct user *u)
{
	if (!u->dns)
		return;
	while (u->dns->oldest)
		query_free(u->dns->oldest);
	dns_tcp_fini(u);
	free(u->dns->buf);
	free(u->dns);
	u->dns = NULL;
}
