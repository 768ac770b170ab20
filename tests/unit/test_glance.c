/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_http.h"
#include "fake_stream.h"
#include "fixture.h"
#include "store_kit.h"
#include "suite.h"
#include "upload/glance.h"

#include <string.h>

#define CREATE "POST /v2/images HTTP"
#define PATCH  "PATCH /v2/images/" KIT_ID
#define LIST   "GET /v2/images?limit=1"
#define PUT    "PUT /v2/images/" KIT_ID "/file"
#define GET    "GET /v2/images/" KIT_ID " "
#define DELETE "DELETE /v2/images/" KIT_ID
#define QUEUED "{\"id\": \"" KIT_ID "\", \"status\": \"queued\"}"
#define HTML                                                                                       \
	"<html><head><title>T</title></head><body><h1>T</h1>Because of \x1b[31m &lt;that&gt;.<br " \
	"/></body></html>"

static struct fake_http server;
static struct fake_stream stream;
static struct qmpsnap_store *store;
static struct store_image_spec spec;
static struct store_image *image;
static struct qmpsnap_error err;
static char record[1024]; /* what the record is after the PUT */

static unsigned tries; /* 0: one */

static void start(struct fake_exchange *script, unsigned n)
{
	char text[128];

	fake_http_start(&server, &loop, script, n);
	(void)snprintf(text, sizeof(text), "glance:%s/v2/", server.url);
	store = qmpsnap_store_open(&loop, text, NULL, &err);
	ck_assert_ptr_nonnull(store);
	((struct glance_store *)store)->settle_ms = 700;
	((struct glance_store *)store)->wait_ms = 4;
	((struct glance_store *)store)->tries = tries ? tries : 1;
	kit_spec(&spec);
	image = kit_create(&loop, store, &spec, &err);
	ck_assert_ptr_nonnull(image);
}

static void finish(bool all)
{
	image->ops->close(image);
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
	fake_http_stop(&server, all);
	ck_assert_uint_eq(stream.open, 0);
}

static void make_record(uint64_t size, const char *algorithm, const char *value, const char *md5)
{
	char hash[256] = "";

	if (algorithm)
		(void)snprintf(hash, sizeof(hash),
			", \"os_hash_algo\": \"%s\", \"os_hash_value\": \"%s\"", algorithm, value);
	(void)snprintf(record, sizeof(record),
		"{\"id\": \"" KIT_ID "\", \"status\": \"active\", \"size\": %llu%s%s%s%s}",
		(unsigned long long)size, hash, md5 ? ", \"checksum\": \"" : "", md5 ? md5 : "",
		md5 ? "\"" : "");
}

START_TEST(test_whole_life)
{
	char hex[129], line[64];
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200, .body = QUEUED},
		{LIST, .status = 200, .body = "{\"images\": []}"},
		{PUT, .status = 204},
		{GET, .status = 200, .body = record},
		{PATCH, .status = 200, .body = record},
	};

	fake_stream_init(&stream, &loop, 3000001);
	fake_stream_digest(&stream, "sha512", hex);
	make_record(3000001, "sha512", hex, NULL);
	start(script, 6);
	ck_assert_msg(err.code == QMPSNAP_OK, "%s", err.message);
	ck_assert_ptr_nonnull(strstr(image->location, "/v2/images/" KIT_ID));
	ck_assert_ptr_null(strstr(image->location, "/v2/v2"));
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	ck_assert_msg(kit_publish(&loop, image, &err), "%s", err.message);
	ck_assert_str_eq(image->digest_algorithm, "sha512");
	ck_assert_str_eq(image->digest, hex);
	finish(true);

	struct json_object *sent = json_tokener_parse(script[0].text);
	ck_assert_str_eq(json_object_get_string(json_object_object_get(sent, "id")), KIT_ID);
	ck_assert_str_eq(json_object_get_string(json_object_object_get(sent, "name")), "web/1");
	ck_assert_str_eq(
		json_object_get_string(json_object_object_get(sent, "disk_format")), "qcow2");
	ck_assert_str_eq(
		json_object_get_string(json_object_object_get(sent, "visibility")), "private");
	ck_assert_str_eq(
		json_object_get_string(json_object_object_get(sent, "qmpsnap_guest")), "web");
	(void)json_object_put(sent);
	ck_assert_ptr_nonnull(strstr(script[1].text, "\"/qmpsnap_instant\""));
	ck_assert_ptr_nonnull(strstr(script[1].text, KIT_INSTANT));
	ck_assert_ptr_nonnull(strstr(script[1].text, "\"/qmpsnap_consistency\""));
	ck_assert_ptr_nonnull(strstr(script[1].text, "\"" KIT_CONSISTENCY "\""));
	ck_assert_ptr_nonnull(
		strstr(script[1].head, "application/openstack-images-v2.1-json-patch"));
	(void)snprintf(line, sizeof(line), "x-openstack-image-size: 3000001\r\n");
	ck_assert_ptr_nonnull(strstr(script[3].head, line));
	ck_assert_ptr_nonnull(strstr(script[3].head, "Expect: 100-continue\r\n"));
	ck_assert_ptr_nonnull(strstr(script[3].head, "Content-Type: application/octet-stream\r\n"));
	ck_assert_uint_eq(script[3].body_bytes, 3000001);
	ck_assert_ptr_nonnull(strstr(script[5].text, "\"/qmpsnap_verified\""));
}
END_TEST

