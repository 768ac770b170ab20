/* SPDX-License-Identifier: Apache-2.0 */
#include "images_kit.h"

#include "base/json.h"
#include "store_kit.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

struct qmpsnap_store *store;
struct qmpsnap_error err;
struct images_got got;

struct fake_stream stream;
char *base;
const char *disks;

/* ---- A request to its end ----------------------------------------------------------------- */

bool is_any(void)
{
	return true;
}

static void on_event(const struct qmpsnap_event *event, void *data)
{
	(void)data;
	ck_assert_uint_eq(got.calls, 0);
	got.events++;
	got.done_bytes = event->done_bytes;
	got.total_bytes = event->total_bytes;
	if (got.cancel_at && event->done_bytes >= got.cancel_at)
		qmpsnap_images_cancel(got.op, QMPSNAP_INTERRUPTED);
}

static void on_done(const struct qmpsnap_error *failure, const char *json, void *data)
{
	(void)data;
	got.calls++;
	got.err = failure ? *failure : (struct qmpsnap_error){.code = QMPSNAP_OK};
	got.images = json_tokener_parse(json);
	ck_assert(json_object_is_type(got.images, json_type_array));
}

size_t run(uv_loop_t *loop, const struct qmpsnap_images_options *options)
{
	(void)json_object_put(got.images);
	const uint64_t cancel_at = got.cancel_at;
	const unsigned cancel_turn = got.cancel_turn;
	bool (*const is_turn)(void) = got.is_turn;
	memset(&got, 0, sizeof(got));
	got.cancel_at = cancel_at;
	got.cancel_turn = cancel_turn;
	got.is_turn = is_turn;
	got.op = qmpsnap_images_start(loop, options, store, on_event, on_done, NULL, &err);
	if (!got.op) {
		got.err = err;
		return 0;
	}
	ck_assert_uint_eq(got.calls, 0);
	if (cancel_at == 1)
		qmpsnap_images_cancel(got.op, QMPSNAP_TERMINATED);
	while (got.calls == 0) {
		(void)uv_run(loop, UV_RUN_ONCE);
		if (got.calls == 0 && got.is_turn && got.is_turn() &&
			++got.turns == got.cancel_turn)
			qmpsnap_images_cancel(got.op, QMPSNAP_INTERRUPTED);
	}
	ck_assert_uint_eq(got.calls, 1);
	return json_length(got.images);
}

void clear(void)
{
	(void)json_object_put(got.images);
	memset(&got, 0, sizeof(got));
}

/* ---- A folder ----------------------------------------------------------------------------- */

void put_image(
	uv_loop_t *loop, const char *id, const char *disk, uint64_t size_bytes, unsigned zero_every)
{
	struct store_image_spec spec;

	kit_spec(&spec);
	spec.id = id;
	spec.format = QMPSNAP_RAW;
	json_put_string(spec.properties, "qmpsnap_run", "abcdefghij");
	json_put_string(spec.properties, "qmpsnap_set", SET);
	json_put_string(spec.properties, "qmpsnap_disk", disk);
	json_put_string(spec.properties, "qmpsnap_disks", disks);
	fake_stream_init(&stream, loop, size_bytes);
	stream.zero_every = zero_every;
	struct store_image *image = kit_create(loop, store, &spec, &err);
	ck_assert_msg(kit_put(loop, image, &stream.base, &err), "%s", err.message);
	ck_assert_msg(kit_publish(loop, image, &err), "%s", err.message);
	image->ops->close(image);
	(void)json_object_put(spec.properties);
}

void fill(uv_loop_t *loop, uint64_t size_bytes, unsigned zero_every)
{
	char text[600];

	base = kit_folder("/var/tmp");
	(void)snprintf(text, sizeof(text), "dir:%s/store", base);
	store = qmpsnap_store_open(loop, text, NULL, &err);
	ck_assert_ptr_nonnull(store);
	put_image(loop, KIT_ID, "vda", size_bytes, zero_every);
}

void empty(void)
{
	clear();
	qmpsnap_store_close(store);
	kit_remove_folder(base);
}

const char *path_of(const char *name)
{
	static char text[600];

	(void)snprintf(text, sizeof(text), "%s/%s", base, name);
	return text;
}
