/* SPDX-License-Identifier: BSD-3-Clause */
/* The user-mode network: options, ARP, IPv4 validation, neighbours, the port's behaviour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "user_guest.h"

/* --- options --- */

static void options_are_refused_as_by_qemu(void **state)
{
	static const struct {
		const char *options, *what;
	} bad[] = {
		{ "net=x", "Failed to parse netmask" },
		{ "net=10.0.2.0/x", "Failed to parse netmask (trailing chars)" },
		{ "net=10.0.2.0/3", "Invalid netmask provided (must be in range 4-32)" },
		{ "net=10.0.2.0/33", "Invalid netmask provided (must be in range 4-32)" },
		{ "net=10.0.2.0/255.0.255.0", "Invalid netmask provided (must be in range 4-32)" },
		{ "net=10.0.2.0/32", "DNS must be different from host" },
		{ "net=10.0.2.0/30", "DHCP must be different from host and DNS" },
		{ "ip=10.1.0.0/16", "Failed to parse netmask (trailing chars)" },
		{ "host=x", "Failed to parse host" },
		{ "host=1.2.3.4", "Host doesn't belong to network" },
		{ "dns=x", "Failed to parse DNS" },
		{ "dns=10.0.2.2", "DNS must be different from host" },
		{ "restrict=on,dns=8.8.8.8", "DNS doesn't belong to network" },
		{ "dhcpstart=x", "Failed to parse DHCP start address" },
		{ "dhcpstart=1.2.3.4", "DHCP doesn't belong to network" },
		{ "dhcpstart=10.0.2.3", "DHCP must be different from host and DNS" },
		{ "domainname=", "'domainname' parameter cannot be empty" },
		{ "ipv4=off,ipv6=off", "IPv4 and IPv6 disabled" },
		{ "ipv4=off,net=10.0.0.0/8", "IPv4 disabled but netmask/host/dns provided" },
		{ "ipv6=on,host=10.0.2.2", "IPv4 disabled but netmask/host/dns provided" },
		{ "ipv6=off,ipv6-net=fd00::/64", "IPv6 disabled but prefix/host6/dns6 provided" },
		{ "ipv4=on,ipv6-host=fec0::2", "IPv6 disabled but prefix/host6/dns6 provided" },
		{ "ipv6-net=", "Parameter 'ipv6-net' expects a valid IPv6 prefix" },
		{ "ipv6-net=zz", "Failed to parse IPv6 prefix" },
		{ "ipv6-net=/64", "Failed to parse IPv6 prefix" },
		{ "ipv6-net=fec0::/x", "Parameter 'ipv6-prefixlen' expects a number" },
		{ "ipv6-net=fec0::/200", "Invalid IPv6 prefix provided (IPv6 prefix length must be "
					 "between 0 and 126)" },
		{ "ipv6-prefix=fd00::,ipv6-prefixlen=-1",
		  "Invalid IPv6 prefix provided (IPv6 prefix length must be between 0 and 126)" },
		{ "ipv6-net=ff02::/64", "Invalid IPv6 prefix provided (not one of a network)" },
		{ "ipv6-host=zz", "Failed to parse IPv6 host" },
		{ "ipv6-host=fd00::1", "IPv6 Host doesn't belong to network" },
		{ "ipv6-dns=zz", "Failed to parse IPv6 DNS" },
		{ "ipv6-dns=fd00::1,restrict=on", "IPv6 DNS doesn't belong to network" },
		{ "ipv6-dns=fec0::2", "IPv6 DNS must be different from host" },
		{ "smbserver=x", "Failed to parse SMB address" },
		{ "ipv4=off,smb=/tmp", "Parameter 'smb' takes IPv4, which is off" },
		{ "mtu=1279,ipv6=on", "Parameter 'mtu' is 1279, but IPv6 takes 1280 at least" },
		{ "mtu=576,ipv6-host=fec0::2",
		  "Parameter 'mtu' is 576, but IPv6 takes 1280 at least" },
		{ "guestfwd=udp:10.0.2.9:80-cmd:x",
		  "Invalid guest forwarding rule 'udp:10.0.2.9:80-cmd:x'" },
		{ "guestfwd=tcp:10.0.2.9:80", "Invalid guest forwarding rule 'tcp:10.0.2.9:80'" },
		{ "guestfwd=tcp:10.0.2.9:80-", "Invalid guest forwarding rule 'tcp:10.0.2.9:80-'" },
		{ "guestfwd=tcp:nine:80-cmd:x",
		  "Invalid guest forwarding rule 'tcp:nine:80-cmd:x'" },
		{ "guestfwd=tcp:10.0.2.9:0-cmd:x",
		  "Invalid guest forwarding rule 'tcp:10.0.2.9:0-cmd:x'" },
		{ "guestfwd=tcp:10.0.2.9:65616-cmd:x",
		  "Invalid guest forwarding rule 'tcp:10.0.2.9:65616-cmd:x'" },
		{ "guestfwd=tcp:10.0.2.2:80-cmd:x", "Conflicting/invalid host:port in guest "
						    "forwarding rule 'tcp:10.0.2.2:80-cmd:x'" },
		{ "guestfwd=tcp:10.0.2.3:53-cmd:x", "Conflicting/invalid host:port in guest "
						    "forwarding rule 'tcp:10.0.2.3:53-cmd:x'" },
		{ "guestfwd=tcp:10.0.2.255:80-cmd:x",
		  "Conflicting/invalid host:port in guest forwarding rule "
		  "'tcp:10.0.2.255:80-cmd:x'" },
		{ "guestfwd=tcp:1.2.3.4:80-cmd:x",
		  "Conflicting/invalid host:port in guest forwarding rule 'tcp:1.2.3.4:80-cmd:x'" },
		{ "guestfwd=tcp:10.0.2.9:80-cmd:x,guestfwd=:10.0.2.9:80-cmd:y",
		  "Conflicting/invalid host:port in guest forwarding rule ':10.0.2.9:80-cmd:y'" },
		{ "guestfwd=tcp:10.0.2.9:80-nobody",
		  "Could not open guest forwarding device 'nobody': chardev \"nobody\" not found" },
		{ "guestfwd=tcp:10.0.2.9:80-file:/nonexistent/x",
		  "Could not open guest forwarding device 'file:/nonexistent/x': chardev "
		  "guestfwd.tcp.80.n0: Could not open '/nonexistent/x': No such file or "
		  "directory" },
		{ "dns-host=x", "Parameter 'dns-host' expects ADDR[:PORT], not 'x'" },
		{ "dns-host=1.2.3.4:0",
		  "Parameter 'dns-host' expects ADDR[:PORT], not '1.2.3.4:0'" },
		{ "dnssearch=a..b", "Parameter 'dnssearch' expects a domain name, not 'a..b'" },
		{ "tftp=/nonexistent/x", "netdev n0: cannot open the tftp folder /nonexistent/x: "
					 "No such file or directory" },
		{ "hostfwd=x", "Invalid host forwarding rule 'x' (No : separators)" },
		{ "hostfwd=sctp::1-:2",
		  "Invalid host forwarding rule 'sctp::1-:2' (Bad protocol name)" },
		{ "hostfwd=tcp:1", "Invalid host forwarding rule 'tcp:1' (Missing : separator)" },
		{ "hostfwd=tcp:a:1-:2",
		  "Invalid host forwarding rule 'tcp:a:1-:2' (Bad host address)" },
		{ "hostfwd=:5581-:22",
		  "Invalid host forwarding rule ':5581-:22' (Bad host address)" },
		{ "hostfwd=tcp:1.2:3",
		  "Invalid host forwarding rule 'tcp:1.2:3' (Bad host port separator)" },
		{ "hostfwd=tcp::99999-:2",
		  "Invalid host forwarding rule 'tcp::99999-:2' (Bad host port)" },
		{ "hostfwd=tcp::1234-x",
		  "Invalid host forwarding rule 'tcp::1234-x' (Missing guest address)" },
		{ "hostfwd=tcp::1234-z:22",
		  "Invalid host forwarding rule 'tcp::1234-z:22' (Bad guest address)" },
		{ "hostfwd=tcp::1234-192.168.1.1:22",
		  "Invalid host forwarding rule 'tcp::1234-192.168.1.1:22' (Bad guest address)" },
		{ "hostfwd=tcp::1234-10.0.2.2:22",
		  "Invalid host forwarding rule 'tcp::1234-10.0.2.2:22' (Bad guest address)" },
		{ "hostfwd=tcp:[zz]:1234-:22",
		  "Invalid host forwarding rule 'tcp:[zz]:1234-:22' (Bad host address)" },
		{ "hostfwd=tcp::1234-[fec0::2]:22",
		  "Invalid host forwarding rule 'tcp::1234-[fec0::2]:22' (Bad guest address)" },
		{ "hostfwd=tcp::1234-[fd00::1]:22",
		  "Invalid host forwarding rule 'tcp::1234-[fd00::1]:22' (Bad guest address)" },
		{ "ipv6=off,hostfwd=tcp::1234-[fec0::15]:22",
		  "Invalid host forwarding rule 'tcp::1234-[fec0::15]:22' (Bad guest address)" },
		{ "guestfwd=tcp:[fec0::3]:80-cmd:x", "Conflicting/invalid host:port in guest "
						     "forwarding rule 'tcp:[fec0::3]:80-cmd:x'" },
		{ "guestfwd=tcp:[fec0::9]80-cmd:x",
		  "Invalid guest forwarding rule 'tcp:[fec0::9]80-cmd:x'" },
		{ "hostfwd=tcp::1234-:0",
		  "Invalid host forwarding rule 'tcp::1234-:0' (Bad guest port)" },
		{ "hostfwd=tcp::1234-:22x",
		  "Invalid host forwarding rule 'tcp::1234-:22x' (Bad guest port)" },
	};
	struct guest g;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct twx_error e = { 0 };

		assert_false(guest_open(&g, bad[i].options, 0, &e));
		assert_string_equal(e.what, bad[i].what);
	}
}

