/* SPDX-License-Identifier: Apache-2.0 */
#include "images/in_use.h"

#include "blockops/image_lock.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Device nodes are many for one device: in another mount namespace it is another file. */
static bool is_same(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode))
		return S_ISBLK(b->st_mode) && a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool process_has(int proc_fd, const char *pid, const struct stat *file)
{
	char name[64];
	const struct dirent *entry;
	struct stat st;
	bool found = false;

	(void)snprintf(name, sizeof(name), "%.20s/fd", pid);
	const int fd = openat(proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
	if (!folder) {
		if (fd >= 0)
			(void)close(fd);
		return false; /* it has ended, or isn't for us to see */
	}
	while (!found && (entry = readdir(folder)))
		found = isdigit((unsigned char)entry->d_name[0]) &&
			fstatat(dirfd(folder), entry->d_name, &st, 0) == 0 && is_same(file, &st);
	(void)closedir(folder);
	return found;
}

static void name_process(int proc_fd, const char *pid, char *name, size_t size)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "%.20s/comm", pid);
	const int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	const ssize_t n = fd >= 0 ? read(fd, name, size - 1) : 0;

	name[n > 0 ? n : 0] = '\0';
	name[strcspn(name, "\n")] = '\0';
	if (fd >= 0)
		(void)close(fd);
}

static bool no_process_has(const struct stat *file, const char *path, struct qmpsnap_error *err)
{
	DIR *proc = opendir("/proc");
	const struct dirent *entry;
	char own[24], name[32];
	bool well = true;

	if (!proc)
		return true; /* the locks have to do */
	(void)snprintf(own, sizeof(own), "%ld", (long)getpid());
	while (well && (entry = readdir(proc))) {
		const char *pid = entry->d_name;
		if (!isdigit((unsigned char)pid[0]) || strcmp(pid, own) == 0 ||
			!process_has(dirfd(proc), pid, file))
			continue;
		name_process(dirfd(proc), pid, name, sizeof(name));
		well = error_set(err, QMPSNAP_REFUSED,
			"%s is in use: process %.20s (%s) has it open", path, pid, name);
		error_hint(err, "end what uses it, or restore to another path");
	}
	(void)closedir(proc);
	return well;
}

bool in_use_check(int fd, const char *path, struct qmpsnap_error *err)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return error_errno(err, QMPSNAP_STORE, errno, "%s", path);
	return image_lock_is_free(fd, path, err) && no_process_has(&st, path, err);
}
