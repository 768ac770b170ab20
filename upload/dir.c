/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/dir.h"
#include "base/error.h"
#include "base/names.h"
#include "upload/local.h"
#include "upload/record.h"
#include "upload/stores.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void names_of(const struct dir_store *store, const struct store_image_spec *spec,
	struct local_names *names)
{
	char stem[NAME_FILE_BYTES];

	*names = (struct local_names){.make_folder = true, .direct = store->direct};
	name_for_file(stem, spec->name);
	(void)snprintf(names->folder, sizeof(names->folder), "%s", store->folder);
	(void)snprintf(names->id, sizeof(names->id), "%s", spec->id);
	(void)snprintf(names->file, sizeof(names->file), "%s-%s.%s", stem, names->id,
		name_format(spec->format));
	(void)snprintf(names->file_temp, sizeof(names->file_temp), ".%s-%s.part", stem, names->id);
	(void)snprintf(names->json, sizeof(names->json), "%s-%s.json", stem, names->id);
	(void)snprintf(
		names->json_temp, sizeof(names->json_temp), ".%s-%s.json.part", stem, names->id);
}

static struct store_check *check(struct qmpsnap_store *base, const struct store_need *need,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	const struct dir_store *store = (const struct dir_store *)base;
	struct local_names names = {.make_folder = true};

	(void)snprintf(names.folder, sizeof(names.folder), "%s", store->folder);
	return local_check_start(store->loop, &names, need, done, data, err);
}

static struct store_image *create(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	const struct dir_store *store = (const struct dir_store *)base;
	struct local_names names;

	names_of(store, spec, &names);
	return local_create(base->ops, store->loop, spec, &names, done, data, err);
}

static void discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data)
{
	const struct dir_store *store = (const struct dir_store *)base;
	struct local_names names;

	names_of(store, spec, &names);
	local_discard_left(store->loop, &names, done, data);
}

static void free_store(struct qmpsnap_store *base)
{
	free(base);
}

static const struct store_ops dir_ops = {
	.kind = "dir",
	.shelf = &dir_shelf,
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

struct qmpsnap_store *dir_open(uv_loop_t *loop, const char *where,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	size_t len = strlen(where);

	while (len > 1 && where[len - 1] == '/')
		len--;
	if (len == 0 || len >= LOCAL_FOLDER_BYTES) {
		error_set(err, QMPSNAP_USAGE, "dir: takes the path of a folder, at most %d bytes",
			LOCAL_FOLDER_BYTES - 1);
		return NULL;
	}
	struct dir_store *store = calloc(1, sizeof(*store));
	if (!store) {
		error_no_memory(err);
		return NULL;
	}
	store->base.ops = &dir_ops;
	store->loop = loop;
	store->direct = !options->buffered_writes;
	(void)snprintf(store->folder, sizeof(store->folder), "%.*s", (int)len, where);
	return &store->base;
}
