/* SPDX-License-Identifier: Apache-2.0
 *
 * `status`, `speed` and `cancel`: asking a run, through its control socket.  Nothing else goes on
 * in this process, so it waits for its answers. */
#include "base/error.h"
#include "base/json.h"
#include "base/state.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/control.h"
#include "cli/output.h"
#include "cli/report.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool no_such_run(struct qmpsnap_error *err, const char *run)
{
	(void)error_set(err, QMPSNAP_REFUSED, "no run '%.32s' goes on", run);
	error_hint(err, "'qmpsnap status' lists the runs of this user");
	return false;
}

/* ---- One question ---- */

static int connect_to(int folder, const char *name)
{
	const struct timeval patience = {.tv_sec = CONTROL_MS / 1000};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;

	if (fd < 0)
		return -1;
	state_address(folder, name, &address);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
		connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	const int failed = errno;
	(void)close(fd);
	errno = failed;
	return -1;
}

/* A line of at most CONTROL_REPLY_BYTES, parsed; NULL and errno. */
static struct json_object *read_reply(int fd)
{
	static char text[CONTROL_REPLY_BYTES + 1];
	struct json_object *reply;
	size_t n = 0;

	while (n < CONTROL_REPLY_BYTES && !memchr(text, '\n', n)) {
		const ssize_t got = read(fd, text + n, CONTROL_REPLY_BYTES - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return NULL;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	text[n] = '\0';
	reply = json_tokener_parse(text);
	if (!json_object_is_type(reply, json_type_object)) {
		json_object_put(reply);
		reply = NULL;
		errno = EPROTO;
	}
	return reply;
}

/* The reply, the caller's; NULL and *err.  A socket at which nobody listens was left by a run that
 * was killed, and is removed. */
static struct json_object *ask(
	int folder, const char *run, struct json_object *request, struct qmpsnap_error *err)
{
	char name[32], line[256];
	struct json_object *reply = NULL;

	(void)snprintf(name, sizeof(name), "%.16s.sock", run);
	const int len = snprintf(line, sizeof(line), "%s\n", json_text(request));
	const int fd = connect_to(folder, name);
	if (fd < 0 && errno == ECONNREFUSED)
		(void)unlinkat(folder, name, 0);
	if (fd < 0 && (errno == ENOENT || errno == ECONNREFUSED)) {
		(void)no_such_run(err, run);
		err->detail = ENOENT;
		return NULL;
	}
	if (fd >= 0 && send(fd, line, (size_t)len, MSG_NOSIGNAL) == len)
		reply = read_reply(fd);
	if (!reply) {
		const int failed = errno == EAGAIN ? ETIMEDOUT : errno;
		(void)error_errno(err, QMPSNAP_REFUSED, failed, "run %s doesn't answer", run);
	} else if (json_string(reply, "error")) {
		(void)error_set(
			err, QMPSNAP_REFUSED, "run %s: %s", run, json_string(reply, "error"));
		json_object_put(reply);
		reply = NULL;
	}
	if (fd >= 0)
		(void)close(fd);
	return reply;
}

/* ---- What is shown ---- */

static void show_speed(struct output *out, struct json_object *reply)
{
	const int64_t limit = json_int(reply, "speed_bytes_per_s", 0);
	const bool is_auto = json_flag(reply, "speed_auto", false);
	char text[UNITS_TEXT_BYTES];

	units_format_size(text, limit > 0 ? (uint64_t)limit : 0);
	if (limit > 0)
		output_printf(out, "at most %s/s%s", text, is_auto ? " (auto)" : "");
	else
		output_printf(out, "speed %s", is_auto ? "auto" : "unlimited");
}

/* "k3x9... lab: stream, upload, 1.2 GiB of 4.0 GiB, at most 100 MiB/s (auto), since 12 s" */
static void show(struct output *out, struct json_object *reply)
{
	struct json_object *disks = json_member(reply, "disks", json_type_array);
	uint64_t done = 0, total = 0;
	char done_text[UNITS_TEXT_BYTES], total_text[UNITS_TEXT_BYTES];
	const char *const words[] = {json_string(reply, "run"), json_string(reply, "guest"),
		json_string(reply, "method"), json_string(reply, "step")};

	for (size_t i = 0; i < json_length(disks); i++) {
		struct json_object *disk = json_object_array_get_idx(disks, i);

		done += (uint64_t)json_int(disk, "done_bytes", 0);
		total += (uint64_t)json_int(disk, "total_bytes", 0);
	}
	output_printf(out, "%s %s: %s, %s%s, ", words[0] ? words[0] : "?",
		words[1] ? words[1] : "?", words[2] ? words[2] : "?",
		json_flag(reply, "undoing", false) ? "undoing " : "", words[3] ? words[3] : "?");
	if (total > 0) {
		units_format_size(done_text, done);
		units_format_size(total_text, total);
		output_printf(out, "%s of %s, ", done_text, total_text);
	}
	show_speed(out, reply);
	units_format_duration(done_text, (uint64_t)json_int(reply, "elapsed_ms", 0));
	output_printf(out, "%s, since %s\n",
		json_flag(reply, "monitor_released", false) ? ", monitor released" : "", done_text);
}

static void put(const struct options *options, struct output *out, struct json_object *reply)
{
	if (options->json)
		output_printf(out, "%s\n", json_text(reply));
	else
		show(out, reply);
}

/* ---- The commands ---- */

static struct json_object *new_request(const struct options *options)
{
	struct json_object *request = json_object_new_object();
	const uint64_t rate = options->snapshot.speed_bytes_per_s;

	json_put_string(request, "command", command_name(options->command));
	if (options->command == COMMAND_SPEED)
		json_put_int(request, "bytes_per_s", rate > INT64_MAX ? INT64_MAX : (int64_t)rate);
	return request;
}

/* Runs that end while they are asked aren't listed; one that doesn't answer is told. */
static bool list_all(const struct options *options, int folder, struct output *out,
	struct json_object *request, struct qmpsnap_error *err)
{
	const int copy = dup(folder);
	DIR *entries = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *entry;
	bool well = true;

	if (!entries) {
		if (copy >= 0)
			(void)close(copy);
		return error_no_memory(err);
	}
	while ((entry = readdir(entries))) {
		struct qmpsnap_error mine = {.code = QMPSNAP_OK};
		char *dot = strchr(entry->d_name, '.');
		struct json_object *reply = NULL;

		if (!dot || strcmp(dot, ".sock") != 0)
			continue;
		*dot = '\0';
		if (state_is_run(entry->d_name))
			reply = ask(folder, entry->d_name, request, &mine);
		if (reply)
			put(options, out, reply);
		json_object_put(reply);
		if (mine.code != QMPSNAP_OK && mine.detail != ENOENT) {
			*err = mine;
			well = false;
		}
	}
	(void)closedir(entries);
	return well;
}

static bool run_command(const struct options *options, struct output *out,
	struct json_object *request, struct qmpsnap_error *err)
{
	const char *run = options->n_words ? options->words[0] : NULL;
	struct json_object *reply;
	bool well = false;

	if (run && !state_is_run(run))
		return no_such_run(err, run);
	const int folder = state_open(NULL, "run", false, err);
	if (folder < 0 && err->detail == ENOENT)
		return run ? no_such_run(err, run) : true;
	if (folder < 0)
		return false;
	if (!run) {
		well = list_all(options, folder, out, request, err);
	} else if ((reply = ask(folder, run, request, err))) {
		if (options->command == COMMAND_STATUS)
			put(options, out, reply);
		json_object_put(reply);
		well = true;
	}
	(void)close(folder);
	return well;
}

int command_control(const struct options *options)
{
	struct json_object *request = new_request(options);
	struct output out, errors;
	struct qmpsnap_error err = {.code = QMPSNAP_OK};

	output_init(&out, STDOUT_FILENO);
	output_init(&errors, STDERR_FILENO);
	if (!request)
		(void)error_no_memory(&err);
	else if (run_command(options, &out, request, &err))
		err.code = QMPSNAP_OK;
	json_object_put(request);
	if (err.code != QMPSNAP_OK)
		report_error(&errors, &err);
	if (!output_wait(&out) && err.code == QMPSNAP_OK)
		err.code = QMPSNAP_INTERNAL;
	(void)output_wait(&errors);
	output_free(&out);
	output_free(&errors);
	return (int)err.code;
}
