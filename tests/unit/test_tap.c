/* SPDX-License-Identifier: BSD-3-Clause */
/* The tap backend against a real interface and real sockets, in a network namespace of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <net/if_arp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <twinax/twinax.h>

#include "base/hostops.h"

#define HOST_IP "10.9.9.1"
#define GUEST_IP "10.9.9.2"
#define MAX_LOG 512
#define MSS 1448

static const uint8_t guest_mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

struct seen {
	uint32_t len;
	struct twx_meta meta;
	uint8_t head[128];
};

/* A NIC that writes down what it gets. */
struct nic {
	struct twx_port port;
	bool busy, lends;
	int n, commits, aborts, reserves;
	struct seen log[MAX_LOG];
	uint8_t buf[TWX_FRAME_MAX];
	uint32_t payload; /* bytes of TCP payload so far */
	bool payload_ok;
};

struct ctx {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_backend *tap;
	struct nic nic;
	char log[4096];
	uint8_t host_mac[6];
};

static uint8_t pattern(uint32_t at)
{
	return (uint8_t)(at * 7 + (at >> 8));
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint16_t sum16(const uint8_t *p, size_t len, uint32_t sum)
{
	size_t i;

	for (i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	if (len & 1)
		sum += (uint32_t)p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Sum of pseudo-header: addresses, protocol, length. */
static uint16_t pseudo(const uint8_t *ip, uint8_t proto, uint32_t l4_len)
{
	return sum16(ip + 12, 8, proto + l4_len);
}

static void nic_note(struct nic *n, const uint8_t *data, uint32_t len, const struct twx_meta *meta)
{
	struct seen *s = &n->log[n->n < MAX_LOG ? n->n : MAX_LOG - 1];
	uint32_t ip_len, head, i;

	/* What the host's stack says by itself (IPv6, IGMP) is not part of any test. */
	if (len < 34 || data[12] != 8 || data[13] != 0 || (data[23] != IPPROTO_UDP && data[23] != IPPROTO_TCP))
		return;
	s->len = len;
	s->meta = *meta;
	memcpy(s->head, data, len < sizeof(s->head) ? len : sizeof(s->head));
	n->n++;
	ip_len = (uint32_t)(data[16] << 8 | data[17]);
	assert_true(ip_len + 14 <= len || len == 60);
	if (data[23] != IPPROTO_TCP)
		return;
	head = 14 + 20 + (data[46] >> 4) * 4u;
	for (i = head; i < 14 + ip_len; i++, n->payload++)
		n->payload_ok &= data[i] == pattern(n->payload);
	/* Unfinished checksums are only for receivers that said so. */
	if (!(n->port.caps.flags & TWX_CAP_CSUM))
		assert_int_equal(sum16(data + 34, ip_len - 20, pseudo(data + 14, IPPROTO_TCP, ip_len - 20)), 0xffff);
}

static int nic_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct nic *nic = port->owner;
	uint32_t off, k;
	int i;

	if (nic->busy)
		return 0;
	for (i = 0; i < n; i++) {
		off = 0;
		for (k = 0; k < frames[i].n_iov; k++) {
			memcpy(nic->buf + off, frames[i].iov[k].iov_base, frames[i].iov[k].iov_len);
			off += (uint32_t)frames[i].iov[k].iov_len;
		}
		assert_int_equal(off, frames[i].len);
		nic_note(nic, nic->buf, off, &frames[i].meta);
	}
	return n;
}

/* Lends its buffer in uneven pieces. */
static int nic_reserve(struct twx_port *port, size_t min, size_t want, struct twx_lease *lease)
{
	struct nic *nic = port->owner;
	size_t off = 0, piece = 1526;

	if (!nic->lends)
		return -EOPNOTSUPP;
	if (nic->busy)
		return -EAGAIN;
	nic->reserves++;
	memset(nic->buf, 0xee, sizeof(nic->buf));
	for (lease->n_iov = 0; off < want && lease->n_iov < TWX_LEASE_IOV; lease->n_iov++) {
		if (piece > sizeof(nic->buf) - off)
			piece = sizeof(nic->buf) - off;
		lease->iov[lease->n_iov] = (struct iovec){ nic->buf + off, piece };
		off += piece;
	}
	lease->len = (uint32_t)off;
	return 0;
}

static void nic_commit(struct twx_port *port, struct twx_lease *lease, size_t len, const struct twx_meta *meta)
{
	struct nic *nic = port->owner;

	nic->commits++;
	nic_note(nic, nic->buf, (uint32_t)len, meta);
}

static void nic_abort(struct twx_port *port, struct twx_lease *lease)
{
	((struct nic *)port->owner)->aborts++;
}

static const struct twx_port_ops nic_ops = {
	.receive = nic_receive,
	.reserve = nic_reserve,
	.commit = nic_commit,
	.abort = nic_abort,
};

/* --- the namespace --- */

static void log_line(void *opaque, enum twx_log_level level, const char *line)
{
	struct ctx *c = opaque;
	size_t n = strlen(c->log);

	snprintf(c->log + n, sizeof(c->log) - n, "%s\n", line);
}

static bool link_exists(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s", name);
	return access(path, F_OK) == 0;
}

static void if_ioctl(unsigned long req, struct ifreq *ifr, const char *name)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(ifr->ifr_name, IFNAMSIZ, "%s", name);
	assert_int_equal(ioctl(fd, req, ifr), 0);
	close(fd);
}

static void if_up(const char *name)
{
	struct ifreq ifr = { 0 };

	if_ioctl(SIOCGIFFLAGS, &ifr, name);
	ifr.ifr_flags |= IFF_UP;
	if_ioctl(SIOCSIFFLAGS, &ifr, name);
}

static void if_mtu(const char *name, int mtu)
{
	struct ifreq ifr = { 0 };

	ifr.ifr_mtu = mtu;
	if_ioctl(SIOCSIFMTU, &ifr, name);
}

/* An address for the host's side and a fixed neighbour for the guest's. */
static void if_address(struct ctx *c, const char *name)
{
	struct sockaddr_in *sin;
	struct ifreq ifr = { 0 };
	struct arpreq arp = { .arp_flags = ATF_COM | ATF_PERM };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	sin = (struct sockaddr_in *)&ifr.ifr_addr;
	sin->sin_family = AF_INET;
	inet_pton(AF_INET, HOST_IP, &sin->sin_addr);
	if_ioctl(SIOCSIFADDR, &ifr, name);
	if_up(name);
	sin = (struct sockaddr_in *)&arp.arp_pa;
	sin->sin_family = AF_INET;
	inet_pton(AF_INET, GUEST_IP, &sin->sin_addr);
	memcpy(arp.arp_ha.sa_data, guest_mac, 6);
	snprintf(arp.arp_dev, sizeof(arp.arp_dev), "%s", name);
	assert_int_equal(ioctl(fd, SIOCSARP, &arp), 0);
	close(fd);
	memset(&ifr, 0, sizeof(ifr));
	if_ioctl(SIOCGIFHWADDR, &ifr, name);
	memcpy(c->host_mac, ifr.ifr_hwaddr.sa_data, 6);
}

/* A host whose default scripts are not there, whatever is installed on this one. */
static int open_without_defaults(void *opaque, const char *path, int flags, mode_t mode)
{
	if (!strncmp(path, "/etc/qemu-if", strlen("/etc/qemu-if")))
		return -ENOENT;
	return hostops_open(NULL, path, flags, mode);
}

static const struct twx_hostops host_ops = { .size = sizeof(host_ops), .open = open_without_defaults };

static int setup(void **state)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct ctx *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	assert_int_equal(twx_loop_new(&c->loop, NULL), 0);
	config.loop = c->loop;
	config.log = log_line;
	config.log_opaque = c;
	config.log_level = TWX_LOG_INFO;
	config.hostops = &host_ops;
	assert_int_equal(twx_net_new(&c->net, &config, NULL), 0);
	assert_int_equal(twx_port_init(&c->nic.port, c->net, c->loop, TWX_PORT_NIC, "nic", "toy", 0, &nic_ops,
				       &c->nic, NULL), 0);
	c->nic.payload_ok = true;
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct ctx *c = *state;

	if (c->tap)
		twx_backend_free(c->tap);
	twx_port_fini(&c->nic.port);
	twx_net_free(c->net);
	twx_loop_free(c->loop);
	assert_false(link_exists("tt0"));
	free(c);
	return 0;
}

