/* SPDX-License-Identifier: Apache-2.0
 *
 * parts.h - sends a stream as parts, several at once: a multipart upload of S3, the segments of a
 * large object of Swift.
 *
 * A scout (scout.h) runs a few parts ahead, so that a part's digest is known before it is sent.  So
 * every byte is read twice; the second time mostly from the page cache of the guest's host.
 * Memory: the readers share one ring's, however large the parts are.
 */
#ifndef UPLOAD_PARTS_H
#define UPLOAD_PARTS_H

#include "upload/digest.h"
#include "upload/range_stream.h"
#include "upload/remote.h"

enum {
	PARTS_AT_ONCE = 4,
	PARTS_PATH_BYTES = 4096,
	PARTS_HEADER_BYTES = 128,
	PARTS_DOING_BYTES = 384,
};

struct parts;

/* A part being sent; the buffers are for what the request borrows. */
struct part {
	unsigned index; /* 0 is the first */
	uint64_t length;
	const char *digest; /* in hex */
	char path[PARTS_PATH_BYTES], header[PARTS_HEADER_BYTES], doing[PARTS_DOING_BYTES];

	struct parts *parts;
	struct range_stream range;
	struct remote_call call;
	uint64_t done_bytes;
	bool busy;
};

/* What is known of a part. */
struct part_note {
	char digest[65];
	char etag[REMOTE_ETAG_BYTES]; /* that the service gave it */
};

/* Fills in how a part is sent; its stream and progress are set afterwards. */
typedef void part_request_fn(struct part *part, struct remote_request *request, void *data);

struct parts_options {
	struct remote *remote;
	struct stream *stream;
	uint64_t part_bytes; /* see parts_plan() */
	unsigned at_once; /* 0: PARTS_AT_ONCE */
	const char *part_digest; /* at most 256 bits; see digest_new() */
	part_request_fn *request;
	store_progress_fn *progress;
	store_done_fn *done;
	void *data;
};

/* How large parts are: `usual` bytes, or as many as it takes to have no more than `most_parts`.  A
 * multiple of 1 MiB, if `usual` is; 0 when that is more than `most_bytes`. */
uint64_t parts_plan(uint64_t size_bytes, uint64_t usual, unsigned most_parts, uint64_t most_bytes);

/* How many there are: at least one, if an empty one. */
unsigned parts_count(uint64_t size_bytes, uint64_t part_bytes);

/* Begins.  `done` fires once, later, when no part is under way any more.  NULL and *err when it
 * can't. */
struct parts *parts_start(const struct parts_options *options, struct qmpsnap_error *err);

/* Gives up: `done` brings an error soon. */
void parts_stop(struct parts *p);

/* After `done` without an error: what is known of all parts, and the SHA-256 of the whole. */
const struct part_note *parts_notes(const struct parts *p, unsigned *n);
const char *parts_sha256(const struct parts *p);

/* After `done`.  NULL is fine. */
void parts_free(struct parts *p);

#endif
