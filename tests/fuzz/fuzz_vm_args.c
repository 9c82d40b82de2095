/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line of `twinax vm`, its words parted by zero bytes: what it becomes, as our machine
 * and as a QEMU's command line, and what must hold whatever the words are.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cli/vm_args.h"
#include "fuzz.h"

#define MAX_WORDS 64

static void check(const struct vm_args *a)
{
	assert(a->n_cpus >= 1 && a->n_cpus <= 8);
	assert(a->memory % 4096 == 0 && a->memory <= 508ull << 30);
	assert(a->n_accels <= VM_MAX_ACCELS && a->n_serials <= VM_SERIALS);
	for (unsigned int i = 0; i < a->n_serials; i++)
		assert((a->serial[i].kind == VM_SERIAL_CHARDEV) == (a->serial[i].id != NULL));
	for (size_t i = 0; i < a->n_items; i++)
		assert(a->items[i].kind < SESSION_N_KINDS && a->items[i].text);
}

/* Every NIC of a hub is at a port of its own, which was made before. */
static void check_ports(const struct vm_args *a)
{
	for (size_t i = 0; i < a->plan.n_nics; i++) {
		const struct qemu_nic *nic = &a->plan.nics[i];
		const char *port = kv_get(nic->kv, "netdev");

		if (!nic->on_hub)
			continue;
		assert(port);
		for (size_t k = 0; k < i; k++)
			assert(!a->plan.nics[k].on_hub ||
			       strcmp(kv_get(a->plan.nics[k].kv, "netdev"), port));
	}
}

/* No word is lost on the way to a QEMU. */
static void check_words(const struct vm_args *a)
{
	struct qemu_launch l;

	vm_qemu_words(a, "qemu-system-x86_64", a->no_reboot, &l);
	for (size_t i = 0; i < a->n_items; i++) {
		size_t k = 0;

		/* -mon goes as it was given, not as the socket that we make of it. */
		if (a->items[i].kind == SESSION_QMP)
			continue;
		while (k < l.argc && strncmp(l.argv[k], a->items[i].text, strlen(a->items[i].text)))
			k++;
		assert(k < l.argc);
	}
	assert(!l.argv[l.argc]);
	qemu_launch_free(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char name[] = "vm";
	char *argv[MAX_WORDS + 2] = { name }, *text, *word, *end;
	struct twx_error e = { 0 };
	struct vm_args a;
	int argc = 1, ret;

	if (!size)
		return 0;
	text = malloc(size + 1);
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	end = text + size;
	for (word = text; word < end && argc <= MAX_WORDS; word += strlen(word) + 1)
		argv[argc++] = word;
	ret = vm_args_parse(&a, argc, argv, &e);
	if (ret) {
		assert(ret < 0 && e.code > 0 && *e.what);
	} else if (!a.ask) {
		check(&a);
		check_ports(&a);
		check_words(&a);
	}
	vm_args_free(&a);
	free(text);
	return 0;
}
