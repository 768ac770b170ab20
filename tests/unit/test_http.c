/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests and bodies, and what becomes of them. */
#include "fixture.h"
#include "http_kit.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

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
	wait_for(&loop, &seen[0]);
	ck_assert_int_eq(seen[0].status, 200);
	ck_assert_str_eq(seen[0].body, "hello");
	ck_assert_ptr_nonnull(strstr(script[0].head, "User-Agent: qmpsnap/"));
	ck_assert_ptr_nonnull(strstr(script[0].head, "X-Test: yes"));
	begin(&seen[1], "POST", "/b", "{\"a\":1}", 0);
	wait_for(&loop, &seen[1]);
	ck_assert_str_eq(seen[1].request_id, "req-1");
	ck_assert_str_eq(script[1].text, "{\"a\":1}");
	ck_assert_ptr_null(strstr(script[1].head, "Expect"));
	begin(&seen[2], "PATCH", "/c", "[]", 0);
	wait_for(&loop, &seen[2]);
	ck_assert_int_eq(seen[2].err.code, QMPSNAP_OK);
	ck_assert_int_eq(seen[2].status, 500);
	begin(&seen[3], "DELETE", "/d", NULL, 0);
	wait_for(&loop, &seen[3]);
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
	open_prepared_pump(&loop, &seen);
	begin(&seen, "PUT", "/file", NULL, 0);
	wait_for(&loop, &seen);
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
	open_pump(&loop, &seen, 50 << 20);
	begin(&seen, "PUT", "/file", NULL, 0);
	wait_for(&loop, &seen);
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
	open_pump(&loop, &seen, (uint64_t)1 << 40);
	begin(&seen, "PUT", "/file", NULL, 0);
	wait_for(&loop, &seen);
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
	open_pump(&loop, &seen, 10 << 20);
	begin(&seen, "PUT", "/file", NULL, 500);
	wait_for(&loop, &seen);
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
	open_pump(&loop, &seen, 20 << 20);
	stream.fail_at = 7 << 20;
	begin(&seen, "PUT", "/file", NULL, 0);
	wait_for(&loop, &seen);
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
		open_pump(&loop, &seen, 1000);
	begin(&seen, _i ? "PUT" : "GET", "/", NULL, 300);
	wait_for(&loop, &seen);
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
	open_prepared_pump(&loop, &seen);
	begin(&seen, "PUT", "/file", NULL, 200);
	wait_for(&loop, &seen);
	ck_assert_msg(seen.err.code == QMPSNAP_OK, "%s", seen.err.message);
	fake_http_stop(&server, true);
}
END_TEST

START_TEST(test_cancel)
{
	struct fake_exchange script[] = {{"PUT /file", .status = 204}};
	struct seen seen = {0};

	fake_http_start(&server, &loop, script, 1);
	open_pump(&loop, &seen, (uint64_t)1 << 40);
	begin(&seen, "PUT", "/file", NULL, 0);
	for (int i = 0; i < _i; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	http_cancel(seen.call);
	http_cancel(seen.call);
	wait_for(&loop, &seen);
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
	wait_for(&loop, &seen);
	ck_assert_msg(seen.err.code == QMPSNAP_OK, "%s", seen.err.message);
	fake_http_stop(&server, true);
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
		ck_assert_ptr_null(http_start(http, &request, NULL, NULL, &err));
		ck_assert_int_eq(err.code, QMPSNAP_STORE);
		ck_assert_ptr_nonnull(strstr(err.message, "line break in the header"));
		ck_assert_ptr_null(strstr(err.message, "Admin"));
		ck_assert_ptr_null(strstr(err.message, "secret"));
	}
}
END_TEST

/* No message shows the query of a URL, which may sign it. */
START_TEST(test_what_libcurl_refuses)
{
	enum { MORE_THAN_LIBCURL_TAKES = 9000000 };
	char *method = malloc(MORE_THAN_LIBCURL_TAKES + 1);

	ck_assert_ptr_nonnull(method);
	memset(method, 'X', MORE_THAN_LIBCURL_TAKES);
	method[MORE_THAN_LIBCURL_TAKES] = '\0';
	const struct http_request request = {
		.method = method, .url = "http://127.0.0.1:9/x?secret"};
	ck_assert_ptr_null(http_start(http, &request, NULL, NULL, &err));
	ck_assert_int_eq(err.code, QMPSNAP_INTERNAL);
	ck_assert_str_eq(err.message, "http://127.0.0.1:9/x: libcurl can't be set up");
	free(method);
}
END_TEST

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
	tcase_add_test(c, test_line_break_in_header);
	tcase_add_test(c, test_what_libcurl_refuses);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)
