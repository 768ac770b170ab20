/* SPDX-License-Identifier: Apache-2.0
 *
 * store.h - what an image store is to the rest of the project: a vtable, so that step tables take
 * a store and never see upload/.
 *
 * An image goes through create (a hidden record), put (its bytes, confirmed by the store), and
 * publish; or discard at any point.  A set of images is published only after every put was
 * confirmed.  All calls are asynchronous: `done` fires exactly once, later, never from within the
 * call; one call at a time per image, but for stop().
 */
#ifndef BASE_STORE_H
#define BASE_STORE_H

#include "base/stream.h"

#include <qmpsnap.h>

struct json_object;
struct shelf_ops; /* base/shelf.h */

typedef void store_done_fn(const struct qmpsnap_error *err /* NULL: well */, void *data);
typedef void store_progress_fn(uint64_t done_bytes, void *data);

/* What an image shall be; borrowed during create() and discard_left() only. */
struct store_image_spec {
	const char *id; /* UUID, chosen by us */
	const char *name; /* as the user sees it; file names are made from it by name_for_file() */
	enum qmpsnap_format format;
	uint64_t virtual_size_bytes;
	struct json_object *properties; /* strings by name: qmpsnap_*, image_type, the user's */
	bool unsent; /* discard_left(): its put() has surely not begun */
};

/* What is known of an image only once its point in time is there; borrowed during put() only. */
struct store_instant {
	const char *time; /* stored as qmpsnap_instant */
	const char *consistency; /* stored as qmpsnap_consistency: what was reached */
};

/* What a snapshot is about to ask of a store; borrowed during check() only. */
struct store_need {
	unsigned n_images;
	uint64_t least_bytes; /* that are sent at the least; 0: not known */
};

/* A check under way; each store embeds it first in a struct of its own, which is gone when `done`
 * returns. */
struct store_check {
	void (*stop)(struct store_check *check); /* hurries it: `done` brings an error soon */
};

/* An image in the making; each store embeds it first in a struct of its own. */
struct store_image {
	const struct store_ops *ops;
	uint64_t size_bytes; /* of the bytes confirmed; 0 before */
	char digest_algorithm[16]; /* the digest that the store confirmed, after put */
	char digest[129];
	char location[1024]; /* path or URL, from create() on */
	char id[37]; /* of the record, where put() may have had to choose another; "": the spec's */
};

struct store_ops {
	const char *kind; /* "dir", "glance", ... */
	unsigned max_images; /* in one snapshot; 0: any number */
	const struct shelf_ops *shelf; /* what stands in it; NULL: it keeps no list */

	/* Whether it is there, lets us in and has room, as far as that can be known without making
	 * anything in it.  What isn't certain is no error: the service, or whoever stands before
	 * it, may tell less than it allows.  Errors: STORE, and what create() refuses (REFUSED,
	 * USAGE).  Returns NULL and *err when it can't even begin; else `done` fires once, later.
	 * NULL: nothing can be known beforehand. */
	struct store_check *(*check)(struct qmpsnap_store *store, const struct store_need *need,
		store_done_fn *done, void *data, struct qmpsnap_error *err);

	/* Makes the hidden record.  `done` brings an error, after which only close() is allowed
	 * (discard() is allowed too, and idempotent), or NULL.  Returns NULL and *err when it can't
	 * even begin. */
	struct store_image *(*create)(struct qmpsnap_store *store,
		const struct store_image_spec *spec, store_done_fn *done, void *data,
		struct qmpsnap_error *err);

	/* Takes all bytes of `stream`, then confirms size and digest with the store.  `instant` is
	 * stored with it.  `progress` counts bytes that were handed over. */
	void (*put)(struct store_image *image, struct stream *stream,
		const struct store_instant *instant, store_progress_fn *progress,
		store_done_fn *done, void *data);

	/* Hurries a running create, put or publish: its `done` brings an error soon, or none where
	 * it only waits for the local disk.  Whether the store has done it is then in doubt, and
	 * discard() copes with either.  No effect otherwise. */
	void (*stop)(struct store_image *image);

	/* Makes a confirmed image visible as a good one. */
	void (*publish)(struct store_image *image, store_done_fn *done, void *data);

	/* Removes record and bytes, published or not.  "Not there" is success. */
	void (*discard)(struct store_image *image, store_done_fn *done, void *data);

	/* Frees it; no call may be pending.  Doesn't discard. */
	void (*close)(struct store_image *image);

	/* discard() from another process, which knows only what the record was made with. */
	void (*discard_left)(struct qmpsnap_store *store, const struct store_image_spec *spec,
		store_done_fn *done, void *data);

	/* Closes the store; see qmpsnap_store_close(). */
	void (*free)(struct qmpsnap_store *store);
};

struct qmpsnap_store {
	const struct store_ops *ops;
	char *spec; /* see qmpsnap_store_spec(); set by qmpsnap_store_open() */
	char *kept_spec; /* the same for a file: without what may be secret; NULL: as `spec` */

	/* What its opener found out beside what it was told; nothing secret. */
	char *cloud; /* of clouds.yaml, chosen by the environment or as the only one; or NULL */
	char *place; /* which service it is in, and whose; NULL: the spec says it */
};

#endif
