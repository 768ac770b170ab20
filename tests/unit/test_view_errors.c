/* SPDX-License-Identifier: Apache-2.0
 *
 * Views that break, and servers that QEMU's isn't like.
 */
#include "fake_nbd.h"
#include "fixture.h"
#include "suite.h"
#include "view_kit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

static char raw[KIT_PATH_BYTES], qcow2[KIT_PATH_BYTES];
static struct view_server server;
static struct fake_nbd fake;
static struct view_run run;

static const struct qmpsnap_error cancelled = {
	.code = QMPSNAP_INTERRUPTED, .message = "interrupted"};

static void setup(void)
{
	char name[64];

	loop_setup();
	kit_seed(1);
	fake = (struct fake_nbd){.size_bytes = 16 * MIB, .extent_bytes = 16 * MIB};
	(void)snprintf(name, sizeof(name), "errors-%d.raw", (int)getpid());
	kit_path(raw, name);
	(void)snprintf(name, sizeof(name), "errors-%d.qcow2", (int)getpid());
	kit_path(qcow2, name);
}

static void serve_disk(uint64_t size)
{
	kit_make_disk(raw, qcow2, size, 256 * KIB);
	server_start(&server, "qcow2", qcow2);
}

static bool open_fake(void)
{
	const struct view_options options = {
		.export_name = KIT_EXPORT, .disk = "vd0", .expected_size_bytes = fake.size_bytes};
	const int fd = fake_nbd_start(&fake);

	return run_open_fds(&run, &loop, &fd, 1, &options);
}

static void end_fake(void)
{
	run_close(&run);
	fake_nbd_join(&fake);
}

static void assert_view_error(const struct qmpsnap_error *err, const char *message)
{
	ck_assert_int_eq(err->code, QMPSNAP_VIEW);
	ck_assert_str_eq(err->message, message);
}

START_TEST(wrong_size)
{
	serve_disk(MIB);
	ck_assert(!run_open(&run, &loop, &server, 2, 2 * MIB));
	assert_view_error(&run.err, "disk vd0: the NBD export has 1048576 bytes, the disk 2097152");
	run_close(&run);
	server_kill(&server);
}
END_TEST

START_TEST(unknown_export)
{
	const struct view_options options = {
		.export_name = "other", .disk = "vd0", .expected_size_bytes = MIB};

	serve_disk(MIB);
	const int fd = server_connect(&server);
	ck_assert(!run_open_fds(&run, &loop, &fd, 1, &options));
	ck_assert_int_eq(run.err.code, QMPSNAP_VIEW);
	ck_assert_ptr_nonnull(strstr(run.err.message, "disk vd0: NBD negotiation: "));
	ck_assert_ptr_nonnull(strstr(run.err.message, "other"));
	run_close(&run);
	server_kill(&server);
}
END_TEST

START_TEST(not_a_server)
{
	static const char *const greetings[] = {"", "HTTP/1.1 400 Bad Request\r\n\r\n"};
	const struct view_options options = {
		.export_name = KIT_EXPORT, .disk = "vd0", .expected_size_bytes = MIB};
	const size_t len = strlen(greetings[_i]);
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert_int_eq(write(fds[1], greetings[_i], len), (ssize_t)len);
	ck_assert_int_eq(close(fds[1]), 0);
	ck_assert(!run_open_fds(&run, &loop, fds, 1, &options));
	if (_i == 0)
		assert_view_error(&run.err, "disk vd0: QEMU closed the NBD connection");
	else
		ck_assert_ptr_nonnull(strstr(run.err.message, "disk vd0: NBD negotiation: "));
	run_close(&run);
}
END_TEST

START_TEST(not_a_socket)
{
	const struct view_options options = {
		.export_name = KIT_EXPORT, .disk = "vd0", .expected_size_bytes = MIB};
	const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ck_assert(!run_open_fds(&run, &loop, &fd, 1, &options));
	ck_assert_int_eq(run.err.code, QMPSNAP_VIEW);
	run_close(&run);
}
END_TEST

