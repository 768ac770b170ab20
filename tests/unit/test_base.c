/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/names.h"
#include "base/units.h"
#include "suite.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static struct qmpsnap_error err;

/* ---- Errors ------------------------------------------------------------------------------ */

START_TEST(errors_say_what_failed)
{
	memset(&err, 0xa5, sizeof(err));
	ck_assert(!error_set(&err, QMPSNAP_STORE, "image %s", "a"));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_int_eq(err.detail, 0);
	ck_assert_str_eq(err.message, "image a");
	ck_assert_str_eq(err.hint, "");
	error_hint(&err, "try %d", 2);
	error_wrap(&err, "disk %d", 1);
	error_wrap(&err, "snapshot");
	ck_assert_str_eq(err.message, "snapshot: disk 1: image a");
	ck_assert_str_eq(err.hint, "try 2");
	ck_assert_int_eq(err.code, QMPSNAP_STORE);

	ck_assert(!error_errno(&err, QMPSNAP_REFUSED, ENOENT, "open %s", "/x"));
	ck_assert_int_eq(err.detail, ENOENT);
	ck_assert_str_eq(err.message, "open /x: No such file or directory");
	ck_assert_str_eq(err.hint, "");
	ck_assert(!error_no_memory(&err));
	ck_assert_int_eq(err.code, QMPSNAP_INTERNAL);
	ck_assert_str_eq(err.message, "no memory");
}
END_TEST

START_TEST(errors_are_cut_where_the_room_ends)
{
	char text[2000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	(void)error_set(&err, QMPSNAP_QEMU, "%s", text);
	ck_assert_uint_eq(strlen(err.message), sizeof(err.message) - 1);
	error_wrap(&err, "disk");
	ck_assert_uint_eq(strlen(err.message), sizeof(err.message) - 1);
	ck_assert_int_eq(strncmp(err.message, "disk: xxx", 9), 0);
	error_wrap(&err, "%s", text);
	ck_assert_uint_eq(strlen(err.message), sizeof(err.message) - 1);
	ck_assert_int_eq(strncmp(err.message, "xxx", 3), 0);
	error_hint(&err, "%s", text);
	ck_assert_uint_eq(strlen(err.hint), sizeof(err.hint) - 1);
	(void)error_errno(&err, QMPSNAP_QEMU, EIO, "%s", text);
	ck_assert_uint_eq(strlen(err.message), sizeof(err.message) - 1);
}
END_TEST

/* ---- Units ------------------------------------------------------------------------------- */

START_TEST(sizes_are_read)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0}, {"4096", 4096}, {"1K", 1024}, {"64M", 64 << 20}, {"64m", 64 << 20},
		{"1.5G", UINT64_C(3) << 29}, {"2T", UINT64_C(2) << 40}, {"1P", UINT64_C(1) << 50},
		{"10KB", 10240}, {"10KiB", 10240}, {"10B", 10}, {"100M/s", 100 << 20},
		{"100MiB/s", 100 << 20}, {"0.5K", 512}, {"8191P", UINT64_C(8191) << 50}};
	static const char *const bad[] = {"", " ", " 1", "1 ", "4 /s", "1 K", "K", "-1", "+1",
		"1.2.3", ".5", ".", "0x10", "1e3", "1KK", "1KiBs", "1/", "1/s/s", "1iB", "inf",
		"nan", "8192P", "9223372036854775808", "1K\n",
		"10000000000000000000000000000000000000000", "1\xcb"};
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(units_parse_size(good[i].text, &bytes), "%s", good[i].text);
		ck_assert_uint_eq(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!units_parse_size(bad[i], &bytes), "\"%s\"", bad[i]);
	ck_assert(!units_parse_size(NULL, &bytes));
}
END_TEST

START_TEST(durations_are_read)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {{"0", 0}, {"5", 5000}, {"5s", 5000}, {"500ms", 500}, {"0.25s", 250},
		{"2m", 120000}, {"1h", 3600000}, {"1.5h", 5400000}};
	static const char *const bad[] = {
		"", "s", "-1", "1d", "1 s", "1sec", "5S", "1ms ", "99999999999999999"};
	uint64_t ms;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(units_parse_duration(good[i].text, &ms), "%s", good[i].text);
		ck_assert_uint_eq(ms, good[i].ms);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!units_parse_duration(bad[i], &ms), "\"%s\"", bad[i]);
	ck_assert(!units_parse_duration(NULL, &ms));
}
END_TEST

