/* SPDX-License-Identifier: Apache-2.0
 *
 * stop() while a service is silent in create() or publish(), in each store that has one: it ends
 * at once, and what the service may have done of it is discarded. */
#include "fake_http.h"
#include "fake_stream.h"
#include "fixture.h"
#include "store_kit.h"
#include "suite.h"
#include "upload/delay.h"
#include "upload/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID   "/v2/images/" KIT_ID
#define KEY  "/bucket/web_1-" KIT_ID
#define BOX  "/v1/A_t/box"
#define NAME BOX "/web_1-" KIT_ID
#define MD5  "0123456789abcdef0123456789abcdef"

enum { SIZE = 1000, MOST = 12 };

static struct fake_http server;
static struct fake_stream stream;
static struct qmpsnap_store *store;
static struct store_image_spec spec;
static struct store_image *image;
static struct qmpsnap_error err;
/* Answers that follow from the server's address, or from the stream. */
static char login[256], whole[256], record[512];

static const char begun[] = "<InitiateMultipartUploadResult><UploadId>up</UploadId>"
			    "</InitiateMultipartUploadResult>";

static const char none[] = "<ListMultipartUploadsResult/>";

/* The script up to the request that is met by silence, and what the discard asks for then. */
static const struct {
	const char *spec, *behind; /* the server's URL; NULL: that isn't in the spec */
	bool publish; /* else it is in create() */
	struct fake_exchange script[MOST];
} cases[] = {
	{"glance:", "", false,
		{{"POST /v2/images ", .how = FAKE_SILENT}, {"DELETE " ID " ", .status = 404}}},
	{"glance:", "", false,
		{{"POST /v2/images ", .status = 201, .body = "{\"id\": \"" KIT_ID "\"}"},
			{"PATCH " ID " ", .how = FAKE_SILENT}, {"DELETE " ID " ", .status = 204}}},
	{"glance:", "", false,
		{{"POST /v2/images ", .status = 201, .body = "{\"id\": \"" KIT_ID "\"}"},
			{"PATCH " ID " ", .status = 200}, {"PATCH " ID " ", .how = FAKE_SILENT},
			{"DELETE " ID " ", .status = 204}}},
	{"glance:", "", true,
		{{"POST /v2/images ", .status = 201, .body = "{\"id\": \"" KIT_ID "\"}"},
			{"PATCH " ID " ", .status = 200, .times = 3},
			{"GET /v2/images?limit=1", .status = 200, .body = "{}"},
			{"PUT " ID "/file ", .status = 204},
			{"GET " ID " ", .status = 200, .body = record},
			{"PATCH " ID " ", .how = FAKE_SILENT}, {"DELETE " ID " ", .status = 204}}},
	{"s3://bucket", NULL, false,
		{{"POST " KEY ".qcow2?uploads= ", .how = FAKE_SILENT},
			{"DELETE " KEY ".json ", .status = 404},
			{"GET /bucket/?prefix=", .status = 200, .body = none},
			{"DELETE " KEY ".qcow2 ", .status = 404}}},
	{"s3://bucket", NULL, false, /* while it sweeps */
		{{"POST " KEY ".qcow2?uploads= ", .how = FAKE_HANG_UP},
			{"POST " KEY ".qcow2?uploads= ", .status = 200, .body = begun},
			{"DELETE " KEY ".json ", .how = FAKE_SILENT},
			{"DELETE " KEY ".json ", .status = 404},
			{"GET /bucket/?prefix=", .status = 200, .body = none},
			{"DELETE " KEY ".qcow2 ", .status = 404}}},
	{"s3://bucket", NULL, false,
		{{"POST " KEY ".qcow2?uploads= ", .how = FAKE_HANG_UP},
			{"POST " KEY ".qcow2?uploads= ", .status = 200, .body = begun},
			{"DELETE " KEY ".json ", .status = 404},
			{"GET /bucket/?prefix=", .how = FAKE_SILENT},
			{"DELETE " KEY ".json ", .status = 404},
			{"GET /bucket/?prefix=", .status = 200, .body = none},
			{"DELETE " KEY ".qcow2 ", .status = 404}}},
	{"s3://bucket", NULL, true,
		{{"POST " KEY ".qcow2?uploads= ", .status = 200, .body = begun},
			{"PUT " KEY ".qcow2?partNumber=1&", .status = 200,
				.headers = "ETag: \"" MD5 "\"\r\n"},
			{"POST " KEY ".qcow2?uploadId=up ", .status = 200},
			{"HEAD " KEY ".qcow2 ", .status = 200,
				.headers = "Content-Length: 1000\r\nETag: other\r\n"},
			{"PUT " KEY ".json ", .how = FAKE_SILENT},
			{"DELETE " KEY ".json ", .status = 204},
			{"DELETE " KEY ".qcow2?uploadId=up ", .status = 404},
			{"GET /bucket/?prefix=", .status = 200, .body = none},
			{"DELETE " KEY ".qcow2 ", .status = 204}}},
	{"swift:box", NULL, false, {{"GET /auth/v1.0 ", .how = FAKE_SILENT}}},
	{"swift:box", NULL, false,
		{{"GET /auth/v1.0 ", .status = 200, .headers = login},
			{"HEAD " BOX " ", .how = FAKE_SILENT}}},
	{"swift:box", NULL, true,
		{{"GET /auth/v1.0 ", .status = 200, .headers = login},
			{"HEAD " BOX, .status = 204, .times = 2},
			{"PUT " NAME ".qcow2 ", .status = 201},
			{"HEAD " NAME ".qcow2 ", .status = 200, .headers = whole},
			{"PUT " NAME ".json ", .how = FAKE_SILENT},
			{"DELETE " NAME ".json ", .status = 204},
			{"DELETE " NAME ".qcow2 ", .status = 204},
			{"GET " BOX "_segments?", .status = 204}}},
	{"", "/a.img", false, {{"HEAD /a.img ", .how = FAKE_SILENT}}},
	{"", "/a.img", false,
		{{"HEAD /a.img ", .status = 404}, {"HEAD /a.img.json ", .how = FAKE_SILENT}}},
	{"", "/a.img", true,
		{{"HEAD /a.img ", .status = 404}, {"HEAD /a.img.json ", .status = 404},
			{"PUT /a.img ", .status = 201}, {"HEAD /a.img ", .status = 405},
			{"PUT /a.img.json ", .how = FAKE_SILENT},
			{"DELETE /a.img.json ", .status = 204}, {"DELETE /a.img ", .status = 204}}},
};