static void open_tap(struct ctx *c, const char *text)
{
	struct twx_error e = { 0 };

	if (twx_backend_new(&c->tap, c->net, text, &e))
		fail_msg("%s: %s", text, e.what);
	assert_int_equal(twx_port_pair(&c->nic.port, c->tap->ports[0], NULL), 0);
}

/* The usual one, with an address. */
static void open_tt0(struct ctx *c, uint32_t caps)
{
	open_tap(c, "tap,id=t0,ifname=tt0,script=no,downscript=no");
	if_address(c, "tt0");
	twx_port_set_caps(&c->nic.port, (struct twx_caps){ .flags = caps });
}

static void expect_refused(struct ctx *c, const char *text, const char *part)
{
	struct twx_error e = { 0 };
	struct twx_backend *b;

	if (!twx_backend_new(&b, c->net, text, &e))
		fail_msg("%s was accepted", text);
	if (!strstr(e.what, part))
		fail_msg("%s: got '%s', not '%s'", text, e.what, part);
	assert_false(link_exists("tt0"));
	assert_null(twx_backend_find(c->net, "t0"));
}

static void run_loop(struct ctx *c, int ms)
{
	int i;

	for (i = 0; i < ms / 5 + 1; i++)
		twx_loop_poll(c->loop, 5);
}

