/* SPDX-License-Identifier: Apache-2.0
 *
 * keystone.h - being logged in to a cloud: a token that is valid when it is used, and the URL of
 * the service that it is for.  A cloud without authentication is one whose token is NULL.
 *
 * Glance and Swift look at a token once, when a request begins.  So what counts is its age then:
 * before a long request a fresh one is asked for.
 */
#ifndef UPLOAD_KEYSTONE_H
#define UPLOAD_KEYSTONE_H

#include "upload/clouds.h"
#include "upload/http.h"

struct keystone;

struct keystone_access {
	const char *url; /* the service's, without a version for "image" */
	const char *token; /* a secret; NULL: none is wanted */
	const char *project; /* id of the project that the token is scoped to; NULL: not known */
	unsigned login; /* which login it is from */
};

/* `err` NULL: well.  `access` is borrowed. */
typedef void keystone_done_fn(
	const struct qmpsnap_error *err, const struct keystone_access *access, void *data);

/* Somebody who waits for a token; lives in what it is for, until `done`. */
struct keystone_wait {
	struct keystone_wait *next;
	keystone_done_fn *done;
	void *data;
	bool due;
};

/* A session for the service ("image", "object-store"; a constant) of `cloud`, which is the
 * session's from then on, also when this fails.  Nothing is contacted yet.  NULL and *err (USAGE,
 * INTERNAL). */
struct keystone *keystone_new(
	uv_loop_t *loop, struct cloud *cloud, const char *service, struct qmpsnap_error *err);

/* Closes it and its connections; its handles leave the loop during the next turns.  Nobody may
 * wait, and no exchange on its connections may be under way.  NULL is fine. */
void keystone_free(struct keystone *k);

/* The connections, for the service's own requests. */
struct http *keystone_http(struct keystone *k);
const struct cloud *keystone_cloud(const struct keystone *k);

/* The access there is, or NULL when it must be waited for: there is no token, or it is about to
 * expire, or, if `fresh`, isn't new. */
const struct keystone_access *keystone_now(struct keystone *k, bool fresh);

/* Logs in, if nobody does already; `done` fires once, later, but at once when the login can't even
 * begin.  Its errors are STORE with the HTTP
 * status or CURLcode as their detail. */
void keystone_wait(
	struct keystone *k, struct keystone_wait *wait, keystone_done_fn *done, void *data);

/* `wait` waits no more; its `done` isn't called. */
void keystone_leave(struct keystone *k, struct keystone_wait *wait);

/* The service refused the token of this login: it isn't used again.  False when there is no other
 * to be had, since none is wanted. */
bool keystone_refused(struct keystone *k, unsigned login);

#endif
