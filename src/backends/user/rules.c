/* SPDX-License-Identifier: BSD-3-Clause */
/* Egress rules of the user-mode network: where the guest's connections may go. */

/*
 * allow=WHAT and deny=WHAT, or rule=allow:WHAT and rule=deny:WHAT, in one order: that of the
 * command line. The first that matches decides. When none does, the flow is allowed if there are
 * deny rules only, else denied. WHAT is
 *
 *	[tcp:|udp:|icmp:]WHERE[:PORT[-PORT]]
 *
 * and WHERE a network (10.0.0.0/8, 2001:db8::/32, in brackets when a port follows), a name
 * (example.com; *.example.com: what is below it), "host" and "dns" for the two aliases, or "any".
 * Ports without a protocol mean TCP and UDP. Networks are compared with addresses as the guest sees
 * them, so that 10.0.0.0/8 contains the aliases of 10.0.2.0/24.
 *
 * A name stands for the addresses that the DNS forwarder has brought the guest for it, or for a
 * name that leads to it or from it by CNAME, as long as their TTL says, one minute at least: a
 * guest may look twice. So names work for guests that ask the DNS alias only. 2048 addresses are
 * remembered, the first learned gives way. No name opens the aliases: whoever answers for it could
 * have the guest led to the host's loopback.
 *
 * Queries to the DNS alias obey the same list. A rule with a name decides about queries for that
 * name: an allowed one must be resolved, whatever the port; a denied one must not, unless the rule
 * is about a protocol or port. Other rules decide as for any flow to port 53 of the alias. A
 * message whose question cannot be read (none, several) may be for any name that a rule denies.
 *
 * Rules are looked at when a flow is made, and for UDP when a flow turns to another peer; flows
 * that are there stay when an address ceases to be a name's.
 */
#include "backends/user/rules.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/user/dns_msg.h"
#include "base/macros.h"
#include "base/opts.h"
#include "base/siphash.h"

#define BOUND_MAX 2048 /* addresses of names; a power of 2 */
#define WHAT_MAX 320

enum where { WHERE_ANY, WHERE_NET, WHERE_NAME, WHERE_HOST, WHERE_DNS };

struct rule {
	char *text; /* as given, without allow or deny */
	bool allow;
	enum where where;
	uint8_t proto;	      /* 0: any */
	uint16_t first, last; /* ports; 0..65535: any */
	struct in6_addr net;
	uint8_t net_len;
	bool below; /* the name's subdomains */
	char name[DNS_NAME_MAX + 1];
	uint64_t hits;
};

/* An address that a name has. */
struct bound {
	struct in6_addr addr;
	uint32_t rule; /* index + 1; 0: free */
	uint32_t next; /* in its bucket, index + 1 */
	uint64_t until;
};

struct rules {
	struct rule *list;
	uint32_t n;
	bool allow_rest;
	uint64_t rest_hits;
	struct bound *bound; /* null: no rule has a name */
	uint32_t *buckets, hand;
	struct siphash_key key;
};

/* --- text --- */

static bool read_number(const char *s, const char **end, long max, long *v)
{
	char *e;

	if (*s < '0' || *s > '9')
		return false;
	*v = strtol(s, &e, 10);
	*end = e;
	return *v <= max && e - s <= 5;
}

static const char *read_ports(struct rule *r, const char *s)
{
	long first, last;

	if (!read_number(s, &s, 65535, &first))
		return "Bad port";
	last = first;
	if (*s == '-' && !read_number(s + 1, &s, 65535, &last))
		return "Bad port";
	if (*s || !first || last < first)
		return "Bad port";
	if (r->proto == IPPROTO_ICMP)
		return "ICMP has no ports";
	r->first = (uint16_t)first;
	r->last = (uint16_t)last;
	return NULL;
}

static void mask(struct in6_addr *a, uint32_t len)
{
	for (uint32_t i = 0; i < 16; i++) {
		uint32_t bits = len < i * 8 ? 0 : min(len - i * 8, 8u);

		a->s6_addr[i] &= (uint8_t)(0xff00 >> bits);
	}
}

