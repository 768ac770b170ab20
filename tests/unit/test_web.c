/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_http.h"
#include "fake_stream.h"
#include "fixture.h"
#include "store_kit.h"
#include "suite.h"
#include "upload/remote.h"
#include "upload/web_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD   "HEAD /up/a.img?key=hush "
#define PUT    "PUT /up/a.img?key=hush "
#define DELETE "DELETE /up/a.img?key=hush "

enum { SIZE = 200001 };

static struct fake_http server;
static struct fake_stream stream;
static struct qmpsnap_store *store;
static struct store_image_spec spec;
static struct store_image *image;
static struct qmpsnap_error err;
static struct qmpsnap_store_options options;

static void open_store(struct fake_exchange *script, unsigned n)
{
	char text[128];

	fake_http_start(&server, &loop, script, n);
	fake_stream_init(&stream, &loop, SIZE);
	(void)snprintf(text, sizeof(text), "%s/up/a.img?key=hush", server.url);
	store = qmpsnap_store_open(&loop, text, &options, &err);
	ck_assert_msg(store != NULL, "%s", err.message);
	remote_of(store)->wait_ms = 4;
	remote_of(store)->tries = 2;
	kit_spec(&spec);
}

static void start(struct fake_exchange *script, unsigned n)
{
	open_store(script, n);
	image = kit_create(&loop, store, &spec, &err);
	ck_assert_ptr_nonnull(image);
	ck_assert_ptr_null(strstr(err.message, "hush"));
}

static void finish(void)
{
	if (image)
		image->ops->close(image);
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
	fake_http_stop(&server, true);
	ck_assert_uint_eq(stream.open, 0);
}

static void setup(void)
{
	loop_setup();
	options = (struct qmpsnap_store_options){.force = false};
}

/* ---- Specs -------------------------------------------------------------------------------- */

START_TEST(test_specs)
{
	static const char *const headers[] = {"X-A: b c", "X-D: &#"};
	const struct qmpsnap_store_options all = {.force = true,
		.insecure = true,
		.headers = headers,
		.n_headers = 2,
		.header_file = "/x y"};
	static const struct qmpsnap_store_options none;
	struct web_spec web;

	char *whole = web_spec_complete("https://h/p?q", &all);
	ck_assert_str_eq(whole, "https://h/p?q#force&insecure&header=X-A%3A%20b%20c"
				"&header=X-D%3A%20%26%23&header-file=%2Fx%20y");
	*strstr(whole, "&header-file") = '\0';
	ck_assert(web_spec_open(&web, whole, &none, &err));
	ck_assert_str_eq(web.url, "https://h/p?q");
	ck_assert_str_eq(web.place, "https://h/p");
	ck_assert(web.force && web.insecure);
	ck_assert_uint_eq(web.n_headers, 2);
	ck_assert_str_eq(web.headers[1], "X-D: &#");
	web_spec_free(&web);
	free(whole);
	whole = web_spec_complete("https://h/p", &none);
	ck_assert_str_eq(whole, "https://h/p");
	free(whole);
}
END_TEST

/* What a file may say of a URL. */
START_TEST(test_kept_specs)
{
	static const struct {
		const char *spec, *kept;
	} rows[] = {
		{"https://h/p", "https://h/p"},
		{"https://h/p#force", "https://h/p#force"},
		{"https://h/p?sig=hush", "https://h/p#no-query"},
		{"https://h/p?sig=hush#force&header=X%3A%20hush",
			"https://h/p#no-query&force&no-header"},
		{"https://h/p#header=X%3A?hush&header=Y%3A&insecure&cacert=/c",
			"https://h/p#no-header&insecure&cacert=/c"},
	};
	static const struct qmpsnap_store_options none;
	struct web_spec web;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *kept = web_spec_keep(rows[i].spec);
		ck_assert_str_eq(kept, rows[i].kept);
		ck_assert(web_spec_open(&web, kept, &none, &err));
		ck_assert((web.lost != NULL) == (strstr(rows[i].spec, "hush") != NULL));
		ck_assert_str_eq(web.url, "https://h/p");
		web_spec_free(&web);
		free(kept);
	}
	open_store(NULL, 0);
	image = NULL;
	ck_assert_ptr_nonnull(strstr(store->spec, "key=hush"));
	ck_assert_ptr_null(strstr(store->kept_spec, "hush"));
	finish();
}
END_TEST

