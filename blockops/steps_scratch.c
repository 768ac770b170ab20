/* SPDX-License-Identifier: Apache-2.0
 *
 * The scratch of the filter: where it puts the old content of what the guest overwrites.  A qcow2
 * made by our own layout in an unlinked file, under a raw node of fixed size, so that the limit
 * holds inside QEMU also when this process is dead. */
#include "blockops/scratch_file.h"
#include "blockops/steps.h"

static struct json_object *scratch_node(const struct snapshot_disk *d, const char *filename)
{
	struct json_object *node = json_new(), *raw = json_new();
	struct json_object *file = json_new(), *cache = json_new();
	char name[NAME_NODE_BYTES];

	json_put_string(file, "driver", "file");
	json_put_string(file, "filename", filename);
	json_put_string(raw, "driver", "raw");
	json_put_uint(raw, "size", d->scratch_limit_bytes);
	json_put(raw, "file", file);
	json_put_bool(cache, "no-flush", true); /* nobody reads it after a crash */
	disk_node(d->snapshot, d, "s", name);
	json_put_string(node, "driver", "qcow2");
	json_put_string(node, "node-name", name);
	json_put(node, "cache", cache);
	json_put(node, "file", raw);
	return node;
}

static void add_scratch(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct qmpsnap_error err;

	if (scratch_file_open(d, &err) && scratch_file_write_qcow2(d, d->scratch_limit_bytes, &err))
		scratch_file_add_node(d, "s", scratch_node, scratch_file_added);
	else
		disk_done(s, &err);
}

void scratch_add(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err;

	if (scratch_file_share(s, &err))
		disks_in_order(s, add_scratch, NULL);
	else
		flow_done(f, &err);
}

/* ---- Undo ---- */

static void remove_node(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	disk_delete_node(s, d, "s");
}

static void remove_fdset(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	(void)s;
	scratch_file_drop(d);
	scratch_file_remove_fdset(d, "s");
}

static void remove_fdsets(struct qmpsnap_snapshot *s)
{
	disks_in_order(s, remove_fdset, NULL);
}

void scratch_remove(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, remove_node, remove_fdsets);
}
