/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/evidence.h"

#include "blockops/leftovers.h"
#include "blockops/method_table.h"

#include <stdlib.h>
#include <string.h>

enum { STATUS, JOBS, FDSETS, STATS, NODES, N_QUERIES };

static const char *const queries[N_QUERIES] = {"query-status", "query-jobs", "query-fdsets",
	"query-blockstats", "query-named-block-nodes"};

struct weighing {
	struct taken_run *run;
	struct json_object *replies[N_QUERIES];
	size_t query;
	evidence_fn *weighed;
	void *data;
};

/* Over a socket that somebody else listens on, QEMU may be another one than it was. */
static bool may_be_another(const struct qmpsnap_snapshot *s)
{
	return s->qemu.socket != 0;
}

bool evidence_is_needed(const struct qmpsnap_snapshot *s)
{
	return s->stopped || (s->freeze.in_doubt && may_be_another(s));
}

bool evidence_of_access(struct json_object *blockstats, uint64_t elapsed_ms, uint64_t slack_ms)
{
	for (size_t i = 0; elapsed_ms > slack_ms && i < json_length(blockstats); i++) {
		struct json_object *stats = json_member(
			json_object_array_get_idx(blockstats, i), "stats", json_type_object);
		const int64_t idle_ns = json_int(stats, "idle_time_ns", -1);

		if (idle_ns >= 0 && (uint64_t)idle_ns / 1000000 < elapsed_ms - slack_ms)
			return true;
	}
	return false;
}

/* From the intent to the answer of the `stop`, behind which the guest does nothing any more. */
static uint64_t slack_ms(const struct qmpsnap_snapshot *s)
{
	return (s->freeze.in_doubt ? s->freeze_deadline_ms + SNAPSHOT_FREEZE_MARGIN_MS : 0) +
	       SNAPSHOT_PAUSE_MS + SNAPSHOT_PAUSED_COMMAND_MS;
}

static bool was_accessed(const struct weighing *w)
{
	const int64_t now_ms = (int64_t)(uv_hrtime() / 1000000);
	const int64_t then_ms = w->run->held_at_ms;

	return then_ms > 0 && now_ms > then_ms &&
	       evidence_of_access(
		       w->replies[STATS], (uint64_t)(now_ms - then_ms), slack_ms(w->run->s));
}

/* A QEMU before 8.2 keeps descriptor sets that were removed while its guest stood still. */
static bool any_stands(const struct weighing *w, bool with_fdsets)
{
	const struct leftovers left = {.jobs = w->replies[JOBS],
		.nodes = w->replies[NODES],
		.fdsets = with_fdsets ? w->replies[FDSETS] : NULL};

	return leftovers_has_of(&left, w->run->s);
}

/* What a failed migration has made of a guest that stood still counts, too (steps_pause.c). */
static bool stands_still(const struct weighing *w)
{
	const char *status = json_string(w->replies[STATUS], "status");

	return guest_status_is_held(status) || guest_status_is_migrated(status);
}

/* Whether the run's stop or freeze isn't to be undone; then *doubt says why. */
static bool is_doubtful(const struct weighing *w, struct qmpsnap_error *doubt)
{
	const struct qmpsnap_snapshot *s = w->run->s;
	const bool must_stand = s->stopped && s->table != method_table(METHOD_COLD);

	if ((may_be_another(s) && !any_stands(w, true)) || (must_stand && !any_stands(w, false)))
		return !error_set(doubt, QMPSNAP_AGENT,
			"%s may stand still for run %s, or for others since: nothing of the run "
			"stands in this QEMU; so it is left as it is",
			s->guest_name, s->run);
	if (s->stopped && was_accessed(w))
		return !error_set(doubt, QMPSNAP_AGENT,
			"%s stands still, and not for run %s: it has used its disks since; so it "
			"is left as it is",
			s->guest_name, s->run);
	return false;
}

static void tell(struct weighing *w, const struct qmpsnap_error *doubt)
{
	for (size_t i = 0; i < N_QUERIES; i++)
		json_object_put(w->replies[i]);
	w->weighed(doubt, w->data);
	free(w);
}

static void end(struct weighing *w)
{
	struct qmpsnap_snapshot *s = w->run->s;
	struct qmpsnap_error doubt = {0};
	const bool is_held = s->freeze.in_doubt || stands_still(w);
	const bool stays = is_held && is_doubtful(w, &doubt);

	if (stays) {
		error_hint(&doubt, "`cont` on its monitor continues it%s",
			s->freeze.in_doubt ? "; fsfreeze --unfreeze MOUNTPOINT in it thaws" : "");
		s->stopped = false;
		s->freeze.in_doubt = s->freeze.in_doubt && !may_be_another(s);
	}
	tell(w, stays ? &doubt : NULL);
}

static void ask(struct weighing *w);

/* A QEMU without a query has nothing of its kind; but without an answer nothing can be weighed, and
 * the monitor may be had again before the undo. */
static void on_reply(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct weighing *w = data;
	const struct qmpsnap_snapshot *s = w->run->s;

	if (err && (w->query == STATUS || !qmp_error_class(s->qmp)[0])) {
		tell(w, snapshot_qemu_has_ended(s) ? NULL : err);
		return;
	}
	w->replies[w->query++] = json_object_get(result);
	ask(w);
}

/* The nodes are asked for where nothing else of the run need stand, and where it is safe: a QEMU
 * that has the filter. */
static void ask(struct weighing *w)
{
	const struct qmpsnap_snapshot *s = w->run->s;
	struct json_object *args = NULL;

	if (w->query == N_QUERIES ||
		(w->query == NODES && s->table != method_table(METHOD_FILTER))) {
		end(w);
		return;
	}
	if (w->query == NODES) {
		args = json_new();
		json_put_bool(args, "flat", true);
	}
	qmp_execute(s->qmp, queries[w->query], args, on_reply, w);
}

bool evidence_weigh(
	struct taken_run *run, evidence_fn *weighed, void *data, struct qmpsnap_error *err)
{
	struct weighing *w = calloc(1, sizeof(*w));

	if (!w)
		return error_no_memory(err);
	w->run = run;
	w->weighed = weighed;
	w->data = data;
	ask(w);
	return true;
}
