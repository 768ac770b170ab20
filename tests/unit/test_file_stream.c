/* SPDX-License-Identifier: Apache-2.0
 *
 * A file as an image stream: its bytes, its holes, its end, its failures. */
#include "blockops/file_stream.h"
#include "fixture.h"
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK ((size_t)65536)
#define MOST  (24 * BLOCK)

/* A consumer that keeps what it gets. */
struct consumer {
	struct stream_reader *reader;
	uint64_t wanted, got;
	unsigned n_ready, n_zero;
	size_t lag; /* blocks that it lets pile up before it releases any */
	bool failed, closed, calling;
	struct qmpsnap_error err;
	uint8_t bytes[MOST];
};

static struct file_stream file;
static struct consumer one, two;
static uint8_t content[MOST];
static int fd;

static void setup(void)
{
	char path[] = "/tmp/qmpsnap-file-stream-XXXXXX";

	loop_setup();
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(unlink(path), 0);
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)(i * 2654435761u >> 13);
	memset(&one, 0, sizeof(one));
	memset(&two, 0, sizeof(two));
}

static void teardown(void)
{
	close(fd);
	loop_teardown();
}

static void write_at(size_t offset, size_t len)
{
	ck_assert_int_eq(pwrite(fd, content + offset, len, (off_t)offset), (ssize_t)len);
}

static void on_closed(void *data)
{
	struct consumer *c = data;

	c->closed = true;
}

static void end(struct consumer *c)
{
	struct stream_reader *reader = c->reader;

	c->reader = NULL;
	c->calling = true;
	reader->ops->close(reader, on_closed, c);
	c->calling = false;
	ck_assert(!c->closed);
}

static void take_block(struct consumer *c, const struct stream_block *block)
{
	static const uint8_t zeroes[BLOCK];

	ck_assert_uint_eq((uintptr_t)block->data % STREAM_ALIGN_BYTES, 0);
	ck_assert_uint_eq(block->len, c->wanted - c->got < BLOCK ? c->wanted - c->got : BLOCK);
	if (block->zero)
		ck_assert_mem_eq(block->data, zeroes, block->len);
	c->n_zero += block->zero;
	memcpy(c->bytes + c->got, block->data, block->len);
	c->got += block->len;
	c->calling = true;
	c->reader->ops->release(c->reader, 1);
	c->calling = false;
}

static void on_ready(void *data)
{
	struct consumer *c = data;
	const struct stream_block *block;
	const struct qmpsnap_error *err = c->reader->ops->error(c->reader);

	ck_assert(!c->calling); /* never from within a call */
	c->n_ready++;
	while ((block = c->reader->ops->block(c->reader, 0)) != NULL &&
		(c->reader->ops->block(c->reader, c->lag) || c->wanted - c->got <= c->lag * BLOCK ||
			err))
		take_block(c, block);
	if (err) {
		c->failed = true;
		c->err = *err;
	}
	if (err || c->got == c->wanted)
		end(c);
}

static void open_at(struct consumer *c, uint64_t offset, uint64_t length)
{
	struct qmpsnap_error err;

	c->wanted = length;
	c->calling = true;
	c->reader = file.stream.ops->open(&file.stream, offset, length, on_ready, c, &err);
	c->calling = false;
	ck_assert_ptr_nonnull(c->reader);
}

static void run(void)
{
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
}

START_TEST(whole_file)
{
	const size_t size = MOST - 1234;

	write_at(0, size);
	file_stream_init(&file, &loop, fd, "vda", size, BLOCK);
	ck_assert_uint_eq(file.stream.size_bytes, size);
	ck_assert_uint_eq(file.stream.block_bytes, BLOCK);
	open_at(&one, 0, size);
	run();
	ck_assert(one.closed && !one.failed);
	ck_assert_uint_eq(one.got, size);
	ck_assert_mem_eq(one.bytes, content, size);
	ck_assert_uint_eq(one.n_zero, 0);
}
END_TEST

START_TEST(two_readers_of_ranges)
{
	write_at(0, MOST);
	file_stream_init(&file, &loop, fd, "vda", MOST, BLOCK);
	file.ring_blocks = 1;
	open_at(&one, 4096, 5 * BLOCK + 7);
	open_at(&two, 3 * BLOCK, MOST - 3 * BLOCK);
	run();
	ck_assert_mem_eq(one.bytes, content + 4096, 5 * BLOCK + 7);
	ck_assert_mem_eq(two.bytes, content + 3 * BLOCK, MOST - 3 * BLOCK);
	ck_assert(one.closed && two.closed);
}
END_TEST

START_TEST(holes_are_zero_blocks)
{
	/* Blocks 0-3 hole, 4 data, 5 data in its last byte, 6-7 hole up to the end. */
	write_at(4 * BLOCK, BLOCK);
	write_at(6 * BLOCK - 1, 1);
	ck_assert_int_eq(ftruncate(fd, 8 * BLOCK - 100), 0);
	file_stream_init(&file, &loop, fd, "vda", 8 * BLOCK - 100, BLOCK);
	open_at(&one, 0, 8 * BLOCK - 100);
	run();
	memset(content, 0, 4 * BLOCK);
	memset(content + 5 * BLOCK, 0, BLOCK - 1);
	memset(content + 6 * BLOCK, 0, 2 * BLOCK);
	ck_assert_mem_eq(one.bytes, content, 8 * BLOCK - 100);
	ck_assert_uint_eq(one.n_zero, 6);
}
END_TEST

