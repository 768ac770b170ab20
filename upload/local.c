/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/local.h"

#include "base/error.h"
#include "base/json.h"
#include "upload/digest.h"
#include "upload/record.h"
#include "upload/work.h"
#include "upload/writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The digest that is noted beside an image; it is computed while the bytes pass. */
#define LOCAL_DIGEST "sha256"

struct local_image {
	struct store_image base;
	uv_loop_t *loop;
	struct local_names names;
	struct json_object *record;
	uint64_t virtual_size_bytes;
	bool sparse;

	struct temp temp;
	struct local_mark mark;

	/* A call in progress. */
	store_done_fn *done;
	store_progress_fn *progress;
	void *data;
	struct work work;
	struct stream *stream;
	struct pump *pump;
	struct writer *writer;
	struct qmpsnap_error err;
	bool stopped;
	const char *json; /* the record's text, while it is written */
};

static struct local_image *local_image(struct store_image *image)
{
	return (struct local_image *)image;
}

static void finish(const struct qmpsnap_error *err, void *self)
{
	struct local_image *image = self;

	image->done(err, image->data);
}

static void run(struct local_image *image, work_fn *work, store_done_fn *done, void *data)
{
	image->done = done;
	image->data = data;
	work_start(&image->work, image->loop, work, finish, image);
}

/* ---- create ------------------------------------------------------------------------------ */

static void prepare(void *self, struct qmpsnap_error *err)
{
	struct local_image *image = self;

	(void)local_prepare(&image->names, err);
}

struct store_image *local_create(const struct store_ops *ops, uv_loop_t *loop,
	const struct store_image_spec *spec, const struct local_names *names, store_done_fn *done,
	void *data, struct qmpsnap_error *err)
{
	struct local_image *image = calloc(1, sizeof(*image));

	if (!image) {
		error_no_memory(err);
		return NULL;
	}
	if (!(image->record = record_new(spec, err))) {
		free(image);
		return NULL;
	}
	image->base.ops = ops;
	image->loop = loop;
	image->names = *names;
	image->virtual_size_bytes = spec->virtual_size_bytes;
	image->sparse = spec->format == QMPSNAP_RAW;
	image->temp = TEMP_NONE;
	(void)snprintf(image->base.location, sizeof(image->base.location), "%s/%s", names->folder,
		names->file);
	run(image, prepare, done, data);
	return &image->base;
}

/* ---- put --------------------------------------------------------------------------------- */

static void completed(const struct qmpsnap_error *err, void *self)
{
	struct local_image *image = self;

	if (!err && image->stopped) {
		error_set(
			&image->err, QMPSNAP_STORE, "writing %s was stopped", image->base.location);
		err = &image->err;
	}
	if (!err)
		image->base.size_bytes = image->stream->size_bytes;
	finish(err, image);
}

static void complete(void *self, struct qmpsnap_error *err)
{
	struct local_image *image = self;

	(void)local_complete(&image->temp, image->stream->size_bytes, image->base.location, err);
}

static void pump_closed(void *self)
{
	struct local_image *image = self;

	image->pump = NULL;
	if (image->err.code != QMPSNAP_OK)
		finish(&image->err, image);
	else
		work_start(&image->work, image->loop, complete, completed, image);
}

static void written(const struct qmpsnap_error *err, void *self)
{
	struct local_image *image = self;

	image->writer = NULL;
	if (err) {
		image->err = *err;
	} else {
		(void)snprintf(image->base.digest_algorithm, sizeof(image->base.digest_algorithm),
			LOCAL_DIGEST);
		(void)snprintf(image->base.digest, sizeof(image->base.digest), "%s",
			pump_digest(image->pump));
	}
	pump_close(image->pump, pump_closed, image);
}

