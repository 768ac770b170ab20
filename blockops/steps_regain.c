/* SPDX-License-Identifier: Apache-2.0
 *
 * A monitor that was lost while QEMU lives (it closed the connection, or what came over it was no
 * QMP) is connected to anew for the undo, as often as it is lost: what of ours stands in QEMU would
 * stay there, and the guest might stay paused.  One that can't be had is an error of the undo, and
 * isn't asked for again; but while our `stop` stands it is, until QEMU has ended. */
#include "base/log.h"
#include "blockops/steps.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

enum {
	REGAIN_MS = 10000,
	DYING_MS = 3000, /* a process that ends closes its sockets before it is gone */
	LOOK_MS = 100,
	LONGEST_PAUSE_MS = 2000, /* between tries in a pause, */
	HOLDING_MS = 1000, /* during which the guard hears that this process hasn't hung */
};

static void attempt(struct qmpsnap_snapshot *s);

/* Once the copies are made nothing of ours is in QEMU, but for a pause and for the descriptor of a
 * server that it refused. */
static bool holds_something(const struct qmpsnap_snapshot *s)
{
	return s->flow.at > method_step_index(s->table, "guard") &&
	       (!s->detached || s->stopped || s->server_refused);
}

static bool is_needed(const struct qmpsnap_snapshot *s)
{
	return s->qmp && qmp_is_lost(s->qmp) && !s->out_of_reach && holds_something(s);
}

static bool is_gone(const struct qmpsnap_snapshot *s)
{
	if (identity_is_known(&s->qemu))
		return !identity_is_alive(&s->qemu);
	return s->lost_pid > 0 && kill(s->lost_pid, 0) < 0 && errno == ESRCH;
}

/* Where QEMU's end will be seen, whoever listens for it. */
static bool goes_on(const struct qmpsnap_snapshot *s)
{
	return s->stopped && identity_is_known(&s->qemu) && !s->qemu.socket;
}

static void tell(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	snapshot_timer_stop(s);
	s->regain_then(s, err);
}

static void fail(struct qmpsnap_snapshot *s, const struct qmpsnap_error *why)
{
	struct qmpsnap_error err;

	s->out_of_reach = true;
	error_set(&err, QMPSNAP_QEMU, "QEMU closed the monitor and can't be reached anew%s (%s)",
		s->stopped ? ", and the guest is left paused" : "", why->message);
	if (s->address.kind == QMP_FD)
		error_hint(&err, "`qmpsnap recover --qmp ADDRESS`, with another monitor of this "
				 "QEMU, undoes the rest");
	tell(s, &err);
}

static void look_whether_gone(struct qmpsnap_snapshot *s)
{
	const uint64_t waited_ms = (uv_hrtime() - s->wait_from_ns) / 1000000;

	if (s->stopped)
		record_holding(s);
	if (is_gone(s))
		tell(s, NULL);
	else if (waited_ms < DYING_MS)
		snapshot_after(s, LOOK_MS, look_whether_gone);
	else
		fail(s, &s->disk_err);
}

static void look_for_a_while(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	s->disk_err = *err;
	s->wait_from_ns = uv_hrtime();
	snapshot_after(s, 0, look_whether_gone);
}

static void attempt_failed(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	if (!goes_on(s) || is_gone(s)) {
		look_for_a_while(s, err);
		return;
	}
	if (!s->retake_ms)
		log_line(QMPSNAP_LOG_WARNING,
			"QEMU closed the monitor, and the guest stands still: it is tried to reach "
			"it anew for as long as its process %d lives; `cont` on another monitor "
			"continues the guest, too (%s)",
			(int)s->qemu.pid, err->message);
	s->retake_ms = s->retake_ms ? s->retake_ms * 2 : LOOK_MS;
	if (s->retake_ms > LONGEST_PAUSE_MS)
		s->retake_ms = LONGEST_PAUSE_MS;
	snapshot_after(s, s->retake_ms, attempt);
}

/* ---- Whether it is the same QEMU ---- */

static void on_not_ours(void *data)
{
	tell(data, NULL);
}

/* Where no process id tells that it is the same QEMU, what is in it does. */
static void on_names(const struct node_names *names, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmp_client *qmp = s->qmp;

	if (err) {
		fail(s, err);
	} else if (node_names_have_run(names, s->run)) {
		tell(s, NULL);
	} else {
		s->qmp = NULL;
		qmp_close(qmp, on_not_ours, s);
	}
}

static void on_ready(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (err) {
		attempt_failed(s, err);
		return;
	}
	log_line(QMPSNAP_LOG_WARNING,
		"the monitor's connection was lost, and made anew to undo what was done");
	if (s->lost_pid && s->lost_pid == qmp_peer_pid(s->qmp)) {
		tell(s, NULL);
		return;
	}
	node_names_ask(&s->names, s->qmp, on_names, s);
}

/* ---- The tries ---- */

static void say_holding(struct qmpsnap_snapshot *s)
{
	record_holding(s);
	snapshot_after(s, HOLDING_MS, say_holding);
}

/* A new connection in place of the lost one, which is kept where there is none to be had. */
static bool reconnect(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	const struct qmp_options options = {.handshake_ms = REGAIN_MS};
	struct qmp_client *lost = s->qmp;

	qmp_unsubscribe(lost, &s->on_event);
	if (!monitor_connect(s, &options, on_ready, err)) {
		s->qmp = lost;
		return false;
	}
	qmp_close(lost, NULL, NULL);
	if (goes_on(s))
		say_holding(s);
	return true;
}

static void attempt(struct qmpsnap_snapshot *s)
{
	struct qmpsnap_error err;

	record_holding(s);
	if (!reconnect(s, &err))
		attempt_failed(s, &err);
}

/* False: there is nothing to wait for, QEMU has ended. */
static bool begin(struct qmpsnap_snapshot *s, diagnosed_fn *then)
{
	struct qmpsnap_error err;

	s->regain_then = then;
	s->retake_ms = 0;
	s->lost_pid = qmp_peer_pid(s->qmp);
	if (is_gone(s))
		return false;
	if (s->address.kind == QMP_FD) {
		error_set(&err, QMPSNAP_QEMU, "%s: nobody can connect to a descriptor's other end",
			s->address.text);
		look_for_a_while(s, &err);
	} else if (!reconnect(s, &err)) {
		attempt_failed(s, &err);
	}
	return true;
}

static void on_regained(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	flow_undo_ready(&s->flow, err);
}

bool monitor_regain(struct flow *f, void *self)
{
	(void)f;
	return !is_needed(self) || !begin(self, on_regained);
}

bool monitor_is_lost(const void *self, struct qmpsnap_error *why)
{
	const struct qmpsnap_snapshot *s = self;

	error_set(why, QMPSNAP_QEMU, "QEMU closes the monitor again and again");
	return is_needed(s) && !is_gone(s);
}

bool monitor_regain_in_pause(struct qmpsnap_snapshot *s, diagnosed_fn *then)
{
	return s->stopped && is_needed(s) && begin(s, then);
}
