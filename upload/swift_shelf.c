/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands in a container: names as plain text, a line each. */
#include "upload/object_shelf.h"
#include "upload/swift.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void root(const struct remote *remote, char *text, size_t size)
{
	(void)snprintf(text, size, "swift:%s/", ((const struct swift_store *)remote)->container);
}

static const char *prefix(const struct remote *remote)
{
	(void)remote;
	return "";
}

static void object(const struct remote *remote, const char *name, char *path)
{
	swift_path(path, ((const struct swift_store *)remote)->path, name);
}

static void list_path(
	const struct remote *remote, const char *begins, const char *after, char *path)
{
	char after_url[2 * OBJECT_URL_BYTES];

	(void)begins; /* there is no prefix */
	object_encode(after_url, sizeof(after_url), after, false);
	(void)snprintf(path, OBJECT_SHELF_PATH_BYTES, "%s?limit=%d&marker=%s",
		((const struct swift_store *)remote)->path, OBJECT_SHELF_PAGE, after_url);
}

/* No name of ours has a newline in it; others' come out as two that mean nothing. */
static bool names(const struct http_reply *reply, object_name_fn *fn, void *data)
{
	char *copy = strdup(reply->body), *rest = copy, *name;

	if (!copy)
		return false;
	while ((name = strsep(&rest, "\n"))) {
		if (name[0])
			fn(name, data);
	}
	free(copy);
	return true;
}

static const struct object_shelf_kind kind = {
	.ops = &swift_shelf,
	.root = root,
	.prefix = prefix,
	.object = object,
	.list = list_path,
	.names = names,
};

static struct shelf_call *list(struct qmpsnap_store *store, const struct shelf_filter *filter,
	shelf_listed_fn *done, void *data, struct qmpsnap_error *err)
{
	(void)filter;
	return object_shelf_list(&kind, store, done, data, err);
}

static struct shelf_call *fetch(struct qmpsnap_store *store, struct json_object *record,
	struct shelf_sink *sink, store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	return object_shelf_fetch(&kind, store, record, sink, done, data, err);
}

static struct shelf_call *remove_image(struct qmpsnap_store *store, struct json_object *record,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	return object_shelf_remove(&kind, store, record, done, data, err);
}

const struct shelf_ops swift_shelf = {
	.list = list,
	.fetch = fetch,
	.remove = remove_image,
	.resume = object_shelf_resume,
	.stop = object_shelf_stop,
};
