/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/remote.h"

#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "upload/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALL_HEADERS = 16 };

static void try_once(struct remote_call *call);
static void finish_try(struct remote_call *call);

/* ---- The outcome -------------------------------------------------------------------------- */

static void report(
	struct remote_call *call, const struct qmpsnap_error *err, const struct http_reply *reply)
{
	struct qmpsnap_error stopped;

	call->state = REMOTE_IDLE;
	if (!err && call->stopped) { /* the answer was in already */
		error_set(&stopped, QMPSNAP_STORE, "%s was stopped", call->request.doing);
		err = &stopped;
	}
	call->then(err, reply, call->data);
}

static void reported(const struct qmpsnap_error *err, void *self)
{
	report(self, err, NULL);
}

static void report_later(struct remote_call *call, const struct qmpsnap_error *err)
{
	call->state = REMOTE_REPORTING;
	work_report(&call->later, call->remote->loop, err, reported, call);
}

static void give_up(struct remote_call *call)
{
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_STORE, "%s was stopped", call->request.doing);
	report_later(call, &err);
}

static void on_delay(void *data)
{
	struct remote_call *call = data;

	call->delay = NULL;
	try_once(call);
}

/* Whether there is to be another try, which is then under way. */
static bool try_later(struct remote_call *call, const struct qmpsnap_error *err)
{
	struct remote *remote = call->remote;
	char wait[UNITS_TEXT_BYTES];

	if (call->stopped || call->request.sink || call->tries >= remote->tries ||
		!answer_is_passing(err) || (answer_unreached(err) && !remote->reached))
		return false;
	call->doubtful |= call->begun && !answer_unreached(err) && !answer_said(err, 400, 499);
	uint64_t ms = delay_after(call->tries, remote->wait_ms, call->retry_after_ms);
	if (call->request.undo && !(ms = undo_patience_left(&remote->undo, remote->loop, ms))) {
		remote->undo.silent = !answer_said(err, 100, 599);
		return false;
	}
	units_format_duration(wait, ms);
	log_line(QMPSNAP_LOG_INFO, "%s; trying again in %s", err->message, wait);
	call->delay = delay_start(remote->loop, ms, on_delay, call);
	if (call->delay)
		call->state = REMOTE_DELAY;
	return call->delay != NULL;
}

static void failed(
	struct remote_call *call, const struct qmpsnap_error *err, const struct http_reply *reply)
{
	if (!try_later(call, err))
		report(call, err, reply);
}

/* ---- The end of a try --------------------------------------------------------------------- */

static bool is_expected(const struct remote_call *call, long status)
{
	for (size_t i = 0; i < sizeof(call->request.expect) / sizeof(call->request.expect[0]);
		i++) {
		if (status == call->request.expect[i])
			return true;
	}
	return false;
}

static void keep_etag(struct remote_call *call, const struct http_reply *reply)
{
	const char *etag = http_header(reply, "ETag");
	size_t len;

	call->etag[0] = '\0';
	if (!etag)
		return;
	etag += etag[0] == '"';
	len = strcspn(etag, "\"");
	if (len < sizeof(call->etag))
		(void)snprintf(call->etag, sizeof(call->etag), "%.*s", (int)len, etag);
}

/* Fills *err unless the answer is the expected one. */
static bool judge(struct remote_call *call, const struct qmpsnap_error *broken,
	const struct http_reply *reply, struct qmpsnap_error *err)
{
	const struct remote_ops *ops = call->remote->ops;

	call->retry_after_ms = reply->retry_after_ms;
	if (broken) {
		*err = *broken;
		error_wrap(err, "%s", call->request.doing);
		return false;
	}
	call->remote->reached = true;
	call->remote->undo.silent = false;
	keep_etag(call, reply);
	const long status = ops->status ? ops->status(reply) : reply->status;
	if (is_expected(call, status)) {
		call->remote->undo.until_ms = 0;
		return true;
	}
	ops->describe(err, call->request.doing, reply);
	return false;
}

static void pump_closed(void *data)
{
	struct remote_call *call = data;
	const struct qmpsnap_error err = call->err;

	call->pump = NULL;
	if (call->again && !call->stopped)
		try_once(call);
	else if (err.code != QMPSNAP_OK)
		failed(call, &err, NULL);
	else
		report(call, NULL, NULL);
}

static void close_pump(struct remote_call *call)
{
	call->state = REMOTE_CLOSING;
	pump_close(call->pump, pump_closed, call);
}

static void on_digest(void *data)
{
	finish_try(data);
}

/* A stream's: waits for its digest, too, when it went well. */
static void finish_try(struct remote_call *call)
{
	const struct qmpsnap_error *pump_err = pump_error(call->pump);

	pump_on_event(call->pump, NULL, NULL);
	if (pump_err)
		call->err = *pump_err;
	else if (call->err.code == QMPSNAP_OK && pump_left_bytes(call->pump) > 0)
		error_set(&call->err, QMPSNAP_STORE,
			"%s: the service said that it had all too early", call->request.doing);
	if (call->err.code == QMPSNAP_OK && !pump_finished(call->pump)) {
		call->state = REMOTE_DIGEST;
		pump_on_event(call->pump, on_digest, call);
		return;
	}
	if (call->err.code == QMPSNAP_OK)
		(void)snprintf(call->digest, sizeof(call->digest), "%s", pump_digest(call->pump));
	close_pump(call);
}

