/* SPDX-License-Identifier: Apache-2.0
 *
 * The store glance: and its tokens: Glance looks at one as a request begins, so the one that what
 * must not fail is sent with has just been made, though the last one lives on. */
#include "fixture.h"
#include "glance_kit.h"
#include "suite.h"
#include "upload/keystone_session.h"

#include <stdlib.h>
#include <string.h>

#define TOKEN(name)                                                                                \
	{                                                                                          \
		"POST /v3/auth/tokens", .status = 201, .headers = "X-Subject-Token: " name "\r\n", \
					.body = "{\"token\": {\"issued_at\": "                     \
						"\"2026-11-23T10:00:00Z\", \"expires_at\": "       \
						"\"2026-11-23T11:00:00Z\"}}"                       \
	}

enum { AGE_MS = 61 * 1000 };

/* The token isn't new any more, and good for nearly an hour. */
static void age_token(void)
{
	((struct glance_store *)store)->session->since_ms -= AGE_MS;
}

static void open_store(struct fake_exchange *script, unsigned n)
{
	char url[128];

	fake_http_start(&server, &loop, script, n);
	(void)snprintf(url, sizeof(url), "%s/v3", server.url);
	ck_assert_int_eq(clearenv(), 0);
	ck_assert_int_eq(setenv("OS_AUTH_URL", url, 1), 0);
	ck_assert_int_eq(setenv("OS_TOKEN", "hush", 1), 0);
	ck_assert_int_eq(setenv("OS_IMAGE_ENDPOINT_OVERRIDE", server.url, 1), 0);
	store = qmpsnap_store_open(&loop, "glance:", NULL, &err);
	ck_assert_msg(store != NULL, "%s", err.message);
	((struct glance_store *)store)->tries = 1;
	kit_spec(&spec);
}

static void assert_sent_with(const struct fake_exchange *exchange, const char *token)
{
	char header[64];

	(void)snprintf(header, sizeof(header), "X-Auth-Token: %s\r\n", token);
	ck_assert_msg(strstr(exchange->head, header) != NULL, "%s", exchange->head);
}

static void age_in_upload(uint64_t done_bytes, void *data)
{
	static bool aged;

	(void)done_bytes;
	(void)data;
	if (!aged)
		age_token();
	aged = true;
}

/* The bytes, the look at what became of them, and the deletion. */
START_TEST(test_image)
{
	char hex[129];
	struct fake_exchange script[] = {
		TOKEN("one"),
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = "{}"},
		TOKEN("two"),
		{PUT, .status = 204},
		TOKEN("three"),
		{GET, .status = 200, .body = record},
		TOKEN("four"),
		{DELETE, .status = 204},
	};
	struct outcome outcome = {.calls = 0};

	fake_stream_init(&stream, &loop, 3000001);
	fake_stream_digest(&stream, "sha512", hex);
	make_record(3000001, "sha512", hex, NULL);
	open_store(script, COUNT(script));
	image = kit_create(&loop, store, &spec, &err);
	ck_assert_msg(err.code == QMPSNAP_OK, "%s", err.message);
	age_token();
	image->ops->put(image, &stream.base, &kit_instant, age_in_upload, outcome_done, &outcome);
	ck_assert_msg(outcome_wait(&loop, &outcome), "%s", outcome.err.message);
	age_token();
	ck_assert_msg(kit_discard(&loop, image, &err), "%s", err.message);
	assert_sent_with(&script[2], "one");
	assert_sent_with(&script[5], "two");
	assert_sent_with(&script[7], "three");
	assert_sent_with(&script[9], "four");
	finish(true);
}
END_TEST

static bool take(struct shelf_sink *sink, const void *bytes, size_t len)
{
	(void)sink, (void)bytes, (void)len;
	return true;
}

/* Of an image that stands there: all its bytes, and its deletion. */
START_TEST(test_shelf)
{
	struct fake_exchange script[] = {
		TOKEN("one"),
		{"GET /v2/images/" KIT_ID "/file", .status = 200, .body = "bytes"},
		TOKEN("two"),
		{"GET /v2/images/" KIT_ID "/file", .status = 200, .body = "bytes"},
		TOKEN("three"),
		{DELETE, .status = 204},
	};
	struct shelf_sink sink = {.take = take};
	struct json_object *there =
		json_tokener_parse("{\"id\": \"" KIT_ID "\", \"name\": \"web/1\", \"size\": 5}");

	open_store(script, COUNT(script));
	const struct shelf_ops *shelf = store->ops->shelf;
	for (int i = 0; i < 3; i++) {
		struct outcome outcome = {.calls = 0};
		ck_assert_ptr_nonnull(
			i < 2 ? shelf->fetch(store, there, &sink, outcome_done, &outcome, &err)
			      : shelf->remove(store, there, outcome_done, &outcome, &err));
		ck_assert_msg(outcome_wait(&loop, &outcome), "%s", outcome.err.message);
		age_token();
	}
	assert_sent_with(&script[1], "one");
	assert_sent_with(&script[3], "two");
	assert_sent_with(&script[5], "three");
	(void)json_object_put(there);
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
	fake_http_stop(&server, true);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("glance_tokens");
	TCase *c = tcase_create("glance_tokens");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, loop_setup, loop_teardown);
	tcase_add_test(c, test_image);
	tcase_add_test(c, test_shelf);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)
