/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard's side: it waits for the end of the main process, and unwinds what it was told. */
#include "base/log.h"
#include "blockops/guard.h"
#include "blockops/method_table.h"
#include "blockops/steps.h"
#include "blockops/unwind.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LATE_MS = 1000 };

/* A deadline of the main process's next record. */
struct limit {
	unsigned ms;
	uint64_t due_ms; /* on the loop's clock */
	bool was_late;
};

struct guard_process {
	uv_loop_t loop;
	uv_poll_t poll;
	uv_timer_t pause_timer, freeze_timer, silence_timer;
	struct limit pause, freeze, silence;
	int control_fd;
	struct taken_run run;
	qmpsnap_open_store_fn *open_store;
	bool hampered; /* it lacks what some undo needs */
	bool main_ended; /* by us */
	int exit_code;
};

/* ---- The end ---- */

/* What couldn't be undone is left to `recover`. */
static void close_up(struct guard_process *g)
{
	if (g->exit_code == QMPSNAP_OK && !g->run.farewell)
		journal_remove(&g->run.s->journal);
	else
		journal_close(&g->run.s->journal);
	uv_close((uv_handle_t *)&g->pause_timer, NULL);
	uv_close((uv_handle_t *)&g->freeze_timer, NULL);
	uv_close((uv_handle_t *)&g->silence_timer, NULL);
	if (g->run.s->store)
		qmpsnap_store_close(g->run.s->store);
	if (g->run.farewell)
		guest_lock_close(&g->run.s->lock);
	else
		guest_lock_drop(&g->run.s->lock);
	snapshot_free(g->run.s);
}

static void on_agent_closed(void *data)
{
	close_up(data);
}

static void on_thawed(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	struct guard_process *g = s->data;
	const struct flow *f = &s->flow;
	const bool alone = g->run.left ? g->run.left_alone
				       : f->n_undo_errs == 1 && f->undo_err.code == QMPSNAP_AGENT;

	if (!err && !g->hampered && alone)
		g->exit_code = QMPSNAP_OK; /* that was all that was left */
	if (!err && !s->freeze.in_doubt)
		log_line(QMPSNAP_LOG_WARNING,
			"the guest's file systems, which run %s had left frozen, are thawed",
			s->run);
	agent_close(s->agent, on_agent_closed, g);
}

static void thaw_or_close_up(struct guard_process *g)
{
	g->run.s->data = g;
	if (g->run.s->agent)
		thaw_on(g->run.s, on_thawed);
	else
		close_up(g);
}

static void on_unwound(struct qmpsnap_snapshot *s, void *data)
{
	struct guard_process *g = data;
	const struct qmpsnap_error *left = &s->flow.undo_err;

	if (left->code == QMPSNAP_OK && g->exit_code == QMPSNAP_OK) {
		log_line(QMPSNAP_LOG_WARNING,
			"run %s was killed in its step %s; all of it has been undone", s->run,
			g->run.last_step);
	} else {
		g->exit_code = QMPSNAP_UNDO;
		log_line(QMPSNAP_LOG_WARNING,
			"run %s was killed in its step %s; not all could be undone%s%s; run "
			"`qmpsnap recover`",
			s->run, g->run.last_step, left->message[0] ? ": " : "", left->message);
	}
	thaw_or_close_up(g);
}

static void on_lost(const struct qmpsnap_error *err, void *data)
{
	(void)err; /* the undos see that QEMU is gone */
	(void)data;
}

static void reopen_store(struct guard_process *g)
{
	struct qmpsnap_error err;

	if (g->run.published || !taken_reached(&g->run, "images"))
		return;
	g->run.s->store = g->open_store(&g->loop, g->run.s->store_spec, &err);
	if (g->run.s->store)
		return;
	g->hampered = true;
	g->exit_code = QMPSNAP_UNDO;
	log_line(QMPSNAP_LOG_WARNING, "images may be left, since the store can't be opened: %s",
		err.message);
}

/* Only if there is something to thaw. */
static void take_over_agent(struct guard_process *g)
{
	struct qmpsnap_error err;

	if (g->run.agent_fd < 0 || !g->run.s->freeze.in_doubt)
		return;
	g->run.s->agent = agent_adopt(&g->loop, g->run.agent_fd, 0, &err);
	g->run.s->freeze.agent = g->run.s->agent;
	if (g->run.s->agent)
		return;
	g->hampered = true;
	g->exit_code = QMPSNAP_UNDO;
	log_line(QMPSNAP_LOG_WARNING, "the guest may be left frozen: %s", err.message);
}

