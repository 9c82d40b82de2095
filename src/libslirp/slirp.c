/* SPDX-License-Identifier: BSD-3-Clause */
/* libslirp.so.0: the user-mode network behind libslirp's C interface, its life and its loop. */

/*
 * Theory of operation
 *
 * The caller has a loop of its own, a clock of its own, and calls in from there. Our loop lives in
 * it: slirp_pollfds_fill() adds our one epoll descriptor, whatever the number of connections, and
 * how long the next timer lets the caller sleep; slirp_pollfds_poll() runs a round.
 *
 * The clock is clock_get_ns(), which for QEMU stands while the guest does. So do our timers then: a
 * guest that was stopped for an hour finds its connections as it left them. A clock that is set
 * back (loadvm) goes on from where it was. Timers are not made by the caller's timer_new(): the
 * timeout says it all.
 *
 * Frames from the guest are copied and gathered until the caller is about to sleep or has just
 * woken up, 64 at most: the segments of a connection then go to its socket by one sendmsg(), and
 * one acknowledgement goes back. A thread that is not the one which sleeps in the loop (a vCPU that
 * writes to e1000's register) wakes it by our descriptor. Callers lock as they do for libslirp: no
 * two calls at a time. Because input is gathered, send_packet() may call slirp_input() again, and
 * nothing nests.
 *
 * Frames to the guest: out.c. Forwards: hostfwd.c, guestfwd.c. State that is saved: state.c.
 *
 * There is no file descriptor, no memory and no thread that outlives slirp_cleanup(), and no global
 * state: a program may have as many as it likes. What cannot be set up is said on standard error,
 * as libslirp does, and slirp_new() returns null.
 *
 * Differences from libslirp: those of the stack (tests/differential/differences.c); the timers
 * above; several connections to one slirp_add_guestfwd() are refused and not mixed;
 * slirp_add_exec() starts its command by the shell.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <twinax/twinax.h>

#include "backends/user/user.h"
#include "base/loop_virtual.h"
#include "base/macros.h"
#include "libslirp/slirp.h"

#define STANDING_MS 100 /* how often to look at timers while the clock stands */

void slirp_complain(const struct twx_error *e)
{
	fprintf(stderr, "libslirp (twinax): %s%s%s\n", e->what, *e->hint ? "; " : "", e->hint);
}

const char *slirp_version_string(void)
{
	return "4.9.0-twinax-" TWINAX_VERSION;
}

/* --- rounds --- */

static uint64_t now(struct Slirp *s)
{
	uint64_t clock = (uint64_t)s->cb.clock_get_ns(s->opaque);

	if (clock > s->clock)
		s->now += clock - s->clock;
	s->clock = clock;
	return s->now;
}

static void run_round(struct Slirp *s, bool look)
{
	if (s->in_round)
		return;
	s->in_round = true;
	s->more = loop_hosted_round(s->loop, now(s), look,
				    s->in.n || s->out.held ? &s->in_task : NULL);
	s->in_round = false;
}

static bool is_due(struct Slirp *s)
{
	return s->in.n || s->more || loop_virtual_next(s->loop) <= now(s);
}

void slirp_settle(struct Slirp *s)
{
	if (is_due(s))
		run_round(s, false);
}

static void input_task(struct twx_task *t)
{
	struct Slirp *s = container_of(t, struct Slirp, in_task);
	struct slirp_in *in = &s->in;

	out_try_again(s);
	/* More may come meanwhile, from send_packet(): the arena bounds it. */
	for (int done = 0; done < in->n;) {
		int n = in->n - done, taken = twx_port_send(&s->out.port, in->frames + done, n);

		if (taken < n)
			twx_port_post(&s->out.port, in->frames + done + taken, n - taken);
		done += n;
	}
	in->n = 0;
	in->used = 0;
}

