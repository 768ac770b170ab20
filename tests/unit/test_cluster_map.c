/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/cluster_map.h"
#include "image_kit.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

#define CLUSTER UINT64_C(65536)
#define TIB     (UINT64_C(1) << 40)

static struct qmpsnap_error err;

/* The same by one byte a cluster and the plainest loops. */
struct model {
	uint64_t n;
	uint8_t *set;
};

static void model_set(struct model *model, uint64_t offset, uint64_t length)
{
	for (uint64_t i = 0; i < model->n; i++) {
		const uint64_t begin = i * CLUSTER_BYTES;
		if (length > 0 && begin + CLUSTER_BYTES > offset &&
			(offset + length < offset || begin < offset + length))
			model->set[i] = 1;
	}
}

static uint64_t model_stretch(const struct model *model, uint64_t from, uint64_t most, uint8_t set)
{
	uint64_t n = 0;

	while (n < most && from + n < model->n && model->set[from + n] == set)
		n++;
	return n;
}

/* No assertion a cluster: Check writes each down. */
static void assert_same(const struct cluster_map *map, const struct model *model)
{
	uint64_t rank = 0, used = 0;
	bool used_table = false;

	for (uint64_t i = 0; i < model->n; i++) {
		const uint64_t most = kit_random(4) ? kit_random(300) : UINT64_MAX;
		bool same = cluster_map_test(map, i) == model->set[i] &&
			    cluster_map_rank(map, i) == rank &&
			    cluster_map_run(map, i, most) == model_stretch(model, i, most, 1) &&
			    cluster_map_gap(map, i, most) == model_stretch(model, i, most, 0);
		if (i % CLUSTERS_PER_TABLE == 0)
			used_table = false;
		if (model->set[i]) {
			same = same && cluster_map_select(map, rank++) == i;
			if (!used_table)
				same = same && cluster_map_select_table(map, used++) ==
						       i / CLUSTERS_PER_TABLE;
			used_table = true;
		}
		if (!same)
			ck_abort_msg("cluster %llu", (unsigned long long)i);
	}
	ck_assert_uint_eq(cluster_map_count(map), rank);
	ck_assert_uint_eq(cluster_map_rank(map, model->n), rank);
	ck_assert_uint_eq(cluster_map_rank(map, model->n + 99), rank);
	ck_assert_uint_eq(cluster_map_used_tables(map), used);
	ck_assert_uint_eq(cluster_map_run(map, model->n, 1), 0);
	ck_assert_uint_eq(cluster_map_gap(map, model->n, 1), 0);
	ck_assert(!cluster_map_test(map, model->n));
}

START_TEST(random_maps_equal_the_model)
{
	kit_seed((uint64_t)_i);
	const uint64_t near[] = {
		64, 128, CLUSTERS_PER_TABLE, UINT64_C(3) * CLUSTERS_PER_TABLE, 20000};
	const uint64_t n = near[_i % 5] - 2 + kit_random(5);
	const uint64_t size = n * CLUSTER_BYTES - kit_random(CLUSTER_BYTES);
	struct model model = {.n = n, .set = calloc(n, 1)};
	struct cluster_map map;

	ck_assert_ptr_nonnull(model.set);
	ck_assert(cluster_map_init(&map, size, &err));
	ck_assert_uint_eq(map.n_clusters, n);
	for (uint64_t k = kit_random(60); k > 0; k--) {
		const uint64_t offset = kit_random(size + CLUSTER_BYTES);
		const uint64_t length = kit_random(kit_random(2) ? 200000 : size);
		cluster_map_set(&map, offset, length);
		if (offset < size)
			model_set(&model, offset, length);
	}
	cluster_map_seal(&map);
	assert_same(&map, &model);
	cluster_map_free(&map);
	free(model.set);
}
END_TEST

