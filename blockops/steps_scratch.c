/* SPDX-License-Identifier: Apache-2.0
 *
 * The scratch: where the filter puts the old content of what the guest overwrites.  A qcow2 made
 * by our own layout in an unlinked file, under a raw node of fixed size, so that the limit holds
 * inside QEMU also when this process is dead. */
#include "base/log.h"
#include "base/units.h"
#include "blockops/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SCRATCH_LEAST_BYTES = 1024 * 1024 };

uint64_t scratch_used_bytes(const struct snapshot_disk *d)
{
	struct stat st;

	if (d->scratch_fd < 0 || fstat(d->scratch_fd, &st) < 0)
		return 0;
	return (uint64_t)st.st_blocks * 512;
}

static const char *scratch_folder(const struct qmpsnap_snapshot *s)
{
	const char *tmp = getenv("TMPDIR");

	if (s->scratch_dir)
		return s->scratch_dir;
	return tmp && tmp[0] == '/' ? tmp : "/var/tmp";
}

/* ---- The limit ---- */

/* Free space less the larger of 5 % and 1 GiB. */
static bool default_limit(const char *folder, uint64_t *limit_bytes, struct qmpsnap_error *err)
{
	const uint64_t gib = UINT64_C(1) << 30;
	struct statvfs fs;

	if (statvfs(folder, &fs) < 0)
		return error_errno(err, QMPSNAP_REFUSED, errno, "the scratch folder %s", folder);
	const uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	const uint64_t twentieth = (uint64_t)fs.f_blocks * fs.f_frsize / 20;
	const uint64_t keep = twentieth > gib ? twentieth : gib;
	*limit_bytes = free_bytes > keep ? free_bytes - keep : 0;
	return true;
}

/* No scratch needs more than its whole disk and the tables over it. */
static uint64_t most_useful(const struct snapshot_disk *d)
{
	const uint64_t size = d->virtual_size_bytes + d->virtual_size_bytes / 1024;

	return (size / CLUSTER_BYTES + 64) * CLUSTER_BYTES;
}

/* The limit holds over all disks, each with a share as large as its part of the whole. */
static bool share_limit(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	const char *folder = scratch_folder(s);
	uint64_t limit = s->scratch_limit_bytes, whole = 0;

	if (!limit && !default_limit(folder, &limit, err))
		return false;
	for (size_t i = 0; i < s->n_disks; i++)
		whole += most_useful(&s->disks[i]);
	for (size_t i = 0; i < s->n_disks; i++) {
		struct snapshot_disk *d = &s->disks[i];
		const uint64_t useful = most_useful(d);
		const double part = (double)useful / (double)whole;
		const uint64_t share = (uint64_t)((double)limit * part);
		d->scratch_limit_bytes = share > useful ? useful : share;
		d->scratch_limit_bytes -= d->scratch_limit_bytes % CLUSTER_BYTES;
		if (d->scratch_limit_bytes >= SCRATCH_LEAST_BYTES)
			continue;
		error_set(err, QMPSNAP_REFUSED,
			"disk %s: no room for its scratch in %s: %llu bytes are left for it, at "
			"least %u are needed",
			d->label, folder, (unsigned long long)share, (unsigned)SCRATCH_LEAST_BYTES);
		error_hint(err, "name a roomier folder with --scratch, or raise --scratch-limit");
		return false;
	}
	return true;
}

/* ---- The file ---- */

/* Unlinked from the start where the file system can. */
static bool open_file(struct snapshot_disk *d, struct qmpsnap_error *err)
{
	const char *folder = scratch_folder(d->snapshot);
	char *path = NULL;

	if (!d->by_path)
		d->scratch_fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (d->scratch_fd >= 0)
		return true;
	if (asprintf(&path, "%s/.qmpsnap-%s-s%u.scratch", folder, d->snapshot->run, d->index) < 0)
		return error_no_memory(err);
	d->scratch_path = path;
	if (!guard_tell_scratch(d, err))
		return false;
	d->scratch_fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (d->scratch_fd < 0) {
		error_errno(err, QMPSNAP_REFUSED, errno, "the scratch file %s", path);
		error_hint(err, "name another folder with --scratch");
		return false;
	}
	return true;
}

static void unlink_file(struct snapshot_disk *d)
{
	if (!d->scratch_path)
		return;
	(void)unlink(d->scratch_path);
	free(d->scratch_path);
	d->scratch_path = NULL;
}

/* An empty qcow2 of the disk's size at the front of a sparse file as long as the limit. */
static bool write_empty_qcow2(struct snapshot_disk *d, struct qmpsnap_error *err)
{
	struct cluster_map map = {0};
	struct layout layout;
	uint8_t bytes[4096];
	bool well = ftruncate(d->scratch_fd, (off_t)d->scratch_limit_bytes) == 0;

	if (!well)
		return error_errno(err, QMPSNAP_REFUSED, errno,
			"disk %s: a scratch file of %llu bytes", d->label,
			(unsigned long long)d->scratch_limit_bytes);
	if (!cluster_map_init(&map, d->virtual_size_bytes, err))
		return false;
	cluster_map_seal(&map);
	layout_init(&layout, QMPSNAP_QCOW2, &map);
	for (uint64_t at = 0; well && at < layout.size_bytes;) {
		struct segment segment;
		layout_at(&layout, at, sizeof(bytes), &segment);
		layout_fill(&layout, &segment, bytes);
		well = pwrite(d->scratch_fd, bytes, segment.len, (off_t)at) == segment.len;
		at += segment.len;
	}
	cluster_map_free(&map);
	return well ||
	       error_errno(err, QMPSNAP_REFUSED, errno, "disk %s: the scratch file", d->label);
}

