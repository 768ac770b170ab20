/* SPDX-License-Identifier: Apache-2.0
 *
 * The store s3: an image put, verified and published. */
#include "fixture.h"
#include "s3_kit.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

static char etag[REMOTE_ETAG_BYTES + 64]; /* the header of the whole */

static void setup(void)
{
	static const struct part_note note = {.etag = MD5};
	char whole[REMOTE_ETAG_BYTES];

	loop_setup();
	set_account();
	ck_assert(s3_whole_etag(whole, &note, 1));
	(void)snprintf(etag, sizeof(etag), "Content-Length: %d\r\nETag: \"%s\"\r\n", SIZE, whole);
}

START_TEST(test_whole_life)
{
	struct fake_exchange script[] = {
		BEGIN,
		SEND,
		{COMPLETE, .status = 200, .body = "\n <CompleteMultipartUploadResult/>"},
		{"HEAD " KEY " ", .status = 200, .headers = etag},
		{"PUT " JSON " ", .status = 200},
	};
	char sha256[129], line[256];

	start(&loop, script, 5);
	ck_assert_int_eq(err.code, QMPSNAP_OK);
	ck_assert_str_eq(image->location, "s3://bucket/pre/web_1-" KIT_ID ".qcow2");
	ck_assert(kit_put(&loop, image, &stream.base, &err));
	fake_stream_digest(&stream, "sha256", sha256);
	ck_assert_str_eq(image->digest, sha256);
	ck_assert_uint_eq(image->size_bytes, SIZE);
	/* Nothing is signed that libcurl adds later, and all that AWS wants is. */
	(void)snprintf(line, sizeof(line), "\r\nx-amz-content-sha256: %s\r\n", sha256);
	ck_assert_ptr_nonnull(strstr(script[1].head, line));
	ck_assert_ptr_nonnull(strstr(script[1].head, "AWS4-HMAC-SHA256 Credential=us:er/"));
	ck_assert_ptr_nonnull(strstr(script[1].head, "/mars-1/s3/aws4_request, "));
	ck_assert_ptr_nonnull(strstr(script[1].head,
		"SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, "));
	ck_assert_ptr_nonnull(strstr(script[1].head, "\r\nx-amz-security-token: pst\r\n"));
	ck_assert_ptr_nonnull(strstr(script[1].head, "\r\nContent-Length: 300001\r\n"));
	for (size_t i = 0; i < 4; i++)
		ck_assert_ptr_null(strstr(script[i].head, "hush"));
	ck_assert(kit_publish(&loop, image, &err));
	struct json_object *record = json_tokener_parse(script[4].text);
	ck_assert_str_eq(
		json_object_get_string(json_object_object_get(record, "os_hash_value")), sha256);
	ck_assert_str_eq(json_object_get_string(json_object_object_get(record, "qmpsnap_instant")),
		KIT_INSTANT);
	(void)json_object_put(record);
	finish();
}
END_TEST

/* What the whole may be found to be, instead. */
START_TEST(test_verifying)
{
	static const struct {
		const char *headers;
		const char *said; /* NULL: well */
	} rows[] = {
		{"Content-Length: 300001\r\nETag: \"" MD5 "-1\"\r\n", "ETag is " MD5 "-1"},
		{"Content-Length: 300001\r\nETag: \"encrypted\"\r\n", NULL},
		{"Content-Length: 300001\r\n", NULL},
		{"Content-Length: 300000\r\n", "300000 bytes, sent were 300001"},
	};
	struct fake_exchange script[] = {
		BEGIN,
		SEND,
		{COMPLETE, .status = 200},
		{"HEAD " KEY " ", .status = 200, .headers = rows[_i].headers},
	};

	start(&loop, script, 4);
	ck_assert_int_eq(kit_put(&loop, image, &stream.base, &err), rows[_i].said == NULL);
	if (rows[_i].said)
		ck_assert_msg(strstr(err.message, rows[_i].said) != NULL, "%s", err.message);
	finish();
}
END_TEST

/* The answer is lost, and the upload not there any more: it was completed. */
START_TEST(test_lost_completion)
{
	struct fake_exchange script[] = {
		BEGIN,
		SEND,
		{COMPLETE, .how = FAKE_HANG_UP},
		{COMPLETE, .status = 404, .body = "<Error><Code>NoSuchUpload</Code></Error>"},
		{"HEAD " KEY " ", .status = 200, .headers = etag},
	};

	start(&loop, script, 5);
	ck_assert(kit_put(&loop, image, &stream.base, &err));
	finish();
}
END_TEST

START_TEST(test_refused)
{
	struct fake_exchange script[] = {
		BEGIN,
		{"PUT " KEY "?partNumber=1", .status = 403,
			.headers = "x-amz-request-id: ID\x1b"
				   "7\r\n",
			.body = "<?xml version=\"1.0\"?>\n<Error><Code>RequestTimeTooSkewed</Code>"
				"<Message>Too\nlate\x7f</Message></Error>"},
		{"DELETE " JSON " ", .status = 204},
		{ABORT "up%2B1%2F%3D ", .status = 204},
		{LIST, .status = 403},
		{"DELETE " KEY " ", .status = 204},
	};

	start(&loop, script, 6);
	remote_of(store)->undo.silent = true; /* any answer ends that */
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_str_eq(err.message,
		"uploading part 1 of s3://bucket/pre/web_1-" KIT_ID
		".qcow2: S3 answered 403: RequestTimeTooSkewed: Too late? (request ID 7)");
	ck_assert_str_eq(err.hint, "set this host's clock");
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

START_TEST(test_no_s3)
{
	struct fake_exchange script[] = {
		{"POST " KEY "?uploads= ", .status = 200, .body = "<html>Welcome</html>"},
	};

	start(&loop, script, 1);
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_str_eq(err.hint, "is this the endpoint of S3?");
	finish();
}
END_TEST

/* Each request is given up. */
START_TEST(test_stop)
{
	struct fake_exchange script[] = {
		BEGIN,
		SEND,
		{COMPLETE, .status = 200},
		{"HEAD " KEY " ", .status = 200, .headers = etag},
	};
	struct outcome outcome = {.calls = 0};

	script[_i + 1].how = FAKE_SILENT;
	start(&loop, script, (unsigned)_i + 2);
	image->ops->put(
		image, &stream.base, &kit_instant, outcome_progress, outcome_done, &outcome);
	while (script[_i + 1].seen == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	image->ops->stop(image);
	image->ops->stop(image);
	ck_assert(!outcome_wait(&loop, &outcome));
	ck_assert_ptr_nonnull(strstr(outcome.err.message, "stopped"));
	finish();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("s3");
	TCase *tcase = tcase_create("s3");

	tcase_add_checked_fixture(tcase, setup, loop_teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_whole_life);
	tcase_add_loop_test(tcase, test_verifying, 0, 4);
	tcase_add_test(tcase, test_lost_completion);
	tcase_add_test(tcase, test_refused);
	tcase_add_test(tcase, test_no_s3);
	tcase_add_loop_test(tcase, test_stop, 0, 3);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
