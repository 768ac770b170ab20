/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/glance.h"

#include "base/error.h"
#include "base/json.h"
#include "upload/record.h"
#include "upload/stores.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_MS = 60 * 1000 };

static const char *const json_headers[] = {"Content-Type: application/json", NULL};
static const char *const patch_headers[] = {
	"Content-Type: application/openstack-images-v2.1-json-patch", NULL};

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

static void finish(const struct qmpsnap_error *err, void *self)
{
	struct glance_image *image = self;

	(void)json_object_put(image->sending);
	image->sending = NULL;
	image->done(err, image->data);
}

static void finish_call(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	(void)json;
	finish(err, data);
}

/* ---- create ------------------------------------------------------------------------------ */

static void created(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;
	struct qmpsnap_error wrong;
	const char *id = json_string(json, "id");

	if (glance_said(err, 400, 499) || glance_unreached(err))
		/* Nothing was made: whatever has this id (409) isn't ours. */
		image->maybe_there = false;
	if (!err && (!id || strcmp(id, image->id) != 0)) {
		error_set(&wrong, QMPSNAP_STORE, "%s: the image service made another one",
			image->doing);
		error_hint(&wrong, "is this the URL of an image service?");
		err = &wrong;
	}
	finish(err, image);
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
	image->sending = record_new(spec, err);
	if (!image->sending) {
		free(image);
		return NULL;
	}
	image->base.ops = base->ops;
	image->store = store;
	image->done = done;
	image->data = data;
	image->maybe_there = true;
	(void)snprintf(image->id, sizeof(image->id), "%s", spec->id);
	(void)snprintf(image->name, sizeof(image->name), "%s", spec->name);
	(void)snprintf(image->path, sizeof(image->path), "/v2/images/%s", image->id);
	(void)snprintf(image->base.location, sizeof(image->base.location), "%s%s", store->url,
		image->path);
	const struct glance_request request = {.method = "POST",
		.path = "/v2/images",
		.headers = json_headers,
		.body = json_text(image->sending),
		.doing = glance_doing(image, "creating the record of"),
		.expect = {201}};
	glance_send(&image->call, store, &request, created, image);
	return &image->base;
}

/* ---- publish, discard -------------------------------------------------------------------- */

void glance_set_property(
	struct glance_image *image, const char *key, const char *value, glance_then_fn *then)
{
	struct json_object *patch = json_object_new_array(), *change = json_object_new_object();
	char path[300];

	(void)snprintf(path, sizeof(path), "/%s", key);
	json_put_string(change, "op", "add"); /* also replaces */
	json_put_string(change, "path", path);
	json_put_string(change, "value", value);
	(void)json_object_array_add(patch, change);
	(void)json_object_put(image->sending);
	image->sending = patch;
	const struct glance_request request = {.method = "PATCH",
		.path = image->path,
		.headers = patch_headers,
		.body = json_text(patch),
		.doing = glance_doing(image, "changing the record of"),
		.expect = {200}};
	glance_send(&image->call, image->store, &request, then, image);
}

static void publish(struct store_image *base, store_done_fn *done, void *data)
{
	struct glance_image *image = glance_image(base);

	image->done = done;
	image->data = data;
	glance_set_property(image, "qmpsnap_verified", "true", finish_call);
}

static void discard(struct store_image *base, store_done_fn *done, void *data)
{
	struct glance_image *image = glance_image(base);
	const struct glance_request request = {.method = "DELETE",
		.path = image->path,
		.doing = glance_doing(image, "deleting"),
		.expect = {204, 404}};

	image->done = done;
	image->data = data;
	if (image->maybe_there)
		glance_send(&image->call, image->store, &request, finish_call, image);
	else
		work_report(&image->later, image->store->loop, NULL, finish, image);
}

static void close_image(struct store_image *base)
{
	struct glance_image *image = glance_image(base);

	(void)json_object_put(image->sending);
	free(image);
}

