/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/http_call.h"
#include "base/error.h"
#include "base/log.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* Resuming libcurl costs a turn of the loop, so it waits for some blocks; but not for
	 * long, when the blocks come slowly or the ring is small. */
	RESUME_BLOCKS = 4,
	RESUME_MS = 50,
	TICKS = 10, /* in the longest quiet time */
};

/* ---- The end ----------------------------------------------------------------------------- */

static void free_call(struct http_call *call)
{
	if (call->easy)
		curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	free(call->url);
	free(call->body);
	free(call->subject_token);
	free(call);
}

static void timer_closed(uv_handle_t *handle)
{
	struct http_call *call = handle->data;

	if (--call->n_timers > 0)
		return;
	call->reply.body = call->body ? call->body : "";
	call->reply.subject_token = call->subject_token ? call->subject_token : "";
	/* Neither headers nor bodies: there are secrets in them. */
	log_line(QMPSNAP_LOG_DEBUG, "HTTP: %ld %s", call->reply.status, call->url);
	call->done(call->err.code == QMPSNAP_OK ? NULL : &call->err, &call->reply, call->data);
	free_call(call);
}

const char *http_header(const struct http_reply *reply, const char *name)
{
	const struct http_call *call =
		(const struct http_call *)((const char *)reply - offsetof(struct http_call, reply));
	struct curl_header *header;

	return curl_easy_header(call->easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK
		       ? header->value
		       : NULL;
}

static void read_reply_headers(struct http_call *call)
{
	const char *id = http_header(&call->reply, "X-Openstack-Request-Id");
	struct curl_header *header;
	curl_off_t seconds = 0;

	if (!id)
		id = http_header(&call->reply, "x-amz-request-id");
	(void)snprintf(call->reply.request_id, sizeof(call->reply.request_id), "%s", id ? id : "");
	if (curl_easy_header(call->easy, "Content-Type", 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
		(void)snprintf(call->reply.content_type, sizeof(call->reply.content_type), "%s",
			header->value);
	if (curl_easy_header(call->easy, "X-Subject-Token", 0, CURLH_HEADER, -1, &header) ==
		CURLHE_OK)
		call->subject_token = strdup(header->value);
	if (curl_easy_getinfo(call->easy, CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK &&
		seconds > 0)
		call->reply.retry_after_ms = (uint64_t)seconds * 1000;
}

/* `done` is called when the last timer is closed: never from within libcurl, and after the call
 * has left the loop. */
static void end(struct http_call *call)
{
	if (call->ending)
		return;
	call->ending = true;
	if (call->pump)
		pump_on_event(call->pump, NULL, NULL);
	read_reply_headers(call);
	http_remove(call->http, call->easy);
	uv_close((uv_handle_t *)&call->resume, timer_closed);
	uv_close((uv_handle_t *)&call->tick, timer_closed);
}

/* A service that wants another certificate of ours, or one at all, says so by an alert, which comes
 * with TLS 1.3 when the request is under way: nothing that passes. */
static CURLcode meaning(CURLcode code, const char *text)
{
	const char *alert = strstr(text, "alert ");

	return code != CURLE_OK && alert &&
			       (strstr(alert, "certificate") || strstr(alert, "unknown ca"))
		       ? CURLE_SSL_CERTPROBLEM
		       : code;
}

static void hint(struct qmpsnap_error *err, CURLcode code)
{
	if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
		code == CURLE_OPERATION_TIMEDOUT)
		error_hint(err, "check the URL, and that the service is running");
	else if (code == CURLE_PEER_FAILED_VERIFICATION)
		error_hint(err, "the certificate is of somebody unknown, has expired, or is for "
				"another name; the authority that signed it is named by OS_CACERT "
				"or clouds.yaml's cacert, for s3: by AWS_CA_BUNDLE, for https: by "
				"--cacert");
	else if (code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM)
		error_hint(err, "check the files that cacert, cert and key name");
}

void http_call_ended(struct http_call *call, int result)
{
	const CURLcode code = meaning((CURLcode)result, call->curl_text);
	long status = 0;

	(void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	call->reply.status = status;
	/* libcurl is content with a head that breaks off. */
	if (code == CURLE_OK && !call->whole_head && call->err.code == QMPSNAP_OK) {
		error_set(&call->err, QMPSNAP_STORE, "%s: the answer broke off", call->url);
		call->err.detail = CURLE_PARTIAL_FILE;
	}
	/* A server that refuses a body may well close the connection under it. */
	if (code != CURLE_OK && status < 400 && call->err.code == QMPSNAP_OK) {
		error_set(&call->err, QMPSNAP_STORE, "%s: %s", call->url,
			call->curl_text[0] ? call->curl_text : curl_easy_strerror(code));
		call->err.detail = (int)code;
		hint(&call->err, code);
	}
	end(call);
}

/* Ends it from outside libcurl's callbacks; the first reason stays. */
static void give_up(struct http_call *call, const struct qmpsnap_error *why)
{
	if (call->err.code == QMPSNAP_OK)
		call->err = *why;
	end(call);
}

static void on_cancel(uv_timer_t *timer)
{
	end(timer->data);
}

void http_cancel(struct http_call *call)
{
	if (call->ending)
		return;
	if (call->err.code == QMPSNAP_OK)
		error_set(&call->err, QMPSNAP_STORE, "%s: the transfer was stopped", call->url);
	/* Later, since this may be called from within one of libcurl's callbacks. */
	(void)uv_timer_start(&call->tick, on_cancel, 0, 0);
}

/* ---- The request's body ------------------------------------------------------------------ */

size_t http_read_body(char *to, size_t size, size_t n, void *data)
{
	struct http_call *call = data;
	const size_t room = size * n;
	size_t done = 0;
	const struct stream_block *block;

	const struct qmpsnap_error *err = pump_error(call->pump);

	if (err) {
		call->err = *err;
		return CURL_READFUNC_ABORT;
	}
	while (done < room && (block = pump_block(call->pump, 0))) {
		const size_t rest = block->len - call->block_at;
		const size_t len = rest < room - done ? rest : room - done;
		memcpy(to + done, block->data + call->block_at, len);
		done += len;
		call->block_at += len;
		if (call->block_at == block->len) {
			call->block_at = 0;
			pump_take(call->pump, 1);
		}
	}
	if (done == 0 && pump_left_bytes(call->pump) > 0) {
		call->paused = true;
		return CURL_READFUNC_PAUSE;
	}
	return done;
}

static void resume(struct http_call *call)
{
	call->paused = false;
	call->quiet_ticks = 0;
	(void)uv_timer_stop(&call->resume);
	const CURLcode rc = curl_easy_pause(call->easy, CURLPAUSE_CONT);
	if (rc != CURLE_OK) {
		struct qmpsnap_error err;
		error_set(&err, QMPSNAP_STORE, "%s: %s", call->url, curl_easy_strerror(rc));
		give_up(call, &err);
	}
}

static void on_resume(uv_timer_t *timer)
{
	resume(timer->data);
}

/* Whether enough is ready to make a resume worth it, or all that is left. */
static bool enough_ready(struct http_call *call)
{
	uint64_t bytes = 0;
	const struct stream_block *block;

	for (size_t i = 0; i < RESUME_BLOCKS; i++) {
		block = pump_block(call->pump, i);
		if (!block)
			return bytes == pump_left_bytes(call->pump);
		bytes += block->len;
	}
	return true;
}

static void on_pump(void *data)
{
	struct http_call *call = data;
	const struct qmpsnap_error *err = pump_error(call->pump);

	if (err) {
		give_up(call, err);
		return;
	}
	if (!call->paused || !pump_block(call->pump, 0))
		return;
	if (enough_ready(call))
		resume(call);
	else if (!uv_is_active((uv_handle_t *)&call->resume))
		(void)uv_timer_start(&call->resume, on_resume, RESUME_MS, 0);
}

/* ---- The reply --------------------------------------------------------------------------- */

void http_resume(struct http_call *call)
{
	if (call->paused && !call->ending)
		resume(call);
}

static bool is_for_sink(const struct http_call *call)
{
	long status = 0;

	(void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	return call->sink && (status == 200 || status == 206);
}

size_t http_write_body(char *from, size_t size, size_t n, void *data)
{
	struct http_call *call = data;
	const size_t len = size * n;
	const size_t total = call->reply.body_len + len;

	if (is_for_sink(call)) {
		call->paused = !call->sink->take(call->sink, from, len);
		return call->paused ? CURL_WRITEFUNC_PAUSE : len;
	}
	if (total > HTTP_REPLY_BYTES) {
		error_set(&call->err, QMPSNAP_STORE, "%s: the reply is longer than %d bytes",
			call->url, HTTP_REPLY_BYTES);
		call->err.detail = CURLE_FILESIZE_EXCEEDED;
		return 0;
	}
	char *body = realloc(call->body, total + 1);
	if (!body) {
		error_no_memory(&call->err);
		return 0;
	}
	memcpy(body + call->reply.body_len, from, len);
	body[total] = '\0';
	call->body = body;
	call->reply.body_len = total;
	return len;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the type is libcurl's */
size_t http_count_header(char *from, size_t size, size_t n, void *data)
{
	struct http_call *call = data;

	call->header_bytes += size * n;
	call->whole_head = size * n <= 2 && (from[0] == '\r' || from[0] == '\n');
	if (call->header_bytes <= HTTP_REPLY_HEADER_BYTES)
		return size * n;
	error_set(&call->err, QMPSNAP_STORE, "%s: the reply has more than %d bytes of headers",
		call->url, HTTP_REPLY_HEADER_BYTES);
	return 0;
}

/* libcurl's own low-speed limit would count the time that we keep it waiting. */
static void on_tick(uv_timer_t *timer)
{
	struct http_call *call = timer->data;
	curl_off_t up = 0, down = 0;

	(void)curl_easy_getinfo(call->easy, CURLINFO_SIZE_UPLOAD_T, &up);
	(void)curl_easy_getinfo(call->easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
	const curl_off_t moved = up + down + (curl_off_t)call->header_bytes;
	if (moved != call->moved_bytes || call->paused) {
		call->moved_bytes = moved;
		call->quiet_ticks = 0;
	} else if (++call->quiet_ticks > TICKS) {
		struct qmpsnap_error err;
		error_set(&err, QMPSNAP_STORE, "%s: nothing moved for %u s", call->url,
			(unsigned)(uv_timer_get_repeat(timer) * TICKS / 1000));
		err.detail = CURLE_OPERATION_TIMEDOUT;
		give_up(call, &err);
	}
}

/* ---- Starting ---------------------------------------------------------------------------- */

static void start_timers(struct http_call *call, uint64_t quiet_ms)
{
	uv_loop_t *loop = http_loop(call->http);
	const uint64_t tick_ms = (quiet_ms ? quiet_ms : HTTP_QUIET_MS) / TICKS + 1;

	/* Neither can fail. */
	(void)uv_timer_init(loop, &call->resume);
	(void)uv_timer_init(loop, &call->tick);
	call->resume.data = call;
	call->tick.data = call;
	call->n_timers = 2;
	(void)uv_timer_start(&call->tick, on_tick, tick_ms, tick_ms);
}

/* Parts of headers come from services: a token, an ETag.  No line of ours is to be ended by one. */
static bool check_headers(const struct http_request *request, struct qmpsnap_error *err)
{
	for (size_t i = 0; request->headers && request->headers[i]; i++) {
		if (strpbrk(request->headers[i], "\r\n"))
			return error_set(err, QMPSNAP_STORE,
				"%.*s: there is a line break in the header %.*s",
				(int)strcspn(request->url, "?"), request->url,
				(int)strcspn(request->headers[i], ":\r\n"), request->headers[i]);
	}
	return true;
}

struct http_call *http_start(struct http *h, const struct http_request *request, http_done_fn *done,
	void *data, struct qmpsnap_error *err)
{
	struct http_call *call;

	if (!check_headers(request, err))
		return NULL;
	call = calloc(1, sizeof(*call));
	if (!call) {
		error_no_memory(err);
		return NULL;
	}
	call->http = h;
	call->pump = request->pump;
	call->sink = request->sink;
	call->done = done;
	call->data = data;
	call->url = strdup(request->url);
	call->easy = curl_easy_init();
	if (!call->url || !call->easy || !http_set_request(call, request)) {
		error_set(err, QMPSNAP_INTERNAL, "%.*s: libcurl can't be set up",
			(int)strcspn(request->url, "?"), request->url);
		free_call(call);
		return NULL;
	}
	if (!http_add(h, call->easy, err)) {
		free_call(call);
		return NULL;
	}
	/* It goes into messages, and there are secrets in the queries of some URLs. */
	call->url[strcspn(call->url, "?")] = '\0';
	start_timers(call, request->quiet_ms);
	if (call->pump)
		pump_on_event(call->pump, on_pump, call);
	return call;
}
