/* SPDX-License-Identifier: Apache-2.0
 *
 * Extents to cluster map to image: every cluster once, in the guest's order; sizes agree; the
 * tables of the qcow2 file point at the clusters that are there, with one reference each. */
#include "blockops/layout.h"
#include "fuzz.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CLUSTERS = 4 * CLUSTERS_PER_TABLE, MOST_SIZE_SHIFT = 33 };

static const uint64_t offset_mask = UINT64_C(0x00fffffffffffe00);

static void take_extents(struct cluster_map *map, struct fuzz_input *in, uint8_t *wanted)
{
	while (in->left >= 4) {
		const unsigned how = fuzz_byte(in);
		const uint64_t offset = fuzz_number(in, how & 1 ? 8 : 4);
		const uint64_t length = fuzz_number(in, how & 2 ? 8 : 3);

		if (how & 4 && offset < map->n_clusters) {
			cluster_map_clear(map, offset);
			wanted[offset] = 0;
			continue;
		}
		cluster_map_set(map, offset, length);
		const uint64_t first = offset / CLUSTER_BYTES;
		for (uint64_t i = first;
			length > 0 && offset < map->virtual_size_bytes && i < map->n_clusters;
			i++) {
			/* The last byte, also where the sum doesn't fit. */
			if (i > first && i * CLUSTER_BYTES - offset >= length)
				break;
			wanted[i] = 1;
		}
	}
	cluster_map_seal(map);
}

static void check_map(const struct cluster_map *map, const uint8_t *wanted)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < map->n_clusters; i++) {
		FUZZ_CHECK(cluster_map_test(map, i) == (wanted[i] != 0));
		if (!wanted[i])
			continue;
		FUZZ_CHECK(n % 61 != 0 || cluster_map_rank(map, i) == n);
		FUZZ_CHECK(n % 61 != 0 || cluster_map_select(map, n) == i);
		n++;
	}
	FUZZ_CHECK(cluster_map_count(map) == n);
}

/* All of the image from the front to the end, in pieces; the bytes of its tables, the caller's. */
static uint8_t *walk(const struct layout *layout, uint32_t most, const uint8_t *wanted)
{
	const uint64_t n_clusters = layout->map->n_clusters;
	uint8_t *tables = calloc(1, layout->data_at * CLUSTER_BYTES + 1);
	uint64_t guest_at = 0;
	struct segment s;

	FUZZ_CHECK(tables);
	for (uint64_t at = 0; at < layout->size_bytes; at += s.len) {
		layout_at(layout, at, most, &s);
		FUZZ_CHECK(s.offset == at && s.len > 0 && s.len <= most);
		FUZZ_CHECK(at + s.len <= layout->size_bytes);
		if (s.kind == SEGMENT_TABLES) {
			FUZZ_CHECK(at + s.len <= layout->data_at * CLUSTER_BYTES);
			layout_fill(layout, &s, tables + at);
		}
		if (s.kind != SEGMENT_DATA)
			continue;
		/* What is skipped holds nothing. */
		FUZZ_CHECK(s.guest_offset >= guest_at);
		for (uint64_t i = (guest_at + CLUSTER_BYTES - 1) / CLUSTER_BYTES;
			i < s.guest_offset / CLUSTER_BYTES; i++)
			FUZZ_CHECK(!wanted[i]);
		guest_at = s.guest_offset + s.len;
		FUZZ_CHECK(guest_at <= layout->map->virtual_size_bytes);
		for (uint64_t i = s.guest_offset / CLUSTER_BYTES; i * CLUSTER_BYTES < guest_at; i++)
			FUZZ_CHECK(wanted[i]);
	}
	for (uint64_t i = (guest_at + CLUSTER_BYTES - 1) / CLUSTER_BYTES; i < n_clusters; i++)
		FUZZ_CHECK(!wanted[i]);
	return tables;
}

static uint64_t entry(const uint8_t *tables, uint64_t at)
{
	uint64_t value;

	memcpy(&value, tables + at, sizeof(value));
	return be64toh(value);
}

static void check_tables(const struct layout *layout, const uint8_t *tables, const uint8_t *wanted)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < layout->map->n_clusters; i++) {
		const uint64_t l1 = entry(tables,
			layout->l1_at * CLUSTER_BYTES + i / CLUSTERS_PER_TABLE * sizeof(uint64_t));
		const uint64_t l2 = l1 & offset_mask;

		if (!l2) {
			FUZZ_CHECK(!wanted[i]);
			continue;
		}
		FUZZ_CHECK(l2 / CLUSTER_BYTES >= layout->l2_at &&
			   l2 / CLUSTER_BYTES < layout->l2_at + layout->n_l2);
		const uint64_t data =
			entry(tables, l2 + i % CLUSTERS_PER_TABLE * sizeof(uint64_t)) & offset_mask;
		FUZZ_CHECK((data != 0) == (wanted[i] != 0));
		FUZZ_CHECK(!data || data == (layout->data_at + n++) * CLUSTER_BYTES);
	}
	FUZZ_CHECK(layout->size_bytes == (layout->data_at + n) * CLUSTER_BYTES);
	for (uint64_t i = 0; i < layout->n_refcount_blocks * CLUSTER_BYTES / 2; i++) {
		const uint8_t *count =
			tables + layout->refcount_blocks_at * CLUSTER_BYTES + i * sizeof(uint16_t);
		FUZZ_CHECK(count[0] == 0 && count[1] == (i < layout->data_at + n));
	}
}

static uint64_t choose_size(struct fuzz_input *in)
{
	const unsigned how = fuzz_byte(in);
	uint64_t size = fuzz_number(in, 8);

	if (how & 1)
		size &= ~UINT64_C(511);
	return how & 2 ? size : size & ((UINT64_C(1) << (how >> 2) % MOST_SIZE_SHIFT) - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	const uint64_t disk_bytes = choose_size(&in);
	const uint32_t most = 1 + (uint32_t)fuzz_number(&in, 3) + CLUSTER_BYTES / 4;
	struct cluster_map map;
	struct layout layout;
	struct qmpsnap_error err;

	if (!cluster_map_init(&map, disk_bytes, &err)) {
		FUZZ_CHECK(err.message[0]);
		return 0;
	}
	if (map.n_clusters <= MOST_CLUSTERS) {
		uint8_t *wanted = calloc(1, map.n_clusters + 1);
		FUZZ_CHECK(wanted);
		take_extents(&map, &in, wanted);
		check_map(&map, wanted);
		layout_init(&layout, QMPSNAP_QCOW2, &map);
		uint8_t *tables = walk(&layout, most, wanted);
		check_tables(&layout, tables, wanted);
		free(tables);
		layout_init(&layout, QMPSNAP_RAW, &map);
		FUZZ_CHECK(layout.size_bytes == disk_bytes);
		free(walk(&layout, most, wanted));
		free(wanted);
	}
	cluster_map_free(&map);
	return 0;
}
