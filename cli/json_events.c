/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/json_events.h"

#include "base/names.h"
#include "cli/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct json_object *new_event(const char *event)
{
	struct json_object *object = json_new();
	struct timespec now;
	char time[NAME_TIME_BYTES];

	if (!object)
		return NULL;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	name_time(time, &now);
	json_put_int(object, "schema", 1);
	json_put_string(object, "time", time);
	json_put_string(object, "event", event);
	return object;
}

/* Texts may come from QEMU or a service; NULL and "" become null, so that each member is there. */
static void put_text(struct json_object *object, const char *key, const char *value)
{
	char *text = value && *value ? strdup(value) : NULL;

	if (text)
		text_clean_utf8(text);
	if (value && *value)
		json_put(object, key, text ? json_object_new_string(text) : NULL);
	else
		json_put_null(object, key);
	free(text);
}

static void put_ms(struct json_object *object, const char *key, double ms)
{
	char text[48];

	(void)snprintf(text, sizeof(text), "%.3f", isfinite(ms) && fabs(ms) < 1e15 ? ms : 0);
	json_put(object, key, json_object_new_double_s(strtod(text, NULL), text));
}

static const char *phase_name(enum qmpsnap_phase phase)
{
	switch (phase) {
	case QMPSNAP_BEGIN:
		return "begin";
	case QMPSNAP_END:
		return "end";
	case QMPSNAP_UNDO_BEGIN:
		return "undo-begin";
	case QMPSNAP_UNDO_END:
		return "undo-end";
	}
	return "";
}

static struct json_object *new_step(const char *step, const char *phase)
{
	struct json_object *object = new_event("step");

	put_text(object, "step", step);
	put_text(object, "phase", phase);
	return object;
}

static struct json_object *new_with_text(const char *event, const char *key, const char *text)
{
	struct json_object *object = new_event(event);

	put_text(object, key, text);
	return object;
}

struct json_object *json_from_event(const struct qmpsnap_event *event)
{
	struct json_object *object = NULL;

	switch (event->kind) {
	case QMPSNAP_EVENT_PLAN:
		return new_step(event->text, "plan");
	case QMPSNAP_EVENT_STEP:
		return new_step(event->text, phase_name(event->phase));
	case QMPSNAP_EVENT_STATE:
		return new_with_text("state", "state", event->text);
	case QMPSNAP_EVENT_WARNING:
		return new_with_text("warning", "message", event->text);
	case QMPSNAP_EVENT_PROGRESS:
		object = new_event("progress");
		put_text(object, "disk", event->disk);
		if (event->text)
			put_text(object, "step", event->text);
		json_put_uint(object, "done_bytes", event->done_bytes);
		json_put_uint(object, "total_bytes", event->total_bytes);
		break;
	case QMPSNAP_EVENT_IMAGE:
		object = new_with_text("image", "location", event->text);
		put_text(object, "disk", event->disk);
		break;
	}
	return object;
}

struct json_object *json_from_log(enum qmpsnap_log_level level, const char *message)
{
	static const char *const names[] = {"warning", "info", "debug"};
	struct json_object *object = new_with_text("log", "message", message);

	put_text(object, "level", names[level]);
	return object;
}

static struct json_object *new_image(const struct qmpsnap_image *image)
{
	struct json_object *object = json_new();

	put_text(object, "id", image->id);
	put_text(object, "name", image->name);
	put_text(object, "disk", image->disk);
	put_text(object, "location", image->location);
	put_text(object, "format", name_format(image->format));
	json_put_uint(object, "size_bytes", image->size_bytes);
	json_put_uint(object, "virtual_size_bytes", image->virtual_size_bytes);
	put_text(object, "digest_algorithm", image->digest_algorithm);
	put_text(object, "digest", image->digest);
	return object;
}

static struct json_object *new_images(const struct qmpsnap_result *result)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; array && i < result->n_images; i++)
		json_append(array, new_image(&result->images[i]));
	return array;
}

/* JSON's null on success. */
static void put_error(struct json_object *to, const struct qmpsnap_error *err,
	const struct qmpsnap_error *undo, int exit_code)
{
	const struct qmpsnap_error *main_error = err ? err : undo;
	struct json_object *object;

	if (!main_error) {
		json_put_null(to, "error");
		return;
	}
	object = json_new();
	json_put_int(object, "code", err ? (int)err->code : exit_code);
	put_text(object, "message", main_error->message);
	put_text(object, "hint", main_error->hint);
	if (undo) {
		struct json_object *left = json_new();
		put_text(left, "message", undo->message);
		put_text(left, "hint", undo->hint);
		json_put(object, "undo_error", left);
	} else {
		json_put_null(object, "undo_error");
	}
	json_put(to, "error", object);
}

int result_exit_code(const struct qmpsnap_error *err, const struct qmpsnap_result *result)
{
	if (result->undo_error)
		return QMPSNAP_UNDO;
	return err ? (int)err->code : QMPSNAP_OK;
}

struct json_object *json_from_result(
	const struct qmpsnap_error *err, const struct qmpsnap_result *result)
{
	struct json_object *object = new_event("result");
	const int exit_code = result_exit_code(err, result);

	if (!object)
		return NULL;
	json_put_int(object, "exit_code", exit_code);
	put_error(object, err, result->undo_error, exit_code);
	put_text(object, "run", result->run);
	put_text(object, "set", result->set);
	put_text(object, "method", result->method);
	put_text(object, "reason", result->reason);
	put_text(object, "consistency", result->consistency);
	put_text(object, "instant", result->instant);
	put_ms(object, "stopped_ms", result->stopped_ms);
	put_ms(object, "total_ms", result->total_ms);
	json_put_uint(object, "scratch_bytes", result->scratch_bytes);
	json_put(object, "images", new_images(result));
	return object;
}

struct json_object *json_from_images(const struct qmpsnap_error *err, struct json_object *images)
{
	struct json_object *object = new_event("result");

	if (!object)
		return NULL;
	json_put_int(object, "exit_code", err ? (int)err->code : QMPSNAP_OK);
	put_error(object, err, NULL, 0);
	json_put(object, "images", images ? json_object_get(images) : json_object_new_array());
	return object;
}

bool json_put_line(struct output *out, struct json_object *object)
{
	const char *text = object ? json_text(object) : NULL;
	char *line = NULL;
	/* In one, since half a line would spoil the next one. */
	const int len = text ? asprintf(&line, "%s\n", text) : -1;
	const bool well = len >= 0 && output_put(out, line, (size_t)len);

	if (len >= 0)
		free(line);
	json_object_put(object);
	return well;
}