static void begin_reading(uint64_t size, unsigned ring_blocks)
{
	serve_disk(size);
	ck_assert_msg(run_open(&run, &loop, &server, 2, size), "%s", run.err.message);
	ck_assert_msg(run_map(&run), "%s", run.err.message);
	run_stream(&run, QMPSNAP_RAW, 256 << 10, ring_blocks, NULL);
}

/* Two readers, one of which has all that its ring takes. */
START_TEST(server_killed)
{
	struct consumer held, other;
	struct qmpsnap_error err;

	begin_reading(64 * MIB, 4);
	consumer_open(&held, run.stream, 0, 64 * MIB, -1);
	held.hold = true;
	kit_run_loop_ms(&loop, 100);
	consumer_open(&other, run.stream, MIB, 32 * MIB, -1);
	server_kill(&server);
	consumer_wait(&other, &loop);
	assert_view_error(&other.err, "disk vd0: QEMU closed the NBD connection");
	consumer_wait(&held, &loop);
	assert_view_error(&held.err, "disk vd0: QEMU closed the NBD connection");
	ck_assert_ptr_null(run.stream->ops->open(run.stream, 0, MIB, NULL, NULL, &err));
	assert_view_error(&err, "disk vd0: QEMU closed the NBD connection");
	run_close(&run);
}
END_TEST

/* A reader that has all its blocks is none the worse for it. */
START_TEST(killed_after_the_last_read)
{
	struct consumer c;

	begin_reading(MIB, 4);
	consumer_open(&c, run.stream, 0, MIB, -1);
	c.hold = true;
	kit_run_loop_ms(&loop, 100);
	server_kill(&server);
	kit_run_loop_ms(&loop, 100);
	ck_assert_ptr_null(c.reader->ops->error(c.reader));
	c.hold = false;
	consumer_take(&c);
	consumer_wait(&c, &loop);
	ck_assert_uint_eq(c.got, MIB);
	run_close(&run);
}
END_TEST

/* While the consumer takes nothing the view is tried now and then; the closing waits for no
 * answer to that. */
START_TEST(broken_while_held_back)
{
	struct consumer c;

	fake.error_after = _i ? 0 : 4;
	fake.silent_after = _i ? 4 : 0;
	ck_assert(open_fake());
	cluster_map_set(&run.map, 0, fake.size_bytes);
	cluster_map_seal(&run.map);
	run_stream(&run, QMPSNAP_RAW, 256 << 10, 4, NULL);
	consumer_open(&c, run.stream, 0, fake.size_bytes, -1);
	c.hold = true;
	if (_i) {
		kit_run_loop_ms(&loop, 1500);
		consumer_close(&c);
		consumer_wait(&c, &loop);
	} else {
		consumer_wait(&c, &loop);
		assert_view_error(
			&c.err, "disk vd0: reading 512 bytes at 0: Operation not permitted");
	}
	end_fake();
}
END_TEST

START_TEST(read_error)
{
	struct consumer bad, other;
	char options[3 * KIT_PATH_BYTES];

	char *create[] = {"qemu-img", "create", "-q", "-f", "raw", raw, "16M", NULL};
	char *fill[] = {"qemu-io", "-f", "raw", "-c", "write -P 7 0 16M", raw, NULL};

	ck_assert_int_eq(kit_run(NULL, create), 0);
	ck_assert_int_eq(kit_run(NULL, fill), 0);
	(void)snprintf(options, sizeof(options),
		"driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=%s,"
		"file.inject-error.0.event=read_aio,file.inject-error.0.errno=22,"
		"file.inject-error.0.sector=16384",
		raw);
	server_start(&server, NULL, options);
	ck_assert(run_open(&run, &loop, &server, 1, 16 * MIB));
	cluster_map_set(&run.map, 0, 16 * MIB);
	cluster_map_seal(&run.map);
	run_stream(&run, QMPSNAP_RAW, 512 << 10, 2, NULL);
	consumer_open(&other, run.stream, 0, 8 * MIB, -1);
	other.hold = true;
	consumer_open(&bad, run.stream, 4 * MIB, 8 * MIB, -1);
	consumer_wait(&bad, &loop);
	assert_view_error(&bad.err, "disk vd0: reading 524288 bytes at 8388608: Invalid argument");
	ck_assert_int_eq(bad.err.detail, EINVAL);
	ck_assert_uint_le(bad.got, 4 * MIB);
	consumer_wait(&other, &loop);
	assert_view_error(&other.err, bad.err.message);
	run_close(&run);
	server_kill(&server);
}
END_TEST

