/* SPDX-License-Identifier: Apache-2.0 */
#include "images/target.h"

#include "base/error.h"
#include "base/json.h"
#include "base/names.h"
#include "base/shelf.h"
#include "blockops/qcow2_header.h"
#include "images/in_use.h"
#include "upload/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

void target_init(struct target *t)
{
	*t = (struct target){.device_fd = -1, .file = TEMP_NONE, .spool = TEMP_NONE};
}

void target_drop(struct target *t)
{
	if (t->device_fd >= 0)
		(void)close(t->device_fd);
	t->device_fd = -1;
	temp_drop(&t->file);
	temp_drop(&t->spool);
}

/* ---- What stands there -------------------------------------------------------------------- */

/* Follows links, also for a file that isn't there yet. */
static bool resolve(struct target *t, const char *path, struct qmpsnap_error *err)
{
	char *slash, *folder;

	if (strlen(path) >= sizeof(t->path) || !path[0] || path[strlen(path) - 1] == '/')
		return error_set(err, QMPSNAP_USAGE, "'%.200s' is no path of a file", path);
	if (realpath(path, t->path)) {
		t->exists = true;
	} else if (errno != ENOENT) {
		return error_errno(err, QMPSNAP_STORE, errno, "%s", path);
	} else {
		(void)snprintf(t->folder, sizeof(t->folder), "%s", path);
		slash = strrchr(t->folder, '/');
		if (slash)
			*slash = '\0';
		folder = realpath(!slash ? "." : t->folder[0] ? t->folder : "/", NULL);
		if (!folder)
			return error_errno(err, QMPSNAP_STORE, errno, "the folder of %s", path);
		(void)snprintf(t->path, sizeof(t->path), "%s/%s", strcmp(folder, "/") ? folder : "",
			slash ? strrchr(path, '/') + 1 : path);
		free(folder);
	}
	slash = strrchr(t->path, '/');
	t->name = slash + 1;
	(void)snprintf(t->folder, sizeof(t->folder), "%.*s",
		slash == t->path ? 1 : (int)(slash - t->path), t->path);
	return true;
}

static bool look(struct target *t, bool force, struct qmpsnap_error *err)
{
	if (!t->exists)
		return true;
	if (stat(t->path, &t->st) != 0)
		return error_errno(err, QMPSNAP_STORE, errno, "%s", t->path);
	t->is_device = S_ISBLK(t->st.st_mode);
	if (!t->is_device && !S_ISREG(t->st.st_mode))
		return error_set(
			err, QMPSNAP_USAGE, "%s is neither a file nor a block device", t->path);
	if (force)
		return true;
	error_set(err, QMPSNAP_REFUSED, "%s exists", t->path);
	error_hint(err, "what is in it will be lost: say so with --force");
	return false;
}

static bool check_use(const char *path, bool is_device, struct qmpsnap_error *err)
{
	/* O_EXCL on a block device: not while it is mounted or part of another one. */
	const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | (is_device ? O_EXCL : 0));

	if (fd < 0 && errno == EBUSY)
		return error_set(err, QMPSNAP_REFUSED,
			"%s is in use: it is mounted, or part of another device", path);
	if (fd < 0)
		return error_errno(err, QMPSNAP_STORE, errno, "opening %s", path);
	const bool free_to_use = in_use_check(fd, path, err);
	(void)close(fd);
	return free_to_use;
}

bool target_check(const struct target *t, struct qmpsnap_error *err)
{
	if (t->device_fd >= 0)
		return in_use_check(t->device_fd, t->path, err);
	return !t->exists || check_use(t->path, false, err);
}

/* ---- Format and size ---------------------------------------------------------------------- */

static enum qmpsnap_format format_of(struct json_object *record)
{
	for (int format = QMPSNAP_QCOW2; format <= QMPSNAP_VDI; format++) {
		if (shelf_says(record, "disk_format", name_format((enum qmpsnap_format)format)))
			return (enum qmpsnap_format)format;
	}
	return QMPSNAP_FORMAT_AUTO;
}

static bool can_convert(enum qmpsnap_format format)
{
	return format == QMPSNAP_QCOW2 || format == QMPSNAP_RAW;
}

/* A guest's configuration names the format, too; it was hardly meant to change. */
static bool check_format(const struct target *t, struct qmpsnap_error *err)
{
	const int fd = open(t->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, QMPSNAP_STORE, errno, "opening %s", t->path);
	const bool is_qcow2 = qcow2_header_is_there(fd);
	(void)close(fd);
	if (is_qcow2 == (t->format == QMPSNAP_QCOW2))
		return true;
	error_set(err, QMPSNAP_REFUSED, "%s %s qcow2, and the image is %s", t->path,
		is_qcow2 ? "is" : "is not", name_format(t->format));
	error_hint(err,
		"say what it shall be, raw:PATH or qcow2:PATH, which is also what the guest's "
		"configuration must say then");
	return false;
}

