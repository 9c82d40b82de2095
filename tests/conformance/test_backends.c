/* SPDX-License-Identifier: BSD-3-Clause */
/* Every backend of the list, put through the same tests. A new backend needs a line in recipes[]
 * only. */
#include "subject.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

/* How a type is opened here, and how it is made to send a frame to its peer. */
struct recipe {
	const char *name;
	const char *options;
	const char *(*missing)(void);	 /* why it cannot be opened here, or null */
	void (*attend)(struct scene *s); /* brings the other end of its socket, or null */
	void (*provoke)(struct scene *s);
};

static void provoke_user(struct scene *s)
{
	static uint8_t arp[60];
	struct iovec iov = { arp, sizeof(arp) };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = sizeof(arp) };

	memset(arp, 0xff, 6);
	memcpy(arp + 6, "\x52\x54\0\x12\x34\x56\x08\x06\0\1\x08\0\6\4\0\1", 16);
	memcpy(arp + 22, "\x52\x54\0\x12\x34\x56\x0a\0\x02\x0f", 10);
	memcpy(arp + 38, "\x0a\0\x02\x02", 4);
	twx_port_post(&s->toy->port, &f, 1);
}

/* From a second port of the same hub. */
static void provoke_hubport(struct scene *s)
{
	struct twx_backend *b;

	if (!s->second) {
		s->second = toy_new(s->w->net, "second");
		assert_int_equal(twx_backend_new(&b, s->w->net, "hubport,hubid=7", NULL), 0);
		assert_int_equal(twx_port_pair(&s->second->port, b->ports[0], NULL), 0);
	}
	toy_post(s->second, 'p');
}

static const char *tap_missing(void)
{
	if (!own_namespace())
		return "no network namespace can be made";
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		return "/dev/net/tun cannot be opened";
	return NULL;
}

/* Under an emulator, what was built here may not start by itself. */
static const char *bridge_missing(void)
{
	if (tap_missing())
		return tap_missing();
	return system(BRIDGE_HELPER " silent") ? "the helper cannot be started" : NULL;
}

/* From the host's side of the device. */
static void provoke_tap(struct scene *s)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = 6 };
	struct ifreq ifr = { .ifr_name = "twxconf" };
	struct twx_frame f = toy_frame(60, 'p');
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x88b5));

	assert_true(fd >= 0);
	to.sll_ifindex = (int)if_nametoindex("twxconf");
	assert_true(to.sll_ifindex > 0);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags |= IFF_UP;
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	assert_int_equal(
		sendto(fd, f.iov[0].iov_base, f.len, 0, (struct sockaddr *)&to, sizeof(to)), f.len);
	close(fd);
}

/* --- the other end of a socket --- */

static const char *sock_missing(void)
{
	return own_namespace() ? NULL : "no network namespace can be made";
}

static void peer_event(struct twx_watch *w, uint32_t events)
{
	static uint8_t buf[70000];
	ssize_t n;

	do
		n = recv(w->fd, buf, sizeof(buf), MSG_DONTWAIT);
	while (n > 0);
	if (!n || errno != EAGAIN) {
		twx_watch_del(w);
		close(w->fd);
	}
}

static void peer_add(struct scene *s, int fd)
{
	assert_int_equal(twx_watch_add(&s->peer, s->w->loop, fd, EPOLLIN, peer_event), 0);
}

static void peer_send(struct scene *s, const void *buf, size_t len)
{
	assert_int_equal(send(s->peer.fd, buf, len, MSG_NOSIGNAL), len);
}

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				     .sin_port = htons(port) };
}

static void attend_stream(struct scene *s)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "\0twxconf" };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(sa_family_t) + 8), 0);
	peer_add(s, fd);
	world_poll(s->w);
}

static void attend_tcp(struct scene *s)
{
	struct sockaddr_in to = loopback(7003);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	peer_add(s, fd);
	world_poll(s->w);
}

static void attend_udp(struct scene *s)
{
	struct sockaddr_in own = loopback(7002), to = loopback(7001);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	peer_add(s, fd);
}

/* A frame behind its length. */
static void provoke_stream(struct scene *s)
{
	uint8_t buf[64] = { [3] = 60 };
	struct twx_frame f = toy_frame(60, 'p');

	memcpy(buf + 4, f.iov[0].iov_base, 60);
	peer_send(s, buf, sizeof(buf));
}

static void provoke_datagram(struct scene *s)
{
	struct twx_frame f = toy_frame(60, 'p');

	peer_send(s, f.iov[0].iov_base, f.len);
}

