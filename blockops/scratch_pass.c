/* SPDX-License-Identifier: Apache-2.0
 *
 * A file of ours handed to QEMU, and taken back. */
#include "base/log.h"
#include "blockops/scratch_file.h"
#include "blockops/steps.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void unlink_file(struct snapshot_disk *d)
{
	if (!d->scratch_path)
		return;
	(void)unlink(d->scratch_path);
	free(d->scratch_path);
	d->scratch_path = NULL;
}

/* ---- A node ---- */

void scratch_file_added(struct snapshot_disk *d, const struct qmpsnap_error *err)
{
	struct qmpsnap_error mine = {0};

	if (err) {
		mine = *err;
		error_wrap(&mine, "disk %s: the scratch", d->label);
	}
	disk_done(d->snapshot, &mine);
}

static void on_added(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;

	(void)result;
	unlink_file(d);
	d->added_fn(d, err);
}

static void on_fdset(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	char filename[64];

	if (err) {
		d->added_fn(d, err);
		return;
	}
	(void)snprintf(filename, sizeof(filename), "/dev/fdset/%lld",
		(long long)json_int(result, "fdset-id", -1));
	qmp_execute(d->snapshot->qmp, "blockdev-add", d->make_node(d, filename), on_added, d);
}

/* QEMU opens what we pass it, so it needs no right to any path. */
static void pass(struct snapshot_disk *d)
{
	struct json_object *args = json_new();
	char name[NAME_NODE_BYTES];

	disk_node(d->snapshot, d, d->scratch_role, name);
	json_put_string(args, "opaque", name);
	qmp_execute_with_fd(d->snapshot->qmp, "add-fd", args, d->scratch_fd, on_fdset, d);
}

static void on_added_by_path(
	struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;

	if (!err || d->snapshot->by_paths || snapshot_qemu_is_gone(d->snapshot)) {
		on_added(result, err, d);
		return;
	}
	log_line(QMPSNAP_LOG_INFO, "disk %s: %s; passing a descriptor instead", d->label,
		err->message);
	unlink_file(d);
	pass(d);
}

void scratch_file_add_node(struct snapshot_disk *d, const char *role, scratch_node_fn *make_node,
	scratch_done_fn *then)
{
	struct qmpsnap_error err;

	d->added_fn = then;
	d->scratch_role = role;
	d->make_node = make_node;
	if (!record_scratch(d, &err))
		disk_done(d->snapshot, &err);
	else if (d->by_path)
		qmp_execute(d->snapshot->qmp, "blockdev-add", make_node(d, d->scratch_path),
			on_added_by_path, d);
	else
		pass(d);
}

/* ---- Undo ---- */

static void on_fd_removed(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;

	(void)result; /* it was there a moment ago, so that a refusal isn't "not found" */
	disk_done(d->snapshot, snapshot_qemu_is_gone(d->snapshot) ? NULL : err);
}

static void on_fdsets(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	char name[NAME_NODE_BYTES];

	if (err) {
		disk_done(d->snapshot, snapshot_qemu_is_gone(d->snapshot) ? NULL : err);
		return;
	}
	disk_node(d->snapshot, d, d->scratch_role, name);
	for (size_t i = 0; i < json_length(result); i++) {
		struct json_object *set = json_object_array_get_idx(result, i);
		struct json_object *fds = json_member(set, "fds", json_type_array);
		const char *opaque =
			json_length(fds) ? json_string(json_object_array_get_idx(fds, 0), "opaque")
					 : NULL;
		if (!opaque || strcmp(opaque, name) != 0)
			continue;
		struct json_object *args = json_new();
		json_put_int(args, "fdset-id", json_int(set, "fdset-id", -1));
		qmp_execute(d->snapshot->qmp, "remove-fd", args, on_fd_removed, d);
		return;
	}
	disk_done(d->snapshot, NULL);
}

void scratch_file_remove_fdset(struct snapshot_disk *d, const char *role)
{
	d->scratch_role = role;
	if (snapshot_qemu_is_gone(d->snapshot))
		disk_done(d->snapshot, NULL);
	else
		qmp_execute(d->snapshot->qmp, "query-fdsets", NULL, on_fdsets, d);
}
