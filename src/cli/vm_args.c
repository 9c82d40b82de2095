/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The options of `twinax vm`: one table says what each of QEMU's options is here.
 *
 * An option is obeyed, or it asks for what is there anyway and is accepted with that value alone,
 * or it is refused with a sentence that says what our machine does not have and who has it. None
 * is ignored. Words that are no option of any QEMU are refused as such.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/vm_args.h"

enum vm_kind {
	VM_TEXT,    /* const char * at offset */
	VM_FLAG,    /* bool at offset */
	VM_FIXED,   /* only the words in `arg`; "" is for a flag */
	VM_CALL,    /* take() */
	VM_NETWORK, /* read by vm_take_networks() */
	VM_ITEM,    /* a list for the session */
	VM_REFUSED, /* `arg` says what it is about */
};

struct vm_option {
	const char *name;
	enum vm_kind kind;
	size_t offset;	  /* VM_ITEM: the kind of item */
	const char *arg;  /* VM_FIXED: words; VM_REFUSED: topic; else placeholder in the help */
	const char *help; /* null: not in the help */
	int (*take)(struct vm_args *a, const char *value, struct twx_error *e);
};

#define AT(member) offsetof(struct vm_args, member)

static int take_kvm(struct vm_args *a, const char *value, struct twx_error *e)
{
	return vm_take_accel(a, "kvm", e);
}

