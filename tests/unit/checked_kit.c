/* SPDX-License-Identifier: Apache-2.0 */
#include "checked_kit.h"

#include <check.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST_WRITES = 24, RING_BLOCKS = 8 };

struct fake_nbd fake, fake_scratch;
struct view_server scratch_server;
struct view_run run, scratch;
uint8_t got[MOST_BYTES];

static uv_loop_t *loop;
static struct view_server server;
static char raw[KIT_PATH_BYTES], qcow2[KIT_PATH_BYTES], scratch_path[KIT_PATH_BYTES];

static void name_file(char path[static KIT_PATH_BYTES], const char *suffix)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "checked-%d.%s", (int)getpid(), suffix);
	kit_path(path, name);
}

void checked_setup(uv_loop_t *its_loop)
{
	loop = its_loop;
	kit_seed(1);
	name_file(raw, "raw");
	name_file(qcow2, "qcow2");
	name_file(scratch_path, "scratch");
	fake = (struct fake_nbd){.size_bytes = 16 * MIB, .extent_bytes = 16 * MIB, .lies = true};
	fake_scratch = (struct fake_nbd){.depth = true};
}

void checked_teardown(void)
{
	(void)unlink(raw);
	(void)unlink(qcow2);
	(void)unlink(scratch_path);
}

void open_fake(struct view_run *view, struct fake_nbd *of)
{
	const struct view_options options = {
		.export_name = KIT_EXPORT, .disk = "vd0", .expected_size_bytes = of->size_bytes};
	const int fd = fake_nbd_start(of);

	ck_assert_msg(run_open_fds(view, loop, &fd, 1, &options), "%s", view->err.message);
}

void view_of_fake(void)
{
	open_fake(&run, &fake);
	cluster_map_set(&run.map, 0, fake.size_bytes);
	cluster_map_seal(&run.map);
}

void view_of_disk(uint64_t size)
{
	kit_make_disk(raw, qcow2, size, 256 * KIB);
	server_start(&server, "qcow2", qcow2);
	ck_assert_msg(run_open(&run, loop, &server, 4, size), "%s", run.err.message);
	ck_assert_msg(run_map(&run), "%s", run.err.message);
}

void make_scratch(const uint64_t *offsets, size_t n)
{
	char writes[MOST_WRITES][64], size[32];
	char *create[] = {"qemu-img", "create", "-q", "-f", "qcow2", scratch_path, size, NULL};
	char *fill[5 + 2 * MOST_WRITES] = {"qemu-io", "-f", "qcow2"};
	size_t n_args = 3;

	(void)snprintf(size, sizeof(size), "%" PRIu64, run.map.virtual_size_bytes);
	ck_assert_int_eq(kit_run(NULL, create), 0);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(writes[i], sizeof(writes[i]), "write %" PRIu64 " 512", offsets[i]);
		fill[n_args++] = "-c";
		fill[n_args++] = writes[i];
	}
	fill[n_args] = scratch_path;
	if (n > 0)
		ck_assert_int_eq(kit_run(NULL, fill), 0);
	server_start_scratch(&scratch_server, scratch_path);
	ck_assert_msg(run_open(&scratch, loop, &scratch_server, 1, run.map.virtual_size_bytes),
		"%s", scratch.err.message);
}

void make_random_scratch(void)
{
	const uint64_t n_clusters = run.map.n_clusters;
	uint64_t offsets[MOST_WRITES] = {(n_clusters - 1) * CLUSTER_BYTES};

	for (size_t i = 1; i < MOST_WRITES; i++)
		offsets[i] = kit_random(n_clusters) * CLUSTER_BYTES;
	make_scratch(offsets, MOST_WRITES);
}

void make_fake_scratch(uint64_t extent_bytes)
{
	fake_scratch.size_bytes = run.map.virtual_size_bytes;
	fake_scratch.extent_bytes = extent_bytes;
	open_fake(&scratch, &fake_scratch);
}

void check_reads(void)
{
	view_check_reads(run.view, scratch.view);
	run_stream(&run, QMPSNAP_RAW, BLOCK_BYTES, RING_BLOCKS, NULL);
}

void signal_scratch(int number)
{
	ck_assert_int_eq(kill(scratch_server.pid, number), 0);
}

static void on_view_closed(void *data)
{
	*(bool *)data = true;
}

/* Others may still be at work on the loop. */
static void close_view(struct view_run *view)
{
	bool closed = false;

	view_close(view->view, on_view_closed, &closed);
	while (!closed)
		(void)uv_run(loop, UV_RUN_ONCE);
	cluster_map_free(&view->map);
	view->view = NULL;
}

void end_scratch(void)
{
	close_view(&scratch);
}

void end(void)
{
	close_view(&run);
	if (scratch.view)
		run_close(&scratch);
	ck_assert_int_eq(uv_run(loop, UV_RUN_DEFAULT), 0);
	if (fake.thread)
		fake_nbd_join(&fake);
	if (fake_scratch.thread)
		fake_nbd_join(&fake_scratch);
	if (server.pid)
		server_kill(&server);
	if (scratch_server.pid)
		server_kill(&scratch_server);
}

void take(struct consumer *c, uint64_t offset)
{
	consumer_wait(c, loop);
	ck_assert_msg(c->err.code == QMPSNAP_OK, "%s", c->err.message);
	ck_assert_uint_eq(c->got, run.stream->size_bytes - offset);
	ck_assert_int_eq(pread(c->fd, got + offset, (size_t)c->got, 0), (ssize_t)c->got);
	ck_assert_int_eq(close(c->fd), 0);
}

void open_reader(struct consumer *c, uint64_t offset)
{
	const int fd = memfd_create("got", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	consumer_open(c, run.stream, offset, run.stream->size_bytes - offset, fd);
}

void assert_disk(uint64_t offset)
{
	static uint8_t expected[MOST_BYTES];
	const int fd = open(raw, O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(
		pread(fd, expected, sizeof(expected), 0), (ssize_t)run.map.virtual_size_bytes);
	ck_assert_int_eq(close(fd), 0);
	ck_assert(memcmp(got + offset, expected + offset,
			  (size_t)(run.map.virtual_size_bytes - offset)) == 0);
}
