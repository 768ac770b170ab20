/* SPDX-License-Identifier: Apache-2.0
 *
 * s3.h - what the parts of the store s3: share.
 *
 * An image is a multipart upload first, which nobody sees, gets its parts, several at once, and is
 * completed as the object PREFIX/NAME-ID.qcow2; it is published when PREFIX/NAME-ID.json stands
 * beside it.  A part's SHA-256 is signed with its request, so that the service compares it with
 * what it got; the ETag of the whole is the digest of the parts' ETags, in order (but not where
 * the bucket is encrypted with customers' keys).  What was observed is Swift's S3 API 2.30, what is
 * said of AWS is from its API reference.
 *
 * A run that was killed has left what is found under the image's names: uploads that were never
 * completed by asking for those of the key.
 */
#ifndef UPLOAD_S3_H
#define UPLOAD_S3_H

#include "upload/object_image.h"
#include "upload/object_removal.h"
#include "upload/object_shelf.h"
#include "upload/s3_config.h"

enum {
	S3_URL_BYTES = URL_BASE_BYTES + 320,
	S3_BUCKET_BYTES = 64, /* names have 3 to 63 (Amazon S3, "Bucket naming rules") */
	S3_ID_BYTES = 512, /* of an upload; AWS says only that it is opaque, and has about 130 */
	S3_ID_URL_BYTES = 3 * S3_ID_BYTES,
	S3_PATH_BYTES = OBJECT_URL_BYTES + S3_ID_URL_BYTES + 64,
	S3_DOING_BYTES = PARTS_DOING_BYTES,
};

struct s3_store {
	struct remote remote;
	struct s3_config config;
	char bucket[S3_BUCKET_BYTES], prefix[OBJECT_PREFIX_BYTES];
	char url[S3_URL_BYTES]; /* of the bucket */
	char scope[S3_REGION_BYTES + 16]; /* of signatures */
	uint64_t part_bytes; /* the usual size */
};

extern const struct store_ops s3_ops;
extern const struct object_shelf_kind s3_shelf; /* s3_shelf.c */
extern const struct remote_ops s3_remote_ops; /* s3_call.c */

void s3_free(struct s3_store *store); /* s3_open.c */

/* The code of an answer's <Error>, "" when it has none (s3_call.c). */
void s3_error_code(const struct http_reply *reply, char *code, size_t size);

/* check() of struct store_ops (s3_check.c). */
struct store_check *s3_check(struct qmpsnap_store *base, const struct store_need *need,
	store_done_fn *done, void *data, struct qmpsnap_error *err);

/* ---- Removing (s3_remove.c) --------------------------------------------------------------- */

/* All that may be there of an image: its JSON, uploads of its key, its object. */
struct s3_removal {
	struct object_removal base;
	char path[S3_PATH_BYTES]; /* of the request under way */
	char upload_id[S3_ID_BYTES]; /* the one to be aborted */
	bool known; /* the first one is the only one there can be */
};

/* Begins; `upload_id` is the only upload that there can be, or NULL: they are asked for before,
 * too, and not only after the abort.  All but `removal` is copied. */
void s3_remove(struct s3_removal *removal, struct s3_store *store, const struct object_names *names,
	const char *upload_id, store_done_fn *done, void *data);

/* discard_left() of struct store_ops. */
void s3_discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data);

/* ---- Images ------------------------------------------------------------------------------- */

struct s3_image {
	struct object_image o;
	struct s3_store *store;
	char data_path[OBJECT_URL_BYTES], path[S3_PATH_BYTES];
	unsigned n_begun; /* uploads */
	bool only_upload; /* there is no other than upload_id */
	char upload_id[S3_ID_BYTES], upload_id_url[S3_ID_URL_BYTES];
	struct s3_removal removal;
	char *body; /* that completes the upload */
};

/* put() of struct store_ops (s3_put.c). */
void s3_put(struct store_image *base, struct stream *stream, const struct store_instant *instant,
	store_progress_fn *progress, store_done_fn *done, void *data);

/* The ETag of an object of these parts: the MD5 of their ETags, and their number.  False when one
 * of them is no MD5. */
bool s3_whole_etag(char etag[static REMOTE_ETAG_BYTES], const struct part_note *notes, unsigned n);

/* The body that completes an upload of these parts, to be freed; NULL without memory. */
char *s3_complete_body(const struct part_note *notes, unsigned n);

#endif
