/* SPDX-License-Identifier: Apache-2.0
 *
 * shelf.h - a store seen as a shelf of images that stand there: listing, fetching, removing.  Each
 * image is known by its record, a JSON object with the members that upload/record.h names, and two
 * that the shelf adds, whatever the record said:
 *
 *   location  path or URL
 *   foreign   whether it belongs to another project: never ours to change
 *
 * Records are what others wrote; only the types of `id`, `location` and `foreign` are sure.
 */
#ifndef BASE_SHELF_H
#define BASE_SHELF_H

#include "base/store.h"

#include <json-c/json.h>

struct shelf_ops;

/* An operation under way; each store embeds it first in a struct of its own, which is gone when
 * `done` returns. */
struct shelf_call {
	const struct shelf_ops *ops;
};

/* What a list is narrowed to, where the store can; the caller looks at all records all the same. */
struct shelf_filter {
	const char *set, *tag, *instance_uuid, *backup_type; /* NULL: any */
};

/* `records` is an array, borrowed; NULL with an error. */
typedef void shelf_listed_fn(
	const struct qmpsnap_error *err, struct json_object *records, void *data);

/* Who takes the bytes of an image; embedded first in a struct of its own. */
struct shelf_sink {
	/* Takes all of them, copied, or none: false, and ops->resume() follows when there is room
	 * again.  `len` is SHELF_PIECE_BYTES at most. */
	bool (*take)(struct shelf_sink *sink, const void *bytes, size_t len);
};

enum { SHELF_PIECE_BYTES = 1 << 20 };

struct shelf_ops {
	bool is_local; /* fetching is no more than reading files of this host */

	/* Each returns NULL and *err when it can't even begin; else `done` fires once, later. */

	/* All images that there are, in any order; pages are followed. */
	struct shelf_call *(*list)(struct qmpsnap_store *store, const struct shelf_filter *filter,
		shelf_listed_fn *done, void *data, struct qmpsnap_error *err);
	/* All bytes, in order.  What was read isn't checked against the record. */
	struct shelf_call *(*fetch)(struct qmpsnap_store *store, struct json_object *record,
		struct shelf_sink *sink, store_done_fn *done, void *data,
		struct qmpsnap_error *err);
	/* Whether what the store says of the bytes it has, without giving them out, is what it said
	 * when they were stored: they are there, their size, a digest where it has one.  NULL where
	 * fetching is as good. */
	struct shelf_call *(*check)(struct qmpsnap_store *store, struct json_object *record,
		store_done_fn *done, void *data, struct qmpsnap_error *err);
	/* Record and bytes.  "Not there" is success.  A protection is never taken off. */
	struct shelf_call *(*remove)(struct qmpsnap_store *store, struct json_object *record,
		store_done_fn *done, void *data, struct qmpsnap_error *err);

	/* The sink of a fetch has room again. */
	void (*resume)(struct shelf_call *call);
	/* Hurries it: `done` brings an error soon. */
	void (*stop)(struct shelf_call *call);
};

/* ---- What records say --------------------------------------------------------------------- */

/* Whether this tool made it: it has our properties, and qmpsnap_image among them names this very
 * image.  Whoever copies an image's properties to another one copies these, too; Nova does, to all
 * the images that it makes of a server that was booted from one of ours. */
bool shelf_is_ours(struct json_object *record);

/* Whether it is an image of ours that belongs to this set. */
bool shelf_is_of_set(struct json_object *record, const char *set);

/* A property of ours (qmpsnap_...) that is true of this image; NULL: it has none.  That of an image
 * that isn't ours is true of another one. */
const char *shelf_own(struct json_object *record, const char *key);

/* Whether it was published: its bytes were confirmed, and the service has it as active. */
bool shelf_is_published(struct json_object *record);

/* `protected`, also as a string. */
bool shelf_is_protected(struct json_object *record);

/* Of its point in time, else of its making; "" when neither is known. */
const char *shelf_time(struct json_object *record);

/* Orders times of ISO 8601 in UTC, "2026-11-23", "2026-11-23T13:20", "2026-11-23T13:20:14.123Z",
 * as strcmp() does; a shorter one is its own beginning. */
int shelf_compare_times(const char *a, const char *b);

/* Whether `who` is the guest's name or its UUID. */
bool shelf_is_guest(struct json_object *record, const char *who);

bool shelf_has_tag(struct json_object *record, const char *tag);

/* The set that it belongs to; the id of one that isn't ours. */
const char *shelf_set(struct json_object *record);

/* How many images its set was made of; 0: not known, as with those of versions before 0.2.0. */
unsigned shelf_set_images(struct json_object *record);

/* Whether a member is this string. */
bool shelf_says(struct json_object *record, const char *key, const char *value);

#endif
