/* SPDX-License-Identifier: Apache-2.0
 *
 * The stores http: and https: - an image on its way to its URL, and what stands there then. */
#include "upload/web.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "upload/answer.h"
#include "upload/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUIET_MS = 10 * 60 * 1000 /* it may store the image before it answers */ };

static struct web_image *web_image(struct store_image *image)
{
	return (struct web_image *)image;
}

void web_finish(const struct qmpsnap_error *err, void *self)
{
	struct web_image *image = self;

	image->stoppable = false;
	image->done(err, image->data);
}

const char *web_suffix(enum web_what what)
{
	return what == WEB_JSON ? ".json" : "";
}

void web_send(struct web_image *image, enum web_what what, const struct remote_request *request,
	const char *doing, remote_then_fn *then)
{
	struct remote_request mine = *request;

	(void)snprintf(image->doing, sizeof(image->doing), "%s %.400s%s", doing,
		image->store->spec.place, web_suffix(what));
	image->now = what;
	mine.path = web_suffix(what);
	mine.doing = image->doing;
	remote_send(&image->call, &image->store->remote, &mine, then, image);
}

void web_look(struct web_image *image, enum web_what what, const char *doing, remote_then_fn *then)
{
	static const struct remote_request head = {.method = "HEAD", .expect = {200, 204}};

	web_send(image, what, &head, doing, then);
}

bool web_is_nothing(const struct qmpsnap_error *err)
{
	return answer_said(err, 404, 404) || answer_said(err, 410, 410);
}

/* ---- create ------------------------------------------------------------------------------- */

/* A server that never says whether something is there may still take what is put there; one that
 * can't say it now is no such server.  A login may be good for the image alone. */
static bool tells_nothing(const struct web_image *image, const struct qmpsnap_error *err)
{
	return answer_said(err, 300, 599) &&
	       (image->now == WEB_JSON || !answer_said(err, 401, 401)) &&
	       (image->store->spec.force || !answer_is_passing(err));
}

static void looked(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct web_image *image = data;
	const struct web_spec *spec = &image->store->spec;

	(void)reply;
	image->at[image->now].ours = web_is_nothing(err);
	image->at[image->now].before = !err                  ? WEB_SOMETHING
				       : web_is_nothing(err) ? WEB_NOTHING
							     : WEB_UNTOLD;
	if (!err && !spec->force) {
		error_set(&image->err, QMPSNAP_STORE, "there is something at %.300s%s already",
			spec->place, web_suffix(image->now));
		error_hint(&image->err, "--force replaces it%s",
			image->now == WEB_JSON ? "; #no-json behind the URL leaves it alone" : "");
		web_finish(&image->err, image);
	} else if (err && (image->call.stopped || !tells_nothing(image, err))) {
		web_finish(err, image);
	} else if (image->now == WEB_DATA && (spec->force ? spec->json_place : !spec->no_json)) {
		web_look(image, WEB_JSON, "looking at", looked);
	} else {
		web_finish(NULL, image);
	}
}

static struct store_image *create(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct web_store *store = (struct web_store *)base;
	struct web_image *image = calloc(1, sizeof(*image));

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
	image->stoppable = true;
	(void)snprintf(image->base.location, sizeof(image->base.location), "%s", store->spec.place);
	web_look(image, WEB_DATA, "looking at", looked);
	return &image->base;
}

/* ---- put ---------------------------------------------------------------------------------- */

static void confirmed(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct web_image *image = data;
	const char *length = !err && reply ? http_header(reply, "Content-Length") : NULL;
	const uint64_t size = image->stream->size_bytes;

	if (image->call.stopped) {
		web_finish(err, image);
	} else if (length && strtoull(length, NULL, 10) != size) {
		error_set(&image->err, QMPSNAP_STORE,
			"%s: the server has %.20s bytes, sent were %" PRIu64, image->doing, length,
			size);
		web_finish(&image->err, image);
	} else {
		if (err)
			log_line(QMPSNAP_LOG_INFO, "%s", err->message);
		image->base.size_bytes = size;
		image->at[WEB_DATA].ours = true;
		web_finish(NULL, image);
	}
}

static void stored(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct web_image *image = data;
	struct store_image *base = &image->base;

	(void)reply;
	if (err) {
		/* Refused: nothing was stored, and what may have been there is still. */
		if (answer_said(err, 300, 499) && !image->call.doubtful)
			image->at[WEB_DATA].maybe_there = false;
		web_finish(err, image);
		return;
	}
	image->at[WEB_DATA].maybe_there = true;
	(void)snprintf(base->digest_algorithm, sizeof(base->digest_algorithm), "sha256");
	(void)snprintf(base->digest, sizeof(base->digest), "%s", image->call.digest);
	web_look(image, WEB_DATA, "verifying", confirmed);
}

