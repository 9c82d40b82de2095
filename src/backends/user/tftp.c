/* SPDX-License-Identifier: BSD-3-Clause */
/* A read-only TFTP server (RFC 1350, options of RFC 2347-2349) for guests that boot from the
 * network. */

/*
 * Requests for the host alias, port 69, by IPv4 and IPv6. A session is a guest address and port
 * (its TID); ours is 69 for all of them. Mode octet alone. Names are looked up beneath the tftp=
 * folder by the kernel (openat2, RESOLVE_BENEATH): a leading slash means that folder, "..",
 * absolute symlinks and symlinks that lead out are refused, and only regular files are served. One
 * block is under way at a time; it is sent again after a second (option timeout) up to five times.
 * A repeated acknowledgment sends nothing (RFC 1123, 4.2.3.1). Block numbers wrap.
 *
 * Bounds: 20 sessions, the longest silent one gives way; blksize up to what fits the MTU.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/openat2.h>

#include "backends/user/user.h"
#include "base/hostops.h"
#include "base/macros.h"
#include "net/net_priv.h"

#define MAX_SESSIONS 20
#define MAX_TRIES 5
#define PORT 69
#define SECOND_NS 1000000000ull

enum { RRQ = 1, WRQ = 2, DATA = 3, ACK = 4, ERROR = 5, OACK = 6 };
enum { ERR_UNDEFINED = 0, ERR_NOT_FOUND = 1, ERR_ACCESS = 2, ERR_ILLEGAL = 4 };

/* Who speaks: the guest's address and port, and the address of ours that it asked. */
struct tid {
	struct in6_addr guest, us;
	uint16_t port;
};

struct session {
	struct user *u;
	struct tid tid;
	int fd; /* -1: slot is free */
	uint32_t blksize;
	uint64_t block; /* under way; 0: the OACK */
	bool last;	/* it is the file's last one */
	uint64_t timeout, last_heard;
	int tries;
	uint8_t *pkt; /* under way, for sending again */
	uint32_t len;
	struct twx_timer timer;
};

struct user_tftp {
	int root;
	struct session sessions[MAX_SESSIONS];
};

static void resend(struct twx_timer *t);

int tftp_init(struct user *u, struct twx_error *e)
{
	struct user_tftp *s;

	if (!u->cfg.tftp_root)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return twx_error_set(e, ENOMEM, "out of memory");
	u->tftp = s;
	for (int i = 0; i < MAX_SESSIONS; i++) {
		s->sessions[i].u = u;
		s->sessions[i].fd = -1;
		twx_timer_init(&s->sessions[i].timer, u->loop, resend);
	}
	s->root = hostops_open(net_hostops(u->backend->net), u->cfg.tftp_root,
			       O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (s->root < 0) {
		twx_error_set(e, -s->root, "netdev %s: cannot open the tftp folder %s: %s",
			      u->backend->id, u->cfg.tftp_root, strerror(-s->root));
		return twx_error_hint(e, "name a folder that exists and that you may read");
	}
	return 0;
}

static void session_end(struct session *s)
{
	twx_timer_cancel(&s->timer);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	free(s->pkt);
	s->pkt = NULL;
}

void tftp_fini(struct user *u)
{
	if (!u->tftp)
		return;
	for (int i = 0; i < MAX_SESSIONS; i++)
		session_end(&u->tftp->sessions[i]);
	if (u->tftp->root >= 0)
		close(u->tftp->root);
	free(u->tftp);
	u->tftp = NULL;
}

/* --- packets to the guest --- */

static void send_error(struct user *u, const struct tid *to, uint16_t code, const char *text)
{
	uint8_t pkt[128];
	size_t len = min(strlen(text) + 1, sizeof(pkt) - 4);

	user_put16(pkt, ERROR);
	user_put16(pkt + 2, code);
	memcpy(pkt + 4, text, len);
	pkt[4 + len - 1] = 0;
	udp_to_guest(u, &to->us, PORT, &to->guest, to->port, pkt, 4 + (uint32_t)len);
}

static void send_packet(struct session *s)
{
	udp_to_guest(s->u, &s->tid.us, PORT, &s->tid.guest, s->tid.port, s->pkt, s->len);
	twx_timer_set(&s->timer, twx_loop_now(s->u->loop) + s->timeout);
}

static void resend(struct twx_timer *t)
{
	struct session *s = container_of(t, struct session, timer);

	if (++s->tries > MAX_TRIES)
		session_end(s);
	else
		send_packet(s);
}

/* Reads block s->block and sends it. */
static void send_block(struct session *s)
{
	uint32_t got = 0;

	while (got < s->blksize) {
		off_t at = (off_t)((s->block - 1) * s->blksize + got);
		ssize_t n = pread(s->fd, s->pkt + 4 + got, s->blksize - got, at);

		if (n < 0) {
			send_error(s->u, &s->tid, ERR_UNDEFINED, "Read error");
			session_end(s);
			return;
		}
		if (!n)
			break;
		got += (uint32_t)n;
	}
	user_put16(s->pkt, DATA);
	user_put16(s->pkt + 2, (uint32_t)s->block);
	s->len = 4 + got;
	s->last = got < s->blksize;
	s->tries = 0;
	send_packet(s);
}

/* --- requests --- */

/* The next string of a request, which must end within it; null otherwise. */
static const char *next_string(const uint8_t **at, const uint8_t *end)
{
	const uint8_t *start = *at,
		      *nul = start < end ? memchr(start, 0, (size_t)(end - start)) : NULL;

	if (!nul)
		return NULL;
	*at = nul + 1;
	return (const char *)start;
}

static int open_beneath(int root, const char *name, off_t *size)
{
	struct open_how how = { .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
	struct stat st;
	int fd;

	while (*name == '/')
		name++;
	fd = (int)syscall(SYS_openat2, root, name, &how, sizeof(how));
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EISDIR;
	}
	*size = st.st_size;
	return fd;
}

/* The session of this guest port, else a free slot, else the longest silent one. */
static struct session *session_for(struct user_tftp *t, const struct tid *tid, bool make)
{
	struct session *free_slot = NULL, *silent = &t->sessions[0];

	for (int i = 0; i < MAX_SESSIONS; i++) {
		struct session *s = &t->sessions[i];

		if (s->fd < 0)
			free_slot = s;
		else if (user_same(&s->tid.guest, &tid->guest) && s->tid.port == tid->port)
			return s;
		else if (s->last_heard < silent->last_heard)
			silent = s;
	}
	if (!make)
		return NULL;
	return free_slot ? free_slot : silent;
}

static bool number(const char *text, uint64_t lowest, uint64_t highest, uint64_t *v)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*v = strtoull(text, &end, 10);
	return !*end && !errno && *v >= lowest && *v <= highest;
}

