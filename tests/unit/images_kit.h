/* SPDX-License-Identifier: Apache-2.0
 *
 * images_kit.h - a request about the images of a store, run to its end, and a folder with images.
 */
#ifndef TESTS_IMAGES_KIT_H
#define TESTS_IMAGES_KIT_H

#include "fake_stream.h"
#include "images/images.h"
#include "upload/remote.h"

#include <uv.h>

#define SET "6a1c2e0f-4b5d-4e6f-8a9b-0c1d2e3f4a5b"

extern struct qmpsnap_store *store;
extern struct qmpsnap_error err;

/* What a request brought, and before it what is to happen to it. */
struct images_got {
	unsigned calls, events;
	uint64_t done_bytes, total_bytes;
	struct qmpsnap_error err;
	struct json_object *images;
	struct qmpsnap_images *op;
	uint64_t cancel_at; /* so many bytes */
	bool (*is_turn)(void); /* counts turns of the loop, up to the one to cancel in */
	unsigned cancel_turn, turns;
	bool fetching;
};

extern struct images_got got;

/* An is_turn: each turn. */
bool is_any(void);

/* How many images of `store` were dealt with; got.err says how it ended. */
size_t run(uv_loop_t *loop, const struct qmpsnap_images_options *options);

/* Frees what `got` has. */
void clear(void);

extern struct fake_stream stream; /* of the latest image */
extern char *base; /* a folder with the store in it */
extern const char *disks; /* of the set that images are made of; NULL: they don't say */

/* Makes the folder, opens the store, and makes the image KIT_ID of disk vda in it. */
void fill(uv_loop_t *loop, uint64_t size_bytes, unsigned zero_every);

/* Makes one more, of the same set. */
void put_image(uv_loop_t *loop, const char *id, const char *disk, uint64_t size_bytes,
	unsigned zero_every);

/* Ends all that fill() began. */
void empty(void);

/* In `base`; good until the next call. */
const char *path_of(const char *name);

#endif
