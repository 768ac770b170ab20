/* SPDX-License-Identifier: Apache-2.0
 *
 * view_kit.h - for tests of the view: real NBD servers, a view driven through its stages, and a
 * consumer that checks what stream.h promises.
 */
#ifndef TESTS_VIEW_KIT_H
#define TESTS_VIEW_KIT_H

#include "blockops/view.h"
#include "image_kit.h"

#include <sys/types.h>

#define KIT_EXPORT "disk"

/* qemu-nbd on an image or, without a format, on node options; it dies with the test. */
struct view_server {
	pid_t pid;
	char socket[KIT_PATH_BYTES];
};

void server_start(struct view_server *server, const char *format, const char *image);
/* A scratch in qcow2 format, with the depth of its allocation. */
void server_start_scratch(struct view_server *server, const char *image);
void server_kill(struct view_server *server);
int server_connect(const struct view_server *server);

struct view_run {
	uv_loop_t *loop;
	struct view *view;
	struct cluster_map map;
	struct layout layout;
	struct stream *stream;
	unsigned n_done; /* how often a callback came */
	struct qmpsnap_error err;
};

/* Each runs the loop until the stage has ended, and returns whether it went well. */
bool run_open_fds(struct view_run *run, uv_loop_t *loop, const int *fds, size_t n_fds,
	const struct view_options *options);
bool run_open(struct view_run *run, uv_loop_t *loop, const struct view_server *server, size_t n_fds,
	uint64_t size_bytes);
bool run_map(struct view_run *run);
void run_stream(struct view_run *run, enum qmpsnap_format format, uint32_t block_bytes,
	unsigned ring_blocks, struct pace *pace);
/* Also when opening failed; asserts that all ended in order. */
void run_close(struct view_run *run);

/* Takes the blocks of a reader into a file as they come, and closes the reader at the end or when
 * it fails. */
struct consumer {
	struct stream_reader *reader;
	uint32_t block_bytes;
	uint64_t length, got;
	unsigned n_zero_blocks;
	int fd; /* -1: nowhere */
	bool one_by_one; /* takes one block each time it is told */
	bool hold; /* releases nothing */
	bool closed;
	bool inside; /* a call into the reader */
	struct qmpsnap_error err;
};

void consumer_open(
	struct consumer *c, struct stream *stream, uint64_t offset, uint64_t length, int fd);
/* Takes the oldest block, if one is ready; all that are, then the end. */
bool consumer_take_one(struct consumer *c);
void consumer_take(struct consumer *c);
void consumer_close(struct consumer *c);
/* Runs the loop until the reader has closed. */
void consumer_wait(struct consumer *c, uv_loop_t *loop);
/* Runs the loop that long. */
void kit_run_loop_ms(uv_loop_t *loop, uint64_t ms);

/* Reads the whole image of `run` into a new file. */
void run_read_all(struct view_run *run, const char *path);

/* A raw disk of `size` bytes, data in random extents of whole `grain`s, and the qcow2 made of
 * it. */
void kit_make_disk(const char *raw, const char *qcow2, uint64_t size, uint64_t grain);

#endif
