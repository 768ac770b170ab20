/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/glance.h"

#include "base/error.h"
#include "base/json.h"
#include "upload/answer.h"
#include "upload/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct glance_image *glance_image(struct store_image *image)
{
	return (struct glance_image *)image;
}

const char *glance_doing(struct glance_image *image, const char *doing)
{
	(void)snprintf(image->doing, sizeof(image->doing), "%s image %.200s (%s)", doing,
		image->name, image->id);
	return image->doing;
}

const struct qmpsnap_error *glance_gone(
	struct glance_image *image, const struct qmpsnap_error *err, struct qmpsnap_error *gone)
{
	if (!answer_said(err, 404, 404))
		return err;
	image->maybe_there = false;
	error_set(gone, QMPSNAP_INTERRUPTED,
		"cancelled, since somebody has deleted image %.200s (%s) in the image service",
		image->name, image->id);
	return gone;
}

static void finish(const struct qmpsnap_error *err, void *self)
{
	struct glance_image *image = self;

	image->state = AT_REST;
	(void)json_object_put(image->sending);
	image->sending = NULL;
	image->done(err, image->data);
}

/* ---- Changes to the record ----------------------------------------------------------------- */

void glance_patch_set(struct json_object *patch, const char *key, struct json_object *value)
{
	struct json_object *change = json_object_new_object();
	char path[300];

	(void)snprintf(path, sizeof(path), "/%s", key);
	json_put_string(change, "op", "add"); /* also replaces */
	json_put_string(change, "path", path);
	json_put(change, "value", value);
	json_append(patch, change);
}

void glance_patch(struct glance_image *image, struct json_object *patch, glance_then_fn *then)
{
	(void)json_object_put(image->sending);
	image->sending = patch;
	const struct glance_request request = {.method = "PATCH",
		.path = image->path,
		.headers = {"Content-Type: application/openstack-images-v2.1-json-patch"},
		.body = json_text(patch),
		.doing = glance_doing(image, "changing the record of"),
		.expect = {200}};
	glance_send(&image->call, image->store, &request, then, image);
}

/* ---- Records ------------------------------------------------------------------------------ */

static void set_location(struct glance_image *image)
{
	const struct keystone_access *access = keystone_now(image->store->session, false);
	const struct cloud *cloud = keystone_cloud(image->store->session);

	/* Before the first login the URL isn't known. */
	(void)snprintf(image->base.location, sizeof(image->base.location), "%.512s%s",
		access ? access->url : cloud->name, image->path);
}

void glance_use_id(struct glance_image *image, unsigned n)
{
	image->spare = n;
	glance_spare_id(image->id, image->first_id, n);
	(void)snprintf(image->path, sizeof(image->path), "/v2/images/%s", image->id);
	(void)snprintf(image->file_path, sizeof(image->file_path), "%s/%s", image->path,
		image->store->import ? "stage" : "file");
	(void)snprintf(image->base.id, sizeof(image->base.id), "%s", image->id);
	set_location(image);
	record_use_id(image->record, image->id);
}

void glance_make_record(struct glance_image *image, glance_then_fn *then)
{
	const struct glance_request request = {.method = "POST",
		.path = "/v2/images",
		.headers = {"Content-Type: application/json"},
		.body = json_text(image->record),
		.doing = glance_doing(image, "creating the record of"),
		.expect = {201}};

	image->maybe_there = true;
	glance_send(&image->call, image->store, &request, then, image);
}

/* ---- Whether the policy allows the visibility -------------------------------------------- */

static void set_visibility(struct glance_image *image, const char *visibility, glance_then_fn *then)
{
	struct json_object *patch = json_object_new_array();

	glance_patch_set(patch, "visibility", json_object_new_string(visibility));
	glance_patch(image, patch, then);
}

static void taken_back(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	(void)json;
	finish(err, data);
}

static void was_allowed(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;
	struct qmpsnap_error mine;

	(void)json;
	if (!err) {
		set_visibility(image, "private", taken_back);
		return;
	}
	mine = *err;
	if (answer_said(err, 403, 403))
		error_hint(&mine, "the service's policy doesn't allow --visibility %s to this user",
			image->store->visibility);
	finish(&mine, image);
}

static bool is_for_all(const struct glance_store *store)
{
	return store->visibility && (strcmp(store->visibility, "public") == 0 ||
					    strcmp(store->visibility, "community") == 0);
}

/* What an image may be is known only when it's tried; while the record has no bytes and nothing
 * was touched in the guest. */
static void ask_for_visibility(struct glance_image *image)
{
	set_visibility(image, image->store->visibility, was_allowed);
}

/* ---- create ------------------------------------------------------------------------------- */