/* The tests' own libvdeplug speaks UDP with this switch, which hears of a new client first. */
static int vde_switch = -1;

static const char *vde_missing(void)
{
	struct sockaddr_in own = loopback(7004);
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	char buf[2000];

	if (sock_missing())
		return sock_missing();
	if (vde_switch < 0) {
		vde_switch = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(vde_switch, (struct sockaddr *)&own, sizeof(own)), 0);
	}
	connect(vde_switch, &none, sizeof(none));
	while (recv(vde_switch, buf, sizeof(buf), MSG_DONTWAIT) >= 0)
		;
	return NULL;
}

static void attend_vde(struct scene *s)
{
	struct sockaddr_in from = { 0 };
	socklen_t len = sizeof(from);
	int port;

	assert_int_equal(
		recvfrom(vde_switch, &port, sizeof(port), 0, (struct sockaddr *)&from, &len),
		sizeof(port));
	assert_int_equal(connect(vde_switch, (struct sockaddr *)&from, sizeof(from)), 0);
	peer_add(s, dup(vde_switch));
}

static const struct recipe recipes[] = {
	{ "bridge", "br=twxconf,helper=" BRIDGE_HELPER " tap", bridge_missing, NULL, provoke_tap },
	{ "dgram",
	  "local.type=inet,local.host=127.0.0.1,local.port=7001,"
	  "remote.type=inet,remote.host=127.0.0.1,remote.port=7002",
	  sock_missing, attend_udp, provoke_datagram },
	{ "hubport", "hubid=7", NULL, NULL, provoke_hubport },
	{ "socket", "listen=127.0.0.1:7003", sock_missing, attend_tcp, provoke_stream },
	{ "stream", "server=on,addr.type=unix,addr.abstract=on,addr.path=twxconf", sock_missing,
	  attend_stream, provoke_stream },
	{ "tap", "ifname=twxconf,script=no,downscript=no", tap_missing, NULL, provoke_tap },
	{ "user", "restrict=on", NULL, NULL, provoke_user },
	{ "vde", "sock=/7004", vde_missing, attend_vde, provoke_datagram },
};

static const struct recipe *recipe_of(const struct twx_backend_type *type)
{
	size_t i;

	for (i = 0; i < sizeof(recipes) / sizeof(recipes[0]); i++)
		if (!strcmp(recipes[i].name, type->name))
			return &recipes[i];
	print_message("%s: no recipe in test_backends.c\n", type->name);
	skip();
	return NULL;
}

static struct twx_backend *subject_open(struct scene *s)
{
	const struct twx_backend_type *type = s->type;
	const struct recipe *r = recipe_of(type);
	const char *why = r->missing ? r->missing() : NULL;
	struct twx_error e = { 0 };
	struct twx_backend *b;
	char text[256];

	if (why) {
		print_message("%s: %s\n", type->name, why);
		skip();
	}
	snprintf(text, sizeof(text), "%s,id=c0,%s", type->name, r->options);
	if (twx_backend_new(&b, s->w->net, text, &e) < 0)
		fail_msg("%s: %s", text, e.what);
	return b;
}

static struct twx_backend *subject_open_paired(struct scene *s)
{
	struct twx_backend *b = subject_open(s);

	assert_true(b->n_ports >= 1);
	assert_int_equal(twx_port_pair(&s->toy->port, b->ports[0], NULL), 0);
	if (recipe_of(s->type)->attend)
		recipe_of(s->type)->attend(s);
	return b;
}

/* Provokes a frame and waits for it; false if none came. */
static bool provoked(struct scene *s)
{
	const struct recipe *r = recipe_of(s->type);
	int before = s->toy->n_got + s->toy->n_committed, i;

	r->provoke(s);
	for (i = 0; i < 100 && s->toy->n_got + s->toy->n_committed == before; i++)
		twx_loop_poll(s->w->loop, 10);
	return s->toy->n_got + s->toy->n_committed > before;
}

static int scene_setup(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	s->type = *state;
	own_namespace();
	world_setup((void **)&s->w);
	s->toy = toy_new(s->w->net, "toy");
	*state = s;
	return 0;
}

static int scene_teardown(void **state)
{
	struct scene *s = *state;

	toy_free(s->toy);
	if (s->second)
		toy_free(s->second);
	if (s->peer.loop) {
		twx_watch_del(&s->peer);
		close(s->peer.fd);
	}
	world_teardown((void **)&s->w);
	free(s);
	return 0;
}

