/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "upload/digest.h"
#include "upload/pump.h"
#include "upload/record.h"
#include "upload/sink_fd.h"
#include "upload/stores.h"
#include "upload/work.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STDOUT_DIGEST "sha256"

enum { BATCH_BLOCKS = 16 };

struct stdout_store {
	struct qmpsnap_store base;
	uv_loop_t *loop;
	int fd;
};

struct stdout_image {
	struct store_image base;
	uv_loop_t *loop;
	int user_fd;
	struct sink_fd sink;
	bool open; /* `sink` is */

	/* A call in progress. */
	store_done_fn *done;
	void *data;
	struct work work;
	struct stream *stream;
	struct pump *pump;
	const struct stream_block *batch[BATCH_BLOCKS]; /* being written */
	size_t n_batch;
	bool waiting; /* for a block to be read */
	bool stopped;
	struct qmpsnap_error err;
};

static void advance(void *data);

static struct stdout_image *stdout_image(struct store_image *image)
{
	return (struct stdout_image *)image;
}

static void finish(const struct qmpsnap_error *err, void *self)
{
	const struct stdout_image *image = self;

	image->done(err, image->data);
}

static void report(struct stdout_image *image, const struct qmpsnap_error *err, store_done_fn *done,
	void *data)
{
	image->done = done;
	image->data = data;
	work_report(&image->work, image->loop, err, finish, image);
}

static struct store_image *create(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	const struct stdout_store *store = (const struct stdout_store *)base;
	struct json_object *record = record_new(spec, err);

	if (!record)
		return NULL;
	(void)json_object_put(record); /* made only to check the properties */
	if (isatty(store->fd)) {
		error_set(err, QMPSNAP_REFUSED, "the standard output is a terminal");
		error_hint(err, "send it into a file or a pipe, or choose another store with --to");
		return NULL;
	}
	struct stdout_image *image = calloc(1, sizeof(*image));
	if (!image) {
		error_no_memory(err);
		return NULL;
	}
	image->base.ops = base->ops;
	image->loop = store->loop;
	image->user_fd = store->fd;
	(void)snprintf(image->base.location, sizeof(image->base.location), "-");
	report(image, NULL, done, data);
	return &image->base;
}

static void pump_closed(void *data)
{
	struct stdout_image *image = data;

	image->pump = NULL;
	if (image->err.code == QMPSNAP_OK)
		image->base.size_bytes = image->stream->size_bytes;
	finish(image->err.code == QMPSNAP_OK ? NULL : &image->err, image);
}

/* Ends put() once nothing is written any more. */
static void end(struct stdout_image *image)
{
	pump_on_event(image->pump, NULL, NULL);
	if (image->err.code == QMPSNAP_OK) {
		(void)snprintf(image->base.digest_algorithm, sizeof(image->base.digest_algorithm),
			STDOUT_DIGEST);
		(void)snprintf(image->base.digest, sizeof(image->base.digest), "%s",
			pump_digest(image->pump));
	}
	pump_close(image->pump, pump_closed, image);
}

static void write_batch(void *self, struct qmpsnap_error *err)
{
	struct stdout_image *image = self;

	for (size_t i = 0; i < image->n_batch; i++) {
		const struct stream_block *block = image->batch[i];
		if (!sink_fd_write(&image->sink, block->data, block->len, err))
			return;
	}
}

static void batch_written(const struct qmpsnap_error *err, void *self)
{
	struct stdout_image *image = self;
	const size_t n = image->n_batch;

	image->n_batch = 0;
	if (err && image->err.code == QMPSNAP_OK)
		image->err = *err;
	if (!err)
		pump_take(image->pump, n);
	advance(image);
}

static void start_batch(struct stdout_image *image)
{
	const struct stream_block *block;

	while (image->n_batch < BATCH_BLOCKS && (block = pump_block(image->pump, image->n_batch)))
		image->batch[image->n_batch++] = block;
	image->waiting = image->n_batch == 0;
	if (!image->waiting)
		work_start(&image->work, image->loop, write_batch, batch_written, image);
}