static void info_names_net_and_restrict(void **state)
{
	static const struct {
		const char *options, *info;
	} good[] = {
		{ "", "net=10.0.2.0,restrict=off" },
		{ "ip=10.1.0.0", "net=10.1.0.0,restrict=off" },
		{ "net=198.18.2.35", "net=198.18.0.0,restrict=off" },
		{ "net=198.19.2.35", "net=198.19.2.32,restrict=off" },
		{ "net=200.1.2.35", "net=200.1.2.32,restrict=off" },
		{ "net=225.1.2.35", "net=225.1.2.0,restrict=off" },
		{ "net=10.1.2.3", "net=10.0.0.0,restrict=off" },
		{ "net=192.168.9.9", "net=192.168.0.0,restrict=off" },
		{ "net=10.0.2.0/255.255.0.0", "net=10.0.0.0,restrict=off" },
		{ "restrict=on", "net=10.0.2.0,restrict=on" },
		{ "ipv6=off,ipv4=on", "net=10.0.2.0,restrict=off" },
		{ "ipv6=on", "net=10.0.2.0,restrict=off" },
		{ "ipv6-net=fd00:1::/48,ipv6-host=fd00:1::99", "net=10.0.2.0,restrict=off" },
		{ "ipv6-prefixlen=0", "net=10.0.2.0,restrict=off" },
	};
	struct twx_error e = { 0 };
	struct guest g;
	char info[128];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(guest_open(&g, good[i].options, 0, &e));
		g.backend->type->port_ops->info(g.backend->ports[0], info, sizeof(info));
		assert_string_equal(info, good[i].info);
		guest_close(&g);
	}
}