static void test_description(void **state)
{
	const struct twx_backend_type *type = ((struct scene *)*state)->type;

	assert_true(strlen(type->help) > 3);
	assert_null(strchr(type->help, '\n'));
	assert_non_null(type->port_ops->receive);
	assert_true(!type->port_ops->reserve == !type->port_ops->commit);
	assert_true(!type->port_ops->reserve == !type->port_ops->abort);
	check_options(type->name, type->options);
}

static void test_unknown_option(void **state)
{
	struct scene *s = *state;
	const struct twx_backend_type *type = s->type;
	struct twx_error e = { 0 };
	char text[256];

	snprintf(text, sizeof(text), "%s,id=c0,%s,frobnicate=1", type->name,
		 recipe_of(type)->options);
	assert_true(twx_backend_new(NULL, s->w->net, text, &e) < 0);
	assert_non_null(strstr(e.what, "frobnicate"));
	assert_true(e.hint[0]);
	assert_null(twx_backend_find(s->w->net, "c0"));
}

static void test_open_close(void **state)
{
	struct scene *s = *state;
	int i, fds = 0;

	for (i = 0; i < 50; i++) {
		struct twx_backend *b = subject_open(s);

		assert_ptr_equal(twx_backend_find(s->w->net, "c0"), b);
		if (i % 2) {
			twx_port_pair(&s->toy->port, b->ports[0], NULL);
			toy_post(s->toy, 'x');
			twx_loop_poll(s->w->loop, 0);
		}
		twx_backend_free(b);
		assert_null(twx_backend_find(s->w->net, "c0"));
		assert_ptr_equal(twx_net_ports(s->w->net), &s->toy->port);
		twx_loop_poll(s->w->loop, 0);
		if (!i)
			fds = count_fds();
	}
	assert_int_equal(count_fds(), fds);
}

static void test_every_size(void **state)
{
	struct scene *s = *state;
	struct twx_backend *b = subject_open_paired(s);
	uint8_t *buf = calloc(1, 66000);
	struct iovec iov[2];
	struct twx_frame f;
	uint32_t len;

	for (len = TWX_FRAME_MIN; len <= 1514; len++) {
		f = toy_frame(len, 's');
		assert_true(send_patiently(s, &f));
	}
	assert_int_equal(s->toy->port.count.tx_frames, 1514 - 13);
	assert_int_equal(b->ports[0]->count.rx_frames, 1514 - 13);
	f = tcp_frame(buf, iov, 65535, 1460);
	assert_true(send_patiently(s, &f));
	assert_int_equal(s->toy->port.count.tx_frames, 1514 - 12);
	assert_int_equal(s->toy->port.count.drops[TWX_DROP_BAD_META], 0);
	assert_int_equal(s->toy->port.count.drops[TWX_DROP_TOO_LONG], 0);
	assert_true(provoked(s));
	twx_backend_free(b);
	free(buf);
}

static void test_garbage(void **state)
{
	struct scene *s = *state;
	struct twx_backend *b;

	if (!own_namespace()) {
		print_message("no network namespace can be made\n");
		skip();
	}
	b = subject_open_paired(s);
	send_garbage(s);
	world_poll(s->w);
	assert_true(provoked(s));
	twx_backend_free(b);
}

static void test_silence_after_unpair(void **state)
{
	struct scene *s = *state;
	struct twx_backend *b = subject_open_paired(s);
	int got, i;

	assert_true(provoked(s));
	recipe_of(s->type)->provoke(s); /* on its way */
	twx_port_unpair(&s->toy->port);
	got = s->toy->n_got + s->toy->n_committed;
	for (i = 0; i < 20; i++)
		twx_loop_poll(s->w->loop, 2);
	assert_int_equal(s->toy->n_got + s->toy->n_committed, got);
	assert_false(s->toy->leased);
	assert_int_equal(twx_port_pair(&s->toy->port, b->ports[0], NULL), 0);
	assert_true(provoked(s));
	twx_backend_free(b);
}

static void test_busy_then_ready(void **state)
{
	struct scene *s = *state;
	const struct recipe *r = recipe_of(s->type);
	struct twx_backend *b = subject_open_paired(s);
	int i;

	assert_true(provoked(s));
	world_poll(s->w);
	toy_forget(s->toy);
	s->toy->n_committed = 0;
	s->toy->room = 0;
	s->toy->lease_room = 0;
	for (i = 0; i < 20; i++) {
		r->provoke(s);
		twx_loop_poll(s->w->loop, 2);
	}
	assert_int_equal(s->toy->n_got + s->toy->n_committed, 0);
	s->toy->room = TOY_NO_LIMIT;
	s->toy->lease_room = 2000;
	twx_port_ready(&s->toy->port);
	for (i = 0; i < 100 && s->toy->n_got + s->toy->n_committed < 20; i++)
		twx_loop_poll(s->w->loop, 10);
	assert_true(s->toy->n_got + s->toy->n_committed >= 20);
	assert_true(provoked(s));
	twx_backend_free(b);
}

