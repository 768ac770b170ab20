/* SPDX-License-Identifier: Apache-2.0
 *
 * http.h - HTTP requests by libcurl's multi interface on a libuv loop.
 *
 * No redirects are followed; proxies are those of the environment (http_proxy and so on), but for
 * the loopback, which never has one.  Replies are bounded.  Plain sockets never raise SIGPIPE
 * (libcurl uses MSG_NOSIGNAL); a program that may be handed other TLS libraries ignores the signal
 * itself, since CURLOPT_NOSIGNAL keeps libcurl from doing it.
 */
#ifndef UPLOAD_HTTP_H
#define UPLOAD_HTTP_H

#include "base/shelf.h"
#include "upload/pump.h"

#include <uv.h>

enum {
	HTTP_REPLY_BYTES = 1 << 20, /* longest body of a reply */
	HTTP_REPLY_HEADER_BYTES = 1 << 16, /* all headers of a reply together */
	HTTP_ID_BYTES = 64,
	HTTP_QUIET_MS = 60 * 1000,
};

struct http;
struct http_call;

/* How servers are known, and how we show who we are: files in PEM, NULL: the system's, none.
 * Nothing older than TLS 1.2 is spoken. */
struct http_tls {
	bool insecure; /* certificates aren't verified */
	const char *cacert, *cert, *key;
};

/* Connections and their loop.  `tls` is copied; NULL: the defaults.  NULL and *err (INTERNAL). */
struct http *http_new(uv_loop_t *loop, const struct http_tls *tls, struct qmpsnap_error *err);

/* Closes it; its handles leave the loop during the next turns.  No call may be under way.  NULL is
 * fine. */
void http_free(struct http *h);

/* A request's signature by AWS's version 4, which libcurl makes when it is sent; the request has
 * the header x-amz-content-sha256 then. */
struct http_signer {
	const char *scope; /* see CURLOPT_AWS_SIGV4: "aws:amz:REGION:s3" */
	const char *user, *secret;
};

/* All strings are copied or used up before http_start() returns, but for `body`. */
struct http_request {
	const char *method;
	const char *url;
	const char *const *headers; /* "Name: value", up to a NULL; NULL: none */
	const char *body; /* borrowed until done; NULL: none */
	struct pump *pump; /* the body; the call's until done; NULL: none */
	bool sized; /* the pump's bytes go under a Content-Length, not in chunks */
	bool renewable; /* the pump's bytes can be had again: an old connection is good enough */
	const struct http_signer *signer; /* NULL: none */
	struct shelf_sink *sink; /* takes the body of an answer of 200 or 206; NULL: kept */
	uint64_t quiet_ms; /* give up when for so long nothing moves; 0: HTTP_QUIET_MS */
};

struct http_reply {
	long status;
	const char *body; /* ends in a NUL that isn't counted */
	size_t body_len;
	char content_type[64];
	char request_id[HTTP_ID_BYTES]; /* X-Openstack-Request-Id, x-amz-request-id, or "" */
	uint64_t retry_after_ms; /* Retry-After; 0: none */
	const char *subject_token; /* X-Subject-Token, a secret; or "" */
};

/* An exchange's end.  `err` (STORE) is set when there was no whole answer; an answer that says
 * 400 or more is an answer, also when the connection broke behind it.  Both are borrowed. */
typedef void http_done_fn(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data);

/* Starts an exchange; `done` fires once, later.  NULL and *err when it can't even begin: also
 * (STORE) when there is a line break in a header.  With a pump, a failure of the pump ends it with
 * the pump's error; time during which the pump has nothing to send is not held against the server.
 */
struct http_call *http_start(struct http *h, const struct http_request *request, http_done_fn *done,
	void *data, struct qmpsnap_error *err);

/* A header of the reply that `done` was given, without its name; borrowed until `done` returns.
 * NULL: there is none. */
const char *http_header(const struct http_reply *reply, const char *name);

/* Gives it up: `done` brings an error soon, unless an answer was there already. */
void http_cancel(struct http_call *call);

/* The sink has room again. */
void http_resume(struct http_call *call);

/* ---- Between http.c, which drives libcurl, and http_call.c, which follows a request ------- */

typedef void CURL_handle; /* curl.h's CURL */

/* Gives an easy handle, whose private pointer is the call, to the multi handle. */
bool http_add(struct http *h, CURL_handle *easy, struct qmpsnap_error *err);
void http_remove(struct http *h, CURL_handle *easy);
uv_loop_t *http_loop(const struct http *h);
const struct http_tls *http_tls(const struct http *h);

/* libcurl is done with `call`; `result` is a CURLcode. */
void http_call_ended(struct http_call *call, int result);

#endif