/* --- frames of our own --- */

static struct sockaddr_in addr(const char *ip, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, ip, &sin.sin_addr);
	return sin;
}

/* Ethernet and IPv4 header from guest to host. */
static void put_ip(struct ctx *c, uint8_t *f, uint8_t proto, uint32_t l4_len)
{
	struct sockaddr_in a;
	uint16_t s;

	memset(f, 0, 34);
	memcpy(f, c->host_mac, 6);
	memcpy(f + 6, guest_mac, 6);
	f[12] = 8;
	f[14] = 0x45;
	f[16] = (uint8_t)((l4_len + 20) >> 8);
	f[17] = (uint8_t)(l4_len + 20);
	f[22] = 64;
	f[23] = proto;
	a = addr(GUEST_IP, 0);
	memcpy(f + 26, &a.sin_addr, 4);
	a = addr(HOST_IP, 0);
	memcpy(f + 30, &a.sin_addr, 4);
	s = (uint16_t)~sum16(f + 14, 20, 0);
	f[24] = (uint8_t)(s >> 8);
	f[25] = (uint8_t)s;
}

static int send_frame(struct ctx *c, const uint8_t *f, uint32_t len, const struct twx_meta *meta)
{
	/* In two pieces, as a NIC's would be. */
	uint32_t first = len < TWX_HDR_ROOM ? len : TWX_HDR_ROOM;
	struct iovec iov[2] = { { (void *)f, first }, { (void *)(f + first), len - first } };
	struct twx_frame frame = { .iov = iov, .n_iov = 2, .len = len };

	if (meta)
		frame.meta = *meta;
	return twx_port_send(&c->nic.port, &frame, 1);
}

static int send_udp(struct ctx *c, uint16_t port, const char *text)
{
	uint8_t f[1514];
	uint32_t len = 8 + (uint32_t)strlen(text);

	put_ip(c, f, IPPROTO_UDP, len);
	memset(f + 34, 0, 8);
	f[34] = f[36] = (uint8_t)(port >> 8);
	f[35] = f[37] = (uint8_t)port;
	f[39] = (uint8_t)len;
	memcpy(f + 42, text, strlen(text));
	return send_frame(c, f, 34 + len, NULL);
}

struct tcp {
	int fd; /* the host's end */
	uint16_t host_port;
	uint32_t seq, ack;
};

/* A segment from the guest, checksum left to the receiver. */
static int send_tcp(struct ctx *c, struct tcp *t, uint8_t flags, uint32_t len, uint16_t gso_size)
{
	static uint8_t f[TWX_FRAME_MAX];
	struct twx_meta m = { .flags = TWX_F_NEEDS_CSUM, .csum_start = 34, .csum_off = 16 };
	uint16_t s;
	uint32_t i;

	put_ip(c, f, IPPROTO_TCP, 20 + len);
	memset(f + 34, 0, 20);
	f[34] = 0x30;
	f[35] = 0x39;
	f[36] = (uint8_t)(t->host_port >> 8);
	f[37] = (uint8_t)t->host_port;
	for (i = 0; i < 4; i++) {
		f[38 + i] = (uint8_t)(t->seq >> (24 - 8 * i));
		f[42 + i] = (uint8_t)(t->ack >> (24 - 8 * i));
	}
	f[46] = 5 << 4;
	f[47] = flags;
	f[48] = f[49] = 0xff;
	s = pseudo(f + 14, IPPROTO_TCP, 20 + len);
	f[50] = (uint8_t)(s >> 8);
	f[51] = (uint8_t)s;
	for (i = 0; i < len; i++)
		f[54 + i] = pattern(i);
	if (gso_size) {
		m.gso = TWX_GSO_TCPV4;
		m.gso_size = gso_size;
		m.hdr_len = 54;
	}
	t->seq += len + ((flags & 2) != 0);
	return send_frame(c, f, 54 + len, &m);
}

