/* SPDX-License-Identifier: Apache-2.0
 *
 * The lists of images that services give. */
#include "base/json.h"
#include "fake_http.h"
#include "fixture.h"
#include "images_kit.h"
#include "suite.h"
#include "upload/glance.h"
#include "upload/shelf_op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Glance ------------------------------------------------------------------------------- */

#define ID(n)    "0f7a1c2e-4b5d-4e6f-8a9b-0c1d2e3f000" n
#define LIST     "GET /v2/images?limit=50"
#define IMAGE(n) "{\"id\": \"" ID(n) "\", \"status\": \"active\"}"
#define MORE     ", \"next\": \"/v2/images?marker=x\""
#define AFTER(n) LIST "&marker=" ID(n) " "

static struct fake_http server;

static void serve(struct fake_exchange *script, unsigned n)
{
	char text[128];

	fake_http_start(&server, &loop, script, n);
	(void)snprintf(text, sizeof(text), "glance:%s", server.url);
	store = qmpsnap_store_open(&loop, text, NULL, &err);
	((struct glance_store *)store)->wait_ms = 4;
	((struct glance_store *)store)->tries = 3;
}

static void stop_serving(void)
{
	clear();
	qmpsnap_store_close(store);
	fake_http_stop(&server, true);
}

START_TEST(test_pages)
{
	struct fake_exchange script[] = {
		{LIST " ", .status = 200,
			.body = "{\"images\": [" IMAGE("1") "," IMAGE("2") "]" MORE "}"},
		{AFTER("2"), .status = 503, .body = "later"},
		{AFTER("2"), .status = 200,
			.body = "{\"images\": [{\"id\": \"../evil\"}," IMAGE("3") "]" MORE "}"},
		{AFTER("3"), .status = 200, .body = "{\"images\": []}"},
	};

	serve(script, 4);
	ck_assert_uint_eq(run(&loop, &(struct qmpsnap_images_options){.all = true}), 3);
	ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
	const char *location = json_string(json_object_array_get_idx(got.images, 2), "location");
	ck_assert_ptr_nonnull(strstr(location, "/v2/images/" ID("3")));
	stop_serving();
}
END_TEST

/* A service that gives the same page for ever. */
START_TEST(test_endless)
{
	struct fake_exchange script[] = {
		{LIST " ", .status = 200, .body = "{\"images\": [" IMAGE("1") "]" MORE "}"},
		{AFTER("1"), .status = 200, .body = "{\"images\": [" IMAGE("1") "]" MORE "}"},
	};

	serve(script, 2);
	ck_assert_uint_eq(run(&loop, &(struct qmpsnap_images_options){.all = true}), 2);
	stop_serving();
}
END_TEST

static char long_body[HTTP_REPLY_BYTES + 2];

#define FEWER(n) "GET /v2/images?limit=" n
#define TOO_LONG .status = 200, .body = long_body

/* Images with so many properties that a page of them is too long come in smaller ones. */
START_TEST(test_long_pages)
{
	struct fake_exchange script[] = {
		{LIST " ", TOO_LONG},
		{FEWER("25 "), .status = 200, .body = "{\"images\": [" IMAGE("1") "]" MORE "}"},
		{FEWER("25&marker=" ID("1") " "), TOO_LONG},
		{FEWER("12&marker=" ID("1") " "), .status = 200,
			.body = "{\"images\": [" IMAGE("2") "]}"},
		{LIST " ", TOO_LONG},
		{FEWER("25 "), TOO_LONG},
		{FEWER("12 "), TOO_LONG},
		{FEWER("6 "), TOO_LONG},
		{FEWER("3 "), TOO_LONG},
		{FEWER("1 "), TOO_LONG},
	};

	memset(long_body, ' ', sizeof(long_body) - 1);
	serve(script, 10);
	ck_assert_uint_eq(run(&loop, &(struct qmpsnap_images_options){.all = true}), 2);
	ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
	ck_assert_uint_eq(run(&loop, &(struct qmpsnap_images_options){.all = true}), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(got.err.message, "longer than"));
	stop_serving();
}
END_TEST

/* In place of SHELF_MOST_IMAGES. */
static bool take_two(void)
{
	if (got.op->call)
		((struct shelf_op *)got.op->call)->most_images = 2;
	return false;
}

static void assert_too_many(void)
{
	got.is_turn = take_two;
	ck_assert_uint_eq(run(&loop, &(struct qmpsnap_images_options){.all = true}), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(got.err.message, "more than 2 images"));
}

/* A list that is cut off would pass for all there is. */
START_TEST(test_too_many)
{
	struct fake_exchange script[] = {
		{LIST " ", .status = 200,
			.body = "{\"images\": [" IMAGE("1") "," IMAGE("2") "]" MORE "}"},
		{AFTER("2"), .status = 200, .body = "{\"images\": [" IMAGE("3") "]" MORE "}"},
		{LIST " ", .status = 200, .body = "{\"images\": [" IMAGE("1") "," IMAGE("2") "]}"},
	};

	serve(script, 3);
	assert_too_many();
	got.is_turn = take_two;
	ck_assert_uint_eq(run(&loop, &(struct qmpsnap_images_options){.all = true}), 2);
	stop_serving();
}
END_TEST

