/* SPDX-License-Identifier: BSD-3-Clause */
/* Filters: made from text, kept in a chain on a backend's port, run for each frame. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "net/filter.h"
#include "net/net_priv.h"

static const struct twx_filter_type *const filter_list[] = { &filter_dump, &filter_impair, NULL };

const struct twx_filter_type *const *twx_filter_types(void)
{
	return filter_list;
}

const char *twx_filter_type_name(const struct twx_filter_type *type)
{
	return type->name;
}

const char *twx_filter_type_help(const struct twx_filter_type *type)
{
	return type->help;
}

const struct twx_opt_desc *twx_filter_type_options(const struct twx_filter_type *type)
{
	return type->options;
}

static bool filter_one(struct twx_filter *f, enum filter_queue way, struct twx_port *sender,
		       const struct twx_frame *frame)
{
	if (!f->on || !(f->queue & way))
		return false;
	TWX_TRACE(f->port->trace, TWX_HOP_FILTER, f->id, frame->len, way);
	return f->type->frame(f, sender, frame);
}

static bool filter_run_tx(struct twx_filter *f, struct twx_port *sender,
			  const struct twx_frame *frame)
{
	for (; f; f = f->next)
		if (filter_one(f, FILTER_TX, sender, frame))
			return true;
	return false;
}

/* The one in front of @f in its chain, or null. */
static struct twx_filter *filter_before(struct twx_filter *f)
{
	return f == f->port->filters ? NULL : f->prev;
}

static bool filter_run_rx(struct twx_filter *f, struct twx_port *sender,
			  const struct twx_frame *frame)
{
	for (; f; f = filter_before(f))
		if (filter_one(f, FILTER_RX, sender, frame))
			return true;
	return false;
}

static struct twx_filter *filter_last(struct twx_port *port)
{
	return port->filters ? port->filters->prev : NULL;
}

bool filter_run(struct twx_port *sender, struct twx_port *receiver, const struct twx_frame *frame)
{
	return filter_run_tx(sender->filters, sender, frame) ||
	       filter_run_rx(filter_last(receiver), sender, frame);
}

bool filter_run_behind(struct twx_filter *f, struct twx_port *sender, struct twx_port *receiver,
		       const struct twx_frame *frame)
{
	if (f->port == receiver)
		return filter_run_rx(filter_before(f), sender, frame);
	return filter_run_tx(f->next, sender, frame) ||
	       filter_run_rx(filter_last(receiver), sender, frame);
}

void filter_purge(struct twx_port *port)
{
	struct twx_filter *f;

	for (f = port->filters; f; f = f->next)
		if (f->type->purge)
			f->type->purge(f);
}

static struct twx_filter *filter_find(struct twx_net *net, const char *id)
{
	struct twx_filter *f = net->filters;

	while (f && strcmp(f->id, id))
		f = f->net_next;
	return f;
}

static const struct twx_filter_type *filter_find_type(const char *name)
{
	const struct twx_filter_type *const *t = filter_list;

	while (*t && strcmp((*t)->name, name))
		t++;
	return *t;
}

/* Links @f in front of @at; null: at the end. */
static void filter_link(struct twx_filter *f, struct twx_filter *at)
{
	struct twx_filter **head = &f->port->filters, *tail = *head ? (*head)->prev : NULL;

	f->next = at;
	f->prev = at ? at->prev : tail;
	if (!*head) {
		f->prev = f;
		*head = f;
	} else if (at == *head) {
		at->prev = f;
		*head = f;
	} else if (at) {
		at->prev->next = f;
		at->prev = f;
	} else {
		tail->next = f;
		(*head)->prev = f;
	}
}

static void filter_unlink(struct twx_filter *f)
{
	struct twx_filter **head = &f->port->filters;

	if (f->next)
		f->next->prev = f->prev;
	else if (*head != f)
		(*head)->prev = f->prev;
	if (*head == f)
		*head = f->next;
	else
		f->prev->next = f->next;
}

/* By position= and insert=, which filter_parse() has checked. */
static void filter_place(struct twx_filter *f)
{
	struct twx_filter *at;

	if (!strcmp(f->position, "head")) {
		filter_link(f, f->port->filters);
	} else if (!strcmp(f->position, "tail")) {
		filter_link(f, NULL);
	} else {
		at = filter_find(f->net, f->position + 3);
		filter_link(f, f->insert_before ? at : at->next);
	}
}

static int filter_parse_place(struct twx_filter *f, struct twx_error *e)
{
	const char *insert = twx_opts_str(f->opts, "insert"),
		   *position = twx_opts_str(f->opts, "position");
	struct twx_filter *at;

	f->insert_before = !strcmp(insert, "before");
	if (!f->insert_before && strcmp(insert, "behind"))
		return twx_error_set(
			e, EINVAL,
			"Invalid value for netfilter insert, should be 'before' or 'behind'");
	if (strlen(position) >= sizeof(f->position))
		return twx_error_set(e, EINVAL, "filter '%s' not found", position);
	memcpy(f->position, position, strlen(position) + 1);
	if (!strcmp(position, "head") || !strcmp(position, "tail"))
		return 0;
	if (strncmp(position, "id=", 3))
		return twx_error_set(e, EINVAL,
				     "Parameter 'position' expects 'head', 'tail' or 'id=<id>'");
	at = filter_find(f->net, position + 3);
	if (!at)
		return twx_error_set(e, ENOENT, "filter '%s' not found", position + 3);
	if (at->port != f->port)
		return twx_error_set(e, EINVAL, "filter '%s' belongs to a different netdev",
				     position + 3);
	return 0;
}

