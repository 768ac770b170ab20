/* SPDX-License-Identifier: Apache-2.0
 *
 * scout.h - reads a stream part by part, in order, for the digest of each part and that of the
 * whole: a part's is needed before the part is sent, and parts that are sent at the same time have
 * no order that the whole's could follow.
 */
#ifndef UPLOAD_SCOUT_H
#define UPLOAD_SCOUT_H

#include "base/stream.h"
#include "upload/digest.h"

#include <uv.h>

struct scout;

/* A part is read: `hex` is its digest, borrowed; or why it can't be read. */
typedef void scout_done_fn(const struct qmpsnap_error *err, const char *hex, void *data);
typedef void scout_closed_fn(void *data);

struct scout_options {
	uv_loop_t *loop;
	struct stream *stream;
	const char *part_digest, *whole_digest; /* see digest_new() */
	scout_done_fn *done;
	void *data;
};

/* Nothing is read yet.  NULL and *err when it can't. */
struct scout *scout_new(const struct scout_options *options, struct qmpsnap_error *err);

/* Reads the next `length` bytes; one call at a time.  `done` fires once, later, unless it is closed
 * before. */
void scout_read(struct scout *s, uint64_t length);

/* The digest of all that was read; only once, when nothing more is to come. */
bool scout_finish(struct scout *s, char hex[static DIGEST_HEX_BYTES], struct qmpsnap_error *err);

/* Ends and frees it; `closed` follows, later. */
void scout_close(struct scout *s, scout_closed_fn *closed, void *data);

#endif
