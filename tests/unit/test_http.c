/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_http.h"
#include "fake_stream.h"
#include "fixture.h"
#include "suite.h"
#include "upload/http.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One exchange as its caller sees it. */
struct seen {
	struct http_call *call;
	struct pump *pump;
	unsigned calls;
	bool pump_closed;
	struct qmpsnap_error err;
	long status;
	char body[256];
	size_t body_len;
	char request_id[HTTP_ID_BYTES];
};

static struct fake_http server;
static struct fake_stream stream;
static struct http *http;
static struct qmpsnap_error err;

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

static void begin(struct seen *seen, const char *method, const char *path, const char *body,
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

static void wait_for(struct seen *seen)
{
	ck_assert_uint_eq(seen->calls, 0);
	while (seen->calls == 0 || (seen->pump && !seen->pump_closed))
		ck_assert(uv_run(&loop, UV_RUN_ONCE) != 0 || seen->calls > 0);
	ck_assert_uint_eq(seen->calls, 1);
	if (seen->pump)
		ck_assert_uint_eq(stream.open, 0);
}

/* Reads `stream` as it is set up by then. */
static void open_prepared_pump(struct seen *seen)
{
	const struct pump_options options = {
		.loop = &loop, .stream = &stream.base, .digest = "sha256"};
	seen->pump = pump_open(&options, &err);
	ck_assert_ptr_nonnull(seen->pump);
}

static void open_pump(struct seen *seen, uint64_t size_bytes)
{
	fake_stream_init(&stream, &loop, size_bytes);
	open_prepared_pump(seen);
}

static void setup(void)
{
	loop_setup();
	http = http_new(&loop, NULL, &err);
	ck_assert_ptr_nonnull(http);
}

static void teardown(void)
{
	http_free(http);
	loop_teardown();
}

START_TEST(test_requests)
{
	struct fake_exchange script[] = {
		{"GET /a", .status = 200, .body = "hello"},
		{"POST /b", .status = 201, .headers = "X-Openstack-Request-Id: req-1\r\n"},
		{"PATCH /c", .status = 500, .body = "oops"},
		{"DELETE /d", .status = 204},
	};
	struct seen seen[4] = {{0}};

	fake_http_start(&server, &loop, script, 4);
	begin(&seen[0], "GET", "/a", NULL, 0);
	wait_for(&seen[0]);
	ck_assert_int_eq(seen[0].status, 200);
	ck_assert_str_eq(seen[0].body, "hello");
	ck_assert_ptr_nonnull(strstr(script[0].head, "User-Agent: qmpsnap/"));
	ck_assert_ptr_nonnull(strstr(script[0].head, "X-Test: yes"));
	begin(&seen[1], "POST", "/b", "{\"a\":1}", 0);
	wait_for(&seen[1]);
	ck_assert_str_eq(seen[1].request_id, "req-1");
	ck_assert_str_eq(script[1].text, "{\"a\":1}");
	ck_assert_ptr_null(strstr(script[1].head, "Expect"));
	begin(&seen[2], "PATCH", "/c", "[]", 0);
	wait_for(&seen[2]);
	ck_assert_int_eq(seen[2].err.code, QMPSNAP_OK);
	ck_assert_int_eq(seen[2].status, 500);
	begin(&seen[3], "DELETE", "/d", NULL, 0);
	wait_for(&seen[3]);
	ck_assert_int_eq(seen[3].status, 204);
	fake_http_stop(&server, true);
}
END_TEST

static const struct {
	uint64_t size_bytes;
	unsigned ring_blocks, per_delivery;
	uint64_t delay_ms;
} uploads[] = {
	{0, 8, 0, 0},
	{1, 8, 0, 0},
	{196608, 8, 0, 0},
	{10000001, 8, 0, 0},
	{10000001, 64, 5, 0},
	{1000001, 1, 0, 0}, /* a ring that never has the blocks that make a resume worth it */
	{1000001, 3, 1, 2},
};

START_TEST(test_upload)
{
	struct fake_exchange script[] = {{"PUT /file", .status = 204}};
	struct seen seen = {0};

	fake_http_start(&server, &loop, script, 1);
	fake_stream_init(&stream, &loop, uploads[_i].size_bytes);
	stream.ring_blocks = uploads[_i].ring_blocks;
	stream.per_delivery = uploads[_i].per_delivery;
	stream.delay_ms = uploads[_i].delay_ms;
	open_prepared_pump(&seen);
	begin(&seen, "PUT", "/file", NULL, 0);
	wait_for(&seen);
	ck_assert_msg(seen.err.code == QMPSNAP_OK, "%s", seen.err.message);
	ck_assert_int_eq(seen.status, 204);
	ck_assert_uint_eq(script[0].body_bytes, uploads[_i].size_bytes);
	ck_assert_ptr_nonnull(strstr(script[0].head, "Transfer-Encoding: chunked"));
	ck_assert_ptr_nonnull(strstr(script[0].head, "Expect: 100-continue"));
	uint8_t want[1024];
	const size_t n = uploads[_i].size_bytes < sizeof(want) ? (size_t)uploads[_i].size_bytes
							       : sizeof(want);
	fake_stream_bytes(&stream, 0, want, n);
	ck_assert_mem_eq(script[0].text, want, n);
	fake_http_stop(&server, true);
}
END_TEST

START_TEST(test_refused_without_a_byte)
{
	struct fake_exchange script[] = {
		{"PUT /file", .how = FAKE_REFUSE, .status = 401, .body = "no"}};
	struct seen seen = {0};

	fake_http_start(&server, &loop, script, 1);
	open_pump(&seen, 50 << 20);
	begin(&seen, "PUT", "/file", NULL, 0);
	wait_for(&seen);
	ck_assert_int_eq(seen.err.code, QMPSNAP_OK);
	ck_assert_int_eq(seen.status, 401);
	ck_assert_str_eq(seen.body, "no");
	ck_assert_uint_eq(script[0].body_bytes, 0);
	ck_assert_uint_le(stream.most_held, 8);
	fake_http_stop(&server, true);
}
END_TEST

/* A refusal in the middle of the body counts, although the connection breaks right after. */
START_TEST(test_refused_in_the_middle)
{
	struct fake_exchange script[] = {{"PUT /file", .how = FAKE_CUT_ANSWER, .cut_at = 5 << 20,
		.status = 413, .body = "too large"}};
	struct seen seen = {0};

	fake_http_start(&server, &loop, script, 1);
	open_pump(&seen, (uint64_t)1 << 40);
	begin(&seen, "PUT", "/file", NULL, 0);
	wait_for(&seen);
	ck_assert_msg(seen.err.code == QMPSNAP_OK, "%s", seen.err.message);
	ck_assert_int_eq(seen.status, 413);
	fake_http_stop(&server, true);
}
END_TEST

static const struct {
	enum fake_how how;
	uint64_t cut_at;
	const char *body;
	const char *headers;
} breaks[] = {
	{FAKE_CUT, 0, NULL, NULL},
	{FAKE_CUT, 1, NULL, NULL},
	{FAKE_CUT, 5000000, NULL, NULL},
	{FAKE_HANG_UP, 0, NULL, NULL},
	{FAKE_ANSWER, 0, "short", "Content-Encoding: gzip\r\nContent-Length: 100\r\n"},
};

START_TEST(test_broken)
{
	struct fake_exchange script[] = {
		{"PUT /file", .how = breaks[_i].how, .cut_at = breaks[_i].cut_at, .status = 200,
			.body = breaks[_i].body, .headers = breaks[_i].headers}};
	struct seen seen = {0};

	fake_http_start(&server, &loop, script, 1);
	open_pump(&seen, 10 << 20);
	begin(&seen, "PUT", "/file", NULL, 500);
	wait_for(&seen);
	ck_assert_int_eq(seen.err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(seen.err.message, server.url));
	fake_http_stop(&server, true);
}
END_TEST

START_TEST(test_stream_fails)
{
	struct fake_exchange script[] = {{"PUT /file", .status = 204}};
	struct seen seen = {0};

	fake_http_start(&server, &loop, script, 1);
	open_pump(&seen, 20 << 20);
	stream.fail_at = 7 << 20;
	begin(&seen, "PUT", "/file", NULL, 0);
	wait_for(&seen);
	ck_assert_int_eq(seen.err.code, QMPSNAP_VIEW);
	ck_assert_uint_le(script[0].body_bytes, 7 << 20);
	fake_http_stop(&server, true);
}
END_TEST

START_TEST(test_silent_server)
{
	struct fake_exchange script[] = {{"GET /", .how = FAKE_SILENT}};
	struct fake_exchange upload[] = {{"PUT /", .how = FAKE_CUT, .cut_at = UINT64_MAX}};
	struct seen seen = {0};

	fake_http_start(&server, &loop, _i ? upload : script, 1);
	if (_i)
		open_pump(&seen, 1000);
	begin(&seen, _i ? "PUT" : "GET", "/", NULL, 300);
	wait_for(&seen);
	ck_assert_int_eq(seen.err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(seen.err.message, "nothing moved"));
	fake_http_stop(&server, true);
}
END_TEST

/* The server isn't to blame for a slow stream. */
START_TEST(test_slow_stream_is_no_silence)
{
	struct fake_exchange script[] = {{"PUT /file", .status = 204}};
	struct seen seen = {0};

	fake_http_start(&server, &loop, script, 1);
	fake_stream_init(&stream, &loop, 196608);
	stream.delay_ms = 400;
	stream.per_delivery = 1;
	open_prepared_pump(&seen);
	begin(&seen, "PUT", "/file", NULL, 200);
	wait_for(&seen);
	ck_assert_msg(seen.err.code == QMPSNAP_OK, "%s", seen.err.message);
	fake_http_stop(&server, true);
}
END_TEST

START_TEST(test_cancel)
{
	struct fake_exchange script[] = {{"PUT /file", .status = 204}};
	struct seen seen = {0};

	fake_http_start(&server, &loop, script, 1);
	open_pump(&seen, (uint64_t)1 << 40);
	begin(&seen, "PUT", "/file", NULL, 0);
	for (int i = 0; i < _i; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	http_cancel(seen.call);
	http_cancel(seen.call);
	wait_for(&seen);
	ck_assert_int_eq(seen.err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(seen.err.message, "stopped"));
	fake_http_stop(&server, false);
}
END_TEST

START_TEST(test_many_headers)
{
	struct fake_exchange script[] = {{"GET /", .status = 200, .body = "x"}};
	static char headers[40000];
	struct seen seen = {0};
	size_t len = 0;

	/* More of them than servers send, and still bearable. */
	while (len < sizeof(headers) - 100)
		len += (size_t)snprintf(
			headers + len, sizeof(headers) - len, "X-%zu: %080d\r\n", len, 0);
	script[0].headers = headers;
	fake_http_start(&server, &loop, script, 1);
	begin(&seen, "GET", "/", NULL, 0);
	wait_for(&seen);
	ck_assert_msg(seen.err.code == QMPSNAP_OK, "%s", seen.err.message);
	fake_http_stop(&server, true);
}
END_TEST

/* ---- A raw server, for what no HTTP server says ------------------------------------------- */

static struct {
	uv_tcp_t listener, peer;
	uv_write_t write;
	const char *head;
	char *body;
	size_t len;
	char request[4096];
} raw;

static void raw_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
	(void)handle;
	(void)size;
	*buf = uv_buf_init(raw.request, sizeof(raw.request));
}

static void raw_written(uv_write_t *request, int status)
{
	(void)request;
	(void)status;
	uv_close((uv_handle_t *)&raw.peer, NULL);
}

/* Answers once the request is in: unread bytes would turn the close into a reset. */
static void raw_read(uv_stream_t *peer, ssize_t n, const uv_buf_t *buf)
{
	const uv_buf_t bufs[] = {uv_buf_init((char *)raw.head, (unsigned)strlen(raw.head)),
		uv_buf_init(raw.body, (unsigned)raw.len)};

	(void)buf;
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(uv_read_stop(peer), 0);
	ck_assert_int_eq(uv_write(&raw.write, peer, bufs, 2, raw_written), 0);
}

static void raw_connection(uv_stream_t *listener, int status)
{
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(uv_tcp_init(&loop, &raw.peer), 0);
	ck_assert_int_eq(uv_accept(listener, (uv_stream_t *)&raw.peer), 0);
	ck_assert_int_eq(uv_read_start((uv_stream_t *)&raw.peer, raw_alloc, raw_read), 0);
	uv_close((uv_handle_t *)listener, NULL);
}

static const struct {
	const char *head;
	char fill;
	size_t len;
	const char *says;
} raws[] = {
	{"HTTP/1.1 200 OK\r\n\r\n", 'x', 3 << 20, "longer than"},
	{"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n", 'x', 3000000, "longer than"},
	{"HTTP/1.1 200 OK\r\nX: ", 'y', 3 << 20, ""},
	{"SSH-2.0-OpenSSH_9.2p1\r\n", 'z', 10, ""},
	{"", '\0', 10, ""},
	{"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", 'x', 10, ""},
};

START_TEST(test_raw_replies)
{
	struct sockaddr_in address;
	int len = sizeof(address);
	struct seen seen = {0};

	raw.head = raws[_i].head;
	raw.len = raws[_i].len;
	raw.body = malloc(raw.len);
	memset(raw.body, raws[_i].fill, raw.len);
	ck_assert_int_eq(uv_ip4_addr("127.0.0.1", 0, &address), 0);
	ck_assert_int_eq(uv_tcp_init(&loop, &raw.listener), 0);
	ck_assert_int_eq(uv_tcp_bind(&raw.listener, (const struct sockaddr *)&address, 0), 0);
	ck_assert_int_eq(uv_listen((uv_stream_t *)&raw.listener, 1, raw_connection), 0);
	ck_assert_int_eq(uv_tcp_getsockname(&raw.listener, (struct sockaddr *)&address, &len), 0);
	(void)snprintf(
		server.url, sizeof(server.url), "http://127.0.0.1:%u", ntohs(address.sin_port));
	begin(&seen, "GET", "/", NULL, 0);
	wait_for(&seen);
	ck_assert_int_eq(seen.err.code, QMPSNAP_STORE);
	ck_assert_msg(strstr(seen.err.message, raws[_i].says) != NULL, "%s", seen.err.message);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	free(raw.body);
}
END_TEST

START_TEST(test_nobody_there)
{
	struct seen seen = {0};
	struct sockaddr_in address;
	int len = sizeof(address);

	ck_assert_int_eq(uv_ip4_addr("127.0.0.1", 0, &address), 0);
	ck_assert_int_eq(uv_tcp_init(&loop, &raw.listener), 0);
	ck_assert_int_eq(uv_tcp_bind(&raw.listener, (const struct sockaddr *)&address, 0), 0);
	ck_assert_int_eq(uv_tcp_getsockname(&raw.listener, (struct sockaddr *)&address, &len), 0);
	(void)snprintf(
		server.url, sizeof(server.url), "http://127.0.0.1:%u", ntohs(address.sin_port));
	/* A proxy of the environment is not for this host. */
	ck_assert_int_eq(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
	begin(&seen, "GET", "/x", NULL, 0);
	wait_for(&seen);
	ck_assert_int_eq(seen.err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(seen.err.message, server.url));
	ck_assert_ptr_null(strstr(seen.err.message, "port 1 "));
	ck_assert_ptr_nonnull(strstr(seen.err.message, "onnect"));
	ck_assert_str_ne(seen.err.hint, "");
	uv_close((uv_handle_t *)&raw.listener, NULL);
}
END_TEST

START_TEST(test_bad_url)
{
	static const char *const urls[] = {"ftp://127.0.0.1/", "file:///etc/passwd", "http://"};

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct seen seen = {0};
		(void)snprintf(server.url, sizeof(server.url), "%s", urls[i]);
		begin(&seen, "GET", "", NULL, 0);
		wait_for(&seen);
		ck_assert_int_eq(seen.err.code, QMPSNAP_STORE);
	}
}
END_TEST

/* A token, say, of a service that wants to be the author of the next request. */
START_TEST(test_line_break_in_header)
{
	static const char *const lines[] = {"X-Token: a\r\nX-Admin: yes", "X-Token: a\rb", "\n"};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		const char *const headers[] = {"X-Test: yes", lines[i], NULL};
		const struct http_request request = {
			.method = "GET", .url = "http://127.0.0.1:9/?secret", .headers = headers};
		ck_assert_ptr_null(http_start(http, &request, on_done, NULL, &err));
		ck_assert_int_eq(err.code, QMPSNAP_STORE);
		ck_assert_ptr_nonnull(strstr(err.message, "line break in the header"));
		ck_assert_ptr_null(strstr(err.message, "Admin"));
		ck_assert_ptr_null(strstr(err.message, "secret"));
	}
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static Suite *suite(void)
{
	Suite *s = suite_create("http");
	TCase *c = tcase_create("http");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_requests);
	tcase_add_loop_test(c, test_upload, 0, COUNT(uploads));
	tcase_add_test(c, test_refused_without_a_byte);
	tcase_add_test(c, test_refused_in_the_middle);
	tcase_add_loop_test(c, test_broken, 0, COUNT(breaks));
	tcase_add_test(c, test_stream_fails);
	tcase_add_loop_test(c, test_silent_server, 0, 2);
	tcase_add_test(c, test_slow_stream_is_no_silence);
	tcase_add_loop_test(c, test_cancel, 0, 25);
	tcase_add_test(c, test_many_headers);
	tcase_add_loop_test(c, test_raw_replies, 0, COUNT(raws));
	tcase_add_test(c, test_nobody_there);
	tcase_add_test(c, test_bad_url);
	tcase_add_test(c, test_line_break_in_header);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)
