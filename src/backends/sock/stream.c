/* SPDX-License-Identifier: BSD-3-Clause */
/* Backend "stream": frames over a stream socket, QEMU's `-netdev stream`. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/sock/stream.h"

static const struct twx_opt_desc stream_options[] = {
	{ "server", TWX_OPT_BOOL, "off", "listen, one peer at a time, instead of connecting" },
	SOCK_ROWS("addr", "the address to listen on or to connect to", "inet|unix|fd"),
	SOCK_ROW_FD("addr", "a connected (with server=on: listening) socket"),
	{ "addr.to", TWX_OPT_INT, NULL, "inet server: last port to try", "PORT", 1, 65535 },
	{ "addr.mptcp", TWX_OPT_BOOL, NULL, "inet: multipath TCP" },
	{ "addr.keep-alive", TWX_OPT_BOOL, NULL, "inet: find out when the peer is gone" },
	{ "addr.keep-alive-count", TWX_OPT_INT, NULL, "inet: probes without an answer", "N", 1,
	  127 },
	{ "addr.keep-alive-idle", TWX_OPT_INT, NULL, "inet: seconds of silence before a probe",
	  "SECONDS", 1, 32767 },
	{ "addr.keep-alive-interval", TWX_OPT_INT, NULL, "inet: seconds between probes", "SECONDS",
	  1, 32767 },
	{ "reconnect", TWX_OPT_INT, NULL,
	  "client: connect again after so many seconds, 0: never (QEMU 8.0 to 9.2)", "SECONDS", 0,
	  UINT32_MAX },
	{ "reconnect-ms", TWX_OPT_INT, NULL,
	  "client: connect again after so many milliseconds, 0: never (QEMU 9.2 and newer)", "MS",
	  0, UINT32_MAX },
	{ NULL },
};

static void stream_describe(const struct stream *s, const char *peer, char *buf, size_t size)
{
	switch (s->spec.kind) {
	case SOCK_INET:
		snprintf(buf, size, "tcp:%s", peer);
		break;
	case SOCK_UNIX:
		snprintf(buf, size, "unix:%s", s->spec.text);
		break;
	default:
		snprintf(buf, size, "fd=%d", s->spec.fd);
		break;
	}
}

static const struct stream_style stream_style = {
	.describe = stream_describe,
	.failed = "connection error",
	.hint = "start the listening side first, or add reconnect-ms=1000",
};

static int stream_port_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	return stream_receive(((struct twx_backend *)port->owner)->priv, frames, n);
}

static void stream_port_resume(struct twx_port *port)
{
	stream_resume(((struct twx_backend *)port->owner)->priv);
}

static void stream_port_info(struct twx_port *port, char *buf, size_t size)
{
	struct stream *s = ((struct twx_backend *)port->owner)->priv;

	snprintf(buf, size, "%s", s->info);
}

static const struct twx_port_ops stream_port_ops = {
	.receive = stream_port_receive,
	.resume = stream_port_resume,
	.info = stream_port_info,
};

static int stream_read_retry(struct stream *s, const struct twx_opts *o, struct twx_error *e)
{
	bool seconds = twx_opts_given(o, "reconnect"), ms = twx_opts_given(o, "reconnect-ms");

	if (seconds && ms)
		return twx_error_set(e, EINVAL,
				     "'reconnect' and 'reconnect-ms' are mutually exclusive");
	if ((seconds || ms) && s->server)
		return twx_error_set(e, EINVAL,
				     "'%s' option is incompatible with socket in server mode",
				     seconds ? "reconnect" : "reconnect-ms");
	if ((seconds || ms) && s->spec.kind == SOCK_FD)
		return twx_error_set(e, EINVAL,
				     "a descriptor cannot be connected again: leave "
				     "reconnect out");
	s->retry_ns = (uint64_t)twx_opts_int(o, "reconnect") * 1000000000 +
		      (uint64_t)twx_opts_int(o, "reconnect-ms") * 1000000;
	return 0;
}

static int stream_backend_open(struct twx_backend *b, const struct twx_opts *o, struct twx_error *e)
{
	struct stream *s = b->priv;
	int err;

	s->style = &stream_style;
	s->server = twx_opts_bool(o, "server");
	err = sock_spec_opts(&s->spec, b, o, "addr", s->server ? SOCK_PASSIVE : 0, e);
	if (err)
		return err;
	if (!s->spec.kind) {
		twx_error_set(e, EINVAL, "Parameter 'addr' is missing");
		return twx_error_hint(e, "for example: addr.type=unix,addr.path=/tmp/net.sock");
	}
	err = stream_read_retry(s, o, e);
	return err ? err : stream_open(s, b, e);
}

static void stream_backend_close(struct twx_backend *b)
{
	stream_close(b->priv);
}

extern const struct twx_backend_type stream_backend;
const struct twx_backend_type stream_backend = {
	.name = "stream",
	.help = "frames over a stream socket: inet, unix, or a descriptor",
	.options = stream_options,
	.port_ops = &stream_port_ops,
	.priv_size = sizeof(struct stream),
	.open = stream_backend_open,
	.close = stream_backend_close,
};
