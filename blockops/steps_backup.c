/* SPDX-License-Identifier: Apache-2.0
 *
 * The instant of `backup`: one transaction of blockdev-backup jobs.  What the guest overwrites from
 * then on is copied before. */
#include "base/log.h"
#include "blockops/copy_job.h"
#include "blockops/steps.h"

static struct json_object *job_arguments(const struct snapshot_disk *d)
{
	struct json_object *args = copy_job_arguments(d);

	if (copy_job_is_by_cluster(d) && d->snapshot->guest.caps.has[QMP_CAP_BACKUP_PERF]) {
		struct json_object *perf = json_new();
		json_put_uint(perf, "max-chunk", CLUSTER_BYTES);
		json_put(args, "x-perf", perf);
	}
	return args;
}

/* Without x-perf (before 6.0) QEMU copies with copy_file_range(), whose bytes nobody looks at. */
static void warn_of_zeroes(const struct qmpsnap_snapshot *s)
{
	if (s->zero_scan != QMPSNAP_ZERO_SCAN_ALWAYS || s->guest.caps.has[QMP_CAP_BACKUP_PERF])
		return;
	for (size_t i = 0; i < s->n_disks; i++) {
		if (copy_job_is_by_cluster(&s->disks[i]))
			log_line(QMPSNAP_LOG_WARNING,
				"disk %s: this QEMU's blockdev-backup has no x-perf: the copy "
				"keeps what holds only zeroes; the methods stream and mirror leave "
				"it out",
				s->disks[i].label);
	}
}

static void prepare(struct qmpsnap_snapshot *s, const struct qmpsnap_error *changed)
{
	struct json_object *args = json_new();
	struct json_object *actions = json_object_new_array();
	struct qmpsnap_error err = {0};

	if (changed)
		err = *changed;
	copy_jobs_share(s);
	for (size_t i = 0; i < s->n_disks; i++) {
		struct json_object *action = json_new();
		json_put_string(action, "type", "blockdev-backup");
		json_put(action, "data", job_arguments(&s->disks[i]));
		json_append(actions, action);
	}
	json_put(args, "actions", actions);
	s->transaction_request = qmp_request_new("transaction", args);
	if (!s->transaction_request && !changed)
		error_no_memory(&err);
	flow_done(&s->flow, &err);
}

void backup_prepare(struct flow *f, void *self)
{
	(void)f;
	warn_of_zeroes(self);
	devices_check(self, prepare);
}

static void on_begun(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	if (!err)
		clock_gettime(CLOCK_REALTIME, &s->instant);
	flow_done(&s->flow, err);
}

void backup_begin(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmp_request *request = s->transaction_request;

	(void)f;
	s->transaction_request = NULL;
	qmp_send(s->qmp, request, snapshot_instant_ms(s), on_begun, s);
}
