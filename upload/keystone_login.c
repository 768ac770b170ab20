/* SPDX-License-Identifier: Apache-2.0
 *
 * Logging in: which version of Keystone, a token, where the service is and whether it has the
 * version that is spoken here. */
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "upload/answer.h"
#include "upload/keystone_session.h"
#include "upload/keystone_words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUEST_URL_BYTES = URL_BASE_BYTES + 32 };

static void ask_for_token(struct keystone *k);
static void discover_service(struct keystone *k);

static void finish(struct keystone *k)
{
	k->discovered = true;
	k->access = (struct keystone_access){.url = k->endpoint,
		.token = k->token,
		.project = k->project[0] ? k->project : NULL,
		.login = k->access.login + 1};
	keystone_told(k);
}

static void send_request(struct keystone *k, const struct http_request *request, http_done_fn *done)
{
	struct qmpsnap_error err;

	k->call = http_start(k->http, request, done, k, &err);
	/* Without memory there is no other turn to report it in. */
	if (!k->call)
		keystone_failed(k, &err);
}

/* ---- The token ---------------------------------------------------------------------------- */

static void hint_refusal(struct qmpsnap_error *err, const struct keystone *k)
{
	static const char *const hints[] = {"", "check the user, the domain and the password",
		"the token has expired, or is for another cloud",
		"the application credential has expired or was deleted, or its secret is wrong"};

	/* Keystone doesn't find a token that it doesn't know. */
	if (answer_said(err, 401, 401) ||
		(answer_said(err, 404, 404) && k->cloud->auth == CLOUD_AUTH_TOKEN))
		error_hint(err, "%s (cloud %.64s)", hints[k->cloud->auth], k->cloud->name);
	else if (answer_said(err, 403, 403))
		error_hint(err, "Keystone's policy forbids it; a token can't always be used to get "
				"another");
	else if (answer_said(err, 404, 404))
		error_hint(err, "is %.200s the URL of a Keystone?", k->identity);
}

/* Takes the token and, for the first one, the URL of the service. */
static bool take_token(
	struct keystone *k, const struct http_reply *reply, struct qmpsnap_error *err)
{
	struct json_object *json = answer_json(reply);
	bool well = true;

	if (!json || !reply->subject_token[0])
		well = error_set(err, QMPSNAP_STORE,
			"the answer has no token in it; is this the URL of a Keystone?");
	if (well && !k->endpoint[0])
		well = keystone_endpoint(json, k->cloud, k->service, k->endpoint, err);
	if (well) {
		keystone_drop_token(k);
		k->life_ms = keystone_life_ms(json);
		keystone_project(json, k->project);
		k->since_ms = uv_now(k->loop);
		k->token = strdup(reply->subject_token);
		if (!k->token)
			well = error_no_memory(err);
	}
	(void)json_object_put(json);
	return well;
}

static void got_token(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct keystone *k = data;
	struct qmpsnap_error mine;

	if (keystone_call_ended(k))
		return;
	if (err) {
		keystone_failed(k, err);
	} else if (reply->status != 201 && reply->status != 200) {
		answer_describe(&mine, k->identity, "Keystone", reply);
		hint_refusal(&mine, k);
		keystone_failed(k, &mine);
	} else if (!take_token(k, reply, &mine)) {
		keystone_failed(k, &mine);
	} else if (k->discovered) {
		finish(k);
	} else {
		discover_service(k);
	}
}

static void ask_for_token(struct keystone *k)
{
	static const char *const headers[] = {
		"Content-Type: application/json", "Accept: application/json", NULL};
	char url[REQUEST_URL_BYTES];
	const struct http_request request = {
		.method = "POST", .url = url, .headers = headers, .body = NULL};
	struct http_request with_body = request;

	(void)snprintf(url, sizeof(url), "%s/auth/tokens", k->identity);
	k->sending = keystone_request(k->cloud);
	with_body.body = k->sending ? json_text(k->sending) : NULL;
	if (!with_body.body) {
		struct qmpsnap_error err;
		(void)error_no_memory(&err);
		(void)json_object_put(k->sending);
		k->sending = NULL;
		keystone_failed(k, &err);
		return;
	}
	send_request(k, &with_body, got_token);
}

/* ---- Versions ----------------------------------------------------------------------------- */

static const struct version {
	const char *name, *what;
} identity_v3 = {"v3", "Keystone with the identity API v3"}, image_v2 = {"v2", "image API v2"};

/* Whether what answered at `url` may have the version; else the login has ended.  There isn't
 * always a list of versions to be had. */
static bool has_version(struct keystone *k, const struct qmpsnap_error *err,
	const struct http_reply *reply, const struct version *version, const char *url)
{
	struct qmpsnap_error mine;

	if (keystone_call_ended(k))
		return false;
	if (err) {
		keystone_failed(k, err);
		return false;
	}
	struct json_object *json = answer_json(reply);
	const int found = keystone_has_version(json, version->name);
	(void)json_object_put(json);
	if (reply->status >= 400 || found != 0)
		return true;
	error_set(&mine, QMPSNAP_STORE, "%s: there is no %s", url, version->what);
	keystone_failed(k, &mine);
	return false;
}

static void identity_discovered(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct keystone *k = data;

	if (!has_version(k, err, reply, &identity_v3, k->cloud->auth_url))
		return;
	/* Where the list isn't given out, v3 is tried. */
	(void)url_base(k->identity, k->cloud->auth_url);
	(void)url_cut_version(k->identity);
	const size_t len = strlen(k->identity);
	(void)snprintf(k->identity + len, sizeof(k->identity) - len, "/v3");
	ask_for_token(k);
}

static void discover_identity(struct keystone *k)
{
	static const char *const headers[] = {"Accept: application/json", NULL};
	char base[URL_BASE_BYTES], url[REQUEST_URL_BYTES];
	const struct http_request request = {.method = "GET", .url = url, .headers = headers};

	(void)url_base(base, k->cloud->auth_url); /* checked when it was opened */
	(void)url_cut_version(base);
	(void)snprintf(url, sizeof(url), "%s/", base);
	send_request(k, &request, identity_discovered);
}

static void service_discovered(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct keystone *k = data;

	if (has_version(k, err, reply, &image_v2, k->endpoint))
		finish(k);
}

/* An endpoint of the image service has its version in it, or else lists those that there are.
 * Their own URLs in the list are often wrong behind a proxy, so they aren't used. */
static void discover_service(struct keystone *k)
{
	char url[REQUEST_URL_BYTES];
	const struct http_request request = {.method = "GET", .url = url};

	if (strcmp(k->service, "image") != 0 || url_cut_version(k->endpoint)) {
		finish(k);
		return;
	}
	(void)snprintf(url, sizeof(url), "%s/", k->endpoint);
	(void)snprintf(k->doing, sizeof(k->doing), "asking cloud %.64s for its image service",
		k->cloud->name);
	send_request(k, &request, service_discovered);
}

void keystone_log_in(struct keystone *k)
{
	(void)snprintf(k->doing, sizeof(k->doing), "logging in to cloud %.64s", k->cloud->name);
	log_line(QMPSNAP_LOG_DEBUG, "%s at %s", k->doing, k->cloud->auth_url);
	if (k->identity[0])
		ask_for_token(k);
	else
		discover_identity(k);
}
