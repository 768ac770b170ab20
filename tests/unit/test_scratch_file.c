/* SPDX-License-Identifier: Apache-2.0
 *
 * What is believed of the file systems under scratches and spools, and when one is full. */
#include "blockops/scratch_file.h"
#include "suite.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- A played file system ---- */

static int fallocate_errno;
static struct statvfs played;

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
	(void)fd;
	(void)mode;
	(void)offset;
	(void)len;
	errno = fallocate_errno;
	return fallocate_errno ? -1 : 0;
}

int __wrap_fstatvfs(int fd, struct statvfs *fs);
int __wrap_fstatvfs(int fd, struct statvfs *fs)
{
	(void)fd;
	*fs = played;
	return 0;
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

START_TEST(a_file_that_cannot_grow)
{
	static const struct {
		int fallocate_errno;
		unsigned blocks, available; /* of 4 KiB */
		bool full;
		const char *name;
	} cases[] = {
		{0, 1000, 0, false, "room was had"},
		{ENOSPC, 1000, 1000, true, "no room"},
		{EDQUOT, 1000, 1000, true, "a quota"},
		{EFBIG, 1000, 1000, true, "a limit"},
		{EINTR, 1000, 0, false, "another error"},
		{EOPNOTSUPP, 1000, 0, true, "no fallocate, no room"},
		{EOPNOTSUPP, 1000, 255, true, "no fallocate, less than 1 MiB"},
		{EOPNOTSUPP, 1000, 256, false, "no fallocate, room"},
		{EOPNOTSUPP, 0, 0, false, "neither fallocate nor a size"},
	};
	struct snapshot_disk disk = {.virtual_size_bytes = UINT64_C(1) << 30};
	char path[] = "/tmp/qmpsnap-scratch-XXXXXX";

	disk.scratch_fd = mkstemp(path);
	ck_assert_int_ge(disk.scratch_fd, 0);
	(void)unlink(path);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fallocate_errno = cases[i].fallocate_errno;
		played = (struct statvfs){.f_frsize = 4096,
			.f_blocks = cases[i].blocks,
			.f_bavail = cases[i].available};
		ck_assert_msg(scratch_file_is_full(&disk) == cases[i].full, "%s", cases[i].name);
	}
	(void)close(disk.scratch_fd);
	disk.scratch_fd = -1;
	ck_assert(!scratch_file_is_full(&disk));
}
END_TEST

/* ---- Kinds of file systems ---- */

START_TEST(reservations_count_only_where_known)
{
	/* statfs(2), and what OpenZFS, bcachefs and overlayfs answer. */
	static const struct {
		uint32_t magic;
		bool holds;
		const char *name;
	} cases[] = {
		{0xef53, true, "ext2 to ext4"},
		{0x58465342, true, "xfs"},
		{0x01021994, true, "tmpfs"},
		{0x9123683e, false, "btrfs"},
		{0x2fc12fc1, false, "zfs"},
		{0xca451a4e, false, "bcachefs"},
		{0x6969, false, "nfs"},
		{0xff534d42, false, "cifs"},
		{0x65735546, false, "fuse"},
		{0x794c7630, true, "overlayfs"},
		{0x858458f6, false, "ramfs"},
		{0xf2f52010, false, "f2fs"},
		{0x01161970, false, "gfs2"},
		{0x00c36400, false, "ceph"},
		{0, false, "none"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(scratch_file_system_holds(cases[i].magic) == cases[i].holds, "%s",
			cases[i].name);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("scratch_file");
	TCase *c = tcase_create("file systems");

	tcase_add_test(c, a_file_that_cannot_grow);
	tcase_add_test(c, reservations_count_only_where_known);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)
