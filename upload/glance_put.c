/* SPDX-License-Identifier: Apache-2.0
 *
 * put(): the point in time into the record, all bytes into the image, and its end. */
#include "base/error.h"
#include "base/json.h"
#include "upload/answer.h"
#include "upload/digest.h"
#include "upload/glance.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What Glance has used by default since Rocky, for want of an image to learn it from. */
#define DEFAULT_ALGORITHM "sha512"

enum {
	/* An import copies the image inside the service: the slowest that is still waited for. */
	IMPORT_BYTES_PER_MS = 5000,
};

/* ---- The end ------------------------------------------------------------------------------ */

static void timer_closed(uv_handle_t *handle)
{
	struct glance_image *image = handle->data;

	image->state = AT_REST;
	(void)json_object_put(image->sending);
	(void)json_object_put(image->got);
	image->sending = NULL;
	image->got = NULL;
	image->done(image->err.code == QMPSNAP_OK ? NULL : &image->err, image->data);
}

static void pump_closed_at_end(void *data)
{
	struct glance_image *image = data;

	image->pump = NULL;
	uv_close((uv_handle_t *)&image->timer, timer_closed);
}

void glance_end(struct glance_image *image, const struct qmpsnap_error *err)
{
	if (err)
		image->err = *err;
	image->state = AT_CLOSING;
	if (image->pump)
		pump_close(image->pump, pump_closed_at_end, image);
	else
		uv_close((uv_handle_t *)&image->timer, timer_closed);
}

bool glance_end_stopped(struct glance_image *image)
{
	if (image->stopped) {
		error_set(&image->err, QMPSNAP_STORE, "%s was stopped",
			glance_doing(image, "uploading"));
		glance_end(image, NULL);
	}
	return image->stopped;
}

static void on_timer(uv_timer_t *timer)
{
	struct glance_image *image = timer->data;

	if ((image->state == AT_WAIT || image->state == AT_DIGEST) && glance_end_stopped(image))
		return;
	if (image->state == AT_WAIT)
		image->after_wait(image);
}

void glance_wait(struct glance_image *image, uint64_t ms, delay_fn *after)
{
	image->state = AT_WAIT;
	image->after_wait = after;
	(void)uv_timer_start(&image->timer, on_timer, ms, 0);
}

/* ---- Import ------------------------------------------------------------------------------- */

static void settle(struct glance_image *image, uint64_t ms)
{
	uv_update_time(image->store->loop);
	image->settle_until_ms = uv_now(image->store->loop) + ms;
}

/* Whether the record has to be looked at, to know what a failure has left. */
static bool is_doubtful(const struct qmpsnap_error *err)
{
	return answer_is_passing(err) || answer_said(err, 404, 404) || answer_said(err, 409, 410);
}

static void imported(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;

	(void)json;
	if (glance_end_stopped(image))
		return;
	image->retry_after_ms = image->call.retry_after_ms;
	if (err && !is_doubtful(err)) {
		glance_end(image, err);
		return;
	}
	if (err)
		image->upload_err = *err;
	settle(image, image->store->settle_ms + image->stream->size_bytes / IMPORT_BYTES_PER_MS);
	glance_look(image);
}

void glance_import(struct glance_image *image)
{
	struct json_object *order = json_object_new_object(), *method = json_object_new_object();

	json_put_string(method, "name", "glance-direct");
	json_put(order, "method", method);
	if (image->store->backend) {
		struct json_object *stores = json_object_new_array();
		json_append(stores, json_object_new_string(image->store->backend));
		json_put(order, "stores", stores);
	}
	image->upload_err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	(void)json_object_put(image->sending);
	image->sending = order;
	(void)snprintf(image->import_path, sizeof(image->import_path), "%s/import", image->path);
	const struct glance_request request = {.method = "POST",
		.path = image->import_path,
		.headers = {"Content-Type: application/json"},
		.body = json_text(order),
		.once = true,
		.doing = glance_doing(image, "importing"),
		.expect = {202}};
	image->state = AT_CALL;
	glance_send(&image->call, image->store, &request, imported, image);
}

/* ---- Uploading ---------------------------------------------------------------------------- */

static void upload_closed(void *data)
{
	struct glance_image *image = data;

	image->pump = NULL;
	if (glance_end_stopped(image))
		return;
	settle(image, image->store->settle_ms);
	image->staged = image->upload_err.code == QMPSNAP_OK && image->store->import;
	if (image->staged)
		glance_import(image);
	else if (image->upload_err.code == QMPSNAP_OK || is_doubtful(&image->upload_err))
		glance_look(image);
	else
		glance_end(image, &image->upload_err);
}

static void close_pump(struct glance_image *image)
{
	image->state = AT_CLOSING;
	pump_close(image->pump, upload_closed, image);
}

/* All is sent; the digest may still be at work. */
static void on_digest(void *data)
{
	struct glance_image *image = data;

	if (pump_error(image->pump)) {
		glance_end(image, pump_error(image->pump));
	} else if (pump_finished(image->pump)) {
		(void)snprintf(image->sent, sizeof(image->sent), "%s", pump_digest(image->pump));
		close_pump(image);
	}
}

