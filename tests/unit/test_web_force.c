/* SPDX-License-Identifier: Apache-2.0
 *
 * With --force an image at a URL, and its JSON, replace what is there. */
#include "fixture.h"
#include "suite.h"
#include "web_kit.h"

#include <string.h>

static void set_up_force(void)
{
	set_up();
	options.force = true;
}

/* The old JSON goes before the old image does; what has replaced them is deleted when what it
 * belongs to fails. */
START_TEST(test_replaced)
{
	struct fake_exchange script[] = {
		{HEAD, .status = 200},
		{HEAD_JSON, .status = 200},
		{DELETE_JSON, .status = 204},
		{PUT, .status = 201},
		{HEAD, .status = 200, .headers = LENGTH},
		{PUT_JSON, .status = 204},
		{DELETE_JSON, .status = 204},
		{DELETE, .status = 204},
	};

	start(&loop, script, 8);
	put(&loop);
	ck_assert(kit_publish(&loop, image, &err));
	ck_assert_ptr_null(strstr(said, "warning: "));
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

/* What fails before the JSON is sent leaves no JSON beside nothing. */
START_TEST(test_data_only)
{
	struct fake_exchange script[] = {
		{HEAD, .status = 200},
		{HEAD_JSON, .status = 200},
		{DELETE_JSON, .status = 404},
		{PUT, .status = 201},
		{HEAD, .status = 200, .headers = LENGTH},
		{DELETE, .status = 204},
	};

	start(&loop, script, 6);
	put(&loop);
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

/* An image that may have replaced another isn't deleted for its JSON. */
START_TEST(test_json_fails)
{
	static const struct {
		int data, json; /* what their HEADs are answered */
		enum fake_how how;
		int put;
		unsigned times;
		const char *words;
	} rows[] = {
		{200, 200, FAKE_ANSWER, 503, 2, "perhaps without its JSON"},
		{200, 404, FAKE_ANSWER, 429, 2, "perhaps without its JSON"},
		/* Once more by libcurl itself, since the first connection is a used one. */
		{200, 200, FAKE_HANG_UP, 0, 3, "perhaps without its JSON"},
		{403, 404, FAKE_ANSWER, 503, 2, "perhaps without its JSON"},
		{200, 200, FAKE_ANSWER, 403, 1, "whole, without its JSON"},
	};
	const bool old = rows[_i].json == 200;
	struct fake_exchange script[7] = {
		{HEAD, .status = rows[_i].data}, {HEAD_JSON, .status = rows[_i].json}};
	unsigned n = 2;

	if (old)
		script[n++] = (struct fake_exchange){DELETE_JSON, .status = 204};
	script[n++] = (struct fake_exchange){PUT, .status = 201};
	script[n++] = (struct fake_exchange){HEAD, .status = 200, .headers = LENGTH};
	script[n++] = (struct fake_exchange){
		PUT_JSON, .how = rows[_i].how, .status = rows[_i].put, .times = rows[_i].times};
	start(&loop, script, n);
	put(&loop);
	ck_assert_msg(kit_publish(&loop, image, &err), "%s", err.message);
	ck_assert_ptr_nonnull(strstr(said, "warning: publishing http://"));
	ck_assert_ptr_nonnull(strstr(said, rows[_i].words));
	finish();
}
END_TEST

/* Where it has replaced nothing, it is, with what there may be of the JSON. */
START_TEST(test_nothing_replaced)
{
	struct fake_exchange script[] = {
		{HEAD, .status = 404},
		{HEAD_JSON, .status = 200},
		{DELETE_JSON, .status = 204},
		{PUT, .status = 201},
		{HEAD, .status = 200, .headers = LENGTH},
		{PUT_JSON, .status = 503, .times = 2},
		{DELETE_JSON, .status = 204},
		{DELETE, .status = 204},
	};

	start(&loop, script, 8);
	put(&loop);
	ck_assert(!kit_publish(&loop, image, &err));
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

/* One that can't be deleted isn't worth the snapshot, and stays another's. */
START_TEST(test_old_json_stays)
{
	static const int statuses[] = {302, 403, 405, 501, 503};
	struct fake_exchange script[] = {
		{HEAD, .status = 200},
		{HEAD_JSON, .status = 200},
		{DELETE_JSON, .status = statuses[_i], .times = statuses[_i] == 503 ? 2 : 1},
		{PUT, .status = 201},
		{HEAD, .status = 200, .headers = LENGTH},
		{DELETE, .status = 204},
	};

	start(&loop, script, 6);
	put(&loop);
	ck_assert_ptr_nonnull(strstr(said, "warning: deleting the old http://"));
	ck_assert_ptr_nonnull(strstr(said, "it tells of the image that is replaced"));
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

/* Also where none is sent: only the name of a file beside the image is asked for. */
START_TEST(test_no_json)
{
	struct fake_exchange script[] = {
		{HEAD, .status = 200},
		{HEAD_JSON, .status = 200},
		{DELETE_JSON, .status = 204},
		{PUT, .status = 201},
		{HEAD, .status = 200, .headers = LENGTH},
	};
	struct fake_exchange query[] = {
		{"HEAD /up/a.img?k ", .status = 200},
		{"PUT /up/a.img?k ", .status = 201},
		{"HEAD /up/a.img?k ", .status = 200, .headers = LENGTH},
	};

	open_store(&loop, _i == 0 ? "/up/a.img#no-json" : "/up/a.img?k#no-json",
		_i == 0 ? script : query, _i == 0 ? 5 : 3);
	image = kit_create(&loop, store, &spec, &err);
	put(&loop);
	ck_assert(kit_publish(&loop, image, &err));
	ck_assert_ptr_null(strstr(said, "warning: "));
	finish();
}
END_TEST

START_TEST(test_stop)
{
	struct fake_exchange script[] = {
		{HEAD, .status = 200},
		{HEAD_JSON, .status = 200},
		{DELETE_JSON, .how = FAKE_SILENT},
	};
	struct outcome outcome = {.calls = 0};

	start(&loop, script, 3);
	image->ops->put(
		image, &stream.base, &kit_instant, outcome_progress, outcome_done, &outcome);
	while (script[2].seen == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	image->ops->stop(image);
	ck_assert(!outcome_wait(&loop, &outcome));
	ck_assert(kit_discard(&loop, image, &err));
	ck_assert_ptr_null(strstr(said, "warning: "));
	finish();
}
END_TEST

/* Who gives it up doesn't want it. */
START_TEST(test_stop_at_json)
{
	struct fake_exchange script[] = {
		{HEAD, .status = 200},
		{HEAD_JSON, .status = 200},
		{DELETE_JSON, .status = 204},
		{PUT, .status = 201},
		{HEAD, .status = 200, .headers = LENGTH},
		{PUT_JSON, .how = FAKE_SILENT},
		{DELETE_JSON, .status = 204},
		{DELETE, .status = 204},
	};
	struct outcome outcome = {.calls = 0};

	start(&loop, script, 8);
	put(&loop);
	image->ops->publish(image, outcome_done, &outcome);
	while (script[5].seen == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	image->ops->stop(image);
	ck_assert(!outcome_wait(&loop, &outcome));
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("web_force");
	TCase *tcase = tcase_create("web_force");

	tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
	tcase_add_checked_fixture(tcase, set_up_force, NULL);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_replaced);
	tcase_add_test(tcase, test_data_only);
	tcase_add_loop_test(tcase, test_json_fails, 0, 5);
	tcase_add_test(tcase, test_nothing_replaced);
	tcase_add_loop_test(tcase, test_old_json_stays, 0, 5);
	tcase_add_loop_test(tcase, test_no_json, 0, 2);
	tcase_add_test(tcase, test_stop);
	tcase_add_test(tcase, test_stop_at_json);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
