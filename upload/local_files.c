/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/local_files.h"

#include "upload/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Tells our image from a file of the user's at the same path, also to another process. */
#define ID_ATTRIBUTE "user.qmpsnap.id"

enum {
	FOLDER_MODE = 0700,
	LEAST_BYTES = 64 * 1024, /* what any image takes, its metadata included */
};

static bool make_folders(const char *folder, struct qmpsnap_error *err)
{
	char path[LOCAL_FOLDER_BYTES];

	(void)snprintf(path, sizeof(path), "%s", folder);
	for (char *slash = path; slash; *slash = '/') {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		if (mkdir(path, FOLDER_MODE) != 0 && errno != EEXIST)
			return error_errno(err, QMPSNAP_STORE, errno, "making the folder %s", path);
		if (!slash)
			break;
	}
	return true;
}

static bool check_file(int folder_fd, const struct local_names *names, struct qmpsnap_error *err)
{
	struct stat st;

	if (fstatat(folder_fd, names->file, &st, 0) != 0) {
		if (errno == ENOENT)
			return true;
		return error_errno(err, QMPSNAP_STORE, errno, "%s/%s", names->folder, names->file);
	}
	if (!S_ISREG(st.st_mode))
		return error_set(err, QMPSNAP_USAGE, "%s/%s exists and is not a regular file",
			names->folder, names->file);
	if (names->replace)
		return true;
	error_set(err, QMPSNAP_REFUSED, "%s/%s exists", names->folder, names->file);
	error_hint(err, "choose another path, or replace it with --force");
	return false;
}

static int open_folder(const char *folder, struct qmpsnap_error *err)
{
	const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		error_errno(err, QMPSNAP_STORE, errno, "the folder %s", folder);
	return fd;
}

static bool check_folder(
	int fd, const char *folder, const struct local_names *names, struct qmpsnap_error *err)
{
	if (names->foreign && !check_file(fd, names, err))
		return false;
	return faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) == 0 ||
	       error_errno(err, QMPSNAP_STORE, errno, "writing into the folder %s", folder);
}

/* Cuts `folder` to the part of it that is there. */
static void cut_to_existing(char *folder)
{
	struct stat st;
	char *slash;

	while (stat(folder, &st) != 0 && errno == ENOENT) {
		slash = strrchr(folder, '/');
		if (!slash) {
			(void)snprintf(folder, 2, ".");
			return;
		}
		slash[slash == folder] = '\0';
		if (slash == folder)
			return;
	}
}

bool local_check(
	const struct local_names *names, const struct store_need *need, struct qmpsnap_error *err)
{
	char folder[LOCAL_FOLDER_BYTES];

	(void)snprintf(folder, sizeof(folder), "%s", names->folder);
	if (names->make_folder)
		cut_to_existing(folder);
	const int fd = open_folder(folder, err);
	if (fd < 0)
		return false;
	const bool well = check_folder(fd, folder, names, err) &&
			  writer_has_room(fd, (uint64_t)need->n_images * LEAST_BYTES, false,
				  names->folder, err);
	(void)close(fd);
	return well;
}

bool local_prepare(const struct local_names *names, struct qmpsnap_error *err)
{
	if (names->make_folder && !make_folders(names->folder, err))
		return false;
	const int fd = open_folder(names->folder, err);
	const bool well = fd >= 0 && check_folder(fd, names->folder, names, err);

	if (fd >= 0)
		(void)close(fd);
	return well;
}

bool local_complete(
	const struct temp *data, uint64_t size_bytes, const char *path, struct qmpsnap_error *err)
{
	struct stat st;

	if (ftruncate(data->fd, (off_t)size_bytes) != 0)
		return error_errno(err, QMPSNAP_STORE, errno, "setting the length of %s", path);
	if (fsync(data->fd) != 0)
		return error_errno(err, QMPSNAP_STORE, errno, "syncing %s", path);
	if (fstat(data->fd, &st) != 0)
		return error_errno(err, QMPSNAP_STORE, errno, "asking for the size of %s", path);
	if ((uint64_t)st.st_size != size_bytes)
		return error_set(err, QMPSNAP_STORE, "%s has %lld bytes, and should have %llu",
			path, (long long)st.st_size, (unsigned long long)size_bytes);
	return true;
}

