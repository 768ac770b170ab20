/* SPDX-License-Identifier: Apache-2.0
 *
 * swift.h - what the parts of the store swift: share.
 *
 * An image is the object NAME-ID.qcow2 of the container; a large one is a static large object (SLO)
 * whose segments are NAME-ID.qcow2/00000001 and so on in the container CONTAINER_segments, as the
 * swift command has them.  It is published when NAME-ID.json stands beside it.  Every segment goes
 * under its MD5, which Swift compares; so does the manifest, whose ETag is the MD5 of the segments'
 * ETags.  Observed on Swift 2.30.
 */
#ifndef UPLOAD_SWIFT_H
#define UPLOAD_SWIFT_H

#include "upload/keystone.h"
#include "upload/object_image.h"
#include "upload/object_removal.h"
#include "upload/object_shelf.h"
#include "upload/url.h"

enum {
	SWIFT_CONTAINER_BYTES = 246, /* Swift's limit is 256; less "_segments" */
	SWIFT_CONTAINER_PATH_BYTES = 3 * SWIFT_CONTAINER_BYTES + 16,
	SWIFT_PATH_BYTES = SWIFT_CONTAINER_PATH_BYTES + OBJECT_URL_BYTES + 64,
	SWIFT_DOING_BYTES = PARTS_DOING_BYTES,
};

/* The login of version 1, as Swift alone can have it. */
struct swift_v1 {
	char *url, *user, *key; /* `url` NULL: Keystone is asked instead; `key` is a secret */
	char storage_url[URL_BASE_BYTES];
	char *token; /* a secret; NULL: none */
	unsigned login; /* which one it is from */
	struct http_call *call;
};

struct swift_store {
	struct remote remote;
	struct keystone *session; /* for version 1 only its connections */
	struct swift_v1 v1;
	struct keystone_wait wait;
	struct remote_call *waiting; /* for a token */
	bool logging_in, closing;
	bool given_up; /* its login was cancelled for want of anybody who waits */
	char container[SWIFT_CONTAINER_BYTES];
	/* Of the containers. */
	char path[SWIFT_CONTAINER_PATH_BYTES], segments_path[SWIFT_CONTAINER_PATH_BYTES];
	uint64_t part_bytes; /* the usual size of segments */
};

extern const struct store_ops swift_ops;
extern const struct object_shelf_kind swift_shelf; /* swift_shelf.c */
extern const struct remote_ops swift_remote_ops; /* swift_login.c */

/* Frees it when no login is under way any more (swift_login.c). */
void swift_free(struct swift_store *store);

/* check() of struct store_ops (swift_check.c). */
struct store_check *swift_check(struct qmpsnap_store *base, const struct store_need *need,
	store_done_fn *done, void *data, struct qmpsnap_error *err);

/* ---- Removing (swift_remove.c) ------------------------------------------------------------ */

struct swift_removal {
	struct object_removal base;
	char path[SWIFT_PATH_BYTES]; /* of the request under way */
	char *list, *rest; /* of segments, a line each; those yet to be deleted */
};

/* All but `removal` is copied. */
void swift_remove(struct swift_removal *removal, struct swift_store *store,
	const struct object_names *names, store_done_fn *done, void *data);

/* discard_left() of struct store_ops. */
void swift_discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data);

/* ---- Images ------------------------------------------------------------------------------- */

struct swift_image {
	struct object_image o;
	struct swift_store *store;
	struct swift_removal removal;
	char path[SWIFT_PATH_BYTES];
	bool at_segments; /* which of the containers is looked for */
	uint64_t part_bytes;
	bool large; /* it has segments */
	struct json_object *manifest;
	char etag_header[PARTS_HEADER_BYTES]; /* of the whole */
};

/* The path of an object in a container. */
void swift_path(char path[static SWIFT_PATH_BYTES], const char *container_path, const char *name);

/* put() of struct store_ops (swift_put.c). */
void swift_put(struct store_image *base, struct stream *stream, const struct store_instant *instant,
	store_progress_fn *progress, store_done_fn *done, void *data);

#endif