static const struct {
	const char *listed; /* the algorithm of the service's latest image */
	const char *algorithm; /* and of this one */
	bool checksum;
	unsigned readers; /* opened in all */
	const char *confirmed;
} algorithms[] = {
	{"sha512", "sha512", true, 1, "sha512"},
	{"sha256", "sha256", true, 1, "sha256"},
	{"md5", "md5", true, 1, "md5"},
	{"sha256", "sha512", true, 2, "sha512"},
	{NULL, "sha256", false, 2, "sha256"},
	{NULL, NULL, true, 2, "md5"},
	{"whirlpool9", "whirlpool9", true, 2, "md5"},
	{"sha3_512", "sha3_512", true, 1, "sha3_512"},
};

START_TEST(test_algorithms)
{
	const char *algorithm = algorithms[_i].algorithm;
	char listed[128] = "{\"images\": [{}]}", hex[129] = "00", md5[129];
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = listed},
		{PUT, .status = 204},
		{GET, .status = 200, .body = record},
	};

	fake_stream_init(&stream, &loop, 1000001);
	if (algorithm && strcmp(algorithm, "sha3_512") == 0)
		fake_stream_digest(&stream, "sha3-512", hex);
	else if (algorithm && strcmp(algorithm, "whirlpool9") != 0)
		fake_stream_digest(&stream, algorithm, hex);
	fake_stream_digest(&stream, "md5", md5);
	make_record(1000001, algorithm, hex, algorithms[_i].checksum ? md5 : NULL);
	if (algorithms[_i].listed)
		(void)snprintf(listed, sizeof(listed), "{\"images\": [{\"os_hash_algo\": \"%s\"}]}",
			algorithms[_i].listed);
	start(script, 5);
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	ck_assert_str_eq(image->digest_algorithm, algorithms[_i].confirmed);
	ck_assert_uint_eq(stream.opened, algorithms[_i].readers);
	finish(true);
}
END_TEST

static const struct {
	uint64_t size;
	const char *algorithm, *value, *md5;
	const char *says;
} mismatches[] = {
	{999, "sha512", "00", NULL, "999 bytes"},
	{1000001, "sha512", "00", NULL, "sha512"},
	{1000001, "sha256", "00", NULL, "sha256"},
	{1000001, NULL, NULL, "00", "md5"},
	{1000001, NULL, NULL, NULL, "no digest"},
};

START_TEST(test_mismatch)
{
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 403, .body = HTML}, /* not needed */
		{PUT, .status = 204},
		{GET, .status = 200, .body = record},
		{DELETE, .status = 204},
	};

	fake_stream_init(&stream, &loop, 1000001);
	make_record(mismatches[_i].size, mismatches[_i].algorithm, mismatches[_i].value,
		mismatches[_i].md5);
	start(script, 6);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_msg(strstr(err.message, mismatches[_i].says) != NULL, "%s", err.message);
	ck_assert_uint_eq(image->size_bytes, 0);
	ck_assert(kit_discard(&loop, image, &err));
	finish(true);
}
END_TEST

static const int statuses[] = {
	400, 401, 403, 404, 409, 410, 413, 415, 500, 502, 503, 200, 301, 418};

/* Whether the record is looked at after such an answer to the PUT. */
static bool is_doubtful(int status)
{
	return status == 404 || status == 409 || status == 410 || status >= 500;
}

