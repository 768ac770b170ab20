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

const struct object_shelf_kind swift_shelf = {
	.ops = OBJECT_SHELF_OPS,
	.root = root,
	.prefix = prefix,
	.object = object,
	.list = list_path,
	.names = names,
};
