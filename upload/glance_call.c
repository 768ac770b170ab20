/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "upload/answer.h"
#include "upload/glance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { URL_BYTES = 512 + 256, HEADERS = 6 };

static const struct {
	long status;
	const char *hint;
} hints[] = {
	{400, "the service doesn't take something in the request; its words say what"},
	{401, "the service wants a login: glance:URL has none, glance: with a cloud does"},
	{403, "the service's policy forbids it, or a quota is used up"},
	{404, "the image was deleted meanwhile, or this is not the URL of an image service"},
	{409, "somebody else works on the same image; run it again for a new one"},
	{410, "the service's store takes no images"},
	{413, "the image is larger than the service, its quota or its disk allows, or than a proxy "
	      "before it does"},
	{415, "the service doesn't take images of this format or content"},
	{429, "the service is asked too much; run it again later"},
};

static void try_once(struct glance_call *call);

/* ---- The outcome -------------------------------------------------------------------------- */

static void reported(const struct qmpsnap_error *err, void *self)
{
	struct glance_call *call = self;

	call->then(err, NULL, call->data);
}

static void report_later(struct glance_call *call, const struct qmpsnap_error *err)
{
	work_report(&call->later, call->store->loop, err, reported, call);
}

static void give_up(struct glance_call *call)
{
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_STORE, "%s was stopped", call->request.doing);
	report_later(call, &err);
}

static void on_delay(void *data)
{
	struct glance_call *call = data;

	call->delay = NULL;
	try_once(call);
}

/* Whether there is to be another try, which is then under way. */
static bool try_again(struct glance_call *call, const struct qmpsnap_error *err)
{
	struct glance_store *store = call->store;
	char wait[UNITS_TEXT_BYTES];

	if (call->stopped || call->request.once || call->tries >= store->tries ||
		!answer_is_passing(err) ||
		(answer_unreached(err) && !store->reached && !call->request.insist))
		return false;
	call->doubtful |= !answer_unreached(err) && !answer_said(err, 400, 499) && call->sent;
	uint64_t ms = delay_after(call->tries, store->wait_ms, call->retry_after_ms);
	if (call->request.undo && !(ms = undo_patience_left(&store->undo, store->loop, ms))) {
		store->undo.silent = !answer_said(err, 100, 599);
		return false;
	}
	units_format_duration(wait, ms);
	log_line(QMPSNAP_LOG_INFO, "%s; trying again in %s", err->message, wait);
	call->delay = delay_start(store->loop, ms, on_delay, call);
	return call->delay != NULL;
}

static void failed(struct glance_call *call, const struct qmpsnap_error *err)
{
	if (!try_again(call, err))
		call->then(err, NULL, call->data);
}

static void describe(
	struct glance_call *call, struct qmpsnap_error *err, const struct http_reply *reply)
{
	answer_describe(err, call->request.doing, "the image service", reply);
	if (reply->status >= 500)
		error_hint(err, "the service's log says more, under the request's id");
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (reply->status == hints[i].status)
			error_hint(err, "%s", hints[i].hint);
	}
	if (reply->status == 401 && keystone_cloud(call->store->session)->auth != CLOUD_AUTH_NONE)
		error_hint(err, "the service doesn't take the tokens of this cloud's Keystone");
}

/* ---- An exchange -------------------------------------------------------------------------- */

/* A refused token is replaced once, unless bytes have gone that can't be had back. */
static bool log_in_again(struct glance_call *call, const struct http_reply *reply, bool untouched)
{
	if (reply->status != 401 || call->relogged || call->stopped || !untouched ||
		!keystone_refused(call->store->session, call->login))
		return false;
	call->relogged = true;
	try_once(call);
	return true;
}

