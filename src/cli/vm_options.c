/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options of `twinax vm` whose values have keys of their own, each by a table. A key that is in
 * QEMU and not in the table is something that our machine does not have; a key with one word in it
 * asks for what is there anyway.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/vm_args.h"

static int hint_qemu(struct twx_error *e)
{
	if (e && !e->hint[0])
		twx_error_hint(e,
			       "what this machine does not have is in QEMU, with our NICs: twinax "
			       "help qemu");
	return e ? -e->code : -EINVAL;
}

/* Null with an error where @value does not fit @table. */
static struct twx_opts *read_list(const char *value, const char *implied,
				  const struct twx_opt_desc *table, struct twx_error *e)
{
	struct twx_opts *o = NULL;

	if (!twx_opts_parse(&o, value, implied, e) && !twx_opts_check(o, table, e))
		return o;
	twx_opts_free(o);
	hint_qemu(e);
	return NULL;
}

/* Text of a list that is gone when its option has been read. */
static const char *keep(struct vm_args *a, const char *text)
{
	return text ? qemu_keep(&a->plan, cli_strdup(text)) : NULL;
}

/* -accel, -machine. */

static const struct twx_opt_desc accel_options[] = {
	{ .name = "accel", .type = TWX_OPT_STR, .required = true },
	{ .name = "binary", .type = TWX_OPT_STR },
	{ .name = "kernel-irqchip", .type = TWX_OPT_ENUM, .words = "on" },
	{ 0 },
};

static const struct {
	const char *name;
	enum vm_accel accel;
	bool tcg;
} accel_names[] = {
	{ "kvm", VM_KVM, false },
	{ "qemu", VM_QEMU, false },
	{ "tcg", VM_QEMU, true },
	{ "qtest", VM_QTEST, false },
};

static int add_accel(struct vm_args *a, const char *name, size_t len, struct twx_error *e)
{
	size_t i;

	for (i = 0; i < array_size(accel_names); i++) {
		if (strlen(accel_names[i].name) != len || strncmp(accel_names[i].name, name, len))
			continue;
		if (a->n_accels == VM_MAX_ACCELS)
			return twx_error_set(e, E2BIG, "more than %d accelerators", VM_MAX_ACCELS);
		a->accels[a->n_accels++] = accel_names[i].accel;
		a->tcg |= accel_names[i].tcg;
		return 0;
	}
	twx_error_set(e, EINVAL, "invalid accelerator %.*s", (int)len, name);
	return twx_error_hint(e, "there are kvm, qemu (CPU and memory of a QEMU, tcg is the same "
				 "without KVM) and qtest");
}

/* "kvm:tcg": the first that works. */
static int add_accels(struct vm_args *a, const char *list, struct twx_error *e)
{
	int ret;

	for (;;) {
		size_t len = strcspn(list, ":");

		ret = add_accel(a, list, len, e);
		if (ret || !list[len])
			return ret;
		list += len + 1;
	}
}

int vm_take_accel(struct vm_args *a, const char *value, struct twx_error *e)
{
	struct twx_opts *o = read_list(value, "accel", accel_options, e);
	const char *binary;
	int ret;

	if (!o)
		return e ? -e->code : -EINVAL;
	binary = twx_opts_str(o, "binary");
	ret = add_accels(a, twx_opts_str(o, "accel"), e);
	if (!ret && binary && a->accels[a->n_accels - 1] != VM_QEMU)
		ret = twx_error_set(e, EINVAL, "binary= is the QEMU of -accel qemu");
	if (binary)
		a->binary = keep(a, binary);
	twx_opts_free(o);
	return ret;
}

#define FIXED(key, value)                                                                          \
	{                                                                                          \
		.name = key, .type = TWX_OPT_ENUM, .words = value                                  \
	}
