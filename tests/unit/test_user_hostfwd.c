/* SPDX-License-Identifier: BSD-3-Clause */
/* hostfwd= while it runs, of unix sockets and IPv6, and whom the guest sees. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/user/tcp.h"
#include "tcp_guest.h"

#define FULL (TWX_CAP_CSUM | TWX_CAP_TSO4)
#define PORT 22
#define HOST 0x0a000202u /* 10.0.2.2 */
#define ELSEWHERE 0xc0000207u

static bool isolated;

static void needs_a_namespace(void)
{
	if (!isolated)
		skip();
}

#define until(g, cond)                                                                             \
	do {                                                                                       \
		int left_ = 20000;                                                                 \
		while (!(cond)) {                                                                  \
			tg_round(g, 1);                                                            \
			if (!--left_)                                                              \
				fail_msg("never came true: %s", #cond);                            \
		}                                                                                  \
	} while (0)

static struct tg *guest_with(const char *options)
{
	struct tg *g = tg_new(options, FULL, true);

	struct tg_conn *c;

	assert_non_null(g);
	/* So that its MAC is known: it would not answer ARP. */
	c = tg_conn_new(g, 0x0a000203, 9);
	tg_syn(g, c);
	tg_round(g, 1);
	c->used = false;
	g->listen = PORT;
	g->check = true;
	return g;
}

static void add(struct tg *g, const char *rule)
{
	struct twx_error e = { 0 };

	if (twx_usernet_hostfwd_add(g->backend, rule, &e))
		fail_msg("%s: %s", rule, e.what);
}

/* The connection that the guest has accepted. */
static struct tg_conn *accepted(struct tg *g)
{
	for (int i = 0; i < TG_CONNS; i++)
		if (g->conns[i].used && g->conns[i].passive && g->conns[i].established)
			return &g->conns[i];
	return NULL;
}

static uint32_t n_accepted(struct tg *g)
{
	uint32_t n = 0;

	for (int i = 0; i < TG_CONNS; i++)
		n += g->conns[i].used && g->conns[i].passive && g->conns[i].established;
	return n;
}

static int client(const void *addr, socklen_t len)
{
	const struct sockaddr *a = addr;
	int fd = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (connect(fd, a, len) < 0 && errno != EINPROGRESS) {
		close(fd);
		return -errno;
	}
	return fd;
}

static int client4(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr = { htonl(INADDR_LOOPBACK) } };

	return client(&a, sizeof(a));
}

static uint16_t forwarded_port(struct tg *g)
{
	struct twx_usernet_fwd f = { .size = sizeof(f) };

	assert_int_equal(twx_usernet_hostfwd_next(g->backend, 0, &f), 1);
	assert_true(f.host_port);
	return f.host_port;
}

static void rules_come_and_go(void **state)
{
	struct tg *g = guest_with("restrict=on");
	struct twx_error e = { 0 };
	char rule[64], what[128];
	uint16_t port;
	int fd, again;

	add(g, "tcp:127.0.0.1:0-:22");
	port = forwarded_port(g);
	fd = client4(port);
	until(g, accepted(g));
	snprintf(rule, sizeof(rule), "tcp:127.0.0.1:%u", port);
	assert_int_equal(twx_usernet_hostfwd_remove(g->backend, rule, &e), 0);
	/* What is open stays open; more is refused. */
	accepted(g)->tx_total = 10000;
	until(g, accepted(g)->tx_acked >= 10000);
	again = client4(port);
	if (again >= 0) {
		int err = 0;
		socklen_t len = sizeof(err);

		tg_round(g, 10);
		getsockopt(again, SOL_SOCKET, SO_ERROR, &err, &len);
		assert_int_equal(err, ECONNREFUSED);
		close(again);
	}
	assert_int_equal(twx_usernet_hostfwd_remove(g->backend, rule, &e), -ENOENT);
	snprintf(what, sizeof(what), "host forwarding rule for %s not found", rule);
	assert_string_equal(e.what, what);
	assert_int_equal(twx_usernet_hostfwd_remove(g->backend, "tcp", &e), -EINVAL);
	assert_string_equal(e.what, "invalid format");
	snprintf(rule, sizeof(rule), "tcp:127.0.0.1:%u-:22", port);
	add(g, rule);
	assert_int_equal(forwarded_port(g), port);
	close(fd);
	tg_free(g);
}

