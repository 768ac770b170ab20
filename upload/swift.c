/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/swift.h"

#include "base/error.h"
#include "upload/answer.h"
#include "upload/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void look_for_container(struct swift_image *image);

static struct swift_image *swift_image(struct store_image *image)
{
	return (struct swift_image *)image;
}

const char *swift_doing(struct swift_image *image, const char *doing)
{
	(void)snprintf(
		image->doing, sizeof(image->doing), "%s %.300s", doing, image->base.location);
	return image->doing;
}

void swift_path(char path[static SWIFT_PATH_BYTES], const char *container_path, const char *name)
{
	char object[OBJECT_URL_BYTES];

	object_path(object, name);
	(void)snprintf(path, SWIFT_PATH_BYTES, "%s%s", container_path, object);
}

static void finish(const struct qmpsnap_error *err, void *self)
{
	const struct swift_image *image = self;

	image->done(err, image->data);
}

/* ---- create ------------------------------------------------------------------------------- */

static const char *container_path(const struct swift_image *image)
{
	return image->at_segments ? image->store->segments_path : image->store->path;
}

static void container_is_there(struct swift_image *image)
{
	if (image->at_segments) {
		finish(NULL, image);
		return;
	}
	image->at_segments = true;
	look_for_container(image);
}

static void container_made(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	(void)reply;
	if (err)
		finish(err, data);
	else
		container_is_there(data);
}

static void make_container(struct swift_image *image)
{
	const struct remote_request request = {.method = "PUT",
		.path = container_path(image),
		.body = "",
		.doing = swift_doing(image, "making the container of"),
		.expect = {201, 202}};

	remote_send(&image->call, &image->store->remote, &request, container_made, image);
}

/* Who may only write objects isn't told about the container. */
static void looked(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_image *image = data;

	(void)reply;
	if (answer_said(err, 404, 404))
		make_container(image);
	else if (!err || answer_said(err, 403, 403))
		container_is_there(image);
	else
		finish(err, image);
}

static void look_for_container(struct swift_image *image)
{
	const struct remote_request request = {.method = "HEAD",
		.path = container_path(image),
		.doing = swift_doing(image, "looking for the container of"),
		.expect = {204, 200}};

	remote_send(&image->call, &image->store->remote, &request, looked, image);
}

static struct store_image *create(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct swift_store *store = (struct swift_store *)base;
	struct swift_image *image = calloc(1, sizeof(*image));

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
	object_names(&image->names, "", spec);
	(void)snprintf(image->base.location, sizeof(image->base.location), "swift:%s/%s",
		store->container, image->names.data);
	look_for_container(image);
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
	struct swift_image *image = swift_image(base);

	image->done = done;
	image->data = data;
	record_complete(image->record, base, image->virtual_size_bytes);
	swift_path(image->path, image->store->path, image->names.json);
	const struct remote_request request = {.method = "PUT",
		.path = image->path,
		.headers = {"Content-Type: application/json"},
		.body = record_text(image->record),
		.doing = swift_doing(image, "publishing"),
		.expect = {201}};
	if (request.body) {
		remote_send(&image->call, &image->store->remote, &request, published, image);
	} else {
		error_no_memory(&image->err);
		work_report(&image->later, image->store->remote.loop, &image->err, finish, image);
	}
}

static void discarded(const struct qmpsnap_error *err, void *data)
{
	struct swift_image *image = data;
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
	struct swift_image *image = swift_image(base);

	image->done = done;
	image->data = data;
	if (image->maybe_there)
		swift_remove(&image->removal, image->store, &image->names, discarded, image);
	else
		work_report(&image->later, image->store->remote.loop, NULL, finish, image);
}

static void close_image(struct store_image *base)
{
	struct swift_image *image = swift_image(base);

	(void)json_object_put(image->record);
	(void)json_object_put(image->manifest);
	free(image);
}

static void free_store(struct qmpsnap_store *base)
{
	swift_free((struct swift_store *)base);
}

const struct store_ops swift_ops = {
	.kind = "swift",
	.shelf = &swift_shelf.ops,
	.check = swift_check,
	.create = create,
	.put = swift_put,
	.stop = swift_stop,
	.publish = publish,
	.discard = discard,
	.close = close_image,
	.discard_left = swift_discard_left,
	.free = free_store,
};