static const struct twx_opt_desc machine_options[] = {
	{ .name = "type", .type = TWX_OPT_STR },
	{ .name = "accel", .type = TWX_OPT_STR },
	FIXED("acpi", "on|auto"),
	FIXED("dump-guest-core", "on"),
	FIXED("graphics", "off"),
	FIXED("hpet", "off"),
	FIXED("i8042", "on"),
	FIXED("kernel-irqchip", "on"),
	FIXED("kernel_irqchip", "on"),
	FIXED("nvdimm", "off"),
	FIXED("pic", "on|auto"),
	FIXED("pit", "on|auto"),
	FIXED("sata", "off"),
	FIXED("smbus", "off"),
	FIXED("smm", "off|auto"),
	FIXED("usb", "off"),
	FIXED("vmport", "off|auto"),
	{ 0 },
};

static bool is_pc(const char *type)
{
	static const char *const versions[] = { "pc-i440fx-", "pc-q35-" };
	size_t i;

	for (i = 0; i < array_size(versions); i++)
		if (!strncmp(type, versions[i], strlen(versions[i])))
			return true;
	return !strcmp(type, "pc") || !strcmp(type, "q35");
}

int vm_take_machine(struct vm_args *a, const char *value, struct twx_error *e)
{
	struct twx_opts *o = read_list(value, "type", machine_options, e);
	const char *type, *accel;
	int ret = 0;

	if (!o)
		return e ? -e->code : -EINVAL;
	type = twx_opts_str(o, "type");
	accel = twx_opts_str(o, "accel");
	if (type && !is_pc(type)) {
		ret = twx_error_set(e, ENOTSUP, "the machine here is a PC (pc or q35), not '%s'",
				    type);
		hint_qemu(e);
	} else if (type) {
		a->machine = keep(a, type);
	}
	if (!ret && accel)
		ret = add_accels(a, accel, e);
	twx_opts_free(o);
	return ret;
}

/* -m, -smp. */

#define PAGE 4096ull
#define MAX_MEMORY (508ull << 30) /* up to PCI's window above 4 GiB */

int vm_take_memory(struct vm_args *a, const char *value, struct twx_error *e)
{
	static const struct twx_opt_desc table[] = {
		{ .name = "size", .type = TWX_OPT_STR, .required = true },
		FIXED("slots", "0"),
		{ 0 },
	};
	struct twx_opts *o = read_list(value, "size", table, e);
	const char *text;
	uint64_t size;
	int ret = 0;

	if (!o)
		return e ? -e->code : -EINVAL;
	text = twx_opts_str(o, "size");
	size = qemu_read_size(text);
	/* QEMU's way to say "as much as by default". */
	if (!size && strspn(text, "0") != strlen(text)) {
		ret = twx_error_set(e, EINVAL, "Parameter 'size' expects a size, not '%s'", text);
		twx_error_hint(e, "a number of MiB, or one with a suffix: 512, 512M, 2G");
	} else if (size > MAX_MEMORY) {
		ret = twx_error_set(e, E2BIG,
				    "%s is more than this machine can have, which is 508G", text);
	}
	a->memory = (size + PAGE - 1) / PAGE * PAGE;
	twx_opts_free(o);
	return ret;
}

static const struct twx_opt_desc smp_options[] = {
	{ .name = "cpus", .type = TWX_OPT_INT, .min = 1, .max = 8 },
	{ .name = "maxcpus", .type = TWX_OPT_INT, .min = 1, .max = 8 },
	{ .name = "sockets", .type = TWX_OPT_INT, .def = "1", .min = 1, .max = 8 },
	{ .name = "cores", .type = TWX_OPT_INT, .def = "1", .min = 1, .max = 8 },
	FIXED("dies", "1"),
	FIXED("clusters", "1"),
	FIXED("threads", "1"),
	{ 0 },
};

int vm_take_smp(struct vm_args *a, const char *value, struct twx_error *e)
{
	struct twx_opts *o = read_list(value, "cpus", smp_options, e);
	int64_t cpus, max, product;
	bool topology;
	int ret = 0;

	if (!o)
		return e ? -e->code : -EINVAL;
	topology = twx_opts_given(o, "sockets") || twx_opts_given(o, "cores");
	product = twx_opts_int(o, "sockets") * twx_opts_int(o, "cores");
	max = twx_opts_int(o, "maxcpus");
	cpus = twx_opts_int(o, "cpus");
	if (!cpus)
		cpus = max ? max : product;
	if (max && max != cpus)
		ret = twx_error_set(e, ENOTSUP,
				    "CPUs cannot be plugged in later: maxcpus=%d is not "
				    "cpus=%d",
				    (int)max, (int)cpus);
	else if (topology && (twx_opts_given(o, "sockets") ? product != cpus : cpus % product))
		ret = twx_error_set(e, EINVAL, "Invalid CPU topology: sockets * cores is not %d",
				    (int)cpus);
	else if (cpus > 8)
		ret = twx_error_set(e, E2BIG, "%d CPUs are more than the 8 of this machine",
				    (int)cpus);
	a->n_cpus = (unsigned int)cpus;
	twx_opts_free(o);
	return ret;
}