static void a_udp_rule_takes_its_peers_along(void **state)
{
	struct tg *g = guest_with("");
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct twx_error e = { 0 };
	char rule[64];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	add(g, "udp:127.0.0.1:0-:53");
	to.sin_port = htons(forwarded_port(g));
	assert_int_equal(sendto(fd, "?", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	until(g, g->user->flows.count[FLOW_UDP] == 1);
	snprintf(rule, sizeof(rule), "udp:127.0.0.1:%u", ntohs(to.sin_port));
	assert_int_equal(twx_usernet_hostfwd_remove(g->backend, rule, &e), 0);
	assert_int_equal(g->user->flows.count[FLOW_UDP], 0);
	close(fd);
	tg_free(g);
}

static void a_unix_socket_leads_to_the_guest(void **state)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct tg *g = guest_with("");
	char rule[128];
	uint8_t buf[4096];
	uint64_t sent = 0, got = 0;
	int fd[2];
	ssize_t n;

	/* With a dash in its name, as rules are split at one. */
	snprintf(sun.sun_path, sizeof(sun.sun_path), "/tmp/test-host-fwd-%d", (int)getpid());
	unlink(sun.sun_path);
	snprintf(rule, sizeof(rule), "unix:%s-10.0.2.15:%d", sun.sun_path, PORT);
	add(g, rule);
	for (int i = 0; i < 2; i++)
		fd[i] = client(&sun, sizeof(sun));
	until(g, n_accepted(g) == 2);
	/* Clients without an address are the host; each has a port of its own. */
	assert_int_equal(ntohl(user_v4(&g->conns[0].peer).s_addr), HOST);
	assert_int_not_equal(g->conns[0].peer_port, g->conns[1].peer_port);
	g->conns[0].tx_total = 1 << 20;
	g->conns[0].fin = true;
	while (sent < 1 << 20 || got < 1 << 20) {
		tg_fill(~g->conns[0].seed, sent, buf, sizeof(buf));
		n = sent < 1 << 20 ? send(fd[0], buf, sizeof(buf), MSG_NOSIGNAL) : 0;
		sent += n > 0 ? (uint64_t)n : 0;
		n = read(fd[0], buf, sizeof(buf));
		if (n > 0)
			assert_true(tg_same(g->conns[0].seed, got, buf, (size_t)n));
		got += n > 0 ? (uint64_t)n : 0;
		tg_round(g, 1);
	}
	until(g, (n = read(fd[0], buf, 1)) == 0);
	until(g, g->conns[0].rx_bytes == 1 << 20);
	assert_false(g->conns[0].bad_data);
	shutdown(fd[0], SHUT_WR);
	until(g, g->conns[0].fin_in);
	/* A client that is killed is a reset or an end for the guest, and nothing stays behind. */
	close(fd[1]);
	until(g, g->conns[1].fin_in || g->conns[1].reset);
	close(fd[0]);
	tg_free(g);
	assert_int_equal(access(sun.sun_path, F_OK), -1);
}

static void ipv6_on_the_host_is_the_host_to_the_guest(void **state)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct tg *g = guest_with("");
	struct twx_error e = { 0 };
	int fd;

	if (twx_usernet_hostfwd_add(g->backend, "tcp:[::1]:0-10.0.2.15:22", &e)) {
		tg_free(g);
		skip(); /* no IPv6 here */
	}
	a.sin6_port = htons(forwarded_port(g));
	fd = client(&a, sizeof(a));
	until(g, accepted(g));
	assert_int_equal(ntohl(user_v4(&accepted(g)->peer).s_addr), HOST);
	close(fd);
	tg_free(g);
}

static void own_address(uint32_t address)
{
	struct ifreq lo = { .ifr_name = "lo:1" };
	struct sockaddr_in *a = (struct sockaddr_in *)&lo.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(address);
	assert_int_equal(ioctl(fd, SIOCSIFADDR, &lo), 0);
	close(fd);
}

/* Connects from @from; the address and port that the guest sees. */
static struct sockaddr_in seen_from(struct tg *g, uint32_t from, uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(from) } }, to = a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(a);

	to.sin_port = htons(forwarded_port(g));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	getsockname(fd, (struct sockaddr *)&a, &len);
	*port = ntohs(a.sin_port);
	until(g, accepted(g));
	a.sin_addr = user_v4(&accepted(g)->peer);
	a.sin_port = htons(accepted(g)->peer_port);
	accepted(g)->used = false;
	close(fd);
	return a;
}

static void the_guest_sees_who_it_is(void **state)
{
	struct tg *g;
	struct sockaddr_in a;
	uint16_t port;

	needs_a_namespace();
	own_address(ELSEWHERE);
	g = guest_with("hostfwd=tcp::0-:22");
	a = seen_from(g, ELSEWHERE, &port);
	assert_int_equal(ntohl(a.sin_addr.s_addr), ELSEWHERE);
	assert_int_equal(ntohs(a.sin_port), port);
	a = seen_from(g, INADDR_LOOPBACK, &port);
	assert_int_equal(ntohl(a.sin_addr.s_addr), HOST);
	assert_int_equal(ntohs(a.sin_port), port);
	/* It could not be answered there: the guest's own network. */
	own_address(0x0a00024d);
	a = seen_from(g, 0x0a00024d, &port);
	assert_int_equal(ntohl(a.sin_addr.s_addr), HOST);
	tg_free(g);
}