/* Connects the guest's toy TCP to a listening socket of the host. */
static void tcp_connect(struct ctx *c, struct tcp *t)
{
	struct sockaddr_in sin = addr(HOST_IP, 0);
	socklen_t len = sizeof(sin);
	int listener = socket(AF_INET, SOCK_STREAM, 0), before = c->nic.n;

	assert_int_equal(bind(listener, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&sin, &len);
	*t = (struct tcp){ .host_port = ntohs(sin.sin_port), .seq = 1000 };
	assert_int_equal(send_tcp(c, t, 2, 0, 0), 1);
	run_loop(c, 20);
	assert_int_equal(c->nic.n, before + 1);
	assert_int_equal(c->nic.log[before].head[47], 0x12);
	t->ack = get32(c->nic.log[before].head + 38) + 1;
	assert_int_equal(send_tcp(c, t, 0x10, 0, 0), 1);
	t->fd = accept(listener, NULL, NULL);
	assert_true(t->fd >= 0);
	close(listener);
}

/* With a reset, so that nothing of this connection is sent again into the next test. */
static void tcp_close(struct tcp *t)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(t->fd);
}

/* --- tests --- */

static void test_frames_both_ways(void **state)
{
	struct ctx *c = *state;
	struct sockaddr_in to = addr(GUEST_IP, 77), from = addr(HOST_IP, 99);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char buf[64] = "";

	open_tt0(c, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(sendto(fd, "hello guest", 11, 0, (struct sockaddr *)&to, sizeof(to)), 11);
	run_loop(c, 10);
	assert_int_equal(c->nic.n, 1);
	assert_memory_equal(c->nic.log[0].head, guest_mac, 6);
	assert_memory_equal(c->nic.log[0].head + 42, "hello guest", 11);
	assert_int_equal(send_udp(c, 99, "hello host"), 1);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 10);
	assert_string_equal(buf, "hello host");
	assert_int_equal(c->tap->ports[0]->count.rx_frames, 1);
	close(fd);
}

static void test_info_text(void **state)
{
	struct ctx *c = *state;
	char *info;

	open_tt0(c, 0);
	info = twx_net_info(c->net);
	assert_non_null(strstr(info, "t0: index=0,type=tap,ifname=tt0,script=no,downscript=no"));
	free(info);
}

static void test_without_vnet_header(void **state)
{
	struct ctx *c = *state;
	struct sockaddr_in to = addr(GUEST_IP, 77), from = addr(HOST_IP, 99);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char buf[64] = "";

	open_tap(c, "tap,id=t0,ifname=tt0,script=no,downscript=no,vnet_hdr=off");
	if_address(c, "tt0");
	assert_int_equal(c->tap->ports[0]->caps.flags, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(sendto(fd, "hello guest", 11, 0, (struct sockaddr *)&to, sizeof(to)), 11);
	run_loop(c, 10);
	assert_int_equal(c->nic.n, 1);
	assert_memory_equal(c->nic.log[0].head + 42, "hello guest", 11);
	assert_int_equal(send_udp(c, 99, "hello host"), 1);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 10);
	close(fd);
}

/* A 20,000-byte segment of the guest arrives at a socket of the host, uncut and with one write. */
static void test_gso_to_host(void **state)
{
	struct ctx *c = *state;
	uint8_t buf[20000];
	struct tcp t;
	uint32_t i;

	open_tt0(c, TWX_CAP_CSUM);
	tcp_connect(c, &t);
	i = (uint32_t)c->tap->ports[0]->count.rx_frames;
	assert_int_equal(send_tcp(c, &t, 0x18, sizeof(buf), MSS), 1);
	run_loop(c, 20);
	assert_int_equal(recv(t.fd, buf, sizeof(buf), MSG_WAITALL | MSG_DONTWAIT), sizeof(buf));
	for (i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], pattern(i));
	assert_int_equal(c->tap->ports[0]->count.seg_sw, 0);
	tcp_close(&t);
}