/* Without its query, or a header, a URL may be another's. */
START_TEST(test_left_without_all)
{
	static const char *const lost[] = {"no-query", "no-header"};
	char text[128];

	open_store(NULL, 0);
	image = NULL;
	qmpsnap_store_close(store);
	(void)snprintf(text, sizeof(text), "%s/up/a.img#%s", server.url, lost[_i]);
	store = qmpsnap_store_open(&loop, text, NULL, &err);
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	finish();
}
END_TEST

START_TEST(test_wrong_specs)
{
	static const char *const wrong[] = {"http://", "http://u:hush@h/", "http://h/#x",
		"http://h/#header=hush", "http://h/#header=Content-Length%3A%201",
		"http://h/#header=X%3A%20a%0AY%3A%20hush", "http://h/#header-file=/nonexistent"};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		ck_assert_msg(!qmpsnap_store_open(&loop, wrong[i], NULL, &err), "%s", wrong[i]);
		ck_assert_int_eq(err.code, QMPSNAP_USAGE);
		ck_assert_ptr_null(strstr(err.message, "hush"));
	}
	options.header_file = "/x";
	ck_assert(!qmpsnap_store_open(&loop, "s3://bucket", &options, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "--header-file is for http://"));
}
END_TEST

/* ---- Images ------------------------------------------------------------------------------- */

