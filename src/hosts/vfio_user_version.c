/* SPDX-License-Identifier: BSD-3-Clause */
/* The first message: which version both sides speak, and what they are capable of, as JSON. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "hosts/vfio_user.h"

#define DEFAULT_XFER 1048576 /* for a client that does not say */

/* What we answer to a number that the client proposes; it may propose anything that is one. */
static const struct {
	const char *name;
	json_int_t ours;
} limits[] = {
	{ "max_msg_fds", VFU_MAX_FDS },
	{ "max_data_xfer_size", VFU_MAX_XFER },
	{ "max_dma_maps", VFU_MAX_MAPS },
	{ "pgsizes", VFU_PAGE },
};

static const struct {
	const char *name;
	json_int_t ours;
} migration_limits[] = {
	{ "pgsize", VFU_PAGE },
	{ "max_bitmap_size", VFU_MAX_XFER - 64 },
};

/* 0 when it is missing or a number from 0 on, which *@value then is. */
static int get_number(const json_t *from, const char *name, uint64_t *value)
{
	const json_t *v = json_object_get(from, name);

	if (v == NULL)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return -EINVAL;
	*value = (uint64_t)json_integer_value(v);
	return 0;
}

static int check(const json_t *caps, uint64_t *client_xfer)
{
	const json_t *multi = json_object_get(caps, "write_multiple");
	uint64_t ignored;
	int err = 0;

	for (size_t i = 0; i < array_size(limits) && err == 0; i++)
		err = get_number(caps, limits[i].name, &ignored);
	if (err == 0)
		err = get_number(caps, "max_data_xfer_size", client_xfer);
	if (multi != NULL && !json_is_boolean(multi))
		err = -EINVAL;
	return err;
}

static json_t *answer_migration(const json_t *asked)
{
	json_t *out = json_object();

	for (size_t i = 0; i < array_size(migration_limits); i++)
		if (json_is_integer(json_object_get(asked, migration_limits[i].name)))
			json_object_set_new(out, migration_limits[i].name,
					    json_integer(migration_limits[i].ours));
	return out;
}

/* "The capability list must be a subset of those proposed." */
static json_t *answer_caps(const json_t *asked)
{
	const json_t *migration = json_object_get(asked, "migration");
	json_t *caps = json_object();

	for (size_t i = 0; i < array_size(limits); i++)
		if (json_object_get(asked, limits[i].name) != NULL)
			json_object_set_new(caps, limits[i].name, json_integer(limits[i].ours));
	if (json_is_object(migration))
		json_object_set_new(caps, "migration", answer_migration(migration));
	if (json_is_true(json_object_get(asked, "write_multiple")))
		json_object_set_new(caps, "write_multiple", json_true());
	return json_pack("{s:o}", "capabilities", caps);
}

/* QEMU reads no more of an answer than its own message was long: it is as compact as can be. */
static int send_caps(struct vfu_host *vfu, struct vfu_msg *m, const struct vfu_version *v,
		     const json_t *asked)
{
	json_t *root = answer_caps(asked);
	char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
	uint32_t len = text != NULL ? (uint32_t)strlen(text) + 1 : 0;
	uint8_t *room = text != NULL ? vfu_stream_room(vfu, (uint32_t)sizeof(*v) + len) : NULL;

	if (room != NULL) {
		memcpy(room, v, sizeof(*v));
		memcpy(room + sizeof(*v), text, len);
		m->reply_len = (uint32_t)sizeof(*v) + len;
	}
	free(text);
	json_decref(root);
	return room != NULL ? 0 : -ENOMEM;
}

static int negotiate(struct vfu_host *vfu, struct vfu_msg *m, const struct vfu_version *v,
		     const json_t *root)
{
	const json_t *caps = json_object_get(root, "capabilities");
	uint64_t xfer = DEFAULT_XFER;
	int err;

	if (!json_is_object(root) || (caps != NULL && !json_is_object(caps)))
		return -EINVAL;
	err = check(caps, &xfer);
	if (err == 0)
		err = send_caps(vfu, m, v, caps);
	if (err == 0)
		vfu->client_xfer = xfer;
	return err;
}

int vfu_version(struct vfu_host *vfu, struct vfu_msg *m)
{
	const char *text = (const char *)m->data + sizeof(struct vfu_version);
	size_t len = m->len - sizeof(struct vfu_version);
	struct vfu_version v;
	json_t *root;
	int err;

	VFU_GET(m, &v);
	if (vfu->negotiated || v.major != VFU_MAJOR)
		return -EINVAL;
	v.minor = min(v.minor, (uint16_t)VFU_MINOR);
	if (len == 0) {
		vfu->client_xfer = DEFAULT_XFER;
		err = vfu_answer(vfu, m, &v, sizeof(v));
	} else {
		if (text[len - 1] != '\0')
			return -EINVAL;
		root = json_loadb(text, strnlen(text, len), JSON_REJECT_DUPLICATES, NULL);
		err = root != NULL ? negotiate(vfu, m, &v, root) : -EINVAL;
		json_decref(root);
	}
	vfu->negotiated = err == 0;
	return err;
}
