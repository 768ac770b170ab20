/* SPDX-License-Identifier: Apache-2.0 */
#include "base/flow.h"

#include <assert.h>

static void tell(struct flow *f, enum qmpsnap_phase phase, const struct flow_step *step)
{
	if (f->watch)
		f->watch(f->self, phase, step);
}

static bool applies(const struct flow *f, const struct flow_step *step)
{
	return !step->applies || step->applies(f->self);
}

/* Unless it was cancelled before: then there is nothing to hurry yet. */
static void start_told(struct flow *f)
{
	const struct flow_step *step = &f->steps[f->at];

	f->busy = !flow_failed(f);
	if (f->busy)
		step->start(f, f->self);
	else
		tell(f, QMPSNAP_END, step);
}

static void start_step(struct flow *f)
{
	const struct flow_step *step = &f->steps[f->at];

	if (!applies(f, step)) {
		f->at++;
		return;
	}
	tell(f, QMPSNAP_BEGIN, step);
	f->busy = f->held;
	if (!f->held)
		start_told(f);
}

static void undo_step(struct flow *f)
{
	const struct flow_step *step = &f->steps[f->at - 1];

	if (!step->undo || !applies(f, step) ||
		(step->when == UNDO_ON_FAILURE && !flow_failed(f))) {
		f->at--;
		f->n_again = 0;
		return;
	}
	f->busy = true;
	if (f->ready && !f->asked && !f->ready(f, f->self))
		return;
	f->asked = false;
	f->at--;
	tell(f, QMPSNAP_UNDO_BEGIN, step);
	step->undo(f, f->self);
}

/* Moves on until some step is waiting for the loop.  A loop and not recursion, since a step may
 * call flow_done() before its start() returns. */
static void pump(struct flow *f)
{
	f->pumping = true;
	while (!f->busy) {
		if (!f->unwinding && (flow_failed(f) || f->at == f->n_steps)) {
			/* A step that failed may have had an effect: undo it too. */
			if (f->at < f->n_steps)
				f->at++;
			f->unwinding = true;
		}
		if (!f->unwinding)
			start_step(f);
		else if (f->at > 0)
			undo_step(f);
		else
			break;
	}
	f->pumping = false;
	if (!f->busy)
		f->end(f, f->self); /* last touch: end() may free f */
}

void flow_run(struct flow *f, const struct flow_step *steps, size_t n_steps, void *self,
	flow_end_fn *end, flow_watch_fn *watch)
{
	*f = (struct flow){
		.steps = steps, .n_steps = n_steps, .self = self, .end = end, .watch = watch};
	pump(f);
}

void flow_go_on_with(struct flow *f, const struct flow_step *steps, size_t n_steps)
{
	assert(f->busy && !f->unwinding && f->at < n_steps);
	assert(steps[f->at].start == f->steps[f->at].start);
	f->steps = steps;
	f->n_steps = n_steps;
}

void flow_unwind(struct flow *f, const struct flow_step *steps, size_t n_steps, void *self,
	flow_end_fn *end, flow_watch_fn *watch, const struct qmpsnap_error *why)
{
	*f = (struct flow){.steps = steps,
		.n_steps = n_steps,
		.at = n_steps,
		.self = self,
		.end = end,
		.watch = watch,
		.ready = f->ready,
		.spoilt = f->spoilt,
		.err = *why,
		.unwinding = true};
	pump(f);
}

void flow_hold(struct flow *f)
{
	assert(!f->busy && !f->unwinding);
	f->held = true;
}

void flow_release(struct flow *f)
{
	assert(f->held);
	f->held = false;
	f->pumping = true; /* a start that ends at once leaves the rest to the pump below */
	start_told(f);
	f->pumping = false;
	if (!f->busy)
		pump(f);
}

/* Lack of memory passes, and what was lost may be had again: an undo that met that is run anew. */
static void undone(struct flow *f, const struct qmpsnap_error *err)
{
	struct qmpsnap_error why;
	const bool spoilt = f->spoilt && f->spoilt(f->self, &why);
	const bool failed = err && err->code != QMPSNAP_OK;
	const bool lacked = failed && err->code == QMPSNAP_INTERNAL;

	if ((spoilt && f->n_again < FLOW_MOST_LOSSES) || (lacked && f->n_again == 0)) {
		f->n_again++;
		f->at++;
		return;
	}
	f->n_again = 0;
	if ((failed || spoilt) && f->n_undo_errs++ == 0)
		f->undo_err = failed ? *err : why;
}

void flow_done(struct flow *f, const struct qmpsnap_error *err)
{
	const bool failed = err && err->code != QMPSNAP_OK;

	assert(f->busy);
	f->busy = false;
	tell(f, f->unwinding ? QMPSNAP_UNDO_END : QMPSNAP_END, &f->steps[f->at]);
	if (f->unwinding) {
		undone(f, err);
	} else if (!flow_failed(f)) {
		if (failed)
			f->err = *err;
		else
			f->at++;
	}
	if (!f->pumping)
		pump(f);
}

void flow_undo_ready(struct flow *f, const struct qmpsnap_error *err)
{
	assert(f->busy && f->unwinding);
	if (err && f->n_undo_errs++ == 0)
		f->undo_err = *err;
	f->asked = true;
	f->busy = false;
	pump(f);
}

void flow_commit(struct flow *f)
{
	assert(f->busy && !f->unwinding && !flow_failed(f));
	f->committed = true;
}

void flow_cancel(struct flow *f, const struct qmpsnap_error *why)
{
	if (f->unwinding || f->committed || flow_failed(f))
		return;
	f->err = *why;
	if (f->busy && !f->held && f->steps[f->at].cancel)
		f->steps[f->at].cancel(f, f->self);
}
