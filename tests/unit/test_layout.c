/* SPDX-License-Identifier: Apache-2.0
 *
 * Images from random maps, judged by qemu-img.
 */
#include "blockops/layout.h"
#include "image_kit.h"
#include "suite.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER     UINT64_C(65536)
#define KIB         UINT64_C(1024)
#define MIB         (1024 * KIB)
#define GIB         (1024 * MIB)
#define TABLE_BYTES ((uint64_t)CLUSTERS_PER_TABLE * CLUSTER_BYTES)

static struct cluster_map map;
static struct layout layout;
static char image[KIT_PATH_BYTES], raw[KIT_PATH_BYTES];

static void begin_map(uint64_t size)
{
	struct qmpsnap_error err;

	ck_assert(cluster_map_init(&map, size, &err));
}

static void begin_layout(enum qmpsnap_format format)
{
	cluster_map_seal(&map);
	layout_init(&layout, format, &map);
}

/* Each loop's number gives its files a name of their own. */
static void name_files(int i)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "image-%d", i);
	kit_path(image, name);
	(void)snprintf(name, sizeof(name), "raw-%d", i);
	kit_path(raw, name);
}

static void end_files(void)
{
	(void)unlink(image);
	(void)unlink(raw);
	cluster_map_free(&map);
}

/* Nothing, one sector, an odd number of sectors, no sectors at all, and all around the borders of
 * clusters and tables. */
static uint64_t random_size(void)
{
	switch (kit_random(8)) {
	case 0:
		return 512 * kit_random(4);
	case 1:
		return CLUSTER_BYTES - 1024 + 512 * kit_random(5);
	case 2:
		return kit_random(4 * MIB);
	case 3:
		return TABLE_BYTES * (1 + kit_random(3)) - 1024 + 512 * kit_random(5);
	case 4:
		return TABLE_BYTES * (1 + kit_random(3)) + kit_random(2 * CLUSTER);
	case 5:
		return 512 * kit_random(20 * GIB / 512);
	default:
		return 512 * kit_random(6 * MIB / 512);
	}
}

enum { MOST_CLUSTERS = 48 };

/* Empty, full, every second, or some extents anywhere; not more than a few MiB of them. */
static void random_extents(uint64_t size)
{
	const uint64_t kind = kit_random(6);
	const uint64_t first = kit_random(map.n_clusters + 1);

	if (kind == 0 || size == 0)
		return;
	for (uint64_t i = 0; i < MOST_CLUSTERS; i++) {
		if (kind == 1)
			cluster_map_set(&map, (first + i) * CLUSTER_BYTES, CLUSTER_BYTES);
		else if (kind == 2)
			cluster_map_set(&map, (first + 2 * i) * CLUSTER_BYTES, 1);
		else if (kit_random(4) == 0)
			cluster_map_set(&map, kit_random(size), kit_random(3 * CLUSTER));
	}
	if (kit_random(2))
		cluster_map_set(&map, size - 1, 1);
}

/* Any part, asked for in any way, is the same bytes as stand in the file. */
static void assert_parts_equal_file(const char *path, unsigned parts)
{
	enum { PART_BYTES = 200000 };
	static uint8_t want[PART_BYTES], got[PART_BYTES];
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct segment segment;

	ck_assert_int_ge(fd, 0);
	for (; parts > 0 && layout.size_bytes > 0; parts--) {
		const uint64_t in =
			kit_random(2) ? layout.size_bytes : layout.data_at * CLUSTER_BYTES + 1;
		const uint64_t at = kit_random(in < layout.size_bytes ? in : layout.size_bytes);
		kit_at(&layout, at, 1 + (uint32_t)kit_random(PART_BYTES), &segment);
		kit_produce(&layout, &segment, got);
		ck_assert_int_eq(pread(fd, want, segment.len, (off_t)at), (ssize_t)segment.len);
		if (memcmp(want, got, segment.len) != 0)
			ck_abort_msg(
				"%u bytes at %llu differ", segment.len, (unsigned long long)at);
	}
	ck_assert_int_eq(close(fd), 0);
}

START_TEST(random_maps_please_qemu_img)
{
	kit_seed((uint64_t)_i);
	name_files(_i);
	const uint64_t size = random_size();
	begin_map(size);
	random_extents(size);
	begin_layout(QMPSNAP_QCOW2);
	kit_write_image(&layout, image);
	kit_write_reference(&map, raw);
	kit_assert_check(image);
	kit_assert_equal(image, "qcow2", raw);
	assert_parts_equal_file(image, 60);

	/* The raw image of the same map. */
	layout_init(&layout, QMPSNAP_RAW, &map);
	ck_assert_uint_eq(layout.size_bytes, size);
	kit_write_image(&layout, image);
	kit_assert_equal(image, "raw", raw);
	assert_parts_equal_file(raw, 20);
	end_files();
}
END_TEST

START_TEST(one_byte_at_a_time_gives_the_same)
{
	name_files(0);
	kit_seed(1000);
	begin_map(TABLE_BYTES + 3 * CLUSTER - 700);
	cluster_map_set(&map, TABLE_BYTES - 1, 2);
	cluster_map_set(&map, TABLE_BYTES + 2 * CLUSTER, 1);
	begin_layout(QMPSNAP_QCOW2);
	kit_write_image(&layout, image);
	kit_write_reference(&map, raw);
	kit_assert_check(image);
	kit_assert_equal(image, "qcow2", raw);

	const int fd = open(image, O_RDONLY | O_CLOEXEC);
	uint8_t *want = malloc(layout.size_bytes);
	ck_assert_ptr_nonnull(want);
	ck_assert_int_eq(pread(fd, want, layout.size_bytes, 0), (ssize_t)layout.size_bytes);
	for (uint64_t at = 0; at < layout.size_bytes; at++) {
		struct segment segment;
		uint8_t byte = 0xa5;
		kit_at(&layout, at, 1, &segment);
		kit_produce(&layout, &segment, &byte);
		if (byte != want[at])
			ck_abort_msg("byte %llu", (unsigned long long)at);
	}
	free(want);
	ck_assert_int_eq(close(fd), 0);
	end_files();
}
END_TEST

