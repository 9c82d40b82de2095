/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Backend "vde": a port of a Virtual Distributed Ethernet switch, QEMU's `-netdev vde`.
 *
 * The protocol is libvdeplug's, which is loaded when a backend is opened and not linked: it is
 * under the LGPL, parts of it under the GPL, and few need it. What is called is declared here,
 * after its manual page, libvdeplug(3). Opening waits for the switch's answer; so does the library.
 *
 * A frame is one vde_send() or vde_recv(), which take one piece of memory: a frame of several
 * pieces is copied together. On the way in up to TWX_BURST frames are read into slots and handed on
 * as one burst; what the NIC does not take stays there, and nothing is read until resume(). READS
 * bursts per event, so that one sender does not hold the loop. A full switch makes the port busy
 * until the descriptor is writable; kinds of network whose descriptor always is (the library has
 * modules for several) are tried again after RETRY_NS.
 *
 * When the switch closes the connection (its control descriptor says so), the link goes down.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <twinax/net.h>

#include "base/iov.h"
#include "base/macros.h"
#include "net/fault.h"

#define LIB "libvdeplug.so.2"
#define VERSION 1 /* of the library's interface */
#define READS 4
#define MAX_ERRORS 64 /* reads in a row that fail or are empty; then nothing will come any more */
#define RETRY_NS 1000000ull
/* 9216 bytes of MTU, the library's largest, an Ethernet header and a tag; and a distance between
 * slots that spreads their beginnings over a cache. */
#define VDE_FRAME 9234
#define VDE_SLOT 9280

struct vdeconn; /* the library's */

struct vde_open_args {
	int port;
	char *group;
	mode_t mode;
};

struct vde_lib {
	void *handle;
	struct vdeconn *(*open)(char *url, char *descr, int version, struct vde_open_args *args);
	ssize_t (*recv)(struct vdeconn *conn, void *buf, size_t len, int flags);
	ssize_t (*send)(struct vdeconn *conn, const void *buf, size_t len, int flags);
	int (*datafd)(struct vdeconn *conn);
	int (*ctlfd)(struct vdeconn *conn);
	int (*close)(struct vdeconn *conn);
};

struct vde {
	struct twx_backend *backend;
	struct twx_port *port;
	struct vde_lib lib;
	struct vdeconn *conn;
	int fd;
	struct twx_watch watch, ctl_watch;
	struct twx_timer retry;
	bool reading; /* EPOLLIN is watched */
	bool blocked; /* the switch took no frame */
	bool in_vain; /* the descriptor was writable, and nothing could be sent */
	unsigned int n_errors;
	int first, n;
	struct twx_frame frames[TWX_BURST];
	struct iovec iov[TWX_BURST];
	uint8_t *slots; /* TWX_BURST, and one to put pieces together */
	char info[256];
};

static const struct twx_opt_desc vde_options[] = {
	{ "sock", TWX_OPT_STR, NULL,
	  "switch: its folder, or KIND://ADDRESS; the library's default when left out", "PATH" },
	{ "port", TWX_OPT_INT, "0", "port of the switch; 0: any", "N", 0, 65535 },
	{ "group", TWX_OPT_STR, NULL, "group that owns our end of the connection", "NAME" },
	{ "mode", TWX_OPT_INT, "0700", "access to our end of the connection", "OCTAL", 0, 07777 },
	{ NULL },
};

static struct vde *vde_of(struct twx_port *port)
{
	return ((struct twx_backend *)port->owner)->priv;
}

static void vde_watch(struct vde *v)
{
	uint32_t out = v->blocked && !v->in_vain ? EPOLLOUT : 0u;

	if (v->watch.loop)
		twx_watch_set(&v->watch, (v->reading ? EPOLLIN : 0u) | out);
	if (v->blocked && v->in_vain)
		twx_timer_set(&v->retry, twx_loop_now(v->backend->loop) + RETRY_NS);
}

/* --- out --- */

/* 0, or -errno. */
static int vde_send_one(struct vde *v, const struct twx_frame *f)
{
	const void *data = f->iov[0].iov_base;

	if (f->n_iov > 1) {
		uint8_t *whole = v->slots + (size_t)TWX_BURST * VDE_SLOT;

		iov_copy_from(f->iov, f->n_iov, 0, whole, f->len);
		data = whole;
	}
	return v->lib.send(v->conn, data, f->len, 0) < 0 ? -errno : 0;
}

static int vde_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	struct vde *v = vde_of(port);
	int i, err;

	if (v->blocked)
		return 0;
	TWX_TRACE(port->trace, TWX_HOP_SENDMSG, port->name, frames[0].len, n);
	for (i = 0; i < n; i++) {
		err = vde_send_one(v, &frames[i]);
		if (err == -EINTR)
			err = vde_send_one(v, &frames[i]);
		if (err == -EAGAIN && v->watch.loop) {
			v->blocked = true;
			vde_watch(v);
			break;
		}
		v->in_vain = false;
		if (err == -EFAULT)
			fault_report(v->backend->net, frames[i].iov, frames[i].n_iov);
		if (err)
			twx_port_drop(port, TWX_DROP_HOST_ERROR, frames[i].len);
	}
	return i;
}

