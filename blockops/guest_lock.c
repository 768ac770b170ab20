/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/guest_lock.h"

#include "base/log.h"
#include "base/names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
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

/* ---- A file that is locked ---- */

/* Of the open file, and exclusive: only who may write to a file can have that, while flock(2) would
 * let any reader have it. */
static bool lock_file(int fd)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &whole) == 0;
}

/* A shared one, which a reader may have, is none. */
static bool is_locked(int fd)
{
	struct flock probe = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_GETLK, &probe) == 0 && probe.l_type == F_WRLCK;
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
static void write_holder(int fd, const char *run)
{
	char text[GUEST_LOCK_HOLDER_BYTES];
	const int len = snprintf(text, sizeof(text), "run %s, process %d of user %u\n", run,
		(int)getpid(), (unsigned)geteuid());

	if (ftruncate(fd, 0) == 0)
		(void)!pwrite(fd, text, (size_t)len, 0);
}

/* ---- This user's own file ---- */

/* Without O_CREAT first, which the sysctl fs.protected_regular refuses for files of others in such
 * a folder (proc(5)).  EAGAIN: it was made a moment ago. */
static int open_own(int folder, const char *name)
{
	const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	struct stat status;
	int fd = openat(folder, name, flags);

	if (fd < 0 && errno == ENOENT) {
		fd = openat(folder, name, flags | O_CREAT | O_EXCL, 0644);
		if (fd < 0 && errno == EEXIST)
			errno = EAGAIN;
	} else if (fd < 0 && errno == EAGAIN) {
		errno = EBUSY; /* somebody has a lease on it */
	}
	if (fd < 0 ||
		(fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid()))
		return fd;
	(void)close(fd);
	errno = EEXIST;
	return -1;
}

/* 1; 0: another run of this user has it; -1 with errno: the name can't be had; EAGAIN: try again.
 */
static int lock_own(int folder, struct guest_lock *lock, char *holder)
{
	const int fd = open_own(folder, lock->name);

	if (fd < 0)
		return -1;
	const bool locked = lock_file(fd);
	if (locked && still_stands(folder, lock->name, fd)) {
		(void)fchmod(fd, 0644); /* whatever the umask is */
		lock->fd = fd;
		return 1;
	}
	const bool is_held = !locked && is_locked(fd);
	if (is_held)
		read_holder(fd, holder);
	(void)close(fd);
	errno = locked ? EAGAIN : EBUSY;
	return is_held ? 0 : -1;
}

/* Anybody can make a file of the name, which only its owner and root could remove, or lock it as a
 * reader: then the name gets an end that can't be known beforehand. */
static int lock_any_own(int folder, struct guest_lock *lock, const char *guest, char *holder)
{
	char end[NAME_RUN_BYTES];
	int taken = -1;
	bool is_plain = true;

	for (int i = 0; i < TRIES && taken < 0; i++) {
		if (!is_plain && !name_new_run(end))
			break;
		const int len = snprintf(lock->name, sizeof(lock->name), "%s%u%s%s", guest,
			(unsigned)geteuid(), is_plain ? "" : ".", is_plain ? "" : end);
		if (len < 0 || (size_t)len >= sizeof(lock->name)) {
			errno = ENAMETOOLONG;
			break;
		}
		taken = lock_own(folder, lock, holder);
		is_plain = is_plain && errno == EAGAIN && i < TRIES / 2;
	}
	return taken;
}

/* ---- Files of others ---- */

struct others {
	const struct guest_lock *mine;
	uid_t qemu; /* whom its process belongs to; or root */
	char *holder;
	char stranger[GUEST_LOCK_NAME_BYTES]; /* a file that counts for nothing */
	uid_t stranger_uid;
};

static bool counts(const struct others *others, const struct stat *status)
{
	return status->st_uid == 0 || status->st_uid == geteuid() || status->st_uid == others->qemu;
}

/* Whether it is a lock that somebody holds. */
static bool holds(struct others *others, int folder, const char *name)
{
	struct stat status;

	if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	if (!counts(others, &status)) {
		(void)snprintf(others->stranger, sizeof(others->stranger), "%.*s",
			(int)sizeof(others->stranger) - 1, name);
		others->stranger_uid = status.st_uid;
		return false;
	}
	const int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		(void)snprintf(others->holder, GUEST_LOCK_HOLDER_BYTES, "another run");
		return errno == EACCES; /* just being made */
	}
	const bool is_held = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
			     counts(others, &status) && is_locked(fd);
	if (is_held)
		read_holder(fd, others->holder);
	(void)close(fd);
	return is_held;
}

/* `guest` is what all names of its locks begin with. */
static bool others_hold(struct others *others, int folder, const char *guest)
{
	const int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *entry;
	bool is_held = false;

	while (list && !is_held && (entry = readdir(list))) {
		if (strncmp(entry->d_name, guest, strlen(guest)) == 0 &&
			strcmp(entry->d_name, others->mine->name) != 0)
			is_held = holds(others, folder, entry->d_name);
	}
	if (list)
		(void)closedir(list);
	else if (copy >= 0)
		(void)close(copy);
	if (!is_held && others->stranger[0])
		log_line(QMPSNAP_LOG_WARNING,
			"%s/%s counts for nothing: it is user %u's, and a lock of this guest is "
			"root's, its QEMU's user's or one's own",
			FOLDER, others->stranger, (unsigned)others->stranger_uid);
	return is_held;
}

/* First one's own, then a look at the others': so of two at once one sees the other. */
static int take_in(int folder, struct guest_lock *lock, const struct identity *guest, char *holder)
{
	struct others others = {.mine = lock, .holder = holder};
	char names[GUEST_LOCK_NAME_BYTES];

	(void)snprintf(names, sizeof(names), "%d-%" PRIu64 "-%" PRIu64 ".",
		(int)identity_inner_pid(guest), guest->started_ticks, guest->socket);
	const int taken = lock_any_own(folder, lock, names, holder);
	if (taken <= 0)
		return taken;
	if (!identity_owner(guest, &others.qemu))
		others.qemu = 0;
	if (!others_hold(&others, folder, names))
		return 1;
	guest_lock_drop(lock);
	return 0;
}

int guest_lock_take(struct guest_lock *lock, const struct identity *guest, const char *run,
	char holder[static GUEST_LOCK_HOLDER_BYTES], struct qmpsnap_error *err)
{
	const int folder = guest_lock_open_folder(FOLDER);

	*lock = GUEST_LOCK_NONE;
	const int taken = folder >= 0 ? take_in(folder, lock, guest, holder) : -1;
	if (taken > 0)
		write_holder(lock->fd, run);
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
	const int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
		lock_file(fd) && still_stands(folder, name, fd))
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
