/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/job_watch.h"

#include "base/log.h"
#include "base/units.h"
#include "blockops/method_table.h"
#include "blockops/scratch_file.h"

#include <string.h>

enum {
	WATCH_POLL_MS = 200,
	REFUSED_MS = 200,
	REFUSALS_MOST = 10, /* while it isn't known that we stopped the guest */
	REFUSALS_A_LINE = 300, /* of a `cont`: the user hears of the 10th, and of each so many */
};

static void watch(struct qmpsnap_snapshot *s);

/* ---- Who stopped the guest ---- */

enum cause { BY_OTHERS, BY_OUR_SCRATCH, UNTOLD };

/* Whether the device of `d` holds a write that found no space. */
static bool lacked_space(const struct snapshot_disk *d, const struct guest *guest)
{
	for (size_t i = 0; i < guest->n_disks; i++) {
		const char *status =
			json_string(json_object_array_get_idx(guest->block, i), "io-status");
		const char *path = guest->disks[i].qom_path;
		if (path && strcmp(path, d->qom_path) == 0)
			return status && strcmp(status, "nospace") == 0;
	}
	return false;
}

/* A journal brings no descriptor by which to see whether the scratch is full. */
static enum cause cause_by_journal(const struct snapshot_disk *d, struct qmpsnap_error *err)
{
	const struct qmpsnap_snapshot *s = d->snapshot;

	if (s->journal.fd < 0 || s->table != method_table(METHOD_JOB))
		return BY_OTHERS;
	if (d->job_stood && s->ran)
		return BY_OUR_SCRATCH;
	error_set(err, QMPSNAP_AGENT,
		"%s stands still since a write to its disk %s found no space, and nobody can tell "
		"whether that was for run %s; so it is left as it is",
		s->guest_name, d->label, s->run);
	error_hint(err, "`cont` on its monitor continues it");
	return UNTOLD;
}

/* A disk whose own file has no space stops the guest in the same way, and that isn't ours. */
static enum cause cause_of_stop(
	struct qmpsnap_snapshot *s, struct json_object *block, struct qmpsnap_error *err)
{
	struct guest guest = {0};
	enum cause cause = BY_OTHERS;

	if (!guest_parse_block(&guest, block, err))
		cause = UNTOLD;
	for (size_t i = 0; i < s->n_disks && cause != BY_OUR_SCRATCH; i++) {
		struct snapshot_disk *d = &s->disks[i];
		if (!lacked_space(d, &guest))
			continue;
		if (d->scratch_fd < 0)
			cause = cause_by_journal(d, err);
		else if (scratch_file_is_full(d))
			cause = BY_OUR_SCRATCH;
	}
	guest_free(&guest);
	return cause;
}

static bool is_io_error(struct json_object *status)
{
	const char *text = json_string(status, "status");

	return text && strcmp(text, "io-error") == 0;
}

/* ---- The end: the jobs, then the guest that they may have stopped ---- */

static void rescue(struct qmpsnap_snapshot *s);

static void rescued(struct qmpsnap_snapshot *s)
{
	snapshot_fn *ended = s->watch.ended;

	s->watch.ending = false;
	s->watch.ended = NULL;
	if (ended)
		ended(s);
}

static void not_rescued(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	if (s->jobs.err.code == QMPSNAP_OK)
		s->jobs.err = *err;
	rescued(s);
}

static void say_refused(const struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	if (s->watch.n_refusals % REFUSALS_A_LINE == REFUSALS_MOST)
		log_line(QMPSNAP_LOG_WARNING,
			"the full scratch has stopped the guest, and QEMU doesn't continue it: it "
			"is asked again for as long as it lives (%s)",
			err->message);
}

/* A refusal may pass.  The job has ended, so nobody could tell later that the stop was ours: a
 * guest that we stopped isn't given up while QEMU lives.  (A lost monitor is had again by the
 * flow, which needs this undo's end.) */
static void try_again(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	const bool insists = s->watch.ours && !qmp_is_lost(s->qmp);

	if (snapshot_qemu_is_gone(s)) {
		rescued(s);
		return;
	}
	s->watch.n_refusals++;
	if (!insists && (err->code == QMPSNAP_DEADLINE || s->watch.n_refusals >= REFUSALS_MOST)) {
		not_rescued(s, err);
		return;
	}
	if (insists)
		say_refused(s, err);
	jobs_after(s, REFUSED_MS, rescue);
}

