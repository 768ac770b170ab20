/* SPDX-License-Identifier: Apache-2.0
 *
 * The store glance: when something fails: tries, new records, stops. */
#include "fixture.h"
#include "glance_kit.h"
#include "suite.h"

#include <string.h>

/* Faults that pass, one at each request: in the end all is as if there had been none. */
START_TEST(test_passing_faults)
{
	char hex[129];
	struct fake_exchange script[] = {
		{CREATE, .how = FAKE_HANG_UP},
		{CREATE, .status = 409, .body = HTML}, /* it had been made */
		{PATCH, .status = 503},
		{PATCH, .status = 200},
		{LIST, .status = 502},
		{LIST, .status = 200, .body = "{}"},
		{PUT, .how = FAKE_CUT, .cut_at = 1 << 20},
		{GET, .how = FAKE_HANG_UP},
		{GET, .status = 200, .body = "{\"status\": \"saving\"}"},
		{GET, .status = 200, .body = QUEUED},
		{PUT, .how = FAKE_REFUSE, .status = 409, .body = HTML},
		{GET, .status = 200, .body = QUEUED},
		{PUT, .how = FAKE_CUT_ANSWER, .cut_at = 2 << 20, .status = 503},
		{GET, .status = 200, .body = QUEUED},
		{PUT, .status = 204},
		{GET, .status = 200, .body = record},
		{PATCH, .status = 429},
		{PATCH, .status = 200},
	};

	tries = 5;
	fake_stream_init(&stream, &loop, 3000001);
	fake_stream_digest(&stream, "sha512", hex);
	make_record(3000001, "sha512", hex, NULL);
	start(&loop, script, 18);
	ck_assert_msg(err.code == QMPSNAP_OK, "%s", err.message);
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	ck_assert_msg(kit_publish(&loop, image, &err), "%s", err.message);
	ck_assert_uint_eq(stream.opened, 4);
	ck_assert_uint_eq(script[14].body_bytes, 3000001);
	ck_assert_str_eq(image->id, KIT_ID);
	finish(true);
}
END_TEST

/* What is staged is sent once, whatever becomes of the order to import it. */
START_TEST(test_import)
{
	char hex[129];
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = "{}"},
		{STAGE, .status = 204},
		{IMPORT, .status = 503},
		{GET, .status = 200, .body = "{\"status\": \"uploading\"}"},
		{IMPORT, .how = FAKE_HANG_UP},
		{GET, .status = 200, .body = "{\"status\": \"uploading\"}"},
		{IMPORT, .status = 409}, /* the last one had come */
		{GET, .status = 200, .body = "{\"status\": \"importing\"}"},
		{GET, .status = 200, .body = record},
	};

	tries = 4;
	wishes.import = true;
	fake_stream_init(&stream, &loop, 3000001);
	fake_stream_digest(&stream, "sha512", hex);
	make_record(3000001, "sha512", hex, NULL);
	start(&loop, script, COUNT(script));
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	ck_assert_uint_eq(stream.opened, 1);
	finish(true);
}
END_TEST

/* The order is refused for good: because the record was deleted, or not. */
START_TEST(test_no_import)
{
	static const struct {
		int status, look; /* 0: there is none */
		enum qmpsnap_code code;
	} rows[] = {
		{404, 404, QMPSNAP_INTERRUPTED},
		{410, 404, QMPSNAP_INTERRUPTED},
		{404, 200, QMPSNAP_STORE},
		{403, 0, QMPSNAP_STORE},
		{409, 200, QMPSNAP_STORE},
	};
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = "{}"},
		{STAGE, .status = 204},
		{IMPORT, .status = rows[_i].status},
		{GET, .status = rows[_i].look, .body = "{\"status\": \"uploading\"}"},
	};

	wishes.import = true;
	fake_stream_init(&stream, &loop, 3000001);
	start(&loop, script, rows[_i].look ? 6 : 5);
	const uint64_t began = uv_hrtime();
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_int_eq(err.code, rows[_i].code);
	ck_assert_uint_lt((uv_hrtime() - began) / 1000000, 650); /* it isn't waited for */
	finish(true);
}
END_TEST

