/* SPDX-License-Identifier: Apache-2.0
 *
 * Images of large disks, what they cost, and how their size compares with qemu-img's.
 */
#include "blockops/layout.h"
#include "image_kit.h"
#include "suite.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLUSTER     UINT64_C(65536)
#define MIB         (UINT64_C(1) << 20)
#define GIB         (UINT64_C(1) << 30)
#define TIB         (UINT64_C(1) << 40)
#define FLAG_COPIED (UINT64_C(1) << 63)

enum { PIECE_BYTES = 1 << 20, PEAK_KIB = 40 * 1024 };

static struct cluster_map map;
static struct layout layout;
static char image[KIT_PATH_BYTES], raw[KIT_PATH_BYTES], converted[KIT_PATH_BYTES];

static void begin_map(uint64_t size)
{
	struct qmpsnap_error err;

	ck_assert(cluster_map_init(&map, size, &err));
	kit_path(image, "image");
	kit_path(raw, "raw");
	kit_path(converted, "converted");
}

static void begin_layout(void)
{
	cluster_map_seal(&map);
	layout_init(&layout, QMPSNAP_QCOW2, &map);
}

static void end_files(void)
{
	(void)unlink(image);
	(void)unlink(raw);
	(void)unlink(converted);
	cluster_map_free(&map);
}

/* The `index`-th 8-byte entry from cluster `cluster` of the image on. */
static uint64_t entry(uint64_t cluster, uint64_t index)
{
	struct segment segment;
	uint64_t value;

	kit_at(&layout, cluster * CLUSTER_BYTES + index * 8, 8, &segment);
	ck_assert_int_eq(segment.kind, SEGMENT_TABLES);
	ck_assert_uint_eq(segment.len, 8);
	layout_fill(&layout, &segment, (uint8_t *)&value);
	return be64toh(value);
}