static void on_continued(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	if (err) {
		try_again(s, err);
		return;
	}
	s->watch.continued = true;
	log_line(QMPSNAP_LOG_WARNING, "the full scratch had stopped the guest; it was continued");
	rescued(s);
}

static void on_block(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error untold;
	enum cause cause;

	if (err) {
		try_again(s, err);
		return;
	}
	cause = cause_of_stop(s, result, &untold);
	s->watch.ours = cause == BY_OUR_SCRATCH;
	if (s->watch.ours)
		qmp_execute(s->qmp, "cont", NULL, on_continued, s);
	else if (cause == UNTOLD)
		not_rescued(s, &untold);
	else
		rescued(s);
}

/* A `cont` may reset the devices' io-status and be refused all the same. */
static void on_status(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (err)
		try_again(s, err);
	else if (!is_io_error(result) || s->watch.continued)
		rescued(s);
	else if (s->watch.ours)
		qmp_execute(s->qmp, "cont", NULL, on_continued, s);
	else
		qmp_execute(s->qmp, "query-block", NULL, on_block, s);
}

static void rescue(struct qmpsnap_snapshot *s)
{
	if (snapshot_qemu_is_gone(s))
		rescued(s);
	else
		qmp_execute(s->qmp, "query-status", NULL, on_status, s);
}

static void end_watch(struct qmpsnap_snapshot *s)
{
	if (!s->watch.watching)
		return;
	s->watch.watching = false;
	jobs_timer_stop(s);
	if (s->qmp)
		qmp_unsubscribe(s->qmp, &s->watch.on_event);
}

void job_watch_end(struct qmpsnap_snapshot *s, snapshot_fn *ended)
{
	end_watch(s);
	s->watch.ended = ended;
	if (s->watch.ending)
		return;
	s->watch.ending = true;
	s->watch.n_refusals = 0;
	jobs_end(s, rescue);
}

/* The undo's end of it would come after the exports': too late for a guest that writes. */
static void give_up(struct qmpsnap_snapshot *s, const struct qmpsnap_error *why)
{
	if (!s->watch.watching)
		return;
	flow_cancel(&s->flow, why);
	if (!s->watch.ending)
		job_watch_end(s, NULL);
}

/* ---- How full the scratch is ---- */

/* Room for what a fast guest writes before the job is cancelled. */
static uint64_t margin_bytes(const struct snapshot_disk *d)
{
	const uint64_t most = UINT64_C(256) << 20, quarter = d->scratch_limit_bytes / 4;

	return quarter < most ? quarter : most;
}

static void give_up_full(struct snapshot_disk *d)
{
	struct qmpsnap_error err;
	char written[UNITS_TEXT_BYTES], limit[UNITS_TEXT_BYTES];

	units_format_size(written, d->scratch_written_bytes);
	units_format_size(limit, d->scratch_limit_bytes);
	error_set(&err, QMPSNAP_VIEW,
		"disk %s: its scratch is nearly full (%s of %s): the snapshot was given up before "
		"the guest would have had to stop",
		d->label, written, limit);
	error_hint(&err, "give it more room with --scratch or --scratch-limit, or read faster");
	give_up(d->snapshot, &err);
}

static void give_up_poor(struct snapshot_disk *d)
{
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_VIEW,
		"disk %s: the file system of its scratch, %s, is nearly full: the snapshot was "
		"given up before the guest would have had to stop",
		d->label, scratch_file_folder(d->snapshot));
	error_hint(&err, "name a folder with --scratch that has more room");
	give_up(d->snapshot, &err);
}

static bool is_watched(const struct qmpsnap_snapshot *s)
{
	bool any = false;

	for (size_t i = 0; i < s->n_disks; i++)
		any = any || !s->disks[i].scratch_is_reserved;
	return any && !s->faults.no_watch;
}

static void take_stats(struct snapshot_disk *d, struct json_object *stats)
{
	char name[NAME_NODE_BYTES];

	disk_node(d->snapshot, d, "s", name);
	for (size_t i = 0; i < json_length(stats); i++) {
		struct json_object *one = json_object_array_get_idx(stats, i);
		const char *node = json_string(one, "node-name");
		const int64_t highest = json_int(
			json_member(one, "stats", json_type_object), "wr_highest_offset", 0);
		if (node && strcmp(node, name) == 0 && highest > 0)
			d->scratch_written_bytes = (uint64_t)highest;
	}
}