START_TEST(test_narrowed)
{
	struct fake_exchange script[] = {
		{LIST "&qmpsnap_set=a%26b&tag=x%20y ", .status = 200, .body = "{\"images\": []}"},
		/* A list says which sets are incomplete, whichever of their images have the tag. */
		{LIST "&qmpsnap_set=a%26b ", .status = 200, .body = "{\"images\": []}"},
		{LIST " ", .status = 200, .body = "{\"what\": 1}"},
	};
	struct qmpsnap_images_options options = {
		.action = QMPSNAP_IMAGES_VERIFY, .set = "a&b", .tag = "x y"};

	serve(script, 3);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(run(&loop, &options), 0);
		ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
		options.action = QMPSNAP_IMAGES_LIST;
	}
	ck_assert_uint_eq(run(&loop, &(struct qmpsnap_images_options){.all = true}), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_STORE);
	stop_serving();
}
END_TEST

/* ---- Objects ------------------------------------------------------------------------------ */

#define NAMES     "GET /bucket/?list-type=2&max-keys=500&prefix=pre%2F"
#define NAME(one) "<Contents><Key>pre/" one "</Key></Contents>"
#define RECORD(n) "{\"id\": \"" ID(n) "\", \"name\": \"" n "\", \"disk_format\": \"qcow2\"}"

static void serve_objects(struct fake_exchange *script, unsigned n)
{
	fake_http_start(&server, &loop, script, n);
	ck_assert_int_eq(setenv("AWS_ENDPOINT_URL", server.url, 1), 0);
	ck_assert_int_eq(setenv("AWS_ACCESS_KEY_ID", "user", 1), 0);
	ck_assert_int_eq(setenv("AWS_SECRET_ACCESS_KEY", "hush", 1), 0);
	store = qmpsnap_store_open(&loop, "s3://bucket/pre", NULL, &err);
	ck_assert_ptr_nonnull(store);
	remote_of(store)->wait_ms = 4;
	remote_of(store)->tries = 3;
}

static unsigned warnings;

static void count_warning(enum qmpsnap_log_level level, const char *message, void *data)
{
	(void)data;
	if (level != QMPSNAP_LOG_WARNING)
		return;
	ck_assert_ptr_nonnull(strstr(message, "pre/3-" ID("3") ".json is there"));
	warnings++;
}

/* A JSON is one of an image whose bytes are listed, too, if need be on the next page. */
START_TEST(test_objects)
{
	struct fake_exchange script[] = {
		{NAMES " ", .status = 200,
			.body = "<ListBucketResult>" NAME("1-" ID("1") ".json")
				NAME("1-" ID("1") ".qcow2") NAME("1-" ID("1") ".vmdk")
					NAME("2-" ID("2") ".json") "</ListBucketResult>"},
		{"GET /bucket/pre/1-" ID("1") ".json ", .status = 200, .body = RECORD("1")},
		{"GET /bucket/pre/1-" ID("1") ".json ", .status = 200, .body = RECORD("1")},
		{NAMES "&start-after=pre%2F2-" ID("2") ".json ", .status = 200,
			.body = "<ListBucketResult>" NAME("2-" ID("2") ".json.old")
				NAME("2-" ID("2") ".qcow2") NAME("2-" ID("2") ".qcow2/1.json")
					NAME("3-" ID("3") ".json") NAME("others.json")
						NAME("z-" ID("3") ".raw") "</ListBucketResult>"},
		{"GET /bucket/pre/2-" ID("2") ".json ", .status = 200, .body = RECORD("2")},
		{NAMES "&start-after=pre%2Fz-" ID("3") ".raw ", .status = 200,
			.body = "<ListBucketResult/>"},
	};

	warnings = 0;
	qmpsnap_log_to(QMPSNAP_LOG_WARNING, count_warning, NULL);
	serve_objects(script, 6);
	ck_assert_uint_eq(run(&loop, &(struct qmpsnap_images_options){.all = true}), 2);
	ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
	ck_assert_str_eq(json_string(json_object_array_get_idx(got.images, 1), "location"),
		"s3://bucket/pre/2-" ID("2") ".qcow2");
	ck_assert_uint_eq(warnings, 1);
	stop_serving();
}
END_TEST

START_TEST(test_too_many_objects)
{
	struct fake_exchange script[] = {
		{NAMES " ", .status = 200,
			.body = "<ListBucketResult>" NAME("1-" ID("1") ".json")
				NAME("1-" ID("1") ".qcow2") NAME("2-" ID("2") ".json")
					NAME("2-" ID("2") ".qcow2") NAME("3-" ID("3") ".json")
						NAME("3-" ID("3") ".qcow2") "</ListBucketResult>"},
		{"GET /bucket/pre/1-" ID("1") ".json ", .status = 200, .body = RECORD("1")},
		{"GET /bucket/pre/2-" ID("2") ".json ", .status = 200, .body = RECORD("2")},
		{"GET /bucket/pre/3-" ID("3") ".json ", .status = 200, .body = RECORD("3")},
	};

	serve_objects(script, 4);
	assert_too_many();
	stop_serving();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("images remote");
	TCase *tcase = tcase_create("images remote");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
	tcase_add_test(tcase, test_pages);
	tcase_add_test(tcase, test_endless);
	tcase_add_test(tcase, test_narrowed);
	tcase_add_test(tcase, test_objects);
	tcase_add_test(tcase, test_long_pages);
	tcase_add_test(tcase, test_too_many);
	tcase_add_test(tcase, test_too_many_objects);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