static void vde_writable(struct vde *v)
{
	v->blocked = false;
	v->in_vain = true; /* until something was sent */
	vde_watch(v);
	twx_port_ready(v->port);
}

static void vde_retry(struct twx_timer *t)
{
	struct vde *v = container_of(t, struct vde, retry);

	if (v->blocked)
		vde_writable(v);
}

/* --- in --- */

/* Nothing will come any more: frames are taken, and dropped. */
static void vde_gone(struct vde *v, const char *why)
{
	twx_watch_del(&v->watch);
	twx_watch_del(&v->ctl_watch);
	twx_timer_cancel(&v->retry);
	v->reading = v->blocked = false;
	twx_log(v->backend->net, TWX_LOG_ERROR,
		"netdev %s: the connection to the switch has ended: %s", v->backend->id, why);
	twx_port_set_link(v->port, false);
	twx_port_ready(v->port);
}

/* One frame into the next slot. False: none is there. */
static bool vde_read(struct vde *v)
{
	uint8_t *slot = v->slots + (size_t)v->n * VDE_SLOT;
	/* One byte more than there may be tells a frame that was cut from one that fits. */
	ssize_t len = v->lib.recv(v->conn, slot, VDE_FRAME + 1, 0);

	if (len < 0) {
		if (errno == EAGAIN || errno == EINTR)
			v->n_errors = 0;
		else if (++v->n_errors >= MAX_ERRORS)
			vde_gone(v, strerror(errno));
		return false;
	}
	/* An empty one may be a frame that is none; of a stream it is the end, again and again. */
	if (len)
		v->n_errors = 0;
	else if (++v->n_errors >= MAX_ERRORS)
		vde_gone(v, "nothing comes");
	/* The library's way to say that a frame is none. */
	if (len == 1)
		return true;
	if (len < (ssize_t)TWX_FRAME_MIN) {
		twx_port_drop(v->port, TWX_DROP_TOO_SHORT, (uint32_t)len);
		return len > 0;
	}
	if (len > VDE_FRAME) {
		twx_port_drop(v->port, TWX_DROP_TOO_LONG, (uint32_t)len);
		return true;
	}
	v->iov[v->n] = (struct iovec){ slot, (size_t)len };
	v->frames[v->n] =
		(struct twx_frame){ .iov = &v->iov[v->n], .n_iov = 1, .len = (uint32_t)len };
	v->n++;
	return true;
}

/* Up to a burst. True if there may be more. */
static bool vde_gather(struct vde *v)
{
	int left;

	for (left = TWX_BURST; left > 0; left--)
		if (!vde_read(v))
			break;
	if (v->n)
		TWX_TRACE(v->port->trace, TWX_HOP_RECVMSG, v->port->name, v->frames[0].len, v->n);
	return !left;
}

/* Hands on what was read; true when all of it is done. The rest waits for resume(). */
static bool vde_deliver(struct vde *v)
{
	if (v->first < v->n)
		v->first += twx_port_send(v->port, v->frames + v->first, v->n - v->first);
	if (v->first < v->n) {
		v->reading = false;
		vde_watch(v);
		return false;
	}
	v->first = v->n = 0;
	return true;
}

static void vde_resume(struct twx_port *port)
{
	struct vde *v = vde_of(port);

	if (v->reading || !v->watch.loop || !vde_deliver(v))
		return;
	v->reading = true;
	vde_watch(v);
}

