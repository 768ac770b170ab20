/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/temp.h"

#include "base/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MODE = 0600, PROC_PATH_BYTES = 32 };

/* With O_DIRECT if it may be, without it where the file system has none. */
static int open_maybe_direct(struct temp *t, const char *name, int flags, bool direct)
{
	int fd = -1;

	if (direct)
		fd = openat(t->folder_fd, name, flags | O_DIRECT, FILE_MODE);
	t->direct = fd >= 0;
	if (fd < 0 && (!direct || errno == EINVAL)) {
		/* A file system that has no O_DIRECT may have left the file behind. */
		if (direct && (flags & O_CREAT))
			(void)unlinkat(t->folder_fd, name, 0);
		fd = openat(t->folder_fd, name, flags, FILE_MODE);
	}
	return fd;
}

bool temp_open(struct temp *t, const char *folder, const char *name, bool direct,
	struct qmpsnap_error *err)
{
	*t = TEMP_NONE;
	(void)snprintf(t->name, sizeof(t->name), "%s", name);
	t->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->folder_fd < 0)
		return error_errno(err, QMPSNAP_STORE, errno, "opening the folder %s", folder);
	t->fd = open_maybe_direct(t, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, direct);
	if (t->fd >= 0)
		return true;
	/* What kernels and file systems without O_TMPFILE say, open(2). */
	if (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL) {
		t->fd = open_maybe_direct(t, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, direct);
		t->named = t->fd >= 0;
		if (t->named)
			return true;
	}
	error_errno(err, QMPSNAP_STORE, errno, "making a file in %s", folder);
	temp_drop(t);
	return false;
}

bool temp_open_random(
	struct temp *t, const char *folder, const char *what, struct qmpsnap_error *err)
{
	char name[NAME_MAX + 1], random[NAME_RUN_BYTES];

	*t = TEMP_NONE;
	if (!name_new_run(random))
		return error_set(err, QMPSNAP_INTERNAL, "the system gives no random bytes");
	(void)snprintf(name, sizeof(name), ".%.200s.%s.part", what, random);
	return temp_open(t, folder, name, false, err);
}

/* Links a nameless file.  AT_EMPTY_PATH needs a capability, so it is only for want of /proc. */
static int link_nameless(const struct temp *t, const char *name)
{
	char path[PROC_PATH_BYTES];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", t->fd);
	if (linkat(AT_FDCWD, path, t->folder_fd, name, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno != ENOENT)
		return -1;
	return linkat(t->fd, "", t->folder_fd, name, AT_EMPTY_PATH);
}

static int rename_to_new(const struct temp *t, const char *name)
{
	if (renameat2(t->folder_fd, t->name, t->folder_fd, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	/* NFS, for one, knows no flags to rename. */
	if (linkat(t->folder_fd, t->name, t->folder_fd, name, 0) != 0)
		return -1;
	return unlinkat(t->folder_fd, t->name, 0);
}

/* linkat() never replaces: the file gets a name of its own first, then takes the other's. */
static int replace_existing(struct temp *t, const char *name)
{
	if (!t->named) {
		if (link_nameless(t, t->name) != 0)
			return -1;
		t->named = true;
	}
	return renameat(t->folder_fd, t->name, t->folder_fd, name);
}

bool temp_link(struct temp *t, const char *name, bool replace, struct qmpsnap_error *err)
{
	int rc;

	if (replace)
		rc = replace_existing(t, name);
	else if (t->named)
		rc = rename_to_new(t, name);
	else
		rc = link_nameless(t, name);
	if (rc != 0)
		return error_errno(err, QMPSNAP_STORE, errno, "giving the file its name %s", name);
	t->named = false;
	return true;
}

void temp_drop(struct temp *t)
{
	if (t->named)
		(void)unlinkat(t->folder_fd, t->name, 0);
	if (t->fd >= 0)
		(void)close(t->fd);
	if (t->folder_fd >= 0)
		(void)close(t->folder_fd);
	*t = TEMP_NONE;
}

bool temp_unlink(int folder_fd, const char *name, struct qmpsnap_error *err)
{
	if (unlinkat(folder_fd, name, 0) == 0 || errno == ENOENT)
		return true;
	return error_errno(err, QMPSNAP_STORE, errno, "removing %s", name);
}