/* Each refusal of each request is readable, and leads to no more than a DELETE. */
START_TEST(test_refusals)
{
	const int status = statuses[_i];
	char number[16];

	(void)snprintf(number, sizeof(number), " %d", status);
	for (unsigned at = 0; at < 3; at++) {
		static const unsigned steps[] = {0, 1, 3};
		struct fake_exchange script[] = {
			{CREATE, .status = 201, .body = QUEUED},
			{PATCH, .status = 200},
			{LIST, .status = 200, .body = "[]"},
			{PUT, .status = 204},
			{DELETE, .status = 204},
			{DELETE, .status = 204},
		};
		const struct fake_exchange seen_queued = {GET, .status = 200, .body = QUEUED};
		struct fake_exchange *refused = &script[steps[at]];
		unsigned last = steps[at] + 1;
		if (steps[at] == 1 && (status == 200 || status == 404))
			continue;
		refused->how = steps[at] == 3 ? FAKE_REFUSE : FAKE_ANSWER;
		refused->status = status;
		refused->body = HTML;
		refused->headers = "X-Openstack-Request-Id: req-7\r\n";
		if (steps[at] == 3 && is_doubtful(status))
			script[last++] = seen_queued;
		script[last] = script[5];
		fake_stream_init(&stream, &loop, 1000001);
		start(script, last + 1);
		if (steps[at] > 0)
			ck_assert(!kit_put(&loop, image, &stream.base, &err));
		const struct qmpsnap_error why = err;
		ck_assert_int_eq(why.code, QMPSNAP_STORE);
		ck_assert_int_eq(why.detail, status);
		ck_assert_msg(strstr(why.message, number) != NULL, "%s", why.message);
		ck_assert_msg(strstr(why.message, "Because of ?[31m <that>.") != NULL ||
				      strstr(why.message, "Because of [31m <that>.") != NULL,
			"%s", why.message);
		ck_assert_ptr_nonnull(strstr(why.message, "req-7"));
		ck_assert_ptr_nonnull(strstr(why.message, "web/1"));
		ck_assert(status == 200 || status == 400 || status == 418 || why.hint[0] != '\0');
		ck_assert(kit_discard(&loop, image, &err));
		ck_assert_uint_eq(refused->body_bytes, steps[at] == 3 ? 0 : refused->body_bytes);
		/* A record that was refused isn't ours to delete. */
		const bool deletes = !(steps[at] == 0 && status >= 400 && status < 500);
		ck_assert_uint_eq(script[last].seen, deletes);
		finish(deletes);
	}
}
END_TEST

START_TEST(test_cut_in_the_body)
{
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = "{}"},
		{PUT, .how = FAKE_CUT, .cut_at = 1 << 20},
		{GET, .status = 200, .body = QUEUED},
		{DELETE, .status = 204},
	};

	fake_stream_init(&stream, &loop, 10 << 20);
	start(script, 6);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(err.message, server.url));
	ck_assert_ptr_nonnull(strstr(err.message, "uploading"));
	ck_assert(kit_discard(&loop, image, &err));
	finish(true);
}
END_TEST

/* Only the answer is lost: then the record decides. */
START_TEST(test_answer_lost)
{
	char hex[129];
	struct fake_exchange script[] = {
		{CREATE, .status = 201, .body = QUEUED},
		{PATCH, .status = 200},
		{LIST, .status = 200, .body = "{}"},
		{PUT, .how = FAKE_HANG_UP},
		{GET, .status = 200, .body = _i ? record : QUEUED},
	};

	fake_stream_init(&stream, &loop, 1 << 20);
	fake_stream_digest(&stream, "sha512", hex);
	make_record(1 << 20, "sha512", hex, NULL);
	start(script, 5);
	const bool well = kit_put(&loop, image, &stream.base, &err);
	ck_assert_int_eq(well, _i);
	if (!well)
		ck_assert_ptr_nonnull(strstr(err.message, "uploading"));
	finish(true);
}
END_TEST

/* ---- Trying again -------------------------------------------------------------------------- */

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
	start(script, 18);
	ck_assert_msg(err.code == QMPSNAP_OK, "%s", err.message);
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	ck_assert_msg(kit_publish(&loop, image, &err), "%s", err.message);
	ck_assert_uint_eq(stream.opened, 4);
	ck_assert_uint_eq(script[14].body_bytes, 3000001);
	ck_assert_str_eq(image->id, KIT_ID);
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
	start(script, 12);
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	ck_assert_str_eq(image->id, spare);
	ck_assert_ptr_nonnull(strstr(image->location, spare));
	ck_assert_ptr_nonnull(strstr(script[6].text, KIT_INSTANT));
	ck_assert_ptr_nonnull(strstr(script[6].text, spare));
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
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
	start(_i ? at_put : at_patch, _i ? 5 : 2);
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
	start(script, 6);
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
	start(script, 5);
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
	start(script, 4);
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
	start(script, 1);
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
	start(script, 5);
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
	start(script, 5);
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
	ck_assert_uint_lt(uv_hrtime() - stopped, UINT64_C(2000000000));
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

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static Suite *suite(void)
{
	Suite *s = suite_create("glance");
	TCase *c = tcase_create("glance");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, loop_setup, loop_teardown);
	tcase_add_test(c, test_whole_life);
	tcase_add_loop_test(c, test_algorithms, 0, COUNT(algorithms));
	tcase_add_loop_test(c, test_mismatch, 0, COUNT(mismatches));
	tcase_add_loop_test(c, test_refusals, 0, COUNT(statuses));
	tcase_add_test(c, test_cut_in_the_body);
	tcase_add_loop_test(c, test_answer_lost, 0, 2);
	tcase_add_test(c, test_passing_faults);
	tcase_add_test(c, test_made_anew);
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
