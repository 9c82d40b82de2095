/* SPDX-License-Identifier: BSD-3-Clause */
/* Backend "socket": QEMU's older syntax for streams and datagrams over IPv4. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "backends/sock/dgram.h"
#include "backends/sock/stream.h"
#include "base/macros.h"

static const struct twx_opt_desc socket_options[] = {
	{ "listen", TWX_OPT_STR, NULL, "wait for a TCP connection, one peer at a time",
	  "[HOST]:PORT" },
	{ "connect", TWX_OPT_STR, NULL, "connect by TCP", "HOST:PORT" },
	{ "mcast", TWX_OPT_STR, NULL, "a UDP multicast group that all members share",
	  "GROUP:PORT" },
	{ "udp", TWX_OPT_STR, NULL, "send by UDP; receive on localaddr", "HOST:PORT" },
	{ "localaddr", TWX_OPT_STR, NULL,
	  "udp: address to receive on; mcast: address of the interface", "HOST[:PORT]" },
	{ "fd", TWX_OPT_STR, NULL, "number of a connected stream or datagram socket, inherited",
	  "N" },
	{ NULL },
};

struct socket_backend {
	bool is_dgram;
	union {
		struct stream stream;
		struct dgram dgram;
	};
};

static struct socket_backend *socket_of(struct twx_port *port)
{
	return ((struct twx_backend *)port->owner)->priv;
}

static int socket_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct socket_backend *k = socket_of(port);

	return k->is_dgram ? dgram_receive(&k->dgram, frames, n)
			   : stream_receive(&k->stream, frames, n);
}

static void socket_resume(struct twx_port *port)
{
	struct socket_backend *k = socket_of(port);

	if (k->is_dgram)
		dgram_resume(&k->dgram);
	else
		stream_resume(&k->stream);
}

static void socket_info(struct twx_port *port, char *buf, size_t size)
{
	struct socket_backend *k = socket_of(port);

	snprintf(buf, size, "%s", k->is_dgram ? k->dgram.info : k->stream.info);
}

static const struct twx_port_ops socket_port_ops = {
	.receive = socket_receive,
	.resume = socket_resume,
	.info = socket_info,
};

/* --- streams --- */

static void socket_describe(const struct stream *s, const char *peer, char *buf, size_t size)
{
	if (s->spec.kind == SOCK_FD)
		snprintf(buf, size, "socket: fd=%d", s->spec.fd);
	else if (s->server)
		snprintf(buf, size, "socket: connection from %s", peer);
	else
		snprintf(buf, size, "socket: connect to %s", peer);
}

static const struct stream_style socket_style = {
	.describe = socket_describe,
	.failed = "",
	.hint = "start the listening side first; -netdev stream can wait for it with "
		"reconnect-ms=1000",
};

static int open_stream(struct socket_backend *k, struct twx_backend *b, const struct twx_opts *o,
		       struct twx_error *e)
{
	struct stream *s = &k->stream;
	int err;

	s->style = &socket_style;
	s->server = twx_opts_given(o, "listen");
	err = sock_spec_text(&s->spec, b, twx_opts_str(o, s->server ? "listen" : "connect"),
			     s->server ? SOCK_PASSIVE : 0, e);
	return err ? err : stream_open(s, b, e);
}

/* --- datagrams --- */

static int open_udp(struct dgram *d, const struct twx_opts *o, struct twx_error *e)
{
	const char *local = twx_opts_str(o, "localaddr");
	struct sock_spec remote;
	char name[SOCK_TEXT];
	int err;

	if (!local) {
		twx_error_set(e, EINVAL, "localaddr= is mandatory with udp=");
		return twx_error_hint(e, "the address to receive on, for example "
					 "localaddr=127.0.0.1:5556");
	}
	err = sock_spec_text(&remote, d->backend, twx_opts_str(o, "udp"), SOCK_DATAGRAM, e);
	if (!err)
		err = sock_spec_text(&d->local, d->backend, local, SOCK_DATAGRAM | SOCK_PASSIVE, e);
	if (!err)
		err = dgram_open_pair(d, &remote, e);
	if (err)
		return err;
	sock_name(&d->to, name, sizeof(name));
	snprintf(d->info, sizeof(d->info), "socket: udp=%s", name);
	return 0;
}

