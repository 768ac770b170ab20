/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "base/store.h"
#include "blockops/rotate.h"
#include "blockops/snapshot.h"
#include "fixture.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

#define UUID  "6a1c2e0f-4b5d-4e6f-8a9b-0c1d2e3f4a5b"
#define OTHER "7b1c2e0f-4b5d-4e6f-8a9b-0c1d2e3f4a5b"

static struct json_object *records;

static void set_id(char id[static 37], char set)
{
	(void)snprintf(id, 37, "0f7a1c2e-4b5d-4e6f-8a9b-0c1d2e3f000%c", set);
}

/* An image of set `set` with a day as its time; `more` are further members, which win. */
static void add(char set, unsigned day, const char *more)
{
	char text[1024], id[37];
	struct json_object *record, *extra;

	set_id(id, set);
	(void)snprintf(text, sizeof(text),
		"{\"id\": \"%c\", \"qmpsnap_image\": \"%c\", \"foreign\": false, \"qmpsnap_run\": "
		"\"abcdefghij\", "
		"\"qmpsnap_set\": \"%s\", \"qmpsnap_verified\": \"true\", \"qmpsnap_guest\": "
		"\"web\", \"instance_uuid\": \"" UUID "\", \"image_type\": \"backup\", "
		"\"backup_type\": \"daily\", \"qmpsnap_instant\": \"2026-11-%02uT00:00:00.000Z\"}",
		set, set, id, day);
	record = json_tokener_parse(text);
	(void)snprintf(text, sizeof(text), "{%s}", more);
	extra = json_tokener_parse(text);
	ck_assert_ptr_nonnull(record);
	ck_assert_ptr_nonnull(extra);
	struct json_object_iterator at = json_object_iter_begin(extra);
	const struct json_object_iterator end = json_object_iter_end(extra);
	for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at))
		(void)json_object_object_add(record, json_object_iter_peek_name(&at),
			json_object_get(json_object_iter_peek_value(&at)));
	(void)json_object_put(extra);
	(void)json_object_array_add(records, record);
}

/* The sets that are deleted, in order, a letter for each image. */
static const char *doomed(struct rotation rotation, char newest)
{
	static char letters[32];
	char id[37];

	set_id(id, newest);
	rotation.newest_set = id;
	if (!rotation.backup_type)
		rotation.backup_type = "daily";
	struct json_object *array = rotate_choose(records, &rotation);
	const size_t n = json_length(array);
	for (size_t i = 0; i < n; i++)
		letters[i] = json_string(json_object_array_get_idx(array, i), "id")[0];
	letters[n] = '\0';
	(void)json_object_put(array);
	return letters;
}

static void setup(void)
{
	records = json_object_new_array();
}

static void teardown(void)
{
	(void)json_object_put(records);
}

START_TEST(test_whole_sets)
{
	add('c', 3, "");
	add('a', 1, "");
	add('d', 4, "");
	add('a', 1, "");
	add('b', 2, "");
	add('b', 2, "");
	add('b', 2, "");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 4}, 'd'), "");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 3}, 'd'), "aa");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 2}, 'd'), "aabbb");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 1}, 'd'), "aabbbc");
	ck_assert_str_eq(
		doomed((struct rotation){.uuid = UUID, .keep = 1, .backup_type = "weekly"}, 'd'),
		"");
}
END_TEST

/* What is never deleted, whatever its age. */
static const char *const others[] = {
	"\"foreign\": true",
	"\"foreign\": null",
	"\"protected\": true",
	"\"qmpsnap_run\": null",
	"\"qmpsnap_image\": null",
	"\"qmpsnap_image\": \"z\"", /* made from a server that was booted from one of ours */
	"\"qmpsnap_set\": \"\"",
	("\"instance_uuid\": \"" OTHER "\""),
	"\"instance_uuid\": null",
	"\"image_type\": \"snapshot\"",
	"\"backup_type\": \"weekly\"",
	"\"backup_type\": null",
	"\"qmpsnap_verified\": null",
	"\"status\": \"queued\"",
	"\"status\": \"saving\"",
	"\"qmpsnap_instant\": null",
};

START_TEST(test_never)
{
	add('a', 1, others[_i]);
	add('b', 2, "");
	add('c', 3, "");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 1}, 'c'), "b");
}
END_TEST

/* One image of a set keeps all of it. */
START_TEST(test_part_of_a_set)
{
	add('a', 1, "");
	add('a', 1, "\"protected\": true");
	add('b', 2, "");
	add('b', 2, "\"qmpsnap_verified\": null");
	add('c', 3, "\"foreign\": true");
	add('c', 3, "");
	add('d', 4, "");
	add('e', 5, "");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 1}, 'e'), "d");
}
END_TEST

#define OF(n) "\"qmpsnap_disks\": \"" n "\""

/* One that misses an image counts as none, and goes when it is older than all that stay. */
START_TEST(test_incomplete)
{
	add('a', 1, OF("2"));
	add('b', 2, OF("2"));
	add('b', 2, OF("2"));
	add('c', 3, OF("1"));
	add('d', 4, OF("2"));
	add('e', 5, OF("2"));
	add('e', 5, OF("2"));
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 4}, 'e'), "");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 3}, 'e'), "a");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 2}, 'e'), "abb");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 1}, 'e'), "abbcd");
	/* Not even the newest one: nothing goes for it that wouldn't go without. */
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 1}, 'd'), "abbc");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 3}, 'd'), "a");
}
END_TEST

