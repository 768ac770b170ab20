/* SPDX-License-Identifier: Apache-2.0
 *
 * Images put back onto disks: a set goes back whole or not at all. */
#include "base/json.h"
#include "fixture.h"
#include "images_kit.h"
#include "store_kit.h"
#include "suite.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The files are ready: next what are devices is synced, then they get their names. */
static bool is_settled(void)
{
	return got.op->onto_devices;
}

/* In place of libc's: the n-th one from now on fails. */
static unsigned sync_fails_at;

int fsync(int fd)
{
	if (sync_fails_at && --sync_fails_at == 0) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

enum { RESTORED_BYTES = 3000000 };

static void write_old(const char *name)
{
	FILE *file = fopen(path_of(name), "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs("old", file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

/* Two disks over what is there. */
static void restore_two(void)
{
	static const char *const which[] = {SET};
	char a[600], b[600];
	const char *const targets[] = {a, b};

	write_old("a");
	write_old("b");
	(void)snprintf(a, sizeof(a), "vda=%s/a", base);
	(void)snprintf(b, sizeof(b), "vdb=%s/b", base);
	(void)run(&loop, &(struct qmpsnap_images_options){.action = QMPSNAP_IMAGES_RESTORE,
				 .which = which,
				 .n_which = 1,
				 .targets = targets,
				 .n_targets = 2,
				 .force = true,
				 .scratch_dir = base});
}

static bool is_new(const char *name)
{
	struct stat st;

	ck_assert_int_eq(stat(path_of(name), &st), 0);
	return st.st_size == RESTORED_BYTES;
}

static void fill_two(void)
{
	fill(&loop, RESTORED_BYTES, 0);
	put_image(&loop, "9a1c2e0f-4b5d-4e6f-8a9b-0c1d2e3f4a5b", "vdb", RESTORED_BYTES, 0);
}

/* A disk that is full shows at the latest when the files are synced. */
START_TEST(test_restore_sync_fails)
{
	unsigned failed = 0;

	fill_two();
	for (unsigned n = 1; n <= 8; n++) {
		sync_fails_at = n;
		restore_two();
		sync_fails_at = 0;
		failed += got.err.code != QMPSNAP_OK;
		ck_assert_int_eq(is_new("a"), got.err.code == QMPSNAP_OK);
		ck_assert_int_eq(is_new("b"), got.err.code == QMPSNAP_OK);
		ck_assert_int_eq(kit_count_files(base), 3);
	}
	ck_assert_uint_eq(failed, 4); /* both as they came, both as they will stand there */
	empty();
}
END_TEST

/* Who is told that it was given up finds all as it was; who comes too late is told that it's done.
 */
START_TEST(test_restore_cancelled)
{
	fill_two();
	got.cancel_turn = (unsigned)_i + 1;
	got.is_turn = _i < 8 ? is_any : is_settled;
	got.cancel_turn -= _i < 8 ? 0 : 8;
	restore_two();
	ck_assert_int_eq(got.err.code, _i < 9 ? QMPSNAP_INTERRUPTED : QMPSNAP_OK);
	ck_assert_int_eq(is_new("a"), got.err.code == QMPSNAP_OK);
	ck_assert_int_eq(is_new("b"), got.err.code == QMPSNAP_OK);
	ck_assert_uint_eq(json_length(got.images), got.err.code == QMPSNAP_OK ? 2 : 0);
	empty();
}
END_TEST

static bool is_incomplete(void)
{
	ck_assert_uint_ge(run(&loop, &(struct qmpsnap_images_options){.set = SET}), 1);
	struct json_object *image = json_object_array_get_idx(got.images, 0);
	ck_assert_ptr_nonnull(json_member(image, "incomplete", json_type_boolean));
	return json_flag(image, "incomplete", false);
}

static void restore_one(const char *what)
{
	const char *const which[] = {what};
	char a[600];
	const char *const targets[] = {a};

	(void)snprintf(a, sizeof(a), "%s/a", base);
	(void)run(&loop, &(struct qmpsnap_images_options){.action = QMPSNAP_IMAGES_RESTORE,
				 .which = which,
				 .n_which = 1,
				 .targets = targets,
				 .n_targets = 1,
				 .force = true,
				 .scratch_dir = base});
}

/* What is there of a set isn't put back for all of it, unless it is meant by its own name. */
START_TEST(test_restore_half)
{
	static const char *const names[] = {KIT_ID, "web/1"};

	disks = "2";
	fill(&loop, RESTORED_BYTES, 0);
	write_old("a");
	restore_one(SET);
	ck_assert_int_eq(got.err.code, QMPSNAP_REFUSED);
	ck_assert_ptr_nonnull(strstr(got.err.message, "of the 2 images of set " SET " only 1 "));
	ck_assert(!is_new("a"));
	ck_assert(is_incomplete());
	restore_one(names[_i]);
	ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
	ck_assert(is_new("a"));
	put_image(&loop, "9a1c2e0f-4b5d-4e6f-8a9b-0c1d2e3f4a5b", "vdb", RESTORED_BYTES, 0);
	ck_assert(!is_incomplete());
	restore_two();
	ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
	ck_assert(is_new("b"));
	empty();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("images restore");
	TCase *tcase = tcase_create("images restore");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
	tcase_add_test(tcase, test_restore_sync_fails);
	tcase_add_loop_test(tcase, test_restore_cancelled, 0, 10);
	tcase_add_loop_test(tcase, test_restore_half, 0, 2);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
