/* SPDX-License-Identifier: BSD-3-Clause */
/* Finds where one JSON object ends in a byte stream, without parsing it. */
#include "control/json_frame.h"

static bool is_space(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Strings hold no control characters and no 0xff: both end a value that went wrong, so that a
 * client which lost its way is understood again from the next line on. */
static bool ends_everything(unsigned char c)
{
	return c == 0xff || (c < 0x20 && !is_space(c));
}

static enum json_frame_result outside(struct json_frame *f, unsigned char c)
{
	if (c == '{' || c == '[') {
		if (f->junk)
			return JSON_FRAME_BAD; /* the value itself begins at this byte */
		f->depth = 1;
		return JSON_FRAME_MORE;
	}
	if (f->junk && (c == '\n' || c == 0xff))
		return JSON_FRAME_BAD;
	if (!is_space(c) && c != 0xff && c != 0x1e) /* 0x1e: record separator of RFC 7464 */
		f->junk = true;
	return JSON_FRAME_MORE;
}

static enum json_frame_result inside(struct json_frame *f, unsigned char c)
{
	if (ends_everything(c))
		return JSON_FRAME_BAD;
	if (f->in_string) {
		if (f->escaped)
			f->escaped = false;
		else if (c == '\\')
			f->escaped = true;
		else if (c == '"')
			f->in_string = false;
		return c < 0x20 ? JSON_FRAME_BAD : JSON_FRAME_MORE;
	}
	if (c == '"') {
		f->in_string = true;
	} else if (c == '{' || c == '[') {
		if (++f->depth > JSON_FRAME_DEPTH)
			f->too_deep = true;
	} else if ((c == '}' || c == ']') && --f->depth == 0) {
		return f->too_deep ? JSON_FRAME_BAD : JSON_FRAME_VALUE;
	}
	return JSON_FRAME_MORE;
}

enum json_frame_result json_frame_scan(struct json_frame *f, const char *buf, size_t len,
				       size_t *end)
{
	enum json_frame_result r;
	unsigned char c;

	while (f->pos < len) {
		c = (unsigned char)buf[f->pos];
		if (!f->depth) {
			r = outside(f, c);
			/* An opening bracket behind junk is left for the next value. */
			if (r != JSON_FRAME_BAD || (c != '{' && c != '['))
				f->pos++;
		} else {
			r = inside(f, c);
			f->pos++;
		}
		if (r != JSON_FRAME_MORE) {
			*end = f->pos;
			return r;
		}
	}
	return JSON_FRAME_MORE;
}