START_TEST(sizes_and_durations_are_written)
{
	char text[UNITS_TEXT_BYTES];
	static const struct {
		uint64_t value;
		const char *text;
	} sizes[] = {{0, "0 B"}, {512, "512 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"},
		{UINT64_C(3) << 29, "1.5 GiB"}, {UINT64_C(200) << 20, "200 MiB"},
		{UINT64_C(16) << 40, "16.0 TiB"}, {UINT64_MAX, "16.0 EiB"}},
	  durations[] = {{0, "0 ms"}, {850, "850 ms"}, {1000, "1 s"}, {12999, "12 s"},
		  {185000, "3:05 min"}, {3600000, "1:00:00 h"}, {7385000, "2:03:05 h"}};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		units_format_size(text, sizes[i].value);
		ck_assert_str_eq(text, sizes[i].text);
	}
	for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
		units_format_duration(text, durations[i].value);
		ck_assert_str_eq(text, durations[i].text);
	}
	units_format_duration(text, UINT64_MAX);
	ck_assert_uint_lt(strlen(text), sizeof(text));
}
END_TEST

/* ---- Names ------------------------------------------------------------------------------- */

START_TEST(runs_and_uuids_are_random)
{
	char run[NAME_RUN_BYTES], other[NAME_RUN_BYTES];
	char uuid[NAME_UUID_BYTES], other_uuid[NAME_UUID_BYTES];

	ck_assert(name_new_run(run) && name_new_run(other));
	ck_assert_uint_eq(strlen(run), 10);
	ck_assert_uint_eq(strspn(run, "abcdefghijklmnopqrstuvwxyz0123456789"), 10);
	ck_assert_str_ne(run, other);
	ck_assert(name_new_uuid(uuid) && name_new_uuid(other_uuid));
	ck_assert(name_uuid_is_real(uuid));
	ck_assert_int_eq(uuid[14], '4');
	ck_assert_ptr_nonnull(strchr("89ab", uuid[19]));
	ck_assert_str_ne(uuid, other_uuid);
}
END_TEST

START_TEST(unreal_uuids_identify_nothing)
{
	static const char *const bad[] = {"", "00000000-0000-0000-0000-000000000000",
		"12345678-1234-1234-1234-12345678901", "12345678-1234-1234-1234-1234567890123",
		"12345678 1234-1234-1234-123456789012", "1234567g-1234-1234-1234-123456789012",
		"123456781234-1234-1234-1234-56789012"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!name_uuid_is_real(bad[i]), "%s", bad[i]);
	ck_assert(!name_uuid_is_real(NULL));
	ck_assert(name_uuid_is_real("00000000-0000-0000-0000-000000000001"));
	ck_assert(name_uuid_is_real("ABCDEF12-1234-1234-1234-123456789012"));
}
END_TEST

START_TEST(node_names_fit_qemu)
{
	char node[NAME_NODE_BYTES], run[NAME_RUN_BYTES];

	name_node(node, "abc0123xyz", "view", 12);
	ck_assert_str_eq(node, "qmpsnap-abc0123xyz-view12");
	ck_assert(name_is_ours(node, run));
	ck_assert_str_eq(run, "abc0123xyz");
	/* 31 characters are just enough. */
	name_node(node, "abc0123xyz", "longest", 12345);
	ck_assert_uint_eq(strlen(node), 31);
	ck_assert(name_is_ours(node, NULL));
}
END_TEST

#ifndef NDEBUG
START_TEST(node_names_that_do_not_fit_are_a_bug)
{
	char node[NAME_NODE_BYTES];

	name_node(node, "abc0123xyz", "longest", 123456);
}
END_TEST
#endif

START_TEST(names_of_others_are_not_ours)
{
	static const char *const others[] = {"", "qmpsnap", "qmpsnap-", "qmpsnap--", "view0",
		"qmpsnap-abc0123xyz", "qmpsnap-abc0123xy-view0", "qmpsnap-abc0123xyz1-view0",
		"qmpsnap-ABC0123XYZ-view0", "qmpsnap-abc0123x/z-view0", "qmpsnap-abc0123x z-view0",
		"qmpsnap_abc0123xyz-view0", " qmpsnap-abc0123xyz-view0", "Qmpsnap-abc0123xyz-view0",
		"xqmpsnap-abc0123xyz-view0", "qmpsnap-abc0123xy\xc3-view0",
		/* The start is right, and no run ends so. */
		"qmpsnap-abc0123xyz-", "qmpsnap-abc0123xyz-0", "qmpsnap-abc0123xyz-view",
		"qmpsnap-abc0123xyz-view0/../../x", "qmpsnap-abc0123xyz-view0\n",
		"qmpsnap-abc0123xyz-view0 ", "qmpsnap-abc0123xyz-my-disk0",
		"qmpsnap-abc0123xyz-toolongfor31b0"};
	char run[NAME_RUN_BYTES] = "untouched";

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		ck_assert_msg(!name_is_ours(others[i], run), "\"%s\"", others[i]);
	ck_assert(!name_is_ours(NULL, run));
	ck_assert_str_eq(run, "untouched");
}
END_TEST

