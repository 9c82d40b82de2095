/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The library in a program of one's own: a toy guest behind the user-mode network, in a poll(2)
 * loop.
 *
 *   cc embed.c $(pkg-config --cflags --libs twinax) -o embed && ./embed
 *
 * The guest asks who has 10.0.2.2 (ARP), pings it (ICMP) and prints the answer.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <twinax/twinax.h>

static const uint8_t my_mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 }, my_ip[4] = { 10, 0, 2, 15 };
static const uint8_t gateway_ip[4] = { 10, 0, 2, 2 };

struct guest {
	struct twx_port port;
	uint8_t gateway_mac[6];
	bool got_arp, got_pong;
};

/* Frames for the guest arrive here, in bursts. They are borrowed: what is to stay is copied. */
static int guest_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct guest *g = port->owner;

	for (int i = 0; i < n; i++) {
		const uint8_t *p =
			frames[i].iov[0].iov_base; /* all headers are in the first piece */

		if (frames[i].len >= 42 && p[12] == 8 && p[13] == 6 &&
		    p[21] == 2) { /* an ARP reply */
			memcpy(g->gateway_mac, p + 22, 6);
			g->got_arp = true;
		} else if (frames[i].len >= 42 && p[12] == 8 && p[13] == 0 && p[23] == 1 &&
			   p[34] == 0) {
			g->got_pong = true; /* IPv4, ICMP, echo reply */
		}
	}
	return n; /* all taken; less would mean: busy, twx_port_ready() follows */
}

static const struct twx_port_ops guest_ops = { .receive = guest_receive };

static void put_sum(uint8_t *at, const uint8_t *data, int len)
{
	uint32_t sum = 0;

	for (int i = 0; i < len; i += 2)
		sum += (uint32_t)data[i] << 8 | data[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	at[0] = (uint8_t)(sum >> 8);
	at[1] = (uint8_t)sum;
}

static void send_frame(struct guest *g, uint8_t *data, size_t len)
{
	struct iovec iov = { data, len };
	struct twx_frame frame = { .iov = &iov, .n_iov = 1, .len = (uint32_t)len };

	twx_port_post(&g->port, &frame, 1);
}

static void send_arp(struct guest *g)
{
	uint8_t f[60] = { 255, 255, 255, 255, 255, 255, [12] = 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };

	memcpy(f + 6, my_mac, 6);
	memcpy(f + 22, my_mac, 6);
	memcpy(f + 28, my_ip, 4);
	memcpy(f + 38, gateway_ip, 4);
	send_frame(g, f, sizeof(f));
}

static void send_ping(struct guest *g)
{
	uint8_t f[60] = { [12] = 8, 0, 0x45, 0, 0, 46, [22] = 64, 1, [34] = 8, [38] = 0, 7, 0, 1 };

	memcpy(f, g->gateway_mac, 6);
	memcpy(f + 6, my_mac, 6);
	memcpy(f + 26, my_ip, 4);
	memcpy(f + 30, gateway_ip, 4);
	put_sum(f + 24, f + 14, 20);
	put_sum(f + 36, f + 34, 26);
	send_frame(g, f, sizeof(f));
}

/* Our own loop: the library's is one descriptor in it. */
static bool wait_for(struct twx_loop *loop, const bool *flag)
{
	struct pollfd pfd = { .fd = twx_loop_fd(loop), .events = POLLIN };

	while (!*flag && poll(&pfd, 1, 2000) > 0)
		twx_loop_poll(loop, 0);
	return *flag;
}

int main(void)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_error e = { 0 };
	struct twx_backend *user;
	struct guest g = { 0 };
	struct twx_net *net = NULL;
	bool ok = false;

	if (twx_loop_new(&config.loop, &e))
		return fprintf(stderr, "embed: %s\n", e.what), 1;
	if (!twx_net_new(&net, &config, &e) && !twx_backend_new(&user, net, "user,id=n0", &e) &&
	    !twx_port_init(&g.port, net, config.loop, TWX_PORT_NIC, "toy", "toy", 0, &guest_ops, &g,
			   &e)) {
		if (!twx_port_pair(&g.port, user->ports[0], &e)) {
			send_arp(&g);
			if (wait_for(config.loop, &g.got_arp)) {
				send_ping(&g);
				ok = wait_for(config.loop, &g.got_pong);
			}
		}
		twx_port_fini(&g.port);
	}
	if (net)
		twx_net_free(net);
	twx_loop_free(config.loop);
	if (ok)
		printf("10.0.2.2 is at %02x:%02x:%02x:%02x:%02x:%02x and answers\n",
		       g.gateway_mac[0], g.gateway_mac[1], g.gateway_mac[2], g.gateway_mac[3],
		       g.gateway_mac[4], g.gateway_mac[5]);
	else
		fprintf(stderr, "embed: %s\n", e.code ? e.what : "no answer");
	return !ok;
}
