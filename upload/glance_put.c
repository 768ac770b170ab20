/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/json.h"
#include "upload/digest.h"
#include "upload/glance.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What Glance has used by default since Rocky, for want of an image to learn it from. */
#define DEFAULT_ALGORITHM "sha512"

enum {
	LOOK_MS = 250,
	/* A backend may copy the image once more before the PUT is answered. */
	UPLOAD_QUIET_MS = 10 * 60 * 1000,
	SIZE_HEADER_BYTES = 64,
};

static void look(struct glance_image *image);
static void verify(struct glance_image *image);

/* ---- The end ----------------------------------------------------------------------------- */

static void timer_closed(uv_handle_t *handle)
{
	struct glance_image *image = handle->data;

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

static void end(struct glance_image *image, const struct qmpsnap_error *err)
{
	if (err)
		image->err = *err;
	image->state = PUT_CLOSING;
	if (image->pump)
		pump_close(image->pump, pump_closed_at_end, image);
	else
		uv_close((uv_handle_t *)&image->timer, timer_closed);
}

/* Ends it when stop() was called. */
static bool end_stopped(struct glance_image *image)
{
	if (image->stopped) {
		error_set(&image->err, QMPSNAP_STORE, "%s was stopped",
			glance_doing(image, "uploading"));
		end(image, NULL);
	}
	return image->stopped;
}

/* ---- Confirming -------------------------------------------------------------------------- */

static void confirm(struct glance_image *image)
{
	struct store_image *base = &image->base;

	base->size_bytes = image->stream->size_bytes;
	(void)snprintf(
		base->digest_algorithm, sizeof(base->digest_algorithm), "%s", image->algorithm);
	(void)snprintf(base->digest, sizeof(base->digest), "%s", image->sent);
	end(image, NULL);
}

static void reread_closed(void *data)
{
	struct glance_image *image = data;

	image->pump = NULL;
	if (!end_stopped(image))
		verify(image);
}

static void on_reread(void *data)
{
	struct glance_image *image = data;
	size_t n = 0;

	if (pump_error(image->pump)) {
		end(image, pump_error(image->pump));
		return;
	}
	while (pump_block(image->pump, n))
		n++;
	pump_take(image->pump, n);
	if (!pump_finished(image->pump))
		return;
	(void)snprintf(image->sent, sizeof(image->sent), "%s", pump_digest(image->pump));
	image->state = PUT_CLOSING;
	pump_close(image->pump, reread_closed, image);
}

/* Reads the whole stream once more, for the digest that the service computed. */
static void reread(struct glance_image *image, const char *algorithm)
{
	const struct pump_options options = {
		.loop = image->store->loop, .stream = image->stream, .digest = algorithm};

	(void)snprintf(image->algorithm, sizeof(image->algorithm), "%s", algorithm);
	image->state = PUT_DIGEST;
	image->pump = pump_open(&options, &image->err);
	if (!image->pump) {
		end(image, NULL);
		return;
	}
	pump_on_event(image->pump, on_reread, image);
	on_reread(image);
}

static void verify(struct glance_image *image)
{
	const int64_t size = json_int(image->got, "size", -1);
	const char *algorithm = json_string(image->got, "os_hash_algo");
	const char *value = json_string(image->got, "os_hash_value");
	struct qmpsnap_error err;

	glance_doing(image, "verifying");
	if (size < 0 || (uint64_t)size != image->stream->size_bytes) {
		error_set(&err, QMPSNAP_STORE,
			"%s: the service has %" PRId64 " bytes, sent were %" PRIu64, image->doing,
			size, image->stream->size_bytes);
		end(image, &err);
		return;
	}
	if (!algorithm || !value || !digest_is_known(algorithm)) {
		algorithm = "md5";
		value = json_string(image->got, "checksum");
	}
	if (!value) {
		error_set(&err, QMPSNAP_STORE, "%s: the service gives no digest to compare",
			image->doing);
		end(image, &err);
	} else if (strcmp(algorithm, image->algorithm) != 0) {
		reread(image, algorithm);
	} else if (strcmp(value, image->sent) != 0) {
		error_set(&err, QMPSNAP_STORE,
			"%s: the service's %s is %.16s..., that of what was "
			"sent is %.16s...",
			image->doing, algorithm, value, image->sent);
		error_hint(&err, "the bytes changed on their way, or in the service's storage");
		end(image, &err);
	} else {
		confirm(image);
	}
}

static bool settling(const char *status)
{
	static const char *const on_the_way[] = {"saving", "importing", "uploading"};

	for (size_t i = 0; i < sizeof(on_the_way) / sizeof(on_the_way[0]); i++) {
		if (strcmp(status, on_the_way[i]) == 0)
			return true;
	}
	return false;
}

static void on_timer(uv_timer_t *timer)
{
	struct glance_image *image = timer->data;

	if ((image->state == PUT_WAIT || image->state == PUT_DIGEST) && end_stopped(image))
		return;
	if (image->state == PUT_WAIT)
		look(image);
}

static void looked(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;
	const char *status = json_string(json, "status");
	const bool lost = image->upload_err.code != QMPSNAP_OK;
	struct qmpsnap_error wrong;

	if (end_stopped(image))
		return;
	if (err || !status) {
		error_set(&wrong, QMPSNAP_STORE, "%s: the record has no status", image->doing);
		end(image, lost ? &image->upload_err : err ? err : &wrong);
	} else if (strcmp(status, "active") == 0) {
		image->got = json_object_get(json);
		verify(image);
	} else if (settling(status) && uv_now(image->store->loop) < image->settle_until_ms) {
		image->state = PUT_WAIT;
		(void)uv_timer_start(&image->timer, on_timer, LOOK_MS, 0);
	} else {
		error_set(&wrong, QMPSNAP_STORE, "%s: it didn't become active, its status is %.32s",
			image->doing, status);
		end(image, lost ? &image->upload_err : &wrong);
	}
}

static void look(struct glance_image *image)
{
	const struct glance_request request = {.method = "GET",
		.path = image->path,
		.doing = glance_doing(image, "verifying"),
		.expect = {200}};

	image->state = PUT_CALL;
	glance_send(&image->call, image->store, &request, looked, image);
}

/* ---- Uploading --------------------------------------------------------------------------- */

static void upload_closed(void *data)
{
	struct glance_image *image = data;

	image->pump = NULL;
	if (end_stopped(image))
		return;
	uv_update_time(image->store->loop);
	image->settle_until_ms = uv_now(image->store->loop) + image->store->settle_ms;
	look(image);
}

/* All is sent; the digest may still be at work. */
static void on_digest(void *data)
{
	struct glance_image *image = data;

	if (pump_error(image->pump)) {
		end(image, pump_error(image->pump));
	} else if (pump_finished(image->pump)) {
		(void)snprintf(image->sent, sizeof(image->sent), "%s", pump_digest(image->pump));
		image->state = PUT_CLOSING;
		pump_close(image->pump, upload_closed, image);
	}
}

static void uploaded(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;
	const bool all_sent = pump_left_bytes(image->pump) == 0;
	struct qmpsnap_error early;

	(void)json;
	if (end_stopped(image))
		return;
	if (!err && !all_sent) {
		error_set(&early, QMPSNAP_STORE, "%s: the service said that it had all too early",
			image->doing);
		err = &early;
	}
	/* When only the answer was lost, the record tells. */
	if (err && !(all_sent && !glance_said(err, 100, 599))) {
		end(image, err);
		return;
	}
	if (err)
		image->upload_err = *err;
	image->state = PUT_DIGEST;
	pump_on_event(image->pump, on_digest, image);
	on_digest(image);
}

static void upload(struct glance_image *image)
{
	char size[SIZE_HEADER_BYTES];
	const char *const headers[] = {"Content-Type: application/octet-stream", size, NULL};
	char path[sizeof(image->path) + sizeof("/file")];
	const struct pump_options options = {.loop = image->store->loop,
		.stream = image->stream,
		.digest = image->algorithm,
		.progress = image->progress,
		.data = image->data};

	(void)snprintf(
		size, sizeof(size), "x-openstack-image-size: %" PRIu64, image->stream->size_bytes);
	(void)snprintf(path, sizeof(path), "%s/file", image->path);
	image->pump = pump_open(&options, &image->err);
	if (!image->pump) {
		end(image, NULL);
		return;
	}
	const struct glance_request request = {.method = "PUT",
		.path = path,
		.headers = headers,
		.pump = image->pump,
		.quiet_ms = UPLOAD_QUIET_MS,
		.doing = glance_doing(image, "uploading"),
		.expect = {204}};
	image->state = PUT_CALL;
	glance_send(&image->call, image->store, &request, uploaded, image);
}

/* The digest that the service will compute is the one of its latest image, most likely. */
static void asked_algorithm(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;
	struct json_object *images = json_member(json, "images", json_type_array);
	const char *algorithm = NULL;

	if (end_stopped(image))
		return;
	if (err && !glance_said(err, 100, 599)) {
		end(image, err);
		return;
	}
	if (json_length(images) > 0)
		algorithm = json_string(json_object_array_get_idx(images, 0), "os_hash_algo");
	(void)snprintf(image->algorithm, sizeof(image->algorithm), "%s",
		algorithm && digest_is_known(algorithm) ? algorithm : DEFAULT_ALGORITHM);
	upload(image);
}

static void instant_set(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;
	const struct glance_request request = {.method = "GET",
		.path = "/v2/images?limit=1&sort_key=created_at&sort_dir=desc&status=active",
		.doing = glance_doing(image, "asking for the digest of"),
		.expect = {200}};

	(void)json;
	if (end_stopped(image))
		return;
	if (err)
		end(image, err);
	else
		glance_send(&image->call, image->store, &request, asked_algorithm, image);
}

void glance_put(struct store_image *base, struct stream *stream, const char *instant,
	store_progress_fn *progress, store_done_fn *done, void *data)
{
	struct glance_image *image = (struct glance_image *)base;

	image->stream = stream;
	image->progress = progress;
	image->done = done;
	image->data = data;
	image->stopped = false;
	image->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	image->upload_err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	image->state = PUT_CALL;
	(void)uv_timer_init(image->store->loop, &image->timer); /* can't fail */
	image->timer.data = image;
	glance_set_property(image, "qmpsnap_instant", instant, instant_set);
}

void glance_stop(struct store_image *base)
{
	struct glance_image *image = (struct glance_image *)base;

	if (!image->stream || image->stopped)
		return;
	image->stopped = true;
	if (image->state == PUT_CALL)
		glance_cancel(&image->call);
	else if (image->state == PUT_DIGEST || image->state == PUT_WAIT)
		(void)uv_timer_start(&image->timer, on_timer, 0, 0);
}
