/* SPDX-License-Identifier: Apache-2.0
 *
 * remote.h - requests to a service that keeps objects (S3, Swift, a web server): each is authorized
 * by its kind, tried again while its failure may pass, and its refusal told in one line.
 *
 * A body may be a stream.  It is read anew for each try, and released before `then`.
 */
#ifndef UPLOAD_REMOTE_H
#define UPLOAD_REMOTE_H

#include "base/shelf.h"
#include "upload/delay.h"
#include "upload/http.h"
#include "upload/work.h"

enum {
	REMOTE_HEADERS = 6,
	REMOTE_ETAG_BYTES = 136,
	REMOTE_TRIES = 8, /* two to four minutes in all */
	REMOTE_WAIT_MS = 1000,
};

struct remote;
struct remote_call;

/* What a kind of service adds to a request, by remote_go(). */
struct remote_access {
	const char *url; /* the request's path goes behind it */
	const char *const *headers; /* up to a NULL; NULL: none */
	const struct http_signer *signer; /* NULL: none */
};

struct remote_ops {
	/* Answers by one remote_go() or remote_fail(), from within the call or later. */
	void (*authorize)(struct remote *remote, struct remote_call *call);
	/* The call doesn't wait for that any more.  NULL where it never does. */
	void (*leave)(struct remote *remote, struct remote_call *call);
	/* The answer was 401: whether another try may be authorized better.  NULL: never. */
	bool (*renew)(struct remote *remote, struct remote_call *call);
	/* The status that an answer means; NULL: what it says. */
	long (*status)(const struct http_reply *reply);
	/* An answer that isn't the expected one, as answer_describe() does, with a hint. */
	void (*describe)(
		struct qmpsnap_error *err, const char *doing, const struct http_reply *reply);
};

/* Embedded first in a store's struct; see remote_of(). */
struct remote {
	struct qmpsnap_store base;
	const struct remote_ops *ops;
	uv_loop_t *loop;
	struct http *http; /* NULL: not there yet; the store's */
	unsigned tries; /* how often something is tried at most */
	uint64_t wait_ms; /* see delay_after() */
	bool reached; /* it has answered before */
	struct undo_patience undo;
};

/* A request and what is said when it fails; all is borrowed until `then`. */
struct remote_request {
	const char *method;
	const char *path; /* encoded, with its query */
	const char *headers[REMOTE_HEADERS]; /* up to a NULL */
	const char *body;
	struct stream *stream; /* the body, under a Content-Length */
	struct shelf_sink
		*sink; /* takes the answer, which isn't asked for again; NULL: it is kept */
	const char *digest; /* to be computed of the stream as it is sent; NULL: none */
	const char *sha256; /* of the stream, where it is known */
	store_progress_fn *progress; /* hears how much of the stream is sent; never falls back */
	uint64_t quiet_ms; /* see struct http_request */
	bool undo; /* tried again only as long as the store's patience with these lasts */
	const char *doing; /* "uploading part 7 of image web" */
	long expect[6]; /* the answers that are a success; 0: none */
};

/* The outcome: `err` when there was no answer or not the expected one (`detail` is then the HTTP
 * status, else a CURLcode).  `reply` is borrowed; NULL without an answer and for streams. */
typedef void remote_then_fn(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data);

/* One request at a time; lives in what it is sent for. */
struct remote_call {
	struct remote *remote;
	struct remote_request request;
	remote_then_fn *then;
	void *data;
	char etag[REMOTE_ETAG_BYTES]; /* of the last answer, without quotes; "": none */
	char digest[129]; /* of the stream, in hex, after a success */
	bool doubtful; /* an earlier try may have done what it was for */
	unsigned login; /* the kind's own: what it was authorized by */
	struct remote_call *next; /* the kind's own: a list of those who wait */

	enum {
		REMOTE_IDLE,
		REMOTE_AUTHORIZING,
		REMOTE_EXCHANGE, /* with the service */
		REMOTE_DIGEST, /* answered; the digest of what was sent is still at work */
		REMOTE_CLOSING, /* the pump */
		REMOTE_DELAY, /* before another try */
		REMOTE_REPORTING,
	} state;
	struct http_call *http;
	struct pump *pump;
	struct delay *delay;
	struct work later;
	unsigned tries;
	bool renewed, again, stopped;
	bool begun; /* a try got on its way */
	uint64_t retry_after_ms, progress_bytes;
	struct qmpsnap_error err; /* of a try with a stream; code OK: it went well */
};

/* Sets everything but `ops`, `http` and what is in `base`. */
void remote_init(struct remote *remote, const struct remote_ops *ops, uv_loop_t *loop);

/* Sends it.  `then` fires once, later. */
void remote_send(struct remote_call *call, struct remote *remote,
	const struct remote_request *request, remote_then_fn *then, void *data);

/* Gives a request under way up: `then` brings an error soon.  No effect otherwise. */
void remote_cancel(struct remote_call *call);

/* The request's sink has room again. */
void remote_resume(struct remote_call *call);

/* For authorize(). */
void remote_go(struct remote_call *call, const struct remote_access *access);
void remote_fail(struct remote_call *call, const struct qmpsnap_error *err);

static inline struct remote *remote_of(struct qmpsnap_store *store)
{
	return (struct remote *)store;
}

#endif