void slirp_input(struct Slirp *s, const uint8_t *pkt, int len)
{
	struct slirp_in *in = &s->in;

	if (len < SLIRP_ETH_LEN || len > SLIRP_FRAME_MAX)
		return;
	if (in->n == TWX_BURST || in->used + (uint32_t)len > SLIRP_IN_ARENA)
		run_round(s, false);
	if (in->n == TWX_BURST || in->used + (uint32_t)len > SLIRP_IN_ARENA) {
		twx_port_drop(&s->out.port, TWX_DROP_QUEUE_FULL, (uint32_t)len);
		return;
	}
	in->iov[in->n] = (struct iovec){ in->arena + in->used, (size_t)len };
	in->frames[in->n] =
		(struct twx_frame){ .iov = &in->iov[in->n], .n_iov = 1, .len = (uint32_t)len };
	memcpy(in->arena + in->used, pkt, (size_t)len);
	in->used += ((uint32_t)len + 63) & ~63u;
	if (!in->n++ && !s->in_round && !(s->polled && pthread_equal(s->poller, pthread_self())))
		loop_hosted_wake(s->loop);
}

/* --- the caller's loop --- */

static uint32_t sleep_ms(struct Slirp *s, bool stands)
{
	uint64_t next = loop_virtual_next(s->loop), ms;

	if (s->more)
		return 0;
	if (next == UINT64_MAX)
		return UINT32_MAX;
	ms = next > s->now ? (next - s->now + 999999) / 1000000 : 0;
	return (uint32_t)min(stands ? max(ms, (uint64_t)STANDING_MS) : ms,
			     (uint64_t)UINT32_MAX - 1);
}

void slirp_pollfds_fill(struct Slirp *s, uint32_t *timeout_ms, slirp_add_poll_fn *add, void *opaque)
{
	bool stands;

	s->poller = pthread_self();
	s->polled = true;
	slirp_settle(s);
	stands = s->slept_at == s->clock;
	s->slept_at = s->clock;
	*timeout_ms = min(*timeout_ms, sleep_ms(s, stands));
	s->index = add(twx_loop_fd(s->loop), SLIRP_POLL_IN, opaque);
}

void slirp_pollfds_fill_socket(struct Slirp *s, uint32_t *timeout_ms, slirp_add_poll_fn *add,
			       void *opaque)
{
	slirp_pollfds_fill(s, timeout_ms, add, opaque);
}

void slirp_pollfds_poll(struct Slirp *s, int select_error, slirp_get_revents_fn *get, void *opaque)
{
	/* After an error nothing is known of our descriptor, but that looking costs little. */
	bool look = select_error || s->index < 0 || get(s->index, opaque);

	/* QEMU's loop turns when its NIC has taken what was queued. */
	if (look || s->out.held || is_due(s))
		run_round(s, look);
}

/* What a caller's timer would be for: none was made. */
void slirp_handle_timer(struct Slirp *s, int id, void *cb_opaque)
{
	slirp_settle(s);
}

/* --- life --- */

static void announce_fd(struct Slirp *s, bool there)
{
	void (*fd)(int, void *) = there ? s->cb.register_poll_fd : s->cb.unregister_poll_fd;
	void (*sock)(int, void *) =
		there ? s->cb.register_poll_socket : s->cb.unregister_poll_socket;

	if (sock)
		sock(twx_loop_fd(s->loop), s->opaque);
	else if (fd)
		fd(twx_loop_fd(s->loop), s->opaque);
}

/* Callbacks that the caller's version has. */
static void read_callbacks(struct Slirp *s, const struct slirp_cb *cb, uint32_t version)
{
	size_t len = version >= 6   ? sizeof(*cb)
		     : version >= 4 ? offsetof(struct slirp_cb, register_poll_socket)
				    : offsetof(struct slirp_cb, init_completed);

	memcpy(&s->cb, cb, len);
}

