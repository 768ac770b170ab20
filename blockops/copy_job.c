/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/copy_job.h"

#include "base/log.h"
#include "blockops/zero_scan.h"

#include <string.h>

void copy_job_name(const struct snapshot_disk *d, char name[static NAME_NODE_BYTES])
{
	disk_node(d->snapshot, d, "j", name);
}

/* "stop" and "enospc" as a policy would hold the job, and with it the guest's writes. */
struct json_object *copy_job_arguments(const struct snapshot_disk *d)
{
	struct json_object *args = json_new();
	const uint64_t speed = speed_of_job(d->snapshot);
	char name[NAME_NODE_BYTES];

	copy_job_name(d, name);
	json_put_string(args, "job-id", name);
	json_put_string(args, "device", d->node);
	disk_node(d->snapshot, d, "t", name);
	json_put_string(args, "target", name);
	json_put_string(args, "sync", "full");
	if (speed)
		json_put_uint(args, "speed", speed);
	json_put_string(args, "on-source-error", "report");
	json_put_string(args, "on-target-error", "report");
	json_put_bool(args, "auto-dismiss", false);
	return args;
}

/* A raw image's size doesn't depend on its zeroes. */
bool copy_job_is_by_cluster(const struct snapshot_disk *d)
{
	const enum qmpsnap_zero_scan asked = d->snapshot->zero_scan;

	if (d->format != QMPSNAP_QCOW2 || asked == QMPSNAP_ZERO_SCAN_NEVER)
		return false;
	return asked == QMPSNAP_ZERO_SCAN_ALWAYS ||
	       zero_scan_pays_on_host(d->host_bytes, d->virtual_size_bytes);
}

bool copy_job_find(const struct snapshot_disk *d, struct json_object *jobs, struct copy_job *job)
{
	char name[NAME_NODE_BYTES];

	copy_job_name(d, name);
	for (size_t i = 0; i < json_length(jobs); i++) {
		struct json_object *one = json_object_array_get_idx(jobs, i);
		const char *id = json_string(one, "id"), *status = json_string(one, "status");
		if (!id || !status || strcmp(id, name) != 0)
			continue;
		*job = (struct copy_job){.status = status,
			.error = json_string(one, "error"),
			.done_bytes = json_uint(one, "current-progress"),
			.total_bytes = json_uint(one, "total-progress")};
		return true;
	}
	return false;
}

void copy_job_failed(
	const struct snapshot_disk *d, const struct copy_job *job, struct qmpsnap_error *err)
{
	if (job && job->error)
		error_set(err, QMPSNAP_QEMU, "disk %s: QEMU's copy of it failed: %s", d->label,
			job->error);
	else
		error_set(err, QMPSNAP_QEMU, "disk %s: somebody ended our job in QEMU%s", d->label,
			job ? "" : " and dismissed it");
	error_hint(err, "somebody may have cancelled it, or unplugged the disk, or the disk can't "
			"be read");
}

/* Somebody else may have done it; else the step close does. */
static void on_dismissed(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;

	(void)result;
	if (!err)
		return;
	d->job_dismissed = false;
	log_line(QMPSNAP_LOG_DEBUG, "disk %s: %s", d->label, err->message);
}

void copy_job_dismiss(struct snapshot_disk *d)
{
	struct json_object *args = json_new();
	char name[NAME_NODE_BYTES];

	copy_job_name(d, name);
	json_put_string(args, "id", name);
	d->job_dismissed = true;
	qmp_execute(d->snapshot->qmp, "job-dismiss", args, on_dismissed, d);
}

struct snapshot_disk *copy_job_of_event(struct qmpsnap_snapshot *s, struct json_object *event_data)
{
	size_t disk;

	return jobs_is_ours(s, json_string(event_data, "id"), &disk) ? &s->disks[disk] : NULL;
}

/* ---- Speed ---- */

/* A job that has ended meanwhile takes no speed. */
static void on_speed_set(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	const struct snapshot_disk *d = data;

	(void)result;
	if (err)
		log_line(QMPSNAP_LOG_DEBUG, "disk %s: %s", d->label, err->message);
}

static void set_speeds(struct qmpsnap_snapshot *s, uint64_t speed)
{
	char name[NAME_NODE_BYTES];

	for (size_t i = 0; i < s->n_disks; i++) {
		struct snapshot_disk *d = &s->disks[i];
		if (d->job_over || snapshot_qemu_is_gone(s))
			continue;
		struct json_object *args = json_new();
		copy_job_name(d, name);
		json_put_string(args, "device", name);
		json_put_uint(args, "speed", speed);
		qmp_execute(s->qmp, "block-job-set-speed", args, on_speed_set, d);
	}
}

static void on_speed_changed(struct qmpsnap_snapshot *s)
{
	set_speeds(s, speed_of_job(s));
}

void copy_jobs_share(struct qmpsnap_snapshot *s)
{
	unsigned n = 0;

	for (size_t i = 0; i < s->n_disks; i++)
		n += !s->disks[i].job_over;
	speed_jobs(s, n, n ? on_speed_changed : NULL);
}

void copy_jobs_pace(struct qmpsnap_snapshot *s)
{
	copy_jobs_share(s);
	if (speed_of_job(s))
		on_speed_changed(s);
}

void copy_jobs_hurry(struct qmpsnap_snapshot *s)
{
	const bool limited = s->speed.n_jobs > 0 && speed_of_job(s) != 0;

	speed_jobs(s, 0, NULL);
	if (limited)
		set_speeds(s, 0);
}
