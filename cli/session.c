/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/session.h"

#include "base/error.h"
#include "cli/json_events.h"
#include "cli/report.h"
#include "cli/session_control.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void on_log(enum qmpsnap_log_level level, const char *message, void *data)
{
	session_say(data, level, message);
}

void session_init(struct session *session, const struct options *options)
{
	static const enum qmpsnap_log_level levels[] = {
		QMPSNAP_LOG_WARNING, QMPSNAP_LOG_INFO, QMPSNAP_LOG_DEBUG};
	const bool shows = !options->quiet && !options->json && !options->snapshot.dry_run;

	memset(session, 0, sizeof(*session));
	session->options = options;
	session->began_ns = uv_hrtime();
	output_init(&session->standard, STDOUT_FILENO);
	output_init(&session->errors, STDERR_FILENO);
	session->out = options_image_on_stdout(options) ? &session->errors : &session->standard;
	progress_init(&session->progress, &session->errors,
		shows ? progress_mode_for(STDERR_FILENO) : PROGRESS_NONE);
	qmpsnap_log_to(levels[options->verbose < 2 ? options->verbose : 2], on_log, session);
}

int session_end(struct session *session)
{
	qmpsnap_log_to(QMPSNAP_LOG_WARNING, NULL, NULL);
	if (!output_wait(&session->standard)) {
		output_printf(&session->errors, "qmpsnap: cannot write to stdout: %s\n",
			strerror(session->standard.error));
		/* A snapshot that was published is one, whether its result could be told or not. */
		if (session->options->command != COMMAND_SNAPSHOT && !session->exit_code)
			session->exit_code = QMPSNAP_INTERNAL;
	}
	(void)output_wait(&session->errors);
	output_free(&session->standard);
	output_free(&session->errors);
	return session->exit_code;
}

void session_say(struct session *session, enum qmpsnap_log_level level, const char *text)
{
	const struct options *options = session->options;

	if (options_json_lines(options)) {
		(void)json_put_line(session->out, json_from_log(level, text));
		return;
	}
	progress_hide(&session->progress);
	output_printf(&session->errors, "qmpsnap: %s%s\n",
		level == QMPSNAP_LOG_WARNING ? "warning: " : "", text);
}

struct qmpsnap_store *session_open_store(
	struct uv_loop_s *loop, const char *spec, struct qmpsnap_error *err)
{
	const struct qmpsnap_store_options options = {.force = false};

	return qmpsnap_store_open(loop, spec, &options, err);
}

/* ---- Signals ---- */

/* Nobody waits for these: ^Z stops them as it stops others. */
static void on_signal_for_images(struct session *session, int signum)
{
	if (signum == SIGTSTP) {
		(void)raise(SIGSTOP);
		return;
	}
	session->cancelled = signum == SIGINT ? QMPSNAP_INTERRUPTED : QMPSNAP_TERMINATED;
	qmpsnap_images_cancel(session->images, session->cancelled);
}

/* A second signal changes nothing: cutting an undo short would leave the guest with the rest. */
static void on_signal(uv_signal_t *handle, int signum)
{
	struct session *session = handle->data;
	char what[1024], text[1200];

	if (session->images) {
		on_signal_for_images(session, signum);
		return;
	}
	if (!session->snapshot)
		return;
	if (signum == SIGTSTP) {
		/* QEMU's main loop waits for replies that nobody reads, at any drain. */
		session_say(session, QMPSNAP_LOG_WARNING,
			"^Z does nothing here: a stopped snapshot could hold the guest up; ^C "
			"gives it up");
		return;
	}
	steps_describe(&session->steps, what, sizeof(what));
	if (session->cancelled == QMPSNAP_OK) {
		session->cancelled = signum == SIGINT ? QMPSNAP_INTERRUPTED : QMPSNAP_TERMINATED;
		(void)snprintf(text, sizeof(text), "%s: undoing everything",
			signum == SIGINT ? "interrupted" : "told to end");
		session_say(session, QMPSNAP_LOG_INFO, text);
		qmpsnap_snapshot_cancel(session->snapshot, session->cancelled);
		return;
	}
	(void)snprintf(text, sizeof(text), "still at it: %s", what);
	session_say(session, QMPSNAP_LOG_INFO, text);
}

static void on_tick(uv_timer_t *timer)
{
	struct session *session = timer->data;

	(void)output_flush(session->out);
	progress_tick(&session->progress, uv_now(timer->loop));
}