/* Two clients that would be one for the guest: 127.0.0.1 and 127.0.0.2 with the same port. */
static void clients_stay_apart(void **state)
{
	struct tg *g = guest_with("hostfwd=tcp::0-:22");
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr_in a = to;
	socklen_t len = sizeof(a);
	int fd[2];

	to.sin_port = htons(forwarded_port(g));
	for (int i = 0; i < 2; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)i);
		assert_int_equal(bind(fd[i], (struct sockaddr *)&a, sizeof(a)), 0);
		getsockname(fd[i], (struct sockaddr *)&a, &len);
		assert_int_equal(connect(fd[i], (struct sockaddr *)&to, sizeof(to)), 0);
	}
	until(g, n_accepted(g) == 2);
	close(fd[0]);
	close(fd[1]);
	tg_free(g);
}

static void wrong_rules_are_said(void **state)
{
	static const struct {
		const char *rule, *why;
	} rules[] = {
		{ "x", "No : separators" },
		{ "sctp::1-:2", "Bad protocol name" },
		{ "tcp:1-:2", "Bad host address" },
		{ "tcp:1", "Missing : separator" },
		{ "tcp:[::1:80-:22", "Missing : separator" },
		{ "tcp:[::1]80-:22", "Missing : separator" },
		{ "tcp:[1.2.3.4]:80-:22", "Bad host address" },
		{ "tcp:[fe80::1%nosuch]:80-:22", "Bad host address" },
		{ "tcp::80:22", "Bad host port separator" },
		{ "tcp::80a-:22", "Bad host port" },
		{ "tcp::65536-:22", "Bad host port" },
		{ "tcp::80-22", "Missing guest address" },
		{ "tcp::80-10.0.2.2:22", "Bad guest address" },
		{ "tcp::80-10.0.2.255:22", "Bad guest address" },
		{ "tcp::80-[::ffff:10.0.2.2]:22", "Bad guest address" },
		{ "tcp::80-:0", "Bad guest port" },
		{ "tcp::80-:", "Bad guest port" },
		{ "unix:-:22", "Bad host path" },
		{ "unix:/tmp/x", "Missing guest address" },
		{ "unix:/tmp/x-22", "Missing guest address" },
	};
	struct tg *g = guest_with("");

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct twx_error e = { 0 };
		char what[256];

		snprintf(what, sizeof(what), "Invalid host forwarding rule '%s' (%s)",
			 rules[i].rule, rules[i].why);
		assert_int_equal(twx_usernet_hostfwd_add(g->backend, rules[i].rule, &e), -EINVAL);
		assert_string_equal(e.what, what);
	}
	tg_free(g);
}

static void networks_are_found_by_name(void **state)
{
	struct tg *g = guest_with("");
	struct twx_backend *b;
	struct twx_error e = { 0 };

	assert_int_equal(twx_backend_new(&b, g->net, "user,id=n1", &e), 0);
	assert_ptr_equal(twx_usernet_find(g->net, NULL, &e), g->backend);
	assert_ptr_equal(twx_usernet_find(g->net, "n1", &e), b);
	assert_null(twx_usernet_find(g->net, "zz", &e));
	assert_string_equal(e.what, "unrecognized netdev id 'zz'");
	assert_int_equal(twx_backend_new(&b, g->net, "hubport,id=h0,hubid=0", &e), 0);
	assert_null(twx_usernet_find(g->net, "h0", &e));
	assert_string_equal(e.what, "invalid device specified");
	tg_free(g);
}

static void info_reads_like_qemus(void **state)
{
	static const char expected[] =
		"Hub -1 (n0):\n"
		"  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n"
		"  TCP[HOST_FORWARD] ";
	struct tg *g = guest_with("");
	char *text, row[128];
	int fd;

	add(g, "tcp:127.0.0.1:0-:22");
	fd = client4(forwarded_port(g));
	until(g, accepted(g));
	text = twx_usernet_info(g->net);
	assert_non_null(text);
	assert_memory_equal(text, expected, strlen(expected));
	snprintf(row, sizeof(row), "       127.0.0.1 %5u       10.0.2.15    22     0     0\n",
		 forwarded_port(g));
	assert_non_null(strstr(text, row));
	assert_non_null(strstr(text, "  TCP[ESTABLISHED]"));
	free(text);
	close(fd);
	tg_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_come_and_go),
		cmocka_unit_test(a_udp_rule_takes_its_peers_along),
		cmocka_unit_test(a_unix_socket_leads_to_the_guest),
		cmocka_unit_test(ipv6_on_the_host_is_the_host_to_the_guest),
		cmocka_unit_test(the_guest_sees_who_it_is),
		cmocka_unit_test(clients_stay_apart),
		cmocka_unit_test(wrong_rules_are_said),
		cmocka_unit_test(networks_are_found_by_name),
		cmocka_unit_test(info_reads_like_qemus),
	};

	isolated = tg_netns();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
