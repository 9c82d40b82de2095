/* SPDX-License-Identifier: BSD-3-Clause */
/* `help` at every level: which types there are, and which options a type takes, from their tables.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* What a -device takes whatever its model; the library itself handles these. */
static const struct twx_opt_desc device_common[] = {
	{ .name = "id",
	  .type = TWX_OPT_STR,
	  .help = "name of the NIC, for set_link and statistics",
	  .words = "ID" },
	{ .name = "netdev",
	  .type = TWX_OPT_STR,
	  .help = "id of the backend to connect with",
	  .words = "ID" },
	{ .name = "mac",
	  .type = TWX_OPT_STR,
	  .help = "MAC address, 52:54:00:12:34:56 and up when left out",
	  .words = "MAC" },
	{ .name = "export",
	  .type = TWX_OPT_STR,
	  .help = "the host that carries the NIC, and its options in the same list",
	  .words = "HOST:ADDRESS" },
	{ 0 },
};

static void print_table(const char *heading, const struct twx_opt_desc *table)
{
	char *text = twx_opts_describe(table);

	printf("%s\n%s", heading, text ? text : "");
	free(text);
}

static void netdev_list(void)
{
	const struct twx_backend_type *const *t;

	printf("Backend types for -netdev TYPE,id=ID,... (TYPE,help lists the options):\n");
	for (t = twx_backend_types(); *t; t++)
		printf("  %-16s %s\n", (*t)->name, (*t)->help);
}

static bool netdev_help(const char *type)
{
	const struct twx_backend_type *const *t;

	for (t = twx_backend_types(); *t; t++) {
		if (strcmp((*t)->name, type))
			continue;
		printf("-netdev %s: %s\n", (*t)->name, (*t)->help);
		print_table("Options:", (*t)->options);
		return true;
	}
	return false;
}

static void device_list(void)
{
	const struct twx_nic_model *const *m;

	printf("NIC models for -device MODEL,netdev=ID,export=HOST:ADDRESS,... (MODEL,help lists "
	       "the options):\n");
	for (m = twx_nic_models(); *m; m++)
		printf("  %-32s %s\n", (*m)->name, (*m)->help);
	printf("In a machine (twinax vm) NICs need no export=, and take bus= and addr=; it also "
	       "has "
	       "pcie-root-port.\n");
}

static bool device_help(const char *model)
{
	const struct twx_nic_model *const *m;
	const struct twx_host_type *const *h;

	for (m = twx_nic_models(); *m; m++)
		if (!strcmp((*m)->name, model))
			break;
	if (!*m)
		return false;
	printf("-device %s: %s\n", (*m)->name, (*m)->help);
	print_table("Options of every NIC:", device_common);
	print_table("Options of this model:", (*m)->options);
	for (h = twx_host_types(); *h; h++) {
		const struct twx_host_bus *bus = twx_host_bus(*h, (*m)->bus);

		if (!bus)
			continue;
		printf("With export=%s:ADDRESS (%s)", (*h)->name, (*h)->help);
		print_table(":", (*h)->options);
		if (bus->options)
			print_table("and:", bus->options);
	}
	printf("In a machine (twinax vm), bus=ID is pci.0 or a root port, addr=SLOT[.FUNCTION] a "
	       "place on it.\n");
	return true;
}

static void object_list(void)
{
	const struct twx_filter_type *const *f;

	printf("Filters for -object TYPE,id=ID,netdev=ID,... (TYPE,help lists the options):\n");
	for (f = twx_filter_types(); *f; f++)
		printf("  %-16s %s\n", twx_filter_type_name(*f), twx_filter_type_help(*f));
}

static bool object_help(const char *type)
{
	const struct twx_filter_type *const *f;

	for (f = twx_filter_types(); *f; f++) {
		if (strcmp(twx_filter_type_name(*f), type))
			continue;
		printf("-object %s: %s\n", twx_filter_type_name(*f), twx_filter_type_help(*f));
		print_table("Options:", twx_filter_type_options(*f));
		return true;
	}
	return false;
}