static void advance(void *data)
{
	struct stdout_image *image = data;
	const struct qmpsnap_error *err = pump_error(image->pump);

	image->waiting = false;
	if (image->err.code == QMPSNAP_OK && err) {
		image->err = *err;
		sink_fd_wake(&image->sink);
	}
	if (image->n_batch > 0)
		return;
	if (image->err.code == QMPSNAP_OK && image->stopped)
		error_set(&image->err, QMPSNAP_STORE, "writing to the standard output was stopped");
	if (image->err.code != QMPSNAP_OK || pump_finished(image->pump))
		end(image);
	else
		start_batch(image);
}

static void begin(const struct qmpsnap_error *none, void *self)
{
	struct stdout_image *image = self;

	(void)none;
	pump_on_event(image->pump, advance, image);
	advance(image);
}

static void put(struct store_image *base, struct stream *stream,
	const struct store_instant *instant, store_progress_fn *progress, store_done_fn *done,
	void *data)
{
	struct stdout_image *image = stdout_image(base);
	const struct pump_options options = {.loop = image->loop,
		.stream = stream,
		.digest = STDOUT_DIGEST,
		.progress = progress,
		.data = data};

	(void)instant; /* there is no record that could hold it */
	image->stream = stream;
	image->stopped = false;
	image->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	if (!image->open &&
		!(image->open = sink_fd_open(&image->sink, image->user_fd, &image->err))) {
		sink_fd_close(&image->sink);
		report(image, &image->err, done, data);
		return;
	}
	image->pump = pump_open(&options, &image->err);
	if (!image->pump) {
		report(image, &image->err, done, data);
		return;
	}
	image->done = done;
	image->data = data;
	/* `begin` starts to listen to the pump, and to write what is ready by then. */
	work_report(&image->work, image->loop, NULL, begin, image);
}

static void stop(struct store_image *base)
{
	struct stdout_image *image = stdout_image(base);

	if (!image->pump || image->stopped)
		return;
	image->stopped = true;
	sink_fd_wake(&image->sink);
	if (image->waiting)
		advance(image);
}

/* What was written can't be taken back, nor need it be published. */
static void nothing(struct store_image *base, store_done_fn *done, void *data)
{
	report(stdout_image(base), NULL, done, data);
}

static void close_image(struct store_image *base)
{
	struct stdout_image *image = stdout_image(base);

	if (image->open)
		sink_fd_close(&image->sink);
	free(image);
}

struct leftover {
	struct work work;
	store_done_fn *done;
	void *data;
};

static void leftover_reported(const struct qmpsnap_error *err, void *self)
{
	struct leftover *left = self;

	left->done(err, left->data);
	free(left);
}

static void discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data)
{
	const struct stdout_store *store = (const struct stdout_store *)base;
	struct leftover *left = calloc(1, sizeof(*left));

	(void)spec;
	if (!left) {
		done(NULL, data);
		return;
	}
	left->done = done;
	left->data = data;
	work_report(&left->work, store->loop, NULL, leftover_reported, left);
}

static void free_store(struct qmpsnap_store *base)
{
	free(base);
}

static const struct store_ops stdout_ops = {
	.kind = "stdout",
	.max_images = 1,
	.create = create,
	.put = put,
	.stop = stop,
	.publish = nothing,
	.discard = nothing,
	.close = close_image,
	.discard_left = discard_left,
	.free = free_store,
};

struct qmpsnap_store *stdout_open(uv_loop_t *loop, const char *where,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	struct stdout_store *store = calloc(1, sizeof(*store));

	(void)where;
	if (!store) {
		error_no_memory(err);
		return NULL;
	}
	store->base.ops = &stdout_ops;
	store->loop = loop;
	store->fd = options->stdout_fd ? options->stdout_fd : STDOUT_FILENO;
	return &store->base;
}
