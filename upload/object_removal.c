/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/object_removal.h"

#include "base/error.h"

#include <stdlib.h>

enum { ROUNDS = 50 };

void *object_removal_new(size_t size, store_done_fn *done, void *data)
{
	void *removal = calloc(1, size);
	struct qmpsnap_error err;

	if (!removal) {
		error_no_memory(&err);
		done(&err, data);
	}
	return removal;
}

void object_removal_delete(struct object_removal *removal, const char *path, remote_then_fn *then)
{
	const struct remote_request request = {.method = "DELETE",
		.path = path,
		.undo = true,
		.doing = removal->doing,
		.expect = {204, 200, 404}};
	struct remote *remote = removal->remote;

	remote_send(&removal->call, remote, &request, then, removal);
}

void object_removal_note(struct object_removal *removal, const struct qmpsnap_error *err)
{
	if (err && removal->err.code == QMPSNAP_OK)
		removal->err = *err;
}

void object_removal_fail(struct object_removal *removal, const char *what)
{
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_STORE, "%s: %s", removal->doing, what);
	object_removal_note(removal, &err);
}

bool object_removal_again(struct object_removal *removal, const char *what)
{
	if (++removal->rounds <= ROUNDS)
		return true;
	object_removal_fail(removal, what);
	return false;
}

void object_removal_stop(struct object_removal *removal)
{
	removal->stopped = true;
	remote_cancel(&removal->call);
}

void object_removal_end(struct object_removal *removal)
{
	const bool alone = removal->alone; /* else it may be gone when its caller knows */

	removal->done(removal->err.code == QMPSNAP_OK ? NULL : &removal->err, removal->data);
	if (alone)
		free(removal);
}
