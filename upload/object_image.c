/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/object_image.h"

#include "base/error.h"
#include "base/json.h"
#include "upload/answer.h"
#include "upload/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *object_image_new(size_t size, struct qmpsnap_store *store, const char *prefix,
	const struct store_image_spec *spec, struct qmpsnap_error *err)
{
	struct object_image *image = calloc(1, size);

	if (!image) {
		error_no_memory(err);
		return NULL;
	}
	if (!(image->record = record_new(spec, err))) {
		free(image);
		return NULL;
	}
	image->base.ops = store->ops;
	image->remote = remote_of(store);
	image->virtual_size_bytes = spec->virtual_size_bytes;
	object_names(&image->names, prefix, spec);
	return image;
}

void object_image_free(struct object_image *image)
{
	if (image)
		(void)json_object_put(image->record);
	free(image);
}

const char *object_image_doing(struct object_image *image, const char *doing)
{
	(void)snprintf(
		image->doing, sizeof(image->doing), "%s %.300s", doing, image->base.location);
	return image->doing;
}

void object_image_begin(struct object_image *image, store_done_fn *done, void *data)
{
	image->done = done;
	image->data = data;
	image->stoppable = true;
	image->stopped = false;
}

void object_image_end(const struct qmpsnap_error *err, void *self)
{
	struct object_image *image = self;

	image->stoppable = false;
	image->done(err, image->data);
}

void object_image_fail(struct object_image *image)
{
	work_report(&image->later, image->remote->loop, &image->err, object_image_end, image);
}

/* ---- put() -------------------------------------------------------------------------------- */

void object_image_begin_put(struct object_image *image, struct stream *stream,
	const struct store_instant *instant, store_progress_fn *progress)
{
	json_put_string(image->record, "qmpsnap_instant", instant->time);
	json_put_string(image->record, "qmpsnap_consistency", instant->consistency);
	image->stream = stream;
	image->progress = progress;
	image->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
}

static void told(uint64_t done_bytes, void *data)
{
	const struct object_image *image = data;

	image->progress(done_bytes, image->data);
}

void object_image_send_parts(struct object_image *image, const struct parts_options *options)
{
	struct parts_options all = *options;

	all.remote = image->remote;
	all.stream = image->stream;
	all.progress = told;
	all.data = image;
	if (all.part_bytes == 0)
		error_set(&image->err, QMPSNAP_STORE, "%s is too large for the service",
			image->base.location);
	else
		image->parts = parts_start(&all, &image->err);
	if (!image->parts)
		object_image_fail(image);
}

void object_image_set_digest(struct object_image *image, const char *sha256)
{
	struct store_image *base = &image->base;

	(void)snprintf(base->digest_algorithm, sizeof(base->digest_algorithm), "sha256");
	(void)snprintf(base->digest, sizeof(base->digest), "%s", sha256);
}

bool object_image_end_parts(struct object_image *image)
{
	parts_free(image->parts);
	image->parts = NULL;
	if (image->err.code == QMPSNAP_OK)
		return true;
	object_image_end(&image->err, image);
	return false;
}

void object_image_confirm(struct object_image *image, const struct http_reply *reply, bool same)
{
	const char *length = http_header(reply, "Content-Length");
	const uint64_t size = image->stream->size_bytes;
	const uint64_t stored = length ? strtoull(length, NULL, 10) : UINT64_MAX;

	/* What failed before was only the answer, if all is there. */
	image->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	if (stored != size)
		error_set(&image->err, QMPSNAP_STORE,
			"%s: the service has %s bytes, sent were %" PRIu64, image->doing,
			length ? length : "no", size);
	else if (same && strcmp(image->etag, image->call.etag) != 0)
		error_set(&image->err, QMPSNAP_STORE,
			"%s: the service's ETag is %.40s, that of what was sent is %.40s",
			image->doing, image->call.etag, image->etag);
	if (image->err.code == QMPSNAP_OK) {
		image->base.size_bytes = size;
		json_put_string(image->record, "qmpsnap_etag", image->call.etag);
	}
	object_image_end(image->err.code == QMPSNAP_OK ? NULL : &image->err, image);
}

void object_image_stop(struct store_image *base)
{
	struct object_image *image = (struct object_image *)base;

	if (!image->stoppable)
		return;
	image->stopped = true;
	if (image->parts)
		parts_stop(image->parts);
	else
		remote_cancel(&image->call);
}

/* ---- publish(), discard() ----------------------------------------------------------------- */

static void published(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	(void)reply;
	object_image_end(err, data);
}

void object_image_publish(
	struct object_image *image, const char *path, store_done_fn *done, void *data)
{
	object_image_begin(image, done, data);
	record_complete(image->record, &image->base, image->virtual_size_bytes);
	const struct remote_request request = {.method = "PUT",
		.path = path,
		.headers = {"Content-Type: application/json"},
		.body = record_text(image->record),
		.doing = object_image_doing(image, "publishing"),
		.expect = {200, 201}};
	if (request.body) {
		remote_send(&image->call, image->remote, &request, published, image);
	} else {
		error_no_memory(&image->err);
		object_image_fail(image);
	}
}

bool object_image_discard(struct object_image *image, store_done_fn *done, void *data)
{
	object_image_begin(image, done, data);
	image->stoppable = false;
	if (image->maybe_there)
		return true;
	work_report(&image->later, image->remote->loop, NULL, object_image_end, image);
	return false;
}

void object_image_discarded(const struct qmpsnap_error *err, void *self)
{
	struct object_image *image = self;
	struct qmpsnap_error mine;

	if (!err) {
		image->maybe_there = false;
	} else {
		mine = *err;
		answer_hint_left(&mine);
		err = &mine;
	}
	object_image_end(err, image);
}