START_TEST(set_touches_whole_clusters_and_stays_in_the_disk)
{
	struct cluster_map map;

	ck_assert(cluster_map_init(&map, 10 * CLUSTER + 1, &err));
	ck_assert_uint_eq(map.n_clusters, 11);
	cluster_map_set(&map, 2 * CLUSTER, 0);
	cluster_map_set(&map, CLUSTER_BYTES - 1, 2);
	cluster_map_set(&map, 10 * CLUSTER + 1, 5);
	cluster_map_set(&map, UINT64_MAX, UINT64_MAX);
	cluster_map_seal(&map);
	ck_assert_uint_eq(map.bits[0], 0x3);
	cluster_map_set(&map, 10 * CLUSTER, UINT64_MAX);
	cluster_map_seal(&map);
	ck_assert_uint_eq(map.bits[0], 0x403);
	ck_assert_uint_eq(map.bits[1], 0);
	ck_assert_uint_eq(cluster_map_count(&map), 3);
	cluster_map_free(&map);
	cluster_map_free(&map);
}
END_TEST

START_TEST(an_empty_disk_has_no_clusters)
{
	struct cluster_map map;

	ck_assert(cluster_map_init(&map, 0, &err));
	cluster_map_set(&map, 0, 1);
	cluster_map_seal(&map);
	ck_assert_uint_eq(map.n_clusters, 0);
	ck_assert_uint_eq(cluster_map_count(&map), 0);
	ck_assert_uint_eq(cluster_map_used_tables(&map), 0);
	ck_assert_uint_eq(cluster_map_gap(&map, 0, 1), 0);
	cluster_map_free(&map);
}
END_TEST

START_TEST(more_than_16_tib_is_refused)
{
	struct cluster_map map;

	ck_assert(!cluster_map_init(&map, 16 * TIB + 1, &err));
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
	ck_assert_ptr_nonnull(strstr(err.message, "16 TiB"));
	ck_assert(!cluster_map_init(&map, UINT64_MAX, &err));
	cluster_map_free(&map);
	ck_assert(cluster_map_init(&map, 16 * TIB, &err));
	ck_assert_uint_eq(map.n_clusters, UINT64_C(1) << 28);
	cluster_map_set(&map, 16 * TIB - 1, 1);
	cluster_map_seal(&map);
	ck_assert_uint_eq(cluster_map_select(&map, 0), (UINT64_C(1) << 28) - 1);
	cluster_map_free(&map);
}
END_TEST

/* What a scan from end to end sees: stretches of either kind. */
static uint64_t scan(const struct cluster_map *map)
{
	uint64_t stretches = 0;

	for (uint64_t at = 0; at < map->n_clusters; stretches++) {
		const uint64_t gap = cluster_map_gap(map, at, UINT64_MAX);
		at += gap ? gap : cluster_map_run(map, at, UINT64_MAX);
	}
	return stretches;
}

START_TEST(a_sparse_16_tib_map_costs_little)
{
	const long before_kib = kit_peak_kib();
	struct cluster_map map;

	ck_assert(cluster_map_init(&map, 16 * TIB, &err));
	for (uint64_t i = 0; i < 100; i++)
		cluster_map_set(&map, i * (160 * (TIB / 1024)), 1);
	const double from_ms = kit_cpu_ms();
	cluster_map_seal(&map);
	const double sealed_ms = kit_cpu_ms();
	ck_assert_uint_eq(scan(&map), 200);
	const double scanned_ms = kit_cpu_ms();
	ck_assert_uint_eq(cluster_map_count(&map), 100);
	const long grown_kib = kit_peak_kib() - before_kib;
	(void)printf("16 TiB, 100 clusters: seal %.1f ms, scan %.1f ms, memory %ld KiB\n",
		sealed_ms - from_ms, scanned_ms - sealed_ms, grown_kib);
	if (!KIT_SANITIZED) {
		ck_assert_double_lt(scanned_ms - from_ms, 1000);
		ck_assert_int_lt(grown_kib, 4096);
	}
	cluster_map_free(&map);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cluster_map");
	TCase *t = tcase_create("cluster_map");

	tcase_set_timeout(t, 60);
	tcase_add_unchecked_fixture(t, kit_setup, kit_teardown);
	tcase_add_loop_test(t, random_maps_equal_the_model, 0, 60);
	tcase_add_test(t, set_touches_whole_clusters_and_stays_in_the_disk);
	tcase_add_test(t, an_empty_disk_has_no_clusters);
	tcase_add_test(t, more_than_16_tib_is_refused);
	tcase_add_test(t, a_sparse_16_tib_map_costs_little);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
