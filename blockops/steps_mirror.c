/* SPDX-License-Identifier: Apache-2.0
 *
 * The method `mirror`: jobs that follow the guest's writes, and their end as the instant.  They are
 * cancelled without force, which leaves the copy as the disk was then; block-job-complete would put
 * the guest onto the copy. */
#include "blockops/copy_job.h"
#include "blockops/steps.h"

#include <string.h>

enum {
	MIRROR_END_MS = 60000, /* what a running guest writes meanwhile has to be copied too */
	MIRROR_PAUSED_END_MS = 3000, /* the guest stands still; less than SNAPSHOT_PAUSE_MS */
};

/* ---- mirror ---- */

static void add_mirror(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct json_object *args = copy_job_arguments(d);

	json_put_string(args, "copy-mode", "background"); /* no write of the guest waits */
	if (copy_job_is_by_cluster(d))
		json_put_uint(args, "buf-size", CLUSTER_BYTES); /* no read is longer */
	disk_command(s, d, "blockdev-mirror", args);
}

static void add_mirrors(struct qmpsnap_snapshot *s, const struct qmpsnap_error *changed)
{
	if (changed || flow_failed(&s->flow)) {
		flow_done(&s->flow, changed);
		return;
	}
	copy_jobs_share(s);
	disks_in_order(s, add_mirror, NULL);
}

void mirror_add(struct flow *f, void *self)
{
	(void)f;
	devices_check(self, add_mirrors);
}

void mirror_prepare(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err = {0};
	char name[NAME_NODE_BYTES];

	for (size_t i = 0; i < s->n_disks && err.code == QMPSNAP_OK; i++) {
		struct snapshot_disk *d = &s->disks[i];
		struct json_object *args = json_new();
		copy_job_name(d, name);
		json_put_string(args, "device", name);
		d->switch_request = qmp_request_new("block-job-cancel", args);
		if (!d->switch_request)
			error_no_memory(&err);
	}
	copy_jobs_hurry(s); /* the guest may have to wait for what is left */
	flow_done(f, &err);
}

/* ---- instant ---- */

/* Whether a job ended well its dismissal will tell. */
static void on_event(const char *name, struct json_object *event_data, void *user)
{
	struct qmpsnap_snapshot *s = user;
	struct snapshot_disk *d = copy_job_of_event(s, event_data);
	const char *status = json_string(event_data, "status");
	bool all = true;

	(void)name;
	if (!d || !status || strcmp(status, "concluded") != 0)
		return;
	clock_gettime(CLOCK_REALTIME, &s->instant);
	d->job_over = true;
	for (size_t i = 0; i < s->n_disks; i++)
		all = all && s->disks[i].job_over;
	if (all)
		copying_done(s, NULL);
}

static void on_cancelled(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_error mine;

	(void)result;
	if (!err || !d->snapshot->copying.waiting)
		return;
	mine = *err;
	error_wrap(&mine, "disk %s", d->label);
	copying_done(d->snapshot, &mine);
}

/* What a frozen guest's disks still lack is little; a guest that isn't frozen writes on. */
static unsigned end_ms(const struct qmpsnap_snapshot *s)
{
	if (s->stopped)
		return MIRROR_PAUSED_END_MS;
	return s->freeze.in_doubt ? SNAPSHOT_FROZEN_COMMAND_MS : MIRROR_END_MS;
}

static void on_late(struct qmpsnap_snapshot *s)
{
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_DEADLINE, "the rest of the copy wasn't done within %u s%s",
		end_ms(s) / 1000, s->stopped ? ", while the guest had to stand still" : "");
	error_hint(&err, "the method stream doesn't depend on how fast a copy is made");
	copying_done(s, &err);
}

void mirror_end(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	copying_begin(s, on_event);
	snapshot_after(s, end_ms(s), on_late);
	for (size_t i = 0; i < s->n_disks; i++) {
		struct snapshot_disk *d = &s->disks[i];
		struct qmp_request *request = d->switch_request;
		d->switch_request = NULL;
		qmp_send(s->qmp, request, 0, on_cancelled, d);
	}
}
