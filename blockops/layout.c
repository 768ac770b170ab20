/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/layout.h"

#include "blockops/qcow2.h"

void layout_init(struct layout *layout, enum qmpsnap_format format, const struct cluster_map *map)
{
	*layout = (struct layout){.format = format, .map = map};
	if (format == QMPSNAP_QCOW2)
		qcow2_place(layout);
	else
		layout->size_bytes = map->virtual_size_bytes;
}

static uint32_t least(uint64_t a, uint32_t b)
{
	return a < b ? (uint32_t)a : b;
}

/* Fills kind, guest_offset and len for what stands `within` bytes behind the start of `cluster`
 * of the guest's disk, where the image has the disk's clusters in the disk's order. */
static void guest_segment(const struct cluster_map *map, uint64_t cluster, uint64_t within,
	uint32_t most, struct segment *segment)
{
	const uint64_t guest_offset = cluster * CLUSTER_BYTES + within;
	const uint64_t most_clusters = (within + most + CLUSTER_BYTES - 1) / CLUSTER_BYTES;
	uint64_t clusters = cluster_map_run(map, cluster, most_clusters);

	segment->kind = SEGMENT_DATA;
	if (clusters == 0) {
		segment->kind = SEGMENT_ZERO;
		clusters = cluster_map_gap(map, cluster, most_clusters);
	}
	uint64_t end = (cluster + clusters) * CLUSTER_BYTES;
	if (guest_offset >= map->virtual_size_bytes)
		segment->kind = SEGMENT_ZERO;
	else if (end > map->virtual_size_bytes)
		end = map->virtual_size_bytes;
	segment->guest_offset = segment->kind == SEGMENT_DATA ? guest_offset : 0;
	segment->len = least(end - guest_offset, most);
}

void layout_at(const struct layout *layout, uint64_t offset, uint32_t most, struct segment *segment)
{
	const uint64_t cluster = offset / CLUSTER_BYTES;
	const uint64_t within = offset % CLUSTER_BYTES;
	const struct cluster_map *map = layout->map;

	*segment = (struct segment){.offset = offset};
	if (layout->format == QMPSNAP_RAW) {
		guest_segment(map, cluster, within, most, segment);
	} else if (cluster >= layout->data_at) {
		guest_segment(map, cluster_map_select(map, cluster - layout->data_at), within, most,
			segment);
	} else {
		segment->kind = SEGMENT_TABLES;
		segment->len = least(layout->data_at * CLUSTER_BYTES - offset, most);
	}
}

void layout_fill(const struct layout *layout, const struct segment *segment, uint8_t *bytes)
{
	qcow2_fill(layout, segment->offset, segment->len, bytes);
}
