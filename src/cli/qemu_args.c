/* SPDX-License-Identifier: BSD-3-Clause */
/* QEMU's command line, taken apart: which words are options, and which of them have a value. */
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/qemu_args.h"

#define FLAG(name)                                                                                 \
	{                                                                                          \
		name, false                                                                        \
	}
#define VALUE(name)                                                                                \
	{                                                                                          \
		name, true                                                                         \
	}

/* clang-format off */
const struct qemu_option qemu_options[] = {
	FLAG("S"), FLAG("alt-grab"), FLAG("async-teardown"), FLAG("audio-help"),
	FLAG("ctrl-grab"), FLAG("curses"), FLAG("daemonize"), FLAG("enable-fips"),
	FLAG("enable-hax"), FLAG("enable-kvm"), FLAG("enable-sync-profile"), FLAG("full-screen"),
	FLAG("h"), FLAG("help"), FLAG("jitdump"), FLAG("localtime"), FLAG("mem-prealloc"),
	FLAG("no-acpi"), FLAG("no-fd-bootchk"), FLAG("no-frame"), FLAG("no-hpet"),
	FLAG("no-kvm"), FLAG("no-kvm-irqchip"), FLAG("no-kvm-pit"),
	FLAG("no-kvm-pit-reinjection"), FLAG("no-quit"), FLAG("no-reboot"), FLAG("no-shutdown"),
	FLAG("no-user-config"), FLAG("nodefaults"), FLAG("nodefconfig"), FLAG("nographic"),
	FLAG("old-param"), FLAG("only-migratable"), FLAG("perfmap"), FLAG("portrait"),
	FLAG("preconfig"), FLAG("rtc-td-hack"), FLAG("s"), FLAG("sdl"), FLAG("semihosting"),
	FLAG("show-cursor"), FLAG("singlestep"), FLAG("snapshot"), FLAG("tdf"), FLAG("usb"),
	FLAG("version"), FLAG("virtfs_synth"), FLAG("win2k-hack"), FLAG("xen-attach"),
	FLAG("xen-create"), FLAG("xen-domid-restrict"),

	VALUE("D"), VALUE("L"), VALUE("M"), VALUE("accel"), VALUE("acpitable"), VALUE("action"),
	VALUE("add-fd"), VALUE("append"), VALUE("audio"), VALUE("audiodev"), VALUE("balloon"),
	VALUE("bios"), VALUE("blockdev"), VALUE("boot"), VALUE("bt"), VALUE("cdrom"),
	VALUE("chardev"), VALUE("chroot"), VALUE("clock"), VALUE("compat"), VALUE("cpu"),
	VALUE("d"), VALUE("debugcon"), VALUE("device"), VALUE("dfilter"), VALUE("display"),
	VALUE("drive"), VALUE("dtb"), VALUE("dump-vmstate"), VALUE("echr"), VALUE("fda"),
	VALUE("fdb"), VALUE("fsdev"), VALUE("fw_cfg"), VALUE("g"), VALUE("gdb"), VALUE("global"),
	VALUE("hda"), VALUE("hdachs"), VALUE("hdb"), VALUE("hdc"), VALUE("hdd"), VALUE("icount"),
	VALUE("incoming"), VALUE("initrd"), VALUE("iscsi"), VALUE("k"), VALUE("kernel"),
	VALUE("kvm-shadow-memory"), VALUE("loadvm"), VALUE("m"), VALUE("machine"),
	VALUE("mem-path"), VALUE("mon"), VALUE("monitor"), VALUE("msg"), VALUE("mtdblock"),
	VALUE("name"), VALUE("net"), VALUE("netdev"), VALUE("nic"), VALUE("numa"),
	VALUE("object"), VALUE("option-rom"), VALUE("overcommit"), VALUE("parallel"),
	VALUE("pflash"), VALUE("pidfile"), VALUE("plugin"), VALUE("prom-env"), VALUE("qmp"),
	VALUE("qmp-pretty"), VALUE("qtest"), VALUE("qtest-log"), VALUE("readconfig"),
	VALUE("realtime"), VALUE("rotate"), VALUE("rtc"), VALUE("run-with"), VALUE("runas"),
	VALUE("sandbox"), VALUE("sd"), VALUE("seed"), VALUE("semihosting-config"),
	VALUE("serial"), VALUE("set"), VALUE("shim"), VALUE("smbios"), VALUE("smp"),
	VALUE("soundhw"), VALUE("spice"), VALUE("startdate"), VALUE("tb-size"), VALUE("tpmdev"),
	VALUE("trace"), VALUE("usbdevice"), VALUE("uuid"), VALUE("vga"), VALUE("virtfs"),
	VALUE("virtioconsole"), VALUE("vnc"), VALUE("watchdog"), VALUE("watchdog-action"),
	VALUE("writeconfig"), VALUE("xen-domid"),
	{ NULL, false },
};
/* clang-format on */

