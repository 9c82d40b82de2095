/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chardevs: their options and short forms as any text, on a host that denies everything; and a
 * server whose user and whose clients do what the input says. Bytes count up in both directions, so
 * that one lost, repeated or out of turn shows.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/hostops.h"
#include "base/macros.h"
#include "fuzz.h"
#include "net/chardev.h"

#define TEXT_MAX 600
#define OPS_MAX 400

/* --- text --- */

static int deny_open(void *opaque, const char *path, int flags, mode_t mode)
{
	return -EACCES;
}

static int deny_unlink(void *opaque, const char *path)
{
	return -EACCES;
}

static int deny_addr(void *opaque, int fd, const struct sockaddr *addr, socklen_t len)
{
	return -EACCES;
}

static int deny_unix(void *opaque, int fd, const char *path)
{
	return -ECONNREFUSED;
}

static int deny_resolve(void *opaque, const char *host, const char *port, int family, int type,
			int flags, struct sockaddr_storage *out, int max)
{
	struct sockaddr_in *sin = (struct sockaddr_in *)out;

	if (!host || *host == 'x')
		return -ENOENT;
	memset(out, 0, sizeof(*out));
	sin->sin_family = AF_INET;
	sin->sin_port = htons(1);
	return 1;
}

static const struct twx_hostops deny = {
	.size = sizeof(deny),
	.open = deny_open,
	.unlink = deny_unlink,
	.bind = deny_addr,
	.connect_unix = deny_unix,
	.connect = deny_addr,
	.resolve = deny_resolve,
};

static void ignore_input(struct chardev_user *u, const uint8_t *buf, size_t len)
{
}

static void use(struct twx_chardev *c)
{
	struct chardev_user u = { .input = ignore_input };
	struct twx_error e;

	if (chardev_claim_socket(c, &e)) {
		chardev_release(c);
	} else {
		assert(e.what[0]);
	}
	if (!chardev_take(c, &u, &e)) {
		chardev_room(c, 0);
		chardev_release(c);
	}
}

static void fuzz_text(struct twx_net *net, const uint8_t *data, size_t size)
{
	char text[TEXT_MAX + 1];
	struct twx_error e = { 0 };
	struct twx_chardev *c;

	size = min(size, (size_t)TEXT_MAX);
	memcpy(text, data, size);
	text[size] = '\0';
	/* Numbers of descriptors are those of the fuzzer; so is what it prints to. */
	if (strstr(text, "fd") || strstr(text, "stdio"))
		return;
	if (!twx_chardev_new(&c, net, text, &e))
		use(c);
	else
		assert(e.what[0]);
	memset(&e, 0, sizeof(e));
	if (chardev_by_text(&c, net, "short", text, &e) >= 0)
		use(c);
	else
		assert(e.what[0]);
}

/* --- a server --- */

struct stage {
	struct twx_loop *loop;
	struct twx_chardev *c;
	struct chardev_user user;
	struct sockaddr_un sun;
	socklen_t sun_len;
	int client;
	bool taken, releases;
	size_t room;		  /* left of what the user said */
	bool starved;		  /* owed drained() */
	uint8_t to_user, at_user; /* next byte that the client sends, that the user gets */
	uint8_t to_client, at_client;
	bool synced; /* the client has been there since the user's first byte */
};

static struct stage st;

static void st_input(struct chardev_user *u, const uint8_t *buf, size_t len)
{
	assert(len && len <= st.room);
	st.room -= len;
	for (size_t i = 0; i < len; i++)
		assert(buf[i] == st.at_user++);
	if (st.releases) {
		chardev_release(st.c);
		st.taken = st.starved = false;
	}
}

static void st_opened(struct chardev_user *u, bool open)
{
	assert(chardev_is_open(st.c) == open);
	if (open) {
		st.at_user = 0;
		st.to_client = 0;
	}
	st.synced = open;
}

static void st_drained(struct chardev_user *u)
{
	assert(st.starved);
	st.starved = false;
}

