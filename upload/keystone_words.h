/* SPDX-License-Identifier: Apache-2.0
 *
 * keystone_words.h - what is said to Keystone (identity API v3) and what its answers mean; nothing
 * here talks to it.
 */
#ifndef UPLOAD_KEYSTONE_WORDS_H
#define UPLOAD_KEYSTONE_WORDS_H

#include "upload/clouds.h"
#include "upload/url.h"

#include <stdint.h>

/* The body of POST /v3/auth/tokens: full of secrets.  The caller's; NULL without memory. */
struct json_object *keystone_request(const struct cloud *cloud);

/* How long the token of an answer lives from its issue, so that no clock but Keystone's counts; a
 * few minutes when the answer doesn't say it. */
uint64_t keystone_life_ms(struct json_object *answer);

enum { KEYSTONE_PROJECT_BYTES = 65 }; /* its ids have 64 characters at most, mostly 32 */

/* The id of the project that the token of an answer is scoped to; "" when it says none. */
void keystone_project(struct json_object *answer, char project[static KEYSTONE_PROJECT_BYTES]);

/* The service's URL from the answer's catalogue, by cloud->interface and cloud->region.  False and
 * *err (STORE) when it isn't there; the message lists what is. */
bool keystone_endpoint(struct json_object *answer, const struct cloud *cloud, const char *service,
	char url[static URL_BASE_BYTES], struct qmpsnap_error *err);

/* Whether a service's list of its versions has one that begins with `version` ("v2"); 0: no, 1:
 * yes, -1: it isn't a list of versions. */
int keystone_has_version(struct json_object *versions, const char *version);

#endif