/* The record stays in `saving`: it is deleted, and one with a spare id takes its place. */
START_TEST(test_made_anew)
{
	char hex[129], spare[37], put[96], get[96], made[128], left[2][96];
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = "{}"},
		{PUT, .how = FAKE_CUT, .cut_at = 1 << 20},
		{GET, .status = 200, .body = "{\"status\": \"saving\"}", .times = 4},
		{DELETE, .status = 204},
		{CREATE, .status = 201, .body = made},
		{put, .status = 204},
		{get, .status = 200, .body = record},
		{DELETE, .status = 404},
		{left[0], .status = 204},
		{left[1], .status = 404},
	};

	glance_spare_id(spare, KIT_ID, 1);
	(void)snprintf(put, sizeof(put), "PUT /v2/images/%s/file", spare);
	(void)snprintf(get, sizeof(get), "GET /v2/images/%s ", spare);
	(void)snprintf(made, sizeof(made), "{\"id\": \"%s\"}", spare);
	(void)snprintf(left[0], sizeof(left[0]), "DELETE /v2/images/%s", spare);
	glance_spare_id(hex, KIT_ID, 2);
	(void)snprintf(left[1], sizeof(left[1]), "DELETE /v2/images/%.36s", hex);
	tries = 3;
	fake_stream_init(&stream, &loop, 3000001);
	fake_stream_digest(&stream, "sha512", hex);
	make_record(3000001, "sha512", hex, NULL);
	start(&loop, script, 12);
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	ck_assert_str_eq(image->id, spare);
	ck_assert_ptr_nonnull(strstr(image->location, spare));
	ck_assert_ptr_nonnull(strstr(script[6].text, KIT_INSTANT));
	ck_assert_ptr_nonnull(strstr(script[6].text, spare));
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	finish(true);
}
END_TEST

/* When the deletion in between meets no answer, that is no reason to try none of the undo's. */
START_TEST(test_made_anew_in_vain)
{
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = "{}"},
		{PUT, .how = FAKE_CUT, .cut_at = 1 << 20},
		{GET, .status = 200, .body = "{\"status\": \"saving\"}", .times = 4},
		/* curl itself tries again at once what a kept connection has lost */
		{DELETE, .how = FAKE_HANG_UP, .times = 3},
		{DELETE, .status = 204},
	};

	tries = 3;
	fake_stream_init(&stream, &loop, 3000001);
	start(&loop, script, 7);
	((struct glance_store *)store)->undo.most_ms = 1;
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	((struct glance_store *)store)->undo.most_ms = 0;
	ck_assert_msg(kit_discard(&loop, image, &err), "%s", err.message);
	finish(true);
}
END_TEST

/* A user who deletes the record cancels the snapshot, wherever it is found out. */
START_TEST(test_deleted_meanwhile)
{
	struct fake_exchange at_patch[] = {
		{CREATE, .status = 201, .body = QUEUED}, {PATCH, .status = 404, .body = HTML}};
	struct fake_exchange at_put[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = "{}"},
		{PUT, .status = _i == 1 ? 410 : 404, .body = HTML},
		{GET, .status = _i == 1 ? 404 : 200, .body = "{\"status\": \"deleted\"}"},
	};

	fake_stream_init(&stream, &loop, 1000001);
	start(&loop, _i ? at_put : at_patch, _i ? 5 : 2);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_int_eq(err.code, QMPSNAP_INTERRUPTED);
	ck_assert_ptr_nonnull(strstr(err.message, "deleted"));
	ck_assert(kit_discard(&loop, image, &err)); /* nothing more is asked */
	finish(true);
}
END_TEST

START_TEST(test_spare_ids)
{
	char id[3][37];

	for (unsigned n = 0; n < 3; n++)
		glance_spare_id(id[n], KIT_ID, n);
	ck_assert_str_eq(id[0], KIT_ID);
	ck_assert_str_ne(id[1], id[2]);
	ck_assert_uint_eq(strlen(id[1]), 36);
	ck_assert_int_eq(id[1][14], '8');
	glance_spare_id(id[0], KIT_ID, 1);
	ck_assert_str_eq(id[0], id[1]);
}
END_TEST

START_TEST(test_settles)
{
	char hex[129];
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = "{}"},
		{PUT, .status = 204},
		{GET, .status = 200, .body = "{\"status\": \"saving\"}", .times = 2},
		{GET, .status = 200, .body = record},
	};

	fake_stream_init(&stream, &loop, 1 << 20);
	fake_stream_digest(&stream, "sha512", hex);
	make_record(1 << 20, "sha512", hex, NULL);
	start(&loop, script, 6);
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	finish(true);
}
END_TEST

static const struct {
	const char *body, *says;
} stuck[] = {
	{"{\"status\": \"saving\"}", "saving"},
	{"{\"status\": \"killed\"}", "killed"},
	{"{\"status\": \"queued\"}", "queued"},
	{"{\"status\": 7}", "no status"},
	{"[]", "no status"},
	{"<html>", "no status"},
	{"{\"status\": ", "no status"},
	{"", "no status"},
};

