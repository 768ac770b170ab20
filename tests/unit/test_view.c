/* SPDX-License-Identifier: Apache-2.0
 *
 * The image stream read from real NBD servers, judged by qemu-img.
 */
#include "fixture.h"
#include "suite.h"
#include "view_kit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define TIB (1024 * (1024 * MIB))

static char raw[KIT_PATH_BYTES], qcow2[KIT_PATH_BYTES], out[KIT_PATH_BYTES];
static struct view_server server;
static struct view_run run;

static void name_files(const char *test, int i)
{
	char name[64];

	kit_seed((uint64_t)i);
	(void)snprintf(name, sizeof(name), "%s-%d.raw", test, i);
	kit_path(raw, name);
	(void)snprintf(name, sizeof(name), "%s-%d.qcow2", test, i);
	kit_path(qcow2, name);
	(void)snprintf(name, sizeof(name), "%s-%d.out", test, i);
	kit_path(out, name);
}

static void end_files(void)
{
	(void)unlink(raw);
	(void)unlink(qcow2);
	(void)unlink(out);
}

/* A mapped view of a new disk, its stream ready. */
static void begin(uint64_t size, uint64_t grain, size_t n_fds)
{
	kit_make_disk(raw, qcow2, size, grain);
	server_start(&server, "qcow2", qcow2);
	ck_assert_msg(run_open(&run, &loop, &server, n_fds, size), "%s", run.err.message);
	ck_assert_msg(run_map(&run), "%s", run.err.message);
}

static void end(void)
{
	run_close(&run);
	server_kill(&server);
	end_files();
}

static const struct whole {
	uint64_t size, grain;
	uint32_t block_bytes;
	unsigned ring;
	size_t n_fds;
} wholes[] = {
	{64 * MIB, 256 * KIB, 512 << 10, 32, 2},
	{64 * MIB, 64 * KIB, 512 << 10, 8, 2},
	{32 * MIB + 512, 4 * KIB, 256 << 10, 5, 3},
	{16 * MIB + 1536, 64 * KIB, 64 << 10, 2, 1},
	{16 * MIB, 64 * KIB, 1 << 20, 1, 1},
	{5 * MIB + 65024, 512, 8 << 20, 4, 4},
	{512, 512, 512 << 10, 32, 2},
	{64 * KIB, 512, 64 << 10, 2, 1},
	{0, 512, 512 << 10, 32, 1},
};

START_TEST(whole_image)
{
	const struct whole *w = &wholes[_i];

	name_files("whole", _i);
	begin(w->size, w->grain, w->n_fds);
	run_stream(&run, QMPSNAP_QCOW2, w->block_bytes, w->ring, NULL);
	run_read_all(&run, out);
	kit_assert_check(out);
	kit_assert_equal(out, "qcow2", raw);
	run_stream(&run, QMPSNAP_RAW, w->block_bytes, w->ring, NULL);
	run_read_all(&run, out);
	kit_assert_equal(out, "raw", raw);
	end();
}
END_TEST

/* Several readers at once, over ranges that cut segments and overlap. */
START_TEST(sub_ranges)
{
	enum { N = 6, MOST = 8 << 20 };
	struct consumer consumers[N];
	uint64_t offsets[N];
	static uint8_t all[MOST], part[MOST];
	int fds[N];

	name_files("ranges", 0);
	begin(24 * MIB, 64 * KIB, 2);
	run_stream(&run, QMPSNAP_QCOW2, 256 << 10, 3, NULL);
	run_read_all(&run, out);
	const int whole = open(out, O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < N; i++) {
		const uint64_t size = run.stream->size_bytes;

		fds[i] = memfd_create("part", MFD_CLOEXEC);
		ck_assert_int_ge(fds[i], 0);
		offsets[i] = kit_random(size / (64 * KIB)) * 64 * KIB;
		uint64_t length = 1 + kit_random(MOST);
		if (length > size - offsets[i])
			length = size - offsets[i];
		consumer_open(&consumers[i], run.stream, offsets[i], length, fds[i]);
	}
	for (int i = 0; i < N; i++) {
		const struct consumer *c = &consumers[i];

		consumer_wait(&consumers[i], &loop);
		ck_assert_uint_eq(c->got, c->length);
		ck_assert_int_eq(pread(fds[i], part, MOST, 0), (ssize_t)c->length);
		ck_assert_int_eq(pread(whole, all, (size_t)c->length, (off_t)offsets[i]),
			(ssize_t)c->length);
		ck_assert_int_eq(memcmp(all, part, (size_t)c->length), 0);
		ck_assert_int_eq(close(fds[i]), 0);
	}
	ck_assert_int_eq(close(whole), 0);
	end();
}
END_TEST

START_TEST(range_past_the_end)
{
	struct qmpsnap_error err;

	name_files("past", 0);
	begin(1 * MIB, 64 * KIB, 1);
	run_stream(&run, QMPSNAP_RAW, 64 << 10, 2, NULL);
	ck_assert_ptr_null(run.stream->ops->open(run.stream, 64 * KIB, MIB, NULL, NULL, &err));
	ck_assert_int_eq(err.code, QMPSNAP_INTERNAL);
	end();
}
END_TEST

static size_t count_ready(struct consumer *c)
{
	size_t n = 0;

	while (c->reader->ops->block(c->reader, n))
		n++;
	return n;
}