static bool choose_format(
	struct target *t, const struct target_wish *wish, struct qmpsnap_error *err)
{
	const enum qmpsnap_format has = format_of(wish->record);

	if (t->is_device && wish->format != QMPSNAP_FORMAT_AUTO && wish->format != QMPSNAP_RAW)
		return error_set(
			err, QMPSNAP_USAGE, "%s is a block device: it takes raw images", t->path);
	t->format = t->is_device ? QMPSNAP_RAW : wish->format;
	if (t->format == QMPSNAP_FORMAT_AUTO) {
		t->format = has;
		if (t->exists && t->st.st_size > 0 && !check_format(t, err))
			return false;
	}
	t->converts = t->is_device || t->format != has;
	if (t->converts && (!can_convert(has) || !can_convert(t->format)))
		return error_set(err, QMPSNAP_USAGE,
			"an image in the format %.16s is put back as it is, to a file",
			can_convert(has) ? name_format(t->format)
					 : json_string(wish->record, "disk_format"));
	return true;
}

static bool check_size(
	const struct target *t, struct json_object *record, struct qmpsnap_error *err)
{
	const int64_t size = json_int(record, "virtual_size", -1);
	uint64_t device_bytes = 0;

	if (ioctl(t->device_fd, BLKGETSIZE64, &device_bytes) != 0)
		return error_errno(err, QMPSNAP_STORE, errno, "asking for the size of %s", t->path);
	if (size < 0 || (uint64_t)size <= device_bytes)
		return true; /* not known: qemu-img looks again */
	return error_set(err, QMPSNAP_REFUSED,
		"%s has %" PRIu64 " bytes, and the image's disk %" PRId64, t->path, device_bytes,
		size);
}

/* ---- Opening ------------------------------------------------------------------------------ */

static bool open_files(struct target *t, const struct target_wish *wish, struct qmpsnap_error *err)
{
	const uint64_t size = (uint64_t)json_int(wish->record, "size", 0);

	if (!t->is_device && (!temp_open_random(&t->file, t->folder, t->name, err) ||
				     !writer_reserve(t->file.fd, size, true, t->path, err)))
		return false;
	return !t->converts ||
	       (temp_open_random(&t->spool, wish->scratch_dir, "qmpsnap", err) &&
		       writer_reserve(t->spool.fd, size, true, wish->scratch_dir, err));
}

bool target_open(struct target *t, const struct target_wish *wish, struct qmpsnap_error *err)
{
	if (!resolve(t, wish->path, err) || !look(t, wish->force, err) ||
		(t->exists && !check_use(t->path, t->is_device, err)) ||
		!choose_format(t, wish, err))
		return false;
	if (t->is_device) {
		t->device_fd = open(t->path, O_RDWR | O_EXCL | O_CLOEXEC);
		if (t->device_fd < 0)
			return error_errno(err, QMPSNAP_STORE, errno, "opening %s", t->path);
		if (!check_size(t, wish->record, err))
			return false;
	}
	return open_files(t, wish, err);
}

int target_first_fd(const struct target *t)
{
	return t->converts ? t->spool.fd : t->file.fd;
}

/* ---- The end ------------------------------------------------------------------------------ */

bool target_settle(struct target *t, struct qmpsnap_error *err)
{
	if (t->is_device)
		return fsync(t->device_fd) == 0 ||
		       error_errno(err, QMPSNAP_STORE, errno, "syncing %s", t->path);
	if (t->exists && (fchown(t->file.fd, t->st.st_uid, t->st.st_gid) != 0 ||
				 fchmod(t->file.fd, t->st.st_mode & 07777) != 0))
		return error_errno(err, QMPSNAP_STORE, errno,
			"giving the new %s the owner and the mode of the old one", t->path);
	return fsync(t->file.fd) == 0 ||
	       error_errno(err, QMPSNAP_STORE, errno, "syncing %s", t->path);
}

bool target_place(struct target *t, struct qmpsnap_error *err)
{
	t->touched = t->is_device || temp_link(&t->file, t->name, t->exists, err);
	return t->touched;
}

void target_placed(struct target *t)
{
	if (!t->is_device)
		(void)fsync(t->file.folder_fd); /* where it can be; the file itself is synced */
}
