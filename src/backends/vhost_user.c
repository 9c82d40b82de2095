/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * -netdev vhost-user: our front end to a back end in another process, such as passt, DPDK's vhost
 * library or another twinax. It moves the frames; this program makes the card (bus/vhost.h).
 *
 * The back end is asked for its features when the netdev is made, since the card offers them: so it
 * has to be there by then, or to come within START_MS where reconnecting or listening is asked for;
 * within LIVE_MS when a netdev is added to what runs already, which stands still meanwhile.
 * Later it may go and return. While it is away the link is down, also to the guest, and the card
 * runs its rings itself, which drops what the guest sends; whoever comes back has to know at least
 * the features that the first one had.
 *
 * Nothing but a virtio card in this process can be the peer: the ports take frames only to drop
 * them. Messages are in vhost_user_msg.c, rings and memory in vhost_user_path.c.
 *
 * Differences from QEMU: path= in place of a chardev, with a reconnect every second; no dirty log,
 * so a migration of the card's VMM finds the link to the back end cut while it copies; no inflight
 * area: after a crash the used ring says where to go on; drivers cannot change their offloads
 * later, which the protocol has no message for.
 *
 * Source: the vhost-user protocol's specification, as of QEMU 10.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "backends/vhost_user.h"
#include "base/clock.h"
#include "base/loop_virtual.h"
#include "base/macros.h"
#include "base/opts.h"
#include "net/chardev.h"
#include "net/net_priv.h"

#define START_MS 60000
#define LIVE_MS 3000
#define STEP_MS 100
#define RECONNECT_MS 1000
#define LATE_MS 30000 /* until a back end that did not answer is tried again */

/* Links. */

static void set_links(struct vuf *vu, bool up)
{
	for (uint32_t i = 0; i < vu->n_pairs; i++) {
		struct twx_port *port = vu->pairs[i].port;

		/* The guest sees it; its rings come back, or go out, with the last of the two. */
		if (port->peer && port->peer->kind == TWX_PORT_NIC)
			twx_port_set_link(port->peer, up);
		twx_port_set_link(port, up);
	}
}

static void retry_in(struct vuf *vu, uint32_t ms)
{
	twx_timer_set(&vu->retry, twx_loop_now(vu->backend->loop) + ms * 1000000ull);
}

static void lost(struct twx_task *t)
{
	struct vuf *vu = container_of(t, struct vuf, lost_task);

	set_links(vu, false);
	if (vu->server && vu->late)
		retry_in(vu, LATE_MS);
	else if (vu->server)
		twx_watch_set(&vu->listen_watch, EPOLLIN);
	else if (vu->reconnect_ms)
		retry_in(vu,
			 vu->late ? max(vu->reconnect_ms, (uint32_t)LATE_MS) : vu->reconnect_ms);
}

/* Connections. */

