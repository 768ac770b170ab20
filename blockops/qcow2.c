/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/qcow2.h"

#include <endian.h>
#include <string.h>

/* The numbers are those of QEMU's docs/interop/qcow2.txt. */
#define MAGIC       UINT32_C(0x514649fb)
#define FLAG_COPIED (UINT64_C(1) << 63) /* the refcount is exactly one */

enum {
	VERSION = 3,
	CLUSTER_BITS = 16,
	REFCOUNT_ORDER = 4,
	HEADER_BYTES = 112,
	SECTOR_BYTES = 512,
	ENTRY_BYTES = 8, /* of refcount table, L1 and L2 */
	ENTRIES_PER_CLUSTER = CLUSTER_BYTES / ENTRY_BYTES,
	REFCOUNT_BYTES = 2,
	REFCOUNTS_PER_CLUSTER = CLUSTER_BYTES / REFCOUNT_BYTES,
};

struct header {
	uint32_t magic, version;
	uint64_t backing_file_offset;
	uint32_t backing_file_size;
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt_method;
	uint32_t l1_size;
	uint64_t l1_table_offset;
	uint64_t refcount_table_offset;
	uint32_t refcount_table_clusters;
	uint32_t nb_snapshots;
	uint64_t snapshots_offset;
	uint64_t incompatible_features, compatible_features, autoclear_features;
	uint32_t refcount_order;
	uint32_t header_length;
	uint8_t compression_type;
	uint8_t padding[7];
	uint32_t extension_type, extension_length; /* behind the header: end of the extensions */
};

_Static_assert(sizeof(struct header) == HEADER_BYTES + 8, "the header has no holes");

/* The part of one kind of table that was asked for: bytes [from, to) of that table. */
struct window {
	uint64_t from, to;
	uint8_t *bytes;
};

static uint64_t ceil_div(uint64_t n, uint64_t by)
{
	return (n + by - 1) / by;
}

void qcow2_place(struct layout *layout)
{
	const struct cluster_map *map = layout->map;
	const uint64_t data_clusters = cluster_map_count(map);
	uint64_t blocks = 0, table = 0, total = 0, before;

	layout->l1_clusters = ceil_div(map->n_tables, ENTRIES_PER_CLUSTER);
	layout->n_l2 = cluster_map_used_tables(map);
	/* The refcounts count their own clusters too.  Growing from nothing, this ends at the
	 * smallest size that does. */
	do {
		before = total;
		total = 1 + table + blocks + layout->l1_clusters + layout->n_l2 + data_clusters;
		blocks = ceil_div(total, REFCOUNTS_PER_CLUSTER);
		table = ceil_div(blocks, ENTRIES_PER_CLUSTER);
	} while (total != before);

	layout->refcount_table_at = 1;
	layout->refcount_table_clusters = table;
	layout->refcount_blocks_at = layout->refcount_table_at + table;
	layout->n_refcount_blocks = blocks;
	layout->l1_at = layout->refcount_blocks_at + blocks;
	layout->l2_at = layout->l1_at + layout->l1_clusters;
	layout->data_at = layout->l2_at + layout->n_l2;
	layout->size_bytes = total * CLUSTER_BYTES;
}

/* Writes what the window shows of `size` bytes that stand at `at`. */
static void put(const struct window *window, uint64_t at, const void *source, size_t size)
{
	const uint64_t from = at > window->from ? at : window->from;
	const uint64_t to = at + size < window->to ? at + size : window->to;

	if (from < to)
		memcpy(window->bytes + (from - window->from), (const uint8_t *)source + (from - at),
			to - from);
}

static void put_entry(const struct window *window, uint64_t index, uint64_t value)
{
	const uint64_t big_endian = htobe64(value);

	put(window, index * ENTRY_BYTES, &big_endian, sizeof(big_endian));
}

static void fill_header(const struct layout *layout, const struct window *window)
{
	const uint64_t sectors = ceil_div(layout->map->virtual_size_bytes, SECTOR_BYTES);
	const struct header header = {
		.magic = htobe32(MAGIC),
		.version = htobe32(VERSION),
		.cluster_bits = htobe32(CLUSTER_BITS),
		.size = htobe64(sectors * SECTOR_BYTES),
		.l1_size = htobe32((uint32_t)layout->map->n_tables),
		.l1_table_offset = htobe64(layout->l1_at * CLUSTER_BYTES),
		.refcount_table_offset = htobe64(layout->refcount_table_at * CLUSTER_BYTES),
		.refcount_table_clusters = htobe32((uint32_t)layout->refcount_table_clusters),
		.refcount_order = htobe32(REFCOUNT_ORDER),
		.header_length = htobe32(HEADER_BYTES),
	};

	put(window, 0, &header, sizeof(header));
}

