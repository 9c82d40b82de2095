/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the personality slirp4netns share. */
#ifndef CLI_SLIRP4NETNS_H
#define CLI_SLIRP4NETNS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#include <twinax/twinax.h>

#define API_MESSAGE 4096 /* a request must be shorter */

/* --- slirp4netns_api.c: what requests mean --- */

struct api_forward {
	unsigned int id;
	bool udp;
	struct in_addr host, guest;
	unsigned int host_port, guest_port;
};

struct api {
	struct in_addr guest; /* where to without guest_addr */
	/* Rules as hostfwd_add and hostfwd_remove have them; 0 or -errno. */
	int (*add)(void *opaque, const char *rule);
	int (*remove)(void *opaque, const char *rule);
	void *opaque;
	struct api_forward *forwards;
	size_t n_forwards;
	unsigned int last_id;
};

/*
 * The answer to the @len bytes of @text, to be freed; null: more of it has to come, which is never
 * said of what is @whole.
 */
char *api_answer(struct api *a, const char *text, size_t len, bool whole);
void api_free(struct api *a);

/* --- slirp4netns_socket.c --- */

struct api_server;
/* Listens at @path for requests about the forwards of @b. 0, or 1 after an error message. */
int api_server_start(struct api_server **out, struct twx_net *net, struct twx_backend *b,
		     const char *path, struct in_addr guest);
void api_server_stop(
	struct api_server *s); /* null is harmless; the file stays, as it is known to */

#endif
