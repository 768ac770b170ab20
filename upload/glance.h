/* SPDX-License-Identifier: Apache-2.0
 *
 * glance.h - what the parts of the store glance: share.  Glance's image API v2; behaviour observed
 * on Glance 25.1 (Zed), where not said otherwise.
 *
 * An image is a record first (`queued`, private, its id ours), gets its bytes by one PUT (`saving`,
 * then `active`), and is good when it carries qmpsnap_verified.  An id can't be used twice, not
 * even after its deletion.
 */
#ifndef UPLOAD_GLANCE_H
#define UPLOAD_GLANCE_H

#include "base/store.h"
#include "upload/http.h"
#include "upload/work.h"

#include <json-c/json.h>

enum { GLANCE_URL_BYTES = 512 };

struct glance_store {
	struct qmpsnap_store base;
	uv_loop_t *loop;
	struct http *http;
	char url[GLANCE_URL_BYTES]; /* without "/v2" and without a slash at its end */
	/* How long a record may stay in `saving` and the like after the PUT was answered. */
	uint64_t settle_ms;
};

/* A request to the service and what is said when it fails. */
struct glance_request {
	const char *method;
	const char *path; /* behind the store's URL */
	const char *const *headers;
	const char *body;
	struct pump *pump;
	uint64_t quiet_ms;
	const char *doing; /* "creating the record of image web (9a3...)"; borrowed until `then` */
	long expect[2]; /* the answers that are a success; 0: none */
};

/* The outcome: `err` when there was no answer or not the expected one (`detail` is then the HTTP
 * status, else a CURLcode); `json` is the answer's body, borrowed, NULL when it isn't a JSON
 * object. */
typedef void glance_then_fn(const struct qmpsnap_error *err, struct json_object *json, void *data);

/* One request at a time; lives in what it is sent for. */
struct glance_call {
	struct http_call *http;
	struct work later;
	const char *doing;
	long expect[2];
	glance_then_fn *then;
	void *data;
};

/* Sends it; `then` fires once, later.  `body`, `pump` and `doing` are borrowed
 * until then. */
void glance_send(struct glance_call *call, struct glance_store *store,
	const struct glance_request *request, glance_then_fn *then, void *data);

/* Gives a request under way up; no effect otherwise. */
void glance_cancel(struct glance_call *call);

/* Whether an error of glance_send()'s means that no request ever got to the service. */
bool glance_unreached(const struct qmpsnap_error *err);

/* Whether an error of glance_send()'s is an answer with a status in this range, and not a failure
 * to get one. */
bool glance_said(const struct qmpsnap_error *err, long from, long to);

struct glance_image {
	struct store_image base;
	struct glance_store *store;
	char id[37];
	char path[64]; /* of the record, behind the store's URL */
	char name[256];
	char doing[384]; /* see struct glance_request */
	bool maybe_there; /* a record of ours may exist */

	/* A call in progress. */
	store_done_fn *done;
	void *data;
	struct glance_call call;
	struct work later;
	struct json_object *sending; /* what `call` sends */

	/* put(), in glance_put.c */
	enum {
		PUT_CALL, /* a request is under way */
		PUT_DIGEST, /* the pump goes on, no request is under way */
		PUT_CLOSING, /* the pump or the timer is being closed */
		PUT_WAIT, /* for the next look at the record */
	} state;
	struct stream *stream;
	store_progress_fn *progress;
	struct pump *pump;
	uv_timer_t timer;
	bool stopped;
	uint64_t settle_until_ms;
	struct qmpsnap_error err; /* why put() fails */
	struct qmpsnap_error upload_err; /* the PUT's answer was lost, all bytes had been sent */
	char algorithm[16]; /* that the pump computes */
	char sent[129]; /* the digest of what was sent, by `algorithm` */
	struct json_object *got; /* the record as it is after the PUT */
};

/* As in struct store_ops. */
void glance_put(struct store_image *base, struct stream *stream, const char *instant,
	store_progress_fn *progress, store_done_fn *done, void *data);
void glance_stop(struct store_image *base);

/* Sets the property `key` of the record. */
void glance_set_property(
	struct glance_image *image, const char *key, const char *value, glance_then_fn *then);

/* Says what the image's next request is for: "<doing> image NAME (ID)"; for messages. */
const char *glance_doing(struct glance_image *image, const char *doing);

#endif
