/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `twinax run`: a network for a command in namespaces of its own, or for a namespace that exists.
 * Here is its command line; what happens is in run_main.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/cli.h"
#include "cli/run.h"

#define RUN_MTU 65520 /* the largest that keeps what is behind the headers aligned to 16 bytes */

/* What the options say beside struct run. */
struct door {
	struct run run;
	struct {
		char **specs;
		size_t n;
	} publish;
	long mtu; /* 0: not given */
};

/* clang-format off */
static const char run_usage[] =
	"usage: twinax run [OPTION...] [--] [COMMAND [ARGUMENT...]]\n"
	"       twinax run [OPTION...] -pid PID | -netns PATH\n"
	"\n"
	"Runs COMMAND (by default a shell) in a network namespace of its own, connected with the\n"
	"user-mode network; or connects a namespace that exists. No privilege is needed.\n"
	"\n"
	"  -p [tcp:|udp:][ADDR:]HOSTPORT[:GUESTPORT]\n"
	"                         publish a port, or a range of ports, of the namespace\n"
	"  -netdev TYPE[,...]     connect with this network, by default user (-netdev help)\n"
	"  -mtu N                 MTU of the interface, by default 65520 on the user-mode network\n"
	"  -ifname NAME           name of the interface in the namespace, by default tap0\n"
	"  -pid PID               the namespace of this process; ends with it\n"
	"  -netns PATH            the namespace that this file is (/run/netns/NAME)\n"
	"  -no-config             leave addresses, routes and resolv.conf to others\n"
	"  -object TYPE,id=ID,... add a filter to the network (-object help)\n"
	"  -chardev TYPE,id=ID,.. add a stream (-chardev help)\n"
	"  -qmp unix:PATH         open a control socket for `twinax ctl PATH`\n"
	"  -ready-fd N            write \"ready\" to descriptor N once the network is there\n"
	"  -exit-fd N             end when the other end of descriptor N is closed\n"
	"  -quiet                 print nothing but errors and warnings\n"
	"  -help                  print this\n"
	"\n"
	"The exit status is COMMAND's, 128 and the signal's number if a signal ended it; 1 after an\n"
	"error of twinax's, 126 or 127 if COMMAND cannot be run.\n"
	"Example: twinax run -p 8080:80 -- python3 -m http.server 80\n";
/* clang-format on */

/* --- options --- */

static int misuse(const char *word, const char *why)
{
	cli_fail_text("run", "try: twinax help run", "%s: %s", word, why);
	return -1;
}

static bool parse_number(const char *text, long lo, long hi, long *out)
{
	char *end;

	errno = 0;
	*out = strtol(text, &end, 10);
	return end != text && !*end && !errno && *out >= lo && *out <= hi;
}

static int take_netdev(struct door *d, const char *text)
{
	struct twx_error e = { 0 };

	if (d->run.netdev) {
		session_add(&d->run.world.session, SESSION_NETDEV, text);
		return 0;
	}
	if (!kv_parse(&d->run.netdev, text, "type", &e))
		return 0;
	cli_fail("-netdev", &e);
	return -1;
}

