/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/image_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* A byte for each permission: locked by who has it, and, further on, by who bears no other one that
 * has it. */
enum { HELD_AT = 100, UNSHARED_AT = 200, BYTES_EACH = 100 };
enum { CONSISTENT_READ = 0, WRITE = 1, RESIZE = 3 };

static bool set_lock(int fd, int byte)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static bool others_lock(int fd, int byte)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

void image_lock_hint(struct qmpsnap_error *err)
{
	error_hint(err, "a running QEMU has locked it: take it through that QEMU with --qmp; "
			"--force-share reads it all the same, and the image may then hold halves "
			"of writes");
}

bool image_lock(int fd, const char *path, struct qmpsnap_error *err)
{
	static const struct {
		int byte;
		const char *name;
	} conflicts[] = {
		{HELD_AT + WRITE, "write"},
		{HELD_AT + RESIZE, "resize"},
		{UNSHARED_AT + CONSISTENT_READ, "consistent read"},
	};

	/* Said first, asked then: of two who do so at least one sees the other. */
	if (!set_lock(fd, HELD_AT + CONSISTENT_READ) || !set_lock(fd, UNSHARED_AT + WRITE) ||
		!set_lock(fd, UNSHARED_AT + RESIZE))
		return true;
	for (size_t i = 0; i < sizeof(conflicts) / sizeof(conflicts[0]); i++) {
		if (!others_lock(fd, conflicts[i].byte))
			continue;
		error_set(err, QMPSNAP_REFUSED,
			"%s is in use: another process has QEMU's \"%s\" lock on it", path,
			conflicts[i].name);
		image_lock_hint(err);
		return false;
	}
	return true;
}

bool image_lock_is_free(int fd, const char *path, struct qmpsnap_error *err)
{
	struct flock lock = {.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = HELD_AT,
		.l_len = UNSHARED_AT + BYTES_EACH - HELD_AT};

	if (fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
		return true;
	error_set(err, QMPSNAP_REFUSED, "%s is in use: a QEMU has locked it", path);
	error_hint(err, "end that guest, or take the disk away from it");
	return false;
}
