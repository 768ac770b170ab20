/* SPDX-License-Identifier: Apache-2.0
 *
 * Images in a folder: fetched, verified, deleted. */
#include "base/json.h"
#include "base/shelf.h"
#include "fixture.h"
#include "images_kit.h"
#include "store_kit.h"
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME "web_1-" KIT_ID

/* All bytes are there, and the file gets its name. */
static bool is_fetched(void)
{
	got.fetching = got.fetching || got.op->fetch;
	return got.fetching && !got.op->fetch;
}

static size_t act(enum qmpsnap_images_action action)
{
	static const char *const which[] = {KIT_ID};

	return run(&loop, &(struct qmpsnap_images_options){
				  .action = action, .which = which, .n_which = 1, .folder = base});
}

static const struct {
	uint64_t size_bytes;
	unsigned zero_every;
} shapes[] = {{0, 0}, {1, 0}, {4096, 0}, {1 << 20, 0}, {20000001, 3}, {30000128, 0}, {16 << 20, 1}};

START_TEST(test_download)
{
	struct stat st, from;

	fill(&loop, shapes[_i].size_bytes, shapes[_i].zero_every);
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_DOWNLOAD), 1);
	ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
	ck_assert_uint_eq(got.done_bytes, shapes[_i].size_bytes);
	ck_assert_int_eq(stat(path_of(FILE_NAME ".raw"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_uint_eq((uint64_t)st.st_size, shapes[_i].size_bytes);
	ck_assert_int_eq(stat(path_of("store/" FILE_NAME ".raw"), &from), 0);
	ck_assert_int_le(st.st_blocks, from.st_blocks + 8); /* holes stay holes */
	struct json_object *image = json_object_array_get_idx(got.images, 0);
	ck_assert_str_eq(json_string(image, "path"), path_of(FILE_NAME ".raw"));
	ck_assert(fake_stream_equals_file(&stream, path_of(FILE_NAME ".raw")));
	ck_assert_int_eq(kit_count_files(base), 2);
	/* It isn't written over. */
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_DOWNLOAD), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_REFUSED);
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_VERIFY), 1);
	empty();
}
END_TEST

START_TEST(test_damaged)
{
	uint8_t byte = 0x5a;

	fill(&loop, 3000000, 0);
	const int fd = open(path_of("store/" FILE_NAME ".raw"), O_RDWR | O_CLOEXEC);
	if (_i == 0) {
		ck_assert_int_eq(pread(fd, &byte, 1, 2000000), 1);
		byte ^= 1;
		ck_assert_int_eq(pwrite(fd, &byte, 1, 2000000), 1);
	} else {
		ck_assert_int_eq(ftruncate(fd, _i == 1 ? 2999999 : 3000001), 0);
	}
	(void)close(fd);
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_DOWNLOAD), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_STORE);
	ck_assert_int_eq(kit_count_files(base), 1); /* only the store */
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_VERIFY), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_STORE);
	empty();
}
END_TEST

START_TEST(test_cancel)
{
	static const uint64_t at[] = {1, 2, 5 << 20};

	fill(&loop, 30 << 20, 0);
	got.cancel_at = at[_i];
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_DOWNLOAD), 0);
	ck_assert_int_eq(got.err.code, _i ? QMPSNAP_INTERRUPTED : QMPSNAP_TERMINATED);
	ck_assert_int_eq(kit_count_files(base), 1);
	empty();
}
END_TEST

START_TEST(test_download_cancelled)
{
	fill(&loop, 4096, 0);
	got.cancel_turn = 1;
	got.is_turn = _i ? is_fetched : is_any;
	(void)act(QMPSNAP_IMAGES_DOWNLOAD);
	ck_assert_int_eq(got.err.code, _i ? QMPSNAP_OK : QMPSNAP_INTERRUPTED);
	ck_assert_int_eq(access(path_of(FILE_NAME ".raw"), F_OK) == 0, _i);
	empty();
}
END_TEST

