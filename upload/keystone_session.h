/* SPDX-License-Identifier: Apache-2.0
 *
 * keystone_session.h - a session between keystone.c, which keeps it, and keystone_login.c, which
 * logs in.
 */
#ifndef UPLOAD_KEYSTONE_SESSION_H
#define UPLOAD_KEYSTONE_SESSION_H

#include "upload/keystone.h"
#include "upload/keystone_words.h"
#include "upload/url.h"

#include <json-c/json.h>

struct keystone {
	uv_loop_t *loop;
	struct http *http;
	struct cloud *cloud;
	const char *service;
	char identity[URL_BASE_BYTES]; /* with its version; "": not known yet */
	char endpoint[URL_BASE_BYTES]; /* the service's; "": not known yet */
	bool discovered; /* what versions there are at `endpoint` needn't be asked */

	char *token;
	char project[KEYSTONE_PROJECT_BYTES]; /* "": not known */
	uint64_t since_ms, life_ms; /* of the token, by the loop's clock */
	struct keystone_access access;

	struct keystone_wait *waiting;
	struct http_call *call;
	bool given_up; /* `call` was cancelled for want of anybody who waits */
	struct json_object *sending;
	char doing[384];
	bool closing;
};

/* Logs in; ends in keystone_told() or keystone_failed(). */
void keystone_log_in(struct keystone *k);

/* All who wait get the access there is now. */
void keystone_told(struct keystone *k);
/* All who wait get the error, behind k->doing. */
void keystone_failed(struct keystone *k, const struct qmpsnap_error *err);

/* To be called first when an exchange has ended: true when its outcome is of no interest any more,
 * and `k` may be gone. */
bool keystone_call_ended(struct keystone *k);

void keystone_drop_token(struct keystone *k);

#endif
