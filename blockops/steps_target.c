/* SPDX-License-Identifier: Apache-2.0
 *
 * The targets: QEMU's nodes over the spools.  They go before a spool is read: until then QEMU holds
 * a part of the copy's tables in its own memory. */
#include "blockops/copy_job.h"
#include "blockops/scratch_file.h"
#include "blockops/steps.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- target ---- */

/* `discard` stays at its default, "ignore": punching holes would give reserved room back.  With
 * detect-zeroes a request that holds only zeroes takes no room in the copy; how long the requests
 * are says copy_job_is_by_cluster(). */
static struct json_object *target_node(const struct snapshot_disk *d, const char *filename)
{
	struct json_object *node = json_new(), *file = json_new();
	struct json_object *cache = json_new();
	char name[NAME_NODE_BYTES];

	json_put_string(file, "driver", "file");
	json_put_string(file, "filename", filename);
	json_put_bool(cache, "no-flush", true); /* nobody reads it after a crash */
	disk_node(d->snapshot, d, "t", name);
	json_put_string(node, "driver", name_format(d->format));
	json_put_string(node, "node-name", name);
	json_put(node, "cache", cache);
	if (d->snapshot->zero_scan != QMPSNAP_ZERO_SCAN_NEVER)
		json_put_string(node, "detect-zeroes", "on");
	json_put(node, "file", file);
	return node;
}

static void add_target(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	(void)s;
	scratch_file_add_node(d, "t", target_node, scratch_file_added);
}

void target_add(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, add_target, NULL);
}

static void remove_fdset(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	(void)s;
	scratch_file_remove_fdset(d, "t");
}

static void remove_target(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	disk_delete_node(s, d, "t");
}

static void remove_fdsets(struct qmpsnap_snapshot *s)
{
	disks_in_order(s, remove_fdset, NULL);
}

void target_remove(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, remove_target, remove_fdsets);
}

/* ---- close: what stands in the spools from now on is the images ---- */

/* The reserve behind the end of a copy is given back at once, where the file system does so. */
static void take_spool(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct qmpsnap_error err = {0};
	struct stat st;

	const uint64_t used = scratch_used_bytes(d);
	if (used > d->scratch_seen_bytes)
		d->scratch_seen_bytes = used;
	if (fstat(d->scratch_fd, &st) < 0 || ftruncate(d->scratch_fd, st.st_size) < 0)
		error_errno(&err, QMPSNAP_VIEW, errno, "disk %s: its copy in %s", d->label,
			scratch_file_folder(s));
	else
		file_stream_init(&d->spool, s->loop, d->scratch_fd, d->label, (uint64_t)st.st_size,
			SNAPSHOT_BLOCK_BYTES);
	disk_done(s, &err);
}

static void all_taken(struct qmpsnap_snapshot *s)
{
	s->detached = true;
	flow_done(&s->flow, NULL);
}

static void take_spools(struct qmpsnap_snapshot *s)
{
	disks_in_order(s, take_spool, all_taken);
}

static void close_fdsets(struct qmpsnap_snapshot *s)
{
	disks_in_order(s, remove_fdset, take_spools);
}

static void delete_targets(struct qmpsnap_snapshot *s)
{
	disks_in_order(s, remove_target, close_fdsets);
}

static void on_jobs(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;
	struct qmpsnap_error mine;
	struct copy_job job;
	char name[NAME_NODE_BYTES];

	if (err) {
		disk_done(s, err);
		return;
	}
	const bool found = copy_job_find(d, result, &job);
	if (!found && d->job_ended_well) {
		disk_done(s, NULL);
		return;
	}
	if (!found || strcmp(job.status, "concluded") != 0 || job.error) {
		copy_job_failed(d, found ? &job : NULL, &mine);
		disk_done(s, &mine);
		return;
	}
	struct json_object *args = json_new();
	copy_job_name(d, name);
	json_put_string(args, "id", name);
	disk_command(s, d, "job-dismiss", args);
}

/* QEMU 5.2 takes a concluded job for a user of its nodes, so it goes first.  A dismissal that was
 * sent already may still be refused. */
static void dismiss_job(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	qmp_execute(s->qmp, "query-jobs", NULL, on_jobs, d);
}

void target_close(struct flow *f, void *self)
{
	(void)f;
	speed_jobs(self, 0, NULL);
	copy_tell_instant(self);
	disks_in_order(self, dismiss_job, delete_targets);
}
