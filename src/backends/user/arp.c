/* SPDX-License-Identifier: BSD-3-Clause */
/* ARP (RFC 826) of the user-mode network: answers for the host and DNS aliases, learns the guests'
 * MACs. */
#include <string.h>

#include "backends/user/user.h"

#define ARP_LEN 28
#define ARP_REQUEST 1
#define ARP_REPLY 2

static void arp_send(struct user *u, uint16_t op, const uint8_t dst_mac[6],
		     const uint8_t src_mac[6], struct in_addr src, const uint8_t target_mac[6],
		     struct in_addr target)
{
	uint8_t *frame = user_out_alloc(u, USER_ETH_LEN + ARP_LEN);
	uint8_t *arp = frame + USER_ETH_LEN;

	memcpy(frame, dst_mac, 6);
	memcpy(frame + 6, src_mac, 6);
	user_put16(frame + 12, 0x0806);
	user_put16(arp, 1);	     /* Ethernet */
	user_put16(arp + 2, 0x0800); /* IPv4 */
	arp[4] = 6;
	arp[5] = 4;
	user_put16(arp + 6, op);
	memcpy(arp + 8, src_mac, 6);
	memcpy(arp + 14, &src, 4);
	memcpy(arp + 18, target_mac, 6);
	memcpy(arp + 24, &target, 4);
	user_out(u, USER_ETH_LEN + ARP_LEN, NULL);
}

void arp_request(struct user *u, struct in_addr target)
{
	static const uint8_t nobody[6], everybody[6] = { 255, 255, 255, 255, 255, 255 };

	struct in6_addr a = user_mapped(target);

	if (user_neigh_may_ask(u, &a))
		arp_send(u, ARP_REQUEST, everybody, u->mac, u->cfg.host, nobody, target);
}

void arp_introduce(struct user *u, struct in_addr target, const uint8_t mac[6])
{
	static const uint8_t nobody[6];

	arp_send(u, ARP_REQUEST, mac, u->mac, u->cfg.host, nobody, target);
}

void arp_input(struct user *u, const struct twx_frame *f)
{
	const uint8_t *eth = f->iov[0].iov_base, *arp = eth + USER_ETH_LEN;
	struct in_addr sender, target;
	struct in6_addr who;
	uint8_t mac[6] = { 0x52, 0x55 };

	TWX_TRACE(u->port->trace, TWX_HOP_USER_ARP, u->port->name, f->len, 0);
	if (f->iov[0].iov_len < USER_ETH_LEN + ARP_LEN) {
		twx_port_drop(u->port, TWX_DROP_TOO_SHORT, f->len);
		return;
	}
	if (user_get16(arp) != 1 || user_get16(arp + 2) != 0x0800 || arp[4] != 6 || arp[5] != 4) {
		twx_port_drop(u->port, TWX_DROP_BAD_PACKET, f->len);
		return;
	}
	memcpy(&sender, arp + 14, 4);
	memcpy(&target, arp + 24, 4);
	/* Probes (sender 0.0.0.0, RFC 5227) and claims to our own addresses teach nothing. */
	who = user_mapped(sender);
	user_neigh_learn(u, &who, arp + 8);
	if (user_get16(arp + 6) != ARP_REQUEST || !user_in_net(u, target))
		return;
	if (u->cfg.lan && sender.s_addr && target.s_addr != sender.s_addr &&
	    !user_is_ours(u, target) && !user_is_virtual(u, target)) {
		/* RFC 1027: the host's network is behind us. */
		arp_send(u, ARP_REPLY, arp + 8, u->mac, target, arp + 8, sender);
		return;
	}
	if (!user_is_ours(u, target))
		return;
	/* Each alias has a MAC of its own, as QEMU's; all other frames come from the host's. */
	memcpy(mac + 2, &target, 4);
	arp_send(u, ARP_REPLY, arp + 8, mac, target, arp + 8, sender);
}
