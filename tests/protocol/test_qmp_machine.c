/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands about a machine, and NICs and backends that come and go, as a client meets them:
 * requests and answers in a table, in QMP and by hand. The machine is one of qtest's, which has no
 * CPU.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <jansson.h>
#include <twinax/machine.h>
#include <twinax/twinax.h>

#include "base/macros.h"
#include "control/machine.h"
#include "control/qmp.h"
#include "hosts/machine/machine.h"

struct ctx {
	struct twx_loop *loop;
	struct twx_net *net;
	struct control_machine vm;
	struct qmp_server *servers;
	char dir[40];
	char in[65536];
	size_t n_in;
	char events[512]; /* names, with a blank behind each */
};

static void event(void *opaque, enum twx_machine_event ev)
{
	struct ctx *c = opaque;

	machine_note_event(&c->vm, c->servers, ev);
}

/* One that could be started: nothing runs it here. */
static void write_kernel(const char *dir)
{
	struct {
		Elf64_Ehdr head;
		Elf64_Phdr ph[2];
		Elf64_Nhdr note;
		char name[4];
		uint32_t entry, pad;
	} k = {
		.head = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			  .e_type = ET_EXEC,
			  .e_machine = EM_X86_64,
			  .e_phoff = offsetof(__typeof__(k), ph),
			  .e_phentsize = sizeof(Elf64_Phdr),
			  .e_phnum = 2 },
		.ph = { { .p_type = PT_LOAD, .p_paddr = 16 << 20, .p_filesz = 64, .p_memsz = 64 },
			{ .p_type = PT_NOTE,
			  .p_offset = offsetof(__typeof__(k), note),
			  .p_filesz = sizeof(k) - offsetof(__typeof__(k), note),
			  .p_align = 4 } },
		.note = { 4, 8, 18 },
		.name = "Xen",
		.entry = 16 << 20,
	};
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/kernel", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(&k, sizeof(k), 1, f), 1);
	assert_int_equal(fclose(f), 0);
}

static int open_with(void **state, bool machine, bool kernel)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct ctx *c = calloc(1, sizeof(*c));
	struct twx_error e = { 0 };
	char text[80], path[64];

	assert_non_null(c);
	strcpy(c->dir, "/tmp/twinax-qmpm-XXXXXX");
	assert_non_null(mkdtemp(c->dir));
	assert_int_equal(twx_loop_new(&c->loop, NULL), 0);
	config.loop = c->loop;
	assert_int_equal(twx_net_new(&c->net, &config, NULL), 0);
	snprintf(text, sizeof(text), "unix:%s/t,server=on,wait=off", c->dir);
	snprintf(path, sizeof(path), "%s/kernel", c->dir);
	if (kernel)
		write_kernel(c->dir);
	if (machine) {
		struct twx_machine_config mc = { .size = sizeof(mc),
						 .net = c->net,
						 .accel = "qtest",
						 .memory = kernel ? 32 << 20 : 1 << 20,
						 .kernel = kernel ? path : NULL,
						 .qtest = text,
						 .qtest_log = "none",
						 .event = event,
						 .opaque = c };

		if (twx_machine_new(&c->vm.m, &mc, &e))
			fail_msg("%s", e.what);
		assert_int_equal(twx_machine_device(c->vm.m, "pcie-root-port,id=rp0", NULL), 0);
		c->vm.net = c->net;
		c->vm.name = "box";
	}
	snprintf(text, sizeof(text), "unix:%s/hmp", c->dir);
	assert_int_equal(hmp_server_add(&c->servers, c->net, text, NULL), 0);
	snprintf(text, sizeof(text), "unix:%s/qmp", c->dir);
	assert_int_equal(qmp_server_add(&c->servers, c->net, text, NULL), 0);
	qmp_servers_set_machine(c->servers, machine ? &c->vm : NULL);
	*state = c;
	return 0;
}

static int open_ctx(void **state, bool machine)
{
	return open_with(state, machine, false);
}

