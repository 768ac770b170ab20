/* SPDX-License-Identifier: Apache-2.0
 *
 * object_shelf.h - what stands in a bucket or container: each JSON of ours, with its image beside
 * it.  The same for all services that keep objects, but for how names are listed.
 */
#ifndef UPLOAD_OBJECT_SHELF_H
#define UPLOAD_OBJECT_SHELF_H

#include "base/shelf.h"
#include "upload/object_names.h"
#include "upload/remote.h"

enum {
	OBJECT_SHELF_PATH_BYTES = 8192,
	OBJECT_SHELF_PAGE = 500, /* names, so that they fit into HTTP_REPLY_BYTES */
};

typedef void object_name_fn(const char *name, void *data);

/* A kind of service; a store's ops->shelf leads to it. */
struct object_shelf_kind {
	struct shelf_ops ops; /* OBJECT_SHELF_OPS */
	/* What stands before an object's name in locations: "s3://BUCKET/". */
	void (*root)(const struct remote *remote, char *root, size_t size);
	/* That all names of the store begin with; "" or without slashes at its ends. */
	const char *(*prefix)(const struct remote *remote);
	/* The path of an object. */
	void (*object)(const struct remote *remote, const char *name, char *path);
	/* That of a list of those whose names begin with `prefix` and come after `after`, in the
	 * order of their bytes. */
	void (*list)(
		const struct remote *remote, const char *prefix, const char *after, char *path);
	/* The names in it, in that order; false when it can't be read. */
	bool (*names)(const struct http_reply *reply, object_name_fn *fn, void *data);
};

/* As in struct shelf_ops. */
struct shelf_call *object_shelf_list(struct qmpsnap_store *store, const struct shelf_filter *filter,
	shelf_listed_fn *done, void *data, struct qmpsnap_error *err);
struct shelf_call *object_shelf_fetch(struct qmpsnap_store *store, struct json_object *record,
	struct shelf_sink *sink, store_done_fn *done, void *data, struct qmpsnap_error *err);
struct shelf_call *object_shelf_check(struct qmpsnap_store *store, struct json_object *record,
	store_done_fn *done, void *data, struct qmpsnap_error *err);
struct shelf_call *object_shelf_remove(struct qmpsnap_store *store, struct json_object *record,
	store_done_fn *done, void *data, struct qmpsnap_error *err);
void object_shelf_resume(struct shelf_call *call);
void object_shelf_stop(struct shelf_call *call);

#define OBJECT_SHELF_OPS                                                                           \
	{                                                                                          \
		.list = object_shelf_list, .fetch = object_shelf_fetch,                            \
		.check = object_shelf_check, .remove = object_shelf_remove,                        \
		.resume = object_shelf_resume, .stop = object_shelf_stop                           \
	}

#endif
