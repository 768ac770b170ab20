/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/answer.h"
#include "upload/swift.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 1000 };

static void delete_next_segment(struct swift_removal *removal);

static struct swift_store *store_of(const struct swift_removal *removal)
{
	return (struct swift_store *)removal->base.remote;
}

static void end(struct swift_removal *removal)
{
	free(removal->list);
	removal->list = removal->rest = NULL;
	object_removal_end(&removal->base);
}

static void delete_object(struct swift_removal *removal, const char *container_path,
	const char *name, remote_then_fn *then)
{
	swift_path(removal->path, container_path, name);
	object_removal_delete(&removal->base, removal->path, then);
}

/* ---- Segments ----------------------------------------------------------------------------- */

static void listed(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_removal *removal = data;
	const bool any = !err && reply->status == 200 && reply->body_len > 0;

	object_removal_note(&removal->base, err);
	free(removal->list);
	removal->list = any ? strdup(reply->body) : NULL;
	removal->rest = removal->list;
	if (any && !removal->list)
		object_removal_fail(&removal->base, "no memory");
	if (removal->list &&
		object_removal_again(&removal->base, "there are segments that can't be deleted"))
		delete_next_segment(removal);
	else
		end(removal);
}

static void list_segments(struct swift_removal *removal)
{
	char prefix[OBJECT_URL_BYTES];
	const struct remote_request request = {.method = "GET",
		.path = removal->path,
		.headers = {"Accept: text/plain"},
		.undo = true,
		.doing = removal->base.doing,
		.expect = {200, 204, 404}};
	struct remote *remote = removal->base.remote;

	object_encode(prefix, sizeof(prefix), removal->base.names.data, false);
	(void)snprintf(removal->path, sizeof(removal->path), "%s?limit=%d&prefix=%s%%2F",
		store_of(removal)->segments_path, PAGE, prefix);
	remote_send(&removal->base.call, remote, &request, listed, removal);
}

static void segment_deleted(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_removal *removal = data;

	(void)reply;
	object_removal_note(&removal->base, err);
	if (err)
		end(removal);
	else
		delete_next_segment(removal);
}

static void delete_next_segment(struct swift_removal *removal)
{
	const char *name = removal->rest ? strsep(&removal->rest, "\n") : NULL;

	if (name && name[0])
		delete_object(removal, store_of(removal)->segments_path, name, segment_deleted);
	else
		list_segments(removal); /* there may be more of them than a page */
}

/* ---- Objects ------------------------------------------------------------------------------ */

static void data_deleted(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_removal *removal = data;

	(void)reply;
	object_removal_note(&removal->base, err);
	list_segments(removal);
}

static void json_deleted(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_removal *removal = data;

	(void)reply;
	object_removal_note(&removal->base, err);
	/* A service that can't be reached isn't asked for each of them. */
	if (answer_unreached(err))
		end(removal);
	else
		delete_object(
			removal, store_of(removal)->path, removal->base.names.data, data_deleted);
}

static void prepare(struct swift_removal *removal, struct swift_store *store,
	const struct object_names *names, store_done_fn *done, void *data)
{
	*removal = (struct swift_removal){
		.base = {.remote = &store->remote, .names = *names, .done = done, .data = data}};
	(void)snprintf(removal->base.doing, sizeof(removal->base.doing),
		"deleting swift:%.100s/%.200s", store->container, names->data);
}

/* First: without it there is no image. */
static void begin(struct swift_removal *removal)
{
	delete_object(removal, store_of(removal)->path, removal->base.names.json, json_deleted);
}

void swift_remove(struct swift_removal *removal, struct swift_store *store,
	const struct object_names *names, store_done_fn *done, void *data)
{
	prepare(removal, store, names, done, data);
	begin(removal);
}

/* ---- discard_left ------------------------------------------------------------------------- */

static void container_looked(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_removal *left = data;

	(void)reply;
	if (answer_said(err, 404, 404) || answer_unreached(err))
		object_removal_note(&left->base, err);
	if (answer_unreached(err))
		end(left);
	else
		begin(left);
}

/* An object that isn't there was deleted; but where bytes were sent, there was a container. */
static void look_for_container(struct swift_removal *left)
{
	const struct remote_request request = {.method = "HEAD",
		.path = store_of(left)->path,
		.undo = true,
		.doing = left->base.doing,
		.expect = {204, 200}};

	remote_send(&left->base.call, left->base.remote, &request, container_looked, left);
}

void swift_discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data)
{
	struct swift_removal *left = object_removal_new(sizeof(*left), done, data);
	struct object_names names;

	if (!left)
		return;
	object_names(&names, "", spec);
	prepare(left, (struct swift_store *)base, &names, done, data);
	left->base.alone = true;
	if (spec->unsent)
		begin(left);
	else
		look_for_container(left);
}
