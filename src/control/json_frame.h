/* SPDX-License-Identifier: BSD-3-Clause */
/* Finds where one JSON object ends in a byte stream, without parsing it. */
#ifndef CONTROL_JSON_FRAME_H
#define CONTROL_JSON_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_FRAME_DEPTH 64 /* nesting; QMP needs four */

enum json_frame_result {
	JSON_FRAME_MORE,  /* no complete value yet */
	JSON_FRAME_VALUE, /* an object or array ends at *end; a JSON parser judges it */
	JSON_FRAME_BAD,	  /* what ends at *end can be no value: report it and go on behind it */
};

/* Zero it for the start of a stream and after every result but MORE. */
struct json_frame {
	size_t pos; /* bytes of the buffer already looked at */
	unsigned int depth;
	bool in_string, escaped, junk, too_deep;
};

/*
 * Looks at buf[f->pos..len), each byte once however the stream is cut. The buffer begins where the
 * last value ended, and keeps its contents between calls.
 */
enum json_frame_result json_frame_scan(struct json_frame *f, const char *buf, size_t len,
				       size_t *end);

#endif
