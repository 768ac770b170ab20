/* SPDX-License-Identifier: Apache-2.0
 *
 * The store glance: - an upload, digests, refusals. */
#include "fixture.h"
#include "glance_kit.h"
#include "suite.h"

#include <string.h>

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
	start(&loop, script, 6);
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
	start(&loop, script, 5);
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
	start(&loop, script, 6);
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
		start(&loop, script, last + 1);
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
	start(&loop, script, 6);
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
	start(&loop, script, 5);
	const bool well = kit_put(&loop, image, &stream.base, &err);
	ck_assert_int_eq(well, _i);
	if (!well)
		ck_assert_ptr_nonnull(strstr(err.message, "uploading"));
	finish(true);
}
END_TEST

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
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)
