/* SPDX-License-Identifier: Apache-2.0
 *
 * receiver.h - takes the bytes of an image as a shelf brings them, hashes them and writes them into
 * a file on a pool thread; blocks that are zero become holes.
 */
#ifndef IMAGES_RECEIVER_H
#define IMAGES_RECEIVER_H

#include "base/shelf.h"
#include "upload/digest.h"

#include <uv.h>

struct receiver;

typedef void receiver_fn(void *data);
typedef void receiver_done_fn(
	const struct qmpsnap_error *err, uint64_t n_bytes, const char *hex, void *data);

struct receiver_options {
	uv_loop_t *loop;
	int fd; /* empty, seekable, borrowed; -1: they are only hashed */
	const char *path; /* for messages; borrowed */
	const char *algorithm; /* see digest_new() */
	uint64_t most_bytes; /* more than that is an error */
	receiver_fn *room; /* the sink that was full has room again; never from within take() */
	receiver_fn *failed; /* nothing more will be taken, see receiver_finish() */
	store_progress_fn *progress;
	void *data;
};

/* NULL and *err when it can't. */
struct receiver *receiver_new(const struct receiver_options *options, struct qmpsnap_error *err);

struct shelf_sink *receiver_sink(struct receiver *r);

/* No more bytes come.  Writes the rest, sets the file's length and syncs it; `done` fires once,
 * later, with the error that there was, or the number of bytes and their digest.  It is gone when
 * `done` returns. */
void receiver_finish(struct receiver *r, receiver_done_fn *done);

/* Frees one that has taken nothing. */
void receiver_drop(struct receiver *r);

#endif
