/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/swift.h"

#include "base/error.h"
#include "upload/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void look_for_container(struct swift_image *image);

static struct swift_image *swift_image(struct store_image *image)
{
	return (struct swift_image *)image;
}

void swift_path(char path[static SWIFT_PATH_BYTES], const char *container_path, const char *name)
{
	char object[OBJECT_URL_BYTES];

	object_path(object, name);
	(void)snprintf(path, SWIFT_PATH_BYTES, "%s%s", container_path, object);
}

/* ---- create ------------------------------------------------------------------------------- */

static const char *container_path(const struct swift_image *image)
{
	return image->at_segments ? image->store->segments_path : image->store->path;
}

static void container_is_there(struct swift_image *image)
{
	if (image->at_segments) {
		object_image_end(NULL, image);
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
		object_image_end(err, data);
	else
		container_is_there(data);
}

static void make_container(struct swift_image *image)
{
	const struct remote_request request = {.method = "PUT",
		.path = container_path(image),
		.body = "",
		.doing = object_image_doing(&image->o, "making the container of"),
		.expect = {201, 202}};

	remote_send(&image->o.call, &image->store->remote, &request, container_made, image);
}

/* Who may only write objects isn't told about the container. */
static void looked(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_image *image = data;

	(void)reply;
	if (answer_said(err, 404, 404) && !image->o.stopped)
		make_container(image);
	else if (!err || (answer_said(err, 403, 403) && !image->o.stopped))
		container_is_there(image);
	else
		object_image_end(err, image);
}

static void look_for_container(struct swift_image *image)
{
	const struct remote_request request = {.method = "HEAD",
		.path = container_path(image),
		.doing = object_image_doing(&image->o, "looking for the container of"),
		.expect = {204, 200}};

	remote_send(&image->o.call, &image->store->remote, &request, looked, image);
}

static struct store_image *create(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct swift_store *store = (struct swift_store *)base;
	struct swift_image *image = object_image_new(sizeof(*image), base, "", spec, err);

	if (!image)
		return NULL;
	image->store = store;
	object_image_begin(&image->o, done, data);
	(void)snprintf(image->o.base.location, sizeof(image->o.base.location), "swift:%s/%s",
		store->container, image->o.names.data);
	look_for_container(image);
	return &image->o.base;
}

/* ---- publish, discard --------------------------------------------------------------------- */

static void publish(struct store_image *base, store_done_fn *done, void *data)
{
	struct swift_image *image = swift_image(base);

	swift_path(image->path, image->store->path, image->o.names.json);
	object_image_publish(&image->o, image->path, done, data);
}

static void discard(struct store_image *base, store_done_fn *done, void *data)
{
	struct swift_image *image = swift_image(base);

	if (object_image_discard(&image->o, done, data))
		swift_remove(&image->removal, image->store, &image->o.names, object_image_discarded,
			image);
}

static void close_image(struct store_image *base)
{
	struct swift_image *image = swift_image(base);

	(void)json_object_put(image->manifest);
	object_image_free(&image->o);
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
	.stop = object_image_stop,
	.publish = publish,
	.discard = discard,
	.close = close_image,
	.discard_left = swift_discard_left,
	.free = free_store,
};
