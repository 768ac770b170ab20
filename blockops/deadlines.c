/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/deadlines.h"

#include "base/error.h"
#include "base/units.h"
#include "blockops/record.h"
#include "blockops/rotate.h"

#include <stdlib.h>

enum { TICK_MS = 250, ALIVE_TICKS = 8 };

struct deadline_watch {
	uv_timer_t timer;
	struct qmpsnap_snapshot *snapshot;
	unsigned ticks;
};

static uint64_t ms_since(uint64_t ns)
{
	return (uv_hrtime() - ns) / 1000000;
}

static const char *step_name(const struct qmpsnap_snapshot *s)
{
	if (s->rotating.then)
		return "rotation";
	return s->flow.at < s->flow.n_steps ? s->flow.steps[s->flow.at].name : "publish";
}

static void give_up(struct qmpsnap_snapshot *s, const struct qmpsnap_error *why)
{
	flow_cancel(&s->flow, why);
	rotate_stop(s, why);
}

static void on_tick(uv_timer_t *timer)
{
	struct deadline_watch *watch = timer->data;
	struct qmpsnap_snapshot *s = watch->snapshot;
	const struct deadlines *d = &s->deadlines;
	char time[UNITS_TEXT_BYTES];
	struct qmpsnap_error err;

	if (++watch->ticks % ALIVE_TICKS == 0)
		record_alive(s);
	if (d->whole_ms && ms_since(s->started_ns) >= d->whole_ms) {
		units_format_duration(time, d->whole_ms);
		error_set(&err, QMPSNAP_DEADLINE,
			"the snapshot wasn't done within its deadline of %s; it was in its step %s",
			time, step_name(s));
		error_hint(&err, "--deadline gives it more time");
		give_up(s, &err);
	} else if (d->stall_ms && ms_since(d->moved_ns) >= d->stall_ms) {
		units_format_duration(time, d->stall_ms);
		error_set(&err, QMPSNAP_DEADLINE, "no progress for %s, in the step %s", time,
			step_name(s));
		error_hint(&err, "--stall-timeout says how long it may stand still");
		give_up(s, &err);
	}
}

void deadlines_begin(struct qmpsnap_snapshot *s)
{
	struct deadline_watch *watch = calloc(1, sizeof(*watch));

	s->deadlines.moved_ns = uv_hrtime();
	if (!watch)
		return;
	watch->snapshot = s;
	watch->timer.data = watch;
	(void)uv_timer_init(s->loop, &watch->timer);
	(void)uv_timer_start(&watch->timer, on_tick, TICK_MS, TICK_MS);
	s->deadlines.watch = watch;
}

void deadlines_moved(struct qmpsnap_snapshot *s)
{
	s->deadlines.moved_ns = uv_hrtime();
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void deadlines_end(struct qmpsnap_snapshot *s)
{
	if (s->deadlines.watch)
		uv_close((uv_handle_t *)&s->deadlines.watch->timer, on_closed);
	s->deadlines.watch = NULL;
}