/* ---- Steps ---- */

static struct json_object *scratch_node(const struct snapshot_disk *d, const char *filename)
{
	struct json_object *node = json_object_new_object(), *raw = json_object_new_object();
	struct json_object *file = json_object_new_object(), *cache = json_object_new_object();
	char name[NAME_NODE_BYTES];

	json_put_string(file, "driver", "file");
	json_put_string(file, "filename", filename);
	json_put_string(raw, "driver", "raw");
	json_put_uint(raw, "size", d->scratch_limit_bytes);
	json_object_object_add(raw, "file", file);
	json_put_bool(cache, "no-flush", true); /* nobody reads it after a crash */
	disk_node(d->snapshot, d, "s", name);
	json_put_string(node, "driver", "qcow2");
	json_put_string(node, "node-name", name);
	json_object_object_add(node, "cache", cache);
	json_object_object_add(node, "file", raw);
	return node;
}

static void on_added(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_error mine = {0};

	(void)result;
	unlink_file(d);
	if (err) {
		mine = *err;
		error_wrap(&mine, "disk %s: the scratch", d->label);
	}
	disk_done(d->snapshot, &mine);
}

static void on_fdset(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_error mine = {0};
	char filename[64];

	if (!err) {
		d->fdset = json_int(result, "fdset-id", -1);
		(void)guard_tell_scratch(d, &mine);
	}
	if (err || mine.code != QMPSNAP_OK) {
		disk_done(d->snapshot, err ? err : &mine);
		return;
	}
	(void)snprintf(filename, sizeof(filename), "/dev/fdset/%lld", (long long)d->fdset);
	qmp_execute(d->snapshot->qmp, "blockdev-add", scratch_node(d, filename), on_added, d);
}

/* QEMU opens what we pass it, so it needs no right to any path. */
static void add_by_descriptor(struct snapshot_disk *d)
{
	struct json_object *args = json_object_new_object();
	char name[NAME_NODE_BYTES];

	disk_node(d->snapshot, d, "s", name);
	json_put_string(args, "opaque", name);
	qmp_execute_with_fd(d->snapshot->qmp, "add-fd", args, d->scratch_fd, on_fdset, d);
}

static void on_added_by_path(
	struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;

	if (!err || snapshot_qemu_is_gone(d->snapshot)) {
		on_added(result, err, d);
		return;
	}
	log_line(QMPSNAP_LOG_INFO, "disk %s: %s; passing a descriptor instead", d->label,
		err->message);
	unlink_file(d);
	add_by_descriptor(d);
}

/* A QEMU before 8.2 keeps a removed descriptor set listed while its guest isn't running (measured
 * on 5.2 and 7.2, not on 10.0), so such a guest is first offered a path that is gone a moment
 * later.  With the QEMU of another user that fails, and the descriptor serves. */
static void add_scratch(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct qmpsnap_error err;

	d->by_path = !guest_is_running(&s->guest);
	if (!open_file(d, &err) || !write_empty_qcow2(d, &err)) {
		disk_done(s, &err);
		return;
	}
	if (d->by_path)
		qmp_execute(s->qmp, "blockdev-add", scratch_node(d, d->scratch_path),
			on_added_by_path, d);
	else
		add_by_descriptor(d);
}

void scratch_add(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err;

	if (share_limit(s, &err))
		disks_in_order(s, add_scratch, NULL);
	else
		flow_done(f, &err);
}

/* ---- Undo ---- */

/* The bytes go now, even where QEMU or a guard still holds the file. */
static void drop_file(struct snapshot_disk *d)
{
	const uint64_t used = scratch_used_bytes(d);

	if (used > d->scratch_seen_bytes)
		d->scratch_seen_bytes = used;
	unlink_file(d);
	if (d->scratch_fd < 0)
		return;
	if (ftruncate(d->scratch_fd, 0) < 0)
		log_line(QMPSNAP_LOG_WARNING,
			"disk %s: the scratch keeps its bytes until QEMU closes it", d->label);
	close(d->scratch_fd);
	d->scratch_fd = -1;
}

static void on_fd_removed(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;

	(void)result;
	(void)err; /* "not found" is well; it may go with its last user */
	disk_done(d->snapshot, NULL);
}

/* Any descriptor set that carries this scratch's name. */
static void on_fdsets(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	char name[NAME_NODE_BYTES];

	(void)err;
	disk_node(d->snapshot, d, "s", name);
	for (size_t i = 0; i < json_length(result); i++) {
		struct json_object *set = json_object_array_get_idx(result, i);
		struct json_object *fds = json_member(set, "fds", json_type_array);
		const char *opaque =
			json_length(fds) ? json_string(json_object_array_get_idx(fds, 0), "opaque")
					 : NULL;
		if (!opaque || strcmp(opaque, name) != 0)
			continue;
		struct json_object *args = json_object_new_object();
		json_put_int(args, "fdset-id", json_int(set, "fdset-id", -1));
		qmp_execute(d->snapshot->qmp, "remove-fd", args, on_fd_removed, d);
		return;
	}
	disk_done(d->snapshot, NULL);
}

static void remove_fdset(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	drop_file(d);
	if (snapshot_qemu_is_gone(s))
		disk_done(s, NULL);
	else
		qmp_execute(s->qmp, "query-fdsets", NULL, on_fdsets, d);
}

static void remove_node(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	disk_delete_node(s, d, "s");
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
