/* SPDX-License-Identifier: Apache-2.0
 *
 * object_removal.h - deleting all that may be there of an image in a store of objects, one request
 * after the other.  What isn't there is deleted; the first error is kept, and the rest is deleted
 * all the same.
 */
#ifndef UPLOAD_OBJECT_REMOVAL_H
#define UPLOAD_OBJECT_REMOVAL_H

#include "upload/object_names.h"
#include "upload/parts.h"
#include "upload/remote.h"

/* Embedded first in a struct of each store's own. */
struct object_removal {
	struct remote *remote;
	struct remote_call call;
	struct object_names names;
	unsigned rounds; /* of asking what there is */
	bool stopped;
	struct qmpsnap_error err; /* the first */
	char doing[PARTS_DOING_BYTES]; /* "deleting s3://..." */
	store_done_fn *done;
	void *data;
	bool alone; /* it is freed at its end */
};

/* For discard_left() of struct store_ops: one of `size` bytes, to be made alone.  Without memory
 * there is no way to report it later: then `done` is called at once, and it returns NULL. */
void *object_removal_new(size_t size, store_done_fn *done, void *data);

/* Sends the deletion of `path`, borrowed until `then`, whose data is the removal. */
void object_removal_delete(struct object_removal *removal, const char *path, remote_then_fn *then);

/* Keeps the first error; NULL is none. */
void object_removal_note(struct object_removal *removal, const struct qmpsnap_error *err);

/* Keeps "<doing>: <what>" as one. */
void object_removal_fail(struct object_removal *removal, const char *what);

/* Whether what there is may be asked for once more: services that go on naming what was deleted
 * must not make this go on for ever.  Else `what` has failed. */
bool object_removal_again(struct object_removal *removal, const char *what);

/* Gives the request under way up, and leaves out those that would follow.  No effect on one that
 * has ended. */
void object_removal_stop(struct object_removal *removal);

/* Reports, and frees one that is alone. */
void object_removal_end(struct object_removal *removal);

#endif
