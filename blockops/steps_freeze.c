/* SPDX-License-Identifier: Apache-2.0
 *
 * The guest's agent, and the guest's file systems frozen around the instant; steps_thaw.c has what
 * thaws them whatever happens. */
#include "base/log.h"
#include "blockops/steps.h"

#include <string.h>

/* ---- agent ---- */

bool agent_applies(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	if (s->is_guard)
		return s->agent != NULL;
	if (s->quiesce == QMPSNAP_QUIESCE_REQUIRE)
		return true;
	return s->quiesce == QMPSNAP_QUIESCE_AUTO && s->qga_address && guest_is_running(&s->guest);
}

/* No agent: no snapshot, or one without a freeze. */
static void no_agent(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	s->agent_absent = true;
	if (s->quiesce == QMPSNAP_QUIESCE_REQUIRE || flow_failed(&s->flow)) {
		flow_done(&s->flow, err);
		return;
	}
	log_line(QMPSNAP_LOG_WARNING,
		"%s; the file systems won't be frozen, and the images be "
		"crash-consistent",
		err->message);
	flow_done(&s->flow, NULL);
}

static void on_synced(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	if (err)
		no_agent(s, err);
	else
		flow_done(&s->flow, NULL);
}

static bool may_freeze(const struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (!s->qga_address) {
		error_set(err, QMPSNAP_USAGE, "a freeze is required, and no guest agent named");
		error_hint(err, "--qga names the agent's socket");
		return false;
	}
	if (!guest_is_running(&s->guest))
		return error_set(err, QMPSNAP_AGENT,
			"the guest doesn't run (%s), so that its agent can't freeze anything",
			s->guest.status ? s->guest.status : "unknown");
	return true;
}

void agent_begin(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmp_address address;
	struct qmpsnap_error err;

	if (!may_freeze(s, &err)) {
		flow_done(f, &err);
		return;
	}
	if (!qmp_address_parse(s->qga_address, &address, &err)) {
		error_wrap(&err, "guest agent");
		flow_done(f, &err);
		return;
	}
	s->agent = agent_open(s->loop, &address, 0, &err);
	if (s->agent)
		agent_sync(s->agent, on_synced, s);
	else
		no_agent(s, &err);
}

void agent_cancel(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	if (s->agent)
		agent_give_up(s->agent);
}

static void on_agent_closed(void *data)
{
	struct qmpsnap_snapshot *s = data;

	flow_done(&s->flow, &s->disk_err);
}

static void close_agent(struct qmpsnap_snapshot *s)
{
	struct agent *agent = s->agent;

	s->agent = NULL;
	agent_close(agent, on_agent_closed, s);
}

/* Thawed, or QEMU has ended, and with it the freeze. */
static void on_thawed_at_last(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	struct flow *f = &s->flow;

	if (err) {
		s->disk_err = *err;
	} else {
		s->freeze.in_doubt = false;
		/* A guard was to go on with it when that was lost: all is well now. */
		if (f->n_undo_errs == 1 && f->undo_err.code == QMPSNAP_AGENT)
			flow_forgive(f);
	}
	journal_over(s, f->undo_err.code == QMPSNAP_OK && !err);
	close_agent(s);
}

static void insist(void *data)
{
	thaw_on(data, on_thawed_at_last);
}

/* Nothing in QEMU is ours any more, and others may need the monitor to move the guest, without
 * which its agent can't answer. */
static void insist_without_monitor(struct qmpsnap_snapshot *s)
{
	struct qmp_client *qmp = s->qmp;

	s->qmp = NULL;
	if (qmp)
		qmp_close(qmp, insist, s);
	else
		insist(s);
}

/* What couldn't be thawed while there was more to undo is gone on with: by the guard, which needs
 * the agent on, or here. */
void agent_end(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	if (s->is_guard && s->freeze.in_doubt) {
		flow_done(f, NULL);
		return;
	}
	if (s->agent && s->freeze.in_doubt && !s->guard_goes_on) {
		insist_without_monitor(s);
		return;
	}
	if (s->freeze.in_doubt)
		journal_over(s, false);
	if (s->agent)
		close_agent(s);
	else
		flow_done(f, NULL);
}

/* ---- freeze ---- */

bool freeze_applies(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	return agent_applies(s) && !s->agent_absent;
}

static void on_thawed_again(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	thaw_ended(s);
	if (!err)
		log_line(QMPSNAP_LOG_WARNING,
			"the file systems weren't frozen, so that the images will be "
			"crash-consistent: %s",
			s->freeze_err.message);
	flow_done(&s->flow, err);
}

static void not_frozen(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	s->freeze_err = *err;
	if (s->quiesce == QMPSNAP_QUIESCE_REQUIRE || flow_failed(&s->flow))
		flow_done(&s->flow, err);
	else
		thaw_begin(s, on_thawed_again);
}

static void on_frozen(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (err)
		not_frozen(s, err);
	else
		flow_done(&s->flow, NULL);
}

static bool before_freeze(void *data, struct qmpsnap_error *err)
{
	return record_freezing(data, err);
}

void guest_freeze(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err;

	(void)f;
	s->freeze = (struct freeze){.agent = s->agent, .before = before_freeze};
	if (s->paused_by_others) {
		error_set(&err, QMPSNAP_AGENT,
			"the guest was paused by others, so that its agent can't freeze anything");
		not_frozen(s, &err);
		return;
	}
	freeze_begin(&s->freeze, s->freeze_deadline_ms, on_frozen, s);
}

void freeze_cancel(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	freeze_give_up(&s->freeze);
}

/* ---- thaw ---- */

static void claim_consistency(struct qmpsnap_snapshot *s)
{
	if (s->freeze.frozen && s->freeze.thawed_well)
		s->result.consistency = "filesystem";
	else if (s->freeze.frozen)
		log_line(QMPSNAP_LOG_WARNING,
			"nobody can tell that the file systems were frozen up to the instant, "
			"since %s: the images count as crash-consistent",
			s->freeze.n_thaws > 0 ? "the thaw wasn't answered well"
					      : "the guest was reset");
}

static void on_thawed(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	thaw_ended(s);
	if (!err)
		claim_consistency(s);
	flow_done(&s->flow, err);
}

void guest_thaw(struct flow *f, void *self)
{
	(void)f;
	thaw_begin(self, on_thawed);
}

void freeze_was_lost(struct qmpsnap_snapshot *s)
{
	if (!s->freeze.in_doubt)
		return;
	freeze_forget(&s->freeze);
	record_reset(s);
}

void freeze_on_event(struct qmpsnap_snapshot *s, const char *name)
{
	if (strcmp(name, "STOP") == 0) {
		s->paused_by_others = !s->stopped;
	} else if (strcmp(name, "RESET") == 0) {
		/* One that isn't answered may be done by the agent of the guest that starts anew.
		 */
		if (s->freeze.n_frozen > 0)
			freeze_was_lost(s);
	} else if (strcmp(name, "RESUME") == 0) {
		if (s->paused_by_others && s->freeze.in_doubt)
			freeze_hurry(&s->freeze);
		s->paused_by_others = false;
	}
}