static void answered(const struct qmpsnap_error *broken, const struct http_reply *reply, void *data)
{
	struct remote_call *call = data;
	struct qmpsnap_error err = {.code = QMPSNAP_OK};

	call->http = NULL;
	const bool well = judge(call, broken, reply, &err);
	call->again = !well && answer_said(&err, 401, 401) && !call->renewed && !call->stopped &&
		      call->remote->ops->renew && call->remote->ops->renew(call->remote, call);
	call->renewed = call->again; /* a token may expire in each of the tries */
	if (call->pump) {
		call->err = err;
		finish_try(call);
	} else if (call->again) {
		try_once(call);
	} else if (well) {
		report(call, NULL, reply);
	} else {
		failed(call, &err, reply);
	}
}

/* ---- A try -------------------------------------------------------------------------------- */

/* What is sent again isn't told again. */
static void on_progress(uint64_t done_bytes, void *data)
{
	struct remote_call *call = data;

	if (done_bytes <= call->progress_bytes)
		return;
	call->progress_bytes = done_bytes;
	if (call->request.progress)
		call->request.progress(done_bytes, call->data);
}

static bool open_pump(struct remote_call *call, struct qmpsnap_error *err)
{
	const struct pump_options options = {.loop = call->remote->loop,
		.stream = call->request.stream,
		.digest = call->request.digest,
		.progress = on_progress,
		.data = call};

	call->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	return !call->request.stream || (call->pump = pump_open(&options, err));
}

static size_t append(const char **all, size_t n, const char *const *more)
{
	for (size_t i = 0; more && more[i] && n < ALL_HEADERS - 1; i++)
		all[n++] = more[i];
	all[n] = NULL;
	return n;
}

static bool start_http(
	struct remote_call *call, const struct remote_access *access, struct qmpsnap_error *err)
{
	const struct remote_request *request = &call->request;
	const char *headers[ALL_HEADERS];
	char *url = NULL;

	if (asprintf(&url, "%s%s", access->url, request->path) < 0)
		return error_no_memory(err);
	const struct http_request http = {.method = request->method,
		.url = url,
		.headers = headers,
		.body = request->body,
		.pump = call->pump,
		.sink = request->sink,
		.sized = true,
		.renewable = true,
		.signer = access->signer,
		.quiet_ms = request->quiet_ms};
	(void)append(headers, append(headers, 0, request->headers), access->headers);
	call->http = http_start(call->remote->http, &http, answered, call, err);
	free(url);
	return call->http != NULL;
}

void remote_go(struct remote_call *call, const struct remote_access *access)
{
	struct qmpsnap_error err;

	call->state = REMOTE_EXCHANGE;
	if (open_pump(call, &err) && start_http(call, access, &err)) {
		call->begun = true;
	} else if (call->pump) {
		call->err = err;
		close_pump(call);
	} else {
		report_later(call, &err);
	}
}

static void on_authorize_failed(const struct qmpsnap_error *err, void *self)
{
	failed(self, err, NULL);
}

void remote_fail(struct remote_call *call, const struct qmpsnap_error *err)
{
	struct qmpsnap_error mine = *err;

	call->retry_after_ms = 0;
	error_wrap(&mine, "%s", call->request.doing);
	call->state = REMOTE_REPORTING;
	work_report(&call->later, call->remote->loop, &mine, on_authorize_failed, call);
}

static void try_once(struct remote_call *call)
{
	call->tries++;
	call->again = false;
	call->state = REMOTE_AUTHORIZING;
	call->remote->ops->authorize(call->remote, call);
}

void remote_init(struct remote *remote, const struct remote_ops *ops, uv_loop_t *loop)
{
	remote->ops = ops;
	remote->loop = loop;
	remote->tries = REMOTE_TRIES;
	remote->wait_ms = REMOTE_WAIT_MS;
}

void remote_send(struct remote_call *call, struct remote *remote,
	const struct remote_request *request, remote_then_fn *then, void *data)
{
	struct qmpsnap_error err;

	*call = (struct remote_call){
		.remote = remote, .request = *request, .then = then, .data = data};
	if (!request->undo || !remote->undo.silent) {
		try_once(call);
		return;
	}
	error_set(&err, QMPSNAP_STORE, "%s: not tried, since the service doesn't answer",
		request->doing);
	report_later(call, &err);
}

void remote_cancel(struct remote_call *call)
{
	if (call->stopped || call->state == REMOTE_IDLE)
		return;
	call->stopped = true;
	if (call->state == REMOTE_EXCHANGE && call->http) {
		http_cancel(call->http);
	} else if (call->state == REMOTE_AUTHORIZING && call->remote->ops->leave) {
		call->remote->ops->leave(call->remote, call);
		give_up(call);
	} else if (call->state == REMOTE_DELAY) {
		delay_cancel(call->delay);
		call->delay = NULL;
		give_up(call);
	}
}

void remote_resume(struct remote_call *call)
{
	if (call->http)
		http_resume(call->http);
}
