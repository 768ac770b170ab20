/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "fake_http.h"
#include "fake_stream.h"
#include "fixture.h"
#include "store_kit.h"
#include "suite.h"
#include "upload/swift.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA     "/v1/A_t/my%20box/web_1-" KIT_ID ".qcow2"
#define JSON     "/v1/A_t/my%20box/web_1-" KIT_ID ".json"
#define SEGMENTS "/v1/A_t/my%20box_segments"
#define SEGMENT  SEGMENTS "/web_1-" KIT_ID ".qcow2/0000000"
#define LIST     "GET " SEGMENTS "?limit=1000&prefix=web_1-" KIT_ID ".qcow2%2F "
#define LOGIN                                                                                      \
	{                                                                                          \
		"GET /auth/v1.0 ", .status = 200, .headers = login                                 \
	}
#define BOXES                                                                                      \
	{"HEAD /v1/A_t/my%20box ", .status = 204},                                                 \
	{                                                                                          \
		"HEAD " SEGMENTS " ", .status = 204                                                \
	}

enum { PART = 1 << 20, SIZE = PART + 5 };

static struct fake_http server;
static struct fake_stream stream;
static struct qmpsnap_store *store;
static struct store_image_spec spec;
static struct store_image *image;
static struct qmpsnap_error err;
static char login[256], whole[256]; /* headers: of the login's answer, and of the image's */

static void open_store(struct fake_exchange *script, unsigned n)
{
	char text[128];

	fake_http_start(&server, &loop, script, n);
	fake_stream_init(&stream, &loop, SIZE);
	(void)snprintf(text, sizeof(text), "%s/auth/v1.0", server.url);
	ck_assert_int_eq(setenv("ST_AUTH", text, 1), 0);
	(void)snprintf(login, sizeof(login), "X-Storage-Url: %s/v1/A_t\r\nX-Auth-Token: tk\r\n",
		server.url);
	store = qmpsnap_store_open(&loop, "swift:my box", NULL, &err);
	ck_assert_msg(store != NULL, "%s", err.message);
	((struct swift_store *)store)->part_bytes = PART;
	remote_of(store)->wait_ms = 4;
	remote_of(store)->tries = 2;
	kit_spec(&spec);
}

static void start(struct fake_exchange *script, unsigned n)
{
	open_store(script, n);
	image = kit_create(&loop, store, &spec, &err);
	ck_assert_ptr_nonnull(image);
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
	ck_assert_int_eq(clearenv(), 0);
	ck_assert_int_eq(setenv("ST_USER", "t:u", 1), 0);
	ck_assert_int_eq(setenv("ST_KEY", "hush", 1), 0);
}

START_TEST(test_specs)
{
	static const char *const wrong[] = {"swift:", "swift:a/b", "swift:..", "swift:?insecure"};

	ck_assert_int_eq(setenv("ST_AUTH", "http://127.0.0.1:9/auth", 1), 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		ck_assert_ptr_null(qmpsnap_store_open(&loop, wrong[i], NULL, &err));
		ck_assert_int_eq(err.code, QMPSNAP_USAGE);
	}
	ck_assert_int_eq(unsetenv("ST_KEY"), 0);
	ck_assert_ptr_null(qmpsnap_store_open(&loop, "swift:a", NULL, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "ST_KEY"));
}
END_TEST