/* view_fail() while reads are in flight or not; the same for a close without it. */
START_TEST(given_up_while_reading)
{
	struct consumer a, b;

	begin_reading(64 * MIB, 32);
	consumer_open(&a, run.stream, 0, 64 * MIB, -1);
	consumer_open(&b, run.stream, 0, 64 * MIB, -1);
	if (_i & 1)
		kit_run_loop_ms(&loop, 5);
	if (_i & 2) {
		view_fail(run.view, &cancelled);
		consumer_wait(&a, &loop);
		consumer_wait(&b, &loop);
		if (a.got < a.length)
			ck_assert_str_eq(a.err.message, cancelled.message);
	} else {
		if (a.reader)
			consumer_close(&a);
		if (b.reader)
			consumer_close(&b);
	}
	run_close(&run);
	ck_assert(a.closed && b.closed);
	server_kill(&server);
}
END_TEST

START_TEST(reader_closed_while_others_read)
{
	struct consumer a, b;

	begin_reading(64 * MIB, 16);
	consumer_open(&a, run.stream, 0, 64 * MIB, -1);
	consumer_open(&b, run.stream, 0, 64 * MIB, -1);
	consumer_close(&a);
	consumer_wait(&b, &loop);
	ck_assert_uint_eq(b.got, 64 * MIB);
	consumer_wait(&a, &loop);
	run_close(&run);
	server_kill(&server);
}
END_TEST

START_TEST(silent_server)
{
	struct consumer c;

	fake.silent_after = 3;
	ck_assert(open_fake());
	ck_assert(run_map(&run));
	run_stream(&run, QMPSNAP_RAW, 512 << 10, 8, NULL);
	consumer_open(&c, run.stream, 0, 16 * MIB, -1);
	kit_run_loop_ms(&loop, 50);
	ck_assert(!c.closed);
	view_fail(run.view, &cancelled);
	consumer_wait(&c, &loop);
	ck_assert_str_eq(c.err.message, cancelled.message);
	end_fake();
}
END_TEST

static void on_never(const struct qmpsnap_error *err, void *data)
{
	(void)data;
	ck_abort_msg("%s", err ? err->message : "done");
}

static void stop_map(uv_timer_t *timer)
{
	view_fail(run.view, &cancelled);
	uv_close((uv_handle_t *)timer, NULL);
}

START_TEST(map_given_up)
{
	uv_timer_t timer;

	fake.size_bytes = UINT64_C(1) << 40;
	fake.silent_after = 2;
	ck_assert(open_fake());
	ck_assert_int_eq(uv_timer_init(&loop, &timer), 0);
	ck_assert_int_eq(uv_timer_start(&timer, stop_map, 50, 0), 0);
	ck_assert(!run_map(&run));
	ck_assert_str_eq(run.err.message, cancelled.message);
	/* And once it is broken. */
	run.n_done = 1;
	ck_assert(!run_map(&run));
	end_fake();
}
END_TEST

/* Nothing is asked on for, and `done` isn't called. */
START_TEST(closed_while_mapping)
{
	fake.size_bytes = UINT64_C(1) << 40;
	fake.silent_after = 2;
	ck_assert(open_fake());
	view_map(run.view, &run.map, on_never, NULL);
	kit_run_loop_ms(&loop, 50);
	end_fake();
}
END_TEST

