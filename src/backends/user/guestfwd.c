/* SPDX-License-Identifier: BSD-3-Clause */
/* guestfwd=: addresses of the virtual network that lead to a program or to a chardev. */

/*
 * Each rule is a port of an address that belongs to the user network like the gateway's: it answers
 * ARP and ping, and refuses connections to other ports. restrict=on does not concern it.
 *
 * A connection is an ordinary flow of tcp.c, whose socket is one end of a pair of TCP sockets on
 * loopback, for that is what its way of peeking and dropping needs. With cmd: the other end is the
 * standard input and output of a program of its own, started by the shell for each connection; it
 * is ended with the backend. With a chardev a pump stands at the other end:
 *
 *	guest's segment -> flow -> pair -> out -> chardev_write()
 *	chardev's input() -> in -> pair -> flow -> guest
 *
 * Each way has one buffer of PUMP_BUF bytes, and each waits: the pair is not read while the chardev
 * takes no more, the chardev is given as much room as there is in the buffer. So a slow end closes
 * the window of the other. A chardev carries one connection at a time; while it has one, or nobody
 * is at its other end, more are refused. When the guest has finished sending, answers still pass,
 * until the chardev's end or the next connection.
 *
 * Differences from QEMU: a second connection to a chardev is refused, not mixed in; the program's
 * standard error is ours, not the guest's; the command goes through the shell.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/user/user.h"
#include "base/hostops.h"
#include "base/macros.h"
#include "net/chardev.h"
#include "net/net_priv.h"

#define PUMP_BUF 65536
#define PROGRAMS_MAX 64 /* at a time */
#define PAIR_MS 100	/* loopback answers at once, unless a firewall keeps it from that */

/* Bytes on their way: data[off..off + len). */
struct pump_buf {
	uint8_t data[PUMP_BUF];
	size_t off, len;
};

struct pump {
	struct chardev_user user;
	struct guestfwd *rule;
	struct twx_chardev *chardev;
	bool own; /* it was made for this */
	int fd;	  /* our end of the pair; -1: no connection */
	struct twx_watch watch;
	bool guest_done;   /* the guest sends no more */
	bool chardev_done; /* the chardev's other end has left: the connection ends when @in is
			      empty */
	struct pump_buf in, out;
};

struct program {
	struct twx_child child;
	struct guestfwd *rule;
	struct program *next;
};

struct guestfwd {
	struct user *u;
	struct in6_addr addr;
	uint16_t port;
	char *command;	   /* cmd: */
	struct pump *pump; /* a chardev */
	guestfwd_take_fn *hook;
	void *hook_opaque;
	struct program *programs;
	struct guestfwd *next;
};

/* --- a pair of sockets --- */

