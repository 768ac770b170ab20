/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "cli/command.h"
#include "cli/inspect_text.h"
#include "cli/report.h"
#include "cli/session.h"

static bool show(struct session *session, const char *json, struct qmpsnap_error *err)
{
	struct json_object *guest;

	if (session->options->json) {
		output_printf(session->out, "%s\n", json);
		return true;
	}
	guest = json_tokener_parse(json);
	if (!guest)
		return error_set(err, QMPSNAP_INTERNAL, "what was found is no JSON");
	inspect_text(session->out, guest);
	json_object_put(guest);
	return true;
}

static void on_inspected(const struct qmpsnap_error *err, const char *json, void *data)
{
	struct session *session = data;
	struct qmpsnap_error own;

	if (!err && !show(session, json, &own))
		err = &own;
	if (!err)
		return;
	report_error(&session->errors, err);
	session->exit_code = (int)err->code;
}

int command_inspect(uv_loop_t *loop, const struct options *options)
{
	struct session session;
	struct qmpsnap_error err;

	session_init(&session, options);
	if (!qmpsnap_inspect(loop, options->qmp_address, on_inspected, &session, &err))
		on_inspected(&err, NULL, &session);
	(void)uv_run(loop, UV_RUN_DEFAULT);
	return session_end(&session);
}
