/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/evidence.h"
#include "suite.h"

/* A moment 100 s ago, and 8 s until the guest certainly stood still. */
START_TEST(an_access_after_the_pause)
{
	static const struct {
		const char *stats;
		bool accessed;
	} rows[] = {
		{"[]", false},
		{"[{\"stats\": {}}, {\"stats\": {\"idle_time_ns\": 99000000000}}]", false},
		{"[{\"stats\": {\"idle_time_ns\": 92000000000}}]", false},
		{"[{\"stats\": {\"idle_time_ns\": 91999000000}}]", true},
		{"[{\"stats\": {\"idle_time_ns\": 99000000000}}, "
		 "{\"stats\": {\"idle_time_ns\": 0}}]",
			true},
		{"[{\"stats\": {\"idle_time_ns\": -1}}, {\"idle_time_ns\": 0}, 7]", false},
		{"{\"stats\": {\"idle_time_ns\": 0}}", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_object *stats = json_tokener_parse(rows[i].stats);
		ck_assert_ptr_nonnull(stats);
		ck_assert_msg(evidence_of_access(stats, 100000, 8000) == rows[i].accessed, "%s",
			rows[i].stats);
		ck_assert_msg(!evidence_of_access(stats, 8000, 8000), "%s", rows[i].stats);
		json_object_put(stats);
	}
	ck_assert(!evidence_of_access(NULL, 100000, 8000));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("evidence");
	TCase *t = tcase_create("evidence");

	tcase_add_test(t, an_access_after_the_pause);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
