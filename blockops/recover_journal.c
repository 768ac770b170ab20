/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/recover_journal.h"

#include "base/log.h"
#include "base/state.h"
#include "blockops/dead_run_peers.h"
#include "blockops/dead_runs.h"
#include "blockops/evidence.h"
#include "blockops/record.h"
#include "blockops/steps.h"
#include "blockops/unwind.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct recovery {
	struct journal_recovery o;
	uv_timer_t timer;
	int folder; /* STATE/journal; -1: there is none */
	char (*runs)[NAME_RUN_BYTES];
	size_t n_runs, at;
	size_t n_frozen; /* of these, moved to the front: their agents say nothing */
	bool insisting; /* on their thaw, with all else undone */
	bool is_frozen; /* the one being undone */
	struct journal journal; /* the one being undone */
	struct taken_run run;
	struct qmpsnap_error left; /* what can't be undone of it */
	struct qmpsnap_error err; /* the first of all */
};

static void next(struct recovery *r);

/* ---- One run ---- */

static void tell(const struct recovery *r, const char *what)
{
	const struct qmpsnap_snapshot *s = r->run.s;
	char phrase[512];

	(void)snprintf(phrase, sizeof(phrase),
		"run %s of %.200s (%s, begun %s), which was killed in its step %s, %s", s->run,
		s->guest_name, s->table->name, r->run.began,
		r->run.last_step[0] ? r->run.last_step : "journal", what);
	r->o.found(phrase, r->o.data);
}

static void keep_error(struct recovery *r, const struct qmpsnap_error *err)
{
	if (r->left.code == QMPSNAP_OK || r->left.code == QMPSNAP_STORE)
		r->left = *err;
	if (err->code != QMPSNAP_STORE && err->code != QMPSNAP_AGENT)
		r->left.code = QMPSNAP_UNDO;
}

/* What else carries our names in the guest must stay: a pause is known for ours by it. */
static void keep_evidence(const struct recovery *r)
{
	if (r->o.barred)
		*r->o.barred = true;
}

static void run_over(void *data)
{
	struct recovery *r = data;
	struct qmpsnap_snapshot *s = r->run.s;

	if (r->left.code == QMPSNAP_OK) {
		journal_remove(&s->journal);
		tell(r, "is undone");
	} else if (r->is_frozen && r->o.insists && !r->insisting) {
		journal_close(&s->journal);
		memcpy(r->runs[r->n_frozen++], s->run, sizeof(s->run));
	} else {
		journal_close(&s->journal);
		tell(r, "isn't undone wholly; its journal is kept");
		error_wrap(&r->left, "run %s", s->run);
		if (r->err.code != QMPSNAP_UNDO)
			r->err = r->left;
		if (s->stopped || s->freeze.in_doubt)
			keep_evidence(r);
	}
	if (s->store)
		qmpsnap_store_close(s->store);
	guest_lock_drop(&s->lock);
	snapshot_free(s);
	next(r);
}

static void end_run(struct recovery *r)
{
	if (r->run.s->agent)
		agent_close(r->run.s->agent, run_over, r);
	else
		run_over(r);
}

static void on_thawed(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	struct recovery *r = s->data;

	if (err)
		keep_error(r, err);
	end_run(r);
}

static void on_unwound(struct qmpsnap_snapshot *s, void *data)
{
	struct recovery *r = data;
	const struct flow *f = &s->flow;
	const bool goes_on = r->insisting && s->freeze.in_doubt && s->agent;
	const bool alone = f->n_undo_errs == 1 && f->undo_err.code == QMPSNAP_AGENT;

	if (f->undo_err.code != QMPSNAP_OK && !(goes_on && alone))
		keep_error(r, &f->undo_err);
	r->is_frozen = s->freeze.in_doubt && s->agent;
	if (goes_on)
		thaw_on(s, on_thawed);
	else
		end_run(r);
}

static void undo(struct recovery *r)
{
	unwind(r->run.s, r->run.last_step, on_unwound, r);
}