/* Between answers the back end has nothing to say. */
static void conn_event(struct twx_watch *w, uint32_t events)
{
	struct vuf *vu = container_of(w, struct vuf, watch);
	uint8_t byte;
	ssize_t n;

	(void)events;
	n = recv(vu->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	vuf_lost(vu,
		 n > 0 ? "the back end speaks unasked" : "the back end has closed the connection");
}

static int conn_watch(struct vuf *vu)
{
	return twx_watch_add(&vu->watch, vu->backend->loop, vu->fd, EPOLLIN, conn_event);
}

static uint64_t features_of(const struct vuf *vu)
{
	return vu->features & VHOST_FEATURES;
}

/* Another connection than the first: what drivers were promised has to hold. */
static void conn_return(struct vuf *vu, int fd)
{
	uint64_t offered = vu->pairs[0].vhost.features;
	struct twx_error e = { 0 };

	vu->fd = fd;
	vu->late = false;
	if (vuf_greet(vu, &e) < 0) {
		vuf_lost(vu, e.what);
		return;
	}
	if (offered & ~features_of(vu)) {
		vu->late = true;
		vuf_lost(vu, "the back end has fewer features than the one before");
		return;
	}
	if (conn_watch(vu) < 0) {
		vuf_lost(vu, "out of memory");
		return;
	}
	vu->told = false;
	VUF_LOG(vu, INFO, "the back end is back");
	set_links(vu, true);
}

static void retry(struct twx_timer *t)
{
	struct vuf *vu = container_of(t, struct vuf, retry);
	int fd;

	if (vu->server) {
		twx_watch_set(&vu->listen_watch, EPOLLIN);
		return;
	}
	fd = hostops_unix_connect(net_hostops(vu->backend->net), vu->path);
	if (fd >= 0) {
		conn_return(vu, fd);
		return;
	}
	if (!vu->told)
		VUF_LOG(vu, WARNING, "cannot connect: %s; trying on", strerror(-fd));
	vu->told = true;
	retry_in(vu, vu->reconnect_ms);
}

static int take_one(struct vuf *vu)
{
	int fd = accept4(vu->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* One at a time; the next one waits in the backlog. */
static void listen_event(struct twx_watch *w, uint32_t events)
{
	struct vuf *vu = container_of(w, struct vuf, listen_watch);
	int fd = take_one(vu);

	(void)events;
	if (fd < 0)
		return;
	twx_watch_set(&vu->listen_watch, 0);
	conn_return(vu, fd);
}

/* Set-up. */

static int listen_on(struct vuf *vu, struct twx_error *e)
{
	int fd = hostops_unix_listen(net_hostops(vu->backend->net), vu->path);

	if (fd < 0)
		return twx_error_set(e, -fd, "netdev %s: cannot listen on %s: %s", vu->backend->id,
				     vu->path, strerror(-fd));
	hostops_sock_file_of(vu->path, &vu->file);
	vu->listen_fd = fd;
	VUF_LOG(vu, INFO, "waiting for a back end to connect");
	return 0;
}

static int first_try(struct vuf *vu)
{
	return vu->server ? take_one(vu)
			  : hostops_unix_connect(net_hostops(vu->backend->net), vu->path);
}

/* Whoever wants us gone does not wait for a back end first. */
static bool asked_to_end(void)
{
	sigset_t set;

	return sigpending(&set) == 0 && (sigismember(&set, SIGINT) || sigismember(&set, SIGTERM));
}

/* The first connection: at once, or after a while where the user expects it to come. */
static int first_connection(struct vuf *vu, bool wait, struct twx_error *e)
{
	int64_t patience = loop_in_round(vu->backend->loop) ? LIVE_MS : START_MS;
	int64_t until = clock_ms() + (wait ? patience : 0);
	int fd;

	for (;;) {
		fd = first_try(vu);
		if (fd >= 0 || clock_ms() >= until || asked_to_end())
			break;
		(void)poll(NULL, 0, STEP_MS);
	}
	if (fd >= 0) {
		vu->fd = fd;
		return 0;
	}
	if (vu->server)
		return twx_error_set(e, ETIMEDOUT, "netdev %s: no back end has connected to %s",
				     vu->backend->id, vu->path);
	twx_error_set(e, -fd, "netdev %s: cannot connect to the vhost-user back end at %s: %s",
		      vu->backend->id, vu->path, strerror(-fd));
	return twx_error_hint(e, "start the back end first, or check its path");
}

static int take_place(struct vuf *vu, const struct twx_opts *o, bool *wait, struct twx_error *e)
{
	const char *path = twx_opts_str(o, "path"), *id = twx_opts_str(o, "chardev");
	const struct chardev_socket *s;
	struct twx_chardev *c;

	if (!path == !id)
		return twx_error_set(e, EINVAL, "vhost-user needs either chardev= or path=");
	vu->label = path ? path : id;
	vu->reconnect_ms = RECONNECT_MS;
	if (id) {
		c = chardev_find(vu->backend->net, id);
		if (!c)
			return twx_error_set(e, ENODEV, "chardev \"%s\" not found", id);
		s = chardev_claim_socket(c, e);
		if (!s)
			return e->code ? -e->code : -EINVAL;
		path = s->path;
		vu->server = s->server;
		vu->reconnect_ms = s->reconnect_ms;
		*wait = s->server || s->reconnect_ms;
	}
	if (strlen(path) >= sizeof(vu->path))
		return twx_error_set(e, ENAMETOOLONG, "'%s' is too long for a socket's path", path);
	memcpy(vu->path, path, strlen(path) + 1);
	return 0;
}

static int add_pairs(struct vuf *vu, struct twx_error *e)
{
	for (uint32_t i = 0; i < vu->n_pairs; i++) {
		struct vuf_pair *p = &vu->pairs[i];

		p->vu = vu;
		p->selected = true;
		p->vhost = (struct vhost){
			.ops = &vuf_vhost_ops,
			.what = "vhost-user",
			.features = features_of(vu),
			.needs_files = true,
			.only = true,
			.settled = true,
		};
		p->port = twx_backend_add_port(vu->backend, e);
		if (!p->port)
			return -ENOMEM;
	}
	return 0;
}

static int begin(struct vuf *vu, bool wait, struct twx_error *e)
{
	int rc = vu->server ? listen_on(vu, e) : 0;

	if (rc == 0)
		rc = first_connection(vu, wait, e);
	if (rc < 0)
		return rc;
	rc = vuf_greet(vu, e);
	if (rc == 0)
		rc = add_pairs(vu, e);
	if (rc < 0)
		return rc;
	rc = conn_watch(vu);
	if (rc == 0 && vu->server)
		rc = twx_watch_add(&vu->listen_watch, vu->backend->loop, vu->listen_fd, 0,
				   listen_event);
	return rc < 0 ? twx_error_set(e, -rc, "netdev %s: %s", vu->backend->id, strerror(-rc)) : 0;
}

static void vuf_backend_close(struct twx_backend *b)
{
	struct vuf *vu = b->priv;

	vuf_close(vu);
	twx_loop_undefer(b->loop, &vu->lost_task);
	twx_timer_cancel(&vu->retry);
	twx_watch_del(&vu->listen_watch);
	if (vu->listen_fd >= 0) {
		close(vu->listen_fd);
		hostops_sock_file_remove(net_hostops(b->net), vu->path, &vu->file);
	}
	free(vu->pairs);
	vu->pairs = NULL;
	vu->n_pairs = 0;
}

static int vuf_backend_open(struct twx_backend *b, const struct twx_opts *o, struct twx_error *e)
{
	struct vuf *vu = b->priv;
	bool wait = false;
	int rc;

	vu->backend = b;
	vu->fd = vu->listen_fd = -1;
	vu->lost_task.fn = lost;
	twx_timer_init(&vu->retry, b->loop, retry);
	rc = take_place(vu, o, &wait, e);
	if (rc < 0)
		return rc;
	vu->n_pairs = (uint32_t)twx_opts_int(o, "queues");
	vu->pairs = calloc(vu->n_pairs, sizeof(*vu->pairs));
	rc = vu->pairs ? begin(vu, wait, e) : twx_error_set(e, ENOMEM, "out of memory");
	if (rc < 0)
		vuf_backend_close(b);
	return rc;
}

/* The port's calls. */

/* What comes by here found no ring outside: the back end is away, or the NIC is none of virtio's.
 */
static int vuf_receive(struct twx_port *port, const struct twx_frame *frames, int n)
{
	for (int i = 0; i < n; i++)
		twx_port_drop(port, TWX_DROP_HOST_ERROR, frames[i].len);
	return n;
}

static void vuf_info(struct twx_port *port, char *buf, size_t size)
{
	const struct vuf *vu = ((struct twx_backend *)port->owner)->priv;

	snprintf(buf, size, "vhost-user%u to %s", port->queue_index, vu->label);
}

static struct vhost *vuf_vhost(struct twx_port *port)
{
	struct vuf *vu = ((struct twx_backend *)port->owner)->priv;

	return port->queue_index < vu->n_pairs ? &vu->pairs[port->queue_index].vhost : NULL;
}

static const struct twx_port_ops vuf_port_ops = {
	.receive = vuf_receive,
	.info = vuf_info,
	.vhost = vuf_vhost,
};

static const struct twx_opt_desc vuf_options[] = {
	{ "chardev", TWX_OPT_STR, NULL,
	  "the unix socket, as -chardev socket,id=ID,path=PATH has it", "ID" },
	{ "path", TWX_OPT_STR, NULL, "or its path, to connect to", "PATH" },
	{ "queues", TWX_OPT_INT, "1", "queue pairs", NULL, 1, 128 },
	{ "vhostforce", TWX_OPT_BOOL, "off", "no matter: there is no other way here" },
	{ 0 },
};

const struct twx_backend_type vhost_user_backend = {
	.name = "vhost-user",
	.help = "a vhost-user back end in another process, for a virtio NIC of ours",
	.only_bus = "virtio",
	.options = vuf_options,
	.port_ops = &vuf_port_ops,
	.priv_size = sizeof(struct vuf),
	.open = vuf_backend_open,
	.close = vuf_backend_close,
};
