/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/peer_file.h"
#include "suite.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/var/tmp/qmpsnap-peer-XXXXXX";
static char path[64];
static struct qmpsnap_error err;

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/disk", folder);
	const int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(close(fd), 0);
}

static void teardown(void)
{
	(void)unlink(path);
	ck_assert_int_eq(rmdir(folder), 0);
}

/* The peer: it has the file open with these flags until it is ended. */
static pid_t start_peer(int flags)
{
	int ready[2];
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	const pid_t pid = fork();
	if (pid == 0) {
		if (open(path, flags) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	ck_assert_int_gt(pid, 0);
	(void)close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	return pid;
}

static bool opens_beside(int flags)
{
	const pid_t pid = start_peer(flags);
	const int fd = peer_file_open(pid, path, &err);

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	if (fd >= 0)
		ck_assert_int_eq(close(fd), 0);
	return fd >= 0;
}

START_TEST(what_the_peer_reads)
{
	ck_assert(opens_beside(O_RDONLY));
	ck_assert(opens_beside(O_RDWR));
}
END_TEST

START_TEST(what_the_peer_does_not_read)
{
	ck_assert(!opens_beside(O_PATH));
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
	ck_assert_ptr_nonnull(strstr(err.message, "isn't the file that QEMU has open"));
	ck_assert(!opens_beside(O_WRONLY));
	ck_assert_int_eq(peer_file_open(getpid(), "/var/tmp/qmpsnap-no-such-file", &err), -1);
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
}
END_TEST

static Suite *suite(void)
{
	Suite *all = suite_create("peer_file");
	TCase *tests = tcase_create("all");

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, what_the_peer_reads);
	tcase_add_test(tests, what_the_peer_does_not_read);
	suite_add_tcase(all, tests);
	return all;
}

SUITE_MAIN(suite)
