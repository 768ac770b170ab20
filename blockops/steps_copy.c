/* SPDX-License-Identifier: Apache-2.0
 *
 * The copying: waiting for the jobs, by QEMU's events and by asking now and then, which also brings
 * the progress. */
#include "blockops/copy_job.h"
#include "blockops/steps.h"

#include <string.h>

enum {
	COPY_POLL_MS = 250,
	/* A mirror that hasn't come nearer to its end for so long never will. */
	COPY_STALL_MS = 60000,
	/* How long the rest of a mirror may take by the speed seen so far: the guest stands still
	 * meanwhile, see SNAPSHOT_PAUSE_MS. */
	COPY_PAUSE_MS = 500,
	COPY_LEAST_SPEED = 1 << 20, /* bytes/s; below that nothing was measured */
	/* So little of a mirror is copied without a limit: under one it might never catch up with a
	 * guest that writes here and there, since a write of a sector is a cluster to copy. */
	COPY_REST_BYTES = 16 << 20,
};

struct tally {
	size_t n_over, n_ready;
	uint64_t done_bytes, left_bytes;
};

static void ask(struct qmpsnap_snapshot *s);

void copying_begin(struct qmpsnap_snapshot *s, qmp_event_fn *on_event)
{
	memset(&s->copying, 0, sizeof(s->copying));
	s->copying.waiting = true;
	s->copying.from_ns = s->copying.least_ns = uv_hrtime();
	s->copying.least_left_bytes = UINT64_MAX;
	s->copying.on_event =
		(struct qmp_subscription){.name = "JOB_STATUS_CHANGE", .fn = on_event, .user = s};
	qmp_subscribe(s->qmp, &s->copying.on_event);
}

void copying_done(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	s->copying.waiting = false;
	snapshot_timer_stop(s);
	if (s->qmp)
		qmp_unsubscribe(s->qmp, &s->copying.on_event);
	flow_done(&s->flow, err);
}

/* Takes down how the disk's job stands; false and *err when it has failed. */
static bool take(struct snapshot_disk *d, struct json_object *jobs, struct tally *tally,
	struct qmpsnap_error *err)
{
	struct qmpsnap_snapshot *s = d->snapshot;
	struct copy_job job;

	const bool found = copy_job_find(d, jobs, &job);
	if (d->job_dismissed || (!found && d->job_ended_well)) {
		tally->n_over++;
		return true;
	}
	const bool over = found && strcmp(job.status, "concluded") == 0;

	if (!found || job.error || (over && s->copying.to_ready)) {
		copy_job_failed(d, found ? &job : NULL, err);
		return false;
	}
	if (over) {
		d->job_over = true; /* its share of the speed is the others' */
		d->job_ended_well = true;
		copy_jobs_pace(s);
		copy_job_dismiss(d);
	}
	tally->n_over += over;
	tally->n_ready += strcmp(job.status, "ready") == 0;
	tally->done_bytes += job.done_bytes;
	if (job.done_bytes > d->copied_bytes)
		speed_copied(s, job.done_bytes - d->copied_bytes);
	d->copied_bytes = job.done_bytes;
	if (job.total_bytes > job.done_bytes)
		tally->left_bytes += job.total_bytes - job.done_bytes;
	snapshot_tell_disk(d, QMPSNAP_EVENT_PROGRESS, "copy", job.done_bytes, job.total_bytes);
	return true;
}

/* Whether what is left can be copied while the guest stands still. */
static bool rest_is_small(const struct qmpsnap_snapshot *s, const struct tally *tally)
{
	const double seconds = (double)(uv_hrtime() - s->copying.from_ns) / 1e9;
	double speed = (double)tally->done_bytes / seconds;

	if (speed < COPY_LEAST_SPEED)
		speed = COPY_LEAST_SPEED;
	return (double)tally->left_bytes * 1000 / speed <= COPY_PAUSE_MS;
}

static unsigned stall_ms(const struct qmpsnap_snapshot *s)
{
	return s->faults.stall_ms ? s->faults.stall_ms : COPY_STALL_MS;
}

static bool is_stalled(struct qmpsnap_snapshot *s, const struct tally *tally)
{
	if (tally->left_bytes < s->copying.least_left_bytes) {
		s->copying.least_left_bytes = tally->left_bytes;
		s->copying.least_ns = uv_hrtime();
	}
	return uv_hrtime() - s->copying.least_ns > UINT64_C(1000000) * stall_ms(s);
}

static bool is_well(struct qmpsnap_snapshot *s, const struct tally *tally)
{
	if (!s->copying.to_ready)
		return tally->n_over == s->n_disks;
	return tally->n_ready == s->n_disks && (!s->multi || rest_is_small(s, tally));
}

static void give_up_stalled(struct qmpsnap_snapshot *s)
{
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_DEADLINE,
		"the copy hasn't come nearer to the disks for %u s: the guest writes faster than "
		"QEMU copies",
		stall_ms(s) / 1000);
	error_hint(&err, "the methods stream and backup don't depend on that; else raise --speed, "
			 "take --zero-scan never, or try when the guest writes less");
	copying_done(s, &err);
}

static void on_jobs(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error mine;
	struct tally tally = {0};

	s->copying.asking = false;
	if (!s->copying.waiting)
		return;
	if (err) {
		copying_done(s, err);
		return;
	}
	for (size_t i = 0; i < s->n_disks; i++) {
		if (!take(&s->disks[i], result, &tally, &mine)) {
			copying_done(s, &mine);
			return;
		}
		if (!s->copying.waiting) /* given up from within the event */
			return;
	}
	if (s->copying.to_ready && tally.left_bytes <= COPY_REST_BYTES)
		copy_jobs_hurry(s);
	if (is_well(s, &tally)) {
		copying_done(s, NULL);
	} else if (s->copying.to_ready && is_stalled(s, &tally)) {
		give_up_stalled(s);
	} else if (s->copying.again) {
		ask(s);
	} else {
		snapshot_after(s, COPY_POLL_MS, ask);
	}
}

static void ask(struct qmpsnap_snapshot *s)
{
	s->copying.asking = true;
	s->copying.again = false;
	qmp_execute(s->qmp, "query-jobs", NULL, on_jobs, s);
}

static void on_event(const char *name, struct json_object *event_data, void *user)
{
	struct qmpsnap_snapshot *s = user;

	(void)name;
	if (!copy_job_of_event(s, event_data))
		return;
	s->copying.again = true;
	if (!s->copying.asking) {
		snapshot_timer_stop(s);
		ask(s);
	}
}

static void wait_for_jobs(struct qmpsnap_snapshot *s, bool to_ready)
{
	copying_begin(s, on_event);
	s->copying.to_ready = to_ready;
	copy_jobs_pace(s); /* it may have changed since they were begun */
	ask(s);
}

void copy_tell_instant(struct qmpsnap_snapshot *s)
{
	if (s->result.instant[0])
		return;
	name_time(s->result.instant, &s->instant);
	snapshot_tell(s, QMPSNAP_EVENT_STATE, "image_pending_upload");
}

void copy_to_end(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	copy_tell_instant(s);
	wait_for_jobs(s, false);
}

void copy_to_ready(struct flow *f, void *self)
{
	(void)f;
	wait_for_jobs(self, true);
}

/* Also with a QEMU that hangs: the reply under way is nobody's then. */
void copy_cancel(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	if (s->copying.waiting)
		copying_done(s, NULL);
}

void copy_jobs_remove(struct flow *f, void *self)
{
	speed_jobs(self, 0, NULL);
	jobs_remove(f, self);
}
