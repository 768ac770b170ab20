/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/json.h"
#include "upload/glance.h"
#include "upload/readable.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

enum { JSON_DEPTH = 32, TEXT_BYTES = 200, URL_BYTES = GLANCE_URL_BYTES + 256 };

static const struct {
	long from, to;
	const char *hint;
} hints[] = {
	{300, 399, "use the URL that the service redirects to"},
	{401, 401, "the service wants authentication, which glance:URL doesn't do"},
	{403, 403, "the service's policy forbids it, or a quota is used up"},
	{404, 404, "the image was deleted meanwhile, or this is not the URL of an image service"},
	{409, 409, "somebody else works on the same image; run it again for a new one"},
	{410, 410, "the image was deleted meanwhile, or the service's store takes no images"},
	{413, 413,
		"the image is larger than the service, its quota or its disk allows, or than a "
		"proxy before it does"},
	{415, 415, "the service doesn't take images of this format or content"},
	{500, 599, "the service's log says more, under the request's id"},
};

static void describe(struct qmpsnap_error *err, const char *doing, const struct http_reply *reply)
{
	char text[TEXT_BYTES], id[HTTP_ID_BYTES];

	readable_line(text, sizeof(text), reply->body, reply->body_len);
	readable_line(id, sizeof(id), reply->request_id, strlen(reply->request_id));
	error_set(err, QMPSNAP_STORE, "%s: the image service answered %ld%s%s%s%s%s", doing,
		reply->status, text[0] ? ": " : "", text, id[0] ? " (request " : "", id,
		id[0] ? ")" : "");
	err->detail = (int)reply->status;
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (reply->status >= hints[i].from && reply->status <= hints[i].to)
			error_hint(err, "%s", hints[i].hint);
	}
}

static struct json_object *parse(const struct http_reply *reply)
{
	struct json_tokener *parser;
	struct json_object *json;

	if (reply->body_len == 0 || !(parser = json_tokener_new_ex(JSON_DEPTH)))
		return NULL;
	json = json_tokener_parse_ex(parser, reply->body, (int)reply->body_len);
	json_tokener_free(parser);
	if (json_object_is_type(json, json_type_object))
		return json;
	(void)json_object_put(json);
	return NULL;
}

static void answered(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct glance_call *call = data;
	struct json_object *json = NULL;
	struct qmpsnap_error failure;

	call->http = NULL;
	if (err) {
		failure = *err;
		error_wrap(&failure, "%s", call->doing);
		err = &failure;
	} else if (reply->status != call->expect[0] && reply->status != call->expect[1]) {
		describe(&failure, call->doing, reply);
		err = &failure;
	} else {
		json = parse(reply);
	}
	call->then(err, json, call->data);
	(void)json_object_put(json);
}

static void failed_to_start(const struct qmpsnap_error *err, void *self)
{
	const struct glance_call *call = self;

	call->then(err, NULL, call->data);
}

void glance_send(struct glance_call *call, struct glance_store *store,
	const struct glance_request *request, glance_then_fn *then, void *data)
{
	char url[URL_BYTES];
	struct qmpsnap_error err;
	const struct http_request http = {.method = request->method,
		.url = url,
		.headers = request->headers,
		.body = request->body,
		.pump = request->pump,
		.quiet_ms = request->quiet_ms};

	(void)snprintf(url, sizeof(url), "%s%s", store->url, request->path);
	*call = (struct glance_call){.doing = request->doing,
		.expect = {request->expect[0], request->expect[1]},
		.then = then,
		.data = data};
	call->http = http_start(store->http, &http, answered, call, &err);
	if (!call->http)
		work_report(&call->later, store->loop, &err, failed_to_start, call);
}

void glance_cancel(struct glance_call *call)
{
	if (call->http)
		http_cancel(call->http);
}

bool glance_unreached(const struct qmpsnap_error *err)
{
	static const CURLcode unreached[] = {CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT,
		CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT,
		CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION};

	for (size_t i = 0; i < sizeof(unreached) / sizeof(unreached[0]); i++) {
		if (err && err->code == QMPSNAP_STORE && err->detail == (int)unreached[i])
			return true;
	}
	return false;
}

bool glance_said(const struct qmpsnap_error *err, long from, long to)
{
	/* CURLcodes end below 100, HTTP's statuses begin there. */
	return err && err->code == QMPSNAP_STORE && err->detail >= 100 && err->detail >= from &&
	       err->detail <= to;
}
