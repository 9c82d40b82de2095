/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A QEMU command line, its words parted by zero bytes: the plan, both new command lines, and what
 * must hold whatever the words are. The first byte chooses what is known of the QEMU.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cli/qemu_plan.h"
#include "fuzz.h"

#define MAX_WORDS 64

/* Options that are passed on word by word, in their order. */
static bool is_kept(const struct qemu_token *t)
{
	static const char *const changed[] = { "netdev", "nic", "net",	    "device",
					       "object", "set", "mem-path", "chardev" };

	for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++)
		if (qemu_token_is(t, changed[i]))
			return false;
	return true;
}

static void check_order(const struct qemu_launch *l, const struct qemu_args *args)
{
	size_t at = (size_t)args->n_command;

	for (size_t i = 0; i < args->n; i++) {
		const struct qemu_token *t = &args->tokens[i];

		for (int k = 0; k < t->n_words && is_kept(t); k++) {
			while (at < l->argc && strcmp(l->argv[at], t->words[k]))
				at++;
			assert(at++ < l->argc);
		}
	}
	assert(!l->argv[l->argc]);
}

/* Our side is options that our own parser reads; what is taken is told from what is not. */
static void check_items(const struct qemu_launch *l, const struct qemu_plan *plan)
{
	size_t n_devices = 0;

	for (size_t i = 0; i < l->n_items; i++) {
		assert(l->items[i].kind != SESSION_QMP && l->items[i].text);
		n_devices += l->items[i].kind == SESSION_DEVICE;
	}
	assert(n_devices == plan->n_taken);
	for (size_t i = 0; i < plan->n_nics; i++) {
		const struct qemu_nic *nic = &plan->nics[i];

		assert(!nic->taken || (nic->ours && !nic->why && strlen(nic->mac) == 17));
		assert(!nic->taken || kv_get(nic->kv, "netdev"));
	}
}

static void plan_words(int argc, char *const *argv, const struct qemu_facts *facts)
{
	struct qemu_launch l = { 0 };
	struct twx_error e = { 0 };
	struct qemu_args args;
	struct qemu_plan plan;
	int ret;

	qemu_args_parse(&args, argc, argv);
	assert(args.n_command >= 1 && args.n_command <= argc);
	qemu_args_ask(&args);
	ret = qemu_plan_make(&plan, &args, facts, &e);
	if (!ret && plan.n_taken)
		ret = qemu_launch_make(&l, &plan, "/run/twinax", &e);
	if (ret) {
		assert(ret < 0 && e.code > 0 && *e.what);
	} else if (plan.n_taken) {
		check_order(&l, &args);
		check_items(&l, &plan);
	}
	qemu_launch_free(&l);
	qemu_plan_free(&plan);
	qemu_args_free(&args);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char name[] = "qemu-system-x86_64";
	char *argv[MAX_WORDS + 2] = { name }, *text, *word, *end;
	struct qemu_facts facts = { 0 };
	int argc = 1;

	if (size < 1)
		return 0;
	facts.major = *data & 1 ? 7 : 10;
	facts.minor = 2;
	facts.vfio_user = *data & 2;
	facts.kvm = *data & 4;
	text = malloc(size);
	if (!text)
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	end = text + size;
	for (word = text; word < end && argc <= MAX_WORDS; word += strlen(word) + 1)
		argv[argc++] = word;
	plan_words(argc, argv, &facts);
	free(text);
	return 0;
}