/* -name, -rtc, -incoming. */

int vm_take_name(struct vm_args *a, const char *value, struct twx_error *e)
{
	static const struct twx_opt_desc table[] = {
		{ .name = "guest", .type = TWX_OPT_STR },
		{ .name = "process", .type = TWX_OPT_STR },
		FIXED("debug-threads", "off"),
		{ 0 },
	};
	struct twx_opts *o = read_list(value, "guest", table, e);

	if (!o)
		return e ? -e->code : -EINVAL;
	a->name = keep(a, twx_opts_str(o, "guest"));
	a->process = keep(a, twx_opts_str(o, "process"));
	twx_opts_free(o);
	return 0;
}

int vm_take_rtc(struct vm_args *a, const char *value, struct twx_error *e)
{
	static const struct twx_opt_desc table[] = {
		FIXED("base", "utc"),
		FIXED("clock", "host"),
		FIXED("driftfix", "none"),
		{ 0 },
	};
	struct twx_opts *o = read_list(value, NULL, table, e);

	if (!o)
		return e ? -e->code : -EINVAL;
	twx_opts_free(o);
	return 0;
}

int vm_take_incoming(struct vm_args *a, const char *value, struct twx_error *e)
{
	if (strncmp(value, "file:", 5) || !value[5]) {
		twx_error_set(e, ENOTSUP, "a machine is loaded from a file here");
		return twx_error_hint(e, "write -incoming file:PATH, or -loadvm PATH");
	}
	a->load = value + 5;
	return 0;
}

/* -serial, -monitor, -echr. */

/* "file:PATH" and the like as -chardev has it. */
static const struct {
	const char *begin, *chardev;
	bool list; /* keys may stand behind the path */
} serial_kinds[] = {
	{ "null", "null", false },
	{ "file:", "file", false },
	{ "pipe:", "pipe", false },
	{ "unix:", "socket", true },
};

/* A chardev of the option's own; its id, or null. */
static const char *serial_chardev(struct vm_args *a, const char *value)
{
	struct kv *kv, *keys;
	const char *id;
	size_t i, k;

	for (i = 0; i < array_size(serial_kinds); i++)
		if (!strncmp(value, serial_kinds[i].begin, strlen(serial_kinds[i].begin)))
			break;
	if (i == array_size(serial_kinds) || (!i && value[strlen(serial_kinds[i].begin)]))
		return NULL;
	value += strlen(serial_kinds[i].begin);
	id = qemu_fresh_id(&a->plan, "serial");
	kv = kv_new("backend");
	kv_set(kv, "backend", serial_kinds[i].chardev);
	if (serial_kinds[i].list && !kv_parse(&keys, value, "path", NULL)) {
		for (k = 0; k < keys->n; k++)
			kv_add(kv, &keys->pairs[k]);
		kv_free(keys);
	} else if (*value) {
		kv_set(kv, "path", value);
	}
	kv_set(kv, "id", id);
	vm_args_add(a, SESSION_CHARDEV, kv_text(kv));
	kv_free(kv);
	return id;
}

static int take_stdio(struct vm_args *a, struct twx_error *e)
{
	if (a->stdio_taken)
		return twx_error_set(e, EBUSY, "cannot use stdio by multiple character devices");
	a->stdio_taken = true;
	return 0;
}