static void accept_option(struct session *s, const char *name, uint64_t v)
{
	size_t room = 512 - s->len;
	int n = snprintf((char *)s->pkt + s->len, room, "%s%c%llu", name, 0, (unsigned long long)v);

	if (n > 0 && (size_t)n + 1 <= room)
		s->len += (uint32_t)n + 1;
}

/* RFC 2347: what is known and valid is acknowledged, the rest passed over. Each option counts once.
 */
static bool options(struct session *s, const uint8_t *at, const uint8_t *end, off_t size)
{
	bool blksize = false, timeout = false, tsize = false;
	const char *key, *value;
	uint64_t v;

	user_put16(s->pkt, OACK);
	s->len = 2;
	while ((key = next_string(&at, end)) && (value = next_string(&at, end))) {
		if (!strcasecmp(key, "blksize") && !blksize && number(value, 8, 65464, &v)) {
			blksize = true;
			s->blksize =
				min((uint32_t)v, s->u->cfg.mtu - user_ip_len(&s->tid.guest) - 12);
			accept_option(s, "blksize", s->blksize);
		} else if (!strcasecmp(key, "timeout") && !timeout && number(value, 1, 255, &v)) {
			timeout = true;
			s->timeout = v * SECOND_NS;
			accept_option(s, "timeout", v);
		} else if (!strcasecmp(key, "tsize") && !tsize &&
			   number(value, 0, UINT64_MAX, &v)) {
			tsize = true;
			accept_option(s, "tsize", (uint64_t)size);
		}
	}
	return s->len > 2;
}

static void start(struct session *s, int fd, off_t size, const uint8_t *at, const uint8_t *end)
{
	s->fd = fd;
	s->blksize = 512;
	s->timeout = SECOND_NS;
	s->last_heard = twx_loop_now(s->u->loop);
	s->last = false;
	s->tries = 0;
	s->pkt = malloc(4 + (size_t)max(s->u->cfg.mtu, 1024u));
	if (!s->pkt) {
		session_end(s);
		return;
	}
	s->block = 0;
	if (options(s, at, end, size)) {
		send_packet(s);
		return;
	}
	s->block = 1;
	send_block(s);
}

static void read_request(struct user *u, const struct tid *tid, const uint8_t *at,
			 const uint8_t *end)
{
	const char *name = next_string(&at, end), *mode = name ? next_string(&at, end) : NULL;
	struct session *s;
	off_t size = 0;
	int fd;

	if (!mode || !*name) {
		send_error(u, tid, ERR_ILLEGAL, "Malformed request");
		return;
	}
	if (strcasecmp(mode, "octet")) {
		send_error(u, tid, ERR_ILLEGAL, "Unsupported transfer mode");
		return;
	}
	s = session_for(u->tftp, tid, true);
	session_end(s);
	fd = open_beneath(u->tftp->root, name, &size);
	if (fd < 0) {
		bool denied = fd == -EXDEV || fd == -EACCES || fd == -EPERM || fd == -ELOOP;

		send_error(u, tid, denied ? ERR_ACCESS : ERR_NOT_FOUND,
			   denied ? "Access violation" : "File not found");
		return;
	}
	s->tid = *tid;
	start(s, fd, size, at, end);
}

static void acknowledged(struct session *s, uint16_t block)
{
	s->last_heard = twx_loop_now(s->u->loop);
	if (block != (uint16_t)s->block)
		return;
	if (s->last) {
		session_end(s);
		return;
	}
	s->block++;
	send_block(s);
}

void tftp_input(struct user *u, const struct user_pkt *p, const uint8_t *data, uint32_t len)
{
	struct tid tid = { p->src, p->dst, user_get16(p->l4) };
	struct session *s;
	uint16_t op;

	/* A request comes from an address; a source of 0.0.0.0 is a DHCP client's alone. */
	if (len < 4 || (!p->v6 && !user_v4(&p->src).s_addr)) {
		twx_port_drop(u->port, TWX_DROP_TOO_SHORT, p->frame->len);
		return;
	}
	op = user_get16(data);
	if (op == RRQ && u->tftp) {
		read_request(u, &tid, data + 2, data + len);
	} else if (op == RRQ || op == WRQ) {
		send_error(u, &tid, ERR_ACCESS, "Access violation");
	} else if ((op == ACK || op == ERROR) && u->tftp) {
		s = session_for(u->tftp, &tid, false);
		if (s && op == ACK)
			acknowledged(s, user_get16(data + 2));
		else if (s)
			session_end(s);
	}
}
