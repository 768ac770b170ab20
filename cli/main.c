/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"
#include "cli/json_events.h"
#include "cli/report.h"
#include "cli/usage.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int run(const struct options *options)
{
	uv_loop_t loop;
	int exit_code = QMPSNAP_INTERNAL;
	const int status = uv_loop_init(&loop);

	if (status != 0) {
		(void)fprintf(
			stderr, "qmpsnap: cannot make an event loop: %s\n", uv_strerror(status));
		return exit_code;
	}
	if (options->command == COMMAND_SNAPSHOT)
		exit_code = command_snapshot(&loop, options);
	else if (options->command == COMMAND_INSPECT)
		exit_code = command_inspect(&loop, options);
	else if (options->command == COMMAND_RECOVER)
		exit_code = command_recover(&loop, options);
	else
		exit_code = command_images(&loop, options);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&loop);
	uv_library_shutdown();
	return exit_code;
}

/* With --json the last line is the result, also when nothing could begin. */
static int refuse(const struct options *options, const struct qmpsnap_error *err)
{
	const struct qmpsnap_result nothing = {.method = NULL};
	const bool json = options_json_lines(options);
	const bool on_stderr = options_image_on_stdout(options);
	struct output out, errors;

	output_init(&out, on_stderr ? STDERR_FILENO : STDOUT_FILENO);
	output_init(&errors, STDERR_FILENO);
	if (!json || !on_stderr)
		report_error(&errors, err);
	if (json)
		(void)json_put_line(&out, options->command == COMMAND_SNAPSHOT
						  ? json_from_result(err, &nothing)
						  : json_from_images(err, NULL));
	(void)output_wait(&errors);
	(void)output_wait(&out);
	output_free(&errors);
	output_free(&out);
	return (int)err->code;
}

/* Whether all of stdout was taken. */
static int print(const char *text)
{
	if (fputs(text, stdout) >= 0 && fflush(stdout) == 0)
		return QMPSNAP_OK;
	perror("qmpsnap: cannot write to stdout");
	return QMPSNAP_INTERNAL;
}

int main(int argc, char *argv[])
{
	struct options options;
	struct qmpsnap_error err;
	int exit_code;

	(void)signal(SIGPIPE, SIG_IGN);
	if (!options_parse(&options, argc, argv, &err))
		exit_code = refuse(&options, &err);
	else if (options.command == COMMAND_HELP)
		exit_code = print(usage_text(options.help_on));
	else if (options.command == COMMAND_VERSION)
		exit_code = printf("qmpsnap %s\n", qmpsnap_version()) < 0 ? QMPSNAP_INTERNAL
									  : print("");
	else if (options.command == COMMAND_STATUS || options.command == COMMAND_SPEED ||
		 options.command == COMMAND_CANCEL)
		exit_code = command_control(&options);
	else
		exit_code = run(&options);
	options_free(&options);
	return exit_code;
}