static uint16_t refcount(uint64_t cluster)
{
	struct segment segment;
	uint8_t bytes[2];

	kit_at(&layout, layout.refcount_blocks_at * CLUSTER_BYTES + cluster * 2, 2, &segment);
	layout_fill(&layout, &segment, bytes);
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

/* 16 TiB with every second cluster set has 2^27 data clusters, 32768 L2 tables, 4 clusters of L1;
 * they and the 4098 refcount blocks that they need are 134254600 clusters. */
enum { BLOCKS = 4098, L2_TABLES = 32768, ALL = 134254600, DATA_AT = ALL - (1 << 27) };

static void set_every_second(void)
{
	for (uint64_t i = 0; i < map.n_clusters; i += 2)
		cluster_map_set(&map, i * CLUSTER_BYTES, CLUSTER_BYTES);
}

static void spot_check_tables(void)
{
	const uint64_t l1_at = 2 + BLOCKS, l2_at = l1_at + 4;

	for (uint64_t i = 0; i < BLOCKS; i++)
		ck_assert_uint_eq(entry(1, i), (2 + i) * CLUSTER_BYTES);
	ck_assert_uint_eq(entry(1, BLOCKS), 0);
	for (unsigned k = 0; k < 2000; k++) {
		const uint64_t table = kit_random(L2_TABLES);
		const uint64_t i = kit_random(CLUSTERS_PER_TABLE);
		const uint64_t host = (DATA_AT + table * 4096 + i / 2) * CLUSTER_BYTES;
		ck_assert_uint_eq(entry(l1_at, table), ((l2_at + table) << 16) | FLAG_COPIED);
		ck_assert_uint_eq(entry(l2_at, table * 8192 + i), i % 2 ? 0 : (host | FLAG_COPIED));
		ck_assert_uint_eq(refcount(kit_random(ALL)), 1);
	}
	ck_assert_uint_eq(refcount(ALL - 1), 1);
	ck_assert_uint_eq(refcount(ALL), 0);
}

/* Generates one piece in 16 of all tables; returns how many bytes. */
static uint64_t generate_some(void)
{
	uint8_t *piece = malloc(PIECE_BYTES);
	uint64_t total = 0;
	struct segment segment;

	ck_assert_ptr_nonnull(piece);
	for (uint64_t at = 0; at < (uint64_t)DATA_AT * CLUSTER_BYTES;
		at += UINT64_C(16) * PIECE_BYTES) {
		kit_at(&layout, at, PIECE_BYTES, &segment);
		layout_fill(&layout, &segment, piece);
		total += segment.len;
	}
	free(piece);
	return total;
}

START_TEST(a_16_tib_map_with_every_second_cluster)
{
	enum { WALK = 1 << 20 };
	const long before_kib = kit_peak_kib();
	struct segment segment;

	kit_seed(1);
	begin_map(16 * TIB);
	set_every_second();
	const double set_ms = kit_cpu_ms();
	begin_layout();
	const double ready_ms = kit_cpu_ms();
	ck_assert_uint_eq(layout.size_bytes, (uint64_t)ALL * CLUSTER_BYTES);
	ck_assert_uint_eq(layout.data_at, DATA_AT);
	ck_assert_uint_eq(layout.n_refcount_blocks, BLOCKS);
	ck_assert_uint_eq(layout.n_l2, L2_TABLES);
	spot_check_tables();

	const double fill_ms = kit_cpu_ms();
	const uint64_t filled = generate_some();
	const double filled_ms = kit_cpu_ms();

	/* The segments from the middle of the data on: a data cluster each, two apart. */
	for (uint64_t i = 0; i < WALK; i++) {
		const uint64_t nth = (UINT64_C(1) << 26) + i;
		kit_at(&layout, (DATA_AT + nth) * CLUSTER_BYTES, PIECE_BYTES, &segment);
		if (segment.kind != SEGMENT_DATA || segment.len != CLUSTER_BYTES ||
			segment.guest_offset != nth * 2 * CLUSTER)
			ck_abort_msg("data cluster %llu", (unsigned long long)nth);
	}
	const double walked_ms = kit_cpu_ms();
	const long grown_kib = kit_peak_kib() - before_kib;

	(void)printf("16 TiB, every second: seal and place %.0f ms, tables %.0f MiB/s, "
		     "%.0f ns a segment, memory %ld KiB\n",
		ready_ms - set_ms, (double)filled / (double)MIB / (filled_ms - fill_ms) * 1e3,
		(walked_ms - filled_ms) * 1e6 / WALK, grown_kib);
	if (!KIT_SANITIZED) {
		ck_assert_double_lt(ready_ms - set_ms, 2000);
		ck_assert_double_lt(walked_ms - filled_ms, 10e3);
		ck_assert_int_lt(grown_kib, PEAK_KIB);
	}
	cluster_map_free(&map);
}
END_TEST

START_TEST(all_segments_of_a_16_tib_disk)
{
	const uint64_t extent = 16 * MIB;
	struct segment segment;
	uint64_t n_data = 0, next = 0;

	begin_map(16 * TIB);
	for (uint64_t at = 0; at < map.virtual_size_bytes; at += 2 * extent)
		cluster_map_set(&map, at, extent);
	begin_layout();
	ck_assert_uint_eq(layout.size_bytes - layout.data_at * CLUSTER_BYTES, 8 * TIB);
	for (uint64_t at = 0; at < layout.size_bytes; at += segment.len) {
		kit_at(&layout, at, UINT32_MAX, &segment);
		if (segment.kind != SEGMENT_DATA)
			continue;
		if (segment.guest_offset != next || segment.len != extent)
			ck_abort_msg("extent %llu", (unsigned long long)n_data);
		next += 2 * extent;
		n_data++;
	}
	ck_assert_uint_eq(n_data, 16 * TIB / extent / 2);
	cluster_map_free(&map);
}
END_TEST

/* Each extent that qemu-img sees as data is one of the map, where the layout says. */
static void assert_qemu_img_map(void)
{
	struct json_object *extents = kit_qemu_img_json("map", image), *value;
	uint64_t clusters = 0;

	for (size_t i = 0; i < json_object_array_length(extents); i++) {
		struct json_object *extent = json_object_array_get_idx(extents, i);
		struct segment segment;
		ck_assert(json_object_object_get_ex(extent, "data", &value));
		if (!json_object_get_boolean(value))
			continue;
		ck_assert(json_object_object_get_ex(extent, "start", &value));
		const uint64_t start = json_object_get_uint64(value);
		ck_assert(json_object_object_get_ex(extent, "length", &value));
		const uint64_t length = json_object_get_uint64(value);
		ck_assert(json_object_object_get_ex(extent, "offset", &value));
		const uint64_t offset = json_object_get_uint64(value);
		kit_at(&layout, offset, (uint32_t)length, &segment);
		ck_assert_int_eq(segment.kind, SEGMENT_DATA);
		ck_assert_uint_eq(segment.guest_offset, start);
		clusters += (length + CLUSTER_BYTES - 1) / CLUSTER_BYTES;
	}
	ck_assert_uint_eq(clusters, cluster_map_count(&map));
	json_object_put(extents);
}

START_TEST(sparse_disks_of_many_gib_and_tib)
{
	const uint64_t sizes[] = {5 * GIB + 512, 100 * GIB, TIB + 12345, 16 * TIB - 513, 16 * TIB};

	kit_seed(100 + (uint64_t)_i);
	begin_map(sizes[_i]);
	for (unsigned i = 0; i < 40; i++)
		cluster_map_set(&map, kit_random(sizes[_i]), 1 + kit_random(3 * CLUSTER));
	cluster_map_set(&map, sizes[_i] - 1, 1);
	cluster_map_set(&map, 0, 1);
	begin_layout();
	kit_write_image(&layout, image);
	kit_assert_check(image);
	assert_qemu_img_map();
	if (sizes[_i] < 2 * TIB) { /* ext4 has no files of 16 TiB */
		kit_write_reference(&map, raw);
		kit_assert_equal(image, "qcow2", raw);
	}
	end_files();
}
END_TEST

/* Makes the raw file `raw` of `size` with data of `island` bytes every `step`. */
static void write_islands(uint64_t size, uint64_t step, uint64_t island)
{
	const int fd = open(raw, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint8_t *bytes = malloc(island + 1);

	ck_assert_int_ge(fd, 0);
	ck_assert_ptr_nonnull(bytes);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	for (uint64_t at = 0; at + island <= size && island > 0; at += step) {
		kit_pattern(at, bytes, island);
		if (pwrite(fd, bytes, island, (off_t)at) != (ssize_t)island)
			ck_abort_msg("%s: %s", raw, strerror(errno));
	}
	free(bytes);
	ck_assert_int_eq(close(fd), 0);
}

/* The map that the file system knows. */
static void set_from_file(void)
{
	const int fd = open(raw, O_RDONLY | O_CLOEXEC);
	off_t hole = 0;

	ck_assert_int_ge(fd, 0);
	for (off_t data = lseek(fd, 0, SEEK_DATA); data >= 0; data = lseek(fd, hole, SEEK_DATA)) {
		hole = lseek(fd, data, SEEK_HOLE);
		ck_assert_int_gt(hole, data);
		cluster_map_set(&map, (uint64_t)data, (uint64_t)(hole - data));
	}
	ck_assert_int_eq(close(fd), 0);
}

START_TEST(hardly_larger_than_qemu_img_convert)
{
	const uint64_t cases[][3] = {{0, 1, 0}, {512, 512, 512}, {GIB, GIB, 0},
		{20 * MIB, MIB, MIB}, {64 * MIB + 512, 131072, 4096}, {3 * GIB, 16 * MIB, 65536},
		{600 * MIB, 1000000, 20000}, {TIB, 64 * GIB, 3 * MIB}};
	char *convert[] = {"qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, converted, NULL};
	struct stat theirs;

	begin_map(cases[_i][0]);
	write_islands(cases[_i][0], cases[_i][1], cases[_i][2]);
	set_from_file();
	begin_layout();
	ck_assert_int_eq(kit_run(NULL, convert), 0);
	ck_assert_int_eq(stat(converted, &theirs), 0);
	(void)printf("disk of %llu bytes: image %llu, qemu-img convert's %lld\n",
		(unsigned long long)cases[_i][0], (unsigned long long)layout.size_bytes,
		(long long)theirs.st_size);
	ck_assert_double_le((double)layout.size_bytes, 1.01 * (double)theirs.st_size + (double)MIB);
	end_files();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("layout_large");
	TCase *t = tcase_create("layout_large");

	tcase_set_timeout(t, 120);
	tcase_add_unchecked_fixture(t, kit_setup, kit_teardown);
	tcase_add_test(t, a_16_tib_map_with_every_second_cluster);
	tcase_add_test(t, all_segments_of_a_16_tib_disk);
	tcase_add_loop_test(t, sparse_disks_of_many_gib_and_tib, 0, 5);
	tcase_add_loop_test(t, hardly_larger_than_qemu_img_convert, 0, 8);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