START_TEST(any_name_becomes_a_file_name)
{
	static const char *const cases[][2] = {{"web-1.2_x", "web-1.2_x"}, {"..", "_."},
		{"../../etc/passwd", "_._.._etc_passwd"}, {".hidden", "_hidden"},
		{"a b\nc", "a_b_c"}, {"\xc3\xa4", "__"}, {"a:b*?", "a_b__"}, {"-rf", "-rf"}};
	char file[NAME_FILE_BYTES], name[1000];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		name_for_file(file, cases[i][0]);
		ck_assert_str_eq(file, cases[i][1]);
	}
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	name_for_file(file, name);
	ck_assert_uint_eq(strlen(file), 200);
}
END_TEST

START_TEST(times_are_utc)
{
	const struct timespec when = {.tv_sec = 1795440014, .tv_nsec = 123999999};
	char text[NAME_TIME_BYTES];

	ck_assert_int_eq(setenv("TZ", "Asia/Tokyo", 1), 0);
	name_time(text, &when);
	ck_assert_str_eq(text, "2026-11-23T13:20:14.123Z");
	name_time_compact(text, &when);
	ck_assert_str_eq(text, "20261123t132014z");
}
END_TEST

/* ---- JSON -------------------------------------------------------------------------------- */

START_TEST(wrong_types_are_as_if_missing)
{
	struct json_object *object = json_tokener_parse(
		"{\"s\": \"x\", \"i\": 5, \"b\": true, \"n\": null, \"a\": [1, 2], \"o\": {}, "
		"\"d\": 1.5, \"neg\": -7, \"big\": 9223372036854775807}");
	static const char *const keys[] = {"s", "i", "b", "n", "a", "o", "d", "neg", "big", "no"};
	struct json_object *array = json_member(object, "a", json_type_array);

	ck_assert_ptr_nonnull(object);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *k = keys[i];
		ck_assert_msg((json_string(object, k) != NULL) == (*k == 's'), "%s", k);
		ck_assert_int_eq(json_int(object, k, 42), *k == 'i'           ? 5
							  : !strcmp(k, "neg") ? -7
							  : !strcmp(k, "big") ? INT64_MAX
									      : 42);
		ck_assert_int_eq(json_flag(object, k, false), !strcmp(k, "b"));
		ck_assert_int_eq(json_flag(object, k, true), 1);
	}
	ck_assert_str_eq(json_string(object, "s"), "x");
	ck_assert_uint_eq(json_length(array), 2);
	ck_assert_uint_eq(json_length(object), 0);
	ck_assert_uint_eq(json_length(NULL), 0);
	/* What isn't an object has no members. */
	ck_assert_ptr_null(json_member(NULL, "s", json_type_string));
	ck_assert_ptr_null(json_member(array, "s", json_type_string));
	ck_assert_ptr_null(json_string(NULL, "s"));
	ck_assert_int_eq(json_int(array, "i", 42), 42);
	ck_assert_int_eq(json_flag(NULL, "b", true), 1);
	ck_assert_ptr_null(json_member(object, "n", json_type_null));
	json_object_put(object);
}
END_TEST

/* What misses something, at any depth, has no text. */
START_TEST(json_is_whole_or_has_no_text)
{
	struct json_object *outer = json_new(), *inner = json_new(),
			   *list = json_object_new_array();

	json_append(list, inner);
	json_put(outer, "list", list);
	json_put_null(outer, "none");
	json_put_string(outer, "absent", NULL);
	ck_assert_str_eq(json_text(outer), "{\"list\":[{}],\"none\":null}");
	json_put(inner, "x", NULL);
	ck_assert_ptr_null(json_text(outer));
	json_object_put(outer);

	list = json_object_new_array();
	json_append(list, NULL);
	ck_assert_ptr_null(json_text(list));
	json_append(NULL, list);
	json_put(NULL, "x", json_new());
	json_put_null(NULL, "x");
	json_put_bool(NULL, "x", true);
}
END_TEST