START_TEST(garbage_reply)
{
	struct consumer c;

	fake.garbage_after = 4;
	ck_assert(open_fake());
	ck_assert(run_map(&run));
	run_stream(&run, QMPSNAP_RAW, 512 << 10, 8, NULL);
	consumer_open(&c, run.stream, 0, 16 * MIB, -1);
	consumer_wait(&c, &loop);
	ck_assert_int_eq(c.err.code, QMPSNAP_VIEW);
	ck_assert_ptr_nonnull(strstr(c.err.message, "disk vd0: NBD connection: "));
	end_fake();
}
END_TEST

/* Everything counts as data. */
START_TEST(server_without_a_map)
{
	fake.no_map = true;
	ck_assert(open_fake());
	ck_assert(run_map(&run));
	ck_assert_uint_eq(cluster_map_count(&run.map), 16 * MIB / CLUSTER_BYTES);
	end_fake();
	ck_assert_uint_eq(fake.n_maps, 0);
}
END_TEST

START_TEST(short_answers)
{
	fake.size_bytes = 16 * MIB + 512;
	fake.extent_bytes = 256 * KIB;
	ck_assert(open_fake());
	ck_assert(run_map(&run));
	for (uint64_t i = 0; i < run.map.n_clusters; i++)
		ck_assert_int_eq(cluster_map_test(&run.map, i), i / 4 % 2 == 0);
	end_fake();
	ck_assert_uint_eq(fake.n_maps, 65);
}
END_TEST

START_TEST(nothing_described)
{
	fake.extent_bytes = 0;
	ck_assert(open_fake());
	ck_assert(!run_map(&run));
	ck_assert_int_eq(run.err.code, QMPSNAP_VIEW);
	ck_assert_ptr_nonnull(strstr(run.err.message, "disk vd0: "));
	end_fake();
}
END_TEST

START_TEST(short_reads_only)
{
	struct consumer c;
	static uint8_t got[16 << 20], expected[16 << 20];

	fake.max_read_bytes = 96 << 10;
	ck_assert(open_fake());
	ck_assert(run_map(&run));
	run_stream(&run, QMPSNAP_RAW, 8 << 20, 2, NULL);
	const int fd = memfd_create("got", MFD_CLOEXEC);
	consumer_open(&c, run.stream, 0, 16 * MIB, fd);
	consumer_wait(&c, &loop);
	ck_assert_uint_eq(c.got, 16 * MIB);
	kit_pattern(0, expected, sizeof(expected));
	ck_assert_int_eq(pread(fd, got, sizeof(got), 0), sizeof(got));
	ck_assert_int_eq(memcmp(got, expected, sizeof(got)), 0);
	ck_assert_int_eq(close(fd), 0);
	end_fake();
	ck_assert_uint_eq(fake.longest_read_bytes, 64 << 10); /* whole clusters */
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("view_errors");
	TCase *tcase = tcase_create("view_errors");

	tcase_add_unchecked_fixture(tcase, kit_setup, kit_teardown);
	tcase_add_checked_fixture(tcase, setup, loop_teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, wrong_size);
	tcase_add_test(tcase, unknown_export);
	tcase_add_loop_test(tcase, not_a_server, 0, 2);
	tcase_add_test(tcase, not_a_socket);
	tcase_add_test(tcase, server_killed);
	tcase_add_test(tcase, killed_after_the_last_read);
	tcase_add_loop_test(tcase, broken_while_held_back, 0, 2);
	tcase_add_test(tcase, read_error);
	tcase_add_loop_test(tcase, given_up_while_reading, 0, 4);
	tcase_add_test(tcase, reader_closed_while_others_read);
	tcase_add_test(tcase, silent_server);
	tcase_add_test(tcase, map_given_up);
	tcase_add_test(tcase, closed_while_mapping);
	tcase_add_test(tcase, garbage_reply);
	tcase_add_test(tcase, server_without_a_map);
	tcase_add_test(tcase, short_answers);
	tcase_add_test(tcase, nothing_described);
	tcase_add_test(tcase, short_reads_only);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
