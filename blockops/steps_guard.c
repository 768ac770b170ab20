/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard's step. */
#include "blockops/steps.h"

bool guard_applies(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	return !s->no_guard && !s->is_guard;
}

static void on_guard_ready(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error mine = {0};

	if (!err && !record_run_for_guard(s, &mine))
		err = &mine;
	flow_done(&s->flow, err);
}

static void on_guard_lost(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct guard *guard = s->guard;

	s->guard = NULL; /* nobody must count on it */
	guard_leave(guard, NULL, NULL);
	flow_cancel(&s->flow, err);
}

void guard_begin(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err;

	s->guard = guard_start(s->loop, s->guard_path, on_guard_ready, on_guard_lost, s, &err);
	if (!s->guard)
		flow_done(f, &err);
}

static void on_guard_closed(void *data)
{
	struct qmpsnap_snapshot *s = data;

	flow_done(&s->flow, NULL);
}

void guard_dismiss(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct guard *guard = s->guard;

	if (!guard) {
		flow_done(f, NULL);
		return;
	}
	/* What couldn't be thawed it goes on with. */
	s->guard_goes_on = s->freeze.in_doubt && record_left(s);
	s->guard = NULL;
	if (s->guard_goes_on)
		guard_leave(guard, on_guard_closed, s);
	else
		guard_end(guard, on_guard_closed, s);
}
