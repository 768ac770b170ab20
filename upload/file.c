/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "upload/local.h"
#include "upload/stores.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct file_store {
	struct qmpsnap_store base;
	uv_loop_t *loop;
	struct local_names names; /* without an image's id */
};

static void names_of(const struct file_store *store, const struct store_image_spec *spec,
	struct local_names *names)
{
	*names = store->names;
	(void)snprintf(names->id, sizeof(names->id), "%s", spec->id);
	(void)snprintf(names->file_temp, sizeof(names->file_temp), ".qmpsnap-%s.part", names->id);
}

static struct store_check *check(struct qmpsnap_store *base, const struct store_need *need,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	const struct file_store *store = (const struct file_store *)base;

	return local_check_start(store->loop, &store->names, need, done, data, err);
}

static struct store_image *create(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	const struct file_store *store = (const struct file_store *)base;
	struct local_names names;

	names_of(store, spec, &names);
	return local_create(base->ops, store->loop, spec, &names, done, data, err);
}

static void discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data)
{
	const struct file_store *store = (const struct file_store *)base;
	struct local_names names;

	names_of(store, spec, &names);
	local_discard_left(store->loop, &names, done, data);
}

static void free_store(struct qmpsnap_store *base)
{
	free(base);
}

static const struct store_ops file_ops = {
	.kind = "file",
	.max_images = 1,
	.check = check,
	.create = create,
	.put = local_put,
	.stop = local_stop,
	.publish = local_publish,
	.discard = local_discard,
	.close = local_close,
	.discard_left = discard_left,
	.free = free_store,
};

/* Cuts `path` into folder and file name. */
static bool split(const char *path, struct local_names *names)
{
	const char *slash = strrchr(path, '/');
	const char *file = slash ? slash + 1 : path;
	const size_t folder_len = slash ? (size_t)(slash - path) : 0;

	if (file[0] == '\0' || strcmp(file, ".") == 0 || strcmp(file, "..") == 0 ||
		strlen(file) >= sizeof(names->file) || folder_len >= sizeof(names->folder))
		return false;
	(void)snprintf(names->file, sizeof(names->file), "%s", file);
	(void)snprintf(names->folder, sizeof(names->folder), "%.*s", (int)folder_len, path);
	if (folder_len == 0)
		(void)snprintf(names->folder, sizeof(names->folder), slash ? "/" : ".");
	return true;
}

struct qmpsnap_store *file_open(uv_loop_t *loop, const char *where,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	struct file_store *store = calloc(1, sizeof(*store));

	if (!store) {
		error_no_memory(err);
		return NULL;
	}
	if (!split(where, &store->names)) {
		error_set(err, QMPSNAP_USAGE, "file: takes the path of a file");
		free(store);
		return NULL;
	}
	store->base.ops = &file_ops;
	store->loop = loop;
	store->names.foreign = true;
	store->names.replace = options->force;
	store->names.direct = !options->buffered_writes;
	return &store->base;
}