/* The refcount blocks count themselves: totals on both sides of where another is needed. */
START_TEST(refcount_blocks_are_exactly_enough)
{
	/* data clusters, refcount blocks, all clusters: worked out apart from this code */
	const uint64_t cases[][3] = {{32759, 1, 32767}, {32760, 1, 32768}, {32761, 2, 32770},
		{65522, 2, 65535}, {65523, 2, 65536}, {65524, 3, 65538}};

	name_files(_i);
	begin_map(8 * GIB);
	cluster_map_set(&map, 0, cases[_i][0] * CLUSTER_BYTES);
	begin_layout(QMPSNAP_QCOW2);
	ck_assert_uint_eq(layout.n_refcount_blocks, cases[_i][1]);
	ck_assert_uint_eq(layout.size_bytes / CLUSTER_BYTES, cases[_i][2]);
	kit_write_tables(&layout, image);
	kit_assert_check(image);
	end_files();
}
END_TEST

START_TEST(the_header_says_what_it_should)
{
	const uint64_t sizes[][2] = {{0, 0}, {1, 512}, {512, 512}, {513, 1024},
		{CLUSTER_BYTES - 1, CLUSTER_BYTES}, {3 * GIB + 1536, 3 * GIB + 1536}};

	name_files(_i);
	begin_map(sizes[_i][0]);
	cluster_map_set(&map, 0, UINT64_C(1));
	begin_layout(QMPSNAP_QCOW2);
	kit_write_tables(&layout, image);
	kit_assert_check(image);
	struct json_object *info = kit_qemu_img_json("info", image);
	struct json_object *size, *specific, *data, *version, *refcount_bits;
	ck_assert(json_object_object_get_ex(info, "virtual-size", &size));
	ck_assert_uint_eq(json_object_get_uint64(size), sizes[_i][1]);
	ck_assert(json_object_object_get_ex(info, "format-specific", &specific));
	ck_assert(json_object_object_get_ex(specific, "data", &data));
	ck_assert(json_object_object_get_ex(data, "compat", &version));
	ck_assert_str_eq(json_object_get_string(version), "1.1");
	ck_assert(json_object_object_get_ex(data, "refcount-bits", &refcount_bits));
	ck_assert_int_eq(json_object_get_int(refcount_bits), 16);
	json_object_put(info);
	end_files();
}
END_TEST

START_TEST(raw_segments_are_as_long_as_can_be)
{
	struct segment s;

	begin_map(20 * GIB + 100);
	cluster_map_set(&map, 5 * GIB, 10 * GIB);
	begin_layout(QMPSNAP_RAW);
	kit_at(&layout, 0, UINT32_MAX, &s);
	ck_assert_int_eq(s.kind, SEGMENT_ZERO);
	ck_assert_uint_eq(s.len, UINT32_MAX);
	kit_at(&layout, 5 * GIB - 10, UINT32_MAX, &s);
	ck_assert_int_eq(s.kind, SEGMENT_ZERO);
	ck_assert_uint_eq(s.len, 10);
	kit_at(&layout, 5 * GIB + 7, UINT32_MAX, &s);
	ck_assert_int_eq(s.kind, SEGMENT_DATA);
	ck_assert_uint_eq(s.guest_offset, 5 * GIB + 7);
	ck_assert_uint_eq(s.len, UINT32_MAX);
	kit_at(&layout, 20 * GIB, UINT32_MAX, &s);
	ck_assert_int_eq(s.kind, SEGMENT_ZERO);
	ck_assert_uint_eq(s.len, 100);
	cluster_map_free(&map);
}
END_TEST

START_TEST(what_lies_past_the_end_is_zero)
{
	struct segment s;

	begin_map(CLUSTER_BYTES + 1000);
	cluster_map_set(&map, 0, UINT64_MAX);
	begin_layout(QMPSNAP_QCOW2);
	const uint64_t data = layout.data_at * CLUSTER_BYTES;
	kit_at(&layout, data - 1, UINT32_MAX, &s);
	ck_assert_int_eq(s.kind, SEGMENT_TABLES);
	ck_assert_uint_eq(s.len, 1);
	kit_at(&layout, data, UINT32_MAX, &s);
	ck_assert_int_eq(s.kind, SEGMENT_DATA);
	ck_assert_uint_eq(s.len, CLUSTER_BYTES + 1000);
	kit_at(&layout, data + CLUSTER_BYTES + 1000, UINT32_MAX, &s);
	ck_assert_int_eq(s.kind, SEGMENT_ZERO);
	ck_assert_uint_eq(s.len, CLUSTER_BYTES - 1000);
	ck_assert_uint_eq(layout.size_bytes, data + 2 * CLUSTER);
	cluster_map_free(&map);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("layout");
	TCase *t = tcase_create("layout");

	tcase_set_timeout(t, 120);
	tcase_add_unchecked_fixture(t, kit_setup, kit_teardown);
	tcase_add_loop_test(t, random_maps_please_qemu_img, 0, 300);
	tcase_add_test(t, one_byte_at_a_time_gives_the_same);
	tcase_add_loop_test(t, refcount_blocks_are_exactly_enough, 0, 6);
	tcase_add_loop_test(t, the_header_says_what_it_should, 0, 6);
	tcase_add_test(t, raw_segments_are_as_long_as_can_be);
	tcase_add_test(t, what_lies_past_the_end_is_zero);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
