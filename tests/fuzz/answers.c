/* SPDX-License-Identifier: Apache-2.0 */
#include "answers.h"

#include "base/error.h"
#include "upload/http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_HEADERS = 16 };

struct http {
	uv_loop_t *loop;
};

struct http_call {
	struct http_reply reply; /* first: http_header() finds the call by it */
	uv_timer_t timer;
	char *text; /* the answer, cut into its parts */
	char *headers[MOST_HEADERS]; /* "Name: value" */
	struct pump *pump;
	struct shelf_sink *sink;
	struct qmpsnap_error err;
	http_done_fn *done;
	void *data;
};

static struct fuzz_input *input;
static unsigned n_pending;

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb fn, uint64_t timeout, uint64_t repeat);
int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb fn, uint64_t timeout, uint64_t repeat);
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb fn, uint64_t timeout, uint64_t repeat)
{
	(void)timeout;
	return __real_uv_timer_start(timer, fn, 0, repeat);
}

void answers_begin(struct fuzz_input *in)
{
	input = in;
}

unsigned answers_pending(void)
{
	return n_pending;
}

struct http *http_new(uv_loop_t *loop, const struct http_tls *tls, struct qmpsnap_error *err)
{
	struct http *h = calloc(1, sizeof(*h));

	(void)tls;
	(void)err;
	FUZZ_CHECK(h);
	h->loop = loop;
	return h;
}

void http_free(struct http *h)
{
	free(h);
}

/* ---- An answer ---------------------------------------------------------------------------- */

const char *http_header(const struct http_reply *reply, const char *name)
{
	const struct http_call *call = (const struct http_call *)reply;
	const size_t len = strlen(name);

	for (size_t i = 0; i < MOST_HEADERS && call->headers[i]; i++) {
		const char *header = call->headers[i];
		if (strncasecmp(header, name, len) == 0 && header[len] == ':')
			return header + len + 1 + strspn(header + len + 1, " ");
	}
	return NULL;
}

static void copy_header(struct http_call *call, char *to, size_t size, const char *name)
{
	const char *value = http_header(&call->reply, name);

	(void)snprintf(to, size, "%s", value ? value : "");
}

static void read_answer(struct http_call *call)
{
	size_t len = 0;
	char *at = call->text = fuzz_until(input, "\n---\n", &len);

	call->reply.body = call->reply.subject_token = "";
	if (!call->text) {
		(void)error_set(&call->err, QMPSNAP_STORE, "there is no service");
		call->err.detail = CURLE_OUT_OF_MEMORY; /* nothing that passes */
		return;
	}
	char *const end = at + len;
	call->reply.status = strtol(at, NULL, 10) % 1000;
	for (size_t n = 0; (at = memchr(at, '\n', (size_t)(end - at)));) {
		*at++ = '\0';
		if (at < end && *at == '\n') {
			call->reply.body = at + 1;
			call->reply.body_len = (size_t)(end - at - 1);
			break;
		}
		if (n < MOST_HEADERS)
			call->headers[n++] = at;
	}
	copy_header(
		call, call->reply.content_type, sizeof(call->reply.content_type), "Content-Type");
	copy_header(call, call->reply.request_id, sizeof(call->reply.request_id),
		"X-Openstack-Request-Id");
	if (http_header(&call->reply, "X-Subject-Token"))
		call->reply.subject_token = http_header(&call->reply, "X-Subject-Token");
}

/* ---- A call ------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
	struct http_call *call = handle->data;

	free(call->text);
	free(call);
}

static void on_timer(uv_timer_t *timer)
{
	struct http_call *call = timer->data;

	while (call->pump && pump_block(call->pump, 0))
		pump_take(call->pump, 1);
	if (call->pump && pump_error(call->pump) && call->err.code == QMPSNAP_OK)
		call->err = *pump_error(call->pump);
	/* The next blocks come by the loop, which has other handles for that. */
	if (call->pump && pump_left_bytes(call->pump) > 0 && call->err.code == QMPSNAP_OK) {
		(void)__real_uv_timer_start(timer, on_timer, 1, 0);
		return;
	}
	const bool took = call->sink && (call->reply.status == 200 || call->reply.status == 206);
	if (took && call->reply.body_len > 0 && call->err.code == QMPSNAP_OK) {
		FUZZ_CHECK(call->sink->take(call->sink, call->reply.body, call->reply.body_len));
		call->reply.body = "";
		call->reply.body_len = 0;
	}
	n_pending--;
	call->done(call->err.code ? &call->err : NULL, &call->reply, call->data);
	uv_close((uv_handle_t *)timer, on_closed);
}

struct http_call *http_start(struct http *h, const struct http_request *request, http_done_fn *done,
	void *data, struct qmpsnap_error *err)
{
	struct http_call *call = calloc(1, sizeof(*call));

	FUZZ_CHECK(call && request->method && request->url && done);
	for (const char *c = request->url; *c; c++)
		FUZZ_CHECK((unsigned char)*c > ' ' && *c != '\x7f');
	for (size_t i = 0; request->headers && request->headers[i]; i++) {
		if (strpbrk(request->headers[i], "\r\n")) {
			(void)error_set(err, QMPSNAP_STORE, "a line break in a header");
			free(call);
			return NULL;
		}
	}
	call->pump = request->pump;
	call->sink = request->sink;
	call->done = done;
	call->data = data;
	call->timer.data = call;
	read_answer(call);
	(void)uv_timer_init(h->loop, &call->timer);
	(void)uv_timer_start(&call->timer, on_timer, 0, 0);
	n_pending++;
	return call;
}

void http_cancel(struct http_call *call)
{
	if (call->err.code == QMPSNAP_OK)
		(void)error_set(&call->err, QMPSNAP_STORE, "the transfer was stopped");
}

void http_resume(struct http_call *call)
{
	(void)call;
}