/* --- ARP --- */

static void asked(struct guest *g, const char *who, bool answers)
{
	uint8_t frame[64], mac[6] = { 0x52, 0x55 };
	struct in_addr target = guest_addr(who);
	struct guest_frame f;

	guest_send(g, frame, guest_arp(g, frame, 1, g->ip, target));
	if (!answers) {
		assert_true(guest_silent(g, 20));
		return;
	}
	memcpy(mac + 2, &target, 4);
	assert_true(guest_recv(g, &f, 1000));
	assert_int_equal(f.len, 60);
	assert_memory_equal(f.data, g->mac, 6);
	assert_memory_equal(f.data + 14, ((uint8_t[]){ 0, 1, 8, 0, 6, 4, 0, 2 }), 8);
	assert_memory_equal(f.data + 22, mac, 6);
	assert_memory_equal(f.data + 28, &target, 4);
	assert_memory_equal(f.data + 32, g->mac, 6);
	assert_memory_equal(f.data + 38, &g->ip, 4);
	for (int i = 42; i < 60; i++)
		assert_int_equal(f.data[i], 0);
	guest_frame_free(&f);
}

static void arp_answers_for_the_aliases_alone(void **state)
{
	struct guest *g = *state;

	asked(g, "10.0.2.2", true);
	asked(g, "10.0.2.3", true);
	asked(g, "10.0.2.4", false);
	asked(g, "10.0.2.15", false);
	asked(g, "8.8.8.8", false);
}

