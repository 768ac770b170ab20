/* SPDX-License-Identifier: Apache-2.0
 *
 * The stores http: and https: - one image by PUT, for servers that know no more. */
#include "upload/web.h"
#include "base/error.h"
#include "base/log.h"
#include "upload/answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUIET_MS = 10 * 60 * 1000 /* it may store the image before it answers */ };

struct web_image {
	struct store_image base;
	struct web_store *store;
	char doing[512];
	bool ours; /* what is at the URL: there was nothing before, or this has replaced it */
	bool maybe_there; /* some bytes of it may be at the URL */
	bool stoppable;
	struct stream *stream;
	store_done_fn *done;
	store_progress_fn *progress;
	void *data;
	struct remote_call call;
	struct work later;
	struct qmpsnap_error err;
};

static struct web_image *web_image(struct store_image *image)
{
	return (struct web_image *)image;
}

static void finish(const struct qmpsnap_error *err, void *self)
{
	struct web_image *image = self;

	image->stoppable = false;
	image->done(err, image->data);
}

static void send_request(struct web_image *image, const struct remote_request *what,
	const char *doing, remote_then_fn *then)
{
	struct remote_request request = *what;

	(void)snprintf(
		image->doing, sizeof(image->doing), "%s %.400s", doing, image->store->spec.place);
	request.path = "";
	request.doing = image->doing;
	remote_send(&image->call, &image->store->remote, &request, then, image);
}

static const struct remote_request head = {.method = "HEAD", .expect = {200, 204}};

/* ---- create ------------------------------------------------------------------------------- */

/* Whether `err` is the answer that nothing is there. */
static bool is_nothing(const struct qmpsnap_error *err)
{
	return answer_said(err, 404, 404) || answer_said(err, 410, 410);
}

/* A server that never says whether something is there may still take what is put there; one that
 * can't say it now is no such server. */
static bool tells_nothing(const struct web_image *image, const struct qmpsnap_error *err)
{
	return answer_said(err, 300, 599) && !answer_said(err, 401, 401) &&
	       (image->store->spec.force || !answer_is_passing(err));
}

static void looked(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct web_image *image = data;

	(void)reply;
	image->ours = is_nothing(err);
	if (!err && !image->store->spec.force) {
		error_set(&image->err, QMPSNAP_STORE, "there is something at %.300s already",
			image->store->spec.place);
		error_hint(&image->err, "--force replaces it");
		finish(&image->err, image);
	} else {
		finish(tells_nothing(image, err) ? NULL : err, image);
	}
}

static struct store_image *create(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct web_store *store = (struct web_store *)base;
	struct web_image *image = calloc(1, sizeof(*image));

	(void)spec;
	if (!image) {
		error_no_memory(err);
		return NULL;
	}
	image->base.ops = base->ops;
	image->store = store;
	image->done = done;
	image->data = data;
	image->stoppable = true;
	(void)snprintf(image->base.location, sizeof(image->base.location), "%s", store->spec.place);
	send_request(image, &head, "looking at", looked);
	return &image->base;
}

/* ---- put ---------------------------------------------------------------------------------- */

static void confirmed(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct web_image *image = data;
	const char *length = !err && reply ? http_header(reply, "Content-Length") : NULL;
	const uint64_t size = image->stream->size_bytes;

	if (image->call.stopped) {
		finish(err, image);
	} else if (length && strtoull(length, NULL, 10) != size) {
		error_set(&image->err, QMPSNAP_STORE,
			"%s: the server has %.20s bytes, sent were %" PRIu64, image->doing, length,
			size);
		finish(&image->err, image);
	} else {
		if (err)
			log_line(QMPSNAP_LOG_INFO, "%s", err->message);
		image->base.size_bytes = size;
		image->ours = true;
		finish(NULL, image);
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
			image->maybe_there = false;
		finish(err, image);
		return;
	}
	image->maybe_there = true;
	(void)snprintf(base->digest_algorithm, sizeof(base->digest_algorithm), "sha256");
	(void)snprintf(base->digest, sizeof(base->digest), "%s", image->call.digest);
	send_request(image, &head, "verifying", confirmed);
}

static void on_progress(uint64_t done_bytes, void *data)
{
	struct web_image *image = data;

	image->maybe_there = true;
	image->progress(done_bytes, image->data);
}

