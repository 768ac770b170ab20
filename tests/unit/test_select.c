/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "images/select.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

#define RUN   "\"qmpsnap_run\": \"abcdefghij\""
#define OF(n) "\"qmpsnap_image\": \"" n "\""
#define GOOD  "\"qmpsnap_verified\": \"true\", \"foreign\": false, "
#define ID(n) "0f7a1c2e-4b5d-4e6f-8a9b-0c1d2e3f000" n

/* web's two sets (1: disks 1 and 2, 2: disk 3), db's one, an unfinished one, another's image, and
 * one that somebody has made of a server booted from 3. */
#define OURS(n, set)                                                                               \
	"{\"id\": \"" ID(n) "\", " RUN ", " OF(ID(n)) ", \"qmpsnap_set\": \"" ID(set) "\", "
#define AT(time) "\"qmpsnap_instant\": \"" time "\""

/* clang-format off */
static const char shelf[] = "["
	OURS("3", "b") GOOD AT("2026-11-23T10:00:00.500Z") ", \"name\": \"web-b\", "
		"\"qmpsnap_guest\": \"web\", \"qmpsnap_disk\": \"vda\", "
		"\"tags\": [\"x\", \"nightly\"]},"
	OURS("2", "a") GOOD AT("2026-11-22T10:00:00.000Z") ", \"name\": \"web-a\", "
		"\"qmpsnap_guest\": \"web\", \"qmpsnap_disk\": \"vdb\"},"
	OURS("1", "a") GOOD AT("2026-11-22T10:00:00.000Z") ", \"name\": \"web-a\", "
		"\"qmpsnap_guest\": \"web\", \"qmpsnap_disk\": \"vda\"},"
	OURS("4", "d") GOOD "\"created_at\": \"2026-11-24T00:00:00Z\", \"name\": \"web-a\", "
		"\"qmpsnap_guest\": \"db\", \"instance_uuid\": \"" ID("e") "\"},"
	OURS("5", "f") "\"name\": \"half\", \"status\": \"queued\", \"foreign\": false},"
	"{\"id\": \"" ID("6") "\", \"name\": \"debian\", \"status\": \"active\", "
		"\"foreign\": true, \"created_at\": \"2020-01-01T00:00:00Z\"},"
	"{\"id\": \"" ID("7") "\", " RUN ", " OF(ID("3")) ", " GOOD AT("2026-11-23T10:00:00.500Z")
		", \"qmpsnap_set\": \"" ID("b") "\", \"name\": \"theirs\", "
		"\"qmpsnap_guest\": \"web\", \"qmpsnap_disk\": \"vda\", "
		"\"status\": \"active\", \"created_at\": \"2026-12-01T00:00:00Z\"}"
	"]";
/* clang-format on */

static struct qmpsnap_error err;

/* The last digits of the ids of those that are chosen, in order. */
static const char *chosen(const struct selection *selection)
{
	static char digits[16];
	struct json_object *records = json_tokener_parse(shelf);
	struct json_object *array = select_images(records, selection, &err);

	ck_assert_ptr_nonnull(records);
	(void)snprintf(digits, sizeof(digits), "%s", array ? "" : "none");
	for (size_t i = 0; array && i < json_length(array); i++)
		digits[i] = json_string(json_object_array_get_idx(array, i), "id")[35];
	if (array)
		digits[json_length(array)] = '\0';
	(void)json_object_put(array);
	(void)json_object_put(records);
	return digits;
}

START_TEST(test_all)
{
	ck_assert_str_eq(chosen(&(struct selection){.all = false}), "1234");
	ck_assert_str_eq(chosen(&(struct selection){.all = true}), "5612347");
	/* What isn't ours has no set and no guest of ours, and its own time. */
	ck_assert_str_eq(chosen(&(struct selection){.all = true, .set = ID("b")}), "3");
	ck_assert_str_eq(chosen(&(struct selection){.all = true, .guest = "web"}), "123");
	ck_assert_str_eq(chosen(&(struct selection){.all = true, .since = "2026-11-25"}), "7");
}
END_TEST