int vm_take_serial(struct vm_args *a, const char *value, struct twx_error *e)
{
	struct vm_serial *s = &a->serial[a->n_serials];

	if (a->n_serials == VM_SERIALS)
		return twx_error_set(e, E2BIG, "this machine has %d serial ports", VM_SERIALS);
	a->n_serials++;
	*s = (struct vm_serial){ .text = value };
	if (!strcmp(value, "none"))
		return 0;
	if (!strcmp(value, "stdio") || !strcmp(value, "mon:stdio")) {
		if (take_stdio(a, e))
			return -EBUSY;
		s->kind = VM_SERIAL_STDIO;
		return 0;
	}
	s->kind = VM_SERIAL_CHARDEV;
	if (!strncmp(value, "chardev:", 8))
		s->id = value + 8;
	else
		s->id = serial_chardev(a, value);
	if (s->id && *s->id)
		return 0;
	twx_error_set(e, EINVAL, "there is no such serial device");
	return twx_error_hint(e, "it takes stdio, none, null, file:PATH, pipe:PATH, "
				 "unix:PATH,server=on,wait=off or chardev:ID");
}

int vm_take_monitor(struct vm_args *a, const char *value, struct twx_error *e)
{
	if (!strcmp(value, "none")) {
		a->monitor = VM_MONITOR_NONE;
	} else if (!strcmp(value, "stdio")) {
		if (take_stdio(a, e))
			return -EBUSY;
		a->monitor = VM_MONITOR_STDIO;
	} else if (!strncmp(value, "unix:", 5)) {
		a->monitor = VM_MONITOR_SOCKET;
		a->monitor_socket = value;
	} else {
		twx_error_set(e, ENOTSUP, "there is no such monitor");
		return twx_error_hint(e, "it takes none, stdio or unix:PATH,server=on,wait=off");
	}
	return 0;
}

/* The path of the -chardev socket @id, with its other keys; null: there is none. */
static char *chardev_socket(const struct vm_args *a, const char *id)
{
	char *found = NULL;
	size_t i;

	for (i = 0; i < a->args.n && !found; i++) {
		const struct qemu_token *t = &a->args.tokens[i];
		struct kv *kv;

		if (!t->value || !qemu_token_is(t, "chardev") ||
		    kv_parse(&kv, t->value, "backend", NULL))
			continue;
		if (kv_get(kv, "id") && !strcmp(kv_get(kv, "id"), id) && kv_get(kv, "path") &&
		    !strcmp(kv_get(kv, "backend") ? kv_get(kv, "backend") : "", "socket")) {
			kv_set(kv, "backend", NULL);
			kv_set(kv, "id", NULL);
			if (!kv_get(kv, "server"))
				kv_set(kv, "server", "off");
			found = kv_text(kv);
		}
		kv_free(kv);
	}
	return found;
}

int vm_take_mon(struct vm_args *a, const char *value, struct twx_error *e)
{
	static const struct twx_opt_desc table[] = {
		{ .name = "chardev", .type = TWX_OPT_STR, .required = true },
		{ .name = "mode", .type = TWX_OPT_ENUM, .words = "control" },
		FIXED("pretty", "off"),
		{ 0 },
	};
	struct twx_opts *o = read_list(value, "chardev", table, e);
	char *list;
	int ret = 0;

	if (!o)
		return e ? -e->code : -EINVAL;
	list = chardev_socket(a, twx_opts_str(o, "chardev"));
	if (!twx_opts_given(o, "mode")) {
		ret = twx_error_set(e, ENOTSUP, "a monitor at a chardev speaks QMP here");
		twx_error_hint(e, "add mode=control, or use -monitor unix:PATH");
	} else if (!list) {
		ret = twx_error_set(e, ENODEV, "there is no -chardev socket,id=%s,path=PATH",
				    twx_opts_str(o, "chardev"));
	} else {
		vm_args_add(a, SESSION_QMP, cli_printf("unix:%s", list));
	}
	free(list);
	twx_opts_free(o);
	return ret;
}

int vm_take_echr(struct vm_args *a, const char *value, struct twx_error *e)
{
	char *end;
	long n = strtol(value, &end, 0);

	if (end == value || *end || n < 0 || n > 255)
		return twx_error_set(e, EINVAL, "'%s' is no code of a key, 0 to 255", value);
	a->escape = (int)n;
	return 0;
}