static int take_fd(const char *option, const char *text, int *fd)
{
	long n;

	if (!parse_number(text, 0, INT_MAX, &n) || fcntl((int)n, F_GETFD) < 0) {
		cli_fail_text(option, "it takes the number of an open descriptor",
			      "'%s' is no such descriptor", text);
		return -1;
	}
	*fd = (int)n;
	fcntl(*fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

static int take_pid(struct door *d, const char *text)
{
	long n;

	if (!parse_number(text, 1, INT_MAX, &n))
		return misuse(text, "is no process id");
	d->run.pid = (pid_t)n;
	return 0;
}

static int take_mtu(struct door *d, const char *text)
{
	if (!parse_number(text, 576, 65521, &d->mtu))
		return misuse(text, "is no MTU of a tap device (576 to 65521)");
	return 0;
}

static int take_publish(struct door *d, const char *text)
{
	d->publish.specs = cli_grow(d->publish.specs, d->publish.n, sizeof(*d->publish.specs));
	d->publish.specs[d->publish.n++] = cli_strdup(text);
	return 0;
}

static int take_path(struct door *d, const char *text)
{
	d->run.path = text;
	return 0;
}

static int take_ifname(struct door *d, const char *text)
{
	d->run.world.tap.ifname = text;
	return 0;
}

static int take_ready_fd(struct door *d, const char *text)
{
	return take_fd("-ready-fd", text, &d->run.ready_fd);
}

static int take_exit_fd(struct door *d, const char *text)
{
	return take_fd("-exit-fd", text, &d->run.exit_fd);
}

static int take_object(struct door *d, const char *text)
{
	session_add(&d->run.world.session, SESSION_OBJECT, text);
	return 0;
}

static int take_chardev(struct door *d, const char *text)
{
	session_add(&d->run.world.session, SESSION_CHARDEV, text);
	return 0;
}

static int take_qmp(struct door *d, const char *text)
{
	session_add(&d->run.world.session, SESSION_QMP, text);
	return 0;
}

static const struct run_option {
	const char *name;
	int (*take)(struct door *d, const char *text); /* 0, or -1 after an error message */
} run_options[] = {
	{ "p", take_publish },	{ "publish", take_publish },   { "netdev", take_netdev },
	{ "mtu", take_mtu },	{ "ifname", take_ifname },     { "pid", take_pid },
	{ "netns", take_path }, { "object", take_object },     { "chardev", take_chardev },
	{ "qmp", take_qmp },	{ "ready-fd", take_ready_fd }, { "exit-fd", take_exit_fd },
};

/* Words used, 0 to end with success, -1 after an error. */
static int take_option(struct door *d, int argc, char **argv)
{
	const char *name = argv[0] + (argv[0][1] == '-' ? 2 : 1);
	const struct run_option *o = NULL;
	size_t i;

	if (!strcmp(name, "help") || !strcmp(name, "h")) {
		fputs(run_usage, stdout);
		return 0;
	}
	if (!strcmp(name, "quiet")) {
		d->run.world.session.quiet = true;
		return 1;
	}
	if (!strcmp(name, "no-config")) {
		d->run.world.configure = d->run.world.resolv = false;
		return 1;
	}
	for (i = 0; i < array_size(run_options) && !o; i++)
		if (!strcmp(name, run_options[i].name))
			o = &run_options[i];
	if (!o)
		return misuse(argv[0], "invalid option");
	if (argc < 2)
		return misuse(argv[0], "requires an argument");
	if (cli_help_for(name, argv[1]))
		return 0;
	return o->take(d, argv[1]) ? -1 : 2;
}

/* 1 to go on, 0 to end with success, -1 after an error. */
static int take_options(struct door *d, int argc, char **argv)
{
	int i = 1, used;

	while (i < argc && argv[i][0] == '-' && strcmp(argv[i], "--")) {
		used = take_option(d, argc - i, argv + i);
		if (used <= 0)
			return used;
		i += used;
	}
	if (i < argc && !strcmp(argv[i], "--"))
		i++;
	if (i < argc)
		d->run.argv = argv + i;
	if (d->run.argv && (d->run.pid || d->run.path))
		return misuse(d->run.argv[0], "there is no COMMAND with -pid and -netns");
	if (d->run.pid && d->run.path)
		return misuse("-netns", "-pid names another namespace");
	return 1;
}

/* --- the network --- */

static int user_netdev(struct door *d)
{
	struct twx_error e = { 0 };
	char mtu[16];
	size_t i;

	snprintf(mtu, sizeof(mtu), "%ld", d->mtu ? d->mtu : RUN_MTU);
	if (kv_get(d->run.netdev, "mtu") && d->mtu)
		return misuse("-mtu", "the netdev has mtu= already");
	if (!kv_get(d->run.netdev, "mtu"))
		kv_set(d->run.netdev, "mtu", mtu);
	d->run.world.tap.mtu = (uint32_t)strtoul(kv_get(d->run.netdev, "mtu"), NULL, 10);
	/* A sandbox must not reach what listens on the host's loopback, unless it is told to. */
	if (!kv_get(d->run.netdev, "host-loopback") && run_user_has("host-loopback"))
		kv_set(d->run.netdev, "host-loopback", "off");
	for (i = 0; i < d->publish.n; i++) {
		if (run_publish(d->run.netdev, d->publish.specs[i], &e)) {
			cli_fail("-p", &e);
			return -1;
		}
	}
	return 0;
}

static int make_netdev(struct door *d)
{
	struct twx_error e = { 0 };
	const char *type;

	if (!d->run.netdev && kv_parse(&d->run.netdev, "user", "type", &e))
		return cli_fail("run", &e);
	type = kv_get(d->run.netdev, "type");
	if (type && !strcmp(type, "user")) {
		if (user_netdev(d))
			return 1;
	} else {
		if (d->publish.n)
			return misuse("-p", "only -netdev user publishes ports") ? 1 : 0;
		d->run.world.tap.mtu = (uint32_t)d->mtu;
	}
	return 0;
}

int cmd_run(int argc, char **argv)
{
	struct door d = { .mtu = 0 };
	int go, status;
	size_t i;

	run_init(&d.run, "run");
	go = take_options(&d, argc, argv);
	status = go < 0;
	if (go > 0 && !d.run.argv && !d.run.pid && !d.run.path)
		d.run.argv = run_shell();
	if (go > 0)
		status = make_netdev(&d) ? 1 : run_main(&d.run);
	run_end(&d.run);
	for (i = 0; i < d.publish.n; i++)
		free(d.publish.specs[i]);
	free(d.publish.specs);
	return status;
}