/* Options whose value "help" makes QEMU print a list and end. */
static const char *const list_options[] = {
	"accel",
	"audio",
	"audiodev",
	"chardev",
	"cpu",
	"d",
	"device",
	"display",
	"drive",
	"icount",
	"machine",
	"net",
	"netdev",
	"nic",
	"object",
	"plugin",
	"soundhw",
	"tpmdev",
	"trace",
	"vga",
	"watchdog",
	"watchdog-action",
	"semihosting-config",
};
static const char *const last_options[] = { "h", "help", "version", "audio-help" };

static bool is_in(const char *const *list, size_t n, const char *name)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!strcmp(list[i], name))
			return true;
	return false;
}

bool qemu_token_is(const struct qemu_token *t, const char *name)
{
	return t->name && !strcmp(t->name, name);
}

/* Of an option that no table knows (a newer QEMU's), a word without a dash is taken for its value;
 * it is passed on all the same. */
static bool has_value(const char *name, const char *next)
{
	const struct qemu_option *o;

	for (o = qemu_options; o->name; o++)
		if (!strcmp(o->name, name))
			return o->has_value;
	return next && *next != '-';
}

/* Short names are only QEMU's with a folder before them: "-accel kvm" is another thing. */
static bool is_qemu(const char *word)
{
	const char *slash = strrchr(word, '/'), *name = slash ? slash + 1 : word;

	if (!strncmp(name, "qemu-system-", 12))
		return !name[12 + strspn(name + 12, "abcdefghijklmnopqrstuvwxyz0123456789_-")];
	return slash && (!strcmp(name, "qemu-kvm") || !strcmp(name, "kvm"));
}

/* The words before QEMU's options: QEMU, or a program that is given QEMU to run. */
static int command_words(int argc, char *const *argv)
{
	int i;

	for (i = 0; i < argc; i++)
		if (is_qemu(argv[i]))
			return i + 1;
	return 1;
}

static int take_token(struct qemu_token *t, int n_left, char *const *words)
{
	const char *word = words[0];

	*t = (struct qemu_token){ .words = words, .n_words = 1 };
	if (*word != '-')
		return 1;
	t->name = word + (word[1] == '-' ? 2 : 1);
	if (!strcmp(t->name, "M"))
		t->name = "machine";
	if (n_left > 1 && has_value(t->name, words[1])) {
		t->value = words[1];
		t->n_words = 2;
	}
	return t->n_words;
}

void qemu_args_parse(struct qemu_args *args, int argc, char *const *argv)
{
	qemu_args_parse_from(args, command_words(argc, argv), argc, argv);
}

void qemu_args_parse_from(struct qemu_args *args, int n_command, int argc, char *const *argv)
{
	int i;

	*args = (struct qemu_args){ .words = argv, .n_command = n_command };
	args->tokens = cli_alloc((size_t)argc, sizeof(*args->tokens));
	for (i = args->n_command; i < argc;)
		i += take_token(&args->tokens[args->n++], argc - i, argv + i);
}

void qemu_args_free(struct qemu_args *args)
{
	free(args->tokens);
}

/* "help", "?", "e1000,help", "nic,model=help" */
bool qemu_value_asks(const char *value)
{
	static const char *const keys[] = { "model=", "type=", "driver=" };
	const char *comma = strrchr(value, ','), *last = comma ? comma + 1 : value;
	size_t i;

	for (i = 0; i < array_size(keys); i++)
		if (!strncmp(last, keys[i], strlen(keys[i])))
			last += strlen(keys[i]);
	return !strcmp(last, "help") || !strcmp(last, "?");
}

bool qemu_args_ask(const struct qemu_args *args)
{
	size_t i;

	for (i = 0; i < args->n; i++) {
		const struct qemu_token *t = &args->tokens[i];

		if (!t->name)
			continue;
		if (is_in(last_options, array_size(last_options), t->name))
			return true;
		if (t->value && is_in(list_options, array_size(list_options), t->name) &&
		    qemu_value_asks(t->value))
			return true;
	}
	return false;
}