static void host_sends(struct ctx *c, struct tcp *t, uint32_t len)
{
	uint8_t *data = malloc(len);
	uint32_t i;

	for (i = 0; i < len; i++)
		data[i] = pattern(i);
	assert_int_equal(send(t->fd, data, len, MSG_DONTWAIT), len);
	free(data);
	for (i = 0; i < 50 && c->nic.payload < len; i++) {
		run_loop(c, 5);
		t->ack += c->nic.payload - (t->ack - get32(c->nic.log[0].head + 38) - 1);
		send_tcp(c, t, 0x10, 0, 0);
	}
	assert_int_equal(c->nic.payload, len);
	assert_true(c->nic.payload_ok);
}

static uint32_t longest(const struct ctx *c)
{
	uint32_t max = 0;
	int i;

	for (i = 0; i < c->nic.n && i < MAX_LOG; i++)
		if (c->nic.log[i].len > max)
			max = c->nic.log[i].len;
	return max;
}

static void gso_from_host(struct ctx *c, uint32_t caps)
{
	struct tcp t;

	open_tt0(c, caps);
	tcp_connect(c, &t);
	host_sends(c, &t, 60000);
	tcp_close(&t);
}

static void test_gso_from_host(void **state)
{
	struct ctx *c = *state;
	int i;

	gso_from_host(c, TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 | TWX_CAP_ECN);
	assert_true(longest(c) > 1514);
	for (i = 0; i < c->nic.n; i++)
		if (c->nic.log[i].len > 1514) {
			assert_int_equal(c->nic.log[i].meta.gso, TWX_GSO_TCPV4);
			assert_true(c->nic.log[i].meta.gso_size > 500);
			assert_true(c->nic.log[i].meta.flags & TWX_F_NEEDS_CSUM);
		}
}

static void test_gso_from_host_into_lease(void **state)
{
	struct ctx *c = *state;

	c->nic.lends = true;
	gso_from_host(c, TWX_CAP_CSUM | TWX_CAP_TSO4 | TWX_CAP_TSO6 | TWX_CAP_ECN);
	assert_true(c->nic.commits > 0);
	assert_int_equal(c->nic.commits + c->nic.aborts, c->nic.reserves);
	assert_true(longest(c) > 1514);
}

/* A receiver without offloads gets frames of the MTU with whole checksums (nic_note looks at them). */
static void test_no_offload_for_a_plain_receiver(void **state)
{
	struct ctx *c = *state;

	gso_from_host(c, 0);
	assert_true(longest(c) <= 1514);
}

/* The driver gives its offloads up while large frames wait in the kernel: they arrive cut, none is lost. */
static void test_offloads_given_up(void **state)
{
	struct ctx *c = *state;
	struct tcp t;

	c->nic.lends = true;
	open_tt0(c, TWX_CAP_CSUM | TWX_CAP_TSO4);
	tcp_connect(c, &t);
	host_sends(c, &t, 14000);
	c->nic.busy = true;
	c->nic.payload = 0;
	assert_int_equal(send(t.fd, c->nic.buf, 10000, MSG_DONTWAIT), 10000);
	run_loop(c, 10);
	memset(c->nic.log, 0, sizeof(c->nic.log));
	c->nic.n = 0;
	twx_port_set_caps(&c->nic.port, (struct twx_caps){ 0 });
	c->nic.busy = false;
	twx_port_ready(&c->nic.port);
	run_loop(c, 20);
	assert_int_equal(c->nic.payload, 10000);
	assert_true(longest(c) <= 1514);
	tcp_close(&t);
}

static void test_jumbo_mtu_raised_later(void **state)
{
	struct ctx *c = *state;
	struct sockaddr_in to = addr(GUEST_IP, 77);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), i, full = 0;
	char data[8900] = { 1 };

	c->nic.lends = true;
	open_tt0(c, 0);
	if_mtu("tt0", 9000);
	for (i = 0; i < 6; i++) {
		assert_int_equal(sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)), sizeof(data));
		run_loop(c, 5);
	}
	for (i = 0; i < c->nic.n; i++)
		full += c->nic.log[i].len == sizeof(data) + 42;
	assert_true(full >= 5); /* the first of that size in a lease of the old one may be lost, and no more */
	assert_true(c->nic.commits > 0);
	close(fd);
}

static void send_numbered(int fd, int n)
{
	struct sockaddr_in to = addr(GUEST_IP, 77);
	char text[16];
	int i;

	for (i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%08d", i);
		assert_int_equal(sendto(fd, text, 8, 0, (struct sockaddr *)&to, sizeof(to)), 8);
	}
}

