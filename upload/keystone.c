/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/keystone.h"

#include "base/error.h"
#include "base/log.h"
#include "upload/keystone_session.h"

#include <stdlib.h>
#include <string.h>

enum {
	LEFT_MS = 30 * 1000, /* what a token must still live, to be used */
	FRESH_MS = 60 * 1000, /* how old a fresh one may be */
	SHORT_PART = 4, /* of tokens that live shortly: that part of their life instead */
};

static void free_memory(struct keystone *k)
{
	http_free(k->http);
	cloud_free(k->cloud);
	(void)json_object_put(k->sending);
	free(k->token);
	free(k);
}

void keystone_drop_token(struct keystone *k)
{
	free(k->token);
	k->token = NULL;
	k->access.token = NULL;
}

/* ---- Those who wait ----------------------------------------------------------------------- */

/* Who begins to wait while the others are told isn't meant; and who is told may make others
 * leave. */
static void tell_all(struct keystone *k, const struct qmpsnap_error *err)
{
	for (struct keystone_wait *wait = k->waiting; wait; wait = wait->next)
		wait->due = true;
	for (struct keystone_wait **at = &k->waiting; *at;) {
		struct keystone_wait *wait = *at;
		if (!wait->due) {
			at = &wait->next;
			continue;
		}
		*at = wait->next;
		wait->done(err, err ? NULL : &k->access, wait->data);
		at = &k->waiting;
	}
}

void keystone_told(struct keystone *k)
{
	tell_all(k, NULL);
}

void keystone_failed(struct keystone *k, const struct qmpsnap_error *err)
{
	struct qmpsnap_error mine = *err;

	error_wrap(&mine, "%s", k->doing);
	keystone_drop_token(k);
	tell_all(k, &mine);
}

bool keystone_call_ended(struct keystone *k)
{
	const bool given_up = k->given_up;

	k->call = NULL;
	k->given_up = false;
	(void)json_object_put(k->sending);
	k->sending = NULL;
	if (k->closing) {
		free_memory(k);
		return true;
	}
	/* Somebody came while the exchange was being given up. */
	if (k->waiting && given_up) {
		keystone_log_in(k);
		return true;
	}
	return !k->waiting;
}

/* ---- The session -------------------------------------------------------------------------- */

static bool check_urls(struct keystone *k, struct qmpsnap_error *err)
{
	const struct cloud *cloud = k->cloud;
	char base[URL_BASE_BYTES];

	if (cloud->endpoint) {
		if (!url_base(k->endpoint, cloud->endpoint))
			return error_set(err, QMPSNAP_USAGE,
				"the service's URL must be http:// or https://, without user, "
				"password and query");
		if (strcmp(k->service, "image") == 0)
			(void)url_cut_version(k->endpoint);
		k->discovered = true;
	}
	if (cloud->auth == CLOUD_AUTH_NONE)
		return true;
	if (!url_base(base, cloud->auth_url) || strlen(base) + strlen("/v3") >= sizeof(base))
		return error_set(err, QMPSNAP_USAGE,
			"cloud %s: auth_url must be http:// or https://, without user, password "
			"and "
			"query",
			cloud->name);
	const size_t len = strlen(base);
	if (len > 3 && strcmp(base + len - 3, "/v3") == 0)
		memcpy(k->identity, base, sizeof(base));
	return true;
}

struct keystone *keystone_new(
	uv_loop_t *loop, struct cloud *cloud, const char *service, struct qmpsnap_error *err)
{
	const struct http_tls tls = {.insecure = cloud->insecure,
		.cacert = cloud->cacert,
		.cert = cloud->cert,
		.key = cloud->key};
	struct keystone *k = calloc(1, sizeof(*k));

	if (!k) {
		error_no_memory(err);
		cloud_free(cloud);
		return NULL;
	}
	k->loop = loop;
	k->cloud = cloud;
	k->service = service;
	if (!check_urls(k, err) || !(k->http = http_new(loop, &tls, err))) {
		free_memory(k);
		return NULL;
	}
	if (cloud->insecure)
		log_line(QMPSNAP_LOG_WARNING,
			"cloud %s: certificates aren't verified, so anybody on the way may read "
			"and "
			"change what is sent",
			cloud->name);
	if (cloud->auth == CLOUD_AUTH_NONE)
		k->access = (struct keystone_access){.url = k->endpoint};
	return k;
}

void keystone_free(struct keystone *k)
{
	if (!k)
		return;
	k->closing = true;
	if (k->call)
		http_cancel(k->call);
	else
		free_memory(k);
}

struct http *keystone_http(struct keystone *k)
{
	return k->http;
}

const struct cloud *keystone_cloud(const struct keystone *k)
{
	return k->cloud;
}

const struct keystone_access *keystone_now(struct keystone *k, bool fresh)
{
	const uint64_t part_ms = k->life_ms / SHORT_PART;
	const uint64_t left_ms = part_ms < LEFT_MS ? part_ms : LEFT_MS;
	const uint64_t fresh_ms = part_ms < FRESH_MS ? part_ms : FRESH_MS;

	if (k->cloud->auth == CLOUD_AUTH_NONE)
		return &k->access;
	if (!k->token || !k->discovered)
		return NULL;
	uv_update_time(k->loop);
	const uint64_t age_ms = uv_now(k->loop) - k->since_ms;
	if (age_ms + left_ms > k->life_ms || (fresh && age_ms > fresh_ms))
		return NULL;
	return &k->access;
}

void keystone_wait(
	struct keystone *k, struct keystone_wait *wait, keystone_done_fn *done, void *data)
{
	*wait = (struct keystone_wait){.next = k->waiting, .done = done, .data = data};
	k->waiting = wait;
	if (!k->call)
		keystone_log_in(k);
}

void keystone_leave(struct keystone *k, struct keystone_wait *wait)
{
	for (struct keystone_wait **at = &k->waiting; *at; at = &(*at)->next) {
		if (*at == wait) {
			*at = wait->next;
			break;
		}
	}
	if (!k->waiting && k->call) {
		k->given_up = true;
		http_cancel(k->call);
	}
}

bool keystone_refused(struct keystone *k, unsigned login)
{
	if (k->access.login == login)
		keystone_drop_token(k);
	return k->cloud->auth != CLOUD_AUTH_NONE;
}
