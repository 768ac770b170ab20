/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "cli/command.h"
#include "cli/session.h"

#include <unistd.h>

static void on_done(
	const struct qmpsnap_error *err, const struct qmpsnap_result *result, void *data)
{
	struct session *session = data;

	session_finish(session, err, result);
	session_unwatch(session);
}

static bool check_stdout(const struct options *options, struct qmpsnap_error *err)
{
	if (!options_image_on_stdout(options) || options->snapshot.dry_run ||
		!isatty(STDOUT_FILENO))
		return true;
	(void)error_set(err, QMPSNAP_USAGE, "--to -: stdout is a terminal");
	error_hint(err, "send it to a file or a pipe: qmpsnap snapshot ... --to - > disk.qcow2");
	return false;
}

int command_snapshot(uv_loop_t *loop, const struct options *options)
{
	const struct qmpsnap_result nothing = {.method = NULL};
	struct qmpsnap_snapshot_options snapshot = options->snapshot;
	struct session session;
	struct qmpsnap_store *store = NULL;
	struct qmpsnap_error err;

	session_init(&session, options);
	if (check_stdout(options, &err))
		store = qmpsnap_store_open(
			loop, options->snapshot.store_spec, &options->store, &err);
	if (store && session_watch(&session, loop, &err)) {
		snapshot.store_spec = qmpsnap_store_spec(store);
		snapshot.open_store = session_open_store;
		session.snapshot = qmpsnap_snapshot_start(
			loop, &snapshot, store, session_event, on_done, &session, &err);
	}
	if (!session.snapshot) {
		session_finish(&session, &err, &nothing);
		if (session.tick.loop)
			session_unwatch(&session);
	}
	(void)uv_run(loop, UV_RUN_DEFAULT);
	qmpsnap_store_close(store);
	(void)uv_run(loop, UV_RUN_DEFAULT);
	return session_end(&session);
}
