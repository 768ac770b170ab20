/* SPDX-License-Identifier: Apache-2.0
 *
 * The guest's file systems are thawed whatever happens, and that is confirmed by their status.  An
 * undo that an agent keeps waiting lets the rest be undone first; then somebody goes on until they
 * are thawed or QEMU has ended: the guard, or where there is none this process. */
#include "base/log.h"
#include "blockops/steps.h"

#include <errno.h>

enum {
	TICK_MS = 5000,
	PATIENCE_TICKS = 6, /* for an agent that says nothing although its guest runs */
	TICKS_UNTOLD = 2, /* before the user hears of the wait, */
	TICKS_A_LINE = 60, /* and again each so many */
	REGAIN_MS = 1000, /* until an agent that closed the connection is tried again */
};

/* ---- One thaw ---- */

/* An agent of a paused guest can't answer, and is waited for unless the rest is to be undone, too.
 */
static bool loses_patience(const struct qmpsnap_snapshot *s)
{
	return s->flow.unwinding || !s->paused_by_others;
}

/* While it is waited for, the guard is told that this process hasn't hung. */
static void tick(struct qmpsnap_snapshot *s)
{
	record_thawing(s);
	record_settled(s);
	s->thaw_ticks += loses_patience(s) || s->thaw_ticks < TICKS_UNTOLD;
	if (s->thaw_ticks == TICKS_UNTOLD)
		log_line(QMPSNAP_LOG_WARNING,
			"the guest's file systems may be frozen: waiting for its agent to thaw "
			"them");
	if (s->thaw_ticks == PATIENCE_TICKS)
		freeze_give_up(&s->freeze);
	snapshot_after(s, TICK_MS, tick);
}

void thaw_begin(struct qmpsnap_snapshot *s, freeze_fn *then)
{
	s->thaw_ticks = 0;
	if (s->freeze.in_doubt)
		record_thawing(s);
	snapshot_after(s, TICK_MS, tick);
	freeze_end(&s->freeze, then, s);
}

void thaw_ended(struct qmpsnap_snapshot *s)
{
	snapshot_timer_stop(s);
	if (!s->freeze.in_doubt)
		record_thawed(s);
}

/* ---- The agent, again ---- */

struct agent *agent_connect_again(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	struct qmp_address address;

	if (!s->qga_address)
		error_set(err, QMPSNAP_AGENT, "the run's journal names no agent");
	else if (!qmp_address_parse(s->qga_address, &address, err))
		error_wrap(err, "guest agent");
	else if (address.kind == QMP_FD)
		error_set(err, QMPSNAP_AGENT,
			"guest agent %s: nobody can connect to a descriptor's other end",
			address.text);
	else
		return agent_open(s->loop, &address, 0, err);
	err->detail = EBADF;
	return NULL;
}

/* A new connection in place of one that is gone: QEMU takes the next client. */
static bool agent_regain(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	struct agent *again = agent_connect_again(s, err);

	if (!again)
		return false;
	agent_close(s->agent, NULL, NULL);
	s->agent = s->freeze.agent = again;
	return true;
}

/* Where nobody can tell whether QEMU lives, an agent that nobody listens for says that it
 * doesn't. */
static bool is_hopeless(const struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	return err->detail == EBADF ||
	       (!snapshot_qemu_lives(s) && (err->detail == ENOENT || err->detail == ECONNREFUSED));
}

/* ---- Undo ---- */

static void on_status(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	flow_done(&s->flow, err && snapshot_qemu_has_ended(s) ? NULL : &s->freeze_err);
}

/* Until the rest is undone. */
static void stay_frozen(struct qmpsnap_snapshot *s)
{
	if (!s->guard && !s->is_guard) { /* agent_end() goes on */
		flow_done(&s->flow, NULL);
		return;
	}
	if (s->guard)
		error_hint(&s->freeze_err, "the guard process goes on trying; in the guest "
					   "fsfreeze --unfreeze MOUNTPOINT does it, too");
	if (snapshot_qemu_is_gone(s))
		flow_done(&s->flow, &s->freeze_err);
	else
		qmp_execute(s->qmp, "query-status", NULL, on_status, s);
}

static void regain_and_unfreeze(struct qmpsnap_snapshot *s);

static void agent_lost(struct qmpsnap_snapshot *s)
{
	if (s->n_agents_lost++ < PATIENCE_TICKS)
		snapshot_after(s, REGAIN_MS, regain_and_unfreeze);
	else
		stay_frozen(s);
}

/* With QEMU's end ends the freeze, and the agent's connection may tell of it first. */
static void on_unfrozen(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	thaw_ended(s);
	if (!err || snapshot_qemu_has_ended(s)) {
		flow_done(&s->flow, NULL);
		return;
	}
	s->freeze_err = *err;
	if (agent_is_lost(s->agent))
		agent_lost(s);
	else
		stay_frozen(s);
}

static void regain_and_unfreeze(struct qmpsnap_snapshot *s)
{
	struct qmpsnap_error err;

	if (snapshot_qemu_has_ended(s))
		flow_done(&s->flow, NULL);
	else if (agent_regain(s, &err))
		thaw_begin(s, on_unfrozen);
	else if (is_hopeless(s, &err))
		stay_frozen(s);
	else
		agent_lost(s);
}

void guest_unfreeze(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	if (s->freeze.in_doubt && s->agent && !snapshot_qemu_has_ended(s)) {
		thaw_begin(s, on_unfrozen);
	} else {
		thaw_ended(s);
		flow_done(f, NULL);
	}
}

/* ---- On and on ---- */

static void count_wait(struct qmpsnap_snapshot *s)
{
	if (++s->thaw_ticks % TICKS_A_LINE == TICKS_UNTOLD)
		log_line(QMPSNAP_LOG_WARNING,
			"the guest's file systems may be frozen: its agent is asked to thaw them "
			"for as long as QEMU lives (%s)",
			s->freeze_err.message);
}

/* An agent's connection may outlive QEMU: a forwarder's. */
static void tick_on(struct qmpsnap_snapshot *s)
{
	count_wait(s);
	if (snapshot_qemu_has_ended(s))
		freeze_give_up(&s->freeze);
	snapshot_after(s, TICK_MS, tick_on);
}

static void thaw_again(struct qmpsnap_snapshot *s);

static void on_thawed(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	thaw_ended(s);
	if (!err) {
		s->thawed(s, NULL);
		return;
	}
	s->freeze_err = *err;
	snapshot_after(s, REGAIN_MS, thaw_again);
}

static void thaw_again(struct qmpsnap_snapshot *s)
{
	struct qmpsnap_error err;

	if (snapshot_qemu_has_ended(s)) {
		s->thawed(s, NULL);
	} else if (!agent_is_lost(s->agent) || agent_regain(s, &err)) {
		snapshot_after(s, TICK_MS, tick_on);
		freeze_end(&s->freeze, on_thawed, s);
	} else if (is_hopeless(s, &err)) {
		s->thawed(s, &err);
	} else {
		s->freeze_err = err;
		count_wait(s);
		snapshot_after(s, REGAIN_MS, thaw_again);
	}
}

void thaw_on(struct qmpsnap_snapshot *s, diagnosed_fn *thawed)
{
	s->thawed = thawed;
	s->thaw_ticks = 0;
	snapshot_after(s, 0, thaw_again);
}
