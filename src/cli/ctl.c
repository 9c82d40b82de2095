/* SPDX-License-Identifier: BSD-3-Clause */
/* `twinax ctl`: one command to a control socket, its answer on stdout. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/cli.h"
#include "control/commands.h"

static const char ctl_usage[] =
	"usage: twinax ctl PATH COMMAND [ARGUMENT...]\n"
	"\n"
	"PATH is the control socket of a running `twinax serve` or `vm`, -qmp unix:PATH. COMMAND "
	"is one of\n"
	"  a line of the human monitor     twinax ctl PATH info network\n"
	"  a QMP command and its arguments twinax ctl PATH set_link name=n0 up=off\n"
	"  raw QMP                         twinax ctl PATH '{\"execute\": \"query-stats\"}'\n"
	"The exit status is 0 if the command succeeded, 1 if it or the connection failed.\n"
	"\n"
	"QMP commands:\n";

static void print_usage(void)
{
	const struct qmp_command *cmd;
	int i;

	fputs(ctl_usage, stdout);
	for (cmd = qmp_commands; cmd->name; cmd++) {
		printf("  %-22s %s\n", cmd->name, cmd->help);
		for (i = 0; i < QMP_MAX_ARGS && cmd->args[i].name; i++)
			printf("    %s=%s%s\n", cmd->args[i].name, cmd->args[i].help,
			       cmd->args[i].optional ? "; may be left out" : "");
	}
	printf("Human monitor: twinax ctl PATH help\n");
}

static int parse_bool(const char *text)
{
	if (!strcmp(text, "on") || !strcmp(text, "true") || !strcmp(text, "yes"))
		return 1;
	if (!strcmp(text, "off") || !strcmp(text, "false") || !strcmp(text, "no"))
		return 0;
	return -1;
}

/* The value as the command's table wants it; what does not fit goes as text and the server
 * complains. */
static json_t *arg_value(const struct qmp_command *cmd, const char *key, const char *text)
{
	enum qmp_arg_type type = QMP_STR;
	long long n;
	char *end;
	int i;

	for (i = 0; i < QMP_MAX_ARGS && cmd->args[i].name; i++)
		if (!strcmp(cmd->args[i].name, key))
			type = cmd->args[i].type;
	if (type == QMP_BOOL && parse_bool(text) >= 0)
		return json_boolean(parse_bool(text));
	if (type == QMP_INT) {
		errno = 0;
		n = strtoll(text, &end, 0);
		if (!errno && end != text && !*end)
			return json_integer(n);
	}
	return qmp_text(text);
}

static json_t *qmp_request(const struct qmp_command *cmd, int argc, char **argv)
{
	json_t *args = json_object();
	char *eq;
	int i;

	for (i = 0; i < argc; i++) {
		eq = strchr(argv[i], '=');
		*eq = 0;
		json_object_set_new(args, argv[i], arg_value(cmd, argv[i], eq + 1));
	}
	return json_pack("{ssso}", "execute", cmd->name, "arguments", args);
}

static json_t *hmp_request(int argc, char **argv)
{
	char line[4096] = "";
	size_t n = 0;
	int i;

	for (i = 0; i < argc && n < sizeof(line); i++)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "%s%s", i ? " " : "", argv[i]);
	if (n >= sizeof(line))
		return NULL;
	return json_pack("{sss{so}}", "execute", "human-monitor-command", "arguments",
			 "command-line", qmp_text(line));
}

/* "key=value", and not an option list of the human monitor's, "user,id=n0". */
static bool is_member(const char *word)
{
	return word[strcspn(word, "=,")] == '=';
}

/* Null with a message printed if the words make no request. */
static json_t *make_request(int argc, char **argv)
{
	const struct qmp_command *cmd = qmp_command_find(argv[0]);
	json_error_t je;
	json_t *req;
	int i;

	if (argv[0][0] == '{') {
		req = json_loads(argv[0], 0, &je);
		if (!req || argc > 1)
			cli_fail_text("ctl", "quote the whole object for the shell",
				      "this is not one JSON object: %s", req ? argv[1] : je.text);
		if (req && argc > 1) {
			json_decref(req);
			req = NULL;
		}
		return req;
	}
	for (i = 1; i < argc && is_member(argv[i]); i++)
		;
	req = cmd && i == argc ? qmp_request(cmd, argc - 1, argv + 1) : hmp_request(argc, argv);
	if (!req)
		cli_fail_text("ctl", NULL, "the command is too long");
	return req;
}

