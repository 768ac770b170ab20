/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "cli/command.h"
#include "cli/images_text.h"
#include "cli/json_events.h"
#include "cli/report.h"
#include "cli/session.h"

static enum qmpsnap_images_action action_of(enum command command)
{
	switch (command) {
	case COMMAND_DELETE:
		return QMPSNAP_IMAGES_DELETE;
	case COMMAND_DOWNLOAD:
		return QMPSNAP_IMAGES_DOWNLOAD;
	case COMMAND_VERIFY:
		return QMPSNAP_IMAGES_VERIFY;
	case COMMAND_RESTORE:
		return QMPSNAP_IMAGES_RESTORE;
	default:
		return QMPSNAP_IMAGES_LIST;
	}
}

static void on_done(const struct qmpsnap_error *err, const char *json, void *data)
{
	struct session *session = data;
	struct json_object *images = json ? json_tokener_parse(json) : NULL;

	session->images = NULL;
	session->exit_code = err ? (int)err->code : QMPSNAP_OK;
	progress_end(&session->progress);
	if (err)
		report_error(&session->errors, err);
	if (session->options->json)
		(void)json_put_line(session->out, json_from_images(err, images));
	else
		images_text(session->out, session->options->command, images);
	(void)json_object_put(images);
	session_unwatch(session);
}

int command_images(uv_loop_t *loop, const struct options *options)
{
	struct qmpsnap_images_options images = options->images;
	struct session session;
	struct qmpsnap_store *store;
	struct qmpsnap_error err;

	images.action = action_of(options->command);
	session_init(&session, options);
	store = qmpsnap_store_open(loop, options->snapshot.store_spec, &options->store, &err);
	if (store && session_watch(&session, loop, &err))
		session.images = qmpsnap_images_start(
			loop, &images, store, session_event, on_done, &session, &err);
	if (!session.images) {
		session.exit_code = (int)err.code;
		report_error(&session.errors, &err);
		if (options->json)
			(void)json_put_line(session.out, json_from_images(&err, NULL));
		if (session.tick.loop)
			session_unwatch(&session);
	}
	(void)uv_run(loop, UV_RUN_DEFAULT);
	qmpsnap_store_close(store);
	(void)uv_run(loop, UV_RUN_DEFAULT);
	return session_end(&session);
}
