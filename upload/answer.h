/* SPDX-License-Identifier: Apache-2.0
 *
 * answer.h - what a service of OpenStack answered: its JSON, or its refusal as an error.
 */
#ifndef UPLOAD_ANSWER_H
#define UPLOAD_ANSWER_H

#include "upload/http.h"

#include <json-c/json.h>

/* The body as a JSON object, the caller's; NULL when it isn't one. */
struct json_object *answer_json(const struct http_reply *reply);

/* "<doing>: <who> answered 503: <its words in one line> (request req-...)" as a STORE error whose
 * detail is the status. */
void answer_describe(struct qmpsnap_error *err, const char *doing, const char *who,
	const struct http_reply *reply);

/* Whether an error is an answer with a status in this range, and not a failure to get one. */
bool answer_said(const struct qmpsnap_error *err, long from, long to);

/* Whether it means that no request ever got to the service. */
bool answer_unreached(const struct qmpsnap_error *err);

/* Whether the same request may well succeed a little later: a connection that wasn't made or broke,
 * 408, 429, 499 (Swift's, when it saw the connection break), 5xx but for 501 and 505. */
bool answer_is_passing(const struct qmpsnap_error *err);

/* Whether the answer had more than HTTP_REPLY_BYTES: one that asks for less may get it. */
bool answer_is_too_long(const struct qmpsnap_error *err);

/* Says how what a failed deletion has left is deleted later: out of its run's journal. */
void answer_hint_left(struct qmpsnap_error *err);

#endif
