/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-user connections: begin, end at any point, reconnect, server=off, the socket file, the link. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "vhost_client.h"

static struct vbench bench;
static struct vc client;

static int open_bench(void **state)
{
	(void)state;
	if (vbench_open(&bench, VC_FORM) < 0)
		fail_msg("%s", bench.e.what);
	vc_init(&client, &bench);
	return 0;
}

static int close_bench(void **state)
{
	(void)state;
	vc_fini(&client);
	vbench_close(&bench);
	return 0;
}

/* A front end that dies after any number of steps leaves nothing behind. */
static void test_hangup_everywhere(void **state)
{
	int before, steps = 0;
	bool more = true;

	(void)state;
	vc_handshake(&client);
	vc_hangup(&client);
	before = open_fds();
	while (more) {
		vc_connect(&client);
		for (int i = 0; i < steps && more; i++)
			more = vc_step(&client, i);
		vc_hangup(&client);
		assert_int_equal(open_fds(), before);
		assert_int_equal(bench.echo->dev.features, 0);
		for (unsigned int q = 0; q < ECHO_QUEUES; q++)
			assert_false(virtio_queue_running(&bench.echo->dev, q));
		steps++;
	}
	assert_true(steps > 10);
	vc_handshake(&client);
	assert_true(vc_echo(&client));
}

/* In the middle of a message, and with an fd already there. */
static void test_hangup_in_message(void **state)
{
	struct vu_header h = { VU_SET_MEM_TABLE, VU_VERSION, 40 };
	uint8_t junk[20] = { 1 };
	int before;

	(void)state;
	vc_handshake(&client);
	vc_hangup(&client);
	before = open_fds();
	for (size_t n = 1; n < sizeof(h) + sizeof(junk); n += 5) {
		uint8_t buf[sizeof(h) + sizeof(junk)];

		memcpy(buf, &h, sizeof(h));
		memcpy(buf + sizeof(h), junk, sizeof(junk));
		vc_connect(&client);
		vc_raw(&client, buf, n, &client.memfd, 1);
		vbench_pump(&bench);
		vc_hangup(&client);
		assert_int_equal(open_fds(), before);
	}
}

static void test_reconnect_often(void **state)
{
	int before = 0;

	(void)state;
	for (int i = 0; i < 100; i++) {
		vc_handshake(&client);
		assert_true(vc_echo(&client));
		vc_hangup(&client);
		if (i == 0)
			before = open_fds();
	}
	assert_int_equal(open_fds(), before);
	assert_int_equal(bench.echo->echoed, 100);
}

/* One at a time: a second front end is told so by the end of its connection. */
static void test_second_front_end(void **state)
{
	struct vc second;

	(void)state;
	vc_handshake(&client);
	vc_init(&second, &bench);
	vc_connect(&second);
	assert_false(vc_alive(&second));
	assert_non_null(strstr(bench.log, "refused front end"));
	assert_true(vc_echo(&client));
	/* The first hangs up and the second is there in the same round. */
	close(client.fd);
	client.fd = -1;
	vc_handshake(&second);
	assert_true(vc_echo(&second));
	vc_fini(&second);
}

/* One that leaves more messages behind than a round takes does not stand in its successor's way. */
static void test_successor_of_a_talker(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct vu_header many[200];
	struct vc second;

	(void)state;
	vc_init(&second, &bench);
	vc_connect(&client);
	for (int i = 0; i < 200; i++)
		many[i] = (struct vu_header){ VU_SET_OWNER, VU_VERSION, 0 };
	vc_raw(&client, many, sizeof(many), NULL, 0);
	close(client.fd);
	client.fd = -1;
	memcpy(a.sun_path, bench.path, strlen(bench.path) + 1);
	second.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(second.fd, (struct sockaddr *)&a, sizeof(a)), 0);
	for (int i = 0; vc_step(&second, i); i++)
		;
	assert_true(vc_echo(&second));
	vc_fini(&second);
}