static void arp_probe_is_answered_and_teaches_nothing(void **state)
{
	struct guest *g = *state;
	uint8_t frame[64];
	struct in6_addr host = user_mapped(g->host);
	struct guest_frame f;

	guest_send(g, frame, guest_arp(g, frame, 1, guest_addr("0.0.0.0"), g->host));
	assert_true(guest_recv(g, &f, 1000));
	guest_frame_free(&f);
	/* A claim to the gateway's own address changes nothing. */
	guest_send(g, frame, guest_arp(g, frame, 2, g->host, g->host));
	assert_null(user_neigh_find(g->user, &host));
	assert_true(guest_silent(g, 20));
}

static void pings(struct guest *g, struct in_addr dst, bool answers)
{
	uint8_t frame[128];
	struct guest_pkt p;

	guest_send(g, frame, guest_icmp(g, frame, dst, 8, 0, 7, 1, "hello, gateway", 14));
	if (!answers) {
		assert_true(guest_silent(g, 20));
		return;
	}
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.src.s_addr, dst.s_addr);
	assert_int_equal(p.dst.s_addr, g->ip.s_addr);
	assert_int_equal(p.l4[0], 0);
	assert_int_equal(p.len, 14);
	assert_memory_equal(p.data, "hello, gateway", 14);
	assert_memory_equal(p.frame.data, g->mac, 6);
	assert_memory_equal(p.frame.data + 6, g->gw_mac, 6);
	guest_pkt_free(&p);
}

static void mac_follows_the_guest(void **state)
{
	struct guest *g = *state;

	pings(g, g->host, true);
	g->mac[5]++;
	pings(g, g->host, true);
	pings(g, g->dns, true);
}

/* --- what is dropped --- */

static void frames_for_others_are_dropped(void **state)
{
	struct guest *g = *state;
	uint64_t before = guest_drops(g, TWX_DROP_NOT_FOR_US);
	uint8_t frame[128];
	uint32_t len = guest_icmp(g, frame, g->host, 8, 0, 7, 1, "x", 1);

	memcpy(frame, (uint8_t[]){ 0x52, 0x54, 0, 0x12, 0x34, 0x57 }, 6);
	guest_send(g, frame, len);
	assert_int_equal(guest_drops(g, TWX_DROP_NOT_FOR_US), before + 1);
	/* A VLAN tag, an ethertype that is nobody's. */
	memcpy(frame, g->gw_mac, 6);
	user_put16(frame + 12, 0x8100);
	guest_send(g, frame, len);
	user_put16(frame + 12, 0x88f8);
	guest_send(g, frame, len);
	assert_int_equal(guest_drops(g, TWX_DROP_NOT_FOR_US), before + 3);
	assert_true(guest_silent(g, 20));
	/* The DNS alias has a MAC of its own. */
	memcpy(frame + 2, &g->dns, 4);
	user_put16(frame + 12, 0x0800);
	guest_send(g, frame, len);
	assert_false(guest_silent(g, 100));
}

static void bad_headers_are_counted(void **state)
{
	struct guest *g = *state;
	static const struct {
		int off;
		uint8_t value;
		bool fix;
	} harm[] = {
		{ 14, 0x65, true },  /* version 6 */
		{ 14, 0x44, true },  /* header of 16 bytes */
		{ 14, 0x4f, false }, /* header beyond the packet */
		{ 17, 10, true },    /* total length under the header's */
		{ 16, 1, true },     /* total length beyond the frame */
		{ 24, 0x55, false }, /* checksum */
		{ 22, 0, true },     /* TTL 0 */
		{ 26, 11, true },    /* source outside the network */
		{ 29, 2, true },     /* source is the gateway */
		{ 29, 255, true },   /* source is the broadcast address */
		{ 29, 0, true },     /* source is the network */
	};
	uint8_t frame[128];

	for (size_t i = 0; i < sizeof(harm) / sizeof(harm[0]); i++) {
		uint64_t before = guest_drops(g, TWX_DROP_BAD_PACKET);
		uint32_t len = guest_icmp(g, frame, g->host, 8, 0, 7, 1, "x", 1);

		frame[harm[i].off] = harm[i].value;
		if (harm[i].fix)
			guest_fix_ip(frame);
		guest_send(g, frame, len);
		assert_int_equal(guest_drops(g, TWX_DROP_BAD_PACKET), before + 1);
	}
	assert_true(guest_silent(g, 20));
	pings(g, g->host, true);
}

