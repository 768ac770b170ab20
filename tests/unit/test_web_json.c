/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON beside an image at a URL. */
#include "base/json.h"
#include "fixture.h"
#include "suite.h"
#include "web_kit.h"

#include <string.h>

static void assert_member(struct json_object *json, const char *key, const char *value)
{
	ck_assert_pstr_eq(json_string(json, key), value);
}

/* It comes once the image is whole, with what a directory's has. */
START_TEST(test_content)
{
	struct fake_exchange script[] = {
		{HEAD, .status = 404},
		{HEAD_JSON, .status = 404},
		{PUT, .status = 201},
		{HEAD, .status = 200, .headers = LENGTH},
		{PUT_JSON, .status = 503},
		{PUT_JSON, .status = 201},
	};
	static const char *const headers[] = {"X-Plain: yes"};

	options.headers = headers;
	options.n_headers = 1;
	start(&loop, script, 6);
	put(&loop);
	ck_assert_uint_eq(server.at, 4);
	ck_assert_msg(kit_publish(&loop, image, &err), "%s", err.message);
	ck_assert_ptr_nonnull(strstr(script[5].head, "\r\nContent-Type: application/json\r\n"));
	ck_assert_ptr_nonnull(strstr(script[5].head, "\r\nX-Plain: yes\r\n"));
	ck_assert_ptr_nonnull(strstr(script[1].head, "\r\nX-Plain: yes\r\n"));
	struct json_object *json = json_tokener_parse(script[5].text);
	ck_assert_ptr_nonnull(json);
	assert_member(json, "id", KIT_ID);
	assert_member(json, "qmpsnap_image", KIT_ID);
	assert_member(json, "name", spec.name);
	assert_member(json, "disk_format", "qcow2");
	assert_member(json, "qmpsnap_instant", KIT_INSTANT);
	assert_member(json, "qmpsnap_consistency", KIT_CONSISTENCY);
	assert_member(json, "qmpsnap_verified", "true");
	assert_member(json, "os_hash_algo", "sha256");
	assert_member(json, "os_hash_value", image->digest);
	ck_assert_int_eq(json_int(json, "size", 0), SIZE);
	ck_assert_int_eq(json_int(json, "virtual_size", 0), (int64_t)spec.virtual_size_bytes);
	(void)json_object_put(json);
	ck_assert_ptr_null(strstr(said, "warning: "));
	finish();
}
END_TEST

/* A server that has no use for it: the image stays. */
START_TEST(test_refused)
{
	static const int statuses[] = {302, 400, 401, 403, 404, 405, 409, 413, 415, 501};
	struct fake_exchange script[] = {
		{HEAD, .status = 404},
		{HEAD_JSON, .status = 404},
		{PUT, .status = 201},
		{HEAD, .status = 200, .headers = LENGTH},
		{PUT_JSON, .status = statuses[_i]},
	};

	start(&loop, script, 5);
	put(&loop);
	ck_assert_msg(kit_publish(&loop, image, &err), "%s", err.message);
	ck_assert_ptr_nonnull(strstr(said, "warning: publishing http://"));
	ck_assert_ptr_nonnull(strstr(said, "/up/a.img.json: the server answered "));
	ck_assert_ptr_nonnull(strstr(said, "the image is there and whole, without its JSON"));
	finish();
}
END_TEST

/* Where it fails otherwise, all is taken back, the JSON first, but not what was there before. */
START_TEST(test_failures)
{
	static const struct {
		bool force;
		int head; /* of what is at the JSON's URL before */
		int put;
		bool deletes; /* the JSON, too */
	} rows[] = {
		{false, 404, 503, true},
		{false, 404, 507, true},
		{false, 404, 429, false}, /* it can't be there */
		{false, 403, 503, false},
		{true, 403, 503, false},
		{true, 404, 503, true},
	};
	struct fake_exchange script[] = {
		{HEAD, .status = 404},
		{HEAD_JSON, .status = rows[_i].head},
		{PUT, .status = 201},
		{HEAD, .status = 200, .headers = LENGTH},
		{PUT_JSON, .status = rows[_i].put, .times = 2},
		{rows[_i].deletes ? DELETE_JSON : DELETE, .status = 204},
		{DELETE, .status = 204},
	};

	options.force = rows[_i].force;
	start(&loop, script, rows[_i].deletes ? 7 : 6);
	put(&loop);
	ck_assert(!kit_publish(&loop, image, &err));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert(kit_discard(&loop, image, &err));
	ck_assert_int_eq(strstr(said, "a.img.json is left alone") != NULL,
		rows[_i].put == 503 && !rows[_i].deletes);
	finish();
}
END_TEST

