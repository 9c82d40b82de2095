/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A network made from option lists, with its loop: what the commands share.
 *
 * Everything is made in QEMU's order whatever the order of the options: chardevs, backends,
 * filters, NICs (which opens their sockets), control sockets. A failure is one sentence naming the
 * option, and everything made so far is taken back by session_close(). SIGBUS is an access to
 * memory that a front end has truncated: the library deals with it, and any other SIGBUS is what it
 * always was.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <twinax/machine.h>

#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "control/qmp.h"

void session_add(struct session *s, enum session_kind kind, const char *text)
{
	s->items = cli_grow(s->items, s->n_items, sizeof(*s->items));
	s->items[s->n_items++] = (struct session_item){ kind, cli_strdup(text) };
}

static void session_log(void *opaque, enum twx_log_level level, const char *line)
{
	const struct session *s = opaque;

	if (level >= TWX_LOG_INFO && s->quiet)
		return;
	fprintf(stderr, "twinax: %s%s\n", level == TWX_LOG_WARNING ? "warning: " : "", line);
}

/* Of one network, since a signal handler has no other way to know it; null while there is none. */
static struct twx_net *volatile fault_net;

static void session_fault(int sig, siginfo_t *si, void *context)
{
	struct twx_net *net = fault_net;

	if (si->si_code > 0 && net && twx_net_fault(net, si->si_addr))
		return;
	signal(sig, SIG_DFL);
	raise(sig);
}

static int watch_faults(struct session *s, struct twx_error *e)
{
	struct sigaction sa = { .sa_sigaction = session_fault,
				.sa_flags = SA_SIGINFO | SA_NODEFER };

	fault_net = s->net;
	if (sigaction(SIGBUS, &sa, NULL) < 0)
		return twx_error_set(e, errno, "cannot catch SIGBUS: %s", strerror(errno));
	return 0;
}

/* A flow is a socket: the soft limit of 1024 descriptors is for programs that still use select().
 */
static void raise_limits(void)
{
	struct rlimit rl;

	if (!getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

int session_open(struct session *s)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_error e = { 0 };
	int err;

	raise_limits();
	signal(SIGPIPE, SIG_IGN);
	if (twx_loop_new(&s->loop, &e))
		return cli_fail(s->command, &e);
	err = s->shared ? twx_loop_share(s->loop) : 0;
	if (err)
		return cli_fail_text(s->command, NULL, "cannot share the loop: %s", strerror(-err));
	config.loop = s->loop;
	config.log = session_log;
	config.log_opaque = s;
	config.log_level = s->log_level;
	config.state_prefix = s->state_prefix;
	if (twx_net_new(&s->net, &config, &e) || watch_faults(s, &e))
		return cli_fail(s->command, &e);
	return 0;
}

/* What is no device of the machine's own is a NIC. */
static int make_device(struct session *s, const char *text, struct twx_error *e)
{
	int ret = s->machine ? twx_machine_device(s->machine, text, e) : -ENODEV;
	struct twx_nic *nic;

	if (ret != -ENODEV)
		return ret;
	*e = (struct twx_error){ 0 };
	ret = twx_nic_new(&nic, s->net, text, e);
	if (ret && s->machine && strstr(e->what, "is not a valid device model name"))
		twx_error_hint(e,
			       "NICs (twinax vm -device help) and pcie-root-port are here; other "
			       "devices are in QEMU, with our NICs: twinax help qemu");
	return ret;
}

static int make_one(struct session *s, const struct session_item *item, struct twx_error *e)
{
	struct twx_chardev *chardev;
	struct twx_backend *backend;
	struct twx_filter *filter;

	switch (item->kind) {
	case SESSION_CHARDEV:
		return twx_chardev_new(&chardev, s->net, item->text, e);
	case SESSION_NETDEV:
		return twx_backend_new(&backend, s->net, item->text, e);
	case SESSION_OBJECT:
		return twx_filter_new(&filter, s->net, item->text, e);
	case SESSION_DEVICE:
		return make_device(s, item->text, e);
	default:
		return qmp_server_add(&s->qmp, s->net, item->text, e);
	}
}

int session_make_kinds(struct session *s, enum session_kind first, enum session_kind last)
{
	struct twx_error e;
	char context[256];
	size_t i;
	int k;

	for (k = (int)first; k <= (int)last; k++) {
		for (i = 0; i < s->n_items; i++) {
			const struct session_item *item = &s->items[i];

			if (item->kind != (enum session_kind)k)
				continue;
			memset(&e, 0, sizeof(e));
			if (!make_one(s, item, &e))
				continue;
			cli_default_hint(s->command, session_option[k], item->text, &e);
			snprintf(context, sizeof(context), "-%s %s", session_option[k], item->text);
			return cli_fail(context, &e);
		}
	}
	return 0;
}

void session_check(struct session *s)
{
	twx_net_check(s->net);
}

int session_make(struct session *s)
{
	if (session_make_kinds(s, SESSION_CHARDEV, SESSION_QMP))
		return 1;
	session_check(s);
	return 0;
}

void session_close(struct session *s)
{
	size_t i;

	qmp_servers_free(s->qmp);
	twx_machine_free(s->machine);
	if (s->net)
		twx_net_free(s->net);
	fault_net = NULL;
	if (s->loop)
		twx_loop_free(s->loop);
	for (i = 0; i < s->n_items; i++)
		free(s->items[i].text);
	free(s->items);
}
