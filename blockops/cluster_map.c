/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/cluster_map.h"

#include <stdlib.h>

enum { WORD_BITS = 64, WORDS_PER_TABLE = CLUSTERS_PER_TABLE / WORD_BITS };

static uint64_t ones(uint64_t word)
{
	return (uint64_t)__builtin_popcountll(word);
}

bool cluster_map_init(
	struct cluster_map *map, uint64_t virtual_size_bytes, struct qmpsnap_error *err)
{
	*map = (struct cluster_map){0};
	if (virtual_size_bytes > CLUSTER_MAP_MOST_BYTES)
		return error_set(err, QMPSNAP_REFUSED,
			"a disk of %llu bytes is larger than 16 TiB, the most that is supported",
			(unsigned long long)virtual_size_bytes);
	map->virtual_size_bytes = virtual_size_bytes;
	map->n_clusters = (virtual_size_bytes + CLUSTER_BYTES - 1) / CLUSTER_BYTES;
	map->n_tables = (map->n_clusters + CLUSTERS_PER_TABLE - 1) / CLUSTERS_PER_TABLE;

	/* Whole tables, so that a count needs no last word.  calloc() of a large bitmap gives
	 * pages that cost nothing until a bit is set in them.  One table at least: an empty disk
	 * has none, and calloc(0) may be NULL. */
	const size_t n_words = (map->n_tables ? map->n_tables : 1) * WORDS_PER_TABLE;
	map->bits = calloc(n_words, sizeof(*map->bits));
	map->before = calloc(map->n_tables + 1, sizeof(*map->before));
	map->used_before = calloc(map->n_tables + 1, sizeof(*map->used_before));
	if (map->bits && map->before && map->used_before)
		return true;
	cluster_map_free(map);
	return error_no_memory(err);
}

void cluster_map_free(struct cluster_map *map)
{
	free(map->bits);
	free(map->before);
	free(map->used_before);
	*map = (struct cluster_map){0};
}

void cluster_map_set(struct cluster_map *map, uint64_t offset, uint64_t length)
{
	if (length == 0 || offset >= map->virtual_size_bytes)
		return;
	if (length > map->virtual_size_bytes - offset)
		length = map->virtual_size_bytes - offset;

	const uint64_t first = offset / CLUSTER_BYTES;
	const uint64_t last = (offset + length - 1) / CLUSTER_BYTES;
	for (uint64_t word = first / WORD_BITS; word <= last / WORD_BITS; word++) {
		uint64_t mask = UINT64_MAX;
		if (word == first / WORD_BITS)
			mask &= UINT64_MAX << (first % WORD_BITS);
		if (word == last / WORD_BITS)
			mask &= UINT64_MAX >> (WORD_BITS - 1 - last % WORD_BITS);
		map->bits[word] |= mask;
	}
}

void cluster_map_clear(struct cluster_map *map, uint64_t cluster)
{
	if (cluster < map->n_clusters)
		map->bits[cluster / WORD_BITS] &= ~(UINT64_C(1) << (cluster % WORD_BITS));
}

void cluster_map_seal(struct cluster_map *map)
{
	for (uint64_t table = 0; table < map->n_tables; table++) {
		const uint64_t *words = &map->bits[table * WORDS_PER_TABLE];
		uint64_t n = 0;
		for (size_t i = 0; i < WORDS_PER_TABLE; i++)
			n += ones(words[i]);
		map->before[table + 1] = map->before[table] + n;
		map->used_before[table + 1] = map->used_before[table] + (n > 0);
	}
}

bool cluster_map_test(const struct cluster_map *map, uint64_t cluster)
{
	return cluster < map->n_clusters &&
	       (map->bits[cluster / WORD_BITS] >> (cluster % WORD_BITS) & 1);
}

uint64_t cluster_map_count(const struct cluster_map *map)
{
	return map->before[map->n_tables];
}

uint64_t cluster_map_rank(const struct cluster_map *map, uint64_t cluster)
{
	if (cluster >= map->n_clusters)
		return cluster_map_count(map);

	const uint64_t table = cluster / CLUSTERS_PER_TABLE;
	const uint64_t word = cluster / WORD_BITS;
	uint64_t rank = map->before[table];
	for (uint64_t i = table * WORDS_PER_TABLE; i < word; i++)
		rank += ones(map->bits[i]);
	return rank + ones(map->bits[word] & ((UINT64_C(1) << (cluster % WORD_BITS)) - 1));
}

uint64_t cluster_map_select(const struct cluster_map *map, uint64_t index)
{
	uint64_t low = 0, high = map->n_tables; /* before[low] <= index < before[high] */

	while (high - low > 1) {
		const uint64_t middle = low + (high - low) / 2;
		if (map->before[middle] <= index)
			low = middle;
		else
			high = middle;
	}
	uint64_t left = index - map->before[low];
	uint64_t at = low * WORDS_PER_TABLE;
	for (uint64_t n = ones(map->bits[at]); left >= n; n = ones(map->bits[at])) {
		left -= n;
		at++;
	}
	uint64_t word = map->bits[at];
	for (; left > 0; left--)
		word &= word - 1; /* takes the lowest one away */
	return at * WORD_BITS + (uint64_t)__builtin_ctzll(word);
}

uint64_t cluster_map_used_tables(const struct cluster_map *map)
{
	return map->used_before[map->n_tables];
}

uint64_t cluster_map_select_table(const struct cluster_map *map, uint64_t index)
{
	uint64_t low = 0, high = map->n_tables;

	while (high - low > 1) {
		const uint64_t middle = low + (high - low) / 2;
		if (map->used_before[middle] <= index)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* How far the clusters from `cluster` on are like each other; `flip` turns those that go on into
 * zeroes, so that the first one ends it. */
static uint64_t stretch(
	const struct cluster_map *map, uint64_t cluster, uint64_t most, uint64_t flip)
{
	if (cluster >= map->n_clusters)
		return 0;

	const uint64_t end = most < map->n_clusters - cluster ? cluster + most : map->n_clusters;
	uint64_t at = cluster;
	while (at < end) {
		const uint64_t word = (map->bits[at / WORD_BITS] ^ flip) >> (at % WORD_BITS);
		if (word) {
			at += (uint64_t)__builtin_ctzll(word);
			break;
		}
		at = (at / WORD_BITS + 1) * WORD_BITS;
	}
	return (at < end ? at : end) - cluster;
}

uint64_t cluster_map_run(const struct cluster_map *map, uint64_t cluster, uint64_t most)
{
	return stretch(map, cluster, most, UINT64_MAX);
}

uint64_t cluster_map_gap(const struct cluster_map *map, uint64_t cluster, uint64_t most)
{
	return stretch(map, cluster, most, 0);
}