START_TEST(test_filters)
{
	ck_assert_str_eq(chosen(&(struct selection){.guest = "web"}), "123");
	ck_assert_str_eq(chosen(&(struct selection){.guest = "db"}), "4");
	ck_assert_str_eq(
		chosen(&(struct selection){.guest = "0F7A1C2E-4b5d-4e6f-8a9b-0c1d2e3f000e"}), "4");
	ck_assert_str_eq(chosen(&(struct selection){.set = ID("a")}), "12");
	ck_assert_str_eq(chosen(&(struct selection){.tag = "nightly"}), "3");
	ck_assert_str_eq(chosen(&(struct selection){.tag = "night"}), "");
	ck_assert_str_eq(chosen(&(struct selection){.since = "2026-11-23"}), "34");
	ck_assert_str_eq(chosen(&(struct selection){.since = "2026-11-23T10:00:00Z"}), "34");
	ck_assert_str_eq(chosen(&(struct selection){.since = "2026-11-23T10:00:01"}), "4");
	ck_assert_str_eq(chosen(&(struct selection){.before = "2026-11-23T10:00:00.500Z"}), "12");
	ck_assert_str_eq(
		chosen(&(struct selection){.since = "2026-11-23", .before = "2026-11-24"}), "3");
}
END_TEST

START_TEST(test_words)
{
	const char *const image[] = {ID("2")}, *const set[] = {ID("a")}, *const name[] = {"web-b"};
	const char *const half[] = {ID("5")}, *const half_name[] = {"half"},
			  *const alien[] = {ID("6")}, *const copy_set[] = {ID("b")},
			  *const copy[] = {ID("7")};
	const char *const two[] = {ID("3"), "nobody"}, *const many[] = {"web-a"};

	ck_assert_str_eq(chosen(&(struct selection){.which = image, .n_which = 1}), "2");
	ck_assert_str_eq(chosen(&(struct selection){.which = set, .n_which = 1}), "12");
	ck_assert_str_eq(chosen(&(struct selection){.which = name, .n_which = 1}), "3");
	/* By its id anything can be meant. */
	ck_assert_str_eq(chosen(&(struct selection){.which = half, .n_which = 1}), "5");
	ck_assert_str_eq(chosen(&(struct selection){.which = alien, .n_which = 1}), "6");
	ck_assert_str_eq(chosen(&(struct selection){.which = copy_set, .n_which = 1}), "3");
	ck_assert_str_eq(
		chosen(&(struct selection){.which = copy_set, .n_which = 1, .all = true}), "3");
	ck_assert_str_eq(chosen(&(struct selection){.which = copy, .n_which = 1}), "7");
	ck_assert_str_eq(chosen(&(struct selection){.which = half_name, .n_which = 1}), "none");
	ck_assert_str_eq(chosen(&(struct selection){.which = two, .n_which = 2}), "none");
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_int_eq(err.detail, 404);
	ck_assert_ptr_nonnull(strstr(err.message, "nobody"));
	/* Two sets have images of that name. */
	ck_assert_str_eq(chosen(&(struct selection){.which = many, .n_which = 1}), "124");
	ck_assert_str_eq(
		chosen(&(struct selection){.which = many, .n_which = 1, .one_set = true}), "none");
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
	ck_assert_str_eq(chosen(&(struct selection){
				 .which = many, .n_which = 1, .guest = "web", .one_set = true}),
		"12");
}
END_TEST

/* Fewer are there, and published, than their set was made of: whichever of them are meant. */
START_TEST(test_incomplete)
{
	static const char of_two[] =
		"[" OURS("1", "a") GOOD "\"qmpsnap_disks\": \"2\"}," OURS("2", "a") GOOD
		"\"qmpsnap_disks\": \"2\"}," OURS("3", "b") GOOD "\"qmpsnap_disks\": \"2\"}," OURS(
			"4", "b") "\"qmpsnap_disks\": \"2\"}," OURS("5", "c") GOOD
		"\"qmpsnap_disks\": \"1\"}," OURS("6", "d") GOOD
		"\"name\": \"old\"},"
		"{\"id\": \"" ID("7") "\", \"qmpsnap_disks\": \"9\"}]";
	struct json_object *records = json_tokener_parse(of_two);

	ck_assert_ptr_nonnull(records);
	select_mark_incomplete(records);
	for (size_t i = 0; i < 7; i++)
		ck_assert_int_eq(
			json_flag(json_object_array_get_idx(records, i), "incomplete", i != 2),
			i == 2 || i == 3);
	(void)json_object_put(records);
}
END_TEST

