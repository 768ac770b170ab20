/* SPDX-License-Identifier: Apache-2.0
 *
 * session.h - a snapshot as the command line sees it run: where its text goes, what its events
 * show, what signals do.
 */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/steps.h"

#include <uv.h>

enum { SESSION_SIGNALS = 4 };

struct session {
	const struct options *options;
	struct output standard, errors; /* stdout and stderr */
	struct output *out; /* results and JSON; stderr when stdout is the image */
	struct progress progress;
	struct steps steps;
	unsigned n_planned;
	struct qmpsnap_snapshot *snapshot; /* NULL before it began and after its end */
	struct qmpsnap_images *images; /* the same of a request about images */
	enum qmpsnap_code cancelled; /* by a signal, or by another process; OK: not */
	struct control *control; /* NULL: not yet, or it can't be had */
	bool control_tried;
	char state[32]; /* Nova's name of it */
	uint64_t began_ns;
	uv_timer_t tick;
	uv_signal_t signals[SESSION_SIGNALS];
	size_t n_signals; /* watched, of those */
	int exit_code;
};

/* Takes the library's log over, too. */
void session_init(struct session *session, const struct options *options);
/* Writes what is left of the output, waiting for its reader, frees, and returns the exit code. */
int session_end(struct session *session);

/* Ticks and signals, from here until session_unwatch(), whose handles leave the loop later. */
bool session_watch(struct session *session, uv_loop_t *loop, struct qmpsnap_error *err);
void session_unwatch(struct session *session);

/* A line on stderr above the bars ("qmpsnap: ..."), or for snapshot --json a `log` event. */
void session_say(struct session *session, enum qmpsnap_log_level level, const char *text);

/* The library's callback; `data` is the session. */
qmpsnap_event_fn session_event;

/* Reports the end, also that of a snapshot that could not begin, and sets `exit_code`. */
void session_finish(struct session *session, const struct qmpsnap_error *err,
	const struct qmpsnap_result *result);

/* Opens the store of a run that was killed, with what the environment says of its cloud. */
qmpsnap_open_store_fn session_open_store;

#endif
