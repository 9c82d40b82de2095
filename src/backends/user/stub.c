/* SPDX-License-Identifier: BSD-3-Clause */
/* Placeholders while the protocols are being written. */
#include "backends/user/user.h"

int icmp_init(struct user *u, struct twx_error *e) { return 0; }
void icmp_input(struct user *u, const struct user_pkt *p) { }
void icmp_fini(struct user *u) { }
void icmp_send_error(struct user *u, uint8_t type, uint8_t code, uint16_t mtu, struct in_addr from, const uint8_t *orig, uint32_t len) { }
int udp_init(struct user *u, struct twx_error *e) { return 0; }
void udp_input(struct user *u, const struct user_pkt *p) { }
void udp_burst_end(struct user *u) { }
void udp_resume(struct user *u) { }
void udp_fini(struct user *u) { }
int dhcp_init(struct user *u, const struct twx_opts *opts, struct twx_error *e) { return 0; }
void dhcp_fini(struct user *u) { }
int tftp_init(struct user *u, struct twx_error *e) { return 0; }
void tftp_fini(struct user *u) { }
int frag_init(struct user *u) { return 0; }
void frag_input(struct user *u, const struct user_pkt *p) { }
void frag_fini(struct user *u) { }
int hostfwd_add(struct user *u, const char *rule, struct twx_error *e) { return 0; }
void hostfwd_fini(struct user *u) { }