START_TEST(test_whole_life)
{
	struct fake_exchange script[] = {
		{HEAD, .status = 404},
		{PUT, .how = FAKE_CUT, .cut_at = 100000},
		{PUT, .status = 201},
		{HEAD, .status = 200, .headers = "Content-Length: 200001\r\n"},
	};
	static const char *const headers[] = {"X-Plain: yes"};
	char path[] = "/tmp/qmpsnap-test-XXXXXX", sha256[129];
	const int fd = mkstemp(path);

	ck_assert_int_eq(dprintf(fd, "# for the appliance\r\n\nAuthorization: Bearer hush\n"), 49);
	options.headers = headers;
	options.n_headers = 1;
	options.header_file = path;
	start(script, 4);
	ck_assert_int_eq(err.code, QMPSNAP_OK);
	ck_assert(kit_put(&loop, image, &stream.base, &err));
	ck_assert_ptr_nonnull(strstr(script[2].head, "\r\nAuthorization: Bearer hush\r\n"));
	ck_assert_ptr_nonnull(strstr(script[2].head, "\r\nX-Plain: yes\r\n"));
	ck_assert_ptr_nonnull(strstr(script[2].head, "\r\nContent-Length: 200001\r\n"));
	ck_assert_uint_eq(script[2].body_bytes, SIZE);
	fake_stream_digest(&stream, "sha256", sha256);
	ck_assert_str_eq(image->digest, sha256);
	ck_assert_ptr_null(strstr(image->location, "hush"));
	ck_assert(kit_publish(&loop, image, &err));
	finish();
	(void)close(fd);
	ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(test_something_there)
{
	struct fake_exchange script[] = {{HEAD, .status = 200}};

	start(script, 1);
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_str_eq(err.hint, "--force replaces it");
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

START_TEST(test_login)
{
	struct fake_exchange script[] = {{HEAD, .status = 401}};

	start(script, 1);
	ck_assert_int_eq(err.detail, 401);
	ck_assert_ptr_nonnull(strstr(err.hint, "--header-file"));
	finish();
}
END_TEST

/* What becomes of a PUT's failure: what is deleted must be this run's, which it is only where there
 * was nothing before. */
START_TEST(test_failures)
{
	static const struct {
		bool force;
		int head; /* before it */
		int status; /* of the PUT; 0: it broke in the middle, twice */
		int deletion; /* 0: there is none */
		bool well; /* the discard is */
	} rows[] = {
		{false, 404, 403, 0, true},
		{false, 404, 405, 0, true},
		{false, 404, 413, 0, true},
		{false, 404, 302, 0, true},
		{false, 404, 501, 204, true},
		{false, 404, 501, 404, true},
		{false, 410, 501, 405, true},
		{false, 404, 501, 403, false},
		{true, 404, 501, 403, false},
		{true, 404, 0, 204, true},
		{true, 200, 501, 0, true},
		{true, 200, 507, 0, true},
		{true, 200, 0, 0, true},
		{true, 403, 0, 0, true},
		{true, 503, 0, 0, true},
		{false, 403, 507, 0, true},
		{false, 405, 0, 0, true},
	};
	const int at_head = rows[_i].head, at_put = rows[_i].status;
	struct fake_exchange script[] = {
		{HEAD, .status = at_head, .times = at_head == 503 ? 2 : 1},
		{PUT, .how = at_put ? FAKE_ANSWER : FAKE_CUT, .cut_at = 100000, .status = at_put,
			.body = "<p>No</p>", .times = at_put == 0 || at_put == 507 ? 2 : 1},
		{DELETE, .status = rows[_i].deletion},
	};

	options.force = rows[_i].force;
	start(script, rows[_i].deletion ? 3 : 2);
	ck_assert_int_eq(err.code, QMPSNAP_OK);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	if (at_put) {
		ck_assert_int_eq(err.detail, at_put);
		ck_assert_ptr_nonnull(strstr(err.message, "the server answered"));
	}
	ck_assert_ptr_null(strstr(err.message, "hush"));
	ck_assert_int_eq(kit_discard(&loop, image, &err), rows[_i].well);
	if (!rows[_i].well)
		ck_assert_ptr_nonnull(
			strstr(err.hint, rows[_i].force ? "by hand" : "qmpsnap recover"));
	finish();
}
END_TEST

/* Nothing was sent: what is there is another's. */
START_TEST(test_nothing_sent)
{
	struct fake_exchange script[] = {
		{HEAD, .status = 404},
		{PUT, .how = FAKE_REFUSE, .status = 507, .times = 2},
	};

	start(script, 2);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

/* What has replaced another image is deleted when the set it belongs to fails. */
START_TEST(test_replaced)
{
	struct fake_exchange script[] = {
		{HEAD, .status = 200},
		{PUT, .status = 201},
		{HEAD, .status = 200, .headers = "Content-Length: 200001\r\n"},
		{DELETE, .status = 204},
	};

	options.force = true;
	start(script, 4);
	ck_assert(kit_put(&loop, image, &stream.base, &err));
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

/* What can't be said now may be something. */
START_TEST(test_head_fails)
{
	struct fake_exchange script[] = {{HEAD, .status = 503, .times = 2}};

	start(script, 1);
	ck_assert_int_eq(err.detail, 503);
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

START_TEST(test_other_size)
{
	struct fake_exchange script[] = {
		{HEAD, .status = 404},
		{PUT, .status = 204},
		{HEAD, .status = 200, .headers = "Content-Length: 7\r\n"},
		{DELETE, .status = 204},
	};

	start(script, 4);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "has 7 bytes, sent were 200001"));
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

START_TEST(test_stop)
{
	struct fake_exchange script[] = {{HEAD, .status = 404}, {PUT, .how = FAKE_SILENT}};
	struct outcome outcome = {.calls = 0};

	start(script, 2);
	image->ops->put(
		image, &stream.base, &kit_instant, outcome_progress, outcome_done, &outcome);
	while (script[1].seen == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	image->ops->stop(image);
	ck_assert(!outcome_wait(&loop, &outcome));
	finish();
}
END_TEST

/* Only what must be the dead run's is deleted. */
START_TEST(test_left)
{
	static const struct {
		int head; /* 0: it isn't asked */
		bool force, deletes;
	} rows[] = {
		{200, false, true}, {200, true, false}, {404, false, false}, {404, true, false},
		{403, false, false}, {0, false, false}, /* the run ended before its upload */
	};
	struct fake_exchange script[] = {
		{HEAD, .status = rows[_i].head},
		{DELETE, .status = 204},
	};

	options.force = rows[_i].force;
	open_store(script, rows[_i].deletes ? 2 : rows[_i].head ? 1 : 0);
	spec.unsent = rows[_i].head == 0;
	image = NULL;
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	finish();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("web");
	TCase *tcase = tcase_create("web");

	tcase_add_checked_fixture(tcase, setup, loop_teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_specs);
	tcase_add_test(tcase, test_kept_specs);
	tcase_add_loop_test(tcase, test_left_without_all, 0, 2);
	tcase_add_test(tcase, test_wrong_specs);
	tcase_add_test(tcase, test_whole_life);
	tcase_add_test(tcase, test_something_there);
	tcase_add_test(tcase, test_login);
	tcase_add_loop_test(tcase, test_failures, 0, 17);
	tcase_add_test(tcase, test_nothing_sent);
	tcase_add_test(tcase, test_replaced);
	tcase_add_test(tcase, test_head_fails);
	tcase_add_test(tcase, test_other_size);
	tcase_add_test(tcase, test_stop);
	tcase_add_loop_test(tcase, test_left, 0, 6);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