static void st_take(void)
{
	struct twx_error e;

	if (st.taken)
		return;
	st.user = (struct chardev_user){ st_input, st_opened, st_drained };
	st.room = 0;
	assert(!chardev_take(st.c, &st.user, &e));
	st.taken = true;
	st.synced = false;
}

static void st_hang_up(void)
{
	if (st.client >= 0)
		close(st.client);
	st.client = -1;
}

static void st_connect(void)
{
	int small = 1;

	if (st.client >= 0)
		return;
	st.client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(st.client, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	if (connect(st.client, (struct sockaddr *)&st.sun, st.sun_len))
		st_hang_up(); /* the backlog is full */
	st.to_user = st.at_client = 0;
}

static void st_client_write(size_t len)
{
	uint8_t buf[4096];
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(st.to_user + i);
	n = st.client >= 0 ? send(st.client, buf, len, MSG_NOSIGNAL) : 0;
	st.to_user += n > 0 ? (uint8_t)n : 0;
}

static void st_client_read(size_t len)
{
	uint8_t buf[4096];
	ssize_t n = st.client >= 0 ? recv(st.client, buf, len, 0) : 0;

	for (ssize_t i = 0; i < n; i++)
		assert(buf[i] == st.at_client++);
}

static void st_user_write(size_t len)
{
	static uint8_t buf[4096 * 16];
	size_t n;

	if (!st.taken)
		return;
	len *= 16;
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(st.to_client + i);
	n = chardev_write(st.c, buf, len);
	assert(n <= len);
	if (chardev_is_open(st.c) && st.synced)
		st.to_client += (uint8_t)n;
	else
		assert(n == len);
	st.starved |= n < len;
}

static void st_op(uint8_t op, uint8_t arg)
{
	size_t len = (size_t)arg * 16 + 1;

	switch (op % 9) {
	case 0:
		st_connect();
		break;
	case 1:
		st_hang_up();
		break;
	case 2:
		st_client_write(len);
		break;
	case 3:
		st_client_read(len);
		break;
	case 4:
		st_user_write(len);
		break;
	case 5:
		st.room = st.taken ? arg : 0;
		if (st.taken)
			chardev_room(st.c, arg);
		break;
	case 6:
		if (st.taken) {
			chardev_release(st.c);
			st.taken = st.starved = false;
			st_hang_up();
		}
		st_take();
		break;
	case 7:
		st.releases = arg & 1;
		break;
	default:
		twx_loop_poll(st.loop, 0);
	}
}

static void fuzz_server(struct twx_net *net, const uint8_t *data, size_t size)
{
	struct twx_error e;

	memset(&st, 0, sizeof(st));
	st.loop = twx_net_loop(net);
	st.client = -1;
	st.sun = (struct sockaddr_un){ .sun_family = AF_UNIX, .sun_path = "\0fuzz-chardev" };
	st.sun_len = sizeof(sa_family_t) + 13;
	assert(!twx_chardev_new(
		&st.c, net, "socket,id=c,path=fuzz-chardev,abstract=on,server=on,wait=off", &e));
	st_take();
	for (size_t i = 0; i + 1 < min(size, (size_t)(2 * OPS_MAX)); i += 2) {
		if (!st.taken) {
			st_hang_up(); /* so has the server */
			st_take();
		}
		st_op(data[i], data[i + 1]);
	}
	st_hang_up();
	for (int i = 0; i < 8; i++)
		twx_loop_poll(st.loop, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_net *net;

	if (!size)
		return 0;
	if (data[0] & 1)
		config.hostops = &deny;
	assert(!twx_loop_new(&config.loop, NULL));
	assert(!twx_net_new(&net, &config, NULL));
	if (data[0] & 1)
		fuzz_text(net, data + 1, size - 1);
	else
		fuzz_server(net, data + 1, size - 1);
	twx_net_free(net);
	twx_loop_free(config.loop);
	return 0;
}