/* What an older version made doesn't say, nor what says it in a way that can't be read. */
START_TEST(test_unknown_size)
{
	static const char *const says[] = {
		"", OF(""), OF("two"), OF("-1"), OF("0"), OF("999999"), "\"qmpsnap_disks\": 2"};

	add('a', 1, says[_i]);
	add('b', 2, "");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 2}, 'b'), "");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 1}, 'b'), "a");
}
END_TEST

/* Whose store has other projects' sets in sight doesn't lose his own to them. */
START_TEST(test_foreign_does_not_count)
{
	add('a', 1, "");
	add('b', 2, "");
	add('c', 3, "\"foreign\": true");
	add('d', 4, "\"foreign\": true");
	add('d', 4, "");
	add('e', 5, "");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 3}, 'e'), "");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 2}, 'e'), "a");
}
END_TEST

/* Nor does a guest to the images that others have made of servers booted from its backups. */
START_TEST(test_copies_do_not_count)
{
	add('a', 1, "");
	add('b', 2, "\"qmpsnap_image\": \"a\"");
	add('c', 3, "");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 2}, 'c'), "");
}
END_TEST

/* What was just made stays, also when a clock says that it is the oldest. */
START_TEST(test_newest)
{
	add('a', 1, "");
	add('b', 2, "");
	add('c', 3, "");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 2}, 'a'), "b");
	ck_assert_str_eq(doomed((struct rotation){.uuid = UUID, .keep = 1}, 'a'), "bc");
}
END_TEST

START_TEST(test_by_name)
{
	add('a', 1, "\"instance_uuid\": null");
	add('b', 2, "\"instance_uuid\": \"00000000-0000-0000-0000-000000000000\"");
	add('c', 3, ""); /* has a UUID: another guest of that name */
	add('d', 4, "\"instance_uuid\": null, \"qmpsnap_guest\": \"db\"");
	add('e', 5, "\"instance_uuid\": null");
	ck_assert_str_eq(doomed((struct rotation){.name = "web", .keep = 1}, 'e'), "ab");
	ck_assert_str_eq(doomed((struct rotation){.name = "we", .keep = 1}, 'e'), "");
}
END_TEST

/* ---- Under way, in a store that doesn't answer -------------------------------------------- */

static struct shelf_call call;
static shelf_listed_fn *listed;
static char warning[700];
static bool over;

static struct shelf_call *list(struct qmpsnap_store *store, const struct shelf_filter *filter,
	shelf_listed_fn *done, void *data, struct qmpsnap_error *err)
{
	(void)store;
	(void)filter;
	(void)data;
	(void)err;
	listed = done;
	return &call;
}

static struct qmpsnap_snapshot *under_way;

static void stop(struct shelf_call *stopped)
{
	const struct qmpsnap_error err = {.code = QMPSNAP_STORE, .message = "stopped"};

	ck_assert_ptr_eq(stopped, &call);
	listed(&err, NULL, under_way);
}

static const struct shelf_ops shelf = {.list = list, .stop = stop};
static const struct store_ops ops = {.shelf = &shelf};
static struct qmpsnap_store store = {.ops = &ops};

static void on_event(const struct qmpsnap_event *event, void *data)
{
	(void)data;
	ck_assert_int_eq(event->kind, QMPSNAP_EVENT_WARNING);
	ck_assert_str_eq(warning, "");
	(void)snprintf(warning, sizeof(warning), "%s", event->text);
}

static void then(struct qmpsnap_snapshot *s)
{
	over = true;
	snapshot_free(s);
}

static void begin(void)
{
	loop_setup();
	under_way = snapshot_new(&loop);
	ck_assert_ptr_nonnull(under_way);
	under_way->store = &store;
	under_way->event = on_event;
	call.ops = &shelf;
	warning[0] = '\0';
	over = false;
}

static void run(void)
{
	while (!over)
		ck_assert_int_ne(uv_run(&loop, UV_RUN_ONCE), 0);
	loop_teardown();
}

/* Of the whole snapshot, and of progress. */
START_TEST(test_its_deadlines)
{
	begin();
	if (_i == 0)
		under_way->deadlines.whole_ms = 300;
	else
		under_way->deadlines.stall_ms = 300;
	deadlines_begin(under_way);
	rotate_start(under_way, then);
	run();
	ck_assert_msg(strstr(warning, _i == 0 ? "deadline of" : "no progress for"), "%s", warning);
	ck_assert_msg(strstr(warning, "step rotation"), "%s", warning);
}
END_TEST

/* As a snapshot was being undone that did well. */
START_TEST(test_stopped_before)
{
	const struct qmpsnap_error why = {.code = QMPSNAP_INTERRUPTED, .message = "given up"};

	begin();
	rotate_stop(under_way, &why);
	rotate_start(under_way, then);
	run();
	ck_assert_str_eq(warning, "rotation of backups: given up");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("rotate");
	TCase *tcase = tcase_create("rotate");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_whole_sets);
	tcase_add_loop_test(tcase, test_never, 0, sizeof(others) / sizeof(others[0]));
	tcase_add_test(tcase, test_part_of_a_set);
	tcase_add_test(tcase, test_incomplete);
	tcase_add_loop_test(tcase, test_unknown_size, 0, 7);
	tcase_add_test(tcase, test_foreign_does_not_count);
	tcase_add_test(tcase, test_copies_do_not_count);
	tcase_add_test(tcase, test_newest);
	tcase_add_test(tcase, test_by_name);
	tcase_add_loop_test(tcase, test_its_deadlines, 0, 2);
	tcase_add_test(tcase, test_stopped_before);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