static void put(struct store_image *base, struct stream *stream,
	const struct store_instant *instant, store_progress_fn *progress, store_done_fn *done,
	void *data)
{
	struct web_image *image = web_image(base);
	const struct remote_request request = {.method = "PUT",
		.headers = {"Content-Type: application/octet-stream"},
		.stream = stream,
		.digest = "sha256",
		.progress = on_progress,
		.quiet_ms = QUIET_MS,
		.expect = {200, 201, 202, 204}};

	(void)instant;
	image->stream = stream;
	image->progress = progress;
	image->done = done;
	image->data = data;
	image->stoppable = true;
	image->maybe_there = stream->size_bytes == 0; /* else with its first byte */
	image->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	send_request(image, &request, "uploading to", stored);
}

static void stop(struct store_image *base)
{
	if (web_image(base)->stoppable)
		remote_cancel(&web_image(base)->call);
}

static void publish(struct store_image *base, store_done_fn *done, void *data)
{
	struct web_image *image = web_image(base);

	image->done = done;
	image->data = data;
	work_report(&image->later, image->store->remote.loop, NULL, finish, image);
}

/* ---- discard ------------------------------------------------------------------------------ */

static void deleted(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct web_image *image = data;
	const struct web_spec *spec = &image->store->spec;
	struct qmpsnap_error mine;

	(void)reply;
	if (answer_said(err, 405, 405) || answer_said(err, 501, 501)) {
		log_line(QMPSNAP_LOG_WARNING, "%s; a part of the image may be there", err->message);
		err = NULL;
	}
	if (!err) {
		image->maybe_there = false;
	} else {
		mine = *err;
		if (spec->force) /* `recover` can't know whose it is */
			error_hint(&mine, "delete what is left at %.180s by hand", spec->place);
		else
			answer_hint_left(&mine);
		err = &mine;
	}
	finish(err, image);
}

static void delete_it(struct web_image *image)
{
	const struct remote_request request = {
		.method = "DELETE", .undo = true, .expect = {204, 200, 202, 404, 410}};

	send_request(image, &request, "deleting", deleted);
}

static void leave_alone(const struct web_store *store, const char *why)
{
	log_line(QMPSNAP_LOG_WARNING,
		"what is at %.300s is left alone: %s; delete it by hand if it isn't whole",
		store->spec.place, why);
}

static void discard(struct store_image *base, store_done_fn *done, void *data)
{
	struct web_image *image = web_image(base);

	image->done = done;
	image->data = data;
	if (image->maybe_there && image->ours) {
		delete_it(image);
		return;
	}
	if (image->maybe_there)
		leave_alone(image->store, "it may be what was there before");
	work_report(&image->later, image->store->remote.loop, NULL, finish, image);
}

static void close_image(struct store_image *base)
{
	free(web_image(base));
}

/* ---- discard_left ------------------------------------------------------------------------- */

struct leftover {
	struct web_image image;
	store_done_fn *done;
	void *data;
};

static void leftover_done(const struct qmpsnap_error *err, void *data)
{
	struct leftover *left = data;

	left->done(err, left->data);
	free(left);
}

/* What stands at the URL is the dead run's, since that would not have begun had there been
 * something before; but with --force, or where the server doesn't tell, it may be anybody's. */
static void leftover_looked(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct web_image *image = data;

	(void)reply;
	if (!err && !image->store->spec.force) {
		delete_it(image);
	} else if (is_nothing(err)) {
		finish(NULL, image);
	} else if (!err || answer_said(err, 100, 599)) {
		leave_alone(image->store, "nobody can tell whose it is");
		finish(NULL, image);
	} else {
		finish(err, image);
	}
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
	left->image.store = (struct web_store *)base;
	left->image.done = leftover_done;
	left->image.data = left;
	const struct web_store *store = left->image.store;
	if (spec->unsent || store->spec.lost) {
		/* Unsent: what is there may be why. */
		if (!spec->unsent) {
			char why[80];
			(void)snprintf(why, sizeof(why),
				"its %s, which wasn't written down, may be needed",
				store->spec.lost);
			leave_alone(store, why);
		}
		work_report(&left->image.later, store->remote.loop, NULL, finish, &left->image);
	} else {
		send_request(&left->image, &head, "looking at", leftover_looked);
	}
}

/* ---- The store ---------------------------------------------------------------------------- */

const struct store_ops web_ops = {
	.kind = "http",
	.max_images = 1,
	.create = create,
	.put = put,
	.stop = stop,
	.publish = publish,
	.discard = discard,
	.close = close_image,
	.discard_left = discard_left,
	.free = web_free,
};
