/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "upload/answer.h"
#include "upload/swift.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 1000, ROUNDS = 50 };

static void delete_next_segment(struct swift_removal *removal);

static void note(struct swift_removal *removal, const struct qmpsnap_error *err)
{
	if (err && removal->err.code == QMPSNAP_OK)
		removal->err = *err;
}

static void finish(struct swift_removal *removal)
{
	free(removal->list);
	removal->list = removal->rest = NULL;
	removal->done(removal->err.code == QMPSNAP_OK ? NULL : &removal->err, removal->data);
}

/* Whatever isn't there is deleted. */
static void delete_object(struct swift_removal *removal, const char *container_path,
	const char *name, remote_then_fn *then)
{
	const struct remote_request request = {.method = "DELETE",
		.path = removal->path,
		.undo = true,
		.doing = removal->doing,
		.expect = {204, 200, 404}};
	struct swift_store *store = removal->store;

	swift_path(removal->path, container_path, name);
	remote_send(&removal->call, &store->remote, &request, then, removal);
}

/* ---- Segments ----------------------------------------------------------------------------- */

static void listed(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_removal *removal = data;
	const bool any = !err && reply->status == 200 && reply->body_len > 0;
	struct qmpsnap_error wrong;

	note(removal, err);
	free(removal->list);
	removal->list = any ? strdup(reply->body) : NULL;
	removal->rest = removal->list;
	if (!any) {
		finish(removal);
	} else if (!removal->list) {
		error_no_memory(&wrong);
		note(removal, &wrong);
		finish(removal);
	} else if (++removal->rounds > ROUNDS) {
		error_set(&wrong, QMPSNAP_STORE, "%s: there are segments that can't be deleted",
			removal->doing);
		note(removal, &wrong);
		finish(removal);
	} else {
		delete_next_segment(removal);
	}
}

static void list_segments(struct swift_removal *removal)
{
	char prefix[OBJECT_URL_BYTES];
	const struct remote_request request = {.method = "GET",
		.path = removal->path,
		.headers = {"Accept: text/plain"},
		.undo = true,
		.doing = removal->doing,
		.expect = {200, 204, 404}};
	struct swift_store *store = removal->store;

	object_encode(prefix, sizeof(prefix), removal->names.data, false);
	(void)snprintf(removal->path, sizeof(removal->path), "%s?limit=%d&prefix=%s%%2F",
		store->segments_path, PAGE, prefix);
	remote_send(&removal->call, &store->remote, &request, listed, removal);
}

static void segment_deleted(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_removal *removal = data;

	(void)reply;
	note(removal, err);
	if (err)
		finish(removal);
	else
		delete_next_segment(removal);
}

static void delete_next_segment(struct swift_removal *removal)
{
	const char *name = removal->rest ? strsep(&removal->rest, "\n") : NULL;

	if (name && name[0])
		delete_object(removal, removal->store->segments_path, name, segment_deleted);
	else
		list_segments(removal); /* there may be more of them than a page */
}

/* ---- Objects ------------------------------------------------------------------------------ */

static void data_deleted(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_removal *removal = data;

	(void)reply;
	note(removal, err);
	list_segments(removal);
}

static void json_deleted(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_removal *removal = data;

	(void)reply;
	note(removal, err);
	/* A service that can't be reached isn't asked for each of them. */
	if (answer_unreached(err))
		finish(removal);
	else
		delete_object(removal, removal->store->path, removal->names.data, data_deleted);
}

void swift_remove(struct swift_removal *removal, struct swift_store *store,
	const struct object_names *names, store_done_fn *done, void *data)
{
	*removal =
		(struct swift_removal){.store = store, .names = *names, .done = done, .data = data};
	(void)snprintf(removal->doing, sizeof(removal->doing), "deleting swift:%.100s/%.200s",
		store->container, names->data);
	/* First: without it there is no image. */
	delete_object(removal, store->path, names->json, json_deleted);
}

/* ---- discard_left ------------------------------------------------------------------------- */

struct leftover {
	struct swift_removal removal;
	store_done_fn *done;
	void *data;
};

static void removed(const struct qmpsnap_error *err, void *data)
{
	struct leftover *left = data;

	left->done(err, left->data);
	free(left);
}

void swift_discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data)
{
	struct leftover *left = calloc(1, sizeof(*left));
	struct object_names names;

	/* There is no way to report it later without memory; nothing was deleted. */
	if (!left) {
		struct qmpsnap_error err;
		error_no_memory(&err);
		done(&err, data);
		return;
	}
	left->done = done;
	left->data = data;
	object_names(&names, "", spec);
	swift_remove(&left->removal, (struct swift_store *)base, &names, removed, left);
}
