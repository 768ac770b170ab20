/* SPDX-License-Identifier: Apache-2.0
 *
 * A file that grows, and its file system. */
#include "blockops/room_watch.h"
#include "fixture.h"
#include "suite.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((off_t)1 << 20)

static int fd;
static struct qmpsnap_error last;
static unsigned n_full, n_grown;
static struct room_watch *watch;

static void setup(void)
{
	char path[] = "/tmp/qmpsnap-room-XXXXXX";

	loop_setup();
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(unlink(path), 0);
	n_full = n_grown = 0;
	watch = NULL;
}

static void teardown(void)
{
	room_watch_stop(watch);
	close(fd);
	loop_teardown();
}

static void stop(void)
{
	room_watch_stop(watch);
	watch = NULL;
}

static void on_full(const struct qmpsnap_error *err, void *data)
{
	ck_assert_ptr_eq(data, &fd);
	n_full++;
	last = *err;
}

static void on_grew(void *data)
{
	ck_assert_ptr_eq(data, &fd);
	n_grown++;
}

static void start(uint64_t most_bytes, uint64_t keep_free_bytes)
{
	struct qmpsnap_error err;
	const struct room_watch_options options = {.fd = fd,
		.most_bytes = most_bytes,
		.keep_free_bytes = keep_free_bytes,
		.disk = "vda",
		.folder = "/scratch",
		.grew = on_grew,
		.full = on_full,
		.data = &fd};

	watch = room_watch_start(&loop, &options, &err);
	ck_assert_ptr_nonnull(watch);
}

static void write_bytes(off_t at, off_t len)
{
	static const char block[65536] = {1};

	for (off_t done = 0; done < len; done += (off_t)sizeof(block))
		ck_assert_int_eq(pwrite(fd, block, sizeof(block), at + done), sizeof(block));
}

static void on_timer(uv_timer_t *timer)
{
	uv_close((uv_handle_t *)timer, NULL);
	uv_stop(&loop);
}

/* Several looks long. */
static void run_for_a_while(void)
{
	uv_timer_t timer;

	ck_assert_int_eq(uv_timer_init(&loop, &timer), 0);
	ck_assert_int_eq(uv_timer_start(&timer, on_timer, 300, 0), 0);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	(void)uv_run(&loop, UV_RUN_NOWAIT); /* the timer's close */
}

START_TEST(tells_once_of_a_file_that_grew)
{
	start((uint64_t)(2 * MIB), 0);
	write_bytes(0, 2 * MIB);
	run_for_a_while();
	ck_assert_uint_eq(n_full, 0);
	write_bytes(2 * MIB, MIB / 16);
	ck_assert_uint_eq(n_full, 0);
	run_for_a_while();
	ck_assert_uint_eq(n_full, 1);
	ck_assert_int_eq(last.code, QMPSNAP_VIEW);
	ck_assert_str_eq(
		last.message, "disk vda: its copy needs more than the 2.0 MiB left for it");
	ck_assert_ptr_nonnull(strstr(last.hint, "--scratch-limit"));
}
END_TEST

START_TEST(tells_of_growth_and_of_nothing_else)
{
	start((uint64_t)(64 * MIB), 0);
	run_for_a_while();
	ck_assert_uint_eq(n_grown, 0);
	write_bytes(0, MIB);
	run_for_a_while();
	ck_assert_uint_eq(n_grown, 1);
	write_bytes(0, MIB); /* again */
	ck_assert_int_eq(ftruncate(fd, 32 * MIB), 0);
	run_for_a_while();
	ck_assert_uint_eq(n_grown, 1);
	write_bytes(16 * MIB, MIB);
	run_for_a_while();
	ck_assert_uint_eq(n_grown, 2);
	ck_assert_uint_eq(n_full, 0);
}
END_TEST

START_TEST(holes_take_nothing)
{
	struct qmpsnap_error err;

	start((uint64_t)(2 * MIB), 0);
	ck_assert_int_eq(ftruncate(fd, 1024 * MIB), 0);
	write_bytes(1000 * MIB, MIB);
	ck_assert(room_watch_fits(watch, &err));
	write_bytes(500 * MIB, 2 * MIB);
	ck_assert(!room_watch_fits(watch, &err));
}
END_TEST

/* As XFS allocates ahead of a file that grows. */
START_TEST(what_lies_behind_the_end_does_not_count)
{
	struct qmpsnap_error err;

	start((uint64_t)(2 * MIB), 0);
	write_bytes(0, MIB);
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 8 * MIB) == 0)
		ck_assert(room_watch_fits(watch, &err));
}
END_TEST

START_TEST(tells_of_a_full_file_system)
{
	start(UINT64_MAX, UINT64_MAX);
	run_for_a_while();
	ck_assert_uint_eq(n_full, 1);
	ck_assert_int_eq(last.code, QMPSNAP_VIEW);
	ck_assert_ptr_nonnull(strstr(last.message, "disk vda"));
	ck_assert_ptr_nonnull(strstr(last.message, "/scratch"));
}
END_TEST

START_TEST(stopped_it_tells_nothing)
{
	start(1, UINT64_MAX);
	write_bytes(0, MIB);
	stop();
	run_for_a_while();
	ck_assert_uint_eq(n_full, 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("room_watch");
	TCase *c = tcase_create("watch");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 30);
	tcase_add_test(c, tells_once_of_a_file_that_grew);
	tcase_add_test(c, tells_of_growth_and_of_nothing_else);
	tcase_add_test(c, holes_take_nothing);
	tcase_add_test(c, what_lies_behind_the_end_does_not_count);
	tcase_add_test(c, tells_of_a_full_file_system);
	tcase_add_test(c, stopped_it_tells_nothing);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)