/* ---- discard_left ------------------------------------------------------------------------ */

struct leftover {
	struct glance_call call;
	char path[64];
	char doing[64];
	store_done_fn *done;
	void *data;
};

static void leftover_deleted(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct leftover *left = data;

	(void)json;
	left->done(err, left->data);
	free(left);
}

static void discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data)
{
	struct leftover *left = calloc(1, sizeof(*left));

	/* There is no way to report it later without memory; nothing was deleted. */
	if (!left) {
		struct qmpsnap_error err;
		error_no_memory(&err);
		done(&err, data);
		return;
	}
	left->done = done;
	left->data = data;
	(void)snprintf(left->path, sizeof(left->path), "/v2/images/%.36s", spec->id);
	(void)snprintf(left->doing, sizeof(left->doing), "deleting image %.36s", spec->id);
	const struct glance_request request = {
		.method = "DELETE", .path = left->path, .doing = left->doing, .expect = {204, 404}};
	glance_send(&left->call, (struct glance_store *)base, &request, leftover_deleted, left);
}

/* ---- The store --------------------------------------------------------------------------- */

static void free_store(struct qmpsnap_store *base)
{
	struct glance_store *store = (struct glance_store *)base;

	http_free(store->http);
	free(store);
}

static const struct store_ops glance_ops = {
	.kind = "glance",
	.create = create,
	.put = glance_put,
	.stop = glance_stop,
	.publish = publish,
	.discard = discard,
	.close = close_image,
	.discard_left = discard_left,
	.free = free_store,
};

static bool has_part(CURLU *u, CURLUPart part)
{
	char *text = NULL;
	const bool there = curl_url_get(u, part, &text, 0) == CURLUE_OK;

	curl_free(text);
	return there;
}

/* The URL that "/v2/images" is put behind; users also give the one with /v2. */
static bool base_url(char url[GLANCE_URL_BYTES], const char *where)
{
	static const char version[] = "/v2";
	CURLU *u = curl_url();
	char *text = NULL, *scheme = NULL;
	bool well = false;

	if (u && curl_url_set(u, CURLUPART_URL, where, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK)
		well = (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) &&
		       !has_part(u, CURLUPART_USER) && !has_part(u, CURLUPART_PASSWORD) &&
		       !has_part(u, CURLUPART_QUERY) && !has_part(u, CURLUPART_FRAGMENT) &&
		       strlen(text) < GLANCE_URL_BYTES;
	if (well) {
		(void)snprintf(url, GLANCE_URL_BYTES, "%s", text);
		size_t len = strlen(url);
		while (url[len - 1] == '/')
			url[--len] = '\0';
		if (len > strlen(version) && strcmp(url + len - strlen(version), version) == 0)
			url[len - strlen(version)] = '\0';
	}
	curl_free(text);
	curl_free(scheme);
	curl_url_cleanup(u);
	return well;
}

struct qmpsnap_store *glance_open(uv_loop_t *loop, const char *where,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	struct glance_store *store;
	char url[GLANCE_URL_BYTES];

	(void)options;
	if (where[0] == '\0') {
		error_set(err, QMPSNAP_USAGE,
			"glance: without a URL (a cloud and its Keystone) is not available in this "
			"version");
		error_hint(err, "glance:URL takes an image service without authentication");
		return NULL;
	}
	if (!base_url(url, where)) {
		error_set(err, QMPSNAP_USAGE,
			"glance: takes an http:// or https:// URL without user, password and "
			"query");
		return NULL;
	}
	if (!(store = calloc(1, sizeof(*store)))) {
		error_no_memory(err);
		return NULL;
	}
	store->base.ops = &glance_ops;
	store->loop = loop;
	store->settle_ms = SETTLE_MS;
	memcpy(store->url, url, sizeof(url));
	store->http = http_new(loop, err);
	if (!store->http) {
		free(store);
		return NULL;
	}
	return &store->base;
}