static void set(const char *name, const char *value)
{
	ck_assert_int_eq(setenv(name, value, 1), 0);
}

static void open_store(const char *form, const char *behind)
{
	const struct qmpsnap_store_options wishes = {.visibility = "public"};
	char text[128], hash[129], md5[129];

	fake_stream_digest(&stream, "md5", md5);
	fake_stream_digest(&stream, "sha512", hash);
	(void)snprintf(text, sizeof(text), "%s/auth/v1.0", server.url);
	ck_assert_int_eq(clearenv(), 0);
	set("AWS_ENDPOINT_URL", server.url);
	set("AWS_ACCESS_KEY_ID", "us:er");
	set("AWS_SECRET_ACCESS_KEY", "hush");
	set("AWS_REGION", "mars-1");
	set("ST_AUTH", text);
	set("ST_USER", "t:u");
	set("ST_KEY", "hush");
	(void)snprintf(login, sizeof(login), "X-Storage-Url: %s/v1/A_t\r\nX-Auth-Token: tk\r\n",
		server.url);
	(void)snprintf(whole, sizeof(whole), "Content-Length: %d\r\nETag: %s\r\n", SIZE, md5);
	(void)snprintf(record, sizeof(record),
		"{\"id\": \"" KIT_ID "\", \"status\": \"active\", \"size\": %d, \"os_hash_algo\": "
		"\"sha512\", \"os_hash_value\": \"%s\"}",
		SIZE, hash);
	(void)snprintf(
		text, sizeof(text), "%s%s%s", form, behind ? server.url : "", behind ? behind : "");
	store = qmpsnap_store_open(
		&loop, text, strncmp(form, "glance:", 7) == 0 ? &wishes : NULL, &err);
	ck_assert_msg(store != NULL, "%s", err.message);
	if (strcmp(store->ops->kind, "s3") == 0)
		remote_of(store)->wait_ms = 4;
}

/* Runs until the request has come that nobody answers, and gives it up. */
static void stop(const struct fake_exchange *script, struct outcome *outcome)
{
	while (script->how != FAKE_SILENT)
		script++;
	while (script->seen == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	const uint64_t from = uv_hrtime();
	image->ops->stop(image);
	image->ops->stop(image);
	ck_assert(!outcome_wait(&loop, outcome));
	ck_assert_uint_lt(uv_hrtime() - from, UINT64_C(20000000000));
	ck_assert_msg(strstr(outcome->err.message, "stopped") != NULL, "%s", outcome->err.message);
}

START_TEST(test_silence)
{
	struct fake_exchange script[MOST];
	struct outcome outcome = {.calls = 0};
	unsigned n = 0;

	memcpy(script, cases[_i].script, sizeof(script));
	while (n < MOST && script[n].request)
		n++;
	fake_http_start(&server, &loop, script, n);
	fake_stream_init(&stream, &loop, SIZE);
	open_store(cases[_i].spec, cases[_i].behind);
	kit_spec(&spec);
	if (cases[_i].publish) {
		image = kit_create(&loop, store, &spec, &err);
		ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
		image->ops->stop(image); /* nothing is under way */
		image->ops->publish(image, outcome_done, &outcome);
	} else {
		image = store->ops->create(store, &spec, outcome_done, &outcome, &err);
	}
	stop(script, &outcome);
	ck_assert_msg(kit_discard(&loop, image, &err), "%s", err.message);
	image->ops->close(image);
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
	fake_http_stop(&server, true);
}
END_TEST

/* What undoes isn't given up. */
START_TEST(test_discard_goes_on)
{
	struct fake_exchange script[] = {
		{"POST /v2/images ", .status = 201, .body = "{\"id\": \"" KIT_ID "\"}"},
		{"PATCH " ID " ", .status = 200, .times = 2},
		{"DELETE " ID " ", .status = 204},
	};
	struct outcome outcome = {.calls = 0};

	fake_http_start(&server, &loop, script, 3);
	fake_stream_init(&stream, &loop, SIZE);
	open_store("glance:", "");
	kit_spec(&spec);
	image = kit_create(&loop, store, &spec, &err);
	image->ops->discard(image, outcome_done, &outcome);
	image->ops->stop(image);
	ck_assert(outcome_wait(&loop, &outcome));
	image->ops->close(image);
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
	fake_http_stop(&server, true);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("store stop");
	TCase *tcase = tcase_create("store stop");

	tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, test_silence, 0, (int)(sizeof(cases) / sizeof(cases[0])));
	tcase_add_test(tcase, test_discard_goes_on);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
