/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What DNS forwarders have fallen for: answers that lie about their lengths and names, answers that
 * are guessed (CVE-2020-25684 to 25686), guests that ask without end. Each test ends with a name
 * that resolves.
 */
#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/user/dns.h"
#include "dns_kit.h"
#include "user_guest.h"

#define NAME "www.example.com"
#define N_GARBAGE 4000
#define N_FLOOD 3000

struct world {
	struct guest g;
	int fd; /* the resolver */
	uint64_t seed;
};

static uint32_t draw(struct world *w)
{
	w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(w->seed >> 33);
}

static void open_world(struct world *w, const char *rules)
{
	struct twx_error e = { 0 };
	char options[160];
	uint16_t port;

	memset(w, 0, sizeof(*w));
	w->fd = guest_host_socket(SOCK_DGRAM, &port);
	snprintf(options, sizeof(options), "dns-host=127.0.0.1:%u%s", port, rules);
	if (!guest_open(&w->g, options, 0, &e))
		fail_msg("%s", e.what);
}

static void close_world(struct world *w)
{
	guest_close(&w->g);
	close(w->fd);
}

static void ask(struct world *w, uint16_t port, uint16_t id)
{
	struct dns_text q = dt_query(id, NAME, 1);
	uint8_t frame[512];

	guest_send(&w->g, frame, guest_udp(&w->g, frame, port, w->g.dns, 53, q.data, q.len));
}

/* The identifier of the newest query, and whom to answer. */
static uint16_t hear(struct world *w, struct sockaddr_in *from)
{
	uint8_t buf[512];
	uint16_t id = 0;
	bool heard = false;

	for (int i = 0; i < 1000 && !heard; i++) {
		socklen_t len = sizeof(*from);

		guest_run(&w->g, 1);
		while (recvfrom(w->fd, buf, sizeof(buf), 0, (struct sockaddr *)from, &len) > 0) {
			id = user_get16(buf);
			heard = true;
		}
	}
	assert_true(heard);
	return id;
}

static void say(struct world *w, const struct sockaddr_in *to, const void *data, uint32_t len)
{
	sendto(w->fd, data, len, 0, (const struct sockaddr *)to, sizeof(*to));
}

static void resolves(struct world *w)
{
	struct dns_text m = dt_query(1, NAME, 1);
	struct sockaddr_in from;
	struct guest_frame f;
	struct guest_pkt p;
	uint16_t id;

	while (guest_recv(&w->g, &f, 0))
		guest_frame_free(&f);
	while (recv(w->fd, m.data, sizeof(m.data), 0) >= 0)
		; /* else there is no room for ours */
	ask(w, 999, 4242);
	id = hear(w, &from);
	m = dt_answer(id, NAME, 1);
	dt_a(&m, NAME, 60, "192.0.2.1");
	say(w, &from, m.data, m.len);
	/* Older queries may come to their end first. */
	assert_true(guest_recv_ip(&w->g, IPPROTO_UDP, &p, 1000));
	for (int i = 0; p.dport != 999 && i < 512; i++) {
		guest_pkt_free(&p);
		assert_true(guest_recv_ip(&w->g, IPPROTO_UDP, &p, 1000));
	}
	assert_int_equal(p.dport, 999);
	assert_int_equal(user_get16(p.data), 4242);
	assert_int_equal(p.len, m.len);
	guest_pkt_free(&p);
}

/* A right answer that was changed in a few places, all lengths and counts among them. */
static void answers_that_lie(void **state)
{
	struct world w;
	struct sockaddr_in from;

	open_world(&w, ",allow=*.example.com,deny=*.bad.example");
	w.seed = 1;
	for (int i = 0; i < N_GARBAGE; i++) {
		struct dns_text m;

		ask(&w, 1000, (uint16_t)i);
		m = dt_answer(hear(&w, &from), NAME, 1);
		dt_cname(&m, NAME, 60, "a.bad.example");
		dt_a(&m, "a.bad.example", 60, "192.0.2.1");
		for (uint32_t n = draw(&w) % 4; n; n--)
			m.data[2 + draw(&w) % (m.len - 2)] = (uint8_t)draw(&w);
		if (draw(&w) % 4 == 0)
			m.data[12 + draw(&w) % (m.len - 12)] = 0xc0;
		if (draw(&w) % 4 == 0)
			m.len = draw(&w) % m.len;
		say(&w, &from, m.data, m.len);
		guest_run(&w.g, 0);
	}
	assert_true(w.g.user->dns->n_queries <= 512);
	resolves(&w);
	close_world(&w);
}

/* All identifiers from a neighbour of the resolver, at its very port but one: not one is taken. */
static void answers_that_are_guessed(void **state)
{
	struct world w;
	struct sockaddr_in from;
	uint16_t other;
	int fd = guest_host_socket(SOCK_DGRAM, &other);

	open_world(&w, "");
	ask(&w, 1000, 7);
	hear(&w, &from);
	for (uint32_t id = 0; id < 65536; id++) {
		struct dns_text m = dt_answer((uint16_t)id, NAME, 1);

		dt_a(&m, NAME, 60, "192.0.2.66");
		sendto(fd, m.data, m.len, 0, (struct sockaddr *)&from, sizeof(from));
	}
	assert_true(guest_silent(&w.g, 20));
	close(fd);
	resolves(&w);
	close_world(&w);
}

static int n_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Nobody answers, and the guest goes on asking: what it costs the host has a bound. */
static void questions_without_end(void **state)
{
	struct world w;
	int before;

	open_world(&w, "");
	before = n_descriptors();
	for (uint32_t i = 0; i < N_FLOOD; i++) {
		struct guest_frame f;

		ask(&w, (uint16_t)(1024 + i), (uint16_t)i);
		while (guest_recv(&w.g, &f, 0))
			guest_frame_free(&f);
	}
	assert_true(n_descriptors() <= before + 512);
	assert_int_equal(w.g.user->dns->n_queries, 512);
	resolves(&w);
	close_world(&w);
}

/* A name that is denied, in a message that has two questions, or whose count says that there is
 * none: resolvers that look at the first question all the same would tell. */
static void names_that_hide(void **state)
{
	static const uint8_t counts[] = { 0, 2, 255 };
	struct dns_text q = dt_query(5, "x.bad.example", 1);
	uint8_t frame[512], heard[512];
	struct guest_pkt p;
	struct world w;

	open_world(&w, ",deny=*.bad.example");
	for (size_t i = 0; i < sizeof(counts); i++) {
		q.data[5] = counts[i];
		guest_send(&w.g, frame, guest_udp(&w.g, frame, 1000, w.g.dns, 53, q.data, q.len));
		assert_true(guest_recv_ip(&w.g, IPPROTO_UDP, &p, 1000));
		assert_int_equal(dns_msg_rcode(p.data), DNS_REFUSED);
		guest_pkt_free(&p);
		assert_true(recv(w.fd, heard, sizeof(heard), 0) < 0);
	}
	resolves(&w);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_that_lie),
		cmocka_unit_test(answers_that_are_guessed),
		cmocka_unit_test(questions_without_end),
		cmocka_unit_test(names_that_hide),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