START_TEST(test_delete)
{
	fill(&loop, 4096, 0);
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_DELETE), 1);
	ck_assert_int_eq(got.err.code, QMPSNAP_OK);
	ck_assert_int_eq(kit_count_files(path_of("store")), 0);
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_DELETE), 0);
	ck_assert_int_eq(got.err.detail, 404);
	/* All of a store is never meant by saying nothing. */
	ck_assert_uint_eq(
		run(&loop, &(struct qmpsnap_images_options){.action = QMPSNAP_IMAGES_DELETE}), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_USAGE);
	empty();
}
END_TEST

/* Files that lie about whom they belong to. */
START_TEST(test_strange_files)
{
	static const char *const names[] = {
		"x.json", ".web_1-" KIT_ID ".json", "y-" KIT_ID ".json"};
	static const char *const texts[] = {"{\"id\": \"" KIT_ID "\", \"disk_format\": \"raw\"}",
		"{\"id\": \"../../" KIT_ID "\"}", "[", "",
		"{\"id\": \"" KIT_ID "\", \"disk_format\": \"../x\"}"};
	FILE *file;

	fill(&loop, 4096, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]); j++) {
			char name[300];
			(void)snprintf(name, sizeof(name), "store/%s", names[i]);
			file = fopen(path_of(name), "w");
			ck_assert_ptr_nonnull(file);
			(void)fputs(texts[j], file);
			(void)fclose(file);
			ck_assert_uint_eq(
				run(&loop, &(struct qmpsnap_images_options){.all = true}), 1);
		}
	}
	/* A link out of the folder is no image. */
	ck_assert_int_eq(unlink(path_of("store/" FILE_NAME ".raw")), 0);
	ck_assert_int_eq(symlink("/etc/passwd", path_of("store/" FILE_NAME ".raw")), 0);
	ck_assert_uint_eq(run(&loop, &(struct qmpsnap_images_options){.all = true}), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_OK);
	empty();
}
END_TEST

static bool take_nothing(struct shelf_sink *sink, const void *bytes, size_t len)
{
	(void)sink;
	(void)bytes;
	ck_abort_msg("%zu bytes", len);
	return true;
}

static void on_fetched(const struct qmpsnap_error *failure, void *data)
{
	struct qmpsnap_error *end = data;

	*end = failure ? *failure : (struct qmpsnap_error){.code = QMPSNAP_OK};
	got.calls++;
}

/* What stands there is no regular file any more when it is opened. */
START_TEST(test_swapped)
{
	struct json_object *record = json_object_new_object();
	struct shelf_sink sink = {.take = take_nothing};
	struct qmpsnap_error end;

	fill(&loop, 4096, 0);
	const char *path = path_of("store/" FILE_NAME ".raw");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	json_put_string(record, "location", path);
	ck_assert_ptr_nonnull(
		store->ops->shelf->fetch(store, record, &sink, on_fetched, &end, &err));
	while (got.calls == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert_int_eq(end.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(end.message, "is not a regular file"));
	(void)json_object_put(record);
	empty();
}
END_TEST

START_TEST(test_no_shelf)
{
	store = qmpsnap_store_open(&loop, "file:/tmp/x", NULL, &err);
	ck_assert_uint_eq(run(&loop, &(struct qmpsnap_images_options){.all = true}), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_USAGE);
	clear();
	qmpsnap_store_close(store);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("images");
	TCase *tcase = tcase_create("images");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
	tcase_add_loop_test(tcase, test_download, 0, sizeof(shapes) / sizeof(shapes[0]));
	tcase_add_loop_test(tcase, test_damaged, 0, 3);
	tcase_add_loop_test(tcase, test_cancel, 0, 3);
	tcase_add_loop_test(tcase, test_download_cancelled, 0, 2);
	tcase_add_test(tcase, test_delete);
	tcase_add_test(tcase, test_strange_files);
	tcase_add_test(tcase, test_swapped);
	tcase_add_test(tcase, test_no_shelf);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
