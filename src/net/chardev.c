/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chardevs: made from text, found by id, taken by one user at a time.
 *
 * A chardev is a stream of bytes with a name. Its kind opens descriptors (chardev_plain.c) or makes
 * connections (chardev_socket.c); the bytes themselves go through chardev_io.c. Whoever uses one
 * (a serial port, a forward of `user`, a filter) takes it by id; vhost-user, which passes
 * descriptors along its socket, claims the address and connects by itself. So a socket is
 * connected, or listened on, when it is taken, not before.
 *
 * Differences from QEMU: wait=on does not hold up the start (vhost-user is told of it); nobody can
 * share a chardev (mux=).
 */
#include "net/chardev_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "net/net_priv.h"

static const struct twx_chardev_type *const chardev_list[] = {
	&chardev_fd,	 &chardev_file,	 &chardev_null, &chardev_pipe,
	&chardev_socket, &chardev_stdio, NULL,
};

const struct twx_chardev_type *const *twx_chardev_types(void)
{
	return chardev_list;
}

const char *twx_chardev_type_name(const struct twx_chardev_type *type)
{
	return type->name;
}

const char *twx_chardev_type_help(const struct twx_chardev_type *type)
{
	return type->help;
}

const struct twx_opt_desc *twx_chardev_type_options(const struct twx_chardev_type *type)
{
	return type->options;
}

struct twx_chardev *chardev_find(struct twx_net *net, const char *id)
{
	struct twx_chardev *c = net->chardevs;

	while (c && strcmp(c->id, id))
		c = c->next;
	return c;
}

const char *chardev_id(const struct twx_chardev *c)
{
	return c->id;
}

/* --- making --- */

static int chardev_set_type(struct twx_chardev *c, struct twx_error *e)
{
	const struct twx_chardev_type *const *t = chardev_list;
	const char *name = twx_opts_raw(c->opts, "backend");
	char list[256] = "";
	size_t len = 0;

	if (!name) {
		const char *id = twx_opts_raw(c->opts, "id");

		return twx_error_set(e, EINVAL, "chardev: \"%s\" missing backend", id ? id : "");
	}
	while (*t && strcmp((*t)->name, name))
		t++;
	c->type = *t;
	if (c->type)
		return 0;
	for (t = chardev_list; *t && len < sizeof(list); t++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "",
					(*t)->name);
	twx_error_set(e, EINVAL, "'%s' is not a valid char driver name", name);
	return twx_error_hint(e, "known kinds: %s", list);
}

static int chardev_set_id(struct twx_chardev *c, struct twx_error *e)
{
	const char *id = twx_opts_raw(c->opts, "id");

	if (!id) {
		twx_error_set(e, EINVAL, "chardev: no id specified");
		return twx_error_hint(e, "give it a name: -chardev %s,id=NAME", c->type->name);
	}
	if (strlen(id) >= sizeof(c->id))
		return twx_error_set(e, EINVAL, "chardev id '%s' is longer than %zu bytes", id,
				     sizeof(c->id) - 1);
	if (chardev_find(c->net, id))
		return twx_error_set(e, EEXIST, "Duplicate ID '%s' for chardev", id);
	memcpy(c->id, id, strlen(id) + 1);
	return 0;
}

static int chardev_prepare(struct twx_chardev *c, const char *text, struct twx_error *e)
{
	int err = twx_opts_parse(&c->opts, text, "backend", e);

	if (!err)
		err = chardev_set_type(c, e);
	if (!err)
		err = chardev_set_id(c, e);
	if (err)
		return err;
	err = twx_opts_check(c->opts, c->type->options, e);
	if (err) {
		if (!*e->hint)
			twx_error_hint(e, "see -chardev %s,help", c->type->name);
		return err;
	}
	if (twx_opts_warning(c->opts))
		twx_log(c->net, TWX_LOG_WARNING, "chardev %s: %s", c->id,
			twx_opts_warning(c->opts));
	c->priv = calloc(1, max(c->type->priv_size, (size_t)1));
	return c->priv ? 0 : twx_error_set(e, ENOMEM, "chardev %s: out of memory", c->id);
}

static void chardev_destroy(struct twx_chardev *c)
{
	twx_opts_free(c->opts);
	free(c->queue);
	free(c->priv);
	free(c);
}

int twx_chardev_new(struct twx_chardev **out, struct twx_net *net, const char *text,
		    struct twx_error *e)
{
	struct twx_chardev *c = calloc(1, sizeof(*c));
	struct twx_error own;
	int err;

	e = e ? e : &own;
	if (!c)
		return twx_error_set(e, ENOMEM, "chardev: out of memory");
	c->net = net;
	c->loop = net->loop;
	chardev_io_init(c);
	err = chardev_prepare(c, text, e);
	if (!err) {
		err = c->type->open(c, c->opts, e);
		if (err)
			twx_error_prefix(e, "chardev %s: ", c->id);
	}
	if (err) {
		chardev_destroy(c);
		return err;
	}
	c->next = net->chardevs;
	net->chardevs = c;
	if (out)
		*out = c;
	return 0;
}

