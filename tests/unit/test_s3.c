/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_http.h"
#include "fake_stream.h"
#include "fixture.h"
#include "store_kit.h"
#include "suite.h"
#include "upload/s3.h"
#include "upload/xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY  "/bucket/pre/web_1-" KIT_ID ".qcow2"
#define JSON "/bucket/pre/web_1-" KIT_ID ".json"
#define MD5  "0123456789abcdef0123456789abcdef"
#define BEGUN                                                                                      \
	"<?xml version=\"1.0\"?>\n<InitiateMultipartUploadResult xmlns=\"http://s3/\"><Bucket>b"   \
	"</Bucket><UploadId>up+1/=</UploadId></InitiateMultipartUploadResult>"
#define BEGIN                                                                                      \
	{                                                                                          \
		"POST " KEY "?uploads= ", .status = 200, .body = BEGUN                             \
	}
#define SEND                                                                                       \
	{                                                                                          \
		"PUT " KEY "?partNumber=1&uploadId=up%2B1%2F%3D ",                                 \
			.status = 200, .headers = "ETag: \"" MD5 "\"\r\n"                          \
	}
#define COMPLETE "POST " KEY "?uploadId=up%2B1%2F%3D "
#define ABORT    "DELETE " KEY "?uploadId="
#define LIST     "GET /bucket/?prefix=pre%2Fweb_1-" KIT_ID ".qcow2&uploads= "

enum { SIZE = 300001 };

static struct fake_http server;
static struct fake_stream stream;
static struct qmpsnap_store *store;
static struct store_image_spec spec;
static struct store_image *image;
static struct qmpsnap_error err;
static char etag[REMOTE_ETAG_BYTES + 64]; /* the header of the whole */

static void open_store(struct fake_exchange *script, unsigned n)
{
	fake_http_start(&server, &loop, script, n);
	fake_stream_init(&stream, &loop, SIZE);
	ck_assert_int_eq(setenv("AWS_ENDPOINT_URL", server.url, 1), 0);
	store = qmpsnap_store_open(&loop, "s3://bucket/pre/", NULL, &err);
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
	static const struct part_note note = {.etag = MD5};
	char whole[REMOTE_ETAG_BYTES];

	loop_setup();
	ck_assert_int_eq(setenv("AWS_ACCESS_KEY_ID", "us:er", 1), 0);
	ck_assert_int_eq(setenv("AWS_SECRET_ACCESS_KEY", "hush", 1), 0);
	ck_assert_int_eq(setenv("AWS_SESSION_TOKEN", "pst", 1), 0);
	ck_assert_int_eq(setenv("AWS_REGION", "mars-1", 1), 0);
	ck_assert_int_eq(setenv("HOME", "/nonexistent", 1), 0);
	ck_assert_int_eq(unsetenv("AWS_PROFILE"), 0);
	ck_assert(s3_whole_etag(whole, &note, 1));
	(void)snprintf(etag, sizeof(etag), "Content-Length: %d\r\nETag: \"%s\"\r\n", SIZE, whole);
}

/* ---- Small parts -------------------------------------------------------------------------- */

static void count(const char *path, const char *text, void *data)
{
	(void)path;
	(void)text;
	++*(unsigned *)data;
}

START_TEST(test_xml)
{
	static const char xml[] = "<?xml version=\"1.0\"?><n:a xmlns:n=\"x\"><n:b>1 &amp;&#60; "
				  "</n:b>\n<c/><b>2</b></n:a>";
	static const char *const wrong[] = {"", "<a>", "<a></b>", "text", "{\"a\": 1}",
		"<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
		"<a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a></a>"};
	char text[32], longer[XML_TEXT_BYTES + 32];
	unsigned n = 0;

	xml_get(xml, strlen(xml), "a/b", text, sizeof(text));
	ck_assert_str_eq(text, "1 &< ");
	xml_get(xml, strlen(xml), "b", text, sizeof(text));
	ck_assert_str_eq(text, "");
	xml_get(xml, strlen(xml), "a/b", text, 5);
	ck_assert_str_eq(text, "");
	ck_assert(xml_each(xml, strlen(xml), count, &n));
	ck_assert_uint_eq(n, 4);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(!xml_each(wrong[i], strlen(wrong[i]), count, &n), "%s", wrong[i]);
	(void)snprintf(longer, sizeof(longer), "<a>%0*d</a>", XML_TEXT_BYTES, 0);
	ck_assert(!xml_each(longer, strlen(longer), count, &n));
	ck_assert(xml_escape(text, sizeof(text), "a<b&\""));
	ck_assert_str_eq(text, "a&lt;b&amp;&quot;");
	ck_assert(!xml_escape(text, 5, "a<b"));
}
END_TEST

