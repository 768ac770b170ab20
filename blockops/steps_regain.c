/* SPDX-License-Identifier: Apache-2.0
 *
 * A monitor that was lost while QEMU lives (it closed the connection, or what came over it was no
 * QMP) is connected to anew for the undo, once: what of ours stands in QEMU would stay there, and
 * the guest might stay paused. */
#include "base/log.h"
#include "blockops/steps.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

enum {
	REGAIN_MS = 10000,
	DYING_MS = 3000, /* a process that ends closes its sockets before it is gone */
	LOOK_MS = 100,
};

/* Nothing of ours is in QEMU before the guard's step, nor, but for a pause, once the copies are
 * made. */
static bool is_needed(const struct qmpsnap_snapshot *s)
{
	return s->qmp && qmp_is_lost(s->qmp) && !s->regained && (!s->detached || s->stopped) &&
	       s->address.kind != QMP_FD && s->flow.at > method_step_index(s->table, "guard");
}

static bool is_gone(const struct qmpsnap_snapshot *s)
{
	if (identity_is_known(&s->qemu))
		return !identity_is_alive(&s->qemu);
	return s->lost_pid > 0 && kill(s->lost_pid, 0) < 0 && errno == ESRCH;
}

static void fail(struct qmpsnap_snapshot *s, const struct qmpsnap_error *why)
{
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_QEMU, "QEMU closed the monitor and can't be reached anew (%s)",
		why->message);
	flow_undo_ready(&s->flow, &err);
}

static void on_not_ours(void *data)
{
	struct qmpsnap_snapshot *s = data;

	flow_undo_ready(&s->flow, NULL);
}

static bool holds_ours(const struct qmpsnap_snapshot *s, struct json_object *nodes)
{
	char run[NAME_RUN_BYTES];

	for (size_t i = 0; i < json_length(nodes); i++) {
		const char *node = json_string(json_object_array_get_idx(nodes, i), "node-name");

		if (node && name_is_ours(node, run) && strcmp(run, s->run) == 0)
			return true;
	}
	return false;
}

/* Where no process id tells that it is the same QEMU, what is in it does. */
static void on_nodes(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmp_client *qmp = s->qmp;

	if (err) {
		fail(s, err);
	} else if (holds_ours(s, result)) {
		flow_undo_ready(&s->flow, NULL);
	} else {
		s->qmp = NULL;
		qmp_close(qmp, on_not_ours, s);
	}
}

static void look_whether_gone(struct qmpsnap_snapshot *s)
{
	const uint64_t waited_ms = (uv_hrtime() - s->wait_from_ns) / 1000000;

	if (is_gone(s))
		flow_undo_ready(&s->flow, NULL);
	else if (waited_ms < DYING_MS)
		snapshot_after(s, LOOK_MS, look_whether_gone);
	else
		fail(s, &s->disk_err);
}

static void on_ready(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (err) {
		s->disk_err = *err;
		s->wait_from_ns = uv_hrtime();
		look_whether_gone(s);
		return;
	}
	log_line(QMPSNAP_LOG_WARNING,
		"the monitor's connection was lost, and made anew to undo what was done");
	if (s->lost_pid && s->lost_pid == qmp_peer_pid(s->qmp)) {
		flow_undo_ready(&s->flow, NULL);
		return;
	}
	struct json_object *args = json_object_new_object();
	json_put_bool(args, "flat", true);
	qmp_execute(s->qmp, "query-named-block-nodes", args, on_nodes, s);
}

bool monitor_regain(struct flow *f, void *self)
{
	const struct qmp_options options = {.handshake_ms = REGAIN_MS};
	struct qmpsnap_snapshot *s = self;
	struct qmp_client *lost = s->qmp;
	struct qmpsnap_error err;

	(void)f;
	if (!is_needed(s))
		return true;
	s->regained = true;
	s->lost_pid = qmp_peer_pid(lost);
	if (is_gone(s))
		return true;
	qmp_unsubscribe(lost, &s->on_event);
	if (!monitor_connect(s, &options, on_ready, &err)) { /* nobody listens: QEMU has ended */
		s->qmp = lost;
		return true;
	}
	qmp_close(lost, NULL, NULL);
	return false;
}
