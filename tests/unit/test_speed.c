/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/speed.h"
#include "suite.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define US  UINT64_C(1000)

/* ---- The decision ---- */

static const struct decision_case {
	const char *what;
	struct speed_state state; /* rate, read, fastest, fresh, worst */
	uint64_t rate;
} decisions[] = {
	{"an idle guest never slows anything", {0, 900 * MIB, 900 * MIB, 0, 0}, 0},
	{"as before", {0, 900 * MIB, 900 * MIB, 1, 1}, 0},
	{"twice is not more than twice", {0, 900 * MIB, 900 * MIB, 2, 2}, 0},
	{"more than twice halves what was read", {0, 900 * MIB, 900 * MIB, 2.1, 2.1}, 450 * MIB},
	{"and again", {450 * MIB, 450 * MIB, 900 * MIB, 9, 9}, 225 * MIB},
	{"a burst over the rate counts as the rate", {100 * MIB, 110 * MIB, 900 * MIB, 9, 9},
		50 * MIB},
	{"a slow upload is halved from what it was", {400 * MIB, 20 * MIB, 20 * MIB, 9, 9},
		10 * MIB},
	{"the floor is a part of the fastest", {60 * MIB, 60 * MIB, 1600 * MIB, 9, 9}, 50 * MIB},
	{"on the floor it stays", {50 * MIB, 50 * MIB, 1600 * MIB, 9, 9}, 50 * MIB},
	{"the floor is never lower than this", {5 * MIB, 5 * MIB, 20 * MIB, 9, 9}, 4 * MIB},
	{"also for what is slower anyway", {0, MIB, MIB, 9, 9}, 4 * MIB},
	{"what reads nothing isn't to blame", {0, 0, 0, 9, 9}, 0},
	{"nor changes the rate", {100 * MIB, 0, 900 * MIB, 9, 9}, 100 * MIB},
	{"another disk is still slow", {100 * MIB, 100 * MIB, 900 * MIB, 1, 3}, 100 * MIB},
	{"better", {100 * MIB, 100 * MIB, 900 * MIB, 1.8, 1.8}, 110 * MIB},
	{"well", {100 * MIB, 100 * MIB, 900 * MIB, 1.2, 1.2}, 150 * MIB},
	{"idle again", {100 * MIB, 100 * MIB, 900 * MIB, 0, 0}, 150 * MIB},
	{"all the way up", {12 * GIB, 900 * MIB, 900 * MIB, 0, 0}, 0},
};

START_TEST(decides)
{
	const struct decision_case *c = &decisions[_i];
	const uint64_t rate = speed_decide(&c->state);

	ck_assert_msg(rate == c->rate, "%s: %llu MiB/s", c->what, (unsigned long long)(rate / MIB));
}
END_TEST

/* A guest whose writes suffer from anything above 100 MiB/s. */
START_TEST(settles)
{
	uint64_t rate = 0, least = UINT64_MAX, most = 0;
	double sum = 0;

	for (int tick = 0; tick < 400; tick++) {
		const uint64_t read = rate && rate < 2 * GIB ? rate : 2 * GIB;
		const double slow = read > 100 * MIB ? 3 : 1;
		const struct speed_state state = {rate, read, 2 * GIB, slow, slow};

		rate = speed_decide(&state);
		if (tick < 40)
			continue;
		least = rate < least ? rate : least;
		most = rate > most ? rate : most;
		sum += (double)rate;
	}
	ck_assert_uint_ge(least, 50 * MIB);
	ck_assert_uint_le(most, 150 * MIB);
	ck_assert_double_ge(sum / 360, 60.0 * MIB);
}
END_TEST

START_TEST(recovers)
{
	uint64_t rate = 4 * MIB;
	unsigned ticks = 0;

	for (; rate && ticks < 100; ticks++) {
		const struct speed_state state = {rate, rate, 2 * GIB, 1, 1};
		rate = speed_decide(&state);
	}
	ck_assert_uint_le(ticks, 24); /* 6 s from the lowest rate to none */
}
END_TEST

/* ---- The verdict ---- */

static struct speed_disk disk;

/* The disk's writes took 100 us each; at `now` it begins to be read. */
static void warm(struct speed_sample *now)
{
	disk = (struct speed_disk){.first = {1000, 5000000 * US}, .last = {1100, 5010000 * US}};
	*now = (struct speed_sample){1100, 5010000 * US};
	speed_fix_baseline(&disk, now);
	ck_assert_uint_eq(disk.baseline_ns, 100 * US);
}

static bool after(struct speed_sample *now, uint64_t writes, uint64_t ns_each)
{
	now->writes += writes;
	now->write_ns += writes * ns_each;
	return speed_judge(&disk, now);
}

