/* SPDX-License-Identifier: Apache-2.0
 *
 * The job flavour of `stream`: an overlay on the disk's node is the target of a backup job that
 * copies only what the guest is about to overwrite.  What the overlay doesn't hold it reads from
 * the disk, so it shows the disk as it was when the job began.  One transaction begins the jobs of
 * all disks: the instant, for which the guest needs no stop. */
#include "base/log.h"
#include "base/units.h"
#include "blockops/job_watch.h"
#include "blockops/scratch_file.h"
#include "blockops/steps.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { RESERVE_LEAST_BYTES = 1024 * 1024 };

/* ---- scratch: a file under a raw node, reserved as far as it goes ---- */

/* As large as it can ever get: held to scratch_limit_bytes by QEMU, as the filter's is, it would
 * stop the guest while the file system still has room. */
static struct json_object *scratch_node(const struct snapshot_disk *d, const char *filename)
{
	struct json_object *raw = json_new(), *file = json_new();
	char name[NAME_NODE_BYTES];

	json_put_string(file, "driver", "file");
	json_put_string(file, "filename", filename);
	disk_node(d->snapshot, d, "s", name);
	json_put_string(raw, "driver", "raw");
	json_put_string(raw, "node-name", name);
	json_put_uint(raw, "size", scratch_file_most_bytes(d));
	json_put(raw, "file", file);
	return raw;
}

/* Free space that others take before we do is tried for again, with less. */
static void on_reserved(struct snapshot_disk *d, const struct qmpsnap_error *err)
{
	const uint64_t less = d->scratch_limit_bytes / 4 * 3;

	if (err && err->detail == ENOSPC && less >= RESERVE_LEAST_BYTES) {
		d->scratch_limit_bytes = less - less % CLUSTER_BYTES;
		scratch_file_reserve(d, d->scratch_limit_bytes, on_reserved);
		return;
	}
	if (err && err->detail == ENOSPC) {
		struct qmpsnap_error mine = *err;
		error_hint(&mine, "name a roomier folder with --scratch");
		disk_done(d->snapshot, &mine);
		return;
	}
	d->scratch_holds = !err && scratch_file_reservation_holds(d);
	d->scratch_is_reserved =
		d->scratch_holds && d->scratch_limit_bytes >= scratch_file_most_bytes(d);
	if (!d->scratch_holds) {
		log_line(QMPSNAP_LOG_WARNING,
			"disk %s: the file system of %s isn't known to keep what it reserves: the "
			"snapshot is given up when that is nearly full",
			d->label, scratch_file_folder(d->snapshot));
	} else if (!d->scratch_is_reserved) {
		char limit[UNITS_TEXT_BYTES];
		units_format_size(limit, d->scratch_limit_bytes);
		log_line(QMPSNAP_LOG_INFO,
			"disk %s: %s are reserved for its scratch, less than the whole disk could "
			"need: the snapshot is given up if the guest overwrites nearly as much",
			d->label, limit);
	}
	scratch_file_add_node(d, "s", scratch_node, scratch_file_added);
}

static void add_scratch(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct qmpsnap_error err;

	if (!scratch_file_open(d, &err) ||
		!scratch_file_write_qcow2(d, scratch_file_most_bytes(d), &err)) {
		disk_done(s, &err);
		return;
	}
	d->scratch_written_bytes = CLUSTER_BYTES;
	scratch_file_reserve(d, d->scratch_limit_bytes, on_reserved);
}

void scratch_add_reserved(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err;

	if (scratch_file_share(s, &err))
		disks_in_order(s, add_scratch, NULL);
	else
		flow_done(f, &err);
}

/* ---- overlay: what becomes the view ---- */

static void add_overlay(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct json_object *args = json_new(), *cache = json_new();
	char name[NAME_NODE_BYTES];

	json_put_bool(cache, "no-flush", true); /* nobody reads it after a crash */
	disk_node(s, d, "v", name);
	json_put_string(args, "driver", "qcow2");
	json_put_string(args, "node-name", name);
	disk_node(s, d, "s", name);
	json_put_string(args, "file", name);
	json_put_string(args, "backing", d->node);
	json_put(args, "cache", cache);
	disk_command(s, d, "blockdev-add", args);
}

void overlay_add(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, add_overlay, NULL);
}

/* ---- instant ---- */

static struct json_object *backup_action(const struct snapshot_disk *d)
{
	struct json_object *action = json_new(), *data = json_new();
	char name[NAME_NODE_BYTES];

	json_put_string(data, "device", d->node);
	disk_node(d->snapshot, d, "v", name);
	json_put_string(data, "target", name);
	json_put_string(data, "sync", "none");
	disk_node(d->snapshot, d, "j", name);
	json_put_string(data, "job-id", name);
	json_put_bool(data, "auto-dismiss", false);
	json_put_string(action, "type", "blockdev-backup");
	json_put(action, "data", data);
	return action;
}

static void prepare(struct qmpsnap_snapshot *s, const struct qmpsnap_error *changed)
{
	struct json_object *args = json_new(), *actions = json_object_new_array();
	struct qmpsnap_error err = {0};

	if (changed)
		err = *changed;
	for (size_t i = 0; i < s->n_disks; i++)
		json_append(actions, backup_action(&s->disks[i]));
	json_put(args, "actions", actions);
	s->transaction_request = qmp_request_new("transaction", args);
	if (!s->transaction_request && !changed)
		error_no_memory(&err);
	flow_done(&s->flow, &err);
}

void jobs_prepare(struct flow *f, void *self)
{
	(void)f;
	devices_check(self, prepare);
}

static void on_begun(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	if (!err) {
		clock_gettime(CLOCK_REALTIME, &s->instant);
		job_watch_begin(s);
	}
	flow_done(&s->flow, err);
}

void jobs_begin(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmp_request *request = s->transaction_request;

	(void)f;
	s->transaction_request = NULL;
	qmp_send(s->qmp, request, snapshot_instant_ms(s), on_begun, s);
}

static void on_timer_closed(struct qmpsnap_snapshot *s)
{
	flow_done(&s->flow, &s->jobs.err);
}

static void on_ended(struct qmpsnap_snapshot *s)
{
	jobs_close(s, on_timer_closed);
}

void jobs_remove(struct flow *f, void *self)
{
	(void)f;
	job_watch_end(self, on_ended);
}

/* ---- export ---- */

void overlay_export(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	name_time(s->result.instant, &s->instant);
	snapshot_tell(s, QMPSNAP_EVENT_STATE, "image_pending_upload");
	export_add(f, self);
}

/* ---- stayed ---- */

static void on_status(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	const char *status = json_string(result, "status");
	struct qmpsnap_error mine;

	if (!err && status && strcmp(status, "postmigrate") == 0) {
		error_set(&mine, QMPSNAP_VIEW,
			"the guest was migrated away while its disks were read, so the view may "
			"show what it wrote elsewhere");
		error_hint(&mine, "take the snapshot where the guest is now");
		err = &mine;
	}
	flow_done(&s->flow, err);
}

/* A QEMU with the filter fails a migration because of our nodes.  5.2 completes it in spite of the
 * jobs, and what the guest writes at its new place doesn't pass them. */
void jobs_check_stayed(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	qmp_execute(s->qmp, "query-status", NULL, on_status, s);
}
