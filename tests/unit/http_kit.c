/* SPDX-License-Identifier: Apache-2.0 */
#include "http_kit.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

struct fake_http server;
struct fake_stream stream;
struct http *http;
struct qmpsnap_error err;

static void on_pump_closed(void *data)
{
	struct seen *seen = data;

	seen->pump_closed = true;
}

static void on_done(const struct qmpsnap_error *why, const struct http_reply *reply, void *data)
{
	struct seen *seen = data;

	seen->calls++;
	if (why)
		seen->err = *why;
	seen->status = reply->status;
	seen->body_len = reply->body_len;
	ck_assert_uint_eq(strlen(reply->body), reply->body_len);
	(void)snprintf(seen->body, sizeof(seen->body), "%.255s", reply->body);
	(void)snprintf(seen->request_id, sizeof(seen->request_id), "%s", reply->request_id);
	if (seen->pump)
		pump_close(seen->pump, on_pump_closed, seen);
}

void begin(struct seen *seen, const char *method, const char *path, const char *body,
	uint64_t quiet_ms)
{
	static const char *const headers[] = {"X-Test: yes", NULL};
	char url[256];
	const struct http_request request = {.method = method,
		.url = url,
		.headers = headers,
		.body = body,
		.pump = seen->pump,
		.quiet_ms = quiet_ms};

	(void)snprintf(url, sizeof(url), "%s%s", server.url, path);
	seen->call = http_start(http, &request, on_done, seen, &err);
	ck_assert_msg(seen->call != NULL, "%s", err.message);
}

void wait_for(uv_loop_t *loop, struct seen *seen)
{
	ck_assert_uint_eq(seen->calls, 0);
	while (seen->calls == 0 || (seen->pump && !seen->pump_closed))
		ck_assert(uv_run(loop, UV_RUN_ONCE) != 0 || seen->calls > 0);
	ck_assert_uint_eq(seen->calls, 1);
	if (seen->pump)
		ck_assert_uint_eq(stream.open, 0);
}

void open_prepared_pump(uv_loop_t *loop, struct seen *seen)
{
	const struct pump_options options = {
		.loop = loop, .stream = &stream.base, .digest = "sha256"};
	seen->pump = pump_open(&options, &err);
	ck_assert_ptr_nonnull(seen->pump);
}

void open_pump(uv_loop_t *loop, struct seen *seen, uint64_t size_bytes)
{
	fake_stream_init(&stream, loop, size_bytes);
	open_prepared_pump(loop, seen);
}
