/* SPDX-License-Identifier: Apache-2.0
 *
 * flow.h - runs a table of asynchronous steps in order; on failure or cancel undoes them in
 * reverse.  The table is data: the same array runs a snapshot, prints --dry-run, names the
 * progress, and is what a guard or a recovery unwinds.
 *
 * Rules that the runner keeps:
 * - `start` and `undo` each end in exactly one flow_done(), at once or later.
 * - A step that failed or was cancelled is undone too, since its effect is in doubt; so every
 *   undo is idempotent, and "not found" is success to it.  One that fails for lack of memory
 *   (INTERNAL) is run once more.
 * - The first error wins.  Undo errors are kept aside and never stop the unwinding.
 * - The runner allocates nothing: rollback can't fail for lack of memory.
 */
#ifndef BASE_FLOW_H
#define BASE_FLOW_H

#include <qmpsnap.h>

struct flow;
typedef void flow_fn(struct flow *f, void *self);
typedef bool flow_applies_fn(const void *self);
struct flow_step;
typedef void flow_watch_fn(void *self, enum qmpsnap_phase phase, const struct flow_step *step);

/* Asked right before each undo: whether what undos need is there.  False: it will call
 * flow_undo_ready(), later. */
typedef bool flow_ready_fn(struct flow *f, void *self);

/* Asked right after each undo: whether it has lost what `ready` can get again, and in *why what. It
 * is run anew then, FLOW_MOST_LOSSES times at most; *why is an error of the undo after that. */
typedef bool flow_spoilt_fn(const void *self, struct qmpsnap_error *why);
enum { FLOW_MOST_LOSSES = 4 };

/* The end of everything, undos included.  May free the struct that holds the flow. */
typedef void flow_end_fn(struct flow *f, void *self);

enum undo_when {
	UNDO_ON_FAILURE, /* revert: only when the flow failed */
	UNDO_ALWAYS, /* release: on success too */
};

struct flow_step {
	const char *name;
	const char *text; /* what --dry-run prints */
	flow_fn *start; /* begins the step */
	flow_fn *undo; /* NULL: nothing to undo */
	flow_fn *cancel; /* hurries a running start; NULL: wait for it */
	flow_applies_fn *applies; /* NULL: always; asked right before start and before undo */
	enum undo_when when;
};

struct flow {
	const struct flow_step *steps;
	size_t n_steps;
	size_t at; /* forward: the step that runs; backward: steps left to undo */
	void *self; /* what the steps work on; the caller's */
	flow_end_fn *end;
	flow_watch_fn *watch; /* may be NULL */
	flow_ready_fn *ready; /* NULL; the owner may set it while the flow runs */
	flow_spoilt_fn *spoilt; /* the same */
	struct qmpsnap_error err; /* the first failure; code OK: none */
	struct qmpsnap_error undo_err; /* the first failure among the undos, */
	unsigned n_undo_errs; /* of so many */
	bool unwinding, busy, pumping, held, committed;
	bool asked; /* the undo under way has its `ready` */
	unsigned n_again; /* how often the undo under way was run before */
};

/* Runs the whole table; `f` may hold garbage. */
void flow_run(struct flow *f, const struct flow_step *steps, size_t n_steps, void *self,
	flow_end_fn *end, flow_watch_fn *watch);

/* Goes on with another table from the running step on; up to and with that step both are the same.
 * For a step that decides how the rest is done, before its flow_done(). */
void flow_go_on_with(struct flow *f, const struct flow_step *steps, size_t n_steps);

/* Only undoes, from the last step backwards, as after the failure `why`: for whoever takes over
 * from a dead process.  f->ready and f->spoilt stay as they are. */
void flow_unwind(struct flow *f, const struct flow_step *steps, size_t n_steps, void *self,
	flow_end_fn *end, flow_watch_fn *watch, const struct qmpsnap_error *why);

/* For the watch, called at a step's beginning: the step starts with flow_release(), later; unless
 * it is cancelled till then. */
void flow_hold(struct flow *f);
void flow_release(struct flow *f);

/* Reports the end of the running start or undo; NULL means well. */
void flow_done(struct flow *f, const struct qmpsnap_error *err);

/* Lets the undo begin that `ready` has held up; `err` (NULL: none) is kept as an undo's. */
void flow_undo_ready(struct flow *f, const struct qmpsnap_error *err);

/* What was done stands from here on: nothing cancels the flow any more.  For a step that has done
 * what mustn't be undone, before its flow_done(); neither it nor one behind it fails then. */
void flow_commit(struct flow *f);

/* Records `why` as the flow's error and hurries the running step.  No effect when the flow has
 * failed already, is committed or is on its way back. */
void flow_cancel(struct flow *f, const struct qmpsnap_error *why);

/* For an undo that has made good what the only failed one before it had left. */
static inline void flow_forgive(struct flow *f)
{
	f->undo_err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	f->n_undo_errs = 0;
}

/* Whether the flow has failed or been cancelled. */
static inline bool flow_failed(const struct flow *f)
{
	return f->err.code != QMPSNAP_OK;
}

#endif
