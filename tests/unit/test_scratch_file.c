/* SPDX-License-Identifier: Apache-2.0
 *
 * What is believed of the file systems under scratches and spools. */
#include "blockops/scratch_file.h"
#include "suite.h"

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

	tcase_add_test(c, reservations_count_only_where_known);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)
