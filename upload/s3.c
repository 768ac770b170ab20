/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/s3.h"

#include "base/error.h"
#include "upload/answer.h"
#include "upload/record.h"
#include "upload/xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct s3_image *s3_image(struct store_image *image)
{
	return (struct s3_image *)image;
}

const char *s3_doing(struct s3_image *image, const char *doing)
{
	(void)snprintf(
		image->doing, sizeof(image->doing), "%s %.300s", doing, image->base.location);
	return image->doing;
}

static void finish(const struct qmpsnap_error *err, void *self)
{
	const struct s3_image *image = self;

	image->done(err, image->data);
}

/* ---- create ------------------------------------------------------------------------------- */

static void created(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_image *image = data;
	struct qmpsnap_error wrong;

	if (!err) {
		xml_get(reply->body, reply->body_len, "InitiateMultipartUploadResult/UploadId",
			image->upload_id, sizeof(image->upload_id));
		object_encode(image->upload_id_url, sizeof(image->upload_id_url), image->upload_id,
			false);
		image->only_upload = image->upload_id[0] && !image->call.doubtful;
		if (!image->upload_id[0]) {
			error_set(&wrong, QMPSNAP_STORE, "%s: there is no upload in the answer",
				image->doing);
			error_hint(&wrong, "is this the endpoint of S3?");
			err = &wrong;
		}
	} else if (!image->call.doubtful && (answer_said(err, 400, 499) || answer_unreached(err))) {
		image->maybe_there = false;
	}
	finish(err, image);
}

static struct store_image *create(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct s3_store *store = (struct s3_store *)base;
	struct s3_image *image = calloc(1, sizeof(*image));

	if (!image) {
		error_no_memory(err);
		return NULL;
	}
	if (!(image->record = record_new(spec, err))) {
		free(image);
		return NULL;
	}
	image->base.ops = base->ops;
	image->store = store;
	image->virtual_size_bytes = spec->virtual_size_bytes;
	image->done = done;
	image->data = data;
	object_names(&image->names, store->prefix, spec);
	object_path(image->data_path, image->names.data);
	object_path(image->json_path, image->names.json);
	(void)snprintf(image->base.location, sizeof(image->base.location), "s3://%s/%s",
		store->bucket, image->names.data);
	(void)snprintf(image->path, sizeof(image->path), "%s?uploads=", image->data_path);
	image->maybe_there = true;
	const struct remote_request request = {.method = "POST",
		.path = image->path,
		.headers = {"Content-Type: application/octet-stream"},
		.body = "",
		.doing = s3_doing(image, "beginning the upload of"),
		.expect = {200}};
	remote_send(&image->call, &store->remote, &request, created, image);
	return &image->base;
}

/* ---- publish, discard --------------------------------------------------------------------- */

static void published(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	(void)reply;
	finish(err, data);
}

static void publish(struct store_image *base, store_done_fn *done, void *data)
{
	struct s3_image *image = s3_image(base);

	image->done = done;
	image->data = data;
	record_complete(image->record, base, image->virtual_size_bytes);
	const struct remote_request request = {.method = "PUT",
		.path = image->json_path,
		.headers = {"Content-Type: application/json"},
		.body = record_text(image->record),
		.doing = s3_doing(image, "publishing"),
		.expect = {200}};
	if (request.body) {
		remote_send(&image->call, &image->store->remote, &request, published, image);
	} else {
		error_no_memory(&image->err);
		work_report(&image->later, image->store->remote.loop, &image->err, finish, image);
	}
}

static void discarded(const struct qmpsnap_error *err, void *data)
{
	struct s3_image *image = data;
	struct qmpsnap_error mine;

	if (!err) {
		image->maybe_there = false;
	} else {
		mine = *err;
		remote_hint_left(&mine);
		err = &mine;
	}
	finish(err, image);
}

static void discard(struct store_image *base, store_done_fn *done, void *data)
{
	struct s3_image *image = s3_image(base);

	image->done = done;
	image->data = data;
	if (image->maybe_there)
		s3_remove(&image->removal, image->store, &image->names,
			image->only_upload ? image->upload_id : NULL, discarded, image);
	else
		work_report(&image->later, image->store->remote.loop, NULL, finish, image);
}

static void close_image(struct store_image *base)
{
	struct s3_image *image = s3_image(base);

	(void)json_object_put(image->record);
	free(image->body);
	free(image);
}

static void free_store(struct qmpsnap_store *base)
{
	s3_free((struct s3_store *)base);
}

const struct store_ops s3_ops = {
	.kind = "s3",
	.shelf = &s3_shelf.ops,
	.check = s3_check,
	.create = create,
	.put = s3_put,
	.stop = s3_stop,
	.publish = publish,
	.discard = discard,
	.close = close_image,
	.discard_left = s3_discard_left,
	.free = free_store,
};