/* One that was released is had again by the undo of that step. */
static void take_over_monitor(struct guard_process *g)
{
	struct qmpsnap_error err;

	if (g->run.s->released)
		return;
	g->run.s->qmp = qmp_adopt(&g->loop, g->run.monitor_fd, NULL, on_lost, g, &err);
	if (g->run.s->qmp)
		return;
	g->hampered = true;
	g->exit_code = QMPSNAP_UNDO;
	log_line(QMPSNAP_LOG_WARNING, "the monitor can't be taken over: %s", err.message);
}

/* The main process is gone without a farewell. */
static void take_over(struct guard_process *g)
{
	if (!g->run.last_step[0]) {
		close_up(g);
		return;
	}
	if (g->run.left) { /* with all but the freeze undone: its agent said nothing for too long */
		g->exit_code = QMPSNAP_UNDO; /* until they are thawed */
		take_over_agent(g);
		if (g->run.monitor_fd >= 0)
			close(g->run.monitor_fd);
		thaw_or_close_up(g);
		return;
	}
	reopen_store(g);
	if (g->run.monitor_fd >= 0 || g->run.s->released)
		take_over_monitor(g);
	take_over_agent(g);
	unwind(g->run.s, g->run.last_step, on_unwound, g);
}

/* ---- Deadlines of the main process ---- */

static void end_main(struct guard_process *g)
{
	g->main_ended = true;
	/* Only the process that started us: a number that was given to another one since isn't our
	 * parent. */
	if (g->run.main_pid > 1 && getppid() == g->run.main_pid)
		kill(g->run.main_pid, SIGKILL);
}

static void end_slow_main(struct guard_process *g, const char *what, unsigned ms)
{
	log_line(QMPSNAP_LOG_WARNING, "%s for over %u ms: ending the main process", what, ms);
	end_main(g);
}

static bool take_record(struct guard_process *g);

static void limit_start(uv_timer_t *timer, struct limit *limit, uv_timer_cb over, unsigned ms)
{
	*limit = (struct limit){.ms = ms, .due_ms = uv_now(timer->loop) + ms};
	uv_timer_start(timer, over, ms, 0);
}

/* What the main process has said counts, though timers come first in a loop's turn; and when this
 * process stood still itself (a stopped cgroup, a suspended host), it is given its time once more,
 * since it may have stood still too. */
static bool is_over(uv_timer_t *timer, struct limit *limit, uv_timer_cb over)
{
	struct guard_process *g = timer->data;
	const bool was_late = limit->was_late;
	const bool is_late = uv_now(&g->loop) > limit->due_ms + LATE_MS;
	bool heard = false;

	while (take_record(g))
		heard = true;
	if (heard || uv_is_closing((uv_handle_t *)&g->poll))
		return false;
	if (!is_late || was_late)
		return true;
	limit_start(timer, limit, over, limit->ms);
	limit->was_late = true;
	return false;
}

static void on_pause_deadline(uv_timer_t *timer)
{
	struct guard_process *g = timer->data;

	if (is_over(timer, &g->pause, on_pause_deadline))
		end_slow_main(g, "the guest has been held", SNAPSHOT_PAUSE_MS);
}

static unsigned freeze_limit_ms(const struct guard_process *g)
{
	return g->run.s->freeze_deadline_ms + SNAPSHOT_FREEZE_MARGIN_MS;
}

static void on_freeze_deadline(uv_timer_t *timer)
{
	struct guard_process *g = timer->data;

	if (is_over(timer, &g->freeze, on_freeze_deadline))
		end_slow_main(
			g, "the guest's file systems have been held frozen", freeze_limit_ms(g));
}

/* From the instant on a scratch of the job flavour that isn't reserved in full stops the guest when
 * nobody gives the snapshot up in time. */
static bool needs_watch(const struct guard_process *g)
{
	const struct qmpsnap_snapshot *s = g->run.s;
	bool any = false;

	for (size_t i = 0; i < s->n_disks; i++)
		any = any || !s->disks[i].scratch_is_reserved;
	return any && s->table == method_table(METHOD_JOB) && taken_reached(&g->run, "instant");
}

/* Replies that a stopped process doesn't read hold QEMU's main loop, and so the guest, up at the
 * next drain: a reset, say.  It isn't ended for that; its snapshot will be. */