/* clang-format off */
static const struct vm_option options[] = {
	{ "kernel", VM_TEXT, AT(kernel), "FILE", "Linux kernel, a bzImage or an ELF file with a PVH entry" },
	{ "initrd", VM_TEXT, AT(initrd), "FILE", "its initial RAM disk" },
	{ "append", VM_TEXT, AT(append), "TEXT", "its command line" },
	{ "m", VM_CALL, 0, "[size=]SIZE", "memory, MiB without a suffix (default 128)", vm_take_memory },
	{ "smp", VM_CALL, 0, "[cpus=]N", "virtual CPUs, 1 to 8", vm_take_smp },
	{ "accel", VM_CALL, 0, "kvm|qemu|qtest", "who runs the CPUs; the default is the first that works of kvm and qemu", vm_take_accel },
	{ "enable-kvm", VM_CALL, 0, NULL, "the same as -accel kvm", take_kvm },
	{ "machine", VM_CALL, 0, "pc|q35[,accel=...]", "accepted under both names; -M is the same", vm_take_machine },
	{ "netdev", VM_NETWORK, 0, "TYPE,id=ID,...", "a network backend (-netdev help lists the types)" },
	{ "device", VM_NETWORK, 0, "MODEL,netdev=ID,...", "a NIC, or pcie-root-port (-device help lists the models)" },
	{ "nic", VM_NETWORK, 0, "[TYPE,...][,model=,mac=]", "both in one, with a cable between them; -nic none: none" },
	{ "net", VM_NETWORK, 0, "nic|TYPE[,vlan=N],...", "a NIC or a backend at a hub, hub 0 without vlan=; -net none: none" },
	{ "object", VM_NETWORK, 0, "TYPE,id=ID,...", "a filter at a backend (-object help lists the types)" },
	{ "chardev", VM_ITEM, SESSION_CHARDEV, "TYPE,id=ID,...", "a stream for a backend, a filter or a serial port (-chardev help)" },
	{ "set", VM_NETWORK, 0, "device.ID.KEY=VALUE", "one more key of a -device or a -netdev" },
	{ "nodefaults", VM_FLAG, AT(nodefaults), NULL, "no network and no serial console unless asked for" },
	{ "serial", VM_CALL, 0, "DEVICE", "COM1, COM2, ...: stdio, none, null, file:PATH, pipe:PATH, unix:PATH or chardev:ID", vm_take_serial },
	{ "nographic", VM_FLAG, AT(nographic), NULL, "accepted: there is no graphic" },
	{ "monitor", VM_CALL, 0, "none|stdio|unix:PATH", "a human monitor", vm_take_monitor },
	{ "qmp", VM_ITEM, SESSION_QMP, "unix:PATH", "a control socket for `twinax ctl PATH` and QMP clients" },
	{ "mon", VM_CALL, 0, "chardev=ID,mode=control", "the same at a -chardev socket", vm_take_mon },
	{ "S", VM_FLAG, AT(hold), NULL, "do not start before `cont`" },
	{ "loadvm", VM_TEXT, AT(load), "FILE", "go on from what the command `save` wrote" },
	{ "incoming", VM_CALL, 0, "file:PATH", "the same", vm_take_incoming },
	{ "no-reboot", VM_FLAG, AT(no_reboot), NULL, "end where the guest restarts" },
	{ "no-shutdown", VM_FLAG, AT(no_shutdown), NULL, "do not end when the guest switches itself off" },
	{ "name", VM_CALL, 0, "NAME[,process=NAME]", "a name for query-name", vm_take_name },
	{ "pidfile", VM_TEXT, AT(pidfile), "FILE", "our process id, in a file that is removed in the end" },
	{ "daemonize", VM_FLAG, AT(daemonize), NULL, "go on in the background once everything is set up" },
	{ "echr", VM_CALL, 0, "N", "code of the console's escape key (default 1, Ctrl-A)", vm_take_echr },
	{ "qtest", VM_TEXT, AT(qtest), "unix:PATH|stdio|tcp:HOST:PORT", "QEMU's test protocol, with -accel qtest" },
	{ "qtest-log", VM_TEXT, AT(qtest_log), "none|FILE", "its log (default: standard error)" },
	{ "cpu", VM_FIXED, 0, "host|max" },
	{ "display", VM_FIXED, 0, "none" },
	{ "vga", VM_FIXED, 0, "none" },
	{ "parallel", VM_FIXED, 0, "none" },
	{ "sandbox", VM_FIXED, 0, "off" },
	{ "no-hpet", VM_FIXED, 0, "" },
	{ "no-user-config", VM_FIXED, 0, "" },
	{ "nodefconfig", VM_FIXED, 0, "" },
	{ "rtc", VM_CALL, 0, NULL, NULL, vm_take_rtc },
	{ "drive", VM_REFUSED, 0, "disks" },
	{ "blockdev", VM_REFUSED, 0, "disks" },
	{ "hda", VM_REFUSED, 0, "disks" },
	{ "hdb", VM_REFUSED, 0, "disks" },
	{ "hdc", VM_REFUSED, 0, "disks" },
	{ "hdd", VM_REFUSED, 0, "disks" },
	{ "cdrom", VM_REFUSED, 0, "disks" },
	{ "fda", VM_REFUSED, 0, "disks" },
	{ "fdb", VM_REFUSED, 0, "disks" },
	{ "sd", VM_REFUSED, 0, "disks" },
	{ "mtdblock", VM_REFUSED, 0, "disks" },
	{ "snapshot", VM_REFUSED, 0, "disks" },
	{ "virtfs", VM_REFUSED, 0, "shared folders" },
	{ "fsdev", VM_REFUSED, 0, "shared folders" },
	{ "bios", VM_REFUSED, 0, "firmware" },
	{ "pflash", VM_REFUSED, 0, "firmware" },
	{ "boot", VM_REFUSED, 0, "firmware" },
	{ "option-rom", VM_REFUSED, 0, "firmware" },
	{ "L", VM_REFUSED, 0, "firmware" },
	{ "vnc", VM_REFUSED, 0, "display" },
	{ "spice", VM_REFUSED, 0, "display" },
	{ "sdl", VM_REFUSED, 0, "display" },
	{ "curses", VM_REFUSED, 0, "display" },
	{ "full-screen", VM_REFUSED, 0, "display" },
	{ "k", VM_REFUSED, 0, "display" },
	{ "usb", VM_REFUSED, 0, "USB" },
	{ "usbdevice", VM_REFUSED, 0, "USB" },
	{ "audio", VM_REFUSED, 0, "sound" },
	{ "audiodev", VM_REFUSED, 0, "sound" },
	{ "soundhw", VM_REFUSED, 0, "sound" },
	{ 0 },
};
/* clang-format on */

static const struct vm_option *find_option(const char *name)
{
	const struct vm_option *o;

	for (o = options; o->name; o++)
		if (!strcmp(o->name, name))
			return o;
	return NULL;
}

