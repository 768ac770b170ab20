/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/journal.h"
#include "suite.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUN "abcdefghij"

static char state[] = "/tmp/qmpsnap-journal-XXXXXX";
static char folder_path[64], path[96];
static struct journal journal;
static struct qmpsnap_error err;
static char taken[4096];

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(state));
	(void)snprintf(folder_path, sizeof(folder_path), "%s/journal", state);
	(void)snprintf(path, sizeof(path), "%s/" RUN, folder_path);
	ck_assert(journal_open(&journal, state, RUN, &err));
	ck_assert(journal_create(&journal, &err));
}

static void teardown(void)
{
	journal_close(&journal);
	(void)unlink(path);
	ck_assert_int_eq(rmdir(folder_path), 0);
	ck_assert_int_eq(rmdir(state), 0);
}

static bool write_text(const char *text)
{
	struct json_object *record = json_object_new_object();

	json_put_string(record, "record", text);
	const bool well = journal_write(&journal, record, &err);
	json_object_put(record);
	return well;
}

/* Behind the journal's back. */
static void append(const char *bytes, size_t n)
{
	const int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
	ck_assert_int_eq(close(fd), 0);
}

static bool take(struct json_object *record, void *data)
{
	const char *text = json_string(record, "record");

	(void)data;
	if (!text)
		return false;
	(void)snprintf(taken + strlen(taken), sizeof(taken) - strlen(taken), "%s.", text);
	return true;
}

/* As another process that finds it. */
static int open_dead(struct journal *dead)
{
	const int folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_ge(folder, 0);
	const int opened = journal_open_dead(dead, folder, RUN, false, &err);
	ck_assert_int_eq(close(folder), 0);
	return opened;
}

static bool read_dead(const char *expected)
{
	struct journal dead;

	journal_close(&journal);
	ck_assert_int_eq(open_dead(&dead), 1);
	taken[0] = '\0';
	const bool well = journal_read(&dead, take, NULL, &err);
	ck_assert_str_eq(taken, expected);
	journal_close(&dead);
	return well;
}

START_TEST(what_was_written_is_read)
{
	ck_assert(write_text("one"));
	ck_assert(write_text("two\nlines"));
	ck_assert_int_eq(journal_sync(&journal), 0);
	ck_assert(read_dead("one.two\nlines."));
}
END_TEST

START_TEST(nobody_else_can_read_it)
{
	struct stat status;

	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0600);
	ck_assert_int_eq(stat(folder_path, &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 0700);
}
END_TEST

START_TEST(a_live_one_is_left_alone)
{
	struct journal dead;

	ck_assert_int_eq(open_dead(&dead), 0);
	const int guard = dup(journal.fd);
	journal_close(&journal);
	ck_assert_int_eq(open_dead(&dead), 0); /* the guard lives */
	ck_assert_int_eq(close(guard), 0);
	ck_assert_int_eq(open_dead(&dead), 1);
	journal_remove(&dead);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(open_dead(&dead), 0);
}
END_TEST

START_TEST(a_torn_line_does_not_count)
{
	ck_assert(write_text("one"));
	append("{\"record\":\"tw", 13);
	ck_assert(read_dead("one."));
}
END_TEST

START_TEST(a_broken_line_ends_it)
{
	static const char *const lines[] = {"\0\n", "[1]\n", "{}x\n", "{\"record\":\n", "\n",
		"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}\n",
		"{\"other\":1}\n"};

	ck_assert(write_text("one"));
	append(lines[_i], _i == 0 ? 2 : strlen(lines[_i]));
	append("{\"record\":\"three\"}\n", 19);
	ck_assert(!read_dead("one."));
	ck_assert_int_eq(err.code, QMPSNAP_INTERNAL);
}
END_TEST

/* A disk that is full in the middle of a line leaves none. */
START_TEST(a_full_disk_leaves_whole_lines)
{
	const struct rlimit limit = {.rlim_cur = 40, .rlim_max = RLIM_INFINITY};
	struct rlimit before;

	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	ck_assert(write_text("one"));
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert(!write_text("one that has no room any more"));
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	ck_assert_ptr_nonnull(strstr(err.message, RUN));
	ck_assert(write_text("two"));
	ck_assert(read_dead("one.two."));
}
END_TEST

/* A guard gets the file empty, and the run writes to it before the guard has to. */
START_TEST(a_guards_full_disk_leaves_its_runs_lines)
{
	const struct rlimit limit = {.rlim_cur = 40, .rlim_max = RLIM_INFINITY};
	struct journal guard = journal;
	struct rlimit before;

	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	guard.fd = dup(journal.fd);
	ck_assert(write_text("one"));
	journal_close(&journal);
	journal = guard;
	journal.folder = -1;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert(!write_text("one that has no room any more"));
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	ck_assert(write_text("two"));
	ck_assert(read_dead("one.two."));
}
END_TEST

START_TEST(no_link_is_followed)
{
	struct journal dead;

	journal_remove(&journal);
	ck_assert_int_eq(symlink("/etc/passwd", path), 0);
	ck_assert_int_eq(open_dead(&dead), -1);
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
	ck_assert(journal_open(&journal, state, RUN, &err));
	ck_assert(!journal_create(&journal, &err));
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
}
END_TEST

START_TEST(no_fifo_is_waited_for)
{
	struct journal dead;

	journal_remove(&journal);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(open_dead(&dead), -1);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("journal");
	TCase *t = tcase_create("file");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_was_written_is_read);
	tcase_add_test(t, nobody_else_can_read_it);
	tcase_add_test(t, a_live_one_is_left_alone);
	tcase_add_test(t, a_torn_line_does_not_count);
	tcase_add_loop_test(t, a_broken_line_ends_it, 0, 7);
	tcase_add_test(t, a_full_disk_leaves_whole_lines);
	tcase_add_test(t, a_guards_full_disk_leaves_its_runs_lines);
	tcase_add_test(t, no_link_is_followed);
	tcase_add_test(t, no_fifo_is_waited_for);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
