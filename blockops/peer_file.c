/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/peer_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The link's own mode tells what a descriptor is good for, proc(5). */
static bool reads_through(int folder, const char *name, const struct stat *file)
{
	struct stat link, its;

	return fstatat(folder, name, &link, AT_SYMLINK_NOFOLLOW) == 0 && (link.st_mode & S_IRUSR) &&
	       fstatat(folder, name, &its, 0) == 0 && is_same_file(file, &its);
}

/* A name may lead elsewhere by now; what the process reads and writes is among its descriptors. */
static bool has_open(pid_t pid, int fd, const char *filename, struct qmpsnap_error *err)
{
	char folder[32];
	struct stat ours;
	bool found = false;
	const struct dirent *entry;

	(void)snprintf(folder, sizeof(folder), "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(folder);
	if (!dir || fstat(fd, &ours) < 0) {
		error_errno(err, QMPSNAP_REFUSED, errno, "QEMU's open files can't be looked at");
		error_hint(err, "run qmpsnap as root or as QEMU's user, or take another method");
		if (dir)
			closedir(dir);
		return false;
	}
	while (!found && (entry = readdir(dir)))
		found = reads_through(dirfd(dir), entry->d_name, &ours);
	closedir(dir);
	return found || error_set(err, QMPSNAP_REFUSED,
				"%s isn't the file that QEMU has open under that name", filename);
}

int peer_file_open(pid_t pid, const char *filename, struct qmpsnap_error *err)
{
	char path[PATH_MAX];
	const int len = snprintf(path, sizeof(path), "/proc/%d/%s/%s", (int)pid,
		filename[0] == '/' ? "root" : "cwd", filename);
	const int fd = len < (int)sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;

	if (fd < 0) {
		error_errno(err, QMPSNAP_REFUSED, len < (int)sizeof(path) ? errno : ENAMETOOLONG,
			"%s", filename);
		return -1;
	}
	if (has_open(pid, fd, filename, err))
		return fd;
	close(fd);
	return -1;
}