static int open_mcast(struct dgram *d, const struct twx_opts *o, struct twx_error *e)
{
	const char *local = twx_opts_str(o, "localaddr");
	struct in_addr iface = { htonl(INADDR_ANY) };
	struct sock_spec group;
	char name[SOCK_TEXT];
	int err;

	err = sock_spec_text(&group, d->backend, twx_opts_str(o, "mcast"), SOCK_DATAGRAM, e);
	if (err)
		return err;
	if (!sock_is_multicast(&group.addr[0])) {
		twx_error_set(e, EINVAL,
			      "specified mcastaddr %s does not contain a multicast "
			      "address",
			      group.text);
		return twx_error_hint(e, "those are 224.0.0.0 to 239.255.255.255");
	}
	if (local && !inet_aton(local, &iface))
		return twx_error_set(e, EINVAL, "localaddr '%s' is no IPv4 address", local);
	err = dgram_open_group(d, &group.addr[0], iface, e);
	if (err)
		return err;
	sock_name(&group.addr[0], name, sizeof(name));
	snprintf(d->info, sizeof(d->info), "socket: mcast=%s", name);
	return 0;
}

static int open_dgram(struct socket_backend *k, struct twx_backend *b, const struct twx_opts *o,
		      struct twx_error *e)
{
	struct dgram *d = &k->dgram;
	int err;

	k->is_dgram = true;
	dgram_init(d, b);
	err = twx_opts_given(o, "udp") ? open_udp(d, o, e) : open_mcast(d, o, e);
	if (!err)
		err = dgram_start(d, e);
	if (err)
		dgram_stop(d);
	return err;
}

/* --- descriptors --- */

static int open_fd(struct socket_backend *k, struct twx_backend *b, const char *text,
		   struct twx_error *e)
{
	struct sock_addr own = { .len = sizeof(own.ss) };
	int fd = sock_fd_number(text, e), type = 0, err;

	if (fd < 0)
		return fd;
	fd = sock_take_fd(fd, &type, e);
	if (fd < 0)
		return fd;
	if (type == SOCK_STREAM) {
		k->stream.style = &socket_style;
		k->stream.spec.kind = SOCK_FD;
		k->stream.spec.fd = fd;
		snprintf(k->stream.spec.text, sizeof(k->stream.spec.text), "descriptor %d", fd);
		return stream_open(&k->stream, b, e);
	}
	k->is_dgram = true;
	dgram_init(&k->dgram, b);
	err = dgram_open_fd(&k->dgram, fd, e);
	if (!err)
		err = dgram_start(&k->dgram, e);
	getsockname(fd, (struct sockaddr *)&own.ss, &own.len);
	snprintf(k->dgram.info, sizeof(k->dgram.info), "socket: fd=%d %s", fd,
		 own.ss.ss_family == AF_UNIX ? "unix" : "inet");
	if (err)
		dgram_stop(&k->dgram);
	return err;
}

static int socket_open(struct twx_backend *b, const struct twx_opts *o, struct twx_error *e)
{
	static const char *const ways[] = { "fd", "listen", "connect", "mcast", "udp" };
	struct socket_backend *k = b->priv;
	int n = 0;
	size_t i;

	for (i = 0; i < array_size(ways); i++)
		n += twx_opts_given(o, ways[i]);
	if (n != 1)
		return twx_error_set(
			e, EINVAL, "exactly one of listen=, connect=, mcast= or udp= is required");
	if (twx_opts_given(o, "localaddr") && !twx_opts_given(o, "mcast") &&
	    !twx_opts_given(o, "udp"))
		return twx_error_set(e, EINVAL, "localaddr= is only valid with mcast= or udp=");
	if (twx_opts_given(o, "fd"))
		return open_fd(k, b, twx_opts_str(o, "fd"), e);
	if (twx_opts_given(o, "listen") || twx_opts_given(o, "connect"))
		return open_stream(k, b, o, e);
	return open_dgram(k, b, o, e);
}

static void socket_close(struct twx_backend *b)
{
	struct socket_backend *k = b->priv;

	if (k->is_dgram)
		dgram_stop(&k->dgram);
	else
		stream_close(&k->stream);
}

extern const struct twx_backend_type socket_backend;
const struct twx_backend_type socket_backend = {
	.name = "socket",
	.help = "TCP, UDP or multicast in the syntax of older QEMUs; stream and dgram do more",
	.options = socket_options,
	.port_ops = &socket_port_ops,
	.priv_size = sizeof(struct socket_backend),
	.open = socket_open,
	.close = socket_close,
};
