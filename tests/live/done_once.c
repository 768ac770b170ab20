/* SPDX-License-Identifier: Apache-2.0
 *
 * done_once - an embedder that gives up: two snapshots at once on one loop, through the shared
 * library alone.  The first run counts the victim's events of steps; then there is a run for each
 * of them in which the victim is cancelled from within that event's callback (twice) and the other
 * is left alone.  Each run has a loop of its own, which must be empty in the end.
 *
 *   done_once GUARD STORE VICTIM_ADDRESS OTHER_ADDRESS
 *
 * Prints a line a run: "EVENT STEP PHASE VICTIM_CALLS VICTIM_CODE VICTIM_IMAGES OTHER_CALLS
 * OTHER_CODE OTHER_IMAGES LOOP", where CALLS counts the calls of `done` and LOOP is 0 when the loop
 * could be closed.
 */
#include <qmpsnap.h>
#include <stdio.h>
#include <uv.h>

struct embedded {
	uv_loop_t *loop;
	struct qmpsnap_store *store;
	struct qmpsnap_snapshot *snapshot;
	unsigned events, cancel_at; /* the event that cancels, from 1; 0: none */
	char step[32];
	int phase;
	unsigned calls;
	int code;
	size_t n_images;
};

static void on_event(const struct qmpsnap_event *event, void *data)
{
	struct embedded *e = data;

	if (event->kind != QMPSNAP_EVENT_STEP || ++e->events != e->cancel_at)
		return;
	(void)snprintf(e->step, sizeof(e->step), "%s", event->text);
	e->phase = (int)event->phase;
	qmpsnap_snapshot_cancel(e->snapshot, QMPSNAP_INTERRUPTED);
	qmpsnap_snapshot_cancel(e->snapshot, QMPSNAP_TERMINATED);
}

static void on_done(
	const struct qmpsnap_error *err, const struct qmpsnap_result *result, void *data)
{
	struct embedded *e = data;

	e->calls++;
	e->code = err ? (int)err->code : QMPSNAP_OK;
	e->n_images = result->n_images;
	if (e->calls == 1)
		qmpsnap_store_close(e->store);
}

static bool start(struct embedded *e, const char *guard, const char *spec, const char *address)
{
	const struct qmpsnap_snapshot_options options = {
		.qmp_address = address, .store_spec = spec, .guard_path = guard};
	struct qmpsnap_error err;

	e->store = qmpsnap_store_open(e->loop, spec, NULL, &err);
	e->snapshot = e->store ? qmpsnap_snapshot_start(
					 e->loop, &options, e->store, on_event, on_done, e, &err)
			       : NULL;
	if (!e->snapshot)
		(void)fprintf(stderr, "done_once: %s\n", err.message);
	return e->snapshot;
}

/* The number of the victim's events, 0 when it can't run. */
static unsigned run(char *const argv[], unsigned cancel_at)
{
	uv_loop_t loop;
	struct embedded victim = {.loop = &loop, .cancel_at = cancel_at, .step = "-"};
	struct embedded other = {.loop = &loop};

	if (uv_loop_init(&loop) != 0 || !start(&victim, argv[1], argv[2], argv[3]) ||
		!start(&other, argv[1], argv[2], argv[4]))
		return 0;
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	(void)printf("%u %s %d %u %d %zu %u %d %zu %d\n", cancel_at, victim.step, victim.phase,
		victim.calls, victim.code, victim.n_images, other.calls, other.code, other.n_images,
		uv_loop_close(&loop));
	(void)fflush(stdout);
	return victim.events;
}

int main(int argc, char *argv[])
{
	const unsigned n_events = argc == 5 ? run(argv, 0) : 0;

	for (unsigned i = 1; i <= n_events; i++) {
		if (run(argv, i) == 0)
			return QMPSNAP_INTERNAL;
	}
	return n_events == 0;
}
