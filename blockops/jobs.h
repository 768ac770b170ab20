/* SPDX-License-Identifier: Apache-2.0
 *
 * jobs.h - the background jobs of a run in QEMU, role "j": what they are doing, their end.
 *
 * Source: QEMU's QMP reference, query-jobs (JobInfo, JobStatus), block-job-cancel, job-dismiss.
 */
#ifndef BLOCKOPS_JOBS_H
#define BLOCKOPS_JOBS_H

#include <qmpsnap.h>

#include <json-c/json.h>
#include <uv.h>

struct qmpsnap_snapshot;
typedef void jobs_fn(struct qmpsnap_snapshot *s);

/* Embedded in a snapshot; jobs.c's own. */
struct jobs {
	uv_timer_t timer;
	bool has_timer;
	jobs_fn *timer_fn; /* NULL: the timer isn't armed */
	struct json_object *list; /* QEMU's jobs while they are gone through */
	size_t at;
	bool any_left;
	bool ending;
	uint64_t from_ns;
	jobs_fn *ended;
	struct qmpsnap_error err;
};

/* Cancels all jobs of this run by force, waits until each has concluded and dismisses it; then
 * calls `ended`, at once if there is no QEMU any more.  s->jobs.err says what failed: QEMU, or
 * DEADLINE after a minute.  A job that isn't there is well; so is no job at all.  The disks of
 * those that were there have .job_stood set. */
void jobs_end(struct qmpsnap_snapshot *s, jobs_fn *ended);

/* A timer beside the running step's; one at a time.  It must be closed before the snapshot is
 * freed; `closed` is called later, or at once if it was never armed. */
void jobs_after(struct qmpsnap_snapshot *s, unsigned ms, jobs_fn *fn);
void jobs_timer_stop(struct qmpsnap_snapshot *s);
void jobs_close(struct qmpsnap_snapshot *s, jobs_fn *closed);

/* Whether `id` is the name of a job of this run; *disk gets its disk's number. */
bool jobs_is_ours(const struct qmpsnap_snapshot *s, const char *id, size_t *disk);

#endif