START_TEST(baseline)
{
	const struct speed_sample now = {99, 99};

	/* Too few since the plan: the mean since QEMU's start. */
	disk = (struct speed_disk){.first = {90, 9000 * US}, .last = {100, 20000 * US}};
	speed_fix_baseline(&disk, &now);
	ck_assert_uint_eq(disk.baseline_ns, 200 * US);
	/* Too few at all: no verdict, however slow. */
	disk = (struct speed_disk){.first = {0, 0}, .last = {15, 15 * US}};
	speed_fix_baseline(&disk, &now);
	ck_assert_uint_eq(disk.baseline_ns, 0);
	const struct speed_sample slow = {10000, 10000000 * US};
	for (int i = 0; i < 10; i++)
		ck_assert(!speed_judge(&disk, &slow));
	ck_assert_double_eq(disk.slowdown, 0);
}
END_TEST

START_TEST(judges_each_window)
{
	struct speed_sample now;

	warm(&now);
	ck_assert(after(&now, 50, 300 * US));
	ck_assert_double_eq_tol(disk.slowdown, 3, 0.01);
	ck_assert(after(&now, SPEED_LEAST_WRITES, 100 * US));
	ck_assert_double_eq_tol(disk.slowdown, 1, 0.01);
}
END_TEST

/* Writes that take longer than a tick must not pass for an idle guest. */
START_TEST(waits_for_slow_writes)
{
	struct speed_sample now;

	warm(&now);
	for (int i = 1; i < SPEED_IDLE_TICKS; i++)
		ck_assert(!after(&now, i == 1, 700000 * US));
	ck_assert(after(&now, 1, 700000 * US));
	ck_assert_double_gt(disk.slowdown, 1000);
}
END_TEST

START_TEST(an_idle_guest_is_not_slow)
{
	struct speed_sample now;

	warm(&now);
	ck_assert(after(&now, 100, 500 * US));
	for (int i = 1; i < SPEED_IDLE_TICKS; i++)
		ck_assert(!after(&now, 0, 0));
	ck_assert(after(&now, 0, 0));
	ck_assert_double_eq(disk.slowdown, 0);
}
END_TEST

START_TEST(counters_that_went_back)
{
	struct speed_sample now;

	warm(&now);
	now = (struct speed_sample){3, 3};
	for (int i = 1; i < SPEED_IDLE_TICKS; i++)
		ck_assert(!speed_judge(&disk, &now));
	ck_assert(speed_judge(&disk, &now));
	ck_assert_double_eq(disk.slowdown, 0);
	ck_assert(after(&now, 20, 250 * US));
	ck_assert_double_eq_tol(disk.slowdown, 2.5, 0.01);
}
END_TEST

/* ---- The reply ---- */

START_TEST(reads_stats)
{
	static const char text[] =
		"[{\"device\":\"d0\",\"stats\":{\"wr_operations\":1,\"wr_total_time_ns\":2}},"
		"{\"device\":\"\",\"qdev\":\"/machine/peripheral/vd0/virtio-backend\","
		"\"stats\":{\"wr_operations\":3,\"wr_total_time_ns\":4}},"
		"{\"device\":\"\",\"qdev\":\"vd1\",\"stats\":{\"wr_operations\":-1}},"
		"{\"device\":\"\",\"qdev\":\"vd2\"}, 7, null]";
	struct json_object *reply = json_tokener_parse(text);
	struct speed_sample sample = {0, 0};

	disk = (struct speed_disk){.drive = "d0"};
	ck_assert(speed_read_stats(reply, &disk, &sample));
	ck_assert_uint_eq(sample.writes, 1);
	ck_assert_uint_eq(sample.write_ns, 2);
	disk = (struct speed_disk){.qdev = "/machine/peripheral/vd0/virtio-backend", .drive = "d0"};
	ck_assert(speed_read_stats(reply, &disk, &sample));
	ck_assert_uint_eq(sample.writes, 3);
	static const char *const bad[] = {"vd1", "vd2", "vd3"};
	for (size_t i = 0; i < 3; i++) {
		disk = (struct speed_disk){.qdev = bad[i]};
		ck_assert(!speed_read_stats(reply, &disk, &sample));
	}
	disk = (struct speed_disk){.qdev = "", .drive = ""};
	ck_assert(!speed_read_stats(reply, &disk, &sample));
	json_object_put(reply);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("speed");
	TCase *t = tcase_create("speed");

	tcase_add_loop_test(t, decides, 0, sizeof(decisions) / sizeof(decisions[0]));
	tcase_add_test(t, settles);
	tcase_add_test(t, recovers);
	tcase_add_test(t, baseline);
	tcase_add_test(t, judges_each_window);
	tcase_add_test(t, waits_for_slow_writes);
	tcase_add_test(t, an_idle_guest_is_not_slow);
	tcase_add_test(t, counters_that_went_back);
	tcase_add_test(t, reads_stats);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