START_TEST(test_whole_etag)
{
	/* md5 of the 32 bytes that two of MD5 are, by md5sum(1) */
	static const struct part_note notes[] = {
		{.etag = MD5}, {.etag = MD5}, {.etag = MD5 "-3"}, {.etag = ""}};
	char whole[REMOTE_ETAG_BYTES];

	ck_assert(s3_whole_etag(whole, notes, 2));
	ck_assert_str_eq(whole, "5775d833b6f80e83231f82899ce76c00-2");
	ck_assert(!s3_whole_etag(whole, notes, 3));
	ck_assert(!s3_whole_etag(whole, notes + 3, 1));
	ck_assert_str_eq(whole, "");
	char *body = s3_complete_body(notes, 2);
	ck_assert_ptr_nonnull(strstr(body, "<Part><ETag>\"" MD5 "\"</ETag><PartNumber>2</"));
	free(body);
}
END_TEST

START_TEST(test_specs)
{
	static const struct {
		const char *spec, *region, *endpoint;
		const char *url; /* NULL: refused */
	} rows[] = {
		{"s3://bucket", "eu-1", "", "https://bucket.s3.eu-1.amazonaws.com"},
		{"s3://bucket/a/b/", "cn-1", "", "https://bucket.s3.cn-1.amazonaws.com.cn"},
		{"s3://b.u.c", "eu-1", "", "https://s3.eu-1.amazonaws.com/b.u.c"},
		{"s3://bucket", "x", "http://h:1/p/", "http://h:1/p/bucket"},
		{"s3://bucket/?insecure", "x", "https://h", "https://h/bucket"},
		{"s3:bucket", "x", "http://h", NULL},
		{"s3://", "x", "http://h", NULL},
		{"s3://bu", "x", "http://h", NULL},
		{"s3://bu@cket", "x", "http://h", NULL},
		{"s3://bucket/../x", "x", "http://h", NULL},
		{"s3://bucket/a?b", "x", "http://h", NULL},
		{"s3://bucket", "a:b", "http://h", NULL},
		{"s3://bucket", "x", "ftp://h", NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_int_eq(setenv("AWS_ENDPOINT_URL", rows[i].endpoint, 1), 0);
		ck_assert_int_eq(setenv("AWS_REGION", rows[i].region, 1), 0);
		store = qmpsnap_store_open(&loop, rows[i].spec, NULL, &err);
		ck_assert_msg((store != NULL) == (rows[i].url != NULL), "%s", rows[i].spec);
		if (store)
			ck_assert_str_eq(((struct s3_store *)store)->url, rows[i].url);
		else
			ck_assert_int_eq(err.code, QMPSNAP_USAGE);
		qmpsnap_store_close(store);
	}
}
END_TEST

/* ---- Images ------------------------------------------------------------------------------- */

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

	start(script, 5);
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

	start(script, 4);
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

	start(script, 5);
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

	start(script, 6);
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

	start(script, 12);
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
	open_store(script, 7);
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

	start(script, 8);
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

	start(script, 12);
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

	open_store(script, 3);
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

	open_store(script, 3);
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

	open_store(script, 0);
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

START_TEST(test_no_s3)
{
	struct fake_exchange script[] = {
		{"POST " KEY "?uploads= ", .status = 200, .body = "<html>Welcome</html>"},
	};

	start(script, 1);
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
	start(script, (unsigned)_i + 2);
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
	tcase_add_test(tcase, test_xml);
	tcase_add_test(tcase, test_whole_etag);
	tcase_add_test(tcase, test_specs);
	tcase_add_test(tcase, test_whole_life);
	tcase_add_loop_test(tcase, test_verifying, 0, 4);
	tcase_add_test(tcase, test_lost_completion);
	tcase_add_test(tcase, test_refused);
	tcase_add_test(tcase, test_doubtful_upload);
	tcase_add_loop_test(tcase, test_silent_sweep, 0, 2);
	tcase_add_test(tcase, test_aborted_twice);
	tcase_add_test(tcase, test_always_doubtful);
	tcase_add_test(tcase, test_left);
	tcase_add_test(tcase, test_left_without_bucket);
	tcase_add_test(tcase, test_removal_without_memory);
	tcase_add_test(tcase, test_no_s3);
	tcase_add_loop_test(tcase, test_stop, 0, 3);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