START_TEST(test_time)
{
	static const char *const good[] = {"2026-11-23", "2026-11-23T13", "2026-11-23T13:20Z",
		"2026-11-23T13:20:14", "2026-11-23T13:20:14.123Z"};
	static const char *const bad[] = {"", "Z", "2026", "2026-11", "2026-11-23T", "2026-11-2a",
		"2026-11-23 13:20", "yesterday", "2026-11-23T13:20:14.1234Z", "-1h",
		"99999999999h"};
	const struct timespec now = {.tv_sec = 1800000000};
	char time[NAME_TIME_BYTES];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(select_time(time, good[i], &now, &err), "%s", good[i]);
		ck_assert_str_eq(time, good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(!select_time(time, bad[i], &now, &err), "%s", bad[i]);
		ck_assert_int_eq(err.code, QMPSNAP_USAGE);
	}
	ck_assert(select_time(time, "2h", &now, &err));
	ck_assert_str_eq(time, "2027-01-15T06:00:00.000Z");
	ck_assert_int_lt(
		shelf_compare_times("2026-11-23T13:20:14Z", "2026-11-23T13:20:14.001Z"), 0);
	ck_assert_int_gt(shelf_compare_times("2026-11-24", "2026-11-23T13:20:14.001Z"), 0);
	ck_assert_int_eq(shelf_compare_times("2026-11-24", "2026-11-24Z"), 0);
	ck_assert_int_lt(shelf_compare_times("", "2026"), 0);
}
END_TEST

#define MADE RUN ", " OF("i") ", \"qmpsnap_set\": \"" ID("a") "\""

static const struct {
	const char *record;
	bool allowed, forced;
} deletions[] = {
	{MADE ", \"foreign\": false", true, true},
	{MADE ", \"foreign\": true", false, false},
	{MADE, false, false}, /* not known to be ours */
	{MADE ", \"foreign\": false, \"protected\": true", false, false},
	{MADE ", \"foreign\": false, \"protected\": \"True\"", false, false},
	{"\"foreign\": false", false, true},
	{RUN ", " OF("i") ", \"foreign\": false", false, true},
	{RUN ", \"qmpsnap_set\": \"" ID("a") "\", \"foreign\": false", false, true},
	{RUN ", " OF("j") ", \"qmpsnap_set\": \"" ID("a") "\", \"foreign\": false", false, true},
	{"\"qmpsnap_run\": \"x\", " OF("i") ", \"qmpsnap_set\": \"" ID(
		 "a") "\", \"foreign\": false",
		false, true},
	{"\"foreign\": false, \"protected\": true", false, false},
};

START_TEST(test_delete)
{
	char text[512];

	(void)snprintf(
		text, sizeof(text), "{\"id\": \"i\", \"name\": \"n\", %s}", deletions[_i].record);
	struct json_object *record = json_tokener_parse(text);
	ck_assert_ptr_nonnull(record);
	ck_assert_int_eq(select_may_delete(record, false, &err), deletions[_i].allowed);
	ck_assert_int_eq(select_may_delete(record, true, &err), deletions[_i].forced);
	(void)json_object_put(record);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("select");
	TCase *tcase = tcase_create("select");

	tcase_add_test(tcase, test_all);
	tcase_add_test(tcase, test_filters);
	tcase_add_test(tcase, test_words);
	tcase_add_test(tcase, test_incomplete);
	tcase_add_test(tcase, test_time);
	tcase_add_loop_test(tcase, test_delete, 0, sizeof(deletions) / sizeof(deletions[0]));
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