static int pair_accept(int listener, int other)
{
	struct sockaddr_in own, peer;
	socklen_t own_len = sizeof(own), peer_len = sizeof(peer);
	struct pollfd p = { .fd = listener, .events = POLLIN };
	int fd;

	if (poll(&p, 1, PAIR_MS) != 1)
		return -ETIMEDOUT;
	fd = accept4(listener, (struct sockaddr *)&peer, &peer_len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return -errno;
	/* Any program of this machine could have been faster. */
	if (!getsockname(other, (struct sockaddr *)&own, &own_len) &&
	    own.sin_port == peer.sin_port && own.sin_addr.s_addr == peer.sin_addr.s_addr)
		return fd;
	close(fd);
	return -ECONNABORTED;
}

int guestfwd_pair(struct user *u, int fd[2])
{
	const struct twx_hostops *ops = net_hostops(u->backend->net);
	struct sockaddr_in lo = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;
	socklen_t len = sizeof(lo);

	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	fd[1] = -1;
	err = listener < 0 || fd[0] < 0 ? -EMFILE
					: hostops_bind(ops, listener, (struct sockaddr *)&lo, len);
	if (!err && (listen(listener, 1) || getsockname(listener, (struct sockaddr *)&lo, &len)))
		err = -errno;
	if (!err)
		err = hostops_connect(ops, fd[0], (struct sockaddr *)&lo, len);
	if (!err || err == -EINPROGRESS) {
		fd[1] = pair_accept(listener, fd[0]);
		err = min(fd[1], 0);
	}
	if (listener >= 0)
		close(listener);
	if (err && fd[0] >= 0)
		close(fd[0]);
	return err;
}

/* --- a program --- */

static void program_remove(struct program *p)
{
	struct program **at = &p->rule->programs;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	p->rule->u->n_programs--;
	free(p);
}

static void program_exited(struct twx_child *child, int status)
{
	program_remove(container_of(child, struct program, child));
}

static void program_kill(struct program *p)
{
	int pid = p->child.pid;

	twx_child_del(&p->child);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	program_remove(p);
}

/* Takes @fd. 0 or -errno. */
static int program_start(struct guestfwd *g, int fd)
{
	char *argv[] = { (char *)"/bin/sh", (char *)"-c", g->command, NULL };
	struct program *p = NULL;
	int err = -EAGAIN, pid = 0;

	if (g->u->n_programs < PROGRAMS_MAX)
		p = calloc(1, sizeof(*p));
	if (p) {
		fcntl(fd, F_SETFL, 0);
		err = hostops_spawn_on(net_hostops(g->u->backend->net), argv, fd, &pid);
	}
	close(fd);
	if (err) {
		free(p);
		return err;
	}
	p->rule = g;
	p->next = g->programs;
	g->programs = p;
	g->u->n_programs++;
	err = twx_child_add(&p->child, g->u->loop, pid, program_exited);
	if (err) {
		p->child.pid = pid;
		program_kill(p);
	}
	return err;
}

/* --- a chardev --- */

static void pump_close(struct pump *p)
{
	twx_watch_del(&p->watch);
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	p->in.off = p->in.len = p->out.off = p->out.len = 0;
	chardev_room(p->chardev, 0);
}

static void buf_took(struct pump_buf *b, size_t n)
{
	b->off += n;
	b->len -= n;
	if (!b->len)
		b->off = 0;
}

/* Where more fits, at the end; the buffer is made straight first. */
static uint8_t *buf_end(struct pump_buf *b, size_t *room)
{
	memmove(b->data, b->data + b->off, b->len);
	b->off = 0;
	*room = sizeof(b->data) - b->len;
	return b->data + b->len;
}

static void pump_update(struct pump *p)
{
	uint32_t events = p->in.len ? EPOLLOUT : 0u;

	if (p->fd < 0)
		return;
	if (!p->out.len && !p->guest_done)
		events |= EPOLLIN;
	twx_watch_set(&p->watch, events);
	if (!p->chardev_done)
		chardev_room(p->chardev, sizeof(p->in.data) - p->in.len);
}

/* To the guest. False: the connection has ended. */
static bool pump_push(struct pump *p)
{
	ssize_t n = 0;

	if (p->in.len)
		n = send(p->fd, p->in.data + p->in.off, p->in.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if ((n < 0 && errno != EAGAIN && errno != EINTR) ||
	    (p->chardev_done && n >= 0 && (size_t)n == p->in.len)) {
		pump_close(p);
		return false;
	}
	if (n > 0)
		buf_took(&p->in, (size_t)n);
	return true;
}

/* From the guest; false as above. */
static bool pump_pull(struct pump *p)
{
	size_t room;
	uint8_t *end = buf_end(&p->out, &room);
	ssize_t n = recv(p->fd, end, room, MSG_DONTWAIT);

	if (n > 0) {
		p->out.len += (size_t)n;
		buf_took(&p->out, chardev_write(p->chardev, p->out.data, p->out.len));
	} else if (!n) {
		p->guest_done = true;
	} else if (errno != EAGAIN && errno != EINTR) {
		pump_close(p);
		return false;
	}
	return true;
}

static void pump_event(struct twx_watch *w, uint32_t events)
{
	struct pump *p = container_of(w, struct pump, watch);

	if (events & EPOLLIN && !p->out.len && !p->guest_done && !pump_pull(p))
		return;
	/* A reset is a reset, whatever waits. */
	if (events & EPOLLERR) {
		pump_close(p);
		return;
	}
	if (pump_push(p))
		pump_update(p);
}

static void pump_input(struct chardev_user *user, const uint8_t *buf, size_t len)
{
	struct pump *p = container_of(user, struct pump, user);
	size_t room;
	uint8_t *end;

	if (p->fd < 0)
		return;
	end = buf_end(&p->in, &room);
	memcpy(end, buf, min(len, room));
	p->in.len += min(len, room);
	if (pump_push(p))
		pump_update(p);
}

static void pump_opened(struct chardev_user *user, bool open)
{
	struct pump *p = container_of(user, struct pump, user);

	if (open || p->fd < 0)
		return;
	p->chardev_done = true;
	chardev_room(p->chardev, 0); /* who comes next is not this connection's */
	if (pump_push(p))
		pump_update(p);
}

static void pump_drained(struct chardev_user *user)
{
	struct pump *p = container_of(user, struct pump, user);

	if (p->fd < 0)
		return;
	buf_took(&p->out, chardev_write(p->chardev, p->out.data + p->out.off, p->out.len));
	pump_update(p);
}

/* Takes @fd. 0 or -errno. */
static int pump_start(struct pump *p, int fd)
{
	int err;

	if (p->fd >= 0 && p->guest_done)
		pump_close(p);
	err = p->fd >= 0 || !chardev_is_open(p->chardev)
		      ? -ECONNREFUSED
		      : twx_watch_add(&p->watch, p->rule->u->loop, fd, EPOLLIN, pump_event);
	if (err) {
		close(fd);
		return err;
	}
	p->fd = fd;
	p->guest_done = p->chardev_done = false;
	pump_update(p);
	return 0;
}

static int pump_open(struct guestfwd *g, const char *text, struct twx_error *e)
{
	struct pump *p = calloc(1, sizeof(*p));
	char id[64];
	int err, ret;

	if (!p)
		return twx_error_set(e, ENOMEM, "out of memory");
	p->rule = g;
	p->fd = -1;
	p->user = (struct chardev_user){ pump_input, pump_opened, pump_drained };
	snprintf(id, sizeof(id), "guestfwd.tcp.%u.%.40s", g->port, g->u->backend->id);
	ret = chardev_by_text(&p->chardev, g->u->backend->net, id, text, e);
	p->own = ret > 0;
	err = ret < 0 ? ret : chardev_take(p->chardev, &p->user, e);
	if (!err) {
		g->pump = p;
		return 0;
	}
	if (p->own)
		chardev_free(p->chardev);
	twx_error_prefix(e, "Could not open guest forwarding device '%s': ", text);
	free(p);
	return err;
}

/* --- the rule --- */

/* Cuts the part before @sep off *@text; false when there is none, or it is too long. */
static bool part(char *buf, size_t size, const char **text, char sep)
{
	const char *end = strchr(*text, sep);
	size_t len = end ? (size_t)(end - *text) : 0;

	if (!end || len >= size)
		return false;
	memcpy(buf, *text, len);
	buf[len] = 0;
	*text = end + 1;
	return true;
}

/* As in a URL, an IPv6 address is "[ADDR]"; left unset when it is empty. */
static bool parse_server(struct guestfwd *g, const char **text)
{
	char server[64];
	struct in_addr a4;

	if (**text == '[') {
		++*text;
		return part(server, sizeof(server), text, ']') && *(*text)++ == ':' &&
		       inet_pton(AF_INET6, server, &g->addr) == 1 && !user_is_v4(&g->addr);
	}
	if (!part(server, sizeof(server), text, ':') || (*server && !inet_aton(server, &a4)))
		return false;
	if (*server)
		g->addr = user_mapped(a4);
	return true;
}

/* "[tcp]:SERVER:PORT-"; what follows is left in *@text. */
static bool parse_rule(struct guestfwd *g, const char **text)
{
	char proto[8], port[16], *end;
	unsigned long v;

	if (!part(proto, sizeof(proto), text, ':') || (*proto && strcmp(proto, "tcp")) ||
	    !parse_server(g, text) || !part(port, sizeof(port), text, '-'))
		return false;
	v = strtoul(port, &end, 10);
	g->port = (uint16_t)v;
	return *port >= '0' && *port <= '9' && !*end && v && v <= 65535 && **text;
}

struct guestfwd *guestfwd_find(struct user *u, const struct in6_addr *addr, uint16_t port)
{
	struct guestfwd *g = u->guestfwds;

	while (g && (!user_same(&g->addr, addr) || g->port != port))
		g = g->next;
	return g;
}

/* An alias of the gateway or of the name server cannot be given away. */
static bool is_alias(struct user *u, const struct in6_addr *a)
{
	struct in6_addr host = user_gateway(u, a);

	return user_same(a, &host) || user_is_dns(u, a);
}

/* As libslirp: inside the network, and nobody's yet. */
static bool is_free(struct guestfwd *g)
{
	struct user *u = g->u;

	if (user_same(&g->addr, &in6addr_any) ||
	    (user_is_v4(&g->addr) && !user_v4(&g->addr).s_addr))
		g->addr = user_mapped((struct in_addr){ u->cfg.net.s_addr |
							(htonl(0x0204) & ~u->cfg.mask.s_addr) });
	if (is_alias(u, &g->addr) || guestfwd_find(u, &g->addr, g->port))
		return false;
	/* Several ports may lead elsewhere from one address. */
	if (user_owns(u, &g->addr))
		return true;
	return user_may_be_guest(u, &g->addr) &&
	       (!user_is_v4(&g->addr) || user_v4(&g->addr).s_addr != u->cfg.net.s_addr);
}

static void guestfwd_free(struct guestfwd *g)
{
	while (g->programs)
		program_kill(g->programs);
	if (g->pump) {
		pump_close(g->pump);
		chardev_release(g->pump->chardev);
		if (g->pump->own)
			chardev_free(g->pump->chardev);
		free(g->pump);
	}
	free(g->command);
	free(g);
}

static int rule_failed(const char *sentence, const char *rule, struct twx_error *e)
{
	twx_error_set(e, EINVAL, "%s '%s'", sentence, rule);
	return twx_error_hint(e, "write guestfwd=tcp:ADDR:PORT-CHARDEV or "
				 "guestfwd=tcp:ADDR:PORT-cmd:COMMAND, ADDR a free one inside net=");
}

/* An address that is ours from now on. False: there are too many. */
static bool own_address(struct user *u, const struct in6_addr *addr)
{
	if (user_owns(u, addr))
		return true;
	if (user_is_v4(addr)) {
		if (u->n_own == array_size(u->own))
			return false;
		u->own[u->n_own++] = user_v4(addr);
		return true;
	}
	if (u->n_own6 == array_size(u->own6))
		return false;
	u->own6[u->n_own6++] = *addr;
	return true;
}

static int enter(struct guestfwd *g, struct twx_error *e)
{
	struct user *u = g->u;

	if (!own_address(u, &g->addr)) {
		guestfwd_free(g);
		return twx_error_set(e, E2BIG, "guestfwd= has more than %zu addresses",
				     array_size(u->own));
	}
	g->next = u->guestfwds;
	u->guestfwds = g;
	return 0;
}

int guestfwd_add(struct user *u, const char *rule, struct twx_error *e)
{
	struct guestfwd *g = calloc(1, sizeof(*g));
	const char *target = rule;
	int err = 0;

	if (!g)
		return twx_error_set(e, ENOMEM, "out of memory");
	g->u = u;
	if (!parse_rule(g, &target))
		err = rule_failed("Invalid guest forwarding rule", rule, e);
	else if (!is_free(g))
		err = rule_failed("Conflicting/invalid host:port in guest forwarding rule", rule,
				  e);
	else if (strncmp(target, "cmd:", 4))
		err = pump_open(g, target, e);
	else
		g->command = strdup(target + 4);
	if (!err && !g->command && !g->pump)
		err = twx_error_set(e, ENOMEM, "out of memory");
	if (err) {
		guestfwd_free(g);
		return err;
	}
	return enter(g, e);
}

/* Without a text: a command, or a hook. */
static int add_at(struct user *u, struct in_addr *addr, uint16_t port, struct guestfwd init,
		  struct twx_error *e)
{
	struct guestfwd *g = malloc(sizeof(*g));

	if (!g) {
		free(init.command);
		return twx_error_set(e, ENOMEM, "out of memory");
	}
	*g = init;
	g->u = u;
	g->addr = user_mapped(*addr);
	g->port = port;
	if (!is_free(g)) {
		guestfwd_free(g);
		return twx_error_set(e, EADDRINUSE,
				     "Conflicting/invalid host:port in guest forwarding rule");
	}
	*addr = user_v4(&g->addr);
	return enter(g, e);
}

int guestfwd_add_hook(struct user *u, struct in_addr *addr, uint16_t port, guestfwd_take_fn *take,
		      void *opaque, struct twx_error *e)
{
	return add_at(u, addr, port, (struct guestfwd){ .hook = take, .hook_opaque = opaque }, e);
}

int guestfwd_add_command(struct user *u, struct in_addr *addr, uint16_t port, const char *command,
			 struct twx_error *e)
{
	char *copy = strdup(command);

	if (!copy)
		return twx_error_set(e, ENOMEM, "out of memory");
	return add_at(u, addr, port, (struct guestfwd){ .command = copy }, e);
}

/* The address is nobody's again, unless another rule has it. */
static void disown(struct user *u, const struct in6_addr *addr)
{
	for (const struct guestfwd *g = u->guestfwds; g; g = g->next)
		if (user_same(&g->addr, addr))
			return;
	for (uint32_t i = 0; i < u->n_own; i++) {
		if (u->own[i].s_addr == user_v4(addr).s_addr) {
			u->own[i] = u->own[--u->n_own];
			return;
		}
	}
}

int guestfwd_remove(struct user *u, struct in_addr addr, uint16_t port)
{
	struct in6_addr mapped = user_mapped(addr);
	struct guestfwd **at = &u->guestfwds, *g = guestfwd_find(u, &mapped, port);

	if (!g)
		return -ENOENT;
	while (*at != g)
		at = &(*at)->next;
	*at = g->next;
	disown(u, &mapped);
	guestfwd_free(g);
	return 0;
}

int guestfwd_connect(struct guestfwd *g)
{
	int fd[2], err = guestfwd_pair(g->u, fd);

	if (err)
		return err;
	if (g->hook)
		err = g->hook(g->hook_opaque, fd[1]);
	else
		err = g->command ? program_start(g, fd[1]) : pump_start(g->pump, fd[1]);
	if (!err)
		return fd[0];
	close(fd[0]);
	return err;
}

void guestfwd_fini(struct user *u)
{
	while (u->guestfwds) {
		struct guestfwd *g = u->guestfwds;

		u->guestfwds = g->next;
		guestfwd_free(g);
	}
}