static void uploaded(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;
	const bool all_sent = pump_left_bytes(image->pump) == 0;
	struct qmpsnap_error early;

	(void)json;
	image->retry_after_ms = image->call.retry_after_ms;
	if (glance_end_stopped(image))
		return;
	if (pump_error(image->pump)) {
		glance_end(image, pump_error(image->pump));
		return;
	}
	if (!err && !all_sent) {
		error_set(&early, QMPSNAP_STORE, "%s: the service said that it had all too early",
			image->doing);
		err = &early;
	}
	if (err)
		image->upload_err = *err;
	/* When only the answer was lost, the record tells, and the digest is needed. */
	if (!err || (all_sent && !answer_said(err, 100, 599))) {
		image->state = AT_DIGEST;
		pump_on_event(image->pump, on_digest, image);
		on_digest(image);
	} else {
		close_pump(image);
	}
}

/* What is sent again isn't told again. */
static void on_progress(uint64_t done_bytes, void *data)
{
	struct glance_image *image = data;

	if (done_bytes <= image->progress_bytes)
		return;
	image->progress_bytes = done_bytes;
	image->progress(done_bytes, image->data);
}

static struct glance_request upload_request(struct glance_image *image)
{
	const struct glance_store *store = image->store;
	struct glance_request request = {.method = "PUT",
		.path = image->file_path,
		.headers = {"Content-Type: application/octet-stream"},
		.pump = image->pump,
		.sized = store->sized,
		.fresh = true,
		.once = true,
		.quiet_ms = store->quiet_ms,
		.doing = glance_doing(image, "uploading"),
		.expect = {204}};
	size_t n = 1;

	if (!store->sized) {
		(void)snprintf(image->size_header, sizeof(image->size_header),
			"x-openstack-image-size: %" PRIu64, image->stream->size_bytes);
		request.headers[n++] = image->size_header;
	}
	if (store->backend && !store->import) {
		(void)snprintf(image->backend_header, sizeof(image->backend_header),
			"X-Image-Meta-Store: %s", store->backend);
		request.headers[n++] = image->backend_header;
	}
	return request;
}

void glance_upload(struct glance_image *image)
{
	const struct pump_options options = {.loop = image->store->loop,
		.stream = image->stream,
		.digest = image->algorithm,
		.progress = on_progress,
		.data = image};

	image->upload_err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	image->sent[0] = '\0';
	image->staged = false;
	image->pump = pump_open(&options, &image->err);
	if (!image->pump) {
		glance_end(image, NULL);
		return;
	}
	const struct glance_request request = upload_request(image);
	image->state = AT_CALL;
	glance_send(&image->call, image->store, &request, uploaded, image);
}

/* ---- The beginning ------------------------------------------------------------------------ */

/* The digest that the service will compute is the one of its latest image, most likely. */
static void asked_algorithm(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;
	struct json_object *images = json_member(json, "images", json_type_array);
	const char *algorithm = NULL;

	if (glance_end_stopped(image))
		return;
	if (err && !answer_said(err, 100, 599)) {
		glance_end(image, err);
		return;
	}
	if (json_length(images) > 0)
		algorithm = json_string(json_object_array_get_idx(images, 0), "os_hash_algo");
	(void)snprintf(image->algorithm, sizeof(image->algorithm), "%s",
		algorithm && digest_is_known(algorithm) ? algorithm : DEFAULT_ALGORITHM);
	glance_upload(image);
}

static void instant_set(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;
	struct qmpsnap_error gone;
	const struct glance_request request = {.method = "GET",
		.path = "/v2/images?limit=1&sort_key=created_at&sort_dir=desc&status=active",
		.doing = glance_doing(image, "asking for the digest of"),
		.expect = {200}};

	(void)json;
	if (glance_end_stopped(image))
		return;
	if (err)
		glance_end(image, glance_gone(image, err, &gone));
	else
		glance_send(&image->call, image->store, &request, asked_algorithm, image);
}

void glance_put(struct store_image *base, struct stream *stream,
	const struct store_instant *instant, store_progress_fn *progress, store_done_fn *done,
	void *data)
{
	struct glance_image *image = (struct glance_image *)base;
	struct json_object *patch = json_object_new_array();

	image->stream = stream;
	image->progress = progress;
	image->progress_bytes = 0;
	image->done = done;
	image->data = data;
	image->stopped = false;
	image->failures = 0;
	image->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	image->state = AT_CALL;
	(void)uv_timer_init(image->store->loop, &image->timer); /* can't fail */
	image->timer.data = image;
	/* In the record, too, in case that it must be made again. */
	json_put_string(image->record, "qmpsnap_instant", instant->time);
	json_put_string(image->record, "qmpsnap_consistency", instant->consistency);
	glance_patch_set(patch, "qmpsnap_instant", json_object_new_string(instant->time));
	glance_patch_set(
		patch, "qmpsnap_consistency", json_object_new_string(instant->consistency));
	glance_patch(image, patch, instant_set);
}

void glance_stop(struct store_image *base)
{
	struct glance_image *image = (struct glance_image *)base;

	if (image->state == AT_REST || image->stopped)
		return;
	image->stopped = true;
	if (image->state == AT_CALL)
		glance_cancel(&image->call);
	else if (image->state == AT_REMOVAL)
		glance_cancel(&image->removal.call);
	else if (image->state == AT_DIGEST || image->state == AT_WAIT)
		(void)uv_timer_start(&image->timer, on_timer, 0, 0);
}
