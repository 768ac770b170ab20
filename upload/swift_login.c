/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens for Swift, from Keystone or by Swift's own login of version 1; what its answers mean. */
#include "base/error.h"
#include "upload/answer.h"
#include "upload/swift.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Those who wait ----------------------------------------------------------------------- */

static void go(struct remote_call *call, const struct keystone_access *access)
{
	char *token = NULL;
	struct qmpsnap_error err;

	call->login = access->login;
	if (access->token && asprintf(&token, "X-Auth-Token: %s", access->token) < 0) {
		error_no_memory(&err);
		remote_fail(call, &err);
		return;
	}
	const char *const headers[] = {token, NULL};
	const struct remote_access how = {.url = access->url, .headers = headers};
	remote_go(call, &how);
	free(token);
}

static void told(const struct qmpsnap_error *err, const struct keystone_access *access, void *data)
{
	struct swift_store *store = data;
	struct remote_call *waiting = store->waiting;
	struct qmpsnap_error mine = {.code = QMPSNAP_OK};

	store->logging_in = false;
	store->waiting = NULL;
	if (err)
		mine = *err;
	/* What the login doesn't find or allow says nothing about objects. */
	if (answer_said(err, 400, 499) && !answer_is_passing(err))
		mine.detail = 0;
	while (waiting) {
		struct remote_call *call = waiting;
		waiting = call->next;
		call->next = NULL;
		if (err)
			remote_fail(call, &mine);
		else
			go(call, access);
	}
}

/* ---- Version 1 ---------------------------------------------------------------------------- */

static struct keystone_access v1_access(const struct swift_v1 *v1)
{
	return (struct keystone_access){
		.url = v1->storage_url, .token = v1->token, .login = v1->login};
}

static void describe_v1(struct qmpsnap_error *err, const struct swift_v1 *v1,
	const struct qmpsnap_error *broken, const struct http_reply *reply)
{
	char doing[320];

	(void)snprintf(doing, sizeof(doing), "logging in at %.256s", v1->url);
	if (broken) {
		*err = *broken;
		error_wrap(err, "%s", doing);
	} else if (reply->status != 200 && reply->status != 204) {
		answer_describe(err, doing, "Swift", reply);
		error_hint(err, "check ST_AUTH, ST_USER and ST_KEY");
	} else {
		error_set(err, QMPSNAP_STORE, "%s: there is no token in the answer", doing);
		error_hint(err, "is ST_AUTH the URL of a login of version 1?");
	}
}

static void drop_token(struct swift_v1 *v1)
{
	free(v1->token);
	v1->token = NULL;
}

static void v1_log_in(struct swift_store *store);

static void v1_answered(
	const struct qmpsnap_error *broken, const struct http_reply *reply, void *data)
{
	struct swift_store *store = data;
	struct swift_v1 *v1 = &store->v1;
	const bool well = !broken && (reply->status == 200 || reply->status == 204);
	const char *url = well ? http_header(reply, "X-Storage-Url") : NULL;
	const bool given_up = store->given_up;
	struct qmpsnap_error err;

	v1->call = NULL;
	store->given_up = false;
	if (store->closing) {
		swift_free(store);
		return;
	}
	/* Somebody came while it was being given up. */
	if (store->waiting && given_up) {
		v1_log_in(store);
		return;
	}
	drop_token(v1);
	if (url && url_base(v1->storage_url, url)) {
		const char *token = http_header(reply, "X-Auth-Token");
		v1->token = token ? strdup(token) : NULL;
		v1->login++;
	}
	if (v1->token) {
		const struct keystone_access access = v1_access(v1);
		told(NULL, &access, store);
	} else {
		describe_v1(&err, v1, broken, reply);
		told(&err, NULL, store);
	}
}

static void v1_log_in(struct swift_store *store)
{
	struct swift_v1 *v1 = &store->v1;
	char *user = NULL, *key = NULL;
	struct qmpsnap_error err;

	if (asprintf(&user, "X-Auth-User: %s", v1->user) < 0)
		user = NULL;
	if (asprintf(&key, "X-Auth-Key: %s", v1->key) < 0)
		key = NULL;
	const char *const headers[] = {user, key, NULL};
	const struct http_request request = {.method = "GET", .url = v1->url, .headers = headers};
	if (user && key)
		v1->call = http_start(store->remote.http, &request, v1_answered, store, &err);
	else
		error_no_memory(&err);
	free(user);
	free(key);
	if (!v1->call)
		told(&err, NULL, store);
}

/* ---- What the requests need --------------------------------------------------------------- */

static void authorize(struct remote *remote, struct remote_call *call)
{
	struct swift_store *store = (struct swift_store *)remote;
	const struct keystone_access v1 = v1_access(&store->v1);
	const struct keystone_access *access = !store->v1.url ? keystone_now(store->session, false)
					       : store->v1.token ? &v1
								 : NULL;

	if (access) {
		go(call, access);
		return;
	}
	call->next = store->waiting;
	store->waiting = call;
	if (store->logging_in)
		return;
	store->logging_in = true;
	if (store->v1.url)
		v1_log_in(store);
	else
		keystone_wait(store->session, &store->wait, told, store);
}

static void leave(struct remote *remote, struct remote_call *call)
{
	struct swift_store *store = (struct swift_store *)remote;
	struct remote_call **at = &store->waiting;

	while (*at && *at != call)
		at = &(*at)->next;
	if (*at)
		*at = call->next;
	if (store->waiting || !store->logging_in)
		return;
	if (store->v1.call) {
		/* What it brings is told to nobody; until then no other login begins. */
		store->given_up = true;
		http_cancel(store->v1.call);
	} else if (!store->v1.url) {
		store->logging_in = false;
		keystone_leave(store->session, &store->wait);
	}
}

static bool renew(struct remote *remote, struct remote_call *call)
{
	struct swift_store *store = (struct swift_store *)remote;

	if (!store->v1.url)
		return keystone_refused(store->session, call->login);
	if (call->login == store->v1.login)
		drop_token(&store->v1);
	return true;
}

static const struct {
	long status;
	const char *hint;
} hints[] = {
	{401, "Swift doesn't take the token of this login"},
	{403, "the account or the container doesn't allow it, or a quota is used up"},
	{404, "the container isn't there"},
	{413, "the account's or the container's quota is used up, or the image is too large"},
	{422, "the bytes changed on their way"},
	{429, "the service is asked too much; run it again later"},
	{507, "the service's disks are full"},
};

static void describe(struct qmpsnap_error *err, const char *doing, const struct http_reply *reply)
{
	answer_describe(err, doing, "Swift", reply);
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (reply->status == hints[i].status)
			error_hint(err, "%s", hints[i].hint);
	}
}

const struct remote_ops swift_remote_ops = {
	.authorize = authorize,
	.leave = leave,
	.renew = renew,
	.describe = describe,
};

void swift_free(struct swift_store *store)
{
	store->closing = true;
	if (store->v1.call)
		return;
	keystone_free(store->session);
	free(store->v1.url);
	free(store->v1.user);
	free(store->v1.key);
	drop_token(&store->v1);
	free(store);
}