static void fill_refcount_table(const struct layout *layout, const struct window *window)
{
	const uint64_t end = ceil_div(window->to, ENTRY_BYTES);

	for (uint64_t i = window->from / ENTRY_BYTES; i < end && i < layout->n_refcount_blocks; i++)
		put_entry(window, i, (layout->refcount_blocks_at + i) * CLUSTER_BYTES);
}

/* The blocks follow each other, so they are one array of 16-bit ones, and then zeroes. */
static void fill_refcount_blocks(const struct layout *layout, const struct window *window)
{
	const uint64_t ones_end = layout->size_bytes / CLUSTER_BYTES * REFCOUNT_BYTES;
	const uint64_t end = window->to < ones_end ? window->to : ones_end;

	for (uint64_t at = window->from | 1; at < end; at += REFCOUNT_BYTES)
		window->bytes[at - window->from] = 1;
}

static void fill_l1(const struct layout *layout, const struct window *window)
{
	const struct cluster_map *map = layout->map;
	const uint64_t end = ceil_div(window->to, ENTRY_BYTES);

	for (uint64_t i = window->from / ENTRY_BYTES; i < end && i < map->n_tables; i++)
		if (map->used_before[i + 1] > map->used_before[i])
			put_entry(window, i,
				(layout->l2_at + map->used_before[i]) * CLUSTER_BYTES |
					FLAG_COPIED);
}

/* `window` is that of all L2 tables; fills entries [from, to) of the `nth` of them. */
static void fill_l2_table(const struct layout *layout, const struct window *window, uint64_t nth,
	uint64_t from, uint64_t to)
{
	const struct cluster_map *map = layout->map;
	const uint64_t first = cluster_map_select_table(map, nth) * CLUSTERS_PER_TABLE;
	uint64_t host = layout->data_at + cluster_map_rank(map, first + from);

	for (uint64_t i = from; i < to; i++)
		if (cluster_map_test(map, first + i))
			put_entry(window, nth * ENTRIES_PER_CLUSTER + i,
				host++ * CLUSTER_BYTES | FLAG_COPIED);
}

static void fill_l2(const struct layout *layout, const struct window *window)
{
	const uint64_t end = ceil_div(window->to, ENTRY_BYTES);

	for (uint64_t i = window->from / ENTRY_BYTES; i < end;) {
		const uint64_t nth = i / ENTRIES_PER_CLUSTER;
		const uint64_t base = nth * ENTRIES_PER_CLUSTER;
		const uint64_t stop =
			end - base < ENTRIES_PER_CLUSTER ? end - base : ENTRIES_PER_CLUSTER;
		fill_l2_table(layout, window, nth, i - base, stop);
		i = base + stop;
	}
}

void qcow2_fill(const struct layout *layout, uint64_t offset, uint32_t length, uint8_t *bytes)
{
	typedef void fill_fn(const struct layout *, const struct window *);
	const struct {
		fill_fn *fill;
		uint64_t at, end; /* in clusters */
	} regions[] = {
		{fill_header, 0, layout->refcount_table_at},
		{fill_refcount_table, layout->refcount_table_at, layout->refcount_blocks_at},
		{fill_refcount_blocks, layout->refcount_blocks_at, layout->l1_at},
		{fill_l1, layout->l1_at, layout->l2_at},
		{fill_l2, layout->l2_at, layout->data_at},
	};
	const uint64_t end = offset + length;

	memset(bytes, 0, length);
	for (size_t i = 0; i < sizeof(regions) / sizeof(regions[0]); i++) {
		const uint64_t region = regions[i].at * CLUSTER_BYTES;
		const uint64_t region_end = regions[i].end * CLUSTER_BYTES;
		const uint64_t from = offset > region ? offset : region;
		const uint64_t to = end < region_end ? end : region_end;
		if (from >= to)
			continue;
		regions[i].fill(layout,
			&(struct window){from - region, to - region, bytes + (from - offset)});
	}
}
