/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/session_control.h"

#include "base/error.h"
#include "base/json.h"
#include "cli/control.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct json_object *new_reply(const char *error)
{
	struct json_object *object = json_object_new_object();

	json_put_int(object, "schema", 1);
	json_put_string(object, "error", error);
	return object;
}

static struct json_object *new_disks(const struct progress *progress)
{
	struct json_object *disks = json_object_new_array();

	for (size_t i = 0; disks && i < progress->n_disks; i++) {
		struct json_object *disk = json_object_new_object();

		json_put_string(disk, "disk", progress->disks[i].name);
		json_put_uint(disk, "done_bytes", progress->disks[i].done_bytes);
		json_put_uint(disk, "total_bytes", progress->disks[i].total_bytes);
		json_append(disks, disk);
	}
	return disks;
}

static struct json_object *tell_status(struct session *session)
{
	const struct steps *steps = &session->steps;
	struct json_object *reply = new_reply(NULL);
	struct qmpsnap_status status;

	qmpsnap_snapshot_get_status(session->snapshot, &status);
	json_put_string(reply, "run", status.run);
	json_put_int(reply, "pid", getpid());
	json_put_string(reply, "guest", status.guest);
	json_put_string(reply, "method", status.method);
	json_put_string(reply, "state", session->state);
	json_put_string(reply, "step", steps->n ? steps->names[steps->n - 1] : "");
	json_put_bool(reply, "undoing", steps->undoing);
	json_put_bool(reply, "cancelled", session->cancelled != QMPSNAP_OK);
	json_put_uint(reply, "elapsed_ms", (uv_hrtime() - session->began_ns) / 1000000);
	json_put_bool(reply, "speed_auto", status.speed_is_auto);
	if (status.speed_bytes_per_s)
		json_put_uint(reply, "speed_bytes_per_s", status.speed_bytes_per_s);
	else
		json_put_null(reply, "speed_bytes_per_s");
	json_put_bool(reply, "monitor_released", status.monitor_is_released);
	json_put(reply, "disks", new_disks(&session->progress));
	return reply;
}

static struct json_object *set_speed(struct session *session, struct json_object *request)
{
	const int64_t rate = json_int(request, "bytes_per_s", -1);
	struct qmpsnap_status status;

	if (rate < 0)
		return new_reply("bytes_per_s is no rate");
	qmpsnap_snapshot_get_status(session->snapshot, &status);
	if (status.speed_is_fixed)
		return new_reply("qemu-img is copying, and keeps the speed that it began with");
	qmpsnap_snapshot_set_speed(session->snapshot, (uint64_t)rate);
	return tell_status(session);
}

static struct json_object *cancel(struct session *session, const struct control_peer *peer)
{
	char text[160];

	if (session->steps.undoing)
		return new_reply("the run is being undone already, or at its end");
	(void)snprintf(text, sizeof(text), "cancelled by 'qmpsnap cancel' (process %ld, user %ld)",
		(long)peer->pid, (long)peer->uid);
	session_say(session, QMPSNAP_LOG_INFO, text);
	session->cancelled = QMPSNAP_TERMINATED;
	qmpsnap_snapshot_cancel_saying(session->snapshot, QMPSNAP_TERMINATED, text);
	return new_reply(NULL);
}

static struct json_object *answer(
	struct json_object *request, const struct control_peer *peer, void *data)
{
	struct session *session = data;
	const char *command = json_string(request, "command");

	if (!session->snapshot)
		return new_reply("the run is at its end");
	if (command && strcmp(command, "status") == 0)
		return tell_status(session);
	if (command && strcmp(command, "speed") == 0)
		return set_speed(session, request);
	if (command && strcmp(command, "cancel") == 0)
		return cancel(session, peer);
	return new_reply("there is no such command");
}

void session_control_begin(struct session *session)
{
	struct qmpsnap_status status;
	struct qmpsnap_error err;
	char text[640];

	if (session->control || session->control_tried || !session->snapshot ||
		session->options->snapshot.dry_run)
		return;
	qmpsnap_snapshot_get_status(session->snapshot, &status);
	if (!status.run[0])
		return;
	session->control_tried = true;
	session->control = control_open(session->tick.loop, status.run, answer, session, &err);
	if (session->control)
		return;
	(void)snprintf(text, sizeof(text),
		"%s; 'qmpsnap status', 'speed' and 'cancel' won't reach this run", err.message);
	session_say(session, QMPSNAP_LOG_WARNING, text);
}

void session_control_end(struct session *session)
{
	control_close(session->control);
	session->control = NULL;
}
