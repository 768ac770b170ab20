/* SPDX-License-Identifier: Apache-2.0
 *
 * Replies that no HTTP server gives, and places where there is none. */
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
	wait_for(&loop, &seen);
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
	wait_for(&loop, &seen);
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
		wait_for(&loop, &seen);
		ck_assert_int_eq(seen.err.code, QMPSNAP_STORE);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("http replies");
	TCase *c = tcase_create("http replies");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_loop_test(c, test_raw_replies, 0, COUNT(raws));
	tcase_add_test(c, test_nobody_there);
	tcase_add_test(c, test_bad_url);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)