/* "ADDR[/LEN]" of @family into the rule. */
static const char *read_net(struct rule *r, int family, char *s)
{
	char *slash = strchr(s, '/');
	long len = family == AF_INET ? 32 : 128;
	const char *end = "";
	uint8_t a[16];

	if (slash) {
		*slash = 0;
		if (!read_number(slash + 1, &end, len, &len) || *end)
			return "Bad prefix length";
	}
	if (inet_pton(family, s, a) != 1)
		return "Bad address";
	r->where = WHERE_NET;
	if (family == AF_INET6) {
		memcpy(&r->net, a, 16);
	} else {
		r->net.s6_addr32[2] = htonl(0xffff);
		memcpy(&r->net.s6_addr32[3], a, 4);
		len += 96;
	}
	r->net_len = (uint8_t)len;
	mask(&r->net, r->net_len);
	return NULL;
}

/* Letters, digits, '-', '_' in labels of 63 at most; the last one is not a number, as in addresses.
 */
static bool is_name(const char *s)
{
	const char *label = s;

	if (!*s || strlen(s) > DNS_NAME_MAX - 2)
		return false;
	for (;; s++) {
		bool letter = (*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == '-' ||
			      *s == '_';

		if (letter)
			continue;
		if (s == label || s - label > 63 || (*s && *s != '.'))
			return false;
		if (!*s)
			return label[strspn(label, "0123456789")] != 0;
		label = s + 1;
	}
}

static const char *read_name(struct rule *r, char *s)
{
	size_t len = strlen(s);

	if (!strncmp(s, "*.", 2)) {
		r->below = true;
		s += 2;
		len -= 2;
	}
	if (len && s[len - 1] == '.')
		s[--len] = 0;
	for (char *p = s; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p | 0x20);
	if (!is_name(s))
		return "Bad address or name";
	r->where = WHERE_NAME;
	memcpy(r->name, s, len + 1);
	return NULL;
}

static const char *read_where(struct rule *r, char *s)
{
	static const struct {
		const char *word;
		enum where where;
	} words[] = { { "any", WHERE_ANY },
		      { "*", WHERE_ANY },
		      { "host", WHERE_HOST },
		      { "dns", WHERE_DNS } };

	for (size_t i = 0; i < array_size(words); i++) {
		if (strcmp(s, words[i].word))
			continue;
		r->where = words[i].where;
		return NULL;
	}
	if (strchr(s, ':'))
		return read_net(r, AF_INET6, s);
	/* What begins like an address is one, and not a name by mistake. */
	return s[strspn(s, "0123456789./")] ? read_name(r, s) : read_net(r, AF_INET, s);
}

/* Cuts the ports off *@s: what stands behind a bracket, or the only colon. */
static const char *split(char **s, char **ports)
{
	char *colon = strchr(*s, ':'), *end;

	*ports = NULL;
	if (**s == '[') {
		end = strchr(*s, ']');
		if (!end)
			return "Missing ]";
		++*s;
		colon = strchr(end, ':');
		/* "[2001:db8::]/32:443" and "[2001:db8::/32]:443" */
		memmove(end, end + 1, strlen(end));
		colon = colon ? colon - 1 : NULL;
	} else if (colon && strchr(colon + 1, ':')) {
		return NULL; /* an IPv6 address */
	}
	if (!colon)
		return NULL;
	*colon = 0;
	*ports = colon + 1;
	return NULL;
}

/* Null, or why not. */
static const char *read_what(struct rule *r, const char *text)
{
	static const struct {
		const char *word;
		uint8_t proto;
	} protos[] = { { "tcp:", IPPROTO_TCP },
		       { "udp:", IPPROTO_UDP },
		       { "icmp:", IPPROTO_ICMP } };
	char buf[WHAT_MAX], *s = buf, *ports;
	const char *wrong;

	if (strlen(text) >= sizeof(buf))
		return "Too long";
	memcpy(buf, text, strlen(text) + 1);
	r->last = 65535;
	for (size_t i = 0; i < array_size(protos); i++) {
		size_t len = strlen(protos[i].word);

		if (strncmp(s, protos[i].word, len))
			continue;
		r->proto = protos[i].proto;
		s += len;
		break;
	}
	wrong = split(&s, &ports);
	if (!wrong)
		wrong = read_where(r, s);
	return !wrong && ports ? read_ports(r, ports) : wrong;
}

static int rule_wrong(const char *text, const char *why, struct twx_error *e)
{
	twx_error_set(e, EINVAL, "Invalid egress rule '%.200s' (%s)", text, why);
	return twx_error_hint(e,
			      "write [tcp:|udp:|icmp:]WHERE[:PORT[-PORT]], WHERE a network "
			      "(10.0.0.0/8, [2001:db8::]/32), a name (*.example.com), host, dns or "
			      "any");
}

/* The word in front of a rule=; false: neither. */
static bool read_verdict(const char **text, bool *allow)
{
	*allow = !strncmp(*text, "allow:", 6);
	if (!*allow && strncmp(*text, "deny:", 5))
		return false;
	*text += *allow ? 6 : 5;
	return true;
}

static int add(struct rules *r, const char *key, const char *value, struct twx_error *e)
{
	struct rule *rule = &r->list[r->n];
	const char *text = value, *wrong;

	rule->allow = !strcmp(key, "allow");
	if (!strcmp(key, "rule") && !read_verdict(&text, &rule->allow))
		return rule_wrong(value, "No 'allow:' or 'deny:'", e);
	wrong = read_what(rule, text);
	if (wrong)
		return rule_wrong(text, wrong, e);
	rule->text = strdup(text);
	if (!rule->text)
		return twx_error_set(e, ENOMEM, "out of memory");
	r->n++;
	r->allow_rest &= !rule->allow;
	return 0;
}

static int make_bound(struct rules *r, struct twx_error *e)
{
	uint32_t n_names = 0;

	for (uint32_t i = 0; i < r->n; i++)
		n_names += r->list[i].where == WHERE_NAME;
	if (!n_names)
		return 0;
	siphash_key_random(&r->key);
	r->bound = calloc(BOUND_MAX, sizeof(*r->bound));
	r->buckets = calloc(BOUND_MAX, sizeof(*r->buckets));
	return r->bound && r->buckets ? 0 : twx_error_set(e, ENOMEM, "out of memory");
}

int rules_new(struct rules **out, const struct twx_opts *o, struct twx_error *e)
{
	static const char *const keys[] = { "rule", "allow", "deny", NULL };
	const char *key, *value;
	struct rules *r;
	uint32_t n = 0;
	int err = 0;

	while (opts_in_order(o, keys, n, &key))
		n++;
	*out = NULL;
	if (!n)
		return 0;
	if (n > RULES_MAX)
		return twx_error_set(e, E2BIG, "more than %d egress rules", RULES_MAX);
	r = calloc(1, sizeof(*r));
	if (r)
		r->list = calloc(n, sizeof(*r->list));
	if (!r || !r->list) {
		free(r);
		return twx_error_set(e, ENOMEM, "out of memory");
	}
	r->allow_rest = true;
	for (uint32_t i = 0; !err && i < n; i++) {
		value = opts_in_order(o, keys, i, &key);
		err = add(r, key, value, e);
	}
	if (!err)
		err = make_bound(r, e);
	if (err)
		rules_free(r);
	else
		*out = r;
	return err;
}

void rules_free(struct rules *r)
{
	if (!r)
		return;
	for (uint32_t i = 0; i < r->n; i++)
		free(r->list[i].text);
	free(r->list);
	free(r->bound);
	free(r->buckets);
	free(r);
}

/* --- addresses of names --- */

static uint32_t *bucket(struct rules *r, const struct in6_addr *addr)
{
	return &r->buckets[siphash(&r->key, addr, sizeof(*addr)) & (BOUND_MAX - 1)];
}

static struct bound *bound_find(struct rules *r, const struct in6_addr *addr, uint32_t rule)
{
	for (uint32_t i = *bucket(r, addr); i; i = r->bound[i - 1].next) {
		struct bound *b = &r->bound[i - 1];

		if (b->rule == rule + 1 && IN6_ARE_ADDR_EQUAL(&b->addr, addr))
			return b;
	}
	return NULL;
}

static void bound_drop(struct rules *r, struct bound *b)
{
	uint32_t self = (uint32_t)(b - r->bound) + 1, *link = bucket(r, &b->addr);

	while (*link != self)
		link = &r->bound[*link - 1].next;
	*link = b->next;
}

static void bind_address(struct rules *r, const struct in6_addr *addr, uint32_t rule,
			 uint64_t until)
{
	struct bound *b = bound_find(r, addr, rule);
	uint32_t *head;

	if (!b) {
		b = &r->bound[r->hand++ & (BOUND_MAX - 1)];
		if (b->rule)
			bound_drop(r, b);
		head = bucket(r, addr);
		*b = (struct bound){ .addr = *addr, .rule = rule + 1, .next = *head };
		*head = (uint32_t)(b - r->bound) + 1;
	}
	b->until = max(b->until, until);
}

static bool name_matches(const struct rule *r, const char *name)
{
	size_t len = strlen(name), own = strlen(r->name);

	if (!r->below)
		return !strcmp(name, r->name);
	return len > own + 1 && name[len - own - 1] == '.' && !strcmp(name + len - own, r->name);
}

struct learning {
	struct rules *r;
	uint64_t now;
};

static void learn_address(void *opaque, const struct dns_chain *chain, const struct in6_addr *addr,
			  uint32_t ttl)
{
	struct learning *l = opaque;
	uint64_t s = min(max(ttl, RULES_TTL_MIN), RULES_TTL_MAX);

	for (uint32_t i = 0; i < l->r->n; i++) {
		const struct rule *rule = &l->r->list[i];

		if (rule->where != WHERE_NAME)
			continue;
		for (uint32_t k = 0; k < chain->n; k++) {
			if (!name_matches(rule, chain->names[k].text))
				continue;
			bind_address(l->r, addr, i, l->now + s * 1000000000);
			break;
		}
	}
}

void rules_learn(struct rules *r, const uint8_t *msg, uint32_t len, uint64_t now)
{
	struct learning l = { r, now };

	if (r->bound)
		dns_msg_addresses(msg, len, learn_address, &l);
}

/* --- decisions --- */

static bool in_net(const struct rule *r, const struct in6_addr *a)
{
	struct in6_addr m = *a;

	mask(&m, r->net_len);
	return IN6_ARE_ADDR_EQUAL(&m, &r->net) &&
	       IN6_IS_ADDR_V4MAPPED(a) == IN6_IS_ADDR_V4MAPPED(&r->net);
}

static bool where_matches(struct rules *r, uint32_t i, const struct rules_to *to, uint64_t now)
{
	const struct rule *rule = &r->list[i];
	const struct bound *b;

	switch (rule->where) {
	case WHERE_ANY:
		return true;
	case WHERE_NET:
		return in_net(rule, &to->addr);
	case WHERE_NAME:
		b = bound_find(r, &to->addr, i);
		return b && now < b->until && !(rule->allow && to->place != RULES_ELSEWHERE);
	case WHERE_HOST:
		return to->place == RULES_HOST;
	case WHERE_DNS:
		return to->place == RULES_DNS;
	}
	return false;
}

static bool has_ports(const struct rule *r)
{
	return r->first || r->last != 65535;
}

static bool matches(struct rules *r, uint32_t i, const struct rules_to *to, uint64_t now)
{
	const struct rule *rule = &r->list[i];

	if (rule->proto && rule->proto != to->proto)
		return false;
	if (has_ports(rule) && (!to->port || to->port < rule->first || to->port > rule->last))
		return false;
	return where_matches(r, i, to, now);
}

static bool decide(struct rules *r, uint32_t i)
{
	if (i < r->n) {
		r->list[i].hits++;
		return r->list[i].allow;
	}
	r->rest_hits++;
	return r->allow_rest;
}

bool rules_allow(struct rules *r, const struct rules_to *to, uint64_t now)
{
	uint32_t i = 0;

	while (i < r->n && !matches(r, i, to, now))
		i++;
	return decide(r, i);
}

bool rules_allow_name(struct rules *r, const struct rules_to *to, const char *name, uint64_t now)
{
	uint32_t i = 0;

	for (; i < r->n; i++) {
		const struct rule *rule = &r->list[i];

		if (rule->where != WHERE_NAME) {
			if (matches(r, i, to, now))
				break;
		} else if (rule->allow ? name && name_matches(rule, name)
				       : !rule->proto && !has_ports(rule) &&
						 (!name || name_matches(rule, name))) {
			break;
		}
	}
	return decide(r, i);
}

bool rules_at(const struct rules *r, uint32_t i, bool *allow, const char **text, uint64_t *hits)
{
	if (!r || i > r->n)
		return false;
	*allow = i < r->n ? r->list[i].allow : r->allow_rest;
	*text = i < r->n ? r->list[i].text : "any";
	*hits = i < r->n ? r->list[i].hits : r->rest_hits;
	return true;
}