START_TEST(values_are_written)
{
	struct json_object *object = json_object_new_object();
	char value[] = "a/\"b\"";

	json_put_string(object, "s", value);
	value[0] = 'X'; /* a copy was taken */
	json_put_string(object, "none", NULL);
	json_put_int(object, "i", INT64_MIN);
	json_put_uint(object, "u", UINT64_MAX);
	json_put_bool(object, "b", true);
	ck_assert_str_eq(json_text(object), "{\"s\":\"a/\\\"b\\\"\",\"i\":-9223372036854775808,"
					    "\"u\":18446744073709551615,\"b\":true}");
	json_object_put(object);
}
END_TEST

/* ---- Log --------------------------------------------------------------------------------- */

static char logged[4096];
static enum qmpsnap_log_level logged_level;

static void sink(enum qmpsnap_log_level level, const char *message, void *data)
{
	(void)snprintf(logged, sizeof(logged), "%s%s", (const char *)data, message);
	logged_level = level;
}

START_TEST(lines_up_to_the_level_reach_the_sink)
{
	char data[] = "> ", text[4000];

	ck_assert(!log_wanted(QMPSNAP_LOG_WARNING));
	log_line(QMPSNAP_LOG_WARNING, "to nobody");
	qmpsnap_log_to(QMPSNAP_LOG_INFO, sink, data);
	ck_assert(log_wanted(QMPSNAP_LOG_WARNING) && log_wanted(QMPSNAP_LOG_INFO));
	ck_assert(!log_wanted(QMPSNAP_LOG_DEBUG));
	log_line(QMPSNAP_LOG_DEBUG, "not wanted");
	ck_assert_str_eq(logged, "");
	log_line(QMPSNAP_LOG_INFO, "%d", 5);
	ck_assert_str_eq(logged, "> 5");
	ck_assert_int_eq(logged_level, QMPSNAP_LOG_INFO);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_line(QMPSNAP_LOG_WARNING, "%s", text);
	ck_assert_uint_gt(strlen(logged), 1000);
	qmpsnap_log_to(QMPSNAP_LOG_INFO, NULL, NULL);
	ck_assert(!log_wanted(QMPSNAP_LOG_WARNING));
}
END_TEST

static char heard[20000];

static void hear(enum qmpsnap_log_level level, const char *message, void *data)
{
	(void)level, (void)data;
	(void)snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "%s.", message);
}

START_TEST(debug_lines_are_held_back)
{
	qmpsnap_log_to(QMPSNAP_LOG_DEBUG, hear, NULL);
	log_hold();
	log_hold();
	log_line(QMPSNAP_LOG_DEBUG, "b");
	log_line(QMPSNAP_LOG_WARNING, "a");
	ck_assert_str_eq(heard, "a.");
	log_release();
	ck_assert_str_eq(heard, "a.");
	log_release();
	ck_assert_str_eq(heard, "a.b.");
	log_line(QMPSNAP_LOG_DEBUG, "c");
	ck_assert_str_eq(heard, "a.b.c.");

	heard[0] = '\0';
	log_hold();
	for (int i = 0; i < 70; i++)
		log_line(QMPSNAP_LOG_DEBUG, "%d", i);
	ck_assert_str_eq(heard, "");
	log_release();
	ck_assert_ptr_nonnull(strstr(heard, ".63.(and 6 more lines)."));
	qmpsnap_log_to(QMPSNAP_LOG_INFO, NULL, NULL);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("base");
	TCase *t = tcase_create("base");

	tcase_add_test(t, errors_say_what_failed);
	tcase_add_test(t, errors_are_cut_where_the_room_ends);
	tcase_add_test(t, sizes_are_read);
	tcase_add_test(t, durations_are_read);
	tcase_add_test(t, sizes_and_durations_are_written);
	tcase_add_test(t, runs_and_uuids_are_random);
	tcase_add_test(t, unreal_uuids_identify_nothing);
	tcase_add_test(t, node_names_fit_qemu);
#ifndef NDEBUG
	tcase_add_test_raise_signal(t, node_names_that_do_not_fit_are_a_bug, SIGABRT);
#endif
	tcase_add_test(t, names_of_others_are_not_ours);
	tcase_add_test(t, any_name_becomes_a_file_name);
	tcase_add_test(t, times_are_utc);
	tcase_add_test(t, wrong_types_are_as_if_missing);
	tcase_add_test(t, values_are_written);
	tcase_add_test(t, json_is_whole_or_has_no_text);
	tcase_add_test(t, lines_up_to_the_level_reach_the_sink);
	tcase_add_test(t, debug_lines_are_held_back);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
