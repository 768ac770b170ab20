/* SPDX-License-Identifier: Apache-2.0
 *
 * glance.h - what the parts of the store glance: share.  Glance's image API v2; behaviour observed
 * on Glance 25.1 (Zed), where not said otherwise.
 *
 * An image is a record first (`queued`, private, its id ours), gets its bytes by one PUT (`saving`,
 * then `active`), and is good when it carries qmpsnap_verified.  There is no going on in the middle
 * of a PUT: after a failure all bytes are sent again, which are the same, since the point in time
 * still stands.
 *
 * An id can't be used twice, not even after its deletion.  A record that a failed PUT has left in
 * `saving` for ever is deleted and made again with a spare id; these follow from the first id, so
 * that another process knows them, too.
 */
#ifndef UPLOAD_GLANCE_H
#define UPLOAD_GLANCE_H

#include "base/shelf.h"
#include "upload/delay.h"
#include "upload/http.h"
#include "upload/keystone.h"
#include "upload/work.h"

#include <json-c/json.h>

enum {
	GLANCE_SPARE_IDS = 2,
	GLANCE_PATH_BYTES = 64,
	GLANCE_DOING_BYTES = 384,
};

struct glance_store {
	struct qmpsnap_store base;
	uv_loop_t *loop;
	struct keystone *session;
	bool reached; /* the service has answered before */

	/* What the user wants of all images. */
	char *base_image, *visibility, *backend;
	struct json_object *tags; /* an array, or NULL */
	bool is_protected, sized, import;

	unsigned tries; /* how often something is tried at most */
	uint64_t wait_ms; /* see delay_after() */
	/* How long a record may stay in `saving` and the like after a PUT has ended. */
	uint64_t settle_ms;
	uint64_t quiet_ms; /* how long a PUT may stand still */
	struct undo_patience undo;
};

extern const struct store_ops glance_ops;

void glance_free(struct glance_store *store); /* glance_open.c */

/* ---- Requests (glance_call.c) ------------------------------------------------------------- */

/* A request to the service and what is said when it fails; all is borrowed until `then`. */
struct glance_request {
	const char *method;
	const char *path; /* behind the service's URL */
	const char *headers[4]; /* up to a NULL */
	const char *body;
	struct pump *pump;
	struct shelf_sink *sink; /* takes the answer; NULL: it is JSON */
	bool sized; /* see struct http_request */
	bool fresh; /* by a token that was just made */
	bool once; /* failures that pass aren't followed by another try */
	bool undo; /* tried again only as long as the store's patience with these lasts */
	bool insist; /* another try also when the service has never been reached */
	uint64_t quiet_ms;
	const char *doing; /* "creating the record of image web (9a3...)" */
	long expect[2]; /* the answers that are a success; 0: none */
};

/* The outcome: `err` when there was no answer or not the expected one (`detail` is then the HTTP
 * status, else a CURLcode); `json` is the answer's body, borrowed, NULL when it isn't a JSON
 * object. */
typedef void glance_then_fn(const struct qmpsnap_error *err, struct json_object *json, void *data);

/* One request at a time; lives in what it is sent for. */
struct glance_call {
	struct glance_store *store;
	struct glance_request request;
	struct keystone_wait wait;
	struct http_call *http;
	struct delay *delay;
	struct work later;
	unsigned login; /* whose token it was sent with */
	unsigned tries;
	bool starting, waiting, relogged;
	bool stopped; /* what comes now is the end, and an error */
	bool sent; /* something got on its way to the service */
	bool doubtful; /* an earlier try may have done what it was for */
	char project[65]; /* whose token it was sent with; "": not known */
	uint64_t retry_after_ms; /* what the last answer asked for */
	glance_then_fn *then;
	void *data;
};

/* Sends it: logs in where that is needed, once more when the token is refused, and tries again what
 * may pass.  `then` fires once, later. */
void glance_send(struct glance_call *call, struct glance_store *store,
	const struct glance_request *request, glance_then_fn *then, void *data);

/* Gives a request under way up, its waits too: `then` brings an error soon.  No effect otherwise.
 */
void glance_cancel(struct glance_call *call);

/* The request's sink has room again. */
void glance_resume(struct glance_call *call);

/* check() of struct store_ops (glance_check.c). */
struct store_check *glance_check(struct qmpsnap_store *base, const struct store_need *need,
	store_done_fn *done, void *data, struct qmpsnap_error *err);

/* ---- Removing (glance_remove.c) ----------------------------------------------------------- */

/* A record's deletion, also of one that was protected by us; one that isn't there is deleted. */
struct glance_removal {
	struct glance_call call;
	char path[GLANCE_PATH_BYTES];
	char doing[GLANCE_DOING_BYTES];
	bool bared; /* its protection was taken off */
	struct qmpsnap_error err;
	store_done_fn *done;
	void *data;
};

