/* SPDX-License-Identifier: BSD-3-Clause */
/* libslirp's C interface, 4.0 to 4.9, as programs were compiled against it. */
#ifndef LIBSLIRP_ABI_H
#define LIBSLIRP_ABI_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Names of functions, order and types of fields, values of constants are the interface's and cannot
 * be otherwise; a test holds them against libslirp's own header where that is installed. A caller
 * passes structures of the version that it knows: what lies behind is not read.
 */
struct Slirp;

enum {
	SLIRP_POLL_IN = 1,
	SLIRP_POLL_OUT = 2,
	SLIRP_POLL_PRI = 4,
	SLIRP_POLL_ERR = 8,
	SLIRP_POLL_HUP = 16
};
enum { SLIRP_TIMER_RA, SLIRP_TIMER_NUM };
enum { SLIRP_HOSTFWD_UDP = 1, SLIRP_HOSTFWD_V6ONLY = 2 };
enum { SLIRP_CONFIG_MIN = 1, SLIRP_CONFIG_MAX = 6 };

typedef ssize_t slirp_read_fn(void *buf, size_t len, void *opaque);
typedef ssize_t slirp_write_fn(const void *buf, size_t len, void *opaque);
typedef void slirp_timer_fn(void *opaque);
typedef int slirp_add_poll_fn(int fd, int events, void *opaque); /* an index */
typedef int slirp_get_revents_fn(int index, void *opaque);	 /* SLIRP_POLL_* */

struct slirp_cb {
	slirp_write_fn *send_packet;
	void (*guest_error)(const char *msg, void *opaque);
	int64_t (*clock_get_ns)(void *opaque);
	void *(*timer_new)(slirp_timer_fn *cb, void *cb_opaque, void *opaque);
	void (*timer_free)(void *timer, void *opaque);
	void (*timer_mod)(void *timer, int64_t expire_ms, void *opaque);
	void (*register_poll_fd)(int fd, void *opaque);
	void (*unregister_poll_fd)(int fd, void *opaque);
	void (*notify)(void *opaque);
	/* config version 4 */
	void (*init_completed)(struct Slirp *s, void *opaque);
	void *(*timer_new_opaque)(int id, void *cb_opaque, void *opaque);
	/* config version 6 */
	void (*register_poll_socket)(int fd, void *opaque);
	void (*unregister_poll_socket)(int fd, void *opaque);
};

struct slirp_config {
	uint32_t version;
	int restricted;
	bool in_enabled;
	struct in_addr vnetwork, vnetmask, vhost;
	bool in6_enabled;
	struct in6_addr vprefix_addr6;
	uint8_t vprefix_len;
	struct in6_addr vhost6;
	const char *vhostname;
	const char *tftp_server_name;
	const char *tftp_path;
	const char *bootfile;
	struct in_addr vdhcp_start, vnameserver;
	struct in6_addr vnameserver6;
	const char **vdnssearch; /* ends with null */
	const char *vdomainname;
	size_t if_mtu, if_mru; /* 0: 1500 */
	bool disable_host_loopback;
	bool enable_emu;
	/* version 2 */
	struct sockaddr_in *outbound_addr;
	struct sockaddr_in6 *outbound_addr6;
	/* version 3 */
	bool disable_dns;
	/* version 4 */
	bool disable_dhcp;
	/* version 5 */
	uint32_t mfr_id;
	uint8_t oob_eth_addr[6];
};

#define SLIRP_API __attribute__((visibility("default")))

SLIRP_API struct Slirp *slirp_new(const struct slirp_config *cfg, const struct slirp_cb *cb,
				  void *opaque);
SLIRP_API struct Slirp *slirp_init(int restricted, bool in_enabled, struct in_addr vnetwork,
				   struct in_addr vnetmask, struct in_addr vhost, bool in6_enabled,
				   struct in6_addr vprefix_addr6, uint8_t vprefix_len,
				   struct in6_addr vhost6, const char *vhostname,
				   const char *tftp_server_name, const char *tftp_path,
				   const char *bootfile, struct in_addr vdhcp_start,
				   struct in_addr vnameserver, struct in6_addr vnameserver6,
				   const char **vdnssearch, const char *vdomainname,
				   const struct slirp_cb *cb, void *opaque);
SLIRP_API void slirp_cleanup(struct Slirp *s);

SLIRP_API void slirp_pollfds_fill(struct Slirp *s, uint32_t *timeout_ms, slirp_add_poll_fn *add,
				  void *opaque);
SLIRP_API void slirp_pollfds_fill_socket(struct Slirp *s, uint32_t *timeout_ms,
					 slirp_add_poll_fn *add, void *opaque);
SLIRP_API void slirp_pollfds_poll(struct Slirp *s, int select_error, slirp_get_revents_fn *get,
				  void *opaque);
SLIRP_API void slirp_input(struct Slirp *s, const uint8_t *pkt, int len);
SLIRP_API void slirp_handle_timer(struct Slirp *s, int id, void *cb_opaque);

SLIRP_API int slirp_add_hostfwd(struct Slirp *s, int is_udp, struct in_addr host_addr,
				int host_port, struct in_addr guest_addr, int guest_port);
SLIRP_API int slirp_remove_hostfwd(struct Slirp *s, int is_udp, struct in_addr host_addr,
				   int host_port);
SLIRP_API int slirp_add_hostxfwd(struct Slirp *s, const struct sockaddr *host, socklen_t host_len,
				 const struct sockaddr *guest, socklen_t guest_len, int flags);
SLIRP_API int slirp_remove_hostxfwd(struct Slirp *s, const struct sockaddr *host,
				    socklen_t host_len, int flags);

SLIRP_API int slirp_add_exec(struct Slirp *s, const char *cmdline, struct in_addr *guest_addr,
			     int guest_port);
SLIRP_API int slirp_add_unix(struct Slirp *s, const char *path, struct in_addr *guest_addr,
			     int guest_port);
SLIRP_API int slirp_add_guestfwd(struct Slirp *s, slirp_write_fn *write, void *opaque,
				 struct in_addr *guest_addr, int guest_port);
SLIRP_API int slirp_remove_guestfwd(struct Slirp *s, struct in_addr guest_addr, int guest_port);
SLIRP_API size_t slirp_socket_can_recv(struct Slirp *s, struct in_addr guest_addr, int guest_port);
SLIRP_API void slirp_socket_recv(struct Slirp *s, struct in_addr guest_addr, int guest_port,
				 const uint8_t *buf, int len);

SLIRP_API char *slirp_connection_info(struct Slirp *s); /* malloc()ed */
SLIRP_API char *slirp_neighbor_info(struct Slirp *s);
SLIRP_API void slirp_state_save(struct Slirp *s, slirp_write_fn *write, void *opaque);
SLIRP_API int slirp_state_version(void);
SLIRP_API int slirp_state_load(struct Slirp *s, int version, slirp_read_fn *read, void *opaque);
SLIRP_API const char *slirp_version_string(void);

#endif