static void odd_destinations_get_no_answer(void **state)
{
	static const char *const odd[] = { "127.0.0.1",	      "0.0.0.0",    "224.0.0.251",
					   "255.255.255.255", "10.0.2.255", "240.0.0.1" };
	struct guest *g = *state;
	uint8_t frame[128];

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		pings(g, guest_addr(odd[i]), false);
		guest_send(g, frame, guest_udp(g, frame, 1000, guest_addr(odd[i]), 1000, "x", 1));
		assert_true(guest_silent(g, 20));
	}
	assert_int_equal(g->user->flows.n, 0);
}

static void unknown_protocol_is_unreachable(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128], body[8] = { 0 };
	struct guest_pkt p;

	guest_send(g, frame, guest_ip(g, frame, g->host, 132, body, sizeof(body)));
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.l4[0], 3);
	assert_int_equal(p.l4[1], 2);
	assert_memory_equal(p.data, frame + 14, 28);
	guest_pkt_free(&p);
}

static void ip_options_are_skipped(void **state)
{
	struct guest *g = *state;
	uint8_t frame[128], plain[128];
	uint32_t len = guest_icmp(g, plain, g->host, 8, 0, 7, 1, "x", 1);
	struct guest_pkt p;

	memcpy(frame, plain, 34);
	memset(frame + 34, 1, 8); /* no-operation */
	memcpy(frame + 42, plain + 34, len - 34);
	frame[14] = 0x47;
	user_put16(frame + 16, len - 14 + 8);
	guest_fix_ip(frame);
	guest_send(g, frame, len + 8);
	assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
	assert_int_equal(p.data[0], 'x');
	guest_pkt_free(&p);
}

/* --- the port --- */

static void one_burst_gives_one_burst(void **state)
{
	struct guest *g = *state;
	uint8_t data[TWX_BURST][64];
	struct twx_frame frames[TWX_BURST];
	struct iovec iov[TWX_BURST];
	uint64_t before = g->port.count.rx_bursts;

	for (int i = 0; i < TWX_BURST; i++) {
		iov[i] = (struct iovec){ data[i], guest_icmp(g, data[i], g->host, 8, 0, 7,
							     (uint16_t)i, "x", 1) };
		frames[i] = (struct twx_frame){ .iov = &iov[i],
						.n_iov = 1,
						.len = (uint32_t)iov[i].iov_len };
	}
	guest_send_burst(g, frames, TWX_BURST);
	assert_int_equal(g->port.count.rx_bursts, before + 1);
	for (int i = 0; i < TWX_BURST; i++) {
		struct guest_pkt p;

		assert_true(guest_recv_ip(g, IPPROTO_ICMP, &p, 1000));
		assert_int_equal(user_get16(p.l4 + 6), i);
		guest_pkt_free(&p);
	}
}

static int setup(void **state)
{
	static struct guest g;

	assert_true(guest_open(&g, "", 0, NULL));
	*state = &g;
	return 0;
}

static int teardown(void **state)
{
	guest_close(*state);
	return 0;
}

#define with_guest(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_refused_as_by_qemu),
		cmocka_unit_test(info_names_net_and_restrict),
		with_guest(arp_answers_for_the_aliases_alone),
		with_guest(arp_probe_is_answered_and_teaches_nothing),
		with_guest(mac_follows_the_guest),
		with_guest(frames_for_others_are_dropped),
		with_guest(bad_headers_are_counted),
		with_guest(odd_destinations_get_no_answer),
		with_guest(unknown_protocol_is_unreachable),
		with_guest(ip_options_are_skipped),
		with_guest(one_burst_gives_one_burst),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
