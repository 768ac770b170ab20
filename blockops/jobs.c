/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/jobs.h"

#include "blockops/snapshot.h"

#include <string.h>

enum { JOBS_POLL_MS = 5, JOBS_END_MS = 60000 };

/* ---- The timer ---- */

static void on_timer(uv_timer_t *timer)
{
	struct qmpsnap_snapshot *s = timer->data;
	jobs_fn *fn = s->jobs.timer_fn;

	s->jobs.timer_fn = NULL;
	fn(s);
}

void jobs_after(struct qmpsnap_snapshot *s, unsigned ms, jobs_fn *fn)
{
	if (!s->jobs.has_timer) {
		uv_timer_init(s->loop, &s->jobs.timer);
		s->jobs.timer.data = s;
		s->jobs.has_timer = true;
	}
	s->jobs.timer_fn = fn;
	uv_timer_start(&s->jobs.timer, on_timer, ms, 0);
}

void jobs_timer_stop(struct qmpsnap_snapshot *s)
{
	s->jobs.timer_fn = NULL;
	if (s->jobs.has_timer)
		uv_timer_stop(&s->jobs.timer);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct qmpsnap_snapshot *s = handle->data;

	s->jobs.timer_fn(s);
}

void jobs_close(struct qmpsnap_snapshot *s, jobs_fn *closed)
{
	if (!s->jobs.has_timer) {
		closed(s);
		return;
	}
	s->jobs.has_timer = false;
	s->jobs.timer_fn = closed;
	uv_close((uv_handle_t *)&s->jobs.timer, on_timer_closed);
}

/* ---- Names ---- */

bool jobs_is_ours(const struct qmpsnap_snapshot *s, const char *id, size_t *disk)
{
	char name[NAME_NODE_BYTES];

	for (*disk = 0; id && *disk < s->n_disks; (*disk)++) {
		name_node(name, s->run, "j", (unsigned)*disk);
		if (strcmp(name, id) == 0)
			return true;
	}
	return false;
}

/* ---- Their end ---- */

static void ask(struct qmpsnap_snapshot *s);
static void go_through(struct qmpsnap_snapshot *s);

static void finish(struct qmpsnap_snapshot *s)
{
	s->jobs.ending = false;
	s->jobs.ended(s);
}

static void on_told(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	(void)err; /* it may have got on by itself: the next look tells */
	s->jobs.at++;
	go_through(s);
}

static void tell(struct qmpsnap_snapshot *s, const char *id, bool concluded)
{
	struct json_object *args = json_new();

	json_put_string(args, concluded ? "id" : "device", id);
	if (!concluded)
		json_put_bool(args, "force", true);
	qmp_execute(s->qmp, concluded ? "job-dismiss" : "block-job-cancel", args, on_told, s);
}

/* A job that is aborting, or whose status we don't know, is left to itself. */
static bool takes_orders(const char *status)
{
	static const char *const willing[] = {
		"created", "running", "paused", "ready", "standby", "waiting", "pending"};

	for (size_t i = 0; status && i < sizeof(willing) / sizeof(willing[0]); i++) {
		if (strcmp(willing[i], status) == 0)
			return true;
	}
	return false;
}

static void go_through(struct qmpsnap_snapshot *s)
{
	size_t disk;

	for (; s->jobs.at < json_length(s->jobs.list); s->jobs.at++) {
		struct json_object *job = json_object_array_get_idx(s->jobs.list, s->jobs.at);
		const char *id = json_string(job, "id"), *status = json_string(job, "status");
		const bool concluded = status && strcmp(status, "concluded") == 0;
		if (!jobs_is_ours(s, id, &disk) || (status && strcmp(status, "null") == 0))
			continue;
		s->disks[disk].job_stood = true;
		s->jobs.any_left = true;
		if (concluded || takes_orders(status)) {
			tell(s, id, concluded);
			return;
		}
	}
	json_object_put(s->jobs.list);
	s->jobs.list = NULL;
	if (!s->jobs.any_left) {
		finish(s);
	} else if ((uv_hrtime() - s->jobs.from_ns) / 1000000 > JOBS_END_MS) {
		error_set(&s->jobs.err, QMPSNAP_DEADLINE,
			"QEMU hasn't ended our block job within %u s", JOBS_END_MS / 1000);
		finish(s);
	} else {
		jobs_after(s, JOBS_POLL_MS, ask);
	}
}

static void on_jobs(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (err) {
		if (!snapshot_qemu_is_gone(s))
			s->jobs.err = *err;
		finish(s);
		return;
	}
	s->jobs.list = json_object_get(result);
	s->jobs.at = 0;
	s->jobs.any_left = false;
	go_through(s);
}

static void ask(struct qmpsnap_snapshot *s)
{
	if (snapshot_qemu_is_gone(s))
		finish(s);
	else
		qmp_execute(s->qmp, "query-jobs", NULL, on_jobs, s);
}

void jobs_end(struct qmpsnap_snapshot *s, jobs_fn *ended)
{
	s->jobs.ended = ended;
	s->jobs.err = (struct qmpsnap_error){0};
	s->jobs.from_ns = uv_hrtime();
	s->jobs.ending = true;
	ask(s);
}
