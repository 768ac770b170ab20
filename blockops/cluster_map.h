/* SPDX-License-Identifier: Apache-2.0
 *
 * cluster_map.h - which 64 KiB clusters of a guest disk hold data: one bit each, with the counts
 * that make rank and select cheap.  16 TiB need 32 MiB at the very most; pages of the bitmap that
 * were never set cost nothing.
 */
#ifndef BLOCKOPS_CLUSTER_MAP_H
#define BLOCKOPS_CLUSTER_MAP_H

#include "base/error.h"

enum { CLUSTER_BYTES = 65536, CLUSTERS_PER_TABLE = 8192 /* an L2 table: 512 MiB of disk */ };

struct cluster_map {
	uint64_t virtual_size_bytes;
	uint64_t n_clusters;
	uint64_t *bits;
	/* From seal on, one entry more than tables: what stands before each table. */
	uint64_t *before; /* set clusters */
	uint32_t *used_before; /* tables that have a set cluster */
	uint64_t n_tables;
};

/* The largest disk: what plans refuse beforehand. */
#define CLUSTER_MAP_MOST_BYTES (UINT64_C(16) << 40)

/* Over 16 TiB is refused (REFUSED); without memory INTERNAL.  After a failure there is nothing to
 * free, though cluster_map_free() does no harm. */
bool cluster_map_init(
	struct cluster_map *map, uint64_t virtual_size_bytes, struct qmpsnap_error *err);
void cluster_map_free(struct cluster_map *map);

/* Marks every cluster that [offset, offset + length) touches; what lies past the end of the disk
 * is ignored. */
void cluster_map_set(struct cluster_map *map, uint64_t offset, uint64_t length);

/* Takes a cluster back; cluster_map_seal() must follow before the counts are used again. */
void cluster_map_clear(struct cluster_map *map, uint64_t cluster);

/* After the last set or clear: builds the counts.  The functions below need it. */
void cluster_map_seal(struct cluster_map *map);

bool cluster_map_test(const struct cluster_map *map, uint64_t cluster);
uint64_t cluster_map_count(const struct cluster_map *map);
/* Set clusters before `cluster`. */
uint64_t cluster_map_rank(const struct cluster_map *map, uint64_t cluster);
/* The `index`-th set cluster (from 0); index < count. */
uint64_t cluster_map_select(const struct cluster_map *map, uint64_t index);
/* The same for tables: how many have a set cluster, and the `index`-th that has one. */
uint64_t cluster_map_used_tables(const struct cluster_map *map);
uint64_t cluster_map_select_table(const struct cluster_map *map, uint64_t index);
/* How many clusters from `cluster` on are set without a gap (0 when it isn't), at most `most`. */
uint64_t cluster_map_run(const struct cluster_map *map, uint64_t cluster, uint64_t most);
/* How many are not set, in the same way. */
uint64_t cluster_map_gap(const struct cluster_map *map, uint64_t cluster, uint64_t most);

#endif