void chardev_free(struct twx_chardev *c)
{
	struct twx_chardev **at = &c->net->chardevs;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	chardev_release(c);
	c->type->close(c);
	chardev_destroy(c);
}

/* --- QEMU's short form, as -serial and guestfwd= have it --- */

/* Doubles commas, which end a value otherwise; false: too long. */
static bool chardev_quote(char *out, size_t size, const char *value, size_t len)
{
	size_t n = 0;

	for (; len; value++, len--) {
		if (n + 3 > size)
			return false;
		out[n++] = *value;
		if (*value == ',')
			out[n++] = ',';
	}
	out[n] = '\0';
	return true;
}

/* "HOST:PORT[,MORE]" behind "tcp:". */
static int chardev_text_tcp(char *out, size_t size, const char *id, const char *rest)
{
	size_t len = strcspn(rest, ",");
	const char *colon = memrchr(rest, ':', len);
	int host = colon ? (int)(colon - rest) : 0;

	if (!colon)
		return -EINVAL;
	/* [::1]:80 */
	if (host > 1 && rest[0] == '[' && rest[host - 1] == ']') {
		rest++;
		host -= 2;
	}
	return snprintf(out, size, "socket,id=%s,host=%.*s,port=%s", id, host, rest, colon + 1) <
			       (int)size
		       ? 0
		       : -ENAMETOOLONG;
}

/* What -chardev would be given for @text; -ENOENT: it begins with none of the kinds. */
static int chardev_expand(char *out, size_t size, const char *id, const char *text)
{
	static const struct {
		const char *prefix, *kind;
		bool more; /* options may follow, behind a comma */
	} forms[] = {
		{ "unix:", "socket", true },
		{ "pipe:", "pipe", false },
		{ "file:", "file", false },
	};
	char path[512];
	size_t i;

	if (!strcmp(text, "null") || !strcmp(text, "stdio"))
		return snprintf(out, size, "%s,id=%s", text, id) < (int)size ? 0 : -ENAMETOOLONG;
	if (!strncmp(text, "tcp:", 4))
		return chardev_text_tcp(out, size, id, text + 4);
	for (i = 0; i < array_size(forms); i++) {
		const char *rest = text + strlen(forms[i].prefix);
		size_t len;

		if (strncmp(text, forms[i].prefix, strlen(forms[i].prefix)))
			continue;
		len = forms[i].more ? strcspn(rest, ",") : strlen(rest);
		if (!chardev_quote(path, sizeof(path), rest, len))
			return -ENAMETOOLONG;
		return snprintf(out, size, "%s,id=%s,path=%s%s", forms[i].kind, id, path,
				rest + len) < (int)size
			       ? 0
			       : -ENAMETOOLONG;
	}
	return -ENOENT;
}

int chardev_by_text(struct twx_chardev **out, struct twx_net *net, const char *id, const char *text,
		    struct twx_error *e)
{
	const char *name = strncmp(text, "chardev:", 8) ? text : text + 8;
	char full[1024];
	int err;

	*out = chardev_find(net, name);
	if (*out)
		return 0;
	err = name == text ? chardev_expand(full, sizeof(full), id, text) : -ENOENT;
	if (!err) {
		err = twx_chardev_new(out, net, full, e);
		return err ? err : 1;
	}
	if (err == -ENOENT) {
		twx_error_set(e, ENOENT, "chardev \"%s\" not found", name);
		return twx_error_hint(e, "make it first: -chardev KIND,id=%s,...", name);
	}
	return twx_error_set(e, -err, "'%s' is no chardev: %s", text, strerror(-err));
}

/* --- users --- */

static int chardev_check_free(const struct twx_chardev *c, struct twx_error *e)
{
	if (!c->user && !c->claimed)
		return 0;
	twx_error_set(e, EBUSY, "Device '%s' is in use", c->id);
	return twx_error_hint(e, "a chardev has one user: make another one");
}

int chardev_take(struct twx_chardev *c, struct chardev_user *u, struct twx_error *e)
{
	int err = chardev_check_free(c, e);

	if (err)
		return err;
	c->user = u;
	c->room = 0;
	err = c->type->take ? c->type->take(c, e) : 0;
	if (err) {
		c->user = NULL;
		twx_error_prefix(e, "chardev %s: ", c->id);
	}
	return err;
}

void chardev_release(struct twx_chardev *c)
{
	if (c->user)
		chardev_room(c, 0);
	if (c->user && c->type->release)
		c->type->release(c);
	c->user = NULL;
	c->claimed = false;
	c->starved = false;
}

const struct chardev_socket *chardev_claim_socket(struct twx_chardev *c, struct twx_error *e)
{
	const struct chardev_socket *s;

	if (chardev_check_free(c, e))
		return NULL;
	if (!c->type->claim) {
		twx_error_set(e, EINVAL, "chardev \"%s\" is not a unix socket", c->id);
		twx_error_hint(e, "make it so: -chardev socket,id=%s,path=PATH", c->id);
		return NULL;
	}
	s = c->type->claim(c, e);
	c->claimed = s != NULL;
	return s;
}