START_TEST(test_never_active)
{
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = "{}"},
		{PUT, .status = 204},
		{GET, .status = 200, .body = stuck[_i].body, .times = 100},
	};

	fake_stream_init(&stream, &loop, 1 << 20);
	start(&loop, script, 5);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_msg(strstr(err.message, stuck[_i].says) != NULL, "%s", err.message);
	finish(false);
}
END_TEST

START_TEST(test_stream_fails)
{
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = "{}"},
		{PUT, .status = 204},
	};

	fake_stream_init(&stream, &loop, 10 << 20);
	stream.fail_at = 3 << 20;
	start(&loop, script, 4);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_int_eq(err.code, QMPSNAP_VIEW);
	ck_assert_ptr_nonnull(strstr(err.message, "on purpose"));
	finish(true);
}
END_TEST

START_TEST(test_other_id)
{
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = _i ? "{\"id\": \"another\"}" : "<html>hello"}};

	fake_stream_init(&stream, &loop, 1);
	start(&loop, script, 1);
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	finish(true);
}
END_TEST

START_TEST(test_discard_is_idempotent)
{
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{DELETE, .status = 204},
		{"DELETE /v2/images/", .status = 404, .body = HTML, .times = 3},
		{DELETE, .status = 409, .body = HTML},
		{"DELETE /v2/images/", .status = 404, .body = HTML, .times = 2},
	};

	fake_stream_init(&stream, &loop, 1);
	start(&loop, script, 5);
	ck_assert(kit_discard(&loop, image, &err));
	ck_assert(kit_discard(&loop, image, &err)); /* known to be gone */
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	ck_assert(!kit_discard_left(&loop, store, &spec, &err));
	ck_assert_int_eq(err.detail, 409);
	finish(true);
}
END_TEST

/* stop() at many moments of a put(): it ends soon, with an error, and in order. */
START_TEST(test_stop)
{
	struct outcome outcome = {.calls = 0};
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = "{}"},
		{PUT, .status = 204},
		{GET, .status = 200, .body = "{\"status\": \"saving\"}", .times = 1000},
	};

	fake_stream_init(&stream, &loop, _i % 2 ? (uint64_t)1 << 40 : (uint64_t)1 << 20);
	start(&loop, script, 5);
	((struct glance_store *)store)->settle_ms = 60000;
	image->ops->stop(image);
	image->ops->put(
		image, &stream.base, &kit_instant, outcome_progress, outcome_done, &outcome);
	const uint64_t until = uv_hrtime() + (uint64_t)_i * 3 * 1000 * 1000;
	while (uv_hrtime() < until && outcome.calls == 0)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	image->ops->stop(image);
	image->ops->stop(image);
	const uint64_t stopped = uv_hrtime();
	ck_assert(!outcome_wait(&loop, &outcome));
	ck_assert_uint_lt(uv_hrtime() - stopped, UINT64_C(20000000000));
	ck_assert_ptr_nonnull(strstr(outcome.err.message, "stopped"));
	finish(false);
}
END_TEST

START_TEST(test_nobody_there)
{
	struct fake_exchange script[1];

	fake_stream_init(&stream, &loop, 1);
	fake_http_start(&server, &loop, script, 0);
	fake_http_stop(&server, true);
	char text[128];
	(void)snprintf(text, sizeof(text), "glance:%s", server.url);
	store = qmpsnap_store_open(&loop, text, NULL, &err);
	kit_spec(&spec);
	image = kit_create(&loop, store, &spec, &err);
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(err.message, server.url));
	ck_assert_ptr_nonnull(strstr(err.message, "creating the record"));
	image->ops->close(image);
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("glance faults");
	TCase *c = tcase_create("glance faults");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, loop_setup, loop_teardown);
	tcase_add_test(c, test_passing_faults);
	tcase_add_test(c, test_made_anew);
	tcase_add_test(c, test_made_anew_in_vain);
	tcase_add_test(c, test_import);
	tcase_add_loop_test(c, test_no_import, 0, 5);
	tcase_add_loop_test(c, test_deleted_meanwhile, 0, 3);
	tcase_add_test(c, test_spare_ids);
	tcase_add_test(c, test_settles);
	tcase_add_loop_test(c, test_never_active, 0, COUNT(stuck));
	tcase_add_test(c, test_stream_fails);
	tcase_add_loop_test(c, test_other_id, 0, 2);
	tcase_add_test(c, test_discard_is_idempotent);
	tcase_add_loop_test(c, test_stop, 0, 30);
	tcase_add_test(c, test_nobody_there);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)