static void on_silence(uv_timer_t *timer)
{
	struct guard_process *g = timer->data;

	if (!is_over(timer, &g->silence, on_silence))
		return;
	if (needs_watch(g)) {
		end_slow_main(g,
			"a scratch that stops the guest once it is full hasn't been watched",
			SNAPSHOT_UNWATCHED_MS);
		return;
	}
	log_line(QMPSNAP_LOG_WARNING,
		"the main process has stood still for over %u s: its connections to QEMU's NBD "
		"server are ended, so that the guest can't be held up",
		SNAPSHOT_SILENCE_MS / 1000);
	export_cut(g->run.s);
}

/* Each record shows that the main process hasn't hung. */
static void follow_deadlines(struct guard_process *g)
{
	if (g->run.s->stopped)
		limit_start(&g->pause_timer, &g->pause, on_pause_deadline, SNAPSHOT_PAUSE_MS);
	else
		uv_timer_stop(&g->pause_timer);
	if (g->run.s->freeze.in_doubt)
		limit_start(&g->freeze_timer, &g->freeze, on_freeze_deadline, freeze_limit_ms(g));
	else
		uv_timer_stop(&g->freeze_timer);
	if (needs_watch(g))
		limit_start(&g->silence_timer, &g->silence, on_silence, SNAPSHOT_UNWATCHED_MS);
	else if (export_is_read(g->run.s))
		limit_start(&g->silence_timer, &g->silence, on_silence, SNAPSHOT_SILENCE_MS);
}

/* ---- Its life ---- */

/* What it does can't be followed any more.  Two that undo on one monitor would be worse, so the
 * takeover waits for its end. */
static void end_misunderstood_main(struct guard_process *g)
{
	if (!g->main_ended)
		log_line(QMPSNAP_LOG_WARNING,
			"what the main process says can't be understood: ending it");
	end_main(g);
}

/* True: it may not be the last one; false: none has come, or the main process is gone. */
static bool take_record(struct guard_process *g)
{
	struct json_object *record = NULL;
	int fds[GUARD_MAX_FDS];
	size_t n = 0;
	bool well = true;

	const int got = guard_receive(g->control_fd, &record, fds, &n);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got > 0)
		well = record_take(&g->run, record, fds, n);
	json_object_put(record);
	follow_deadlines(g);
	if (got > 0 && well && !g->run.farewell)
		return true;
	if (got != 0 && !g->run.farewell && g->run.is_whole) {
		end_misunderstood_main(g);
		return got > 0;
	}
	uv_timer_stop(&g->pause_timer);
	uv_timer_stop(&g->freeze_timer);
	uv_timer_stop(&g->silence_timer);
	uv_close((uv_handle_t *)&g->poll, NULL);
	if (g->run.farewell)
		close_up(g);
	else
		take_over(g);
	return false;
}

static void on_control(uv_poll_t *handle, int status, int events)
{
	(void)status; /* of an error receiving tells, too */
	(void)events;
	(void)take_record(handle->data);
}

static bool set_up(struct guard_process *g)
{
	static const char hello[] = "{\"record\":\"ready\"}";

	if (uv_loop_init(&g->loop) < 0)
		return false;
	g->run.s = snapshot_new(&g->loop);
	if (!g->run.s)
		return false;
	g->poll.data = g->pause_timer.data = g->freeze_timer.data = g->silence_timer.data = g;
	if (uv_timer_init(&g->loop, &g->pause_timer) < 0 ||
		uv_timer_init(&g->loop, &g->freeze_timer) < 0 ||
		uv_timer_init(&g->loop, &g->silence_timer) < 0 ||
		uv_poll_init(&g->loop, &g->poll, g->control_fd) < 0 ||
		uv_poll_start(&g->poll, UV_READABLE, on_control) < 0)
		return false;
	/* A main process that is gone by now is seen by the end of its socket. */
	(void)send(g->control_fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL);
	return true;
}

int qmpsnap_guard_main(int control_fd, qmpsnap_open_store_fn *open_store)
{
	struct guard_process g = {.control_fd = control_fd,
		.run = {.monitor_fd = -1, .agent_fd = -1},
		.open_store = open_store};

	if (!set_up(&g))
		return QMPSNAP_INTERNAL;
	uv_run(&g.loop, UV_RUN_DEFAULT);
	uv_loop_close(&g.loop);
	close(control_fd);
	return g.exit_code;
}
