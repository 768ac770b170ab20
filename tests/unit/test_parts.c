/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "fake_http.h"
#include "fake_stream.h"
#include "fixture.h"
#include "store_kit.h"
#include "suite.h"
#include "upload/object_names.h"
#include "upload/parts.h"

#include <stdio.h>
#include <string.h>

#define MIB UINT64_C(1048576)
#define GIB (MIB * 1024)

enum { PART = 256 * 1024, SIZE = 3 * PART - 7 };

static struct fake_http server;
static struct fake_stream stream;
static struct remote remote;
static struct parts *parts;
static struct outcome outcome;
static struct qmpsnap_error err;

/* ---- Plans and names ---------------------------------------------------------------------- */

START_TEST(test_plan)
{
	static const struct {
		uint64_t size, usual;
		unsigned most;
		uint64_t part; /* 0: too large */
		unsigned n;
	} rows[] = {
		{0, 16 * MIB, 1000, 16 * MIB, 1},
		{1, 16 * MIB, 1000, 16 * MIB, 1},
		{16 * MIB, 16 * MIB, 1000, 16 * MIB, 1},
		{16 * MIB + 1, 16 * MIB, 1000, 16 * MIB, 2},
		{16000 * MIB, 16 * MIB, 1000, 16 * MIB, 1000},
		{16000 * MIB + 1, 16 * MIB, 1000, 17 * MIB, 942},
		{1024 * GIB, 16 * MIB, 1000, 1049 * MIB, 1000},
		{5000 * GIB, 16 * MIB, 1000, 5 * GIB, 1000},
		{5000 * GIB + 1, 16 * MIB, 1000, 0, 0},
		{50000 * GIB, 16 * MIB, 10000, 5 * GIB, 10000},
		{UINT64_MAX, 16 * MIB, 10000, 0, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const uint64_t part =
			parts_plan(rows[i].size, rows[i].usual, rows[i].most, 5 * GIB);
		ck_assert_msg(part == rows[i].part, "row %zu: %llu", i, (unsigned long long)part);
		if (part)
			ck_assert_uint_eq(parts_count(rows[i].size, part), rows[i].n);
	}
}
END_TEST

START_TEST(test_names)
{
	struct object_names names;
	struct store_image_spec spec;
	char url[OBJECT_URL_BYTES];

	kit_spec(&spec);
	object_names(&names, "", &spec);
	ck_assert_str_eq(names.data, "web_1-" KIT_ID ".qcow2");
	ck_assert_str_eq(names.json, "web_1-" KIT_ID ".json");
	object_names(&names, "a b/c", &spec);
	ck_assert_str_eq(names.data, "a b/c/web_1-" KIT_ID ".qcow2");
	object_path(url, "a b/\xc3\xbc+~%.x");
	ck_assert_str_eq(url, "/a%20b/%C3%BC%2B~%25.x");
	object_encode(url, sizeof(url), "a/b=&", false);
	ck_assert_str_eq(url, "a%2Fb%3D%26");
	ck_assert(object_prefix_is_fine(""));
	ck_assert(object_prefix_is_fine("a/.b/..c"));
	ck_assert(!object_prefix_is_fine("a/../b"));
	ck_assert(!object_prefix_is_fine("./b"));
	ck_assert(!object_prefix_is_fine("a//b"));
	(void)json_object_put(spec.properties);
}
END_TEST

/* ---- Sending ------------------------------------------------------------------------------ */

static void authorize(struct remote *to, struct remote_call *call)
{
	const struct remote_access access = {.url = server.url};

	(void)to;
	remote_go(call, &access);
}

static void describe(struct qmpsnap_error *to, const char *doing, const struct http_reply *reply)
{
	error_set(to, QMPSNAP_STORE, "%s: %ld", doing, reply->status);
	to->detail = (int)reply->status;
}

static const struct remote_ops ops = {.authorize = authorize, .describe = describe};

static void request(struct part *part, struct remote_request *to, void *data)
{
	(void)data;
	(void)snprintf(part->path, sizeof(part->path), "/%u", part->index + 1);
	(void)snprintf(part->header, sizeof(part->header), "X-Digest: %s", part->digest);
	(void)snprintf(part->doing, sizeof(part->doing), "sending %u", part->index + 1);
	*to = (struct remote_request){.method = "PUT",
		.path = part->path,
		.headers = {part->header},
		.doing = part->doing,
		.expect = {200}};
}

static void start(struct fake_exchange *script, unsigned n, uint64_t size, unsigned at_once)
{
	outcome = (struct outcome){.calls = 0};
	fake_http_start(&server, &loop, script, n);
	fake_stream_init(&stream, &loop, size);
	remote = (struct remote){.http = http_new(&loop, NULL, &err)};
	ck_assert_ptr_nonnull(remote.http);
	remote_init(&remote, &ops, &loop);
	remote.wait_ms = 4;
	remote.tries = 3;
	const struct parts_options options = {.remote = &remote,
		.stream = &stream.base,
		.part_bytes = PART,
		.at_once = at_once,
		.part_digest = "md5",
		.request = request,
		.progress = outcome_progress,
		.done = outcome_done,
		.data = &outcome};
	parts = parts_start(&options, &err);
	ck_assert_ptr_nonnull(parts);
}

static void finish(bool all)
{
	parts_free(parts);
	http_free(remote.http);
	fake_http_stop(&server, all);
	ck_assert_uint_eq(stream.open, 0);
	ck_assert_uint_eq(stream.held, 0);
}

START_TEST(test_in_order)
{
	struct fake_exchange script[] = {
		{"PUT /1 ", .status = 200, .headers = "ETag: \"one\"\r\n"},
		{"PUT /2 ", .status = 200, .headers = "ETag: \"two\"\r\n"},
		{"PUT /3 ", .status = 200, .headers = "ETag: three\r\n"},
	};
	char sha256[129];
	unsigned n;

	start(script, 3, SIZE, 1);
	ck_assert(outcome_wait(&loop, &outcome));
	ck_assert_uint_eq(outcome.progress_bytes, SIZE);
	ck_assert_uint_eq(script[0].body_bytes, PART);
	ck_assert_uint_eq(script[2].body_bytes, PART - 7);
	const struct part_note *notes = parts_notes(parts, &n);
	ck_assert_uint_eq(n, 3);
	ck_assert_str_eq(notes[0].etag, "one");
	ck_assert_str_eq(notes[2].etag, "three");
	for (unsigned i = 0; i < 3; i++) {
		uint8_t bytes[16];
		ck_assert_ptr_nonnull(strstr(script[i].head, notes[i].digest));
		ck_assert_ptr_nonnull(strstr(script[i].head, "Content-Length: "));
		fake_stream_bytes(&stream, (uint64_t)i * PART, bytes, sizeof(bytes));
		ck_assert_mem_eq(script[i].text, bytes, sizeof(bytes));
	}
	fake_stream_digest(&stream, "sha256", sha256);
	ck_assert_str_eq(parts_sha256(parts), sha256);
	finish(true);
}
END_TEST

START_TEST(test_digest_of_a_part)
{
	struct fake_exchange script[] = {{"PUT /1 ", .status = 200}};
	char md5[129];
	unsigned n;

	start(script, 1, 1000, 4);
	ck_assert(outcome_wait(&loop, &outcome));
	fake_stream_digest(&stream, "md5", md5);
	ck_assert_str_eq(parts_notes(parts, &n)[0].digest, md5);
	ck_assert_str_eq(parts_notes(parts, &n)[0].etag, "");
	finish(true);
}
END_TEST

START_TEST(test_nothing)
{
	struct fake_exchange script[] = {{"PUT /1 ", .status = 200}};

	start(script, 1, 0, 4);
	ck_assert(outcome_wait(&loop, &outcome));
	ck_assert_uint_eq(script[0].body_bytes, 0);
	ck_assert_str_eq(parts_sha256(parts),
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	finish(true);
}
END_TEST

START_TEST(test_rings_share)
{
	struct fake_exchange script[] = {{"PUT /", .status = 200, .times = 12}};

	start(script, 1, (uint64_t)12 * PART, 4);
	stream.ring_blocks = 40;
	ck_assert_uint_eq(stream.base.readers, 5);
	ck_assert(outcome_wait(&loop, &outcome));
	ck_assert_uint_le(stream.most_held, 40);
	ck_assert_uint_eq(stream.opened, 24);
	finish(true);
}
END_TEST

/* The scout waits for those who send. */
START_TEST(test_scout_stays_near)
{
	struct fake_exchange script[] = {{"PUT /1 ", .how = FAKE_SILENT}};

	start(script, 1, (uint64_t)12 * PART, 1);
	for (int i = 0; i < 400; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	while (script[0].seen == 0 || stream.opened < 3)
		(void)uv_run(&loop, UV_RUN_ONCE);
	for (int i = 0; i < 400; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	ck_assert_uint_eq(stream.opened, 3); /* parts 1 and 2 by the scout, part 1 to be sent */
	parts_stop(parts);
	ck_assert(!outcome_wait(&loop, &outcome));
	finish(true);
}
END_TEST

START_TEST(test_again)
{
	struct fake_exchange script[] = {
		{"PUT /1 ", .status = 200},
		{"PUT /2 ", .how = FAKE_CUT, .cut_at = 100000},
		{"PUT /2 ", .status = 503},
		{"PUT /2 ", .status = 200, .headers = "ETag: \"two\"\r\n"},
		{"PUT /3 ", .status = 200},
	};
	unsigned n;

	start(script, 5, SIZE, 1);
	ck_assert(outcome_wait(&loop, &outcome));
	ck_assert_str_eq(parts_notes(parts, &n)[1].etag, "two");
	ck_assert_uint_eq(script[3].body_bytes, PART);
	ck_assert_uint_eq(outcome.progress_bytes, SIZE);
	finish(true);
}
END_TEST

START_TEST(test_refused)
{
	struct fake_exchange script[] = {
		{"PUT /1 ", .status = 200},
		{"PUT /2 ", .status = 403},
	};

	start(script, 2, SIZE, 1);
	ck_assert(!outcome_wait(&loop, &outcome));
	ck_assert_str_eq(outcome.err.message, "sending 2: 403");
	finish(true);
}
END_TEST

START_TEST(test_tries_end)
{
	struct fake_exchange script[] = {{"PUT /1 ", .status = 500, .times = 3}};

	start(script, 1, SIZE, 1);
	ck_assert(!outcome_wait(&loop, &outcome));
	ck_assert_int_eq(outcome.err.detail, 500);
	finish(true);
}
END_TEST

/* The view breaks while parts are on their way, at each of the blocks. */
START_TEST(test_view_breaks)
{
	struct fake_exchange script[] = {{"PUT /", .status = 200, .times = 100}};

	start(script, 1, SIZE, 2);
	stream.fail_at = (uint64_t)(_i + 1) * 64 * 1024;
	ck_assert(!outcome_wait(&loop, &outcome));
	ck_assert_int_eq(outcome.err.code, QMPSNAP_VIEW);
	finish(false);
}
END_TEST

/* Given up after so many turns of the loop. */
START_TEST(test_stop)
{
	struct fake_exchange script[] = {{"PUT /", .status = 200, .times = 100}};

	start(script, 1, SIZE, 3);
	for (int i = 0; i < _i * 3 && outcome.calls == 0; i++)
		(void)uv_run(&loop, UV_RUN_ONCE);
	if (outcome.calls == 0) {
		parts_stop(parts);
		parts_stop(parts);
		ck_assert(!outcome_wait(&loop, &outcome));
		ck_assert_str_eq(outcome.err.message, "the upload was stopped");
	}
	finish(false);
}
END_TEST

START_TEST(test_stop_in_delay)
{
	struct fake_exchange script[] = {{"PUT /1 ", .status = 500}};

	start(script, 1, 1000, 1);
	remote.wait_ms = 600000;
	while (script[0].seen == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	for (int i = 0; i < 50; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	parts_stop(parts);
	ck_assert(!outcome_wait(&loop, &outcome));
	finish(true);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("parts");
	TCase *plain = tcase_create("plans");
	TCase *sending = tcase_create("sending");

	tcase_add_test(plain, test_plan);
	tcase_add_test(plain, test_names);
	tcase_add_checked_fixture(sending, loop_setup, loop_teardown);
	tcase_set_timeout(sending, 60);
	tcase_add_test(sending, test_in_order);
	tcase_add_test(sending, test_digest_of_a_part);
	tcase_add_test(sending, test_nothing);
	tcase_add_test(sending, test_rings_share);
	tcase_add_test(sending, test_scout_stays_near);
	tcase_add_test(sending, test_again);
	tcase_add_test(sending, test_refused);
	tcase_add_test(sending, test_tries_end);
	tcase_add_loop_test(sending, test_view_breaks, 0, 11);
	tcase_add_loop_test(sending, test_stop, 0, 12);
	tcase_add_test(sending, test_stop_in_delay);
	suite_add_tcase(s, plain);
	suite_add_tcase(s, sending);
	return s;
}

SUITE_MAIN(suite)