static void opened(const struct qmpsnap_error *err, void *self)
{
	struct local_image *image = self;
	const struct pump_options pump = {.loop = image->loop,
		.stream = image->stream,
		.digest = LOCAL_DIGEST,
		.progress = image->progress,
		.data = image->data};
	const struct writer_options writer = {.loop = image->loop,
		.fd = image->temp.fd,
		.direct = image->temp.direct,
		.sparse = image->sparse,
		.path = image->base.location};

	if (err || image->stopped) {
		completed(err, image);
		return;
	}
	image->pump = pump_open(&pump, &image->err);
	if (!image->pump) {
		finish(&image->err, image);
		return;
	}
	image->writer = writer_start(&writer, image->pump, written, image, &image->err);
	if (!image->writer)
		pump_close(image->pump, pump_closed, image);
}

static void open_file(void *self, struct qmpsnap_error *err)
{
	struct local_image *image = self;
	const struct local_names *names = &image->names;

	temp_drop(&image->temp); /* what an earlier put left */
	if (temp_open(&image->temp, names->folder, names->file_temp, names->direct, err))
		(void)writer_reserve(image->temp.fd, image->stream->size_bytes, image->sparse,
			image->base.location, err);
}

void local_put(struct store_image *base, struct stream *stream, const struct store_instant *instant,
	store_progress_fn *progress, store_done_fn *done, void *data)
{
	struct local_image *image = local_image(base);

	json_put_string(image->record, "qmpsnap_instant", instant->time);
	json_put_string(image->record, "qmpsnap_consistency", instant->consistency);
	image->stream = stream;
	image->progress = progress;
	image->done = done;
	image->data = data;
	image->stopped = false;
	image->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	work_start(&image->work, image->loop, open_file, opened, image);
}

void local_stop(struct store_image *base)
{
	struct local_image *image = local_image(base);

	image->stopped = true;
	if (image->writer)
		writer_stop(image->writer);
}

/* ---- publish and discard ----------------------------------------------------------------- */

static void place(void *self, struct qmpsnap_error *err)
{
	struct local_image *image = self;

	(void)local_place(&image->temp, &image->names, image->json, &image->mark, err);
}

void local_publish(struct store_image *base, store_done_fn *done, void *data)
{
	struct local_image *image = local_image(base);

	image->json = NULL;
	image->done = done;
	image->data = data;
	if (image->names.json[0] != '\0') {
		record_complete(image->record, &image->base, image->virtual_size_bytes);
		image->json = record_text(image->record);
		if (!image->json) {
			error_no_memory(&image->err);
			work_report(&image->work, image->loop, &image->err, finish, image);
			return;
		}
	}
	work_start(&image->work, image->loop, place, finish, image);
}

static void discard(void *self, struct qmpsnap_error *err)
{
	struct local_image *image = self;

	temp_drop(&image->temp);
	(void)local_remove(&image->names, &image->mark, err);
}

void local_discard(struct store_image *base, store_done_fn *done, void *data)
{
	run(local_image(base), discard, done, data);
}

void local_close(struct store_image *base)
{
	struct local_image *image = local_image(base);

	temp_drop(&image->temp);
	(void)json_object_put(image->record);
	free(image);
}

/* ---- discard_left ------------------------------------------------------------------------ */

struct leftover {
	struct work work;
	struct local_names names;
	store_done_fn *done;
	void *data;
};

static void remove_leftover(void *self, struct qmpsnap_error *err)
{
	const struct leftover *left = self;
	const struct local_mark unknown = {.set = false};

	(void)local_remove(&left->names, &unknown, err);
}

static void leftover_removed(const struct qmpsnap_error *err, void *self)
{
	struct leftover *left = self;

	left->done(err, left->data);
	free(left);
}

void local_discard_left(
	uv_loop_t *loop, const struct local_names *names, store_done_fn *done, void *data)
{
	struct leftover *left = calloc(1, sizeof(*left));

	/* There is no way to report it later without memory; nothing was removed. */
	if (!left) {
		struct qmpsnap_error err;
		error_no_memory(&err);
		done(&err, data);
		return;
	}
	left->names = *names;
	left->done = done;
	left->data = data;
	work_start(&left->work, loop, remove_leftover, leftover_removed, left);
}