START_TEST(reserved_room_is_a_hole)
{
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, MOST) < 0) {
		ck_assert_int_eq(errno, EOPNOTSUPP);
		return;
	}
	ck_assert_int_eq(ftruncate(fd, 4 * BLOCK), 0);
	write_at(BLOCK, BLOCK);
	file_stream_init(&file, &loop, fd, "vda", 4 * BLOCK, BLOCK);
	open_at(&one, 0, 4 * BLOCK);
	run();
	ck_assert_uint_eq(one.n_zero, 3);
	ck_assert_mem_eq(one.bytes + BLOCK, content + BLOCK, BLOCK);
}
END_TEST

START_TEST(nothing)
{
	struct stream_reader *reader;
	struct qmpsnap_error err;

	file_stream_init(&file, &loop, fd, "vda", 0, BLOCK);
	reader = file.stream.ops->open(&file.stream, 0, 0, on_ready, &one, &err);
	ck_assert_ptr_nonnull(reader);
	ck_assert_ptr_null(reader->ops->block(reader, 0));
	ck_assert_ptr_null(reader->ops->error(reader));
	reader->ops->close(reader, on_closed, &one);
	run();
	ck_assert(one.closed);
}
END_TEST

START_TEST(past_the_end)
{
	struct qmpsnap_error err;

	file_stream_init(&file, &loop, fd, "vda", BLOCK, BLOCK);
	ck_assert_ptr_null(file.stream.ops->open(&file.stream, 1, BLOCK, on_ready, &one, &err));
	ck_assert_int_eq(err.code, QMPSNAP_INTERNAL);
	ck_assert_ptr_null(
		file.stream.ops->open(&file.stream, UINT64_MAX, 2, on_ready, &one, &err));
}
END_TEST

/* An end of data, or of a hole.  The reads end in any order, so what stands before it may come. */
START_TEST(file_ends_early)
{
	if (_i == 0)
		write_at(0, 2 * BLOCK + 10);
	else
		ck_assert_int_eq(ftruncate(fd, 2 * BLOCK + 10), 0);
	file_stream_init(&file, &loop, fd, "vda", 6 * BLOCK, BLOCK);
	open_at(&one, 0, 6 * BLOCK);
	run();
	ck_assert(one.failed && one.closed);
	ck_assert_uint_le(one.got, 2 * BLOCK);
	ck_assert_int_eq(one.err.code, QMPSNAP_VIEW);
	ck_assert_ptr_nonnull(strstr(one.err.message, "disk vda: its file ends"));
}
END_TEST

START_TEST(unreadable)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	file_stream_init(&file, &loop, ends[0], "vda", BLOCK, BLOCK);
	open_at(&one, 0, BLOCK);
	run();
	ck_assert(one.failed);
	ck_assert_int_eq(one.err.code, QMPSNAP_VIEW);
	ck_assert_int_eq(one.err.detail, ESPIPE);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

/* Blocks that aren't released hold the reader back; none is overwritten. */
START_TEST(slow_consumer)
{
	write_at(0, MOST);
	file_stream_init(&file, &loop, fd, "vda", MOST, BLOCK);
	file.ring_blocks = 3;
	one.lag = 2;
	open_at(&one, 0, MOST);
	run();
	ck_assert_mem_eq(one.bytes, content, MOST);
}
END_TEST

START_TEST(closed_while_reading)
{
	write_at(0, MOST);
	file_stream_init(&file, &loop, fd, "vda", MOST, BLOCK);
	open_at(&one, 0, MOST);
	end(&one);
	run();
	ck_assert(one.closed);
	ck_assert_uint_eq(one.n_ready, 0);
}
END_TEST

START_TEST(paced)
{
	struct pace pace;
	const uint64_t from = uv_hrtime();

	/* 16 blocks at 64 a second; the first overdraws an empty bucket. */
	pace_init(&pace, 64 * BLOCK, uv_hrtime());
	write_at(0, 16 * BLOCK);
	file_stream_init(&file, &loop, fd, "vda", 16 * BLOCK, BLOCK);
	file.pace = &pace;
	open_at(&one, 0, 16 * BLOCK);
	run();
	ck_assert_mem_eq(one.bytes, content, 16 * BLOCK);
	ck_assert_uint_ge((uv_hrtime() - from) / 1000000, 220);
}
END_TEST

START_TEST(closed_while_paced)
{
	struct pace pace;

	pace_init(&pace, 1, uv_hrtime());
	write_at(0, 4 * BLOCK);
	file_stream_init(&file, &loop, fd, "vda", 4 * BLOCK, BLOCK);
	file.pace = &pace;
	open_at(&one, 0, 4 * BLOCK);
	while (one.got == 0)
		uv_run(&loop, UV_RUN_ONCE);
	end(&one);
	run();
	ck_assert(one.closed);
	ck_assert_uint_eq(one.got, BLOCK);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("file_stream");
	TCase *t = tcase_create("file_stream");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, whole_file);
	tcase_add_test(t, two_readers_of_ranges);
	tcase_add_test(t, holes_are_zero_blocks);
	tcase_add_test(t, reserved_room_is_a_hole);
	tcase_add_test(t, nothing);
	tcase_add_test(t, past_the_end);
	tcase_add_loop_test(t, file_ends_early, 0, 2);
	tcase_add_test(t, unreadable);
	tcase_add_test(t, slow_consumer);
	tcase_add_test(t, closed_while_reading);
	tcase_add_test(t, paced);
	tcase_add_test(t, closed_while_paced);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
