/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/unwind.h"

#include "blockops/steps.h"

static void on_end(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	s->unwound(s, s->data);
}

void unwind(struct qmpsnap_snapshot *s, const char *last_step, unwound_fn *unwound, void *data)
{
	struct qmpsnap_error why;
	const struct method_table *table = s->table;
	size_t n = *table->n_steps;

	if (last_step && method_step_index(table, last_step) < n)
		n = method_step_index(table, last_step) + 1;
	error_set(&why, QMPSNAP_TERMINATED, "the process that ran it is gone");
	s->unwound = unwound;
	s->data = data;
	s->is_guard = true;
	s->flow.ready = monitor_regain;
	s->flow.spoilt = monitor_is_lost;
	flow_unwind(&s->flow, table->steps, n, s, on_end, snapshot_watch, &why);
}
