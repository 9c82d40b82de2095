/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the rest of a QEMU command line says: the machine and its default NIC, the accelerator, and
 * where guest memory comes from.
 *
 * vhost-user and vfio-user share guest memory by file descriptor. Memory that QEMU would allocate
 * by itself becomes a memfd of the same size, -mem-path a shared file there; memory that the user
 * has set up stays as it is if it is shared, and is an error that names the option to change if
 * not.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "cli/alloc.h"
#include "cli/qemu_plan.h"

/* The last value that @key has in all options @name, copied; null: none. */
static char *last_of(const struct qemu_args *args, const char *name, const char *implied,
		     const char *key)
{
	char *found = NULL;
	size_t i;

	for (i = 0; i < args->n; i++) {
		const struct qemu_token *t = &args->tokens[i];
		struct kv *kv;

		if (!t->value || !qemu_token_is(t, name) || kv_parse(&kv, t->value, implied, NULL))
			continue;
		if (kv_get(kv, key)) {
			free(found);
			found = cli_strdup(kv_get(kv, key));
		}
		kv_free(kv);
	}
	return found;
}

static const struct qemu_token *last_token(const struct qemu_args *args, const char *name)
{
	const struct qemu_token *found = NULL;
	size_t i;

	for (i = 0; i < args->n; i++)
		if (qemu_token_is(&args->tokens[i], name))
			found = &args->tokens[i];
	return found;
}

/* Machine and NIC. */

bool qemu_has_default_net(const struct qemu_args *args)
{
	static const char *const without[] = { "net", "nic", "netdev", "nodefaults" };
	size_t i;

	for (i = 0; i < array_size(without); i++)
		if (last_token(args, without[i]))
			return false;
	return true;
}

static bool is_x86(const struct qemu_args *args)
{
	const char *word = args->words[args->n_command - 1], *arch = strstr(word, "qemu-system-");

	arch = arch ? arch + strlen("qemu-system-") : NULL;
	return !arch || !strcmp(arch, "x86_64") || !strcmp(arch, "i386") || !strcmp(arch, "amd64");
}

const char *qemu_default_model(const struct qemu_plan *plan)
{
	static const struct {
		const char *machine, *model;
		bool all; /* versions: "pc-q35-7.2" */
	} defaults[] = {
		{ "pc", "e1000", false },	 { "q35", "e1000e", false },
		{ "pc-i440fx-", "e1000", true }, { "pc-q35-", "e1000e", true },
		{ "isapc", "ne2k_isa", false },
	};
	const struct qemu_args *args = plan->args;
	const char *name, *model = NULL;
	char *machine;
	size_t i;

	if (plan->own)
		return "e1000";
	machine = last_of(args, "machine", "type", "type");
	name = machine ? machine : "pc";
	for (i = 0; i < array_size(defaults) && is_x86(args); i++)
		if (defaults[i].all
			    ? !strncmp(name, defaults[i].machine, strlen(defaults[i].machine))
			    : !strcmp(name, defaults[i].machine))
			model = defaults[i].model;
	free(machine);
	return model;
}

/* QEMU takes the first accelerator of a list that works. */
bool qemu_is_tcg(const struct qemu_args *args, const struct qemu_facts *facts)
{
	char *accel = last_of(args, "machine", "type", "accel");
	const char *name = NULL;
	bool tcg = true, first = true;
	size_t i;

	if (accel)
		tcg = strncmp(accel, "kvm", 3) || (strchr(accel, ':') && !facts->kvm);
	free(accel);
	for (i = 0; i < args->n; i++) {
		const struct qemu_token *t = &args->tokens[i];

		if (qemu_token_is(t, "enable-kvm"))
			return false;
		if (!t->value || !qemu_token_is(t, "accel"))
			continue;
		/* -accel may be repeated: the later ones are what to fall back on. */
		name = t->value + (strncmp(t->value, "accel=", 6) ? 0 : 6);
		if (first || (!tcg && !facts->kvm))
			tcg = strncmp(name, "kvm", 3) != 0;
		first = false;
	}
	return tcg;
}

/* Memory. */

uint64_t qemu_read_size(const char *text)
{
	static const char suffixes[] = "bkmgtpe";
	double number;
	const char *s;
	char *end;

	number = strtod(text, &end);
	if (end == text || !(number > 0) || number > 1e18)
		return 0;
	if (!*end)
		return number < 1e12 ? (uint64_t)(number * (1 << 20)) : 0;
	s = strchr(suffixes, *end | 0x20);
	number *= s ? (double)(1ull << (10 * (s - suffixes))) : 0;
	return !s || end[1] || number > 1e18 ? 0 : (uint64_t)number;
}

#define MEMORY_DEFAULT (128ull << 20)
#define MEMORY_UNIT 8192ull /* QEMU rounds -m up to this */