/* QEMU is another one by now, or none: nothing of the run stands in it. */
static void forget_qemu(struct qmpsnap_snapshot *s)
{
	s->stopped = s->freeze.in_doubt = s->released = false;
	s->server = SERVER_NONE;
}

static void on_monitor_closed(void *data)
{
	end_run(data);
}

/* With the monitor at hand, but not the means to know what to do. */
static void leave_guest(struct recovery *r, const struct qmpsnap_error *err)
{
	struct qmp_client *qmp = r->run.s->qmp;

	keep_error(r, err);
	r->run.s->qmp = NULL;
	qmp_close(qmp, on_monitor_closed, r);
}

/* What isn't undone for doubt keeps the journal, until the guest moves; a freeze that may be
 * another's isn't written down as thawed. */
static void on_weighed(const struct qmpsnap_error *doubt, void *data)
{
	struct recovery *r = data;
	struct qmpsnap_snapshot *s = r->run.s;

	if (doubt && evidence_is_needed(s)) {
		leave_guest(r, doubt);
		return;
	}
	if (doubt) {
		keep_error(r, doubt);
		if (s->agent && !s->freeze.in_doubt) {
			agent_close(s->agent, NULL, NULL);
			s->agent = s->freeze.agent = NULL;
		}
	}
	undo(r);
}

static void give_up(struct recovery *r, const struct qmpsnap_error *err)
{
	keep_error(r, err);
	end_run(r);
}

static void on_lost(const struct qmpsnap_error *err, void *data)
{
	(void)err; /* the undos see that QEMU is gone */
	(void)data;
}

static void on_ready(const struct qmpsnap_error *err, void *data)
{
	struct recovery *r = data;
	struct qmpsnap_error mine;

	if (!err) {
		r->run.s->released = false;
		if (!evidence_is_needed(r->run.s)) {
			undo(r);
			return;
		}
		if (evidence_weigh(&r->run, on_weighed, r, &mine))
			return;
		err = &mine;
	}
	leave_guest(r, err);
}

/* `fd` is taken. */
static void use_monitor(struct recovery *r, int fd)
{
	struct qmpsnap_snapshot *s = r->run.s;
	struct monitor_way *way = r->o.way;
	const struct qmp_options options = {.has_fd = true, .fd = fd};
	const bool greeted = way && way->greeted && way->address->kind == QMP_FD;
	struct qmpsnap_error err;

	if (!dead_run_open_agent(s, &err))
		keep_error(r, &err);
	if (greeted)
		s->qmp = qmp_adopt(r->o.loop, fd, NULL, on_lost, r, &err);
	else
		s->qmp = qmp_open(r->o.loop, &s->address, &options, on_ready, on_lost, r, &err);
	if (way)
		way->greeted = true;
	if (!s->qmp && greeted)
		(void)close(fd);
	if (!s->qmp)
		give_up(r, &err);
	else if (greeted)
		on_ready(NULL, r);
}

static void dare_not_move(struct qmpsnap_snapshot *s)
{
	if (s->stopped || s->freeze.in_doubt)
		log_line(QMPSNAP_LOG_WARNING,
			"%s may stand still for run %s, and nobody can tell that its QEMU is the "
			"same: `cont` on its monitor, or fsfreeze --unfreeze in it, moves it",
			s->guest_name, s->run);
	s->stopped = s->freeze.in_doubt = false;
}

/* It may live, and the guest stand still, and nobody here could tell: only what is outside of it
 * is undone. */
static void spare_qemu(struct recovery *r)
{
	struct qmpsnap_snapshot *s = r->run.s;
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_QEMU,
		"its QEMU was process %d of another pid namespace, a container's, and can't be "
		"known here",
		(int)s->qemu.pid);
	error_hint(&err,
		"qmpsnap recover in that container, with this state folder; or as root on its "
		"host, which sees whether it has ended; if it has for sure, the journal can be "
		"removed: all else is undone");
	keep_error(r, &err);
	keep_evidence(r);
	forget_qemu(s);
	undo(r);
}

