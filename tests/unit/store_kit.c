/* SPDX-License-Identifier: Apache-2.0 */
#include "store_kit.h"

#include "base/json.h"

#include <check.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct store_instant kit_instant = {.time = KIT_INSTANT, .consistency = KIT_CONSISTENCY};

void outcome_done(const struct qmpsnap_error *err, void *data)
{
	struct outcome *outcome = data;

	outcome->calls++;
	outcome->err = err ? *err : (struct qmpsnap_error){.code = QMPSNAP_OK};
}

void outcome_progress(uint64_t done_bytes, void *data)
{
	struct outcome *outcome = data;

	ck_assert_uint_ge(done_bytes, outcome->progress_bytes);
	outcome->progress_bytes = done_bytes;
	outcome->progress_calls++;
}

bool outcome_wait(uv_loop_t *loop, struct outcome *outcome)
{
	ck_assert_msg(outcome->calls == 0, "called back from within the call");
	while (outcome->calls == 0)
		ck_assert_msg(uv_run(loop, UV_RUN_ONCE) != 0 || outcome->calls > 0,
			"nothing left to wait for");
	(void)uv_run(loop, UV_RUN_NOWAIT);
	ck_assert_uint_eq(outcome->calls, 1);
	return outcome->err.code == QMPSNAP_OK;
}

static bool wait_into(uv_loop_t *loop, struct outcome *outcome, struct qmpsnap_error *err)
{
	const bool well = outcome_wait(loop, outcome);

	if (err)
		*err = outcome->err;
	return well;
}

void kit_spec(struct store_image_spec *spec)
{
	*spec = (struct store_image_spec){.id = KIT_ID,
		.name = "web/1",
		.format = QMPSNAP_QCOW2,
		.virtual_size_bytes = 1 << 30,
		.properties = json_object_new_object()};
	json_put_string(spec->properties, "qmpsnap_guest", "web");
	json_put_string(spec->properties, "image_type", "snapshot");
}

struct store_image *kit_create(uv_loop_t *loop, struct qmpsnap_store *store,
	const struct store_image_spec *spec, struct qmpsnap_error *err)
{
	struct outcome outcome = {.calls = 0};
	struct store_image *image = store->ops->create(store, spec, outcome_done, &outcome, err);

	if (image)
		(void)wait_into(loop, &outcome, err);
	return image;
}

bool kit_check(uv_loop_t *loop, struct qmpsnap_store *store, const struct store_need *need,
	struct qmpsnap_error *err)
{
	struct outcome outcome = {.calls = 0};

	ck_assert_ptr_nonnull(store->ops->check(store, need, outcome_done, &outcome, err));
	return wait_into(loop, &outcome, err);
}

bool kit_put(uv_loop_t *loop, struct store_image *image, struct stream *stream,
	struct qmpsnap_error *err)
{
	struct outcome outcome = {.calls = 0};

	image->ops->put(image, stream, &kit_instant, outcome_progress, outcome_done, &outcome);
	const bool well = wait_into(loop, &outcome, err);
	if (well)
		ck_assert_uint_eq(outcome.progress_bytes, stream->size_bytes);
	return well;
}

bool kit_publish(uv_loop_t *loop, struct store_image *image, struct qmpsnap_error *err)
{
	struct outcome outcome = {.calls = 0};

	image->ops->publish(image, outcome_done, &outcome);
	return wait_into(loop, &outcome, err);
}

bool kit_discard(uv_loop_t *loop, struct store_image *image, struct qmpsnap_error *err)
{
	struct outcome outcome = {.calls = 0};

	image->ops->discard(image, outcome_done, &outcome);
	return wait_into(loop, &outcome, err);
}

bool kit_discard_left(uv_loop_t *loop, struct qmpsnap_store *store,
	const struct store_image_spec *spec, struct qmpsnap_error *err)
{
	struct outcome outcome = {.calls = 0};

	store->ops->discard_left(store, spec, outcome_done, &outcome);
	return wait_into(loop, &outcome, err);
}

char *kit_folder(const char *parent)
{
	char *folder = NULL;

	ck_assert_int_gt(asprintf(&folder, "%s/qmpsnap-test-XXXXXX", parent), 0);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	return folder;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void kit_remove_folder(char *folder)
{
	ck_assert_int_eq(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
	free(folder);
}

int kit_count_files(const char *folder)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	int n = 0;

	if (!dir)
		return -1;
	while ((entry = readdir(dir)))
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	(void)closedir(dir);
	return n;
}
