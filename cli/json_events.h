/* SPDX-License-Identifier: Apache-2.0
 *
 * json_events.h - the objects of --json, one a line: members `schema` (1), `time` (UTC), `event`,
 * and those that qmpsnap(1), "JSON", lists for each event.  All return NULL without memory.
 */
#ifndef CLI_JSON_EVENTS_H
#define CLI_JSON_EVENTS_H

#include "base/json.h"
#include "cli/output.h"

#include <qmpsnap.h>

/* state, step (a dry run's with phase "plan"), progress, warning, image */
struct json_object *json_from_event(const struct qmpsnap_event *event);

/* log */
struct json_object *json_from_log(enum qmpsnap_log_level level, const char *message);

/* result; `err` may be NULL, `result` not. */
struct json_object *json_from_result(
	const struct qmpsnap_error *err, const struct qmpsnap_result *result);

/* result of a command about images; `err` may be NULL, `images` is their array, NULL: none.  */
struct json_object *json_from_images(const struct qmpsnap_error *err, struct json_object *images);

/* The command's exit code: what is left undone wins over the error. */
int result_exit_code(const struct qmpsnap_error *err, const struct qmpsnap_result *result);

/* Writes `object` as a line and frees it.  False without memory: nothing is written. */
bool json_put_line(struct output *out, struct json_object *object);

#endif