static char *memory_size(const struct qemu_args *args)
{
	char *text = last_of(args, "m", "size", "size");
	uint64_t size;

	if (!text)
		text = last_of(args, "machine", "type", "memory.size");
	size = text ? qemu_read_size(text) : 0;
	free(text);
	size = size ? (size + MEMORY_UNIT - 1) / MEMORY_UNIT * MEMORY_UNIT : MEMORY_DEFAULT;
	return size % (1 << 20) ? cli_printf("%llu", (unsigned long long)size)
				: cli_printf("%lluM", (unsigned long long)size >> 20);
}

/* The -object that defines @id, read; null: there is none. */
static struct kv *find_object(const struct qemu_args *args, const char *id)
{
	size_t i;

	for (i = 0; i < args->n; i++) {
		const struct qemu_token *t = &args->tokens[i];
		struct kv *kv;

		if (!t->value || !qemu_token_is(t, "object") ||
		    kv_parse(&kv, t->value, "qom-type", NULL))
			continue;
		if (kv_get(kv, "id") && !strcmp(kv_get(kv, "id"), id))
			return kv;
		kv_free(kv);
	}
	return NULL;
}

static bool is_off(const char *word)
{
	static const char *const words[] = { "off", "no", "false", "n" };
	size_t i;

	for (i = 0; i < array_size(words); i++)
		if (!strcmp(words[i], word))
			return true;
	return false;
}

/* One memory backend of the user's: shared, by a descriptor that another process can map? */
static int check_backend(struct qemu_plan *plan, const char *id, struct twx_error *e)
{
	struct kv *kv = find_object(plan->args, id);
	const char *type = kv ? kv_get(kv, "qom-type") : NULL,
		   *share = kv ? kv_get(kv, "share") : NULL;
	bool by_default;
	int ret = 0;

	/* What is not on the command line is in a file, or an error of QEMU's. */
	if (type && !strcmp(type, "memory-backend-ram")) {
		ret = twx_error_set(e, EINVAL, "guest memory '%s' is no file that NICs could share",
				    id);
		twx_error_hint(
			e,
			"make it -object memory-backend-memfd,id=%s,share=on,... with the rest as "
			"it is",
			id);
	} else if (type) {
		by_default = !strcmp(type, "memory-backend-memfd") ||
			     !strcmp(type, "memory-backend-shm");
		if (share ? is_off(share) : !by_default) {
			ret = twx_error_set(e, EINVAL, "guest memory '%s' is not shared with NICs",
					    id);
			twx_error_hint(e, "add share=on to -object %s,id=%s", type, id);
		}
	}
	kv_free(kv);
	return ret;
}

/* Memory that options name: NUMA nodes and DIMMs. @n counts them. */
static int check_named(struct qemu_plan *plan, const char *option, const char *implied, size_t *n,
		       struct twx_error *e)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < plan->args->n && !ret; i++) {
		const struct qemu_token *t = &plan->args->tokens[i];
		struct kv *kv;

		if (!t->value || !qemu_token_is(t, option) ||
		    kv_parse(&kv, t->value, implied, NULL))
			continue;
		if (kv_get(kv, "memdev")) {
			ret = check_backend(plan, kv_get(kv, "memdev"), e);
			++*n;
		}
		kv_free(kv);
	}
	return ret;
}

int qemu_memory_plan(struct qemu_memory *m, struct qemu_plan *plan, struct twx_error *e)
{
	const struct qemu_args *args = plan->args;
	char *backend = last_of(args, "machine", "type", "memory-backend"), *size;
	const struct qemu_token *path = last_token(args, "mem-path");
	size_t n_nodes = 0, n_dimms = 0;
	struct kv *kv;
	int ret;

	*m = (struct qemu_memory){ 0 };
	ret = backend ? check_backend(plan, backend, e) : 0;
	if (!ret)
		ret = check_named(plan, "numa", "type", &n_nodes, e);
	if (!ret)
		ret = check_named(plan, "device", "driver", &n_dimms, e);
	if (ret || backend || n_nodes) {
		free(backend);
		return ret;
	}
	m->backend = cli_strdup(qemu_fresh_id(plan, "twinax-mem"));
	size = memory_size(args);
	kv = kv_new("qom-type");
	kv_set(kv, "qom-type",
	       path && path->value ? "memory-backend-file" : "memory-backend-memfd");
	kv_set(kv, "id", m->backend);
	kv_set(kv, "size", size);
	kv_set(kv, "share", "on");
	if (path && path->value) {
		kv_set(kv, "mem-path", path->value);
		m->drop = path;
	}
	m->object = kv_print(kv);
	kv_free(kv);
	free(size);
	return 0;
}

void qemu_memory_free(struct qemu_memory *m)
{
	free(m->object);
	free(m->backend);
}
