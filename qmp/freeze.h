/* SPDX-License-Identifier: Apache-2.0
 *
 * freeze.h - the guest's file systems frozen and thawed by its agent, with the doubts of that:
 * a freeze without an answer may have been done, or be done later.
 */
#ifndef QMP_FREEZE_H
#define QMP_FREEZE_H

#include "qmp/agent.h"

struct freeze;

/* The end of freeze_begin() or freeze_end(), once, later; `err` NULL: well.  Only AGENT errors, and
 * INTERNAL without memory. */
typedef void freeze_fn(const struct qmpsnap_error *err, void *data);

/* Called within freeze_begin()'s course, with its `data`, right before the freeze is asked for, and
 * only if nobody else holds one.  False and *err: it isn't asked for, and that is its end. */
typedef bool freeze_before_fn(void *data, struct qmpsnap_error *err);

/* Embedded by its user, who sets `agent` and, should it care, `before`, and zeroes the rest; no
 * handles of its own.  One function at a time.  Nothing is logged or written to. */
struct freeze {
	struct agent *agent;
	freeze_before_fn *before;
	bool in_doubt; /* file systems may be frozen by us: freeze_end() is owed */
	bool frozen; /* `n_frozen` were, and the status said so after it */
	unsigned n_frozen; /* file systems, as the agent counts them */
	bool thawed_well; /* the first thaw after that was answered with a count, not 0 */

	unsigned deadline_ms;
	uint64_t due_ms;
	unsigned retry_ms;
	bool giving_up, waiting;
	unsigned n_thaws;
	freeze_fn *done;
	void *data;
};

/* Asks whether the agent lives and nobody else holds the guest frozen, freezes, and has the status
 * say `frozen`.  Well with `n_frozen` > 0, and `frozen` set; an agent that froze nothing is an
 * error.  `deadline_ms` counts from the freeze itself.  `in_doubt` says whether there is something
 * to thaw, which is the caller's to call for. */
void freeze_begin(struct freeze *z, unsigned deadline_ms, freeze_fn *done, void *data);

/* Thaws, and asks the status, again and again until it is `thawed`: doesn't end by itself
 * otherwise unless the connection is gone.  Well at once, but later, when nothing is in doubt. */
void freeze_end(struct freeze *z, freeze_fn *done, void *data);

/* Tries the next thaw at once: the guest has been continued, say. */
void freeze_hurry(struct freeze *z);

/* The guest was reset: what was frozen is no more, so there is no doubt left.  A thaw that is under
 * way ends soon, and well. */
void freeze_forget(struct freeze *z);

/* Ends the running function soon, with an error. */
void freeze_give_up(struct freeze *z);

#endif