static int ctl_connect(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	const char *hint = "it is opened by: twinax serve (or vm) -qmp unix:PATH ...";
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path)) {
		cli_fail_text("ctl", NULL, "the path of the control socket is too long");
		return -1;
	}
	memcpy(sun.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof(sun))) {
		cli_fail_text("ctl", hint, "cannot connect to %s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* The next message that is no event; null when the connection ends or sends no JSON. */
static json_t *next_message(FILE *f)
{
	json_t *m;

	while ((m = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)) != NULL) {
		if (!json_object_get(m, "event"))
			return m;
		json_decref(m);
	}
	return NULL;
}

static int send_all(int fd, const char *text, size_t len)
{
	ssize_t n;

	while (len) {
		n = send(fd, text, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static json_t *exchange(int fd, FILE *f, const json_t *req)
{
	char *text = json_dumps(req, JSON_COMPACT);
	json_t *m = NULL;

	if (text && !send_all(fd, text, strlen(text)))
		m = next_message(f);
	free(text);
	return m;
}

/* The human monitor tells failures in words alone. */
static bool is_hmp_error(const char *text)
{
	static const char *const words[] = { "Error: ",
					     "unknown command",
					     "Expected ",
					     "too many words",
					     "Invalid host forwarding rule ",
					     "Could not set up host forwarding rule ",
					     "unrecognized netdev id ",
					     "invalid device specified",
					     "invalid format",
					     "user mode network stack not in use" };
	static const char fwd[] = "host forwarding rule for ", missing[] = " not found\r\n";
	size_t i, len = strlen(text);

	for (i = 0; i < array_size(words); i++)
		if (!strncmp(text, words[i], strlen(words[i])))
			return true;
	return !strncmp(text, fwd, strlen(fwd)) && len > strlen(missing) &&
	       !strcmp(text + len - strlen(missing), missing);
}

/* Text as text, without the carriage returns; nothing for {}; the rest as JSON. The exit status. */
static int print_return(const json_t *ret)
{
	const char *p = json_string_value(ret);
	bool failed = p && is_hmp_error(p);

	if (p) {
		for (; *p; p++)
			if (*p != '\r')
				fputc(*p, failed ? stderr : stdout);
	} else if (!json_is_object(ret) || json_object_size(ret)) {
		json_dumpf(ret, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	return failed ? 1 : 0;
}

static int print_answer(const json_t *m)
{
	const json_t *error = json_object_get(m, "error");
	const char *desc = json_string_value(json_object_get(error, "desc"));

	if (error)
		return cli_fail_text("ctl", NULL, "%s", desc ? desc : "the command failed");
	return print_return(json_object_get(m, "return"));
}

static int ctl_talk(int fd, const json_t *req)
{
	json_t *hello, *greeting, *m = NULL;
	FILE *f = fdopen(fd, "r");
	int status;

	if (!f) {
		close(fd);
		return cli_fail_text("ctl", NULL, "out of memory");
	}
	greeting = next_message(f);
	hello = json_pack("{ss}", "execute", "qmp_capabilities");
	if (json_object_get(greeting, "QMP"))
		m = exchange(fd, f, hello);
	json_decref(hello);
	if (json_object_get(m, "return")) {
		json_decref(m);
		m = exchange(fd, f, req);
	}
	status = m ? print_answer(m)
		   : cli_fail_text("ctl", NULL, "the connection ended without an answer");
	json_decref(m);
	json_decref(greeting);
	fclose(f);
	return status;
}

int cmd_ctl(int argc, char **argv)
{
	json_t *req;
	int fd, status;

	if (argc >= 2 &&
	    (!strcmp(argv[1], "-help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		print_usage();
		return 0;
	}
	if (argc < 3)
		return cli_fail_text("ctl", "try: twinax help ctl",
				     "needs a socket's path and a command");
	req = make_request(argc - 2, argv + 2);
	if (!req)
		return 1;
	fd = ctl_connect(argv[1]);
	status = fd < 0 ? 1 : ctl_talk(fd, req);
	json_decref(req);
	return status;
}
