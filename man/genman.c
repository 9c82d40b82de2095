/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fills a manual page from the option tables, so that the two cannot differ: stdin to stdout, where
 * a line
 * "@backends@", "@nics@", "@hosts@" or "@filters@" stands for a subsection per type.
 */
#include <stdio.h>
#include <string.h>

#include <twinax/twinax.h>

/* Text as roff wants it: hyphens that can be copied, no escapes and no requests by accident. */
static void put_text(const char *s)
{
	if (*s == '.' || *s == '\'')
		fputs("\\&", stdout);
	for (; *s; s++) {
		if (*s == '-')
			fputs("\\-", stdout);
		else if (*s == '\\')
			fputs("\\e", stdout);
		else
			putchar(*s);
	}
}

/* What stands behind the equals sign. */
static const char *value_word(const struct twx_opt_desc *o)
{
	if (o->type == TWX_OPT_BOOL)
		return "on|off";
	if (o->words)
		return o->words;
	return o->type == TWX_OPT_SIZE ? "SIZE" : o->type == TWX_OPT_INT ? "NUMBER" : "TEXT";
}

static void put_options(const struct twx_opt_desc *o)
{
	for (; o && o->name; o++) {
		printf(".TP\n\\fB");
		put_text(o->name);
		printf("=\\fR\\fI");
		put_text(value_word(o));
		printf("\\fR\n");
		put_text(o->help ? o->help : "");
		if (o->required)
			printf("; required");
		if (o->type == TWX_OPT_LIST)
			printf("; may be repeated");
		if ((o->min || o->max) && (o->type == TWX_OPT_INT || o->type == TWX_OPT_SIZE))
			printf("; %lld to %lld", (long long)o->min, (long long)o->max);
		printf(".\n");
		if (o->def) {
			printf("Default: ");
			put_text(*o->def ? o->def : "empty");
			printf(".\n");
		}
	}
}

static void put_section(const char *before, const char *name, const char *after, const char *help)
{
	printf(".SS ");
	put_text(before);
	put_text(name);
	put_text(after);
	putchar('\n');
	put_text(help);
	printf(".\n");
}

static void put_backends(void)
{
	const struct twx_backend_type *const *t;

	for (t = twx_backend_types(); *t; t++) {
		put_section("-netdev ", (*t)->name, "", (*t)->help);
		put_options((*t)->options);
	}
}

static void put_nics(void)
{
	const struct twx_nic_model *const *m;

	for (m = twx_nic_models(); *m; m++) {
		put_section("-device ", (*m)->name, "", (*m)->help);
		put_options((*m)->options);
	}
}

static void put_hosts(void)
{
	const struct twx_host_type *const *h;
	const struct twx_host_bus *bus;

	for (h = twx_host_types(); *h; h++) {
		put_section("export=", (*h)->name, ":ADDRESS", (*h)->help);
		put_options((*h)->options);
		for (bus = (*h)->buses; bus->bus; bus++) {
			if (!bus->options)
				continue;
			printf(".PP\nWith a NIC that is a %s device:\n", bus->bus);
			put_options(bus->options);
		}
	}
}

static void put_filters(void)
{
	const struct twx_filter_type *const *f;

	for (f = twx_filter_types(); *f; f++) {
		put_section("-object ", twx_filter_type_name(*f), "", twx_filter_type_help(*f));
		put_options(twx_filter_type_options(*f));
	}
}

static const struct {
	const char *line;
	void (*put)(void);
} places[] = {
	{ "@backends@\n", put_backends },
	{ "@nics@\n", put_nics },
	{ "@hosts@\n", put_hosts },
	{ "@filters@\n", put_filters },
};

int main(void)
{
	char line[1024];
	size_t i;

	while (fgets(line, sizeof(line), stdin)) {
		for (i = 0; i < sizeof(places) / sizeof(places[0]); i++)
			if (!strcmp(places[i].line, line))
				break;
		if (i < sizeof(places) / sizeof(places[0]))
			places[i].put();
		else
			fputs(line, stdout);
	}
	return ferror(stdin) || fflush(stdout);
}