static void vde_event(struct twx_watch *w, uint32_t events)
{
	struct vde *v = container_of(w, struct vde, watch);
	bool more = true;
	int left;

	if (v->blocked && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		vde_writable(v);
	if (!v->reading || !(events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		return;
	for (left = READS; left > 0 && more; left--) {
		more = vde_gather(v);
		if (!vde_deliver(v))
			return;
	}
}

/* Silent until its end. */
static void vde_ctl_event(struct twx_watch *w, uint32_t events)
{
	struct vde *v = container_of(w, struct vde, ctl_watch);
	char buf[512];
	ssize_t n = read(w->fd, buf, sizeof(buf));

	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	vde_gone(v, n ? strerror(errno) : "it was closed there");
}

static void vde_info(struct twx_port *port, char *buf, size_t size)
{
	snprintf(buf, size, "%s", vde_of(port)->info);
}

static const struct twx_port_ops vde_port_ops = {
	.receive = vde_receive,
	.resume = vde_resume,
	.info = vde_info,
};

/* --- life --- */

static int vde_load(struct vde_lib *lib, struct twx_error *e)
{
	const struct {
		const char *name;
		void *at;
	} calls[] = {
		{ "vde_open_real", &lib->open }, { "vde_recv", &lib->recv },
		{ "vde_send", &lib->send },	 { "vde_datafd", &lib->datafd },
		{ "vde_ctlfd", &lib->ctlfd },	 { "vde_close", &lib->close },
	};
	size_t i;

	lib->handle = dlopen(LIB, RTLD_NOW | RTLD_LOCAL);
	if (!lib->handle) {
		twx_error_set(e, ENOENT, "cannot load " LIB ": %s", dlerror());
		return twx_error_hint(e, "install it: on Debian, the package libvdeplug2");
	}
	for (i = 0; i < array_size(calls); i++) {
		void *call = dlsym(lib->handle, calls[i].name);

		if (!call)
			return twx_error_set(e, ENOSYS, LIB " has no %s()", calls[i].name);
		memcpy(calls[i].at, &call, sizeof(call));
	}
	return 0;
}

/* The library's parameters are not const, though it only reads them; so it gets copies. */
static int vde_connect(struct vde *v, const struct twx_opts *o, struct twx_error *e)
{
	const char *sock = twx_opts_str(o, "sock"), *group = twx_opts_str(o, "group");
	struct vde_open_args args = { .port = (int)twx_opts_int(o, "port"),
				      .mode = (mode_t)twx_opts_int(o, "mode") };
	char *url = sock ? strdup(sock) : NULL, descr[96];
	int err = 0;

	args.group = group ? strdup(group) : NULL;
	if ((sock && !url) || (group && !args.group))
		err = twx_error_set(e, ENOMEM, "out of memory");
	snprintf(descr, sizeof(descr), "twinax %s", v->backend->id);
	errno = 0;
	if (!err)
		v->conn = v->lib.open(url, descr, VERSION, &args);
	if (!err && !v->conn) {
		err = twx_error_set(e, errno ? errno : EIO, "Could not open vde: %s",
				    errno ? strerror(errno) : "the library does not say why");
		twx_error_hint(e, "start the switch first: vde_switch -s %s",
			       sock ? sock : "FOLDER");
	}
	free(url);
	free(args.group);
	return err;
}

static int vde_start(struct vde *v, const struct twx_opts *o, struct twx_error *e)
{
	int ctl = v->lib.ctlfd(v->conn), err;

	v->fd = v->lib.datafd(v->conn);
	if (v->fd < 0)
		return twx_error_set(e, EIO, "the connection has no descriptor for data");
	fcntl(v->fd, F_SETFL, fcntl(v->fd, F_GETFL) | O_NONBLOCK);
	fcntl(v->fd, F_SETFD, FD_CLOEXEC);
	v->slots = malloc((size_t)TWX_BURST * VDE_SLOT + TWX_FRAME_MAX);
	if (!v->slots)
		return twx_error_set(e, ENOMEM, "out of memory");
	v->port = twx_backend_add_port(v->backend, e);
	if (!v->port)
		return -e->code;
	twx_port_set_caps(v->port, (struct twx_caps){ .max_frame = VDE_FRAME });
	snprintf(v->info, sizeof(v->info), "sock=%s,fd=%d",
		 twx_opts_has(o, "sock") ? twx_opts_str(o, "sock") : "", v->fd);
	v->reading = true;
	err = twx_watch_add(&v->watch, v->backend->loop, v->fd, EPOLLIN, vde_event);
	if (!err && ctl >= 0) {
		fcntl(ctl, F_SETFL, fcntl(ctl, F_GETFL) | O_NONBLOCK);
		fcntl(ctl, F_SETFD, FD_CLOEXEC);
		err = twx_watch_add(&v->ctl_watch, v->backend->loop, ctl, EPOLLIN, vde_ctl_event);
	}
	return err ? twx_error_set(e, -err, "cannot watch the connection: %s", strerror(-err)) : 0;
}

static void vde_close(struct twx_backend *b)
{
	struct vde *v = b->priv;

	twx_watch_del(&v->watch);
	twx_watch_del(&v->ctl_watch);
	twx_timer_cancel(&v->retry);
	if (v->conn)
		v->lib.close(v->conn);
	v->conn = NULL;
	if (v->lib.handle)
		dlclose(v->lib.handle);
	v->lib.handle = NULL;
	free(v->slots);
	v->slots = NULL;
}

static int vde_open(struct twx_backend *b, const struct twx_opts *o, struct twx_error *e)
{
	struct vde *v = b->priv;
	int err;

	v->backend = b;
	twx_timer_init(&v->retry, b->loop, vde_retry);
	err = vde_load(&v->lib, e);
	if (!err)
		err = vde_connect(v, o, e);
	if (!err)
		err = vde_start(v, o, e);
	if (err)
		vde_close(b);
	return err;
}

extern const struct twx_backend_type vde_backend;
const struct twx_backend_type vde_backend = {
	.name = "vde",
	.help = "a port of a VDE switch, by libvdeplug",
	.options = vde_options,
	.port_ops = &vde_port_ops,
	.priv_size = sizeof(struct vde),
	.open = vde_open,
	.close = vde_close,
};