static void on_progress(uint64_t done_bytes, void *data)
{
	struct web_image *image = data;

	image->at[WEB_DATA].maybe_there = true;
	image->progress(done_bytes, image->data);
}

static void put_data(struct web_image *image)
{
	const struct remote_request request = {.method = "PUT",
		.headers = {"Content-Type: application/octet-stream"},
		.stream = image->stream,
		.digest = "sha256",
		.progress = on_progress,
		.quiet_ms = QUIET_MS,
		.expect = {200, 201, 202, 204}};

	/* Else with its first byte. */
	image->at[WEB_DATA].maybe_there = image->stream->size_bytes == 0;
	web_send(image, WEB_DATA, &request, "uploading to", stored);
}

static void old_json_deleted(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct web_image *image = data;

	(void)reply;
	if (image->call.stopped) {
		web_finish(err, image);
		return;
	}
	if (err)
		log_line(QMPSNAP_LOG_WARNING, "%s; it tells of the image that is replaced",
			err->message);
	else
		image->at[WEB_JSON].ours = true; /* what will be there */
	put_data(image);
}

static void put(struct store_image *base, struct stream *stream,
	const struct store_instant *instant, store_progress_fn *progress, store_done_fn *done,
	void *data)
{
	struct web_image *image = web_image(base);
	const struct remote_request delete = {
		.method = "DELETE", .expect = {204, 200, 202, 404, 410}};

	json_put_string(image->record, "qmpsnap_instant", instant->time);
	json_put_string(image->record, "qmpsnap_consistency", instant->consistency);
	image->stream = stream;
	image->progress = progress;
	image->done = done;
	image->data = data;
	image->stoppable = true;
	image->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	if (image->at[WEB_JSON].before == WEB_SOMETHING)
		web_send(image, WEB_JSON, &delete, "deleting the old", old_json_deleted);
	else
		put_data(image);
}

static void stop(struct store_image *base)
{
	if (web_image(base)->stoppable)
		remote_cancel(&web_image(base)->call);
}

/* ---- publish ------------------------------------------------------------------------------ */

/* Without its JSON an image is still one.  Where it isn't known to have replaced nothing, the one
 * before may be gone for it. */
static void end_publish(const struct qmpsnap_error *err, void *self)
{
	struct web_image *image = self;
	const bool refused = answer_said(err, 300, 599) && !answer_is_passing(err);

	if (err && !image->call.stopped && (refused || image->at[WEB_DATA].before != WEB_NOTHING)) {
		log_line(QMPSNAP_LOG_WARNING, "%s; the image is there and whole, %s its JSON",
			err->message, refused ? "without" : "perhaps without");
		err = NULL;
	}
	web_finish(err, image);
}

static void published(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct web_image *image = data;

	(void)reply;
	if (!err)
		image->at[WEB_JSON].ours = true;
	else if (answer_said(err, 300, 499) && !image->call.doubtful)
		image->at[WEB_JSON].maybe_there = false;
	end_publish(err, image);
}

static void publish(struct store_image *base, store_done_fn *done, void *data)
{
	struct web_image *image = web_image(base);
	const struct web_spec *spec = &image->store->spec;
	struct remote_request request = {.method = "PUT",
		.headers = {"Content-Type: application/json"},
		.expect = {200, 201, 202, 204}};

	image->done = done;
	image->data = data;
	image->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	if (spec->no_json) {
		log_line(QMPSNAP_LOG_INFO, "no JSON goes beside %.300s: %s", spec->place,
			spec->no_json);
		work_report(&image->later, image->store->remote.loop, NULL, web_finish, image);
		return;
	}
	record_complete(image->record, base, image->virtual_size_bytes);
	if (!(request.body = record_text(image->record))) {
		error_no_memory(&image->err);
		work_report(
			&image->later, image->store->remote.loop, &image->err, end_publish, image);
		return;
	}
	image->stoppable = true;
	image->at[WEB_JSON].maybe_there = true;
	web_send(image, WEB_JSON, &request, "publishing", published);
}

static void close_image(struct store_image *base)
{
	(void)json_object_put(web_image(base)->record);
	free(web_image(base));
}

/* ---- The store ---------------------------------------------------------------------------- */

const struct store_ops web_ops = {
	.kind = "http",
	.max_images = 1,
	.create = create,
	.put = put,
	.stop = stop,
	.publish = publish,
	.discard = web_discard,
	.close = close_image,
	.discard_left = web_discard_left,
	.free = web_free,
};