static bool sync_folder(int fd, const char *folder, struct qmpsnap_error *err)
{
	/* EINVAL: a file system that can't sync folders. */
	if (fsync(fd) == 0 || errno == EINVAL)
		return true;
	return error_errno(err, QMPSNAP_STORE, errno, "syncing the folder %s", folder);
}

static bool write_text(int fd, const char *text, const char *name, struct qmpsnap_error *err)
{
	size_t left = strlen(text);

	while (left > 0) {
		const ssize_t n = write(fd, text, left);
		if (n < 0 && errno != EINTR)
			return error_errno(err, QMPSNAP_STORE, errno, "writing %s", name);
		if (n > 0) {
			text += n;
			left -= (size_t)n;
		}
	}
	if (fsync(fd) != 0)
		return error_errno(err, QMPSNAP_STORE, errno, "syncing %s", name);
	return true;
}

static bool place_json(const struct local_names *names, const char *json, struct qmpsnap_error *err)
{
	struct temp temp;

	if (!temp_open(&temp, names->folder, names->json_temp, false, err))
		return false;
	const bool well = write_text(temp.fd, json, names->json, err) &&
			  temp_link(&temp, names->json, false, err) &&
			  sync_folder(temp.folder_fd, names->folder, err);
	temp_drop(&temp);
	return well;
}

bool local_place(struct temp *data, const struct local_names *names, const char *json,
	struct local_mark *mark, struct qmpsnap_error *err)
{
	struct stat st;

	if (names->foreign)
		/* Without attributes the file can't be told apart by others, and stays. */
		(void)fsetxattr(data->fd, ID_ATTRIBUTE, names->id, strlen(names->id), 0);
	if (fstat(data->fd, &st) != 0)
		return error_errno(err, QMPSNAP_STORE, errno, "%s", names->file);
	if (!temp_link(data, names->file, names->replace, err)) {
		if (err->detail == EEXIST && names->foreign)
			error_hint(err, "it was made meanwhile; replace it with --force");
		return false;
	}
	*mark = (struct local_mark){.set = true, .device = st.st_dev, .inode = st.st_ino};
	/* The image is on the disk before its metadata can be. */
	if (!sync_folder(data->folder_fd, names->folder, err))
		return false;
	return !json || place_json(names, json, err);
}

static bool is_ours(int folder_fd, const struct local_names *names, const struct local_mark *mark)
{
	char id[sizeof(names->id)];
	struct stat st;
	const int fd =
		openat(folder_fd, names->file, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return false;
	bool ours = mark->set && fstat(fd, &st) == 0 && st.st_dev == mark->device &&
		    st.st_ino == mark->inode;
	const ssize_t len = fgetxattr(fd, ID_ATTRIBUTE, id, sizeof(id));
	if (len > 0 && (size_t)len == strlen(names->id))
		ours = ours || memcmp(id, names->id, (size_t)len) == 0;
	(void)close(fd);
	return ours;
}

bool local_remove(
	const struct local_names *names, const struct local_mark *mark, struct qmpsnap_error *err)
{
	const int fd = open(names->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmpsnap_error first = {.code = QMPSNAP_OK}, next;

	if (fd < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return true;
		return error_errno(err, QMPSNAP_STORE, errno, "the folder %s", names->folder);
	}
	const char *const gone[] = {names->json, names->json_temp, names->file_temp,
		!names->foreign || is_ours(fd, names, mark) ? names->file : ""};
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		if (gone[i][0] != '\0' && !temp_unlink(fd, gone[i], &next) &&
			first.code == QMPSNAP_OK)
			first = next;
	}
	if (first.code == QMPSNAP_OK)
		(void)sync_folder(fd, names->folder, &first);
	(void)close(fd);
	if (first.code == QMPSNAP_OK)
		return true;
	*err = first;
	error_wrap(err, "in %s", names->folder);
	return false;
}