static bool is_qemus(const char *name)
{
	const struct qemu_option *o;

	for (o = qemu_options; o->name; o++)
		if (!strcmp(o->name, name))
			return true;
	return false;
}

void vm_args_usage(void)
{
	const struct vm_option *o;
	char left[64];

	for (o = options; o->name; o++) {
		if (!o->help)
			continue;
		snprintf(left, sizeof(left), "-%s%s%s", o->name, o->arg ? " " : "",
			 o->arg ? o->arg : "");
		printf(strlen(left) <= 28 ? "  %-28s %s\n"
					  : "  %s\n                               %s\n",
		       left, o->help);
	}
}

/* @topic: what our machine does not have; null: nothing that could be named. */
static int refuse(const struct qemu_token *t, const char *topic, struct twx_error *e)
{
	const char *word = t->words[0];

	if (topic)
		twx_error_set(e, ENOTSUP, "%s: this machine has no %s", word, topic);
	else
		twx_error_set(e, ENOTSUP, "%s: this machine does not have that option of QEMU's",
			      word);
	return twx_error_hint(
		e, "QEMU has, with our NICs: twinax qemu -- qemu-system-x86_64 ... %s ...", word);
}

static bool is_word(const char *words, const char *word)
{
	const size_t len = strlen(word);
	const char *at;

	for (at = words; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
		if (!strncmp(at, word, len) && (at[len] == '|' || !at[len]))
			return true;
	return false;
}

static int take_fixed(const struct vm_option *o, const struct qemu_token *t, struct twx_error *e)
{
	if (!t->value || is_word(o->arg, t->value))
		return 0;
	twx_error_set(e, ENOTSUP, "%s %s: this machine takes %s %s and nothing else", t->words[0],
		      t->value, t->words[0], o->arg);
	return twx_error_hint(
		e,
		"QEMU has others, with our NICs: twinax qemu -- qemu-system-x86_64 ... %s %s ...",
		t->words[0], t->value);
}

static int take_option(struct vm_args *a, const struct vm_option *o, const struct qemu_token *t,
		       struct twx_error *e)
{
	void *at = (char *)a + o->offset;
	int ret;

	switch (o->kind) {
	case VM_TEXT:
		*(const char **)at = t->value;
		return 0;
	case VM_FLAG:
		*(bool *)at = true;
		return 0;
	case VM_FIXED:
		return take_fixed(o, t, e);
	case VM_ITEM:
		vm_args_add(a, (enum session_kind)o->offset, cli_strdup(t->value));
		return 0;
	case VM_REFUSED:
		return refuse(t, o->arg, e);
	case VM_NETWORK:
		return 0;
	default:
		ret = o->take(a, t->value, e);
		if (ret)
			twx_error_prefix(e, "%s%s%s: ", t->words[0], t->value ? " " : "",
					 t->value ? t->value : "");
		return ret;
	}
}

static bool has_value(const char *name)
{
	const struct qemu_option *o;

	for (o = qemu_options; o->name; o++)
		if (!strcmp(o->name, name))
			return o->has_value;
	return false;
}

static int take_token(struct vm_args *a, const struct qemu_token *t, struct twx_error *e)
{
	const struct vm_option *o = t->name ? find_option(t->name) : NULL;

	if (!t->name)
		return refuse(t, "disks", e);
	if (!o && !is_qemus(t->name)) {
		twx_error_set(e, EINVAL, "%s: invalid option", t->words[0]);
		return twx_error_hint(e, "try: twinax help vm");
	}
	if (has_value(t->name) && !t->value)
		return twx_error_set(e, EINVAL, "%s: requires an argument", t->words[0]);
	return o ? take_option(a, o, t, e) : refuse(t, NULL, e);
}

/* Help of any kind: nothing else is read then. */
static bool find_ask(struct vm_args *a)
{
	static const char *const usage[] = { "h", "help" };
	static const char *const topics[] = {
		"netdev", "device", "object", "chardev", "nic", "net"
	};
	size_t i, k;

	for (i = 0; i < a->args.n && !a->ask; i++) {
		const struct qemu_token *t = &a->args.tokens[i];

		for (k = 0; k < array_size(usage); k++)
			if (qemu_token_is(t, usage[k]))
				a->ask = VM_ASK_USAGE;
		if (qemu_token_is(t, "version"))
			a->ask = VM_ASK_VERSION;
		for (k = 0; k < array_size(topics); k++)
			if (t->value && qemu_token_is(t, topics[k]) && qemu_value_asks(t->value))
				a->ask = VM_ASK_OPTION;
		a->ask_token = t;
	}
	return a->ask;
}

void vm_args_add(struct vm_args *a, enum session_kind kind, char *text)
{
	a->items = cli_grow(a->items, a->n_items, sizeof(*a->items));
	a->items[a->n_items++] = (struct session_item){ kind, text };
}

/* -chardev stdio and -qtest stdio have standard input and output as a console has them. */
static int check_stdio(struct vm_args *a, struct twx_error *e)
{
	unsigned int n = a->stdio_taken + (a->qtest && !strcmp(a->qtest, "stdio"));
	size_t i;

	for (i = 0; i < a->n_items; i++) {
		const char *kind;
		struct kv *kv;

		if (a->items[i].kind != SESSION_CHARDEV ||
		    kv_parse(&kv, a->items[i].text, "backend", NULL))
			continue;
		kind = kv_get(kv, "backend");
		n += kind && !strcmp(kind, "stdio");
		kv_free(kv);
	}
	a->stdio_taken = n != 0;
	return n > 1 ? twx_error_set(e, EBUSY, "cannot use stdio by multiple character devices")
		     : 0;
}

/* What one option says about another. */
static int check_together(struct vm_args *a, struct twx_error *e)
{
	unsigned int i, n = 0;
	bool qtest;

	for (i = 0; i < a->n_accels; i++)
		n += a->accels[i] == VM_QTEST;
	qtest = n && n == a->n_accels;
	/* It works everywhere, without CPUs: behind others it would make a machine that stands. */
	if (n && !qtest)
		return twx_error_set(e, EINVAL, "-accel qtest: it stands for no other accelerator");
	if (a->qtest && !a->n_accels) {
		a->accels[a->n_accels++] = VM_QTEST;
		qtest = true;
	}
	if (a->qtest && !qtest)
		return twx_error_set(e, EINVAL,
				     "-qtest: it takes the place of the CPUs, with -accel qtest");
	if (qtest && !a->qtest) {
		twx_error_set(e, EINVAL, "-accel qtest: nobody says what the machine shall do");
		return twx_error_hint(e, "add -qtest unix:PATH,server=on,wait=off");
	}
	if (a->qtest_log && !qtest)
		return twx_error_set(e, EINVAL, "-qtest-log: there is no -qtest");
	if (!a->kernel && (a->initrd || a->append))
		return twx_error_set(e, EINVAL, "%s only allowed with -kernel option",
				     a->initrd ? "-initrd" : "-append");
	if (a->daemonize && (a->nographic || a->stdio_taken))
		return twx_error_set(
			e, EINVAL,
			"-daemonize: %s takes the terminal, which the background does not have",
			a->nographic ? "-nographic" : "stdio");
	/* One console by default; not where nobody asked for it. */
	if (!a->n_serials && !a->nodefaults && !a->daemonize && !qtest && !a->stdio_taken)
		a->serial[a->n_serials++].kind = VM_SERIAL_STDIO;
	return 0;
}

int vm_args_parse(struct vm_args *a, int argc, char *const *argv, struct twx_error *e)
{
	size_t i;
	int ret = 0;

	*a = (struct vm_args){ .plan = { .own = true }, .escape = 1, .n_cpus = 1 };
	qemu_args_parse_from(&a->args, 1, argc, argv);
	a->plan.args = &a->args;
	if (find_ask(a))
		return 0;
	for (i = 0; i < a->args.n && !ret; i++)
		ret = take_token(a, &a->args.tokens[i], e);
	if (!ret)
		ret = check_stdio(a, e);
	if (!ret)
		ret = check_together(a, e);
	if (!ret)
		ret = vm_take_networks(a, e);
	return ret;
}

void vm_args_free(struct vm_args *a)
{
	size_t i;

	for (i = 0; i < a->n_items; i++)
		free(a->items[i].text);
	free(a->items);
	qemu_plan_free(&a->plan);
	qemu_args_free(&a->args);
}