static void expect_numbered(const struct ctx *c, int n)
{
	char text[16];
	int i;

	assert_int_equal(c->nic.n, n);
	for (i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%08d", i);
		assert_memory_equal(c->nic.log[i].head + 42, text, 8);
	}
}

static void test_busy_receiver_loses_nothing(void **state)
{
	struct ctx *c = *state;
	int fd = socket(AF_INET, SOCK_DGRAM, 0), rounds;

	open_tt0(c, 0);
	run_loop(c, 10);
	c->nic.busy = true;
	send_numbered(fd, 300);
	rounds = twx_loop_poll(c->loop, 0);
	run_loop(c, 10);
	assert_int_equal(c->nic.n, 0);
	assert_true(rounds >= 1);
	/* It waits without spinning. */
	assert_int_equal(twx_loop_poll(c->loop, 0), 0);
	c->nic.busy = false;
	twx_port_ready(&c->nic.port);
	run_loop(c, 20);
	expect_numbered(c, 300);
	assert_true(c->nic.port.count.rx_bursts < 60); /* gathered */
	close(fd);
}

static void test_link_down_drains(void **state)
{
	struct ctx *c = *state;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	open_tt0(c, 0);
	assert_int_equal(twx_net_set_link(c->net, "t0", false, NULL), 0);
	send_numbered(fd, 10);
	run_loop(c, 10);
	assert_int_equal(c->nic.n, 0);
	assert_int_equal(twx_net_set_link(c->net, "t0", true, NULL), 0);
	run_loop(c, 10);
	c->nic.n = 0;
	send_numbered(fd, 10); /* none of the old ones turns up */
	run_loop(c, 10);
	expect_numbered(c, 10);
	close(fd);
}

/* Frames that the host's queue holds on to fill the send buffer; the port is busy until they go. */
static void test_full_device_makes_busy(void **state)
{
	struct ctx *c = *state;
	uint8_t f[1514] = { 0 };
	int sent = 0, i;

	open_tap(c, "tap,id=t0,ifname=tt0,script=no,downscript=no,sndbuf=8k");
	if (system("ip link add br9 type bridge && ip link set br9 up && ip link add v9 type veth peer name w9 && "
		   "ip link set v9 master br9 up && ip link set w9 up && ip link set tt0 master br9 up && "
		   "tc qdisc add dev v9 root tbf rate 200kbit burst 2000 limit 1000000 2>&1"))
		skip();
	run_loop(c, 20);
	/* Local experimental Ethertype: IP would pass through the bridge's packet filter, which takes the
	 * frames out of the sender's account. */
	memcpy(f, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x88\xb5", 14);
	for (i = 0; i < 200; i++)
		sent += send_frame(c, f, sizeof(f), NULL);
	assert_in_range(sent, 1, 100);
	assert_true(c->tap->ports[0]->count.busy > 0);
	for (i = 0; i < 400 && !twx_port_can_send(&c->nic.port); i++)
		twx_loop_poll(c->loop, 10);
	assert_true(twx_port_can_send(&c->nic.port));
	assert_int_equal(send_frame(c, f, sizeof(f), NULL), 1);
	assert_int_equal(system("ip link del br9; ip link del v9"), 0);
}

static void test_deleted_interface(void **state)
{
	struct ctx *c = *state;
	int i;

	open_tt0(c, 0);
	if (system("ip link del tt0"))
		skip();
	run_loop(c, 20);
	assert_int_equal(twx_loop_poll(c->loop, 0), 0); /* quiet */
	assert_non_null(strstr(c->log, "netdev t0: cannot read from tt0 any more"));
	for (i = 0; i < 5; i++)
		assert_int_equal(send_udp(c, 99, "into the void"), 1);
	assert_int_equal(c->tap->ports[0]->count.drops[TWX_DROP_HOST_ERROR], 5);
}

static void test_several_queues(void **state)
{
	struct ctx *c = *state;
	struct sockaddr_in from = addr(HOST_IP, 99);
	struct nic *more = calloc(3, sizeof(*more));
	int fd = socket(AF_INET, SOCK_DGRAM, 0), i, socks[40], total;
	char buf[16];

	open_tap(c, "tap,id=t0,ifname=tt0,script=no,downscript=no,queues=4");
	assert_int_equal(c->tap->n_ports, 4);
	if_address(c, "tt0");
	for (i = 0; i < 3; i++) {
		assert_int_equal(twx_port_init(&more[i].port, c->net, c->loop, TWX_PORT_NIC, "nic", "toy",
					       (uint16_t)(i + 1), &nic_ops, &more[i], NULL), 0);
		assert_int_equal(twx_port_pair(&more[i].port, c->tap->ports[i + 1], NULL), 0);
	}
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(send_udp(c, 99, "queue 0"), 1);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 7);
	for (i = 0; i < 40; i++) {
		socks[i] = socket(AF_INET, SOCK_DGRAM, 0);
		send_numbered(socks[i], 1);
		close(socks[i]);
	}
	run_loop(c, 20);
	total = c->nic.n;
	for (i = 0; i < 3; i++) {
		total += more[i].n;
		twx_port_fini(&more[i].port);
	}
	assert_int_equal(total, 40);
	assert_true(c->nic.n < 40); /* the kernel spread the flows */
	close(fd);
	free(more);
}

