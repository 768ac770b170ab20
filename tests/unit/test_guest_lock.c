/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/guest_lock.h"
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct qmpsnap_error err;
static char holder[GUEST_LOCK_HOLDER_BYTES];

/* This very process: nobody else's guest. */
static struct identity me(void)
{
	struct identity id;

	identity_of_process(getpid(), &id);
	ck_assert(identity_is_known(&id));
	return id;
}

START_TEST(one_at_a_time)
{
	const struct identity id = me();
	struct guest_lock first, second;
	char expected[GUEST_LOCK_HOLDER_BYTES];

	ck_assert_int_eq(guest_lock_take(&first, &id, "abcdefghij", holder, &err), 1);
	ck_assert_int_eq(guest_lock_take(&second, &id, "second", holder, &err), 0);
	(void)snprintf(expected, sizeof(expected), "run abcdefghij, process %d of user %u",
		(int)getpid(), (unsigned)geteuid());
	ck_assert_str_eq(holder, expected);
	ck_assert_int_eq(second.fd, -1);
	guest_lock_drop(&first);
	ck_assert_int_eq(guest_lock_take(&second, &id, "second", holder, &err), 1);
	guest_lock_drop(&second);
}
END_TEST

START_TEST(a_duplicate_holds_it_on)
{
	const struct identity id = me();
	struct guest_lock first, second;

	ck_assert_int_eq(guest_lock_take(&first, &id, "abcdefghij", holder, &err), 1);
	struct guest_lock guard = first;
	guard.fd = dup(first.fd);
	guest_lock_close(&first);
	ck_assert_int_eq(guest_lock_take(&second, &id, "second", holder, &err), 0);
	guest_lock_drop(&guard);
	ck_assert_int_eq(guest_lock_take(&second, &id, "second", holder, &err), 1);
	guest_lock_drop(&second);
}
END_TEST

START_TEST(what_a_dead_run_left_is_swept)
{
	const struct identity id = me();
	struct guest_lock lock, again;
	char path[160];

	ck_assert_int_eq(guest_lock_take(&lock, &id, "abcdefghij", holder, &err), 1);
	(void)snprintf(path, sizeof(path), "/run/lock/qmpsnap/%s", lock.name);
	guest_lock_sweep();
	ck_assert_int_eq(access(path, F_OK), 0); /* it is held */
	guest_lock_close(&lock);
	ck_assert_int_eq(guest_lock_take(&again, &id, "second", holder, &err), 1);
	guest_lock_close(&again);
	guest_lock_sweep();
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

/* ---- What anybody can do in the folder ---- */

#define LOCKS "/run/lock/qmpsnap"

/* The beginning of the names of this process's locks, and one with an end. */
static void path_of(char path[static 192], const char *end)
{
	const struct identity id = me();

	(void)snprintf(path, 192, LOCKS "/%d-%" PRIu64 "-%" PRIu64 ".%s", (int)id.pid,
		id.started_ticks, id.socket, end);
}

static int lock_as(const char *path, int flags, short type)
{
	struct flock whole = {.l_type = type, .l_whence = SEEK_SET};
	const int fd = open(path, flags | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &whole), 0);
	ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
	return fd;
}

/* The very name that this user's lock would have, made and locked by another one. */
START_TEST(a_strangers_file_is_no_lock)
{
	const struct identity id = me();
	struct guest_lock lock, again;
	char taken[192], other[192];
	const uid_t us[] = {0, 65534};

	for (size_t i = 0; geteuid() == 0 && i < 2; i++) {
		path_of(taken, i == 0 ? "0" : "65534");
		path_of(other, "4711");
		ck_assert_int_eq(seteuid(4711), 0);
		const int first = lock_as(taken, O_RDWR | O_CREAT | O_EXCL, F_WRLCK);
		const int second = lock_as(other, O_RDWR | O_CREAT | O_EXCL, F_WRLCK);
		ck_assert_int_eq(seteuid(0), 0);
		ck_assert_int_eq(seteuid(us[i]), 0);
		ck_assert_int_eq(guest_lock_take(&lock, &id, "abcdefghij", holder, &err), 1);
		ck_assert_int_eq(guest_lock_take(&again, &id, "second", holder, &err), 0);
		ck_assert_int_eq(strncmp(holder, "run abcdefghij,", 15), 0);
		guest_lock_drop(&lock);
		ck_assert_int_eq(guest_lock_take(&lock, &id, "third", holder, &err), 1);
		guest_lock_drop(&lock);
		ck_assert_int_eq(seteuid(0), 0);
		ck_assert_int_eq(unlink(taken) + unlink(other), 0);
		(void)close(first);
		(void)close(second);
	}
}
END_TEST