/* Two segments are sent at once, so in no certain order. */
START_TEST(test_large)
{
	struct fake_exchange script[] = {
		LOGIN,
		{"HEAD /v1/A_t/my%20box ", .status = 404},
		{"PUT /v1/A_t/my%20box ", .status = 201},
		{"HEAD " SEGMENTS " ", .status = 403},
		{"PUT " SEGMENT, .status = 201, .times = 2},
		{"PUT " DATA "?multipart-manifest=put ", .status = 201},
		{"HEAD " DATA " ", .status = 200, .headers = whole},
		{"PUT " JSON " ", .status = 201},
	};
	struct outcome outcome = {.calls = 0};
	char sha256[129];

	start(script, 8);
	ck_assert_int_eq(err.code, QMPSNAP_OK);
	ck_assert_str_eq(image->location, "swift:my box/web_1-" KIT_ID ".qcow2");
	ck_assert_ptr_nonnull(strstr(script[0].head, "X-Auth-User: t:u\r\n"));
	image->ops->put(
		image, &stream.base, &kit_instant, outcome_progress, outcome_done, &outcome);
	while (script[5].seen == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert_ptr_nonnull(strstr(script[4].head, "\r\nX-Auth-Token: tk\r\n"));
	ck_assert_ptr_nonnull(strstr(script[4].head, "\r\nETag: "));
	(void)snprintf(whole, sizeof(whole), "Content-Length: %d\r\nETag: \"%s\"\r\n", SIZE,
		((struct swift_image *)image)->o.etag);
	ck_assert(outcome_wait(&loop, &outcome));
	fake_stream_digest(&stream, "sha256", sha256);
	ck_assert_str_eq(image->digest, sha256);
	struct json_object *manifest = json_tokener_parse(script[5].text);
	ck_assert_uint_eq(json_length(manifest), 2);
	struct json_object *last = json_object_array_get_idx(manifest, 1);
	ck_assert_str_eq(
		json_string(last, "path"), "/my box_segments/web_1-" KIT_ID ".qcow2/00000002");
	ck_assert_int_eq(json_int(last, "size_bytes", 0), SIZE - PART);
	(void)json_object_put(manifest);
	ck_assert(kit_publish(&loop, image, &err));
	finish();
}
END_TEST

static void small(const char *headers, const char *said)
{
	struct fake_exchange script[] = {
		LOGIN,
		BOXES,
		{"PUT " DATA " ", .status = 201},
		{"HEAD " DATA " ", .status = 200, .headers = headers},
	};

	start(script, 5);
	stream.base.size_bytes = 1000;
	ck_assert_int_eq(kit_put(&loop, image, &stream.base, &err), said == NULL);
	if (said)
		ck_assert_msg(strstr(err.message, said) != NULL, "%s", err.message);
	finish();
}

START_TEST(test_small)
{
	char md5[129];

	fake_stream_init(&stream, &loop, 1000);
	fake_stream_digest(&stream, "md5", md5);
	(void)snprintf(whole, sizeof(whole), "Content-Length: 1000\r\nETag: %s\r\n", md5);
	small(whole, NULL);
}
END_TEST

START_TEST(test_other_etag)
{
	small("Content-Length: 1000\r\nETag: 00\r\n", "ETag is 00");
}
END_TEST

START_TEST(test_other_size)
{
	small("Content-Length: 999\r\n", "999 bytes, sent were 1000");
}
END_TEST

START_TEST(test_token_expires)
{
	struct fake_exchange script[] = {
		LOGIN,
		BOXES,
		{"DELETE " JSON " ", .status = 401},
		LOGIN,
		{"DELETE " JSON " ", .status = 503}, /* the next try meets an expired one again */
		{"DELETE " JSON " ", .status = 401},
		LOGIN,
		{"DELETE " JSON " ", .status = 404},
		{"DELETE " DATA " ", .status = 404},
		{LIST, .status = 200, .body = "a/1\nb%2\n"},
		{"DELETE " SEGMENTS "/a/1 ", .status = 204},
		{"DELETE " SEGMENTS "/b%252 ", .status = 204},
		{LIST, .status = 204},
	};

	start(script, 14);
	remote_of(store)->tries = 4;
	((struct swift_image *)image)->o.maybe_there = true;
	ck_assert_msg(kit_discard(&loop, image, &err), "%s", err.message);
	finish();
}
END_TEST

/* A token that is refused each time isn't asked for again and again. */
START_TEST(test_token_useless)
{
	struct fake_exchange script[] = {
		LOGIN,
		{"HEAD /v1/A_t/my%20box ", .status = 401},
		LOGIN,
		{"HEAD /v1/A_t/my%20box ", .status = 401},
	};

	start(script, 4);
	ck_assert_int_eq(err.detail, 401);
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

START_TEST(test_logins)
{
	static const struct {
		int status;
		const char *headers, *said;
	} rows[] = {
		{401, NULL, "answered 401"},
		{200, NULL, "no token"},
		{200, "X-Storage-Url: http://127.0.0.1:9/v1/A\r\n", "no token"},
		{200, "X-Storage-Url: file:///etc/passwd\r\nX-Auth-Token: tk\r\n", "no token"},
	};
	struct fake_exchange script[] = {
		{"GET /auth/v1.0 ", .status = rows[_i].status, .headers = rows[_i].headers},
	};

	start(script, 1);
	ck_assert_msg(strstr(err.message, rows[_i].said) != NULL, "%s", err.message);
	ck_assert_ptr_nonnull(strstr(err.hint, "ST_AUTH"));
	ck_assert_ptr_null(strstr(err.message, "hush"));
	finish();
}
END_TEST

/* A discard whose data can't be deleted deletes the segments all the same. */
START_TEST(test_left)
{
	struct fake_exchange script[] = {
		LOGIN,
		{"HEAD /v1/A_t/my%20box ", .status = 204},
		{"DELETE " JSON " ", .status = 204},
		{"DELETE " DATA " ", .status = 403},
		{LIST, .status = 200, .body = "a\n"},
		{"DELETE " SEGMENTS "/a ", .status = 404},
		{LIST, .status = 204},
	};
	char place[128];

	open_store(script, 7);
	image = NULL;
	ck_assert(!kit_discard_left(&loop, store, &spec, &err));
	ck_assert_int_eq(err.detail, 403);
	(void)snprintf(place, sizeof(place), "%s/auth/v1.0, user t:u", server.url);
	ck_assert_str_eq(store->place, place);
	finish();
}
END_TEST

/* A container that isn't there is another cloud's, but where nothing was ever sent; one that can't
 * be looked at may be there. */
START_TEST(test_left_without_container)
{
	static const struct {
		int head; /* 0: it isn't asked */
		bool well;
	} rows[] = {{404, false}, {403, true}, {0, true}};
	struct fake_exchange script[] = {
		LOGIN,
		{"HEAD /v1/A_t/my%20box ", .status = rows[_i].head},
		{"DELETE " JSON " ", .status = 404},
		{"DELETE " DATA " ", .status = 404},
		{LIST, .status = 404},
	};

	if (!rows[_i].head)
		memmove(script + 1, script + 2, 3 * sizeof(script[0]));
	open_store(script, rows[_i].head ? 5 : 4);
	spec.unsent = !rows[_i].head;
	image = NULL;
	ck_assert_int_eq(kit_discard_left(&loop, store, &spec, &err), rows[_i].well);
	ck_assert(rows[_i].well || err.detail == 404);
	finish();
}
END_TEST

/* The store may be closed while the login that nobody waits for any more ends. */
START_TEST(test_stop_in_login)
{
	struct fake_exchange script[] = {
		LOGIN,
		BOXES,
		{"GET /auth/v1.0 ", .how = FAKE_SILENT},
	};
	struct outcome outcome = {.calls = 0};

	start(script, 4);
	struct swift_store *swift = (struct swift_store *)store;
	free(swift->v1.token);
	swift->v1.token = NULL;
	image->ops->put(
		image, &stream.base, &kit_instant, outcome_progress, outcome_done, &outcome);
	while (script[3].seen == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	image->ops->stop(image);
	ck_assert(!outcome_wait(&loop, &outcome));
	finish();
}
END_TEST

/* The undo of what was stopped in a login logs in anew, be that login's end there yet or not. */
START_TEST(test_discard_after_stop)
{
	struct fake_exchange script[] = {
		LOGIN,
		BOXES,
		{"GET /auth/v1.0 ", .how = FAKE_SILENT},
		LOGIN,
		{"HEAD /v1/A_t/my%20box ", .status = 204},
		{"DELETE " JSON " ", .status = 404},
		{"DELETE " DATA " ", .status = 404},
		{LIST, .status = 204},
	};
	struct outcome outcome = {.calls = 0}, discarded = {.calls = 0};

	start(script, 9);
	struct swift_store *swift = (struct swift_store *)store;
	free(swift->v1.token);
	swift->v1.token = NULL;
	image->ops->put(
		image, &stream.base, &kit_instant, outcome_progress, outcome_done, &outcome);
	while (script[3].seen == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	image->ops->stop(image);
	while (_i && swift->v1.call)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert_int_eq(swift->v1.call == NULL, _i);
	store->ops->discard_left(store, &spec, outcome_done, &discarded);
	ck_assert_msg(outcome_wait(&loop, &discarded), "%s", discarded.err.message);
	while (outcome.calls == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	finish();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("swift");
	TCase *tcase = tcase_create("swift");

	tcase_add_checked_fixture(tcase, setup, loop_teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_specs);
	tcase_add_test(tcase, test_large);
	tcase_add_test(tcase, test_small);
	tcase_add_test(tcase, test_other_etag);
	tcase_add_test(tcase, test_other_size);
	tcase_add_test(tcase, test_token_expires);
	tcase_add_test(tcase, test_token_useless);
	tcase_add_loop_test(tcase, test_logins, 0, 4);
	tcase_add_test(tcase, test_left);
	tcase_add_loop_test(tcase, test_left_without_container, 0, 3);
	tcase_add_test(tcase, test_stop_in_login);
	tcase_add_loop_test(tcase, test_discard_after_stop, 0, 2);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
