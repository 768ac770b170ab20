/* SPDX-License-Identifier: Apache-2.0
 *
 * What a dead run has left at a URL, image and JSON. */
#include "fixture.h"
#include "suite.h"
#include "web_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OURS     "{\"id\": \"" KIT_ID "\", \"qmpsnap_image\": \"" KIT_ID "\"}"
#define ANOTHERS "{\"id\": \"11111111-4b5d-4e6f-8a9b-0c1d2e3f4a5b\"}"

/* Each is deleted where it must be the run's. */
START_TEST(test_left)
{
	static const struct {
		int json; /* what its GET is answered */
		const char *body;
		int data; /* what its HEAD is; 0: it isn't asked */
		bool force;
		const char *deleted[2];
	} rows[] = {
		{200, OURS, 200, false, {DELETE_JSON, DELETE}},
		{200, OURS, 404, false, {DELETE_JSON}},
		{404, NULL, 200, false, {DELETE}},
		{403, NULL, 200, false, {DELETE}},
		{404, NULL, 404, false, {NULL}},
		{200, OURS, 200, true, {NULL}},
		{200, ANOTHERS, 0, false, {NULL}},
		{200, "{\"qmpsnap_image\": \"" KIT_ID "\"}", 200, false, {DELETE}},
		{200, "{\"id\": \"" KIT_ID "\"", 200, false, {DELETE}}, /* a part of one */
		{200, "[\"id\"]", 200, false, {DELETE}},
		{200, "{\"id\": 7}", 404, false, {NULL}},
		{200, NULL, 404, false, {NULL}},
		{204, NULL, 404, false, {NULL}},
	};
	const char *const *deleted = rows[_i].deleted;
	struct fake_exchange script[4] = {
		{GET_JSON, .status = rows[_i].json, .body = rows[_i].body}};
	unsigned n = 1;

	if (rows[_i].data)
		script[n++] = (struct fake_exchange){HEAD, .status = rows[_i].data};
	for (size_t i = 0; i < 2 && deleted[i]; i++)
		script[n++] = (struct fake_exchange){deleted[i], .status = 204};
	options.force = rows[_i].force;
	open_store(&loop, "/up/a.img", script, n);
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	const bool json_deleted = deleted[0] && strcmp(deleted[0], DELETE_JSON) == 0;
	ck_assert_int_eq(strstr(said, "a.img.json is left alone") != NULL,
		rows[_i].json != 404 && !json_deleted);
	ck_assert_int_eq(
		strstr(said, "a.img is left alone") != NULL, rows[_i].force || !rows[_i].data);
	finish();
}
END_TEST

/* What is longer than any JSON of ours isn't one. */
START_TEST(test_long)
{
	enum { LONG = 2 << 20 };
	char *body = malloc(LONG + 1);
	struct fake_exchange script[] = {
		{GET_JSON, .status = 200, .body = body}, {HEAD, .status = 404}};

	ck_assert_ptr_nonnull(body);
	memset(body, ' ', LONG);
	memcpy(body, OURS, strlen(OURS));
	body[LONG] = '\0';
	open_store(&loop, "/up/a.img", script, 2);
	ck_assert_msg(kit_discard_left(&loop, store, &spec, &err), "%s", err.message);
	ck_assert_ptr_nonnull(strstr(said, "a.img.json is left alone"));
	finish();
	free(body);
}
END_TEST

/* It goes by what its spec says; nothing is deleted while the server doesn't answer. */
START_TEST(test_left_otherwise)
{
	struct fake_exchange none[] = {{HEAD, .status = 200}, {DELETE, .status = 204}};
	struct fake_exchange silent[] = {{GET_JSON, .how = FAKE_HANG_UP, .times = 2}};

	open_store(&loop, "/up/a.img#no-json", none, 2);
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	finish();
	open_store(&loop, "/up/a.img", silent, 1);
	ck_assert(!kit_discard_left(&loop, store, &spec, &err));
	finish();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("web_left");
	TCase *tcase = tcase_create("web_left");

	tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
	tcase_add_checked_fixture(tcase, set_up, NULL);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, test_left, 0, 13);
	tcase_add_test(tcase, test_long);
	tcase_add_test(tcase, test_left_otherwise);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