static int setup(void **state)
{
	return open_ctx(state, true);
}

static int setup_kernel(void **state)
{
	return open_with(state, true, true);
}

static int setup_bare(void **state)
{
	return open_ctx(state, false);
}

static int teardown(void **state)
{
	struct ctx *c = *state;
	char path[64];

	qmp_servers_free(c->servers);
	twx_machine_free(c->vm.m);
	machine_forget(&c->vm);
	twx_net_free(c->net);
	twx_loop_free(c->loop);
	snprintf(path, sizeof(path), "%s/state", c->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/kernel", c->dir);
	unlink(path);
	assert_int_equal(rmdir(c->dir), 0);
	free(c);
	return 0;
}

static int dial(struct ctx *c, const char *name)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s", c->dir, name);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Bytes up to and with @end; null when the server has closed. */
static char *hear(struct ctx *c, int fd, const char *end)
{
	char *at, *text;
	size_t len;
	ssize_t n;

	for (int tries = 0; tries < 500; tries++) {
		at = memmem(c->in, c->n_in, end, strlen(end));
		if (at) {
			len = (size_t)(at - c->in) + strlen(end);
			text = strndup(c->in, len);
			c->n_in -= len;
			memmove(c->in, c->in + len, c->n_in);
			return text;
		}
		n = recv(fd, c->in + c->n_in, sizeof(c->in) - c->n_in, 0);
		if (!n)
			return NULL;
		if (n > 0)
			c->n_in += (size_t)n;
		else
			twx_loop_poll(c->loop, 10);
	}
	fail_msg("no answer");
	return NULL;
}

/* The next answer; events before it are noted. */
static json_t *answer(struct ctx *c, int fd)
{
	for (;;) {
		char *line = hear(c, fd, "\r\n");
		json_t *m = line ? json_loads(line, 0, NULL) : NULL;
		const char *name = json_string_value(json_object_get(m, "event"));
		json_t *data = json_object_get(m, "data");

		free(line);
		if (!name)
			return m;
		assert_true(json_is_integer(
			json_object_get(json_object_get(m, "timestamp"), "seconds")));
		strcat(c->events, name);
		if (json_object_get(data, "device")) {
			strcat(c->events, "=");
			strcat(c->events, json_string_value(json_object_get(data, "device")));
		}
		if (json_is_false(json_object_get(data, "guest")))
			strcat(c->events, "(host)");
		strcat(c->events, " ");
		json_decref(m);
	}
}

static int client(struct ctx *c)
{
	int fd = dial(c, "qmp");
	json_t *m = answer(c, fd);

	assert_non_null(json_object_get(m, "QMP"));
	json_decref(m);
	say(fd, "{\"execute\":\"qmp_capabilities\"}");
	m = answer(c, fd);
	assert_non_null(json_object_get(m, "return"));
	json_decref(m);
	return fd;
}

struct exchange {
	const char *execute, *arguments; /* null: none */
	const char *ret;		 /* the answer's JSON, or */
	const char *class, *desc;
};

static void run(struct ctx *c, int fd, const struct exchange *x, size_t n)
{
	for (size_t i = 0; i < n; i++, x++) {
		char request[512];
		json_t *m, *e;
		char *got;

		snprintf(request, sizeof(request), "{\"execute\":\"%s\",\"arguments\":%s}",
			 x->execute, x->arguments ? x->arguments : "{}");
		/* Where the test's folder stands. */
		got = strstr(request, "DIR/");
		if (got) {
			char rest[256];

			strcpy(rest, got + 3);
			strcpy(got, c->dir);
			strcat(got, rest);
		}
		say(fd, request);
		m = answer(c, fd);
		e = json_object_get(m, "error");
		got = x->ret ? json_dumps(json_object_get(m, "return"),
					  JSON_COMPACT | JSON_SORT_KEYS)
			     : strdup(e ? json_string_value(json_object_get(e, "desc")) : "none");
		if (!got || strcmp(got, x->ret ? x->ret : x->desc))
			fail_msg("%s: got %s, wanted %s", request,
				 got ? got : json_string_value(json_object_get(e, "desc")),
				 x->ret ? x->ret : x->desc);
		if (!x->ret)
			assert_string_equal(json_string_value(json_object_get(e, "class")),
					    x->class);
		free(got);
		json_decref(m);
	}
}

#define RUN(c, fd, list) run(c, fd, list, array_size(list))
#define STATUS(running, name)                                                                      \
	"{\"running\":" running ",\"singlestep\":false,\"status\":\"" name "\"}"

static void test_life(void **state)
{
	static const struct exchange before[] = {
		{ "query-status", NULL, STATUS("false", "prelaunch") },
		{ "query-name", NULL, "{\"name\":\"box\"}" },
		{ "system_reset", NULL, "{}" },
		{ "system_powerdown", NULL, "{}" },
		{ "stop", NULL, "{}" },
		{ "query-status", NULL, STATUS("false", "prelaunch") },
		{ "x-twinax-save", "{\"path\":\"DIR/state\"}", NULL, "GenericError",
		  "the machine has not been started: there is nothing to save" },
		{ "x-twinax-save", NULL, NULL, "GenericError", "Parameter 'path' is missing" },
	};
	static const struct exchange after[] = {
		{ "cont", NULL, "{}" },
		{ "query-status", NULL, STATUS("true", "running") },
		{ "cont", NULL, "{}" },
		{ "stop", NULL, "{}" },
		{ "stop", NULL, "{}" },
		{ "query-status", NULL, STATUS("false", "paused") },
		{ "system_reset", NULL, "{}" },
		{ "query-status", NULL, STATUS("false", "paused") },
		{ "cont", NULL, "{}" },
		{ "system_reset", NULL, "{}" },
		{ "query-status", NULL, STATUS("true", "running") },
		{ "x-twinax-load", "{\"path\":\"DIR/state\"}", NULL, "GenericError",
		  "the machine has been started: a file is loaded before that, with -S or by "
		  "-loadvm" },
		{ "x-twinax-save", "{\"path\":\"DIR/state\"}", "{}" },
		{ "query-status", NULL, STATUS("true", "running") },
	};
	struct ctx *c = *state;
	int fd = client(c);

	RUN(c, fd, before);
	assert_string_equal(c->events, "");
	RUN(c, fd, after);
	assert_string_equal(c->events, "STOP RESET(host) RESUME RESET(host) ");
	close(fd);
}

/* The guest's own end; the machine can be started again. */
static void test_shutdown(void **state)
{
	static const struct exchange list[] = {
		{ "query-status", NULL, STATUS("false", "shutdown") },
		{ "cont", NULL, NULL, "GenericError", "Resetting the Virtual Machine is required" },
		{ "system_reset", NULL, "{}" },
		{ "query-status", NULL, STATUS("false", "paused") },
		{ "cont", NULL, "{}" },
		{ "query-status", NULL, STATUS("true", "running") },
	};
	static const struct exchange start[] = { { "cont", NULL, "{}" }, { "stop", NULL, "{}" } };
	struct ctx *c = *state;
	int fd = client(c);

	RUN(c, fd, start);
	event(c, TWX_MACHINE_SHUTDOWN);
	RUN(c, fd, list);
	event(c, TWX_MACHINE_PANIC);
	assert_int_equal(c->vm.state, MACHINE_PANICKED);
	event(c, TWX_MACHINE_RESET);
	say(fd, "{\"execute\":\"query-status\"}");
	json_decref(answer(c, fd));
	assert_string_equal(c->events, "STOP SHUTDOWN RESET(host) RESUME GUEST_PANICKED RESET ");
	close(fd);
}

/* A reset that does not find its kernel any more leaves nothing that runs, and says so. */
static void test_reset_fails(void **state)
{
	static const struct exchange start[] = { { "cont", NULL, "{}" } };
	static const struct exchange fails[] = {
		{ "query-status", NULL, STATUS("false", "internal-error") },
		{ "cont", NULL, NULL, "GenericError", "Resetting the Virtual Machine is required" },
	};
	static const struct exchange works[] = {
		{ "system_reset", NULL, "{}" },
		{ "cont", NULL, "{}" },
		{ "query-status", NULL, STATUS("true", "running") },
	};
	struct ctx *c = *state;
	int fd = client(c);
	char path[64];
	json_t *m;

	RUN(c, fd, start);
	snprintf(path, sizeof(path), "%s/kernel", c->dir);
	assert_int_equal(unlink(path), 0);
	say(fd, "{\"execute\":\"system_reset\"}");
	m = answer(c, fd);
	assert_non_null(json_object_get(m, "error"));
	json_decref(m);
	RUN(c, fd, fails);
	write_kernel(c->dir);
	RUN(c, fd, works);
	assert_string_equal(c->events, "GUEST_PANICKED RESET(host) RESUME ");
	close(fd);
}

/* CPUs without a kernel: after -loadvm alone, a reset has nothing to begin with. */
static void test_no_kernel(void **state)
{
	struct twx_net_config config = { .size = sizeof(config) };
	struct twx_machine_config mc = { .size = sizeof(mc), .accel = "kvm" };
	struct twx_error e = { 0 };
	struct twx_machine *m;
	struct twx_loop *loop;
	int rc;

	assert_int_equal(twx_loop_new(&loop, NULL), 0);
	assert_int_equal(twx_loop_share(loop), 0);
	config.loop = loop;
	assert_int_equal(twx_net_new(&mc.net, &config, NULL), 0);
	rc = twx_machine_new(&m, &mc, &e);
	if (rc == 0) {
		rc = twx_machine_start(m, &e);
		twx_machine_free(m);
	} else {
		rc = 1; /* no KVM here */
	}
	twx_net_free(mc.net);
	twx_loop_free(loop);
	if (rc == 1)
		skip();
	assert_int_equal(rc, -ENOENT);
	assert_string_equal(e.what, "there is no kernel to start");
}

/* A guest that asks for a reset again while it is being reset is not reset twice. */
static void test_reset_once(void **state)
{
	static const struct exchange start[] = { { "cont", NULL, "{}" } };
	static const struct exchange end[] = { { "query-status", NULL,
						 STATUS("true", "running") } };
	struct ctx *c = *state;
	int fd = client(c);

	RUN(c, fd, start);
	machine_ask(c->vm.m, MACHINE_ASK_RESET);
	assert_int_equal(twx_machine_reset(c->vm.m, NULL), 0);
	assert_true(twx_loop_poll(c->loop, 0) >= 0);
	RUN(c, fd, end);
	assert_string_equal(c->events, "RESET ");
	machine_ask(c->vm.m, MACHINE_ASK_RESET);
	assert_true(twx_loop_poll(c->loop, 0) >= 0);
	RUN(c, fd, end);
	assert_string_equal(c->events, "RESET RESET ");
	close(fd);
}

/* Where a reset is the end, it is so whoever asks. */
static void test_no_reboot(void **state)
{
	static const struct exchange start[] = { { "cont", NULL, "{}" } };
	static const struct exchange end[] = {
		{ "system_reset", NULL, "{}" },
		{ "query-status", NULL, STATUS("false", "shutdown") },
		{ "cont", NULL, NULL, "GenericError", "Resetting the Virtual Machine is required" },
	};
	struct ctx *c = *state;
	int fd = client(c);

	RUN(c, fd, start);
	c->vm.m->no_reboot = true;
	machine_ask(c->vm.m, MACHINE_ASK_RESET);
	RUN(c, fd, end);
	assert_string_equal(c->events, "SHUTDOWN(host) ");
	close(fd);
}

static void test_load(void **state)
{
	static const struct exchange save[] = {
		{ "cont", NULL, "{}" },
		{ "x-twinax-save", "{\"path\":\"DIR/state\"}", "{}" },
	};
	static const struct exchange none[] = {
		{ "x-twinax-load", "{\"path\":\"DIR/none\"}", NULL, "GenericError", NULL },
	};
	static const struct exchange load[] = {
		{ "query-status", NULL, STATUS("false", "prelaunch") },
		{ "x-twinax-load", "{\"path\":\"DIR/state\"}", "{}" },
		{ "query-status", NULL, STATUS("true", "running") },
	};
	struct exchange missing = none[0];
	struct ctx *c = *state, *other;
	char desc[160];
	void *two;
	int fd = client(c), fd2;

	open_ctx(&two, true);
	other = two;
	fd2 = client(other);
	RUN(c, fd, save);
	snprintf(desc, sizeof(desc), "cannot load %s/none: No such file or directory", other->dir);
	missing.desc = desc;
	run(other, fd2, &missing, 1);
	/* The other one reads what the first has written. */
	strcpy(desc, other->dir);
	strcpy(other->dir, c->dir);
	RUN(other, fd2, load);
	strcpy(other->dir, desc);
	close(fd);
	close(fd2);
	teardown(&two);
}

/* What a load that failed has left in memory is never run, nor mixed with another file's. */
static void test_load_cut(void **state)
{
	static const struct exchange save[] = {
		{ "cont", NULL, "{}" },
		{ "x-twinax-save", "{\"path\":\"DIR/state\"}", "{}" },
	};
	static const char left[] = "a load has failed and left memory half filled";
	static const struct exchange again[] = {
		{ "x-twinax-load", "{\"path\":\"DIR/state\"}", NULL, "GenericError", left },
		{ "cont", NULL, NULL, "GenericError", left },
		{ "query-status", NULL, STATUS("false", "prelaunch") },
	};
	struct exchange cut = { "x-twinax-load", "{\"path\":\"DIR/cut\"}", NULL, "GenericError",
				NULL };
	struct ctx *c = *state, *other;
	char desc[160], path[64];
	void *two;
	int fd = client(c), fd2;

	open_ctx(&two, true);
	other = two;
	fd2 = client(other);
	RUN(c, fd, save);
	snprintf(desc, sizeof(desc), "%s/state", c->dir);
	snprintf(path, sizeof(path), "%s/cut", other->dir);
	assert_int_equal(rename(desc, path), 0);
	assert_int_equal(truncate(path, 64), 0);
	snprintf(desc, sizeof(desc), "%s: the file was cut", path);
	cut.desc = desc;
	run(other, fd2, &cut, 1);
	assert_int_equal(unlink(path), 0);
	RUN(c, fd, save);
	snprintf(desc, sizeof(desc), "%s/state", c->dir);
	snprintf(path, sizeof(path), "%s/state", other->dir);
	assert_int_equal(rename(desc, path), 0);
	RUN(other, fd2, again);
	close(fd);
	close(fd2);
	teardown(&two);
}

/* server=off: we come to who listens, as QEMU does to its test clients. */
static void test_connects(void **state)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
	struct twx_error e = { 0 };
	struct ctx *c = *state;
	char text[160], *line;

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/theirs", c->dir);
	snprintf(text, sizeof(text), "unix:%s,server=off", sun.sun_path);
	assert_int_equal(qmp_server_add(&c->servers, c->net, text, &e), -ENOENT);
	assert_non_null(strstr(e.what, "cannot connect to"));
	assert_int_equal(bind(listener, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(qmp_server_add(&c->servers, c->net, text, &e), 0);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	line = hear(c, fd, "\r\n");
	assert_non_null(line);
	assert_non_null(strstr(line, "\"QMP\""));
	free(line);
	close(fd);
	close(listener);
	twx_loop_poll(c->loop, 0);
	assert_int_equal(unlink(sun.sun_path), 0); /* its own, and not ours to remove */
}

static void test_devices(void **state)
{
	static const struct exchange list[] = {
		{ "netdev_add", "{\"type\":\"user\",\"id\":\"n0\",\"restrict\":true}", "{}" },
		{ "netdev_add", "{\"type\":\"user\",\"id\":\"n0\"}", NULL, "GenericError",
		  "Duplicate ID 'n0'" },
		{ "netdev_add", "{\"type\":\"frob\",\"id\":\"n1\"}", NULL, "GenericError",
		  "Parameter 'type' does not accept value 'frob'" },
		{ "netdev_add", "{\"type\":\"user\",\"id\":\"n1\",\"frob\":1}", NULL,
		  "GenericError", "Parameter 'frob' is unexpected" },
		{ "netdev_add", "{\"type\":\"user\"}", NULL, "GenericError",
		  "Parameter 'id' is missing" },
		{ "netdev_add", "{\"id\":\"x\"}", NULL, "GenericError",
		  "Parameter 'type' is missing" },
		{ "netdev_add", "{\"type\":\"user\",\"id\":\"7up\"}", NULL, "GenericError",
		  "Parameter 'id' expects an identifier" },
		{ "netdev_add", "{\"type\":\"hubport\",\"id\":\"hub3port0\",\"hubid\":3}", "{}" },
		{ "netdev_del", "{\"id\":\"hub3port0\"}", NULL, "GenericError",
		  "Device 'hub3port0' is not a netdev" },
		{ "netdev_del", "{\"id\":\"zz\"}", NULL, "DeviceNotFound",
		  "Device 'zz' not found" },
		{ "device_add", "{\"driver\":\"e1000\",\"id\":\"c0\",\"netdev\":\"n0\"}", "{}" },
		{ "netdev_del", "{\"id\":\"c0\"}", NULL, "DeviceNotFound",
		  "Device 'c0' not found" },
		{ "device_add", "{\"driver\":\"e1000\",\"id\":\"c0\"}", NULL, "GenericError",
		  "Duplicate device ID 'c0'" },
		{ "device_add", "{\"driver\":\"e1000\",\"id\":\"c1\",\"netdev\":\"n0\"}", NULL,
		  "GenericError", "Property 'e1000.netdev' can't take value 'n0', it's in use" },
		{ "device_add", "{\"driver\":\"e1000\",\"netdev\":\"zz\"}", NULL, "GenericError",
		  "Property 'e1000.netdev' can't find value 'zz'" },
		{ "device_add", "{\"driver\":\"frob\"}", NULL, "GenericError",
		  "'frob' is not a valid device model name" },
		{ "device_add", "{\"driver\":\"pcie-root-port\",\"id\":\"rp1\",\"bus\":\"rp0\"}",
		  NULL, "GenericError", "Bus 'rp0' not found" },
		{ "device_add", "{\"driver\":\"pcie-root-port\",\"id\":\"rp1\"}", "{}" },
		{ "device_del", "{\"id\":\"zz\"}", NULL, "DeviceNotFound",
		  "Device 'zz' not found" },
		{ "device_del", "{\"id\":\"c0\"}", "{}" },
		{ "device_del", "{\"id\":\"c0\"}", NULL, "DeviceNotFound",
		  "Device 'c0' not found" },
		{ "cont", NULL, "{}" },
		{ "device_add", "{\"driver\":\"pcie-root-port\",\"id\":\"rp2\"}", NULL,
		  "GenericError", "Bus 'pcie.0' does not support hotplugging" },
		{ "device_add",
		  "{\"driver\":\"virtio-net-pci\",\"id\":\"c2\",\"netdev\":\"n0\",\"bus\":\"rp1\"}",
		  "{}" },
		{ "device_del", "{\"id\":\"c2\"}", "{}" },
		{ "netdev_del", "{\"id\":\"n0\"}", "{}" },
		{ "netdev_del", "{\"id\":\"n0\"}", NULL, "DeviceNotFound",
		  "Device 'n0' not found" },
		{ "query-status", NULL, STATUS("true", "running") },
	};
	struct ctx *c = *state;
	int fd = client(c);

	RUN(c, fd, list);
	assert_string_equal(c->events, "DEVICE_DELETED=c0 DEVICE_DELETED=c2 ");
	assert_int_equal(c->vm.n_leaving, 0);
	close(fd);
}

/* What a CPU would do, by the qtest protocol. */
static void cpu_does(struct ctx *c, int fd, const char *command)
{
	char *text;

	say(fd, command);
	text = hear(c, fd, "\n");
	assert_int_equal(strncmp(text, "OK", 2), 0);
	free(text);
}

/* A guest that does not answer is asked again once the button's press is old. */
static void test_ask_again(void **state)
{
	static const struct exchange list[] = {
		{ "netdev_add", "{\"type\":\"user\",\"id\":\"n0\"}", "{}" },
		{ "device_add",
		  "{\"driver\":\"virtio-net-pci\",\"id\":\"c\",\"netdev\":\"n0\",\"bus\":\"rp0\"}",
		  "{}" },
		{ "cont", NULL, "{}" },
	};
	static const struct exchange ask[] = { { "device_del", "{\"id\":\"c\"}", "{}" } };
	static const struct exchange busy[] = {
		{ "device_del", "{\"id\":\"c\"}", NULL, "GenericError",
		  "Device c is already in the process of unplug" },
	};
	static const struct exchange end[] = {
		{ "system_reset", NULL, "{}" },
		{ "query-status", NULL, STATUS("true", "running") },
		{ "device_del", "{\"id\":\"c\"}", NULL, "DeviceNotFound", "Device 'c' not found" },
	};
	struct ctx *c = *state;
	int fd = client(c), cpu = dial(c, "t");

	RUN(c, fd, list);
	/* Bus 1 lies behind the port; what is there decodes memory, so that it is in use. */
	cpu_does(c, cpu, "outl 0xcf8 0x80001018\n");
	cpu_does(c, cpu, "outl 0xcfc 0x00010100\n");
	cpu_does(c, cpu, "outl 0xcf8 0x80010004\n");
	cpu_does(c, cpu, "outw 0xcfc 2\n");
	RUN(c, fd, ask);
	RUN(c, fd, busy);
	cpu_does(c, cpu, "clock_step 6000000000\n");
	RUN(c, fd, ask);
	RUN(c, fd, busy);
	assert_string_equal(c->events, "");
	RUN(c, fd, end);
	assert_string_equal(c->events, "RESET(host) DEVICE_DELETED=c ");
	assert_int_equal(c->vm.n_leaving, 0);
	close(cpu);
	close(fd);
}

/* What only a machine has, where there is none. */
static void test_bare(void **state)
{
	static const char none[] = "there is no machine in this process, only its network";
	static const struct exchange list[] = {
		{ "stop", NULL, NULL, "GenericError", none },
		{ "cont", NULL, NULL, "GenericError", none },
		{ "system_reset", NULL, NULL, "GenericError", none },
		{ "system_powerdown", NULL, NULL, "GenericError", none },
		{ "x-twinax-save", "{\"path\":\"x\"}", NULL, "GenericError", none },
		{ "x-twinax-load", "{\"path\":\"x\"}", NULL, "GenericError", none },
		{ "query-status", NULL, STATUS("true", "running") },
		{ "query-name", NULL, "{}" },
		{ "netdev_add", "{\"type\":\"user\",\"id\":\"n0\"}", "{}" },
		{ "device_add", "{\"driver\":\"e1000\",\"id\":\"c0\",\"netdev\":\"n0\"}", "{}" },
		{ "netdev_del", "{\"id\":\"n0\"}", "{}" },
		{ "device_del", "{\"id\":\"c0\"}", "{}" },
	};
	struct ctx *c = *state;
	int fd = client(c);

	RUN(c, fd, list);
	assert_string_equal(c->events, "");
	close(fd);
}

static void test_human(void **state)
{
	static const struct {
		const char *line, *answer;
	} lines[] = {
		{ "info status\n", "VM status: paused (prelaunch)\r\n" },
		{ "info name\r\n", "box\r\n" },
		{ "cont\n", "" },
		{ "info status\n", "VM status: running\r\n" },
		{ "stop\n", "" },
		{ "info status\n", "VM status: paused\r\n" },
		{ "\n", "" },
		{ "frob\n", "unknown command: 'frob'\r\n" },
		{ "netdev_add user,id=n0\n", "" },
		{ "netdev_add user\n", "Error: Parameter 'id' is missing\r\n" },
		{ "netdev_add user,id=n0\n", "Error: Duplicate ID 'n0'\r\n" },
		{ "netdev_add\n", "Expected one argument\r\nTry \"help netdev_add\" for more "
				  "information\r\n" },
		{ "device_add virtio-net-pci,netdev=n0,id=c,bus=rp0\n", "" },
		{ "device_del c\n", "" },
		{ "device_del c\n", "Error: Device 'c' not found\r\n" },
		{ "netdev_del n0\n", "" },
		{ "netdev_del n0\n", "Error: Device 'n0' not found\r\n" },
		{ "system_reset\n", "" },
		{ "system_powerdown\n", "" },
		{ "load x\n", "Error: the machine has been started: a file is loaded before that, "
			      "with -S or by -loadvm\r\n" },
		{ "help stop\n", "stop -- pause the machine\r\n" },
	};
	struct ctx *c = *state;
	int fd = dial(c, "hmp");
	char *text = hear(c, fd, "(qemu) ");

	assert_non_null(strstr(text, "type 'help'"));
	free(text);
	for (size_t i = 0; i < array_size(lines); i++) {
		say(fd, lines[i].line);
		text = hear(c, fd, "(qemu) ");
		text[strlen(text) - strlen("(qemu) ")] = '\0';
		if (strcmp(text, lines[i].answer))
			fail_msg("%s: %s", lines[i].line, text);
		free(text);
	}
	close(fd);
}

/* Halves of lines, many at once, too much, what is no text. */
static void test_human_pieces(void **state)
{
	static const char odd[] = "\n\0\n\xff\xfe\ninfo name\n";
	struct ctx *c = *state;
	int fd = dial(c, "hmp");
	char junk[5000], *text;

	free(hear(c, fd, "(qemu) "));
	say(fd, "info na");
	for (int i = 0; i < 5; i++)
		twx_loop_poll(c->loop, 0);
	say(fd, "me\ninfo name\ninfo");
	for (int i = 0; i < 2; i++) {
		text = hear(c, fd, "(qemu) ");
		assert_string_equal(text, "box\r\n(qemu) ");
		free(text);
	}
	say(fd, " name\n");
	text = hear(c, fd, "(qemu) ");
	assert_string_equal(text, "box\r\n(qemu) ");
	free(text);
	memset(junk, 'x', sizeof(junk) - 1);
	junk[sizeof(junk) - 1] = '\0';
	say(fd, junk);
	for (int i = 0; i < 5; i++)
		twx_loop_poll(c->loop, 0);
	assert_int_equal(send(fd, odd, sizeof(odd) - 1, 0), sizeof(odd) - 1);
	do {
		text = hear(c, fd, "(qemu) ");
		assert_non_null(text);
		if (!strcmp(text, "box\r\n(qemu) "))
			break;
		free(text);
	} while (true);
	free(text);
	close(fd);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_life),
		T(test_shutdown),
		T(test_load),
		T(test_load_cut),
		T(test_connects),
		T(test_devices),
		T(test_ask_again),
		T(test_reset_once),
		T(test_no_reboot),
		cmocka_unit_test(test_no_kernel),
		cmocka_unit_test_setup_teardown(test_reset_fails, setup_kernel, teardown),
		cmocka_unit_test_setup_teardown(test_bare, setup_bare, teardown),
		T(test_human),
		T(test_human_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
