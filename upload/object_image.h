/* SPDX-License-Identifier: Apache-2.0
 *
 * object_image.h - an image in the making in a store of objects (S3, Swift): what is the same
 * whatever its parts become.  It is published when its JSON stands beside it.
 */
#ifndef UPLOAD_OBJECT_IMAGE_H
#define UPLOAD_OBJECT_IMAGE_H

#include "upload/object_names.h"
#include "upload/parts.h"
#include "upload/remote.h"
#include "upload/work.h"

#include <json-c/json.h>

/* Embedded first in a struct of each store's own. */
struct object_image {
	struct store_image base;
	struct remote *remote;
	struct object_names names;
	char doing[PARTS_DOING_BYTES];
	struct json_object *record;
	uint64_t virtual_size_bytes;
	bool maybe_there; /* something of it may be in the store */

	/* A call in progress. */
	store_done_fn *done;
	void *data;
	struct remote_call call;
	struct work later;
	bool stoppable, stopped; /* by stop() */

	/* put() */
	struct stream *stream;
	store_progress_fn *progress;
	struct parts *parts;
	char etag[REMOTE_ETAG_BYTES]; /* that the whole must have; "": not known */
	struct qmpsnap_error err;
};

/* One of `size` bytes, under names that begin with `prefix`.  NULL and *err when it can't. */
void *object_image_new(size_t size, struct qmpsnap_store *store, const char *prefix,
	const struct store_image_spec *spec, struct qmpsnap_error *err);

/* Frees it; NULL is fine. */
void object_image_free(struct object_image *image);

/* "<doing> LOCATION", valid until the next one; for messages. */
const char *object_image_doing(struct object_image *image, const char *doing);

/* A call begins that stop() may end, or one ends: `self` is the image. */
void object_image_begin(struct object_image *image, store_done_fn *done, void *data);
void object_image_end(const struct qmpsnap_error *err, void *self);

/* Ends it later, with image->err. */
void object_image_fail(struct object_image *image);

/* ---- put() -------------------------------------------------------------------------------- */

/* put() begins, behind object_image_begin(). */
void object_image_begin_put(struct object_image *image, struct stream *stream,
	const struct store_instant *instant, store_progress_fn *progress);

/* Sends the stream in parts of options->part_bytes (0: it is too large, which is told); of the
 * options part_bytes, part_digest, request and done are read.  done()'s data is the image. */
void object_image_send_parts(struct object_image *image, const struct parts_options *options);

/* All that has been sent is known by this digest. */
void object_image_set_digest(struct object_image *image, const char *sha256);

/* The parts are done with.  False: put() has ended, by image->err. */
bool object_image_end_parts(struct object_image *image);

/* Whether the service has what was sent, by its answer to a HEAD; `same`: also by image->etag.
 * Ends put(). */
void object_image_confirm(struct object_image *image, const struct http_reply *reply, bool same);

/* stop() of struct store_ops. */
void object_image_stop(struct store_image *base);

/* ---- publish(), discard() ----------------------------------------------------------------- */

/* Puts the record to `path`, which is borrowed until the end. */
void object_image_publish(
	struct object_image *image, const char *path, store_done_fn *done, void *data);

/* Whether there is something to be removed, which ends in object_image_discarded(); else it ends
 * by itself. */
bool object_image_discard(struct object_image *image, store_done_fn *done, void *data);
void object_image_discarded(const struct qmpsnap_error *err, void *self);

#endif
