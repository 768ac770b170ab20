/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands in a bucket: names by ListObjectsV2. */
#include "upload/object_shelf.h"
#include "upload/s3.h"
#include "upload/xml.h"

#include <stdio.h>
#include <string.h>

static void root(const struct remote *remote, char *text, size_t size)
{
	(void)snprintf(text, size, "s3://%s/", ((const struct s3_store *)remote)->bucket);
}

static const char *prefix(const struct remote *remote)
{
	return ((const struct s3_store *)remote)->prefix;
}

static void object(const struct remote *remote, const char *name, char *path)
{
	(void)remote;
	object_path(path, name);
}

/* The query in the order of its keys, as signatures have it. */
static void list_path(
	const struct remote *remote, const char *begins, const char *after, char *path)
{
	char begin_url[OBJECT_URL_BYTES], after_url[2 * OBJECT_URL_BYTES];

	(void)remote;
	object_encode(begin_url, sizeof(begin_url), begins, false);
	object_encode(after_url, sizeof(after_url), after, false);
	(void)snprintf(path, OBJECT_SHELF_PATH_BYTES, "/?list-type=2&max-keys=%d&prefix=%s%s%s",
		OBJECT_SHELF_PAGE, begin_url, after[0] ? "&start-after=" : "", after_url);
}

struct listing {
	object_name_fn *fn;
	void *data;
};

static void on_text(const char *path, const char *text, void *data)
{
	const struct listing *listing = data;

	if (strcmp(path, "ListBucketResult/Contents/Key") == 0)
		listing->fn(text, listing->data);
}

static bool names(const struct http_reply *reply, object_name_fn *fn, void *data)
{
	struct listing listing = {fn, data};

	return xml_each(reply->body, reply->body_len, on_text, &listing);
}

const struct object_shelf_kind s3_shelf = {
	.ops = OBJECT_SHELF_OPS,
	.root = root,
	.prefix = prefix,
	.object = object,
	.list = list_path,
	.names = names,
};