/* A link and a folder of that name, too. */
START_TEST(a_name_that_no_lock_can_have)
{
	const struct identity id = me();
	struct guest_lock lock;
	char path[192], own[16];

	(void)snprintf(own, sizeof(own), "%u", (unsigned)geteuid());
	path_of(path, own);
	ck_assert_int_eq(symlink("/dev/null", path), 0);
	ck_assert_int_eq(guest_lock_take(&lock, &id, "abcdefghij", holder, &err), 1);
	guest_lock_drop(&lock);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(guest_lock_take(&lock, &id, "abcdefghij", holder, &err), 1);
	guest_lock_drop(&lock);
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

/* What a dead run left can be read, and so be locked after a fashion, by everybody. */
START_TEST(a_readers_lock_is_none)
{
	const struct identity id = me();
	struct guest_lock lock, again;
	char path[192];

	ck_assert_int_eq(guest_lock_take(&lock, &id, "abcdefghij", holder, &err), 1);
	(void)snprintf(path, sizeof(path), LOCKS "/%s", lock.name);
	guest_lock_close(&lock);
	const int reader = lock_as(path, O_RDONLY, F_RDLCK);
	ck_assert_int_eq(guest_lock_take(&lock, &id, "second", holder, &err), 1);
	ck_assert_int_eq(guest_lock_take(&again, &id, "third", holder, &err), 0);
	ck_assert_int_eq(strncmp(holder, "run second,", 11), 0);
	guest_lock_drop(&lock);
	(void)close(reader);
	guest_lock_sweep();
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

static pid_t guest_of(uid_t user)
{
	const pid_t pid = fork();

	if (pid == 0) {
		(void)!setuid(user);
		(void)pause();
		_exit(0);
	}
	return pid;
}

/* Root, QEMU's user and any other one keep each other off where each may. */
START_TEST(users_keep_each_other_off)
{
	static const struct {
		uid_t first, second;
		int taken;
	} cases[] = {{0, 4711, 0}, {0, 65534, 0}, {4711, 0, 0}, {4711, 65534, 0}, {65534, 0, 1},
		{65534, 4711, 1}, {65534, 65534, 0}};
	struct guest_lock first, second;
	struct identity id;
	uid_t owner = 0;

	if (geteuid() != 0)
		return;
	const pid_t pid = guest_of(4711);
	for (int i = 0; i < 1000 && owner != 4711; i++) {
		identity_of_process(pid, &id);
		ck_assert(identity_owner(&id, &owner));
		(void)usleep(10000);
	}
	ck_assert_uint_eq(owner, 4711);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(seteuid(cases[i].first), 0);
		ck_assert_int_eq(guest_lock_take(&first, &id, "abcdefghij", holder, &err), 1);
		ck_assert_int_eq(seteuid(0), 0);
		ck_assert_int_eq(seteuid(cases[i].second), 0);
		ck_assert_int_eq(
			guest_lock_take(&second, &id, "second", holder, &err), cases[i].taken);
		guest_lock_drop(&second);
		ck_assert_int_eq(seteuid(0), 0);
		ck_assert_int_eq(seteuid(cases[i].first), 0);
		guest_lock_drop(&first);
		ck_assert_int_eq(seteuid(0), 0);
	}
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert(!identity_owner(&id, &owner));
}
END_TEST

/* ---- Who it is ---- */

START_TEST(a_process_that_ended_is_known_as_such)
{
	struct identity id, other;
	const pid_t pid = fork();

	if (pid == 0) {
		(void)pause();
		_exit(0);
	}
	identity_of_process(pid, &id);
	ck_assert(identity_is_known(&id));
	ck_assert(identity_is_alive(&id));
	other = id;
	other.started_ticks++;
	ck_assert(!identity_equals(&id, &other));
	ck_assert(!identity_is_alive(&other));
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	siginfo_t info;
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	ck_assert(!identity_is_alive(&id)); /* a zombie */
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert(!identity_is_alive(&id));
	identity_of_process(pid, &id);
	ck_assert(!identity_is_known(&id));
	ck_assert(!identity_equals(&id, &id));
}
END_TEST

/* A listener that isn't QEMU may serve several guests: each socket is one. */
START_TEST(a_launchers_sockets_differ)
{
	char folder[] = "/tmp/qmpsnap-identity-XXXXXX";
	struct sockaddr_un name[2] = {{.sun_family = AF_UNIX}, {.sun_family = AF_UNIX}};
	struct identity id[2];

	ck_assert_ptr_nonnull(mkdtemp(folder));
	for (int i = 0; i < 2; i++) {
		(void)snprintf(name[i].sun_path, sizeof(name[i].sun_path), "%s/%d", folder, i);
		const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(bind(listener, (struct sockaddr *)&name[i], sizeof(name[i])), 0);
		ck_assert_int_eq(listen(listener, 1), 0);
		ck_assert_int_eq(connect(client, (struct sockaddr *)&name[i], sizeof(name[i])), 0);
		identity_of(client, &id[i]);
		(void)close(client);
		(void)close(listener);
	}
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(unlink(name[i].sun_path), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	ck_assert_int_eq(id[0].pid, getpid());
	ck_assert(identity_equals(&id[0], &id[0]));
	ck_assert(!identity_equals(&id[0], &id[1]));
}
END_TEST

START_TEST(a_pair_tells_nothing)
{
	struct identity id;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	identity_of(pair[0], &id);
	ck_assert(!identity_is_known(&id));
	(void)close(pair[0]);
	(void)close(pair[1]);
}
END_TEST

/* What root can't do is seen as another user. */
START_TEST(a_folder_of_others)
{
	char parent[] = "/tmp/qmpsnap-test-XXXXXX", path[64];
	struct stat status;

	ck_assert_ptr_nonnull(mkdtemp(parent));
	ck_assert_int_eq(chmod(parent, 0777), 0);
	(void)snprintf(path, sizeof(path), "%s/locks", parent);
	int fd = guest_lock_open_folder(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &status), 0);
	ck_assert_uint_eq(status.st_mode & 07777, 01777);
	(void)close(fd);

	if (geteuid() == 0) {
		ck_assert_int_eq(seteuid(65534), 0);
		ck_assert_int_eq(close(guest_lock_open_folder(path)), 0); /* root's */
		ck_assert_int_eq(seteuid(0), 0);
		ck_assert_int_eq(chown(path, 4711, 0), 0);
		ck_assert_int_eq(seteuid(65534), 0);
		ck_assert_int_eq(guest_lock_open_folder(path), -1);
		ck_assert_int_eq(errno, EPERM);
		ck_assert_int_eq(seteuid(0), 0);
		ck_assert_int_eq(chmod(path, 0777), 0);
		ck_assert_int_eq(close(guest_lock_open_folder(path)), 0); /* taken */
		ck_assert_int_eq(stat(path, &status), 0);
		ck_assert_uint_eq(status.st_uid, 0);
		ck_assert_uint_eq(status.st_mode & 07777, 01777);
		ck_assert_int_eq(chmod(path, 0777), 0);
		ck_assert_int_eq(seteuid(65534), 0);
	} else {
		ck_assert_int_eq(chmod(path, 0777), 0);
	}
	ck_assert_int_eq(guest_lock_open_folder(path), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert(getuid() != 0 || seteuid(0) == 0);
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(symlink("/tmp", path), 0);
	ck_assert_int_eq(guest_lock_open_folder(path), -1);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(parent), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("guest_lock");
	TCase *lock = tcase_create("lock"), *identity = tcase_create("identity");

	tcase_add_test(lock, one_at_a_time);
	tcase_add_test(lock, a_duplicate_holds_it_on);
	tcase_add_test(lock, what_a_dead_run_left_is_swept);
	tcase_add_test(lock, a_strangers_file_is_no_lock);
	tcase_add_test(lock, a_name_that_no_lock_can_have);
	tcase_add_test(lock, a_readers_lock_is_none);
	tcase_add_test(lock, users_keep_each_other_off);
	tcase_add_test(identity, a_process_that_ended_is_known_as_such);
	tcase_add_test(identity, a_launchers_sockets_differ);
	tcase_add_test(identity, a_pair_tells_nothing);
	tcase_add_test(identity, a_folder_of_others);
	suite_add_tcase(s, lock);
	suite_add_tcase(s, identity);
	return s;
}

SUITE_MAIN(suite)
