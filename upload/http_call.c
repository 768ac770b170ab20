/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/log.h"
#include "upload/http.h"
#include "version.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	CONNECT_TIMEOUT_S = 15,
	BUFFER_BYTES = 512 * 1024, /* libcurl's 64 KiB was the slowest of all sizes tried */
	/* Resuming libcurl costs a turn of the loop, so it waits for some blocks; but not for
	 * long, when the blocks come slowly or the ring is small. */
	RESUME_BLOCKS = 4,
	RESUME_MS = 50,
	TICKS = 10, /* in the longest quiet time */
};

struct http_call {
	struct http *http;
	CURL *easy;
	struct curl_slist *headers;
	struct pump *pump;
	char *url; /* for messages */

	size_t block_at; /* bytes of the pump's oldest block that libcurl has */
	bool paused;
	uv_timer_t resume, tick;
	unsigned n_timers; /* not yet closed */
	unsigned quiet_ticks;
	curl_off_t moved_bytes;

	struct http_reply reply;
	char *body; /* what reply.body points to, allocated */
	size_t header_bytes;
	char curl_text[CURL_ERROR_SIZE];
	struct qmpsnap_error err;
	bool ending;
	http_done_fn *done;
	void *data;
};

/* ---- The end ----------------------------------------------------------------------------- */

static void free_call(struct http_call *call)
{
	if (call->easy)
		curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	free(call->url);
	free(call->body);
	free(call);
}

static void timer_closed(uv_handle_t *handle)
{
	struct http_call *call = handle->data;

	if (--call->n_timers > 0)
		return;
	call->reply.body = call->body ? call->body : "";
	log_line(QMPSNAP_LOG_DEBUG, "HTTP: %ld %s", call->reply.status, call->url);
	call->done(call->err.code == QMPSNAP_OK ? NULL : &call->err, &call->reply, call->data);
	free_call(call);
}

static void read_reply_headers(struct http_call *call)
{
	struct curl_header *header;

	if (curl_easy_header(call->easy, "X-Openstack-Request-Id", 0, CURLH_HEADER, -1, &header) ==
		CURLHE_OK)
		(void)snprintf(call->reply.request_id, sizeof(call->reply.request_id), "%s",
			header->value);
	if (curl_easy_header(call->easy, "Content-Type", 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
		(void)snprintf(call->reply.content_type, sizeof(call->reply.content_type), "%s",
			header->value);
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

void http_call_ended(struct http_call *call, int result)
{
	const CURLcode code = (CURLcode)result;
	long status = 0;

	(void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	call->reply.status = status;
	/* A server that refuses a body may well close the connection under it. */
	if (code != CURLE_OK && status < 400 && call->err.code == QMPSNAP_OK) {
		error_set(&call->err, QMPSNAP_STORE, "%s: %s", call->url,
			call->curl_text[0] ? call->curl_text : curl_easy_strerror(code));
		call->err.detail = result;
		if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
			code == CURLE_OPERATION_TIMEDOUT)
			error_hint(&call->err, "check the URL, and that the service is running");
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

static size_t read_body(char *to, size_t size, size_t n, void *data)
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

static size_t write_body(char *from, size_t size, size_t n, void *data)
{
	struct http_call *call = data;
	const size_t len = size * n;
	const size_t total = call->reply.body_len + len;

	if (total > HTTP_REPLY_BYTES) {
		error_set(&call->err, QMPSNAP_STORE, "%s: the reply is longer than %d bytes",
			call->url, HTTP_REPLY_BYTES);
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
static size_t count_header(char *from, size_t size, size_t n, void *data)
{
	struct http_call *call = data;

	(void)from;
	call->header_bytes += size * n;
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

/* A proxy of the environment has no business with this host's own services. */
static bool is_loopback(const char *url)
{
	CURLU *u = curl_url();
	char *host = NULL;
	bool loopback = false;

	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK)
		loopback = strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
			   strncmp(host, "127.", 4) == 0;
	curl_free(host);
	curl_url_cleanup(u);
	return loopback;
}

#define SET(option, value) (curl_easy_setopt(call->easy, option, value) == CURLE_OK)

static bool set_common(struct http_call *call)
{
	return SET(CURLOPT_URL, call->url) && SET(CURLOPT_PRIVATE, call) &&
	       SET(CURLOPT_ERRORBUFFER, call->curl_text) && SET(CURLOPT_NOSIGNAL, 1L) &&
	       SET(CURLOPT_PROTOCOLS_STR, "http,https") && SET(CURLOPT_FOLLOWLOCATION, 0L) &&
	       SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
	       SET(CURLOPT_IPRESOLVE, (long)CURL_IPRESOLVE_WHATEVER) &&
	       SET(CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S) &&
	       SET(CURLOPT_USERAGENT, "qmpsnap/" QMPSNAP_VERSION) &&
	       SET(CURLOPT_WRITEFUNCTION, write_body) && SET(CURLOPT_WRITEDATA, call) &&
	       SET(CURLOPT_HEADERFUNCTION, count_header) && SET(CURLOPT_HEADERDATA, call) &&
	       (!is_loopback(call->url) || SET(CURLOPT_PROXY, ""));
}

static bool add_header(struct http_call *call, const char *line)
{
	struct curl_slist *longer = curl_slist_append(call->headers, line);

	if (longer)
		call->headers = longer;
	return longer != NULL;
}

static bool set_body(struct http_call *call, const struct http_request *request)
{
	if (request->pump)
		/* A connection of its own: bytes that went into a dead one can't be had back. */
		return SET(CURLOPT_UPLOAD, 1L) && SET(CURLOPT_READFUNCTION, read_body) &&
		       SET(CURLOPT_READDATA, call) &&
		       SET(CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER_BYTES) &&
		       SET(CURLOPT_FRESH_CONNECT, 1L) &&
		       add_header(call, "Transfer-Encoding: chunked") &&
		       add_header(call, "Expect: 100-continue");
	if (request->body)
		return SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(request->body)) &&
		       SET(CURLOPT_POSTFIELDS, request->body) && add_header(call, "Expect:");
	return true;
}

static bool set_request(struct http_call *call, const struct http_request *request)
{
	for (size_t i = 0; request->headers && request->headers[i]; i++) {
		if (!add_header(call, request->headers[i]))
			return false;
	}
	return set_common(call) && set_body(call, request) &&
	       SET(CURLOPT_CUSTOMREQUEST, request->method) &&
	       (!call->headers || SET(CURLOPT_HTTPHEADER, call->headers));
}

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

struct http_call *http_start(struct http *h, const struct http_request *request, http_done_fn *done,
	void *data, struct qmpsnap_error *err)
{
	struct http_call *call = calloc(1, sizeof(*call));

	if (!call) {
		error_no_memory(err);
		return NULL;
	}
	call->http = h;
	call->pump = request->pump;
	call->done = done;
	call->data = data;
	call->url = strdup(request->url);
	call->easy = curl_easy_init();
	if (!call->url || !call->easy || !set_request(call, request)) {
		error_set(err, QMPSNAP_INTERNAL, "%s: libcurl can't be set up", request->url);
		free_call(call);
		return NULL;
	}
	if (!http_add(h, call->easy, err)) {
		free_call(call);
		return NULL;
	}
	start_timers(call, request->quiet_ms);
	if (call->pump)
		pump_on_event(call->pump, on_pump, call);
	return call;
}
