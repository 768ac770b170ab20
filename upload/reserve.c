/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "upload/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>

bool writer_has_room(
	int fd, uint64_t size_bytes, bool sparse, const char *path, struct qmpsnap_error *err)
{
	struct statvfs fs;
	char need[UNITS_TEXT_BYTES], have[UNITS_TEXT_BYTES];

	if (fstatvfs(fd, &fs) != 0)
		return error_errno(
			err, QMPSNAP_STORE, errno, "asking for the free space of %s", path);
	const uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	/* Some (FUSE, say) report no size at all. */
	if (fs.f_blocks == 0 || size_bytes <= free_bytes)
		return true;
	units_format_size(need, size_bytes);
	units_format_size(have, free_bytes);
	if (sparse) {
		log_line(QMPSNAP_LOG_WARNING, "%s takes up to %s, and only %s are free", path, need,
			have);
		return true;
	}
	error_errno(
		err, QMPSNAP_STORE, ENOSPC, "%s needs %s, and only %s are free", path, need, have);
	error_hint(err, "free some space, or choose another store with --to");
	return false;
}

bool writer_reserve(
	int fd, uint64_t size_bytes, bool sparse, const char *path, struct qmpsnap_error *err)
{
	int rc;

	if (!writer_has_room(fd, size_bytes, sparse, path, err))
		return false;
	if (sparse || size_bytes == 0)
		return true;
	do
		rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size_bytes);
	while (rc != 0 && errno == EINTR);
	if (rc == 0 || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)
		return true;
	error_errno(err, QMPSNAP_STORE, errno, "reserving the space for %s", path);
	error_hint(err, "free some space, or choose another store with --to");
	return false;
}