static void chardev_list(void)
{
	const struct twx_chardev_type *const *t;

	printf("Streams for -chardev TYPE,id=ID,... (TYPE,help lists the options):\n");
	for (t = twx_chardev_types(); *t; t++)
		printf("  %-16s %s\n", twx_chardev_type_name(*t), twx_chardev_type_help(*t));
}

static bool chardev_help(const char *type)
{
	const struct twx_chardev_type *const *t;

	for (t = twx_chardev_types(); *t; t++) {
		if (strcmp(twx_chardev_type_name(*t), type))
			continue;
		printf("-chardev %s: %s\n", twx_chardev_type_name(*t), twx_chardev_type_help(*t));
		print_table("Options:", twx_chardev_type_options(*t));
		return true;
	}
	return false;
}

static const struct help_topic {
	const char *option;
	const char *implied; /* the key that names the type */
	void (*list)(void);
	bool (*one)(const char *type); /* false: there is no such type */
} topics[] = {
	{ "netdev", "type", netdev_list, netdev_help },
	{ "device", "driver", device_list, device_help },
	{ "object", "qom-type", object_list, object_help },
	{ "chardev", "backend", chardev_list, chardev_help },
};

static const struct help_topic *find_topic(const char *option)
{
	size_t i;

	for (i = 0; i < sizeof(topics) / sizeof(topics[0]); i++)
		if (!strcmp(topics[i].option, option))
			return &topics[i];
	return NULL;
}

bool cli_help_for(const char *option, const char *text)
{
	const struct help_topic *topic = find_topic(option);
	struct twx_opts *o;
	const char *type;
	bool help;

	if (!topic || twx_opts_parse(&o, text, topic->implied, NULL))
		return false;
	help = twx_opts_help(o);
	if (help) {
		type = twx_opts_raw(o, topic->implied);
		/* An unknown type with help is left to the constructor, which knows the right
		 * sentence. */
		if (!type || !strcmp(type, "help") || !strcmp(type, "?"))
			topic->list();
		else
			help = topic->one(type);
	}
	twx_opts_free(o);
	return help;
}

/* Known types lead to their own table, others to the list of types. */
static bool topic_knows(const struct help_topic *topic, const char *type)
{
	const struct twx_backend_type *const *t = twx_backend_types();
	const struct twx_nic_model *const *m = twx_nic_models();
	const struct twx_filter_type *const *f = twx_filter_types();
	const struct twx_chardev_type *const *c = twx_chardev_types();

	if (topic->list == netdev_list)
		while (*t && strcmp((*t)->name, type))
			t++;
	if (topic->list == device_list)
		while (*m && strcmp((*m)->name, type))
			m++;
	if (topic->list == object_list)
		while (*f && strcmp(twx_filter_type_name(*f), type))
			f++;
	if (topic->list == chardev_list)
		while (*c && strcmp(twx_chardev_type_name(*c), type))
			c++;
	return topic->list == netdev_list    ? *t != NULL
	       : topic->list == device_list  ? *m != NULL
	       : topic->list == chardev_list ? *c != NULL
					     : *f != NULL;
}

void cli_default_hint(const char *command, const char *option, const char *text,
		      struct twx_error *e)
{
	const char *cmd =
		strcmp(command, "vm") ? "serve" : "vm"; /* `qemu` passes help on to QEMU */
	const struct help_topic *topic = find_topic(option);
	const char *type = NULL;
	struct twx_opts *o = NULL;

	if (!topic || e->hint[0])
		return;
	if (!twx_opts_parse(&o, text, topic->implied, NULL))
		type = twx_opts_raw(o, topic->implied);
	if (type && topic_knows(topic, type))
		twx_error_hint(e, "its options: twinax %s -%s %s,help", cmd, option, type);
	else
		twx_error_hint(e, "what there is: twinax %s -%s help", cmd, option);
	twx_opts_free(o);
}