static void test_link_flap(void **state)
{
	struct scene *s = *state;
	struct twx_backend *b = subject_open_paired(s);
	int i;

	for (i = 0; i < 20; i++) {
		assert_int_equal(twx_net_set_link(s->w->net, "c0", false, NULL), 0);
		toy_post(s->toy, 'x');
		twx_loop_poll(s->w->loop, 0);
		assert_int_equal(twx_net_set_link(s->w->net, "c0", true, NULL), 0);
		twx_port_set_link(&s->toy->port, false);
		twx_loop_poll(s->w->loop, 0);
		twx_port_set_link(&s->toy->port, true);
	}
	assert_true(provoked(s));
	twx_backend_free(b);
}

/* Behind a filter that holds, doubles and reorders frames: they still come, and it may end with
 * some of them in it. */
static void test_impaired(void **state)
{
	struct scene *s = *state;
	struct twx_backend *b = subject_open_paired(s);
	uint8_t *buf = calloc(1, 66000);
	struct iovec iov[2];
	struct twx_frame f;
	struct twx_filter *filter;
	int i;

	if (twx_filter_new(&filter, s->w->net,
			   "filter-impair,id=f0,netdev=c0,delay=1ms,jitter=1ms,duplicate=20%,"
			   "reorder=10%",
			   NULL) < 0) { /* several queues, or frames that do not pass here */
		twx_backend_free(b);
		free(buf);
		skip();
	}
	for (i = 0; i < 200; i++) {
		f = i % 10 ? toy_frame(60 + (uint32_t)i, 'i') : tcp_frame(buf, iov, 20000, 1460);
		assert_true(send_patiently(s, &f));
		if (i % 20 == 0)
			twx_loop_poll(s->w->loop, 1);
	}
	assert_true(provoked(s));
	for (i = 0; i < 5; i++) {
		toy_post(s->toy, 'i');
		recipe_of(s->type)->provoke(s);
		twx_loop_poll(s->w->loop, 0);
		assert_int_equal(twx_net_set_link(s->w->net, "c0", i & 1, NULL), 0);
	}
	assert_int_equal(twx_net_set_link(s->w->net, "c0", true, NULL), 0);
	toy_post(s->toy, 'i');
	twx_filter_free(filter);
	assert_true(provoked(s));
	twx_backend_free(b);
	free(buf);
}

static void test_info(void **state)
{
	struct scene *s = *state;
	const struct twx_backend_type *type = s->type;
	struct twx_backend *b = subject_open(s);
	char *text = twx_net_info(s->w->net);

	assert_non_null(strstr(text, "c0"));
	if (strcmp(type->name, "hubport")) {
		const char *shown = strcmp(type->name, "bridge") ? type->name : "tap"; /* QEMU's */
		char line[128];

		snprintf(line, sizeof(line), "c0: index=0,type=%s,", shown);
		assert_non_null(strstr(text, line));
	}
	free(text);
	twx_backend_free(b);
}

static const struct {
	const char *name;
	CMUnitTestFunction fn;
} checks[] = {
	{ "description", test_description },
	{ "unknown option", test_unknown_option },
	{ "open and close", test_open_close },
	{ "every size", test_every_size },
	{ "garbage", test_garbage },
	{ "silence after unpair", test_silence_after_unpair },
	{ "busy then ready", test_busy_then_ready },
	{ "link flap", test_link_flap },
	{ "impaired", test_impaired },
	{ "info", test_info },
};

int main(void)
{
	static struct CMUnitTest tests[1000];
	static char names[1000][64];
	const struct twx_backend_type *const *t;
	size_t n = 0, i;

	for (t = twx_backend_types(); *t; t++)
		for (i = 0; i < sizeof(checks) / sizeof(checks[0]); i++, n++) {
			snprintf(names[n], sizeof(names[0]), "%s: %s", (*t)->name, checks[i].name);
			tests[n] = (struct CMUnitTest){ names[n], checks[i].fn, scene_setup,
							scene_teardown, (void *)*t };
		}
	return _cmocka_run_group_tests("backends", tests, n, NULL, NULL);
}