static int open_stack(struct Slirp *s, const struct slirp_config *cfg, struct twx_error *e)
{
	struct twx_net_config net = { .size = sizeof(net) };
	char *text;
	int ret = twx_loop_new(&s->loop, e);

	if (ret)
		return ret;
	loop_virtual_start(s->loop);
	s->now = twx_loop_now(s->loop);
	net.loop = s->loop;
	ret = twx_net_new(&s->net, &net, e);
	if (ret)
		return ret;
	text = config_text(cfg);
	if (!text)
		return twx_error_set(e, ENOMEM, "out of memory");
	ret = twx_backend_new(&s->backend, s->net, text, e);
	free(text);
	if (ret)
		return ret;
	s->user = s->backend->priv;
	s->user->cfg.no_dns = cfg->disable_dns;
	s->user->cfg.no_dhcp = cfg->disable_dhcp;
	s->in.arena = mmap(NULL, SLIRP_IN_ARENA, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->in.arena == MAP_FAILED) {
		s->in.arena = NULL;
		return twx_error_set(e, ENOMEM, "out of memory");
	}
	return out_open(s, e);
}

static void close_stack(struct Slirp *s)
{
	s->closing = true;
	fwds_close(s);
	out_close(s);
	twx_net_free(s->net);
	twx_loop_free(s->loop);
	if (s->in.arena)
		munmap(s->in.arena, SLIRP_IN_ARENA);
	free(s);
}

struct Slirp *slirp_new(const struct slirp_config *config, const struct slirp_cb *cb, void *opaque)
{
	struct slirp_config cfg;
	struct twx_error e = { 0 };
	struct Slirp *s = NULL;
	int ret = 0;

	if (!config_read(&cfg, config))
		ret = twx_error_set(&e, EINVAL, "SlirpConfig.version %u is not one of %d to %d",
				    config->version, SLIRP_CONFIG_MIN, SLIRP_CONFIG_MAX);
	if (!ret)
		ret = config_check(&cfg, &e);
	if (!ret && !(s = calloc(1, sizeof(*s))))
		ret = twx_error_set(&e, ENOMEM, "out of memory");
	if (!ret) {
		read_callbacks(s, cb, cfg.version);
		s->opaque = opaque;
		s->index = -1;
		s->in_task.fn = input_task;
		s->clock = (uint64_t)s->cb.clock_get_ns(opaque);
		s->slept_at = ~s->clock;
		ret = open_stack(s, &cfg, &e);
	}
	if (ret) {
		slirp_complain(&e);
		if (s)
			close_stack(s);
		return NULL;
	}
	announce_fd(s, true);
	if (s->cb.init_completed)
		s->cb.init_completed(s, opaque);
	return s;
}

struct Slirp *slirp_init(int restricted, bool in_enabled, struct in_addr vnetwork,
			 struct in_addr vnetmask, struct in_addr vhost, bool in6_enabled,
			 struct in6_addr vprefix_addr6, uint8_t vprefix_len, struct in6_addr vhost6,
			 const char *vhostname, const char *tftp_server_name, const char *tftp_path,
			 const char *bootfile, struct in_addr vdhcp_start,
			 struct in_addr vnameserver, struct in6_addr vnameserver6,
			 const char **vdnssearch, const char *vdomainname,
			 const struct slirp_cb *cb, void *opaque)
{
	struct slirp_config cfg = {
		.version = SLIRP_CONFIG_MIN,
		.restricted = restricted,
		.in_enabled = in_enabled,
		.vnetwork = vnetwork,
		.vnetmask = vnetmask,
		.vhost = vhost,
		.in6_enabled = in6_enabled,
		.vprefix_addr6 = vprefix_addr6,
		.vprefix_len = vprefix_len,
		.vhost6 = vhost6,
		.vhostname = vhostname,
		.tftp_server_name = tftp_server_name,
		.tftp_path = tftp_path,
		.bootfile = bootfile,
		.vdhcp_start = vdhcp_start,
		.vnameserver = vnameserver,
		.vnameserver6 = vnameserver6,
		.vdnssearch = vdnssearch,
		.vdomainname = vdomainname,
	};

	return slirp_new(&cfg, cb, opaque);
}

void slirp_cleanup(struct Slirp *s)
{
	if (!s)
		return;
	announce_fd(s, false);
	close_stack(s);
}
