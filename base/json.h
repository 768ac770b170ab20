/* SPDX-License-Identifier: Apache-2.0
 *
 * json.h - typed getters over json-c for JSON that comes from elsewhere: a missing member and one
 * of the wrong type are the same thing, the default.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/* Limits for a text from elsewhere: json-c takes some 800 bytes for each "{}" and 70 for each 0, so
 * that without them a few MiB of text would take all memory.  QEMU's largest reply,
 * query-qmp-schema, has some 20000 of the first and 50000 of the second. */
enum { JSON_MOST_CONTAINERS = 1 << 17, JSON_MOST_VALUES = 1 << 21 };

/* Whether a text is within these limits, by its brackets and commas, those in strings too.  To be
 * asked before an untrusted text is parsed. */
bool json_is_bounded(const char *text, size_t len);

/* All take NULL as the object and return borrowed values. */
struct json_object *json_member(
	struct json_object *object, const char *key, enum json_type type); /* NULL: not there */
const char *json_string(struct json_object *object, const char *key); /* NULL: not there */
int64_t json_int(struct json_object *object, const char *key, int64_t otherwise);
uint64_t json_uint(struct json_object *object, const char *key); /* 0: not there, or negative */
bool json_flag(struct json_object *object, const char *key, bool otherwise);
size_t json_length(struct json_object *array); /* 0 when it isn't an array */

/* Build what is to be sent.  None says whether it went well: what misses something for lack of
 * memory has no text any more (json_text()), so that a command is sent whole or not at all.  An
 * `object` or `array` that is NULL for the same reason is fine. */

/* An object; what stands for it otherwise takes nothing and has no text. */
struct json_object *json_new(void);

/* `value` is the object's from then on; NULL: it couldn't be made. */
void json_put(struct json_object *object, const char *key, struct json_object *value);
void json_append(struct json_object *array, struct json_object *value);
void json_put_null(struct json_object *object, const char *key);

/* Add a copy of `value` (NULL: nothing is added). */
void json_put_string(struct json_object *object, const char *key, const char *value);
void json_put_int(struct json_object *object, const char *key, int64_t value);
void json_put_uint(struct json_object *object, const char *key, uint64_t value);
void json_put_bool(struct json_object *object, const char *key, bool value);

/* Compact text, valid as long as the object; NULL for none, and
 * without memory, now or when it was built. */
const char *json_text(struct json_object *object);

#endif
