/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of the tap backend: a NIC that writes down what it gets, a namespace, interfaces. */
#include "tap_kit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hostops.h"

const uint8_t guest_mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

uint8_t pattern(uint32_t at)
{
	return (uint8_t)(at * 7 + (at >> 8));
}

uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint16_t sum16(const uint8_t *p, size_t len, uint32_t sum)
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
uint16_t pseudo(const uint8_t *ip, uint8_t proto, uint32_t l4_len)
{
	return sum16(ip + 12, 8, proto + l4_len);
}

static void nic_note(struct nic *n, const uint8_t *data, uint32_t len, const struct twx_meta *meta)
{
	struct seen *s = &n->log[n->n < MAX_LOG ? n->n : MAX_LOG - 1];
	uint32_t ip_len, head, i;

	/* What the host's stack says by itself (IPv6, IGMP) is not part of any test. */
	if (len < 34 || data[12] != 8 || data[13] != 0 ||
	    (data[23] != IPPROTO_UDP && data[23] != IPPROTO_TCP))
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
		assert_int_equal(
			sum16(data + 34, ip_len - 20, pseudo(data + 14, IPPROTO_TCP, ip_len - 20)),
			0xffff);
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

static void nic_commit(struct twx_port *port, struct twx_lease *lease, size_t len,
		       const struct twx_meta *meta)
{
	struct nic *nic = port->owner;

	nic->commits++;
	nic_note(nic, nic->buf, (uint32_t)len, meta);
}

static void nic_abort(struct twx_port *port, struct twx_lease *lease)
{
	((struct nic *)port->owner)->aborts++;
}

const struct twx_port_ops nic_ops = {
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

bool link_exists(const char *name)
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

void if_mtu(const char *name, int mtu)
{
	struct ifreq ifr = { 0 };

	ifr.ifr_mtu = mtu;
	if_ioctl(SIOCSIFMTU, &ifr, name);
}

/* An address for the host's side and a fixed neighbour for the guest's. */
void if_address(struct ctx *c, const char *name)
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

static const struct twx_hostops host_ops = { .size = sizeof(host_ops),
					     .open = open_without_defaults };

int tap_setup(void **state)
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
	assert_int_equal(twx_port_init(&c->nic.port, c->net, c->loop, TWX_PORT_NIC, "nic", "toy", 0,
				       &nic_ops, &c->nic, NULL),
			 0);
	c->nic.payload_ok = true;
	*state = c;
	return 0;
}

int tap_teardown(void **state)
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

void open_tap(struct ctx *c, const char *text)
{
	struct twx_error e = { 0 };

	if (twx_backend_new(&c->tap, c->net, text, &e))
		fail_msg("%s: %s", text, e.what);
	assert_int_equal(twx_port_pair(&c->nic.port, c->tap->ports[0], NULL), 0);
}

void open_tt0(struct ctx *c, uint32_t caps)
{
	open_tap(c, "tap,id=t0,ifname=tt0,script=no,downscript=no");
	if_address(c, "tt0");
	twx_port_set_caps(&c->nic.port, (struct twx_caps){ .flags = caps });
}

void expect_refused(struct ctx *c, const char *text, const char *part)
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

void run_loop(struct ctx *c, int ms)
{
	int i;

	for (i = 0; i < ms / 5 + 1; i++)
		twx_loop_poll(c->loop, 5);
}

struct sockaddr_in addr(const char *ip, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, ip, &sin.sin_addr);
	return sin;
}

void send_numbered(int fd, int n)
{
	struct sockaddr_in to = addr(GUEST_IP, 77);
	char text[16];
	int i;

	for (i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%08d", i);
		assert_int_equal(sendto(fd, text, 8, 0, (struct sockaddr *)&to, sizeof(to)), 8);
	}
}

void expect_numbered(const struct ctx *c, int n)
{
	char text[16];
	int i;

	assert_int_equal(c->nic.n, n);
	for (i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%08d", i);
		assert_memory_equal(c->nic.log[i].head + 42, text, 8);
	}
}

bool tap_enter(void)
{
	if (!unshare(CLONE_NEWNET) && !access("/dev/net/tun", R_OK | W_OK))
		return true;
	printf("skipped: needs root and /dev/net/tun\n");
	return false;
}
