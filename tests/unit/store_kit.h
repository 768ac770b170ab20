/* SPDX-License-Identifier: Apache-2.0
 *
 * store_kit.h - calls a store's functions one by one and waits for each, checking that it calls
 * back just once and never from within the call.
 */
#ifndef TESTS_STORE_KIT_H
#define TESTS_STORE_KIT_H

#include "base/store.h"

#include <json-c/json.h>
#include <uv.h>

#define KIT_ID          "0f7a1c2e-4b5d-4e6f-8a9b-0c1d2e3f4a5b"
#define KIT_INSTANT     "2026-11-23T13:20:14.123Z"
#define KIT_CONSISTENCY "filesystem"

extern const struct store_instant kit_instant;

/* What a callback brought. */
struct outcome {
	unsigned calls;
	struct qmpsnap_error err;
	uint64_t progress_bytes; /* the latest */
	unsigned progress_calls;
};

void outcome_done(const struct qmpsnap_error *err, void *data);
void outcome_progress(uint64_t done_bytes, void *data);

/* Runs the loop until there is an outcome; whether it was a success. */
bool outcome_wait(uv_loop_t *loop, struct outcome *outcome);

/* A qcow2 image "web/1" of 1 GiB with KIT_ID and two properties; free the properties. */
void kit_spec(struct store_image_spec *spec);

/* Each waits; *err gets the failure.  kit_create() gives the image also when create() failed
 * later. */
struct store_image *kit_create(uv_loop_t *loop, struct qmpsnap_store *store,
	const struct store_image_spec *spec, struct qmpsnap_error *err);
bool kit_check(uv_loop_t *loop, struct qmpsnap_store *store, const struct store_need *need,
	struct qmpsnap_error *err);
bool kit_put(uv_loop_t *loop, struct store_image *image, struct stream *stream,
	struct qmpsnap_error *err);
bool kit_publish(uv_loop_t *loop, struct store_image *image, struct qmpsnap_error *err);
bool kit_discard(uv_loop_t *loop, struct store_image *image, struct qmpsnap_error *err);
bool kit_discard_left(uv_loop_t *loop, struct qmpsnap_store *store,
	const struct store_image_spec *spec, struct qmpsnap_error *err);

/* A new folder of its own for the test, and its removal with all in it. */
char *kit_folder(const char *parent);
void kit_remove_folder(char *folder);

/* The number of names in the folder, dot-files included; -1: no such folder. */
int kit_count_files(const char *folder);

#endif
