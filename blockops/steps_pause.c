/* SPDX-License-Identifier: Apache-2.0
 *
 * The pause: several disks of a running guest get their one instant between `stop` and `cont`,
 * where nothing else happens: the requests are made beforehand and no line is written. */
#include "base/log.h"
#include "blockops/steps.h"

#include <string.h>

enum {
	REFUSED_FIRST_MS = 200, /* until what was refused is tried again: twice as long each time */
	MIGRATING_MS = 200, /* until it is seen what a migration about to end made of the guest */
	MOST_DOUBLINGS = 3,
	REFUSALS_UNTOLD = 4, /* before the user hears of it, */
	REFUSALS_A_LINE = 40, /* and again each so many */
	HOLDING_TOLD_MS = 1000, /* much less than SNAPSHOT_PAUSE_MS */
};

/* ---- pause ---- */

bool pause_applies(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	return s->multi && !s->faults.no_stop;
}

void pause_keep_telling(struct qmpsnap_snapshot *s)
{
	record_holding(s);
	if (s->freeze.in_doubt)
		record_thawing(s);
	snapshot_after(s, HOLDING_TOLD_MS, pause_keep_telling);
}

static void on_stopped(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	s->stop_answered = !err;
	if (s->table->holds) {
		snapshot_timer_stop(s);
		if (!err)
			record_held(s);
	}
	flow_done(&s->flow, err);
}

/* `stop` succeeds on a guest that doesn't run, too, and the `cont` after it would then continue
 * what others had stopped since the guest was inspected. */
static void on_status_before(
	struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	const char *status = json_string(result, "status");
	struct qmpsnap_error mine;

	if (!err && !flow_failed(&s->flow) && (!status || strcmp(status, "running") != 0)) {
		error_set(&mine, QMPSNAP_QEMU,
			"the guest was stopped by others while its snapshot was being prepared");
		error_hint(&mine, "run it again");
		err = &mine;
	}
	if (!err && !flow_failed(&s->flow) && !record_stopping(s, &mine))
		err = &mine;
	if (err || flow_failed(&s->flow)) {
		record_running(s);
		flow_done(&s->flow, err);
		return;
	}
	struct qmp_request *stop = s->stop_request;
	s->stop_request = NULL;
	if (!s->table->holds)
		log_hold();
	s->log_held = !s->table->holds;
	s->stopped = true; /* before the answer: a lost answer is undone too */
	s->stopped_ns = uv_hrtime();
	qmp_send(s->qmp, stop,
		s->table->holds ? SNAPSHOT_HOLDING_STOP_MS : SNAPSHOT_PAUSED_COMMAND_MS, on_stopped,
		s);
	if (s->table->holds)
		pause_keep_telling(s);
}

void guest_pause(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmp_request *before = qmp_request_new("query-status", NULL);

	s->stop_request = qmp_request_new("stop", NULL);
	s->status_request = qmp_request_new("query-status", NULL);
	s->cont_request = qmp_request_new("cont", NULL);
	if (!before || !s->stop_request || !s->status_request || !s->cont_request) {
		struct qmpsnap_error err;
		qmp_request_free(before);
		error_no_memory(&err);
		flow_done(f, &err);
		return;
	}
	qmp_send(s->qmp, before, SNAPSHOT_PAUSED_COMMAND_MS, on_status_before, s);
}

void pause_over(struct qmpsnap_snapshot *s)
{
	s->stopped = false;
	record_running(s);
	s->result.stopped_ms += (double)(uv_hrtime() - s->stopped_ns) / 1e6;
	snapshot_release_log(s);
}

/* ---- What others do meanwhile ---- */

static void say_continued(struct qmpsnap_error *err)
{
	error_set(err, QMPSNAP_QEMU,
		"somebody continued the guest before all of its disks were taken, so they have no "
		"common instant");
	error_hint(err, "run it again");
}

static void say_migrated(struct qmpsnap_error *err)
{
	error_set(err, QMPSNAP_QEMU,
		"others migrated the guest while it stood still for its snapshot");
	error_hint(err, "if the migration has completed, send cont to its QEMU at the destination, "
			"then run it again there");
}

/* Several disks that don't become images in one transaction. */
static bool switches_in_turn(const struct qmpsnap_snapshot *s)
{
	return s->n_disks > 1 &&
	       (s->decision.method == METHOD_FILTER || s->decision.method == METHOD_MIRROR);
}

void pause_on_event(struct qmpsnap_snapshot *s, const char *name)
{
	const bool goes_on = strcmp(name, "RESUME") == 0 || strcmp(name, "WAKEUP") == 0;
	struct qmpsnap_error err;

	if (strcmp(name, "RESET") == 0 && s->stop_answered && s->stopped)
		s->reset_in_pause = true;
	if (!goes_on || s->continuing)
		return;
	say_continued(&err);
	/* QEMU tells what came before our stop ahead of its answer. */
	if (s->stopped && s->stop_answered) {
		pause_over(s); /* whoever stops it from now on isn't us */
		flow_cancel(&s->flow, &err);
	}
	if (s->result.instant[0] || guest_is_running(&s->guest))
		return;
	s->resumed_by_others = true;
	if (s->result.consistency && strcmp(s->result.consistency, "paused") == 0)
		s->result.consistency = "crash";
	if (switches_in_turn(s))
		flow_cancel(&s->flow, &err);
}