static void on_stats(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	for (size_t i = 0; !err && i < s->n_disks; i++) {
		struct snapshot_disk *d = &s->disks[i];
		take_stats(d, result);
		if (d->scratch_is_reserved || s->faults.no_watch)
			continue;
		if (d->scratch_written_bytes + margin_bytes(d) >= d->scratch_limit_bytes)
			give_up_full(d);
		else if (!d->scratch_holds && scratch_file_free_bytes(d) < margin_bytes(d))
			give_up_poor(d);
	}
	if (s->watch.watching)
		jobs_after(s, WATCH_POLL_MS, watch);
}

static void watch(struct qmpsnap_snapshot *s)
{
	struct json_object *args = json_new();

	json_put_bool(args, "query-nodes", true);
	qmp_execute(s->qmp, "query-blockstats", args, on_stats, s);
}

/* ---- Events ---- */

static void fail_ended(struct snapshot_disk *d, struct json_object *data)
{
	const char *why = json_string(data, "error");
	struct qmpsnap_error err;

	/* A QEMU that ends cancels its jobs before it closes the monitor. */
	if (d->snapshot->shut_down) {
		error_set(&err, QMPSNAP_QEMU, "disk %s: QEMU ended while its view was needed",
			d->label);
	} else {
		error_set(&err, QMPSNAP_VIEW, "disk %s: QEMU's job that keeps the view ended%s%s",
			d->label, why ? ": " : " by itself", why ? why : "");
		error_hint(&err, "somebody may have cancelled it, or unplugged the disk; run the "
				 "snapshot again");
	}
	give_up(d->snapshot, &err);
}

static void on_block_stopped(
	struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error why;

	if (err || !s->watch.watching || cause_of_stop(s, result, &why) != BY_OUR_SCRATCH)
		return;
	error_set(&why, QMPSNAP_VIEW, "the scratch was full and stopped the guest");
	error_hint(&why, "the guest was continued; give it more room with --scratch or "
			 "--scratch-limit, or read faster");
	give_up(s, &why);
}

static void on_stopped(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (!err && s->watch.watching && is_io_error(result))
		qmp_execute(s->qmp, "query-block", NULL, on_block_stopped, s);
}

static void take_threshold(struct qmpsnap_snapshot *s, const char *node)
{
	char name[NAME_NODE_BYTES];

	for (size_t i = 0; node && i < s->n_disks; i++) {
		struct snapshot_disk *d = &s->disks[i];
		disk_node(s, d, "s", name);
		if (strcmp(node, name) == 0 && !s->faults.no_watch) {
			d->scratch_written_bytes = d->scratch_limit_bytes - margin_bytes(d);
			give_up_full(d);
		}
	}
}

static void on_event(const char *name, struct json_object *data, void *user)
{
	struct qmpsnap_snapshot *s = user;
	const bool ended = strcmp(name, "BLOCK_JOB_COMPLETED") == 0 ||
			   strcmp(name, "BLOCK_JOB_CANCELLED") == 0;
	size_t disk;

	if (ended && jobs_is_ours(s, json_string(data, "device"), &disk))
		fail_ended(&s->disks[disk], data);
	else if (strcmp(name, "BLOCK_WRITE_THRESHOLD") == 0)
		take_threshold(s, json_string(data, "node-name"));
	else if (strcmp(name, "STOP") == 0)
		qmp_execute(s->qmp, "query-status", NULL, on_stopped, s);
}

/* ---- The beginning ---- */

static void on_threshold_set(
	struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;

	(void)result;
	if (err) /* the poll serves as well */
		log_line(QMPSNAP_LOG_INFO, "disk %s: %s", d->label, err->message);
}

static void set_threshold(struct snapshot_disk *d)
{
	struct json_object *args = json_new();
	char name[NAME_NODE_BYTES];

	disk_node(d->snapshot, d, "s", name);
	json_put_string(args, "node-name", name);
	json_put_uint(args, "write-threshold", d->scratch_limit_bytes - margin_bytes(d));
	qmp_execute(d->snapshot->qmp, "block-set-write-threshold", args, on_threshold_set, d);
}

void job_watch_begin(struct qmpsnap_snapshot *s)
{
	s->watch.watching = true;
	s->watch.on_event = (struct qmp_subscription){.fn = on_event, .user = s};
	qmp_subscribe(s->qmp, &s->watch.on_event);
	for (size_t i = 0; is_watched(s) && i < s->n_disks; i++) {
		if (!s->disks[i].scratch_is_reserved)
			set_threshold(&s->disks[i]);
	}
	watch(s);
}