static void created(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;
	struct qmpsnap_error wrong;
	const char *id = json_string(json, "id");
	const struct glance_call *call = &image->call;

	/* A try whose answer was lost made it: nobody else knows the id. */
	if (call->doubtful && answer_said(err, 409, 409)) {
		set_location(image);
		finish(NULL, image);
		return;
	}
	if (!call->doubtful && (!call->sent || answer_said(err, 400, 499) || answer_unreached(err)))
		/* Nothing was made: whatever has this id (409) isn't ours. */
		image->maybe_there = false;
	if (!err && (!id || strcmp(id, image->id) != 0)) {
		error_set(&wrong, QMPSNAP_STORE, "%s: the image service made another one",
			image->doing);
		error_hint(&wrong, "is this the URL of an image service?");
		err = &wrong;
	}
	set_location(image);
	if (!err && is_for_all(image->store))
		ask_for_visibility(image);
	else
		finish(err, image);
}

static void got_base(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;
	struct qmpsnap_error mine;

	if (err) {
		mine = *err;
		if (answer_said(err, 404, 404))
			error_hint(&mine, "--base-image takes the id of an image that this project "
					  "can see");
		finish(&mine, image);
		return;
	}
	record_inherit(image->record, json);
	glance_make_record(image, created);
}

static void ask_for_base(struct glance_image *image)
{
	const struct glance_request request = {.method = "GET",
		.path = image->base_path,
		.doing = glance_doing(image, "asking for the base of"),
		.expect = {200}};

	(void)snprintf(image->base_path, sizeof(image->base_path), "/v2/images/%.36s",
		image->store->base_image);
	glance_send(&image->call, image->store, &request, got_base, image);
}

static struct store_image *create(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct glance_store *store = (struct glance_store *)base;
	struct glance_image *image = calloc(1, sizeof(*image));

	if (!image) {
		error_no_memory(err);
		return NULL;
	}
	image->record = record_new(spec, err);
	if (!image->record) {
		free(image);
		return NULL;
	}
	if (store->tags)
		json_put(image->record, "tags", json_object_get(store->tags));
	image->base.ops = base->ops;
	image->store = store;
	image->done = done;
	image->data = data;
	image->state = AT_CALL;
	(void)snprintf(image->first_id, sizeof(image->first_id), "%s", spec->id);
	(void)snprintf(image->name, sizeof(image->name), "%s", spec->name);
	glance_use_id(image, 0);
	if (store->base_image) {
		record_base(image->record, store->base_image);
		ask_for_base(image);
	} else {
		glance_make_record(image, created);
	}
	return &image->base;
}

/* ---- publish, discard --------------------------------------------------------------------- */

static void published(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct qmpsnap_error gone;

	(void)json;
	finish(glance_gone(data, err, &gone), data);
}

static void publish(struct store_image *base, store_done_fn *done, void *data)
{
	struct glance_image *image = glance_image(base);
	const struct glance_store *store = image->store;
	struct json_object *patch = json_object_new_array();
	char digest[sizeof(base->digest_algorithm) + sizeof(base->digest)];

	image->done = done;
	image->data = data;
	image->state = AT_CALL;
	image->stopped = false;
	(void)snprintf(digest, sizeof(digest), "%s:%s", base->digest_algorithm, base->digest);
	glance_patch_set(patch, "qmpsnap_verified", json_object_new_string("true"));
	glance_patch_set(patch, "qmpsnap_digest", json_object_new_string(digest));
	if (store->visibility)
		glance_patch_set(patch, "visibility", json_object_new_string(store->visibility));
	if (store->is_protected)
		glance_patch_set(patch, "protected", json_object_new_boolean(true));
	glance_patch(image, patch, published);
}

static void discarded(const struct qmpsnap_error *err, void *data)
{
	struct glance_image *image = data;
	struct qmpsnap_error mine;

	if (!err) {
		image->maybe_there = false;
	} else {
		mine = *err;
		answer_hint_left(&mine);
		err = &mine;
	}
	finish(err, image);
}

static void discard(struct store_image *base, store_done_fn *done, void *data)
{
	struct glance_image *image = glance_image(base);

	image->done = done;
	image->data = data;
	if (image->maybe_there)
		glance_remove(&image->removal, image->store, image->id,
			glance_doing(image, "deleting"), discarded, image);
	else
		work_report(&image->later, image->store->loop, NULL, finish, image);
}

static void close_image(struct store_image *base)
{
	struct glance_image *image = glance_image(base);

	(void)json_object_put(image->sending);
	(void)json_object_put(image->record);
	free(image);
}

/* ---- The store ---------------------------------------------------------------------------- */

static void free_store(struct qmpsnap_store *base)
{
	glance_free((struct glance_store *)base);
}

const struct store_ops glance_ops = {
	.kind = "glance",
	.shelf = &glance_shelf,
	.check = glance_check,
	.create = create,
	.put = glance_put,
	.stop = glance_stop,
	.publish = publish,
	.discard = discard,
	.close = close_image,
	.discard_left = glance_discard_left,
	.free = free_store,
};