static int filter_parse(struct twx_filter *f, struct twx_error *e)
{
	const char *id = twx_opts_raw(f->opts, "id"), *status, *queue;
	struct twx_backend *b;

	if (!id)
		return twx_error_set(e, EINVAL, "Parameter 'id' is missing");
	if (strlen(id) >= sizeof(f->id))
		return twx_error_set(e, EINVAL, "filter id '%s' is longer than %zu bytes", id,
				     sizeof(f->id) - 1);
	if (filter_find(f->net, id))
		return twx_error_set(
			e, EEXIST,
			"attempt to add duplicate property '%s' to object (type 'container')", id);
	memcpy(f->id, id, strlen(id) + 1);
	b = twx_backend_find(f->net, twx_opts_str(f->opts, "netdev"));
	if (!b) {
		twx_error_set(e, ENODEV, "Parameter 'netdev' expects a network backend id");
		return twx_error_hint(e, "filter %s names '%s': define that -netdev", id,
				      twx_opts_str(f->opts, "netdev"));
	}
	if (b->n_ports != 1 || b->n_workers)
		return twx_error_set(e, EINVAL, "filter %s: multiqueue is not supported", id);
	f->port = b->ports[0];
	if (f->port->ops->vhost && f->port->ops->vhost(f->port)) {
		twx_error_set(e, EINVAL, "filter %s: Vhost is not supported", id);
		return twx_error_hint(e, "its frames do not pass this program");
	}
	status = twx_opts_str(f->opts, "status");
	f->on = !strcmp(status, "on");
	if (!f->on && strcmp(status, "off"))
		return twx_error_set(e, EINVAL,
				     "Invalid value for netfilter status, should be 'on' or 'off'");
	queue = twx_opts_str(f->opts, "queue");
	f->queue = !strcmp(queue, "rx") ? FILTER_RX : !strcmp(queue, "tx") ? FILTER_TX : FILTER_ALL;
	return filter_parse_place(f, e);
}

static void filter_destroy(struct twx_filter *f)
{
	twx_opts_free(f->opts);
	free(f->priv);
	free(f);
}

int twx_filter_new(struct twx_filter **out, struct twx_net *net, const char *text,
		   struct twx_error *e)
{
	const struct twx_filter_type *type;
	struct twx_error own;
	struct twx_filter *f;
	const char *name;
	int ret;

	e = e ? e : &own;
	f = calloc(1, sizeof(*f));
	if (!f)
		return twx_error_set(e, ENOMEM, "filter: out of memory");
	f->net = net;
	ret = twx_opts_parse(&f->opts, text, "qom-type", e);
	if (ret < 0)
		goto fail;
	name = twx_opts_raw(f->opts, "qom-type");
	type = name ? filter_find_type(name) : NULL;
	if (!type) {
		ret = name ? twx_error_set(e, EINVAL,
					   "Parameter 'qom-type' does not accept value '%s'", name)
			   : twx_error_set(e, EINVAL, "Parameter 'qom-type' is missing");
		twx_error_hint(e, "see -object help");
		goto fail;
	}
	f->type = type;
	ret = twx_opts_check(f->opts, type->options, e);
	if (ret < 0) {
		if (!*e->hint)
			twx_error_hint(e, "see -object %s,help", type->name);
		goto fail;
	}
	ret = filter_parse(f, e);
	if (ret < 0)
		goto fail;
	f->priv = calloc(1, type->priv_size);
	ret = f->priv ? type->open(f, f->opts, e)
		      : twx_error_set(e, ENOMEM, "filter: out of memory");
	if (ret < 0)
		goto fail;
	filter_place(f);
	f->net_next = net->filters;
	net->filters = f;
	if (out)
		*out = f;
	return 0;
fail:
	filter_destroy(f);
	return ret;
}

void twx_filter_free(struct twx_filter *f)
{
	struct twx_filter **at;

	if (!f)
		return;
	for (at = &f->net->filters; *at != f; at = &(*at)->net_next)
		;
	*at = f->net_next;
	filter_unlink(f);
	f->type->close(f);
	filter_destroy(f);
}

void filter_info(struct twx_filter *f, char *buf, size_t size)
{
	char own[512] = "";

	f->type->info(f, own, sizeof(own));
	snprintf(buf, size, "%s: type=%s,%sposition=%s,status=%s,insert=%s,netdev=%s,queue=%s",
		 f->id, f->type->name, own, f->position, f->on ? "on" : "off",
		 f->insert_before ? "before" : "behind", twx_opts_str(f->opts, "netdev"),
		 twx_opts_str(f->opts, "queue"));
}
