/* SPDX-License-Identifier: Apache-2.0
 *
 * The store glance: how long it tries to delete, and what it does with an image that may not become
 * as visible as was asked for. */
#include "fixture.h"
#include "glance_kit.h"
#include "suite.h"

#include <string.h>

/* ---- Undoing ------------------------------------------------------------------------------- */

/* A service that doesn't answer isn't asked for ever, and then not for anything else. */
START_TEST(test_undo_ends)
{
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{DELETE, .how = _i ? FAKE_ANSWER : FAKE_HANG_UP, .status = 503, .times = 1000},
	};
	const uint64_t began = uv_hrtime();

	tries = 2000;
	fake_stream_init(&stream, &loop, 1);
	start(&loop, script, 2);
	((struct glance_store *)store)->undo.most_ms = 300;
	ck_assert(!kit_discard(&loop, image, &err));
	ck_assert_uint_ge(uv_hrtime() - began, UINT64_C(300000000));
	ck_assert_uint_lt(uv_hrtime() - began, UINT64_C(5000000000));
	ck_assert_ptr_nonnull(strstr(err.message, "deleting"));
	ck_assert_ptr_nonnull(strstr(err.hint, "recover --all"));
	const unsigned seen = script[1].seen;
	ck_assert_uint_gt(seen, 2);
	ck_assert(!kit_discard(&loop, image, &err));
	ck_assert_uint_eq(script[1].seen - seen, _i ? 1 : 0);
	finish(false);
}
END_TEST

/* An answer gives the patience back. */
START_TEST(test_undo_goes_on)
{
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{DELETE, .how = FAKE_HANG_UP, .times = 3},
		{DELETE, .status = 404},
		{"DELETE /v2/images/", .how = FAKE_HANG_UP},
		{"DELETE /v2/images/", .status = 404, .times = 2},
	};

	tries = 2000;
	fake_stream_init(&stream, &loop, 1);
	start(&loop, script, 5);
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	ck_assert_uint_eq(((struct glance_store *)store)->undo.until_ms, 0);
	finish(true);
}
END_TEST

/* ---- Visibility ---------------------------------------------------------------------------- */

/* Whether it is allowed is tried out on the empty record. */
START_TEST(test_visibility)
{
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = _i ? 403 : 200, .body = HTML},
		{PATCH, .status = 200},
		{DELETE, .status = 204},
	};

	if (_i)
		script[2] = script[3];
	wishes.visibility = "public";
	fake_stream_init(&stream, &loop, 1);
	start(&loop, script, _i ? 3 : 4);
	ck_assert_int_eq(err.code, _i ? QMPSNAP_STORE : QMPSNAP_OK);
	ck_assert_ptr_nonnull(strstr(script[1].text, "\"public\""));
	if (_i)
		ck_assert_ptr_nonnull(strstr(err.hint, "--visibility public"));
	else
		ck_assert_ptr_nonnull(strstr(script[2].text, "\"private\""));
	ck_assert(kit_discard(&loop, image, &err));
	finish(true);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("glance undo");
	TCase *c = tcase_create("glance undo");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, loop_setup, loop_teardown);
	tcase_add_loop_test(c, test_undo_ends, 0, 2);
	tcase_add_test(c, test_undo_goes_on);
	tcase_add_loop_test(c, test_visibility, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)
