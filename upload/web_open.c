/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the stores http: and https:, and what their answers mean. */
#include "base/error.h"
#include "upload/answer.h"
#include "upload/stores.h"
#include "upload/web.h"

#include <stdio.h>
#include <stdlib.h>

void web_free(struct qmpsnap_store *base)
{
	struct web_store *store = (struct web_store *)base;

	http_free(store->remote.http);
	web_spec_free(&store->spec);
	free(store);
}

static void authorize(struct remote *remote, struct remote_call *call)
{
	const struct web_store *store = (const struct web_store *)remote;
	const struct remote_access access = {
		.url = store->spec.url, .headers = (const char *const *)store->spec.headers};

	remote_go(call, &access);
}

static const struct {
	long status;
	const char *hint;
} hints[] = {
	{401, "the server wants a login: --header-file takes a file with its 'Authorization: ...'"},
	{403, "the server doesn't allow it with these headers"},
	{404, "the folder isn't there, or the server takes nothing at this URL"},
	{405, "the server takes no uploads by PUT at this URL"},
	{409, "the folder isn't there (as WebDAV says it)"},
	{413, "the image is larger than the server, or a proxy before it, allows"},
	{507, "the server's disk is full"},
};

static void describe(struct qmpsnap_error *err, const char *doing, const struct http_reply *reply)
{
	answer_describe(err, doing, "the server", reply);
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (reply->status == hints[i].status)
			error_hint(err, "%s", hints[i].hint);
	}
}

static const struct remote_ops remote_ops = {.authorize = authorize, .describe = describe};

static struct qmpsnap_store *web_open(uv_loop_t *loop, const char *scheme, const char *where,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	struct web_store *store = calloc(1, sizeof(*store));
	char *spec = NULL;

	if (!store || asprintf(&spec, "%s%s", scheme, where) < 0) {
		error_no_memory(err);
		free(store);
		return NULL;
	}
	store->remote.base.ops = &web_ops;
	remote_init(&store->remote, &remote_ops, loop);
	const bool well = web_spec_open(&store->spec, spec, options, err);
	free(spec);
	const struct http_tls tls = {
		.insecure = store->spec.insecure, .cacert = store->spec.cacert};
	if (well && (store->remote.http = http_new(loop, &tls, err)))
		return &store->remote.base;
	web_free(&store->remote.base);
	return NULL;
}

struct qmpsnap_store *web_open_http(uv_loop_t *loop, const char *where,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	return web_open(loop, "http:", where, options, err);
}

struct qmpsnap_store *web_open_https(uv_loop_t *loop, const char *where,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	return web_open(loop, "https:", where, options, err);
}
