/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"
#include "cli/report.h"
#include "cli/session.h"

static void on_recovered(
	const struct qmpsnap_error *err, const char *const *undone, size_t n_undone, void *data)
{
	struct session *session = data;

	for (size_t i = 0; i < n_undone; i++)
		output_printf(session->out, "%s\n", undone[i]);
	if (err) {
		report_error(&session->errors, err);
		session->exit_code = (int)err->code;
	} else if (n_undone == 0) {
		output_printf(session->out, "nothing of ours found\n");
	} else if (session->options->snapshot.dry_run) {
		output_printf(session->out, "dry run: nothing was touched\n");
	}
}

int command_recover(uv_loop_t *loop, const struct options *options)
{
	struct session session;
	struct qmpsnap_error err;

	const struct qmpsnap_recover_options recover = {.qmp_address = options->qmp_address,
		.all = options->images.all,
		.dry_run = options->snapshot.dry_run,
		.open_store = session_open_store};

	session_init(&session, options);
	if (!qmpsnap_recover(loop, &recover, on_recovered, &session, &err))
		on_recovered(&err, NULL, 0, &session);
	(void)uv_run(loop, UV_RUN_DEFAULT);
	return session_end(&session);
}