/* Without a QEMU that is known for sure to be the same, no `cont` and no thaw. */
static void connect_monitor(struct recovery *r)
{
	struct qmpsnap_snapshot *s = r->run.s;
	/* The end of a process that only listened for QEMU isn't QEMU's. */
	const bool alive = identity_is_alive(&s->qemu);
	const bool known = identity_is_known(&s->qemu) && (alive || !s->qemu.socket);
	struct qmpsnap_error err;
	struct identity now;

	if (identity_is_elsewhere(&s->qemu)) {
		spare_qemu(r);
		return;
	}
	if (!s->address.text[0] || (known && !alive)) {
		forget_qemu(s);
		undo(r);
		return;
	}
	if (!known)
		dare_not_move(s);
	if (known && !dead_run_lock(&r->o, s, &err)) {
		give_up(r, &err);
		return;
	}
	const int fd = dead_run_connect(&r->o, s, &err);
	if (fd < 0) {
		give_up(r, &err);
		return;
	}
	identity_of(fd, &now);
	if (!known || identity_equals(&now, &s->qemu)) {
		use_monitor(r, fd);
		return;
	}
	(void)close(fd);
	error_set(&err, QMPSNAP_QEMU,
		"its QEMU (process %d) still runs, and another one listens at %s", (int)s->qemu.pid,
		s->address.text);
	error_hint(&err, "qmpsnap recover --qmp ADDRESS, with an address of that QEMU");
	give_up(r, &err);
}

/* ---- All of them ---- */

static void on_closed(uv_handle_t *handle)
{
	struct recovery *r = handle->data;

	r->o.done(r->err.code != QMPSNAP_OK ? &r->err : NULL, r->o.data);
	if (r->folder >= 0)
		(void)close(r->folder);
	free(r->runs);
	free(r);
}

static void begin(struct recovery *r)
{
	struct qmpsnap_error err;

	r->left = (struct qmpsnap_error){0};
	r->is_frozen = false;
	if (r->o.dry_run) {
		tell(r, "would be undone");
		journal_close(&r->journal);
		snapshot_free(r->run.s);
		next(r);
		return;
	}
	/* What is undone is written down, should not all be. */
	r->run.s->journal = r->journal;
	r->run.s->is_guard = true;
	if (!dead_run_open_store(&r->o, &r->run, &err))
		keep_error(r, &err);
	connect_monitor(r);
}

static void on_turn(uv_timer_t *timer)
{
	struct recovery *r = timer->data;
	struct qmpsnap_error err;

	while (r->at < r->n_runs) {
		const int found = dead_run_open(
			&r->o, r->folder, r->runs[r->at++], &r->journal, &r->run, &err);
		if (found > 0) {
			begin(r);
			return;
		}
		if (found == DEAD_RUN_UNREAD && !r->o.warned)
			dead_run_warn(&err);
		/* Of one guest's runs it is none, as far as anybody can know. */
		if (found < 0 && r->err.code == QMPSNAP_OK &&
			(found != DEAD_RUN_UNREAD || !(r->o.guest || r->o.address)))
			r->err = err;
	}
	if (r->n_frozen == 0) {
		uv_close((uv_handle_t *)&r->timer, on_closed);
		return;
	}
	r->insisting = true;
	r->n_runs = r->n_frozen;
	r->at = r->n_frozen = 0;
	on_turn(timer);
}

/* On a turn of its own: some undos end at once. */
static void next(struct recovery *r)
{
	uv_timer_start(&r->timer, on_turn, 0, 0);
}

bool journal_recovery_start(const struct journal_recovery *options, struct qmpsnap_error *err)
{
	struct recovery *r = calloc(1, sizeof(*r));
	struct qmpsnap_error ignored;

	if (!r)
		return error_no_memory(err);
	r->o = *options;
	r->folder = state_open(options->state, "journal", false, &ignored);
	if (r->folder >= 0)
		r->runs = dead_runs_list(r->folder, &r->n_runs, &r->err);
	(void)uv_timer_init(options->loop, &r->timer);
	r->timer.data = r;
	next(r);
	return true;
}