/* One deletion that fails doesn't keep the other from being tried, and is done later. */
START_TEST(test_undeleted)
{
	struct fake_exchange script[] = {
		{HEAD, .status = 404},
		{HEAD_JSON, .status = 404},
		{PUT, .status = 201},
		{HEAD, .status = 200, .headers = LENGTH},
		{PUT_JSON, .status = 201},
		{DELETE_JSON, .status = 403},
		{DELETE, .status = 204},
		{DELETE_JSON, .status = 204},
	};

	start(&loop, script, 8);
	put(&loop);
	ck_assert(kit_publish(&loop, image, &err));
	ck_assert(!kit_discard(&loop, image, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "a.img.json"));
	ck_assert_ptr_nonnull(strstr(err.hint, "qmpsnap recover"));
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

START_TEST(test_something_there)
{
	struct fake_exchange script[] = {{HEAD, .status = 404}, {HEAD_JSON, .status = 200}};

	start(&loop, script, 2);
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(err.message, "/up/a.img.json already"));
	ck_assert_ptr_nonnull(strstr(err.hint, "--force replaces it; #no-json"));
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

/* Only what may pass speaks against it. */
START_TEST(test_head)
{
	static const int statuses[] = {401, 403, 405, 501, 503, 429};
	const bool well = _i < 4;
	struct fake_exchange script[] = {
		{HEAD, .status = 404},
		{HEAD_JSON, .status = statuses[_i], .times = well ? 1 : 2},
	};

	start(&loop, script, 2);
	ck_assert_int_eq(err.code, well ? QMPSNAP_OK : QMPSNAP_STORE);
	ck_assert(kit_discard(&loop, image, &err));
	finish();
}
END_TEST

START_TEST(test_none)
{
	static const struct {
		const char *behind, *head, *put, *why;
	} rows[] = {
		{"/a?key=hush", "HEAD /a?key=hush ", "PUT /a?key=hush ", "with a query"},
		{"/a?", "HEAD /a", "PUT /a", "with a query"},
		{"/up/", "HEAD /up/ ", "PUT /up/ ", "doesn't end in a file's name"},
		{"", "HEAD / ", "PUT / ", "doesn't end in a file's name"},
		{"/a#no-json", "HEAD /a ", "PUT /a ", "#no-json"},
		{"/a?key=hush#no-json", "HEAD /a?key=hush ", "PUT /a?key=hush ", "#no-json"},
	};
	struct fake_exchange script[] = {
		{rows[_i].head, .status = 404},
		{rows[_i].put, .status = 201},
		{rows[_i].head, .status = 200, .headers = LENGTH},
	};

	open_store(&loop, rows[_i].behind, script, 3);
	image = kit_create(&loop, store, &spec, &err);
	put(&loop);
	ck_assert(kit_publish(&loop, image, &err));
	ck_assert_ptr_nonnull(strstr(said, "no JSON goes beside http://"));
	ck_assert_ptr_nonnull(strstr(said, rows[_i].why));
	ck_assert_ptr_null(strstr(said, "hush"));
	ck_assert_ptr_null(strstr(said, "warning: "));
	finish();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("web_json");
	TCase *tcase = tcase_create("web_json");

	tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
	tcase_add_checked_fixture(tcase, set_up, NULL);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_content);
	tcase_add_loop_test(tcase, test_refused, 0, 10);
	tcase_add_loop_test(tcase, test_failures, 0, 6);
	tcase_add_test(tcase, test_undeleted);
	tcase_add_test(tcase, test_something_there);
	tcase_add_loop_test(tcase, test_head, 0, 6);
	tcase_add_loop_test(tcase, test_none, 0, 6);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
