/* SPDX-License-Identifier: Apache-2.0
 *
 * The store s3: what is removed again, uploads whose begin is in doubt among it. */
#include "fixture.h"
#include "s3_kit.h"
#include "suite.h"

#include <string.h>

/* Who begins an upload whose answer is lost may have two of them: both are aborted. */
START_TEST(test_doubtful_upload)
{
	struct fake_exchange script[] = {
		{"POST " KEY "?uploads= ", .how = FAKE_HANG_UP},
		BEGIN,
		{"DELETE " JSON " ", .status = 404},
		{LIST, .status = 200,
			.body = "<ListMultipartUploadsResult>"
				"<Upload><Key>pre/other</Key><UploadId>no</UploadId></Upload>"
				"<Upload><Key>pre/web_1-" KIT_ID ".qcow2</Key><UploadId>a&amp;b"
				"</UploadId></Upload></ListMultipartUploadsResult>"},
		{ABORT "a%26b ", .status = 204},
		{LIST, .status = 200, .body = "<ListMultipartUploadsResult/>"},
		{"DELETE " KEY " ", .status = 404},
		BEGIN,
		{"DELETE " JSON " ", .status = 404},
		{ABORT "up%2B1%2F%3D ", .status = 204},
		{LIST, .status = 200, .body = "<ListMultipartUploadsResult/>"},
		{"DELETE " KEY " ", .status = 404},
	};

	start(&loop, script, 12);
	ck_assert_int_eq(err.code, QMPSNAP_OK);
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

/* A deletion in between that meets no answer is no reason to try none of the undo's. */
START_TEST(test_silent_sweep)
{
	struct fake_exchange script[] = {
		{"POST " KEY "?uploads= ", .how = FAKE_HANG_UP},
		BEGIN,
		/* curl itself tries again at once what a kept connection has lost */
		{"DELETE " JSON " ", .how = FAKE_HANG_UP, .times = 3},
		{"POST " KEY "?uploads= ", .how = FAKE_HANG_UP, .times = 3},
		{"DELETE " JSON " ", .status = 404},
		{LIST, .status = 200, .body = "<ListMultipartUploadsResult/>"},
		{"DELETE " KEY " ", .status = 404},
	};

	if (_i)
		script[3] = (struct fake_exchange){"POST " KEY "?uploads= ", .status = 403};
	open_store(&loop, script, 7);
	remote_of(store)->tries = 3;
	remote_of(store)->undo.most_ms = 1;
	image = kit_create(&loop, store, &spec, &err);
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	remote_of(store)->undo.most_ms = 0;
	ck_assert_msg(kit_discard(&loop, image, &err), "%s", err.message);
	finish();
}
END_TEST

/* A part that was still on its way makes an upload stay that was aborted. */
START_TEST(test_aborted_twice)
{
	struct fake_exchange script[] = {
		BEGIN,
		{"PUT " KEY "?partNumber=1", .status = 403},
		{"DELETE " JSON " ", .status = 404},
		{ABORT "up%2B1%2F%3D ", .status = 204},
		{LIST, .status = 200,
			.body = "<ListMultipartUploadsResult><Upload><Key>pre/web_1-" KIT_ID
				".qcow2</Key><UploadId>up+1/=</UploadId></Upload>"
				"</ListMultipartUploadsResult>"},
		{ABORT "up%2B1%2F%3D ", .status = 204},
		{LIST, .status = 200, .body = "<ListMultipartUploadsResult/>"},
		{"DELETE " KEY " ", .status = 404},
	};

	start(&loop, script, 8);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

/* It goes on where they can't be listed, but not for ever. */
START_TEST(test_always_doubtful)
{
	struct fake_exchange script[] = {
		{"POST " KEY "?uploads= ", .how = FAKE_HANG_UP},
		BEGIN,
		{"DELETE " JSON " ", .status = 404},
		{LIST, .status = 403},
		{"DELETE " KEY " ", .status = 404},
		{"POST " KEY "?uploads= ", .how = FAKE_HANG_UP},
		BEGIN,
		{"DELETE " JSON " ", .status = 404},
		{LIST, .status = 403},
		{"DELETE " KEY " ", .status = 404},
		{"POST " KEY "?uploads= ", .how = FAKE_HANG_UP},
		BEGIN,
	};

	start(&loop, script, 12);
	ck_assert_msg(err.code == QMPSNAP_OK, "%s", err.message);
	finish();
}
END_TEST

START_TEST(test_left)
{
	struct fake_exchange script[] = {
		{"DELETE " JSON " ", .status = 204},
		{LIST, .status = 200, .body = "<ListMultipartUploadsResult/>"},
		{"DELETE " KEY " ", .status = 403},
	};

	open_store(&loop, script, 3);
	image = NULL;
	ck_assert(!kit_discard_left(&loop, store, &spec, &err));
	ck_assert_int_eq(err.detail, 403);
	ck_assert_str_eq(store->place, ((struct s3_store *)store)->url);
	finish();
}
END_TEST

/* It is another service's, or another account's. */
START_TEST(test_left_without_bucket)
{
	static const char body[] = "<Error><Code>NoSuchBucket</Code></Error>";
	struct fake_exchange script[] = {
		{"DELETE " JSON " ", .status = 404, .body = body},
		{LIST, .status = 404, .body = body},
		{"DELETE " KEY " ", .status = 404, .body = body},
	};

	open_store(&loop, script, 3);
	image = NULL;
	ck_assert(!kit_discard_left(&loop, store, &spec, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "NoSuchBucket"));
	finish();
}
END_TEST

static void fail_at_once(struct qmpsnap_store *base, const struct store_image_spec *what,
	store_done_fn *done, void *data)
{
	const struct qmpsnap_error no_memory = {.code = QMPSNAP_INTERNAL, .message = "no memory"};

	(void)base;
	(void)what;
	done(&no_memory, data);
}

static void never(const struct qmpsnap_error *failure, void *data)
{
	(void)failure;
	(void)data;
	ck_abort_msg("called back, although it has returned an error");
}

/* There is no call then that somebody could stop. */
START_TEST(test_removal_without_memory)
{
	struct fake_exchange script[1];
	struct json_object *record = json_tokener_parse(
		"{\"id\": \"" KIT_ID "\", \"name\": \"web/1\", \"disk_format\": \"qcow2\", "
		"\"location\": \"s3://bucket/pre/web_1-" KIT_ID ".qcow2\"}");
	struct store_ops ops;

	open_store(&loop, script, 0);
	image = NULL;
	ops = *store->ops;
	ops.discard_left = fail_at_once;
	store->ops = &ops;
	ck_assert_ptr_null(object_shelf_remove(store, record, never, NULL, &err));
	ck_assert_str_eq(err.message, "no memory");
	(void)json_object_put(record);
	finish();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("s3 undo");
	TCase *tcase = tcase_create("s3 undo");

	tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
	tcase_add_checked_fixture(tcase, set_account, NULL);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_doubtful_upload);
	tcase_add_loop_test(tcase, test_silent_sweep, 0, 2);
	tcase_add_test(tcase, test_aborted_twice);
	tcase_add_test(tcase, test_always_doubtful);
	tcase_add_test(tcase, test_left);
	tcase_add_test(tcase, test_left_without_bucket);
	tcase_add_test(tcase, test_removal_without_memory);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