static void answered(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct glance_call *call = data;
	const struct glance_request *request = &call->request;
	struct qmpsnap_error mine;

	call->http = NULL;
	call->retry_after_ms = reply->retry_after_ms;
	if (err) {
		mine = *err;
		error_wrap(&mine, "%s", request->doing);
		failed(call, &mine);
		return;
	}
	call->store->reached = true;
	call->store->undo.silent = false;
	if (call->stopped) { /* the answer was in already */
		error_set(&mine, QMPSNAP_STORE, "%s was stopped", request->doing);
		call->then(&mine, NULL, call->data);
		return;
	}
	if (log_in_again(call, reply, !request->pump || pump_is_untouched(request->pump)))
		return;
	if (reply->status != request->expect[0] && reply->status != request->expect[1]) {
		describe(call, &mine, reply);
		failed(call, &mine);
		return;
	}
	call->store->undo.until_ms = 0;
	struct json_object *json = answer_json(reply);
	call->then(NULL, json, call->data);
	(void)json_object_put(json);
}

static struct http_call *start_http(struct glance_call *call, const struct keystone_access *access,
	const char *token_header, struct qmpsnap_error *err)
{
	const struct glance_request *request = &call->request;
	const char *headers[HEADERS] = {NULL};
	char url[URL_BYTES];
	size_t n = 0;
	const struct http_request http = {.method = request->method,
		.url = url,
		.headers = headers,
		.body = request->body,
		.pump = request->pump,
		.sink = request->sink,
		.sized = request->sized,
		.quiet_ms = request->quiet_ms};

	(void)snprintf(url, sizeof(url), "%s%s", access->url, request->path);
	while (n < 4 && request->headers[n]) {
		headers[n] = request->headers[n];
		n++;
	}
	headers[n] = token_header;
	if (!http.body && !http.pump && http.method[0] == 'P') { /* none of these is without */
		(void)error_no_memory(err);
		return NULL;
	}
	return http_start(keystone_http(call->store->session), &http, answered, call, err);
}

static void send_with(struct glance_call *call, const struct keystone_access *access)
{
	struct qmpsnap_error err;
	char *token_header = NULL;

	call->login = access->login;
	(void)snprintf(
		call->project, sizeof(call->project), "%s", access->project ? access->project : "");
	if (access->token && asprintf(&token_header, "X-Auth-Token: %s", access->token) < 0) {
		error_no_memory(&err);
		report_later(call, &err);
		return;
	}
	call->http = start_http(call, access, token_header, &err);
	free(token_header);
	if (!call->http)
		report_later(call, &err);
	else
		call->sent = true;
}

static void logged_in(
	const struct qmpsnap_error *err, const struct keystone_access *access, void *data)
{
	struct glance_call *call = data;
	struct qmpsnap_error mine;

	call->waiting = false;
	if (!err) {
		send_with(call, access);
		return;
	}
	call->retry_after_ms = 0;
	mine = *err;
	error_wrap(&mine, "%s", call->request.doing);
	/* What Keystone doesn't find or allow says nothing about the image. */
	if (answer_said(err, 402, 499) && !answer_is_passing(err))
		mine.detail = 0;
	if (call->starting)
		report_later(call, &mine);
	else
		failed(call, &mine);
}

static void try_once(struct glance_call *call)
{
	const struct keystone_access *access =
		keystone_now(call->store->session, call->request.fresh);

	call->tries++;
	if (access) {
		send_with(call, access);
		return;
	}
	call->waiting = true;
	call->starting = true;
	keystone_wait(call->store->session, &call->wait, logged_in, call);
	call->starting = false;
}

void glance_send(struct glance_call *call, struct glance_store *store,
	const struct glance_request *request, glance_then_fn *then, void *data)
{
	struct qmpsnap_error err;

	*call = (struct glance_call){
		.store = store, .request = *request, .then = then, .data = data};
	if (!request->undo || !store->undo.silent) {
		try_once(call);
		return;
	}
	error_set(&err, QMPSNAP_STORE, "%s: not tried, since the image service doesn't answer",
		request->doing);
	report_later(call, &err);
}

void glance_cancel(struct glance_call *call)
{
	if (call->http) {
		http_cancel(call->http);
		call->stopped = true;
	} else if (call->waiting) {
		call->waiting = false;
		keystone_leave(call->store->session, &call->wait);
		give_up(call);
	} else if (call->delay) {
		delay_cancel(call->delay);
		call->delay = NULL;
		give_up(call);
	}
}

void glance_resume(struct glance_call *call)
{
	if (call->http)
		http_resume(call->http);
}
