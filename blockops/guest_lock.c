/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/guest_lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "/run/lock/qmpsnap"

enum { TRIES = 16 };

/* Whose it is may replace the locks of others, and so may everybody where the sticky bit is
 * missing: then it is as good as none. */
static bool is_safe(const struct stat *status)
{
	return (status->st_uid == 0 || status->st_uid == geteuid()) &&
	       (!(status->st_mode & (S_IWGRP | S_IWOTH)) || (status->st_mode & S_ISVTX));
}

/* What others have made before us root may have for all; what isn't root's then stays refused. */
static bool make_safe(int folder)
{
	struct stat status;

	if (fstat(folder, &status) < 0)
		return false;
	if (!is_safe(&status) && geteuid() == 0 && fchown(folder, 0, 0) == 0 &&
		fchmod(folder, 01777) == 0 && fstat(folder, &status) < 0)
		return false;
	if (is_safe(&status))
		return true;
	errno = EPERM;
	return false;
}

int guest_lock_open_folder(const char *path)
{
	if (mkdir(path, 01777) == 0)
		(void)chmod(path, 01777); /* whatever the umask is */
	const int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folder >= 0 && !make_safe(folder)) {
		const int errnum = errno;
		(void)close(folder);
		errno = errnum;
		return -1;
	}
	return folder;
}

/* Only to be locked, and so read-only: it may be another user's.  Without O_CREAT first, which the
 * sysctl fs.protected_regular refuses for files of others in such a folder (proc(5)). */
static int open_file(int folder, const char *name)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	const int fd = openat(folder, name, flags);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	return openat(folder, name, flags | O_CREAT | O_EXCL, 0644);
}

/* Whether the file of that name is still the one that is open: who drops a lock removes it. */
static bool still_stands(int folder, const char *name, int fd)
{
	struct stat by_name, by_fd;

	return fstatat(folder, name, &by_name, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstat(fd, &by_fd) == 0 && S_ISREG(by_fd.st_mode) && by_name.st_ino == by_fd.st_ino &&
	       by_name.st_dev == by_fd.st_dev;
}

static void read_holder(int fd, char holder[static GUEST_LOCK_HOLDER_BYTES])
{
	const ssize_t len = pread(fd, holder, GUEST_LOCK_HOLDER_BYTES - 1, 0);

	holder[len > 0 ? len : 0] = '\0';
	for (char *at = holder; *at; at++) {
		if (*at < ' ' || *at > '~')
			*at = '\0';
	}
	if (!holder[0])
		(void)snprintf(holder, GUEST_LOCK_HOLDER_BYTES, "another run");
}

/* For who finds it locked; it is of no importance otherwise. */
static void write_holder(int folder, const char *name, const char *run)
{
	char text[GUEST_LOCK_HOLDER_BYTES];
	const int fd =
		openat(folder, name, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return;
	const int len = snprintf(text, sizeof(text), "run %s, process %d of user %u\n", run,
		(int)getpid(), (unsigned)geteuid());
	(void)!write(fd, text, (size_t)len);
	(void)close(fd);
}

/* 1, 0 as guest_lock_take(); -1 with errno; EAGAIN: try again. */
static int try_lock(int folder, struct guest_lock *lock, const char *run, char *holder)
{
	const int fd = open_file(folder, lock->name);

	if (fd < 0) {
		if (errno == EEXIST)
			errno = EAGAIN;
		return -1;
	}
	const bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
	if (locked && still_stands(folder, lock->name, fd)) {
		write_holder(folder, lock->name, run);
		lock->fd = fd;
		return 1;
	}
	if (!locked && errno == EWOULDBLOCK)
		read_holder(fd, holder);
	const int errnum = locked ? EAGAIN : errno;
	(void)close(fd);
	errno = errnum;
	return !locked && errnum == EWOULDBLOCK ? 0 : -1;
}

int guest_lock_take(struct guest_lock *lock, const struct identity *guest, const char *run,
	char holder[static GUEST_LOCK_HOLDER_BYTES], struct qmpsnap_error *err)
{
	const int folder = guest_lock_open_folder(FOLDER);
	int taken = -1;

	*lock = GUEST_LOCK_NONE;
	(void)snprintf(lock->name, sizeof(lock->name), "%d-%" PRIu64 "-%" PRIu64, (int)guest->pid,
		guest->started_ticks, guest->socket);
	if (folder >= 0) {
		errno = EAGAIN;
		for (int i = 0; i < TRIES && taken < 0 && errno == EAGAIN; i++)
			taken = try_lock(folder, lock, run, holder);
	}
	if (taken < 0) {
		error_errno(err, QMPSNAP_REFUSED, errno, "the guest can't be locked in " FOLDER);
		error_hint(err,
			"the folder is everybody's, and root's or yours: as root, mkdir -p " FOLDER
			"; chown 0:0 " FOLDER "; chmod 1777 " FOLDER);
	}
	if (folder >= 0)
		(void)close(folder);
	return taken;
}

void guest_lock_drop(struct guest_lock *lock)
{
	if (lock->fd < 0)
		return;
	const int folder = guest_lock_open_folder(FOLDER);
	if (folder >= 0) {
		(void)unlinkat(folder, lock->name, 0);
		(void)close(folder);
	}
	guest_lock_close(lock);
}

void guest_lock_close(struct guest_lock *lock)
{
	if (lock->fd >= 0)
		(void)close(lock->fd);
	lock->fd = -1;
}

static void sweep_one(int folder, const char *name)
{
	struct stat status;
	const int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
		flock(fd, LOCK_EX | LOCK_NB) == 0 && still_stands(folder, name, fd))
		(void)unlinkat(folder, name, 0);
	(void)close(fd);
}

void guest_lock_sweep(void)
{
	DIR *folder = opendir(FOLDER);
	struct dirent *entry;

	while (folder && (entry = readdir(folder))) {
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			sweep_one(dirfd(folder), entry->d_name);
	}
	if (folder)
		(void)closedir(folder);
}
