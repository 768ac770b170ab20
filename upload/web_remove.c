/* SPDX-License-Identifier: Apache-2.0
 *
 * The stores http: and https: - deleting what an image has left at its URL. */
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/shelf.h"
#include "upload/answer.h"
#include "upload/web.h"

#include <stdio.h>
#include <stdlib.h>

static void remove_from(struct web_image *image, enum web_what what);

static void leave_alone(const struct web_store *store, enum web_what what, const char *why)
{
	log_line(QMPSNAP_LOG_WARNING,
		"what is at %.300s%s is left alone: %s; delete it by hand if it isn't whole",
		store->spec.place, web_suffix(what), why);
}

static void deleted(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct web_image *image = data;
	const struct web_spec *spec = &image->store->spec;

	(void)reply;
	if (answer_said(err, 405, 405) || answer_said(err, 501, 501)) {
		log_line(QMPSNAP_LOG_WARNING, "%s; a part of the image may be there", err->message);
		err = NULL;
	}
	if (!err) {
		image->at[image->now].maybe_there = false;
	} else if (image->err.code == QMPSNAP_OK) {
		image->err = *err;
		if (spec->force) /* `recover` can't know whose it is */
			error_hint(
				&image->err, "delete what is left at %.180s by hand", spec->place);
		else
			answer_hint_left(&image->err);
	}
	remove_from(image, image->now + 1);
}

/* Ends with the first error, having tried all. */
static void remove_from(struct web_image *image, enum web_what what)
{
	const struct remote_request request = {
		.method = "DELETE", .undo = true, .expect = {204, 200, 202, 404, 410}};

	for (; what < WEB_ALL; what++) {
		if (image->at[what].maybe_there && image->at[what].ours) {
			web_send(image, what, &request, "deleting", deleted);
			return;
		}
		if (image->at[what].maybe_there)
			leave_alone(image->store, what, "it may be what was there before");
	}
	work_report(&image->later, image->store->remote.loop,
		image->err.code == QMPSNAP_OK ? NULL : &image->err, web_finish, image);
}

void web_discard(struct store_image *base, store_done_fn *done, void *data)
{
	struct web_image *image = (struct web_image *)base;

	image->done = done;
	image->data = data;
	image->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	remove_from(image, WEB_JSON);
}

/* ---- discard_left ------------------------------------------------------------------------- */

struct leftover {
	struct web_image image;
	char id[37];
	store_done_fn *done;
	void *data;
};

static void leftover_done(const struct qmpsnap_error *err, void *data)
{
	struct leftover *left = data;

	left->done(err, left->data);
	free(left);
}

static const char untold[] = "nobody can tell whose it is";

/* The data at the URL is the dead run's, since that would not have begun had there been something
 * before; but with --force, or where the server doesn't tell, it may be anybody's. */
static void leftover_looked(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct web_image *image = data;

	(void)reply;
	if (err && !answer_said(err, 100, 599)) {
		web_finish(err, image);
		return;
	}
	if (!err && !image->store->spec.force)
		image->at[WEB_DATA].maybe_there = image->at[WEB_DATA].ours = true;
	else if (!web_is_nothing(err))
		leave_alone(image->store, WEB_DATA, untold);
	remove_from(image, WEB_JSON);
}

/* A run begins also where the server doesn't tell whether there is a JSON (a login that isn't good
 * for it), so that goes by what is in it.  One of another image says whose the data is, too. */
static void leftover_read(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct leftover *left = data;
	struct web_image *image = &left->image;

	if (err && !answer_said(err, 100, 599) && !answer_is_too_long(err)) {
		web_finish(err, image);
		return;
	}
	struct json_object *json = err || image->store->spec.force ? NULL : answer_json(reply);
	const bool named = json_string(json, "id"), ours = shelf_says(json, "id", left->id);
	(void)json_object_put(json);
	if (named && !ours) {
		leave_alone(image->store, WEB_JSON, "it is another image's");
		leave_alone(image->store, WEB_DATA, "its JSON is another image's");
		web_finish(NULL, image);
		return;
	}
	image->at[WEB_JSON].maybe_there = image->at[WEB_JSON].ours = ours;
	if (!ours && !web_is_nothing(err))
		leave_alone(image->store, WEB_JSON, untold);
	web_look(image, WEB_DATA, "looking at", leftover_looked);
}

void web_discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data)
{
	static const struct remote_request get = {.method = "GET", .expect = {200}};
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
	(void)snprintf(left->id, sizeof(left->id), "%s", spec->id);
	const struct web_store *store = left->image.store;
	if (spec->unsent || store->spec.lost) {
		/* Unsent: what is there may be why. */
		if (!spec->unsent) {
			char why[80];
			(void)snprintf(why, sizeof(why),
				"its %s, which wasn't written down, may be needed",
				store->spec.lost);
			leave_alone(store, WEB_DATA, why);
		}
		work_report(&left->image.later, store->remote.loop, NULL, web_finish, &left->image);
	} else if (store->spec.no_json) {
		web_look(&left->image, WEB_DATA, "looking at", leftover_looked);
	} else {
		web_send(&left->image, WEB_JSON, &get, "reading", leftover_read);
	}
}