static void test_socket_file(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(stat(bench.path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	twx_net_free(bench.net);
	bench.net = NULL;
	assert_int_equal(stat(bench.path, &st), -1);
	assert_int_equal(errno, ENOENT);
}

/* Somebody else took the path in the meantime: theirs stays. */
static void test_socket_file_of_another(void **state)
{
	struct stat st;
	FILE *f;

	(void)state;
	unlink(bench.path);
	f = fopen(bench.path, "w");
	fclose(f);
	twx_net_free(bench.net);
	bench.net = NULL;
	assert_int_equal(stat(bench.path, &st), 0);
	unlink(bench.path);
}

static int open_another(const char *text)
{
	struct twx_nic *nic;

	return twx_nic_new(&nic, bench.net, text, &bench.e);
}

static void test_refused_options(void **state)
{
	char text[400], longer[200];

	(void)state;
	assert_true(open_another("echo,export=vhost-user:") < 0);
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	snprintf(text, sizeof(text), "echo,export=vhost-user:/tmp/%s", longer);
	assert_int_equal(open_another(text), -ENAMETOOLONG);
	snprintf(text, sizeof(text), "echo,export=vhost-user:%s", bench.path);
	assert_int_equal(open_another(text), -EADDRINUSE);
	assert_non_null(strstr(bench.e.what, bench.path));
	snprintf(text, sizeof(text), "echo,export=vhost-user:%s/none/s", bench.dir);
	assert_int_equal(open_another(text), -ENOENT);
	snprintf(text, sizeof(text), "echo,export=vhost-user:%s", bench.dir);
	assert_int_equal(open_another(text), -EEXIST);
	snprintf(text, sizeof(text), "echo,export=vhost-user:%s/t,reconnect-ms=10", bench.dir);
	assert_int_equal(open_another(text), -EINVAL);
	assert_non_null(strstr(bench.e.hint, "server=off"));
	snprintf(text, sizeof(text), "echo,export=vhost-user:%s/t,server=off", bench.dir);
	assert_int_equal(open_another(text), -ENOENT);
	assert_non_null(strstr(bench.e.hint, "reconnect-ms"));
	snprintf(text, sizeof(text), "echo,export=vhost-user:%s/t,server=off,reconnect-ms=-1", bench.dir);
	assert_true(open_another(text) < 0);
	snprintf(text, sizeof(text), "virtio-net,queues=129,export=vhost-user:%s/t", bench.dir);
	assert_int_equal(open_another(text), -EINVAL);
	assert_non_null(strstr(bench.e.hint, "queues=128"));
	/* The first is unharmed. */
	vc_handshake(&client);
	assert_true(vc_echo(&client));
}

/* The socket of a back end that died is taken over. */
static void test_stale_socket(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char text[256];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/t", bench.dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
	snprintf(text, sizeof(text), "echo,id=nic1,export=vhost-user:%s", a.sun_path);
	assert_int_equal(open_another(text), 0);
}

/* QEMU owns the link; a front end that reads our config space lets us. */
static void test_link(void **state)
{
	struct twx_error e;
	uint64_t p = VU_BIT(VU_P_REPLY_ACK);

	(void)state;
	assert_int_equal(twx_net_set_link(bench.net, "nic0", false, &e), -EPERM);
	assert_non_null(strstr(e.what, "link of nic0 belongs to the vhost-user front end"));
	assert_true(e.hint[0] != '\0');
	vc_connect(&client);
	vc_send(&client, VU_SET_PROTOCOL_FEATURES, 0, &p, sizeof(p), NULL, 0);
	assert_true(vc_alive(&client));
	assert_int_equal(twx_net_set_link(bench.net, "nic0", false, &e), -EPERM);
	p |= VU_BIT(VU_P_CONFIG);
	vc_send(&client, VU_SET_PROTOCOL_FEATURES, 0, &p, sizeof(p), NULL, 0);
	assert_true(vc_alive(&client));
	assert_int_equal(twx_net_set_link(bench.net, "nic0", false, &e), 0);
	assert_int_equal(twx_net_set_link(bench.net, "nic0", true, &e), 0);
	vc_hangup(&client);
	assert_int_equal(twx_net_set_link(bench.net, "nic0", false, &e), -EPERM);
}

/* A front end that listens itself: server=off connects, and again when it comes back. */
static int listen_at(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
		abort();
	return fd;
}

/* Waits until the back end has connected. */
static void accept_back_end(struct vc *c, int listener)
{
	vc_hangup(c);
	for (int i = 0; i < 500 && c->fd < 0; i++) {
		twx_loop_poll(c->b->loop, 10);
		c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	}
	assert_true(c->fd >= 0);
	for (int i = 0; vc_step(c, i); i++)
		;
}

static void test_client_reconnects(void **state)
{
	struct vbench b;
	struct vc c;
	int listener;

	(void)state;
	if (vbench_open(&b, "server=off,reconnect-ms=5") < 0)
		fail_msg("%s", b.e.what);
	assert_non_null(strstr(b.log, "cannot connect yet"));
	for (int i = 0; i < 10; i++)
		twx_loop_poll(b.loop, 5);
	vc_init(&c, &b);
	listener = listen_at(b.path);
	for (int i = 0; i < 5; i++) {
		accept_back_end(&c, listener);
		assert_true(vc_echo(&c));
	}
	/* The front end is away for a while: said once, not at every attempt. */
	close(listener);
	b.log[0] = '\0';
	vc_hangup(&c);
	for (int i = 0; i < 20; i++)
		twx_loop_poll(b.loop, 5);
	assert_non_null(strstr(b.log, "cannot connect ("));
	assert_null(strstr(strstr(b.log, "cannot connect (") + 1, "cannot connect ("));
	listener = listen_at(b.path);
	accept_back_end(&c, listener);
	assert_true(vc_echo(&c));
	close(listener);
	vc_fini(&c);
	/* Not our file, so it stays. */
	twx_net_free(b.net);
	b.net = NULL;
	assert_int_equal(access(b.path, F_OK), 0);
	vbench_close(&b);
}

static void test_client_stays_away(void **state)
{
	char text[256], path[128];
	struct twx_nic *nic;
	int listener, fd = -1;

	(void)state;
	snprintf(path, sizeof(path), "%s/t", bench.dir);
	listener = listen_at(path);
	snprintf(text, sizeof(text), "echo,id=nic1,export=vhost-user:%s,server=off", path);
	assert_int_equal(twx_nic_new(&nic, bench.net, text, &bench.e), 0);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
	for (int i = 0; i < 10; i++)
		twx_loop_poll(bench.loop, 5);
	assert_int_equal(accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), -1);
	assert_non_null(strstr(bench.log, "stays disconnected"));
	close(listener);
	unlink(path);
}

/* Closed while a front end is connected and traffic runs. */
static void test_close_while_connected(void **state)
{
	int before;

	(void)state;
	vc_handshake(&client);
	assert_true(vc_echo(&client));
	vc_offer(&client, 0, VC_GPA + VC_BUF, 2048, true);
	/* And while a message is on its way, its fd already here. */
	before = open_fds();
	vc_raw(&client, "half", 4, &client.memfd, 1);
	vbench_pump(&bench);
	assert_int_equal(open_fds(), before + 1);
	twx_nic_free(bench.nic);
	/* Gone: the listener, the connection, the request channel, two kicks, two calls, and that fd. */
	assert_int_equal(open_fds(), before - 7);
	assert_false(vc_alive(&client));
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, open_bench, close_bench)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(hangup_everywhere), T(hangup_in_message), T(reconnect_often), T(second_front_end), T(successor_of_a_talker),
		T(socket_file), T(socket_file_of_another), T(refused_options), T(stale_socket), T(link),
		T(client_reconnects), T(client_stays_away), T(close_while_connected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