/* By nohup(1), or a shell for what it runs in the background. */
static bool is_ignored(int signum)
{
	struct sigaction action;

	return sigaction(signum, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static int watch_signals(struct session *session, uv_loop_t *loop)
{
	static const int signums[SESSION_SIGNALS] = {SIGTERM, SIGTSTP, SIGINT, SIGHUP};

	for (size_t i = 0; i < SESSION_SIGNALS; i++) {
		uv_signal_t *watch = &session->signals[session->n_signals];
		if ((signums[i] == SIGINT || signums[i] == SIGHUP) && is_ignored(signums[i]))
			continue;
		int status = uv_signal_init(loop, watch);
		if (status != 0)
			return status;
		watch->data = session;
		session->n_signals++;
		status = uv_signal_start(watch, on_signal, signums[i]);
		if (status != 0)
			return status;
	}
	return 0;
}

bool session_watch(struct session *session, uv_loop_t *loop, struct qmpsnap_error *err)
{
	(void)uv_timer_init(loop, &session->tick); /* can't fail, and says 0 */
	session->tick.data = session;
	int status = uv_timer_start(&session->tick, on_tick, PROGRESS_TICK_MS, PROGRESS_TICK_MS);
	if (status == 0)
		status = watch_signals(session, loop);
	if (status != 0)
		return error_set(
			err, QMPSNAP_INTERNAL, "cannot watch for signals: %s", uv_strerror(status));
	return true;
}

void session_unwatch(struct session *session)
{
	uv_close((uv_handle_t *)&session->tick, NULL);
	for (size_t i = 0; i < session->n_signals; i++)
		uv_close((uv_handle_t *)&session->signals[i], NULL);
}

/* ---- Events ---- */

static void on_step(struct session *session, const struct qmpsnap_event *event)
{
	static const char *const phases[] = {"begins", "done", "undo begins", "undone"};
	const bool undo = event->phase == QMPSNAP_UNDO_BEGIN;
	char text[160];

	steps_note(&session->steps, event);
	if (session->options->json)
		return;
	if (session->options->verbose) {
		(void)snprintf(text, sizeof(text), "%.100s: %s", event->text, phases[event->phase]);
		session_say(session, QMPSNAP_LOG_INFO, text);
	}
	if (event->phase == QMPSNAP_BEGIN || undo) {
		(void)snprintf(
			text, sizeof(text), "%s%.100s ...", undo ? "undo: " : "", event->text);
		progress_status(&session->progress, text);
	}
}

static void on_progress(struct session *session, const struct qmpsnap_event *event)
{
	const uint64_t now_ms = uv_now(session->tick.loop);
	struct progress_disk *disk = progress_update(&session->progress,
		event->disk ? event->disk : "", event->done_bytes, event->total_bytes, now_ms);

	if (session->options->json && !session->options->quiet && disk &&
		progress_due(disk, now_ms))
		(void)json_put_line(session->out, json_from_event(event));
}

void session_event(const struct qmpsnap_event *event, void *data)
{
	struct session *session = data;

	if (event->kind == QMPSNAP_EVENT_STEP) {
		on_step(session, event);
		session_control_begin(session);
	}
	if (event->kind == QMPSNAP_EVENT_STATE)
		(void)snprintf(session->state, sizeof(session->state), "%s", event->text);
	if (event->kind == QMPSNAP_EVENT_PROGRESS)
		on_progress(session, event);
	else if (session->options->json)
		(void)json_put_line(session->out, json_from_event(event));
	else if (event->kind == QMPSNAP_EVENT_WARNING)
		session_say(session, QMPSNAP_LOG_WARNING, event->text);
	else if (event->kind == QMPSNAP_EVENT_PLAN)
		output_printf(session->out, "%2u. %s\n", ++session->n_planned, event->text);
}

void session_finish(struct session *session, const struct qmpsnap_error *err,
	const struct qmpsnap_result *result)
{
	const struct options *options = session->options;

	session->snapshot = NULL;
	session_control_end(session);
	session->exit_code = result_exit_code(err, result);
	progress_end(&session->progress);
	/* Where stderr carries the JSON, its error member has to do. */
	if (!options->json || session->out != &session->errors)
		report_failure(&session->errors, err, result->undo_error);
	if (options->json) {
		/* The line that scripts wait for: lack of memory may have passed. */
		if (!json_put_line(session->out, json_from_result(err, result)))
			(void)json_put_line(session->out, json_from_result(err, result));
		return;
	}
	report_result(session->out, result);
	if (!err && options->snapshot.dry_run)
		output_printf(session->out, "dry run: nothing was touched\n");
}