/* ---- resume ---- */

/* Our `cont` is answered. */
static void end_pause(struct qmpsnap_snapshot *s)
{
	pause_over(s);
	if (s->reset_in_pause)
		log_line(QMPSNAP_LOG_WARNING,
			"the guest was reset while it stood still for the snapshot: it has been "
			"continued, and starts anew");
	s->reset_in_pause = false;
}

static void on_resumed(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	if (!err)
		end_pause(s);
	flow_done(&s->flow, err);
}

/* Others may have continued and stopped the guest: their events come ahead of this answer. */
static void on_status_at_end(
	struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmp_request *cont = s->cont_request;
	const char *status = json_string(result, "status");
	struct qmpsnap_error mine;

	if (!err && s->stopped && guest_status_is_migrated(status)) {
		say_migrated(&mine); /* whose the guest is then, the undo finds out */
		err = &mine;
	} else if (!err && s->stopped && !guest_status_is_held(status)) {
		pause_over(s);
		say_continued(&mine);
		err = &mine;
	}
	if (err || !s->stopped) {
		flow_done(&s->flow, err);
		return;
	}
	s->cont_request = NULL;
	s->continuing = true;
	qmp_send(s->qmp, cont, SNAPSHOT_PAUSED_COMMAND_MS, on_resumed, s);
}

void guest_resume(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmp_request *status = s->status_request;

	(void)f;
	s->status_request = NULL;
	qmp_send(s->qmp, status, SNAPSHOT_PAUSED_COMMAND_MS, on_status_at_end, s);
}

/* ---- Undo ---- */

bool pause_waits_on(const struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	return err && err->code == QMPSNAP_DEADLINE && s->stopped && !snapshot_qemu_is_gone(s);
}

static void unpause_again(struct qmpsnap_snapshot *s)
{
	guest_unpause(&s->flow, s);
}

/* Lost in the middle of it; or QEMU has ended. */
static void on_regained(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	if (err || snapshot_qemu_is_gone(s))
		flow_done(&s->flow, err);
	else
		guest_unpause(&s->flow, s);
}

static void say_refused(const struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	if (s->n_refusals % REFUSALS_A_LINE == REFUSALS_UNTOLD)
		log_line(QMPSNAP_LOG_WARNING,
			"the guest stands still, and QEMU doesn't continue it: it is asked again "
			"for as long as it lives; `cont` on another monitor continues the guest, "
			"too (%s)",
			err->message);
}

/* A refusal may pass.  Nobody else would continue the guest, so only QEMU's end is one of this. */
static void unpause_failed(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	const unsigned n = s->n_refusals < MOST_DOUBLINGS ? s->n_refusals : MOST_DOUBLINGS;
	const unsigned ms = (unsigned)REFUSED_FIRST_MS << n;

	if (monitor_regain_in_pause(s, on_regained))
		return;
	if (snapshot_qemu_is_gone(s)) {
		flow_done(&s->flow, NULL);
		return;
	}
	s->continuing = false; /* another's RESUME ends the pause, too */
	s->n_refusals++;
	say_refused(s, err);
	/* A deadline was wait enough. */
	snapshot_after(s, err->code == QMPSNAP_DEADLINE ? 0 : ms, unpause_again);
}

static void on_unpaused(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	if (err) {
		unpause_failed(s, err);
		return;
	}
	end_pause(s);
	flow_done(&s->flow, NULL);
}

static void continue_it(struct qmpsnap_snapshot *s)
{
	s->continuing = true;
	qmp_execute(s->qmp, "cont", NULL, on_unpaused, s);
}

/* Not our stop's any more. */
static void leave_it(struct qmpsnap_snapshot *s)
{
	if (s->stopped)
		pause_over(s);
	flow_done(&s->flow, NULL);
}

/* QEMU 7.2 says "postmigrate" also of a stopped guest whose migration failed at its end. */
static void on_migration(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	const char *status = json_string(result, "status");

	if (err && s->stopped)
		unpause_failed(s, err);
	else if (!s->stopped || !status || strcmp(status, "completed") == 0 ||
		 strncmp(status, "postcopy", strlen("postcopy")) == 0) /* it runs over there */
		leave_it(s);
	else if (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0)
		continue_it(s);
	else
		snapshot_after(s, MIGRATING_MS, unpause_again);
}

/* Continues only a guest that a `stop` holds. */
static void on_status(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	const char *status = json_string(result, "status");

	if (err && s->stopped) {
		unpause_failed(s, err);
		return;
	}
	if (s->stopped && guest_status_is_migrated(status)) {
		qmp_execute(s->qmp, "query-migrate", NULL, on_migration, s);
		return;
	}
	if (!s->stopped || !guest_status_is_held(status)) {
		leave_it(s);
		return;
	}
	if (guest_status_is_reset(status)) {
		s->reset_in_pause = true; /* the guard has heard of no event */
		freeze_was_lost(s);
	}
	continue_it(s);
}

void guest_unpause(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	if (!s->stopped || snapshot_qemu_is_gone(s))
		flow_done(f, NULL);
	else
		qmp_execute(s->qmp, "query-status", NULL, on_status, s);
}