static int open_tun(const char *name, short flags)
{
	struct ifreq ifr = { .ifr_flags = flags };
	int fd = open("/dev/net/tun", O_RDWR);

	snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

static void test_inherited_descriptor(void **state)
{
	struct ctx *c = *state;
	int fd = open_tun("tt0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR), sock = socket(AF_INET, SOCK_DGRAM, 0);
	char text[64], *info;

	snprintf(text, sizeof(text), "tap,id=t0,fd=%d", fd);
	open_tap(c, text);
	if_address(c, "tt0");
	send_numbered(sock, 3);
	run_loop(c, 10);
	expect_numbered(c, 3);
	snprintf(text, sizeof(text), "type=tap,fd=%d", fd);
	info = twx_net_info(c->net);
	assert_non_null(strstr(info, text));
	free(info);
	close(sock);
	twx_backend_free(c->tap);
	c->tap = NULL;
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* it was taken */
}

static void test_inherited_descriptors(void **state)
{
	struct ctx *c = *state;
	int a = open_tun("tt0", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE);
	int b = open_tun("tt0", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE);
	char text[64];

	snprintf(text, sizeof(text), "tap,id=t0,fds=%d:%d", a, b);
	open_tap(c, text);
	assert_int_equal(c->tap->n_ports, 2);
	assert_int_equal(c->tap->ports[0]->caps.flags, 0); /* opened without the offload header */
}

static void test_wrong_descriptors(void **state)
{
	struct ctx *c = *state;
	int plain = open("/dev/null", O_RDWR), tun;
	char text[64];

	snprintf(text, sizeof(text), "tap,id=t0,fd=%d", plain);
	expect_refused(c, text, "not an open tap device");
	assert_int_equal(fcntl(plain, F_GETFD), 0); /* and it is still its owner's */
	expect_refused(c, "tap,id=t0,fd=4711", "not an open tap device");
	expect_refused(c, "tap,id=t0,fd=x", "descriptor");
	expect_refused(c, "tap,id=t0,fds=1:", "descriptor");
	expect_refused(c, "tap,id=t0,fd=1:2", "fds=");
	tun = open_tun("ttx", IFF_TUN | IFF_NO_PI);
	snprintf(text, sizeof(text), "tap,id=t0,fd=%d", tun);
	expect_refused(c, text, "not an open tap device");
	close(plain);
	close(tun);
}

static void test_exclusions(void **state)
{
	struct ctx *c = *state;

	expect_refused(c, "tap,id=t0,fd=3,ifname=tt0",
		       "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, and vhostfds= are invalid with "
		       "fd=");
	expect_refused(c, "tap,id=t0,fd=3,queues=1", "are invalid with fd=");
	expect_refused(c, "tap,id=t0,fds=3:4,script=no", "are invalid with fds=");
	expect_refused(c, "tap,id=t0,ifname=tt0,script=no,vhost=on",
		       "vhost=on is not supported by this program: the NIC lives here");
	expect_refused(c, "tap,id=t0,helper=/bin/true", "helper=");
	expect_refused(c, "tap,id=t0,ifname=tt0,queues=0", "queues");
	expect_refused(c, "tap,id=t0,ifname=tt0,queues=1025", "queues");
	expect_refused(c, "tap,id=t0,ifname=a-name-too-long-for-linux", "name of an interface");
	expect_refused(c, "tap,id=t0,ifname=a/b", "name of an interface");
	expect_refused(c, "tap,id=t0,ifname=", "name of an interface");
	expect_refused(c, "tap,id=t0,ifname=tt0,frob=1", "frob");
	expect_refused(c, "tap,ifname=tt0", "id");
	open_tap(c, "tap,id=t0,ifname=tt0,script=no,downscript=no,vhost=off");
}

static void test_busy_and_foreign_interfaces(void **state)
{
	struct ctx *c = *state;
	struct twx_error e = { 0 };
	struct twx_backend *b;
	int fd = open_tun("ttb", IFF_TAP | IFF_NO_PI);

	assert_int_equal(twx_backend_new(&b, c->net, "tap,id=t0,ifname=ttb,script=no", &e), -EBUSY);
	assert_non_null(strstr(e.what, "ttb"));
	assert_non_null(strstr(e.hint, "another program"));
	assert_true(twx_backend_new(&b, c->net, "tap,id=t0,ifname=lo,script=no", &e) < 0);
	assert_non_null(strstr(e.hint, "no tap"));
	close(fd);
}

/* --- scripts --- */

static void write_script(const char *path, const char *body)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fprintf(f, "#!/bin/sh\n%s\n", body);
	fclose(f);
	assert_int_equal(chmod(path, 0755), 0);
}

static void test_scripts(void **state)
{
	char dir[] = "/tmp/twinax-tap-XXXXXX", up[64], down[64], mark[64], text[256], body[160], line[64] = "";
	struct ctx *c = *state;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(up, sizeof(up), "%s/up", dir);
	snprintf(down, sizeof(down), "%s/down", dir);
	snprintf(mark, sizeof(mark), "%s/mark", dir);
	snprintf(body, sizeof(body), "test -d /proc/sys/net/ipv4/conf/$1 && echo up $1 >> %s", mark);
	write_script(up, body);
	snprintf(body, sizeof(body), "test -d /proc/sys/net/ipv4/conf/$1 && echo down $1 >> %s", mark);
	write_script(down, body);
	snprintf(text, sizeof(text), "tap,id=t0,ifname=tt0,script=%s,downscript=%s", up, down);
	open_tap(c, text);
	twx_backend_free(c->tap);
	c->tap = NULL;
	f = fopen(mark, "r");
	assert_non_null(f);
	assert_int_equal(fread(line, 1, sizeof(line) - 1, f), 16);
	assert_string_equal(line, "up tt0\ndown tt0\n");
	fclose(f);
	write_script(up, "exit 3");
	assert_int_equal(unlink(mark), 0);
	snprintf(body, sizeof(body), "network script %s failed with status 3", up);
	expect_refused(c, text, body);
	assert_int_equal(access(mark, F_OK), -1); /* down is not run for what never came up */
	assert_int_equal(unlink(up), 0);
	snprintf(body, sizeof(body), "could not launch network script %s", up);
	expect_refused(c, text, body);
	unlink(down);
	assert_int_equal(rmdir(dir), 0);
}

static void test_missing_default_script_warns(void **state)
{
	struct ctx *c = *state;

	open_tap(c, "tap,id=t0,ifname=tt0");
	assert_non_null(strstr(c->log, "netdev t0: there is no /etc/qemu-ifup"));
	c->log[0] = 0;
	twx_backend_free(c->tap);
	open_tap(c, "tap,id=t0,ifname=tt0,script=,downscript=");
	assert_string_equal(c->log, "");
}

static void test_kernel_picks_a_name(void **state)
{
	struct ctx *c = *state;
	char *info;

	open_tap(c, "tap,id=t0,script=no,downscript=no");
	info = twx_net_info(c->net);
	assert_non_null(strstr(info, "type=tap,ifname=tap0,"));
	free(info);
	assert_true(link_exists("tap0"));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_frames_both_ways),
		T(test_info_text),
		T(test_without_vnet_header),
		T(test_gso_to_host),
		T(test_gso_from_host),
		T(test_gso_from_host_into_lease),
		T(test_no_offload_for_a_plain_receiver),
		T(test_offloads_given_up),
		T(test_jumbo_mtu_raised_later),
		T(test_busy_receiver_loses_nothing),
		T(test_link_down_drains),
		T(test_full_device_makes_busy),
		T(test_deleted_interface),
		T(test_several_queues),
		T(test_inherited_descriptor),
		T(test_inherited_descriptors),
		T(test_wrong_descriptors),
		T(test_exclusions),
		T(test_busy_and_foreign_interfaces),
		T(test_scripts),
		T(test_missing_default_script_warns),
		T(test_kernel_picks_a_name),
	};

	if (unshare(CLONE_NEWNET) || access("/dev/net/tun", R_OK | W_OK)) {
		printf("skipped: needs root and /dev/net/tun\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
