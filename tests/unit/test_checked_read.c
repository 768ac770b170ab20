/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads of a view that are checked against its scratch.
 */
#include "checked_kit.h"
#include "fixture.h"
#include "suite.h"

#include <string.h>
static void setup(void)
{
	loop_setup();
	checked_setup(&loop);
}

static void teardown(void)
{
	loop_teardown();
	checked_teardown();
}

static void read_all(void)
{
	struct consumer c;

	open_reader(&c, 0);
	take(&c, 0);
}

/* After end(): of the view that lies, just these blocks (a bit each) were read once more, in
 * clusters, and so are right. */
static void assert_repeated(uint64_t blocks)
{
	static uint8_t expected[MOST_BYTES];
	const uint64_t size = fake.size_bytes;
	unsigned n_blocks = 0, n_clusters = 0;

	ck_assert_uint_le(size, sizeof(expected));
	kit_pattern(0, expected, (size_t)size);
	for (uint64_t at = 0; at < size; at += BLOCK_BYTES, blocks >>= 1) {
		const uint64_t len = size - at < BLOCK_BYTES ? size - at : BLOCK_BYTES;

		n_blocks++;
		if (blocks & 1)
			n_clusters += (unsigned)((len + CLUSTER_BYTES - 1) / CLUSTER_BYTES);
		else
			memset(expected + at, 0, (size_t)len);
	}
	ck_assert(memcmp(got, expected, (size_t)size) == 0);
	ck_assert_uint_eq(fake.n_wide_reads, n_blocks);
	ck_assert_uint_eq(fake.n_reads, n_blocks + n_clusters);
}

START_TEST(nothing_in_the_scratch)
{
	view_of_fake();
	make_scratch(NULL, 0);
	check_reads();
	read_all();
	end();
	assert_repeated(0);
}
END_TEST

/* The first cluster, one within a read, two of one read, and the last one, which is cut. */
START_TEST(clusters_in_the_scratch)
{
	static const uint64_t offsets[] = {
		0, MIB + 192 * KIB, 2560 * KIB, 3008 * KIB, 16 * MIB + 64 * KIB};

	fake.size_bytes = 16 * MIB + 100 * KIB + 512;
	view_of_fake();
	make_scratch(offsets, sizeof(offsets) / sizeof(offsets[0]));
	check_reads();
	read_all();
	end();
	assert_repeated(1 << 0 | 1 << 2 | 1 << 5 | UINT64_C(1) << 32);
}
END_TEST

/* Clusters that border on reads, and lie between two that one question is about. */
START_TEST(clusters_in_a_gap)
{
	static const uint64_t offsets[] = {512 * KIB, 768 * KIB, 960 * KIB, 1536 * KIB};

	fake.size_bytes = 2 * MIB;
	open_fake(&run, &fake);
	cluster_map_set(&run.map, 0, BLOCK_BYTES);
	cluster_map_set(&run.map, MIB, BLOCK_BYTES);
	cluster_map_seal(&run.map);
	make_scratch(offsets, sizeof(offsets) / sizeof(offsets[0]));
	check_reads();
	read_all();
	end();
	ck_assert_uint_eq(fake.n_wide_reads, 2);
	ck_assert_uint_eq(fake.n_reads, 2);
}
END_TEST

static const uint64_t extents[] = {64 * KIB, 192 * KIB, 768 * KIB, 5 * MIB};

/* Of the scratch, an answer describes one extent. */
START_TEST(short_answers)
{
	const uint64_t extent = extents[_i];
	uint64_t blocks = 0;

	view_of_fake();
	make_fake_scratch(extent);
	check_reads();
	read_all();
	end();
	for (uint64_t at = 0; at < fake.size_bytes; at += CLUSTER_BYTES) {
		if (at / extent % 2)
			blocks |= UINT64_C(1) << at / BLOCK_BYTES;
	}
	assert_repeated(blocks);
	ck_assert_uint_ge(fake_scratch.n_maps, fake.size_bytes / extent);
}
END_TEST

START_TEST(two_readers)
{
	const uint64_t offset = 5 * MIB + CLUSTER_BYTES;
	struct consumer a, b;

	view_of_disk(16 * MIB + 100 * KIB + 512);
	make_random_scratch();
	check_reads();
	open_reader(&a, 0);
	open_reader(&b, offset);
	take(&a, 0);
	assert_disk(0);
	memset(got, 0, sizeof(got));
	take(&b, offset);
	assert_disk(offset);
	end();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("checked_read");
	TCase *tcase = tcase_create("checked_read");

	tcase_add_unchecked_fixture(tcase, kit_setup, kit_teardown);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, nothing_in_the_scratch);
	tcase_add_test(tcase, clusters_in_the_scratch);
	tcase_add_test(tcase, clusters_in_a_gap);
	tcase_add_loop_test(tcase, short_answers, 0, sizeof(extents) / sizeof(extents[0]));
	tcase_add_test(tcase, two_readers);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
