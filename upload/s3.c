/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/s3.h"

#include "base/error.h"
#include "base/log.h"
#include "upload/answer.h"
#include "upload/xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BEGUN = 3 /* uploads of an image, while answers are lost */ };

static struct s3_image *s3_image(struct store_image *image)
{
	return (struct s3_image *)image;
}

/* ---- create ------------------------------------------------------------------------------- */

static void begin(struct s3_image *image);

/* Nobody else's can be under the key, whose end is a UUID. */
static void swept(const struct qmpsnap_error *err, void *data)
{
	struct s3_image *image = data;

	undo_patience_renew(&image->store->remote.undo);
	if (image->o.stopped) {
		error_set(&image->o.err, QMPSNAP_STORE, "%s was stopped", image->o.doing);
		object_image_end(&image->o.err, image);
		return;
	}
	if (err)
		log_line(QMPSNAP_LOG_WARNING, "%s; an upload that is never completed may be left",
			err->message);
	begin(image);
}

static void created(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_image *image = data;
	struct qmpsnap_error wrong;

	/* A try whose answer was lost may have begun one, too, which would stay for ever. */
	if (!err && image->o.call.doubtful && image->n_begun < MOST_BEGUN) {
		s3_remove(&image->removal, image->store, &image->o.names, NULL, swept, image);
		return;
	}
	if (!err) {
		xml_get(reply->body, reply->body_len, "InitiateMultipartUploadResult/UploadId",
			image->upload_id, sizeof(image->upload_id));
		object_encode(image->upload_id_url, sizeof(image->upload_id_url), image->upload_id,
			false);
		image->only_upload = image->upload_id[0] && !image->o.call.doubtful;
		if (!image->upload_id[0]) {
			error_set(&wrong, QMPSNAP_STORE, "%s: there is no upload in the answer",
				image->o.doing);
			error_hint(&wrong, "is this the endpoint of S3?");
			err = &wrong;
		}
	} else if (!image->o.call.doubtful && image->n_begun == 1 &&
		   (answer_said(err, 400, 499) || answer_unreached(err))) {
		image->o.maybe_there = false;
	}
	object_image_end(err, image);
}

static void begin(struct s3_image *image)
{
	const struct remote_request request = {.method = "POST",
		.path = image->path,
		.headers = {"Content-Type: application/octet-stream"},
		.body = "",
		.doing = object_image_doing(&image->o, "beginning the upload of"),
		.expect = {200}};

	(void)snprintf(image->path, sizeof(image->path), "%s?uploads=", image->data_path);
	image->n_begun++;
	image->o.maybe_there = true;
	remote_send(&image->o.call, &image->store->remote, &request, created, image);
}

static struct store_image *create(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct s3_store *store = (struct s3_store *)base;
	struct s3_image *image = object_image_new(sizeof(*image), base, store->prefix, spec, err);

	if (!image)
		return NULL;
	image->store = store;
	object_image_begin(&image->o, done, data);
	object_path(image->data_path, image->o.names.data);
	(void)snprintf(image->o.base.location, sizeof(image->o.base.location), "s3://%s/%s",
		store->bucket, image->o.names.data);
	begin(image);
	return &image->o.base;
}

/* create() may be sweeping. */
static void stop(struct store_image *base)
{
	struct s3_image *image = s3_image(base);

	if (image->o.stoppable)
		object_removal_stop(&image->removal.base);
	object_image_stop(base);
}

/* ---- publish, discard --------------------------------------------------------------------- */

static void publish(struct store_image *base, store_done_fn *done, void *data)
{
	struct s3_image *image = s3_image(base);

	object_path(image->path, image->o.names.json);
	object_image_publish(&image->o, image->path, done, data);
}

static void discard(struct store_image *base, store_done_fn *done, void *data)
{
	struct s3_image *image = s3_image(base);

	if (object_image_discard(&image->o, done, data))
		s3_remove(&image->removal, image->store, &image->o.names,
			image->only_upload ? image->upload_id : NULL, object_image_discarded,
			image);
}

static void close_image(struct store_image *base)
{
	struct s3_image *image = s3_image(base);

	free(image->body);
	object_image_free(&image->o);
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
	.stop = stop,
	.publish = publish,
	.discard = discard,
	.close = close_image,
	.discard_left = s3_discard_left,
	.free = free_store,
};
