/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/pace.h"
#include "suite.h"

#define S  UINT64_C(1000000000)
#define MS UINT64_C(1000000)

static struct pace pace;

START_TEST(no_rate_is_no_limit)
{
	pace_init(&pace, 0, 5 * S);
	for (int i = 0; i < 100; i++)
		ck_assert_uint_eq(pace_take(&pace, UINT64_C(1) << 40, 5 * S), 0);
	/* More than the arithmetic holds is no limit either. */
	pace_init(&pace, UINT64_MAX, 5 * S);
	for (int i = 0; i < 100; i++)
		ck_assert_uint_eq(pace_take(&pace, UINT64_C(1) << 40, 5 * S), 0);
}
END_TEST

START_TEST(one_request_overdraws_and_the_next_waits)
{
	pace_init(&pace, 1000, 7 * S);
	ck_assert_uint_eq(pace_take(&pace, 500, 7 * S), 0);
	ck_assert_uint_eq(pace_take(&pace, 1, 7 * S), 500);
	ck_assert_uint_eq(pace_take(&pace, 1, 7 * S + 200 * MS), 300);
	/* One ns too early, and then in time. */
	ck_assert_uint_eq(pace_take(&pace, 1, 7 * S + 500 * MS - 1), 1);
	ck_assert_uint_eq(pace_take(&pace, 250, 7 * S + 500 * MS), 0);
	ck_assert_uint_eq(pace_take(&pace, 1, 7 * S + 500 * MS), 250);
}
END_TEST

START_TEST(waiting_rounds_up_to_whole_ms)
{
	pace_init(&pace, 3000, 0);
	ck_assert_uint_eq(pace_take(&pace, 1, 0), 0);
	ck_assert_uint_eq(pace_take(&pace, 1, 0), 1);
	ck_assert_uint_eq(pace_take(&pace, 6, MS), 0);
	ck_assert_uint_eq(pace_take(&pace, 1, MS), 2);
}
END_TEST

START_TEST(idle_time_earns_100_ms_and_no_more)
{
	pace_init(&pace, 1000000, 0);
	/* An hour of doing nothing: 100000 bytes are in the bucket, the last request overdraws. */
	ck_assert_uint_eq(pace_take(&pace, 60000, 3600 * S), 0);
	ck_assert_uint_eq(pace_take(&pace, 40000, 3600 * S), 0);
	ck_assert_uint_eq(pace_take(&pace, 10000, 3600 * S), 0);
	ck_assert_uint_eq(pace_take(&pace, 1, 3600 * S), 10);
	ck_assert_int_eq(pace.credit_bytes, -10000);
}
END_TEST

START_TEST(the_smallest_rate_moves)
{
	pace_init(&pace, 1, 0);
	ck_assert_uint_eq(pace_take(&pace, 1048576, 0), 0);
	ck_assert_uint_eq(pace_take(&pace, 1048576, 0), PACE_WAIT_MS);
	ck_assert_uint_eq(pace_take(&pace, 1048576, 1048576 * S - 1), 1);
	ck_assert_uint_eq(pace_take(&pace, 1048576, 1048576 * S), 0);
}
END_TEST

START_TEST(a_clock_that_stands_earns_nothing)
{
	pace_init(&pace, 1000, 100 * S);
	ck_assert_uint_eq(pace_take(&pace, 100, 100 * S), 0);
	ck_assert_uint_eq(pace_take(&pace, 1, 100 * S), 100);
	ck_assert_uint_eq(pace_take(&pace, 1, 100 * S), 100);
	ck_assert_uint_eq(pace_take(&pace, 1, 100 * S + 100 * MS), 0);
}
END_TEST

START_TEST(asking_often_loses_no_time)
{
	uint64_t now = 0, taken = 0;

	/* 333 bytes/s, asked each 100 us: a byte takes 30 of them. */
	pace_init(&pace, 333, now);
	for (; now < 100 * S; now += 100000)
		if (pace_take(&pace, 10, now) == 0)
			taken += 10;
	ck_assert_uint_ge(taken, 33300 - 10);
	ck_assert_uint_le(taken, 33300 + 10);
}
END_TEST

START_TEST(sleeping_as_told_keeps_the_rate)
{
	const uint64_t rates[] = {1000, 65536, 100 << 20, UINT64_C(3) << 30, UINT64_C(16) << 30};
	const uint64_t rate = rates[_i], request = 1 << 20;
	const uint64_t span = 2000 * S;
	uint64_t now = 123456789, taken = 0;
	const uint64_t end = now + span;

	pace_init(&pace, rate, now);
	for (unsigned asked = 0; now < end && asked < 200000; asked++) {
		const uint64_t wait_ms = pace_take(&pace, request, now);
		if (wait_ms == 0)
			taken += request;
		now += wait_ms * MS;
	}
	const double elapsed_s = (double)(now - 123456789) / (double)S;
	ck_assert_double_le((double)taken, (double)rate * (elapsed_s + 0.1) + (double)request);
	/* A wait is rounded up to the ms; while the bucket holds 100 ms none of it is lost. */
	ck_assert_double_ge((double)taken, (double)rate * elapsed_s * 0.999 - (double)request);
}
END_TEST

START_TEST(another_rate_holds_at_once)
{
	pace_init(&pace, 1, 0);
	ck_assert_uint_eq(pace_take(&pace, 1 << 20, 0), 0);
	ck_assert_uint_eq(pace_take(&pace, 1, 0), PACE_WAIT_MS);
	/* Faster: what was overdrawn isn't waited for. */
	pace_set_rate(&pace, 1000, 5 * S);
	ck_assert_uint_eq(pace_take(&pace, 10, 5 * S), 0);
	ck_assert_uint_eq(pace_take(&pace, 1, 5 * S), 10);
	/* Slower: what was saved up isn't spent. */
	pace_set_rate(&pace, UINT64_C(1) << 30, 6 * S);
	ck_assert_uint_eq(pace_take(&pace, 1, 3600 * S), 0);
	pace_set_rate(&pace, 1000, 3600 * S);
	ck_assert_uint_eq(pace_take(&pace, 100, 3600 * S), 0);
	ck_assert_uint_eq(pace_take(&pace, 1, 3600 * S), 100);
	pace_set_rate(&pace, 0, 3601 * S);
	ck_assert_uint_eq(pace_take(&pace, 1 << 20, 3601 * S), 0);
}
END_TEST

START_TEST(counts_what_passed)
{
	pace_init(&pace, 0, 0);
	ck_assert_uint_eq(pace_take(&pace, 7, 0), 0);
	pace_set_rate(&pace, 1000, 0);
	ck_assert_uint_eq(pace_take(&pace, 5, 0), 0);
	ck_assert_uint_eq(pace_take(&pace, 5, 0), 5);
	ck_assert_uint_eq(pace.taken_bytes, 12);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("pace");
	TCase *t = tcase_create("pace");

	tcase_add_test(t, no_rate_is_no_limit);
	tcase_add_test(t, one_request_overdraws_and_the_next_waits);
	tcase_add_test(t, waiting_rounds_up_to_whole_ms);
	tcase_add_test(t, idle_time_earns_100_ms_and_no_more);
	tcase_add_test(t, the_smallest_rate_moves);
	tcase_add_test(t, a_clock_that_stands_earns_nothing);
	tcase_add_test(t, asking_often_loses_no_time);
	tcase_add_loop_test(t, sleeping_as_told_keeps_the_rate, 0, 5);
	tcase_add_test(t, another_rate_holds_at_once);
	tcase_add_test(t, counts_what_passed);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