/* A consumer that holds its blocks gets no more than the ring, and goes on where it was. */
START_TEST(back_pressure)
{
	enum { RING = 4 };
	struct consumer c;

	name_files("pressure", 0);
	begin(16 * MIB, 64 * KIB, 2);
	run_stream(&run, QMPSNAP_QCOW2, 64 << 10, RING, NULL);
	const int fd = open(out, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	consumer_open(&c, run.stream, 0, run.stream->size_bytes, fd);
	c.hold = true;
	for (int i = 0; i < 20; i++) {
		kit_run_loop_ms(&loop, 20);
		ck_assert_uint_eq(count_ready(&c), RING);
		ck_assert(consumer_take_one(&c));
	}
	c.hold = false;
	consumer_take(&c);
	consumer_wait(&c, &loop);
	ck_assert_uint_eq(c.got, c.length);
	ck_assert_int_eq(close(fd), 0);
	kit_assert_check(out);
	kit_assert_equal(out, "qcow2", raw);
	end();
}
END_TEST

/* All that comes first is generated: more blocks than the ring has, and no read in flight. */
START_TEST(metadata_larger_than_the_ring)
{
	char *create[] = {"qemu-img", "create", "-q", "-f", "qcow2", qcow2, "10T", NULL};

	struct consumer c;

	name_files("empty", 0);
	ck_assert_int_eq(kit_run(NULL, create), 0);
	server_start(&server, "qcow2", qcow2);
	ck_assert(run_open(&run, &loop, &server, 2, 10 * TIB));
	ck_assert(run_map(&run));
	ck_assert_uint_eq(cluster_map_count(&run.map), 0);
	run_stream(&run, QMPSNAP_QCOW2, 64 << 10, 1, NULL);
	ck_assert_uint_gt(run.stream->size_bytes, 128 * KIB);
	run_read_all(&run, out);
	kit_assert_check(out);
	consumer_open(&c, run.stream, 0, run.stream->size_bytes, -1);
	c.one_by_one = true;
	consumer_wait(&c, &loop);
	ck_assert_uint_eq(c.got, run.stream->size_bytes);
	end();
}
END_TEST

START_TEST(ten_tebibytes)
{
	char *create[] = {"qemu-img", "create", "-q", "-f", "qcow2", qcow2, "10T", NULL};
	char *fill[] = {"qemu-io", "-f", "qcow2", "-c", "write -P 7 5T 100k", "-c",
		"write -P 8 0 4k", "-c", "write -P 9 10995116273664 4k", qcow2, NULL};

	name_files("large", 0);
	ck_assert_int_eq(kit_run(NULL, create), 0);
	ck_assert_int_eq(kit_run(NULL, fill), 0);
	server_start(&server, "qcow2", qcow2);
	ck_assert(run_open(&run, &loop, &server, 2, 10 * TIB));
	const uint64_t start = uv_hrtime();
	ck_assert(run_map(&run));
	(void)printf("10 TiB: the map took %.2f s\n", (double)(uv_hrtime() - start) / 1e9);
	ck_assert_uint_eq(cluster_map_count(&run.map), 4);
	ck_assert(cluster_map_test(&run.map, 0));
	ck_assert(cluster_map_test(&run.map, run.map.n_clusters - 1));
	ck_assert_uint_eq(cluster_map_run(&run.map, 5 * TIB / CLUSTER_BYTES, 8), 2);
	run_stream(&run, QMPSNAP_QCOW2, 512 << 10, 2, NULL);
	run_read_all(&run, out);
	kit_assert_check(out);
	end();
}
END_TEST

/* Blocks of holes in a raw image are known as zeroes, all of them. */
START_TEST(zero_blocks)
{
	struct consumer c;

	name_files("zero", 0);
	char *create[] = {"qemu-img", "create", "-q", "-f", "qcow2", qcow2, "64M", NULL};
	char *fill[] = {"qemu-io", "-f", "qcow2", "-c", "write -P 7 33M 64k", qcow2, NULL};
	ck_assert_int_eq(kit_run(NULL, create), 0);
	ck_assert_int_eq(kit_run(NULL, fill), 0);
	server_start(&server, "qcow2", qcow2);
	ck_assert(run_open(&run, &loop, &server, 1, 64 * MIB));
	ck_assert(run_map(&run));
	run_stream(&run, QMPSNAP_RAW, 1 << 20, 3, NULL);
	consumer_open(&c, run.stream, 0, 64 * MIB, -1);
	consumer_wait(&c, &loop);
	ck_assert_uint_eq(c.got, 64 * MIB);
	ck_assert_uint_eq(c.n_zero_blocks, 63);
	end();
}
END_TEST

START_TEST(paced)
{
	struct pace pace;
	struct consumer c;

	name_files("pace", 0);
	begin(16 * MIB, 64 * KIB, 2);
	const uint64_t data = cluster_map_count(&run.map) * CLUSTER_BYTES;
	run_stream(&run, QMPSNAP_QCOW2, 64 << 10, 8, &pace);
	const uint64_t start = uv_hrtime();
	pace_init(&pace, data, start); /* all of it in a second */
	consumer_open(&c, run.stream, 0, run.stream->size_bytes, -1);
	consumer_wait(&c, &loop);
	const double s = (double)(uv_hrtime() - start) / 1e9;
	ck_assert_uint_eq(c.got, c.length);
	ck_assert_double_gt(s, 0.8);
	ck_assert_double_lt(s, 20);
	end();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("view");
	TCase *tcase = tcase_create("view");

	tcase_add_unchecked_fixture(tcase, kit_setup, kit_teardown);
	tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, whole_image, 0, sizeof(wholes) / sizeof(wholes[0]));
	tcase_add_test(tcase, sub_ranges);
	tcase_add_test(tcase, range_past_the_end);
	tcase_add_test(tcase, back_pressure);
	tcase_add_test(tcase, metadata_larger_than_the_ring);
	tcase_add_test(tcase, ten_tebibytes);
	tcase_add_test(tcase, zero_blocks);
	tcase_add_test(tcase, paced);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
