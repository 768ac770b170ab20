/* SPDX-License-Identifier: Apache-2.0
 *
 * The zero scan, on disks that real NBD servers call data all over.
 */
#include "blockops/zero_scan.h"

#include "fixture.h"
#include "suite.h"
#include "view_kit.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

enum { CLUSTERS = 400, ODD_BYTES = 1536 };

static const uint64_t disk_bytes = CLUSTERS * (uint64_t)CLUSTER_BYTES + ODD_BYTES;

static char raw[KIT_PATH_BYTES], out[KIT_PATH_BYTES];
static struct view_server server;
static struct view_run run;
static bool holds_data[CLUSTERS + 1];

/* A file without a hole; each cluster holds zeroes, a pattern, or one byte somewhere. */
static void make_disk(void)
{
	static uint8_t bytes[CLUSTER_BYTES];
	const int fd = open(raw, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	for (uint64_t i = 0; i <= CLUSTERS; i++) {
		const uint64_t at = i * CLUSTER_BYTES;
		const uint32_t len = i < CLUSTERS ? CLUSTER_BYTES : ODD_BYTES;
		const uint64_t kind = kit_random(6);

		memset(bytes, 0, sizeof(bytes));
		if (kind == 0)
			kit_pattern(at, bytes, len);
		else if (kind <= 3)
			bytes[kind == 1 ? 0 : kind == 2 ? len - 1 : kit_random(len)] = 1;
		holds_data[i] = kind <= 3;
		ck_assert_int_eq(pwrite(fd, bytes, len, (off_t)at), (ssize_t)len);
	}
	ck_assert_int_eq(close(fd), 0);
}

static void begin(const char *name)
{
	kit_seed(disk_bytes);
	kit_path(raw, name);
	make_disk();
	server_start(&server, "raw", raw);
	ck_assert_msg(run_open(&run, &loop, &server, 2, disk_bytes), "%s", run.err.message);
	ck_assert_msg(run_map(&run), "%s", run.err.message);
	ck_assert_uint_eq(cluster_map_count(&run.map), CLUSTERS + 1);
}

struct scan {
	uint64_t done_bytes, total_bytes;
	unsigned n_done;
	struct qmpsnap_error err;
};

static void on_progress(uint64_t done_bytes, uint64_t total_bytes, void *data)
{
	struct scan *scan = data;

	ck_assert_uint_gt(done_bytes, scan->done_bytes);
	ck_assert_uint_le(done_bytes, total_bytes);
	scan->done_bytes = done_bytes;
	scan->total_bytes = total_bytes;
}

static void on_done(const struct qmpsnap_error *err, void *data)
{
	struct scan *scan = data;

	scan->n_done++;
	if (err)
		scan->err = *err;
}

static void start(struct scan *scan, struct pace *pace)
{
	const struct zero_scan_request request = {.view = run.view,
		.map = &run.map,
		.pace = pace,
		.progress = on_progress,
		.done = on_done,
		.data = scan};
	struct qmpsnap_error err;

	*scan = (struct scan){0};
	ck_assert(zero_scan_start(&loop, &request, &err));
	ck_assert_uint_eq(scan->n_done, 0);
}

static void wait_done(const struct scan *scan)
{
	while (!scan->n_done)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert_uint_eq(scan->n_done, 1);
}

START_TEST(finds_the_zeroes)
{
	struct scan scan;
	uint64_t n = 0;

	begin("zeroes.raw");
	kit_path(out, "zeroes.qcow2");
	start(&scan, NULL);
	wait_done(&scan);
	ck_assert_msg(scan.err.code == QMPSNAP_OK, "%s", scan.err.message);
	ck_assert_uint_eq(scan.done_bytes, disk_bytes);
	ck_assert_uint_eq(scan.total_bytes, disk_bytes);
	for (uint64_t i = 0; i <= CLUSTERS; i++) {
		ck_assert_int_eq(cluster_map_test(&run.map, i), holds_data[i]);
		n += holds_data[i];
	}
	ck_assert_uint_eq(cluster_map_count(&run.map), n);
	run_stream(&run, QMPSNAP_QCOW2, 512 << 10, 8, NULL);
	run_read_all(&run, out);
	kit_assert_check(out);
	kit_assert_equal(out, "qcow2", raw);
	run_close(&run);
	server_kill(&server);
}
END_TEST

/* What the map calls a hole isn't read, and a scan of nothing ends too. */
START_TEST(reads_only_what_is_set)
{
	struct scan scan;

	begin("holes.raw");
	for (uint64_t i = 0; i <= CLUSTERS; i++) {
		if (i != 7 && i != CLUSTERS)
			cluster_map_clear(&run.map, i);
	}
	cluster_map_seal(&run.map);
	start(&scan, NULL);
	wait_done(&scan);
	ck_assert_uint_eq(scan.done_bytes, CLUSTER_BYTES + ODD_BYTES);
	cluster_map_clear(&run.map, 7);
	cluster_map_clear(&run.map, CLUSTERS);
	cluster_map_seal(&run.map);
	start(&scan, NULL);
	wait_done(&scan);
	ck_assert_int_eq(scan.err.code, QMPSNAP_OK);
	ck_assert_uint_eq(scan.done_bytes, 0);
	run_close(&run);
	server_kill(&server);
}
END_TEST

/* 25 MiB at 64 MiB/s, less the credit of 100 ms. */
START_TEST(keeps_the_pace)
{
	struct pace pace;
	struct scan scan;
	const uint64_t from = uv_hrtime();

	begin("pace.raw");
	pace_init(&pace, 64 * MIB, uv_hrtime());
	start(&scan, &pace);
	wait_done(&scan);
	ck_assert_int_eq(scan.err.code, QMPSNAP_OK);
	ck_assert_uint_eq(scan.done_bytes, disk_bytes);
	ck_assert_uint_ge(uv_hrtime() - from, 250 * UINT64_C(1000000));
	run_close(&run);
	server_kill(&server);
}
END_TEST

/* While it waits for the pace, and with reads under way. */
START_TEST(given_up)
{
	struct qmpsnap_error why = {.code = QMPSNAP_INTERRUPTED, .message = "enough"};
	struct pace pace;
	struct scan scan;

	begin("given-up.raw");
	pace_init(&pace, 64 * KIB, uv_hrtime());
	start(&scan, _i ? NULL : &pace);
	if (!_i)
		kit_run_loop_ms(&loop, 100);
	ck_assert_uint_eq(scan.n_done, 0);
	view_fail(run.view, &why);
	ck_assert_uint_eq(scan.n_done, 0);
	wait_done(&scan);
	ck_assert_int_eq(scan.err.code, QMPSNAP_INTERRUPTED);
	run_close(&run);
	server_kill(&server);
}
END_TEST

START_TEST(server_dies)
{
	struct pace pace;
	struct scan scan;

	begin("dies.raw");
	pace_init(&pace, 1 * MIB, uv_hrtime());
	start(&scan, &pace);
	kit_run_loop_ms(&loop, 50);
	server_kill(&server);
	wait_done(&scan);
	ck_assert_int_eq(scan.err.code, QMPSNAP_VIEW);
	run_close(&run);
}
END_TEST

/* A raw image isn't scanned: its readers tell the blocks of zeroes when they have read them. */
START_TEST(readers_find_zeroes)
{
	enum { BLOCK = CLUSTER_BYTES };
	unsigned n = 0;

	begin("readers.raw");
	for (unsigned i = 0; i <= CLUSTERS; i++)
		n += !holds_data[i];
	for (int asked = 0; asked < 2; asked++) {
		struct consumer c;
		run_stream(&run, QMPSNAP_RAW, BLOCK, 8, NULL);
		if (asked)
			view_find_zeroes(run.view);
		consumer_open(&c, run.stream, 0, run.stream->size_bytes, -1);
		consumer_wait(&c, &loop);
		ck_assert_int_eq(c.err.code, QMPSNAP_OK);
		ck_assert_uint_eq(c.n_zero_blocks, asked ? n : 0);
	}
	run_close(&run);
	server_kill(&server);
}
END_TEST

static const struct {
	uint64_t clusters, holes;
	bool pays;
} maps[] = {
	{1600, 0, true},
	{1600, 99, true},
	{1600, 100, false},
	{1600, 1600, false},
	{3, 0, true},
	{3, 1, false},
	{0, 0, false},
};

START_TEST(pays)
{
	struct cluster_map map;
	struct qmpsnap_error err;

	ck_assert(cluster_map_init(&map, maps[_i].clusters * CLUSTER_BYTES, &err));
	cluster_map_set(&map, 0, (maps[_i].clusters - maps[_i].holes) * CLUSTER_BYTES);
	cluster_map_seal(&map);
	ck_assert_int_eq(zero_scan_pays(&map), maps[_i].pays);
	cluster_map_free(&map);
}
END_TEST

static const struct {
	uint64_t host_bytes, virtual_size_bytes;
	bool pays;
} hosts[] = {
	{1600, 1600, true},
	{UINT64_MAX, 1600, true},
	{1500, 1600, true},
	{1499, 1600, false},
	{0, 1600, false},
	{3, 3, true},
	{2, 3, false},
	{0, 0, false},
};

START_TEST(pays_on_host)
{
	ck_assert_int_eq(zero_scan_pays_on_host(hosts[_i].host_bytes, hosts[_i].virtual_size_bytes),
		hosts[_i].pays);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("zero_scan");
	TCase *tc = tcase_create("zero_scan");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, kit_setup, kit_teardown);
	tcase_add_checked_fixture(tc, loop_setup, loop_teardown);
	tcase_add_test(tc, finds_the_zeroes);
	tcase_add_test(tc, reads_only_what_is_set);
	tcase_add_test(tc, keeps_the_pace);
	tcase_add_loop_test(tc, given_up, 0, 2);
	tcase_add_test(tc, server_dies);
	tcase_add_test(tc, readers_find_zeroes);
	tcase_add_loop_test(tc, pays, 0, (int)(sizeof(maps) / sizeof(maps[0])));
	tcase_add_loop_test(tc, pays_on_host, 0, (int)(sizeof(hosts) / sizeof(hosts[0])));
	suite_add_tcase(s, tc);
	return s;
}

SUITE_MAIN(suite)