/* `doing` is copied. */
void glance_remove(struct glance_removal *removal, struct glance_store *store, const char *id,
	const char *doing, store_done_fn *done, void *data);

/* discard_left() of struct store_ops. */
void glance_discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data);

/* The n-th spare id of an image, 1 to GLANCE_SPARE_IDS; 0: its first. */
void glance_spare_id(char id[static 37], const char *first, unsigned n);

/* ---- What stands there (glance_shelf.c) --------------------------------------------------- */

extern const struct shelf_ops glance_shelf;

/* ---- Images ------------------------------------------------------------------------------- */

struct glance_image {
	struct store_image base;
	struct glance_store *store;
	char first_id[37], id[37];
	unsigned spare; /* which id it has */
	char path[GLANCE_PATH_BYTES]; /* of the record, behind the service's URL */
	char base_path[GLANCE_PATH_BYTES]; /* of the image that is inherited from */
	char name[256];
	char doing[GLANCE_DOING_BYTES]; /* see struct glance_request */
	struct json_object *record; /* what the record is made from */
	bool maybe_there; /* a record of ours may exist */

	/* A call in progress. */
	store_done_fn *done;
	void *data;
	struct glance_call call;
	struct glance_removal removal;
	struct work later;
	struct json_object *sending; /* what `call` sends */

	/* What stop() finds: only put() comes by more than the first two. */
	enum {
		AT_REST, /* or at what isn't stopped */
		AT_CALL, /* a request is under way */
		AT_REMOVAL, /* `removal` is */
		AT_DIGEST, /* the pump goes on, no request is under way */
		AT_CLOSING, /* the pump or the timer is being closed */
		AT_WAIT, /* for the next look at the record, or the next try */
	} state;
	bool stopped;

	/* put() */
	struct stream *stream;
	store_progress_fn *progress;
	uint64_t progress_bytes; /* the most that was told */
	struct pump *pump;
	uv_timer_t timer;
	delay_fn *after_wait;
	unsigned failures; /* of PUTs */
	uint64_t retry_after_ms; /* what the answer to the last PUT asked for */
	uint64_t settle_until_ms;
	struct qmpsnap_error err; /* why put() fails */
	struct qmpsnap_error upload_err; /* why the last PUT may have failed; code OK: it didn't */
	char file_path[GLANCE_PATH_BYTES + 8], import_path[GLANCE_PATH_BYTES + 8];
	char size_header[64], backend_header[300];
	char algorithm[16]; /* that the pump computes */
	bool staged; /* all was sent, and waits to be imported */
	char sent[129]; /* the digest of what was sent, by `algorithm`; "": not all was */
	struct json_object *got; /* the record as it is after the PUT */
};

/* Says what the image's next request is for: "<doing> image NAME (ID)"; for messages. */
const char *glance_doing(struct glance_image *image, const char *doing);

/* Gives the image its n-th id. */
void glance_use_id(struct glance_image *image, unsigned n);

/* Makes the record (glance.c). */
void glance_make_record(struct glance_image *image, glance_then_fn *then);

/* Changes the record by a JSON patch, which is the image's from then on. */
void glance_patch(struct glance_image *image, struct json_object *patch, glance_then_fn *then);

/* Adds an operation to a patch: sets the member `key`.  `value` is the patch's. */
void glance_patch_set(struct json_object *patch, const char *key, struct json_object *value);

/* If `err` says that the record isn't there any more, `gone` becomes the error that says so: the
 * snapshot ends as a cancelled one.  Else returns `err`. */
const struct qmpsnap_error *glance_gone(
	struct glance_image *image, const struct qmpsnap_error *err, struct qmpsnap_error *gone);

/* As in struct store_ops (glance_put.c). */
void glance_put(struct store_image *base, struct stream *stream,
	const struct store_instant *instant, store_progress_fn *progress, store_done_fn *done,
	void *data);
void glance_stop(struct store_image *base);

/* ---- Parts of put() ----------------------------------------------------------------------- */

/* Sends all bytes (glance_put.c); ends in glance_look(). */
void glance_upload(struct glance_image *image);

/* Makes what was staged the image (glance_put.c); ends in glance_look(). */
void glance_import(struct glance_image *image);

/* Looks at the record and goes on from there (glance_look.c): glance_verify(), another try, another
 * look, or the end. */
void glance_look(struct glance_image *image);

/* Compares size and digest of image->got with what was sent (glance_verify.c); ends put(). */
void glance_verify(struct glance_image *image);

/* Calls `after` in `ms`, unless put() is stopped. */
void glance_wait(struct glance_image *image, uint64_t ms, delay_fn *after);

/* Ends put(): with `err`, else with image->err. */
void glance_end(struct glance_image *image, const struct qmpsnap_error *err);

/* Ends it when stop() was called; whether it was. */
bool glance_end_stopped(struct glance_image *image);

#endif
