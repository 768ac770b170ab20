/* SPDX-License-Identifier: Apache-2.0
 *
 * pump.h - walks two cursors over a stream's blocks: the sink's (a file, a socket) and the
 * digest's.  A block goes back to its reader when both are past it, so the slower of the two sets
 * the pace.
 *
 * The sink pulls: it looks at pump_block(), takes what it has dealt with, and is told when there
 * may be more.  All stores move their bytes through this.
 */
#ifndef UPLOAD_PUMP_H
#define UPLOAD_PUMP_H

#include "base/store.h"
#include "base/stream.h"

#include <uv.h>

struct pump;

typedef void pump_fn(void *data);

struct pump_options {
	uv_loop_t *loop;
	struct stream *stream;
	const char *digest; /* see digest_new(); NULL: none */
	store_progress_fn *progress; /* hears the bytes that the sink took; NULL: nobody */
	void *data; /* for `progress` */
};

/* Begins to read the whole stream.  NULL and *err when it can't. */
struct pump *pump_open(const struct pump_options *options, struct qmpsnap_error *err);

/* Who is told, from now on, that there are more blocks, an error, or the end; never from within a
 * call into the pump.  Look first, then wait: what happened before is not told again. */
void pump_on_event(struct pump *p, pump_fn *event, void *data);

/* The i-th block that is ready and that the sink has not taken, or NULL; valid until taken. */
const struct stream_block *pump_block(struct pump *p, size_t i);

/* The sink is done with its n oldest blocks.  May call `progress`. */
void pump_take(struct pump *p, size_t n);

/* What the sink has yet to take, ready or not. */
uint64_t pump_left_bytes(const struct pump *p);

/* Whether the sink has taken nothing yet. */
bool pump_is_untouched(const struct pump *p);

/* NULL, or why no more will come: the reader's failure or the digest's. */
const struct qmpsnap_error *pump_error(const struct pump *p);

/* Whether sink and digest are both past the last byte. */
bool pump_finished(const struct pump *p);

/* The digest in hex, once finished. */
const char *pump_digest(const struct pump *p);

/* Ends and frees it, finished or not.  `closed` follows, later, when no digest and no read is at
 * work on the blocks any more.  The sink must have let go of them before. */
void pump_close(struct pump *p, pump_fn *closed, void *data);

#endif
