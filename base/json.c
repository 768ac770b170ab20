/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

bool json_is_bounded(const char *text, size_t len)
{
	size_t n_containers = 0, n_commas = 0;

	for (size_t i = 0; i < len; i++) {
		n_containers += text[i] == '{' || text[i] == '[';
		n_commas += text[i] == ',';
	}
	return n_containers <= JSON_MOST_CONTAINERS && n_commas < JSON_MOST_VALUES;
}

struct json_object *json_member(struct json_object *object, const char *key, enum json_type type)
{
	struct json_object *value = NULL;

	if (!json_object_is_type(object, json_type_object) ||
		!json_object_object_get_ex(object, key, &value) ||
		!json_object_is_type(value, type))
		return NULL;
	return value;
}

const char *json_string(struct json_object *object, const char *key)
{
	return json_object_get_string(json_member(object, key, json_type_string));
}

int64_t json_int(struct json_object *object, const char *key, int64_t otherwise)
{
	struct json_object *value = json_member(object, key, json_type_int);

	return value ? json_object_get_int64(value) : otherwise;
}

uint64_t json_uint(struct json_object *object, const char *key)
{
	const int64_t value = json_int(object, key, 0);

	return value > 0 ? (uint64_t)value : 0;
}

bool json_flag(struct json_object *object, const char *key, bool otherwise)
{
	struct json_object *value = json_member(object, key, json_type_boolean);

	return value ? json_object_get_boolean(value) : otherwise;
}

size_t json_length(struct json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

/* What objects that miss something point to, as their user data. */
static int incomplete;

static void mark(struct json_object *object)
{
	json_object_set_userdata(object, &incomplete, NULL);
}

static bool is_complete(struct json_object *value)
{
	if (value && json_object_get_userdata(value) == &incomplete)
		return false;
	if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach(value, key, member)
		{
			(void)key;
			if (!is_complete(member))
				return false;
		}
	}
	for (size_t i = 0; i < json_length(value); i++) {
		if (!is_complete(json_object_array_get_idx(value, i)))
			return false;
	}
	return true;
}

struct json_object *json_new(void)
{
	static struct json_object *none; /* stands for all that couldn't be made */
	struct json_object *object = json_object_new_object();

	if (!none && (none = json_object_new_object()))
		mark(none);
	return object ? object : json_object_get(none);
}

void json_put(struct json_object *object, const char *key, struct json_object *value)
{
	if (object && json_object_get_userdata(object) != &incomplete && value &&
		json_object_object_add(object, key, value) == 0)
		return;
	(void)json_object_put(value);
	if (object)
		mark(object);
}

void json_append(struct json_object *array, struct json_object *value)
{
	if (array && value && json_object_array_add(array, value) == 0)
		return;
	(void)json_object_put(value);
	if (array)
		mark(array);
}

void json_put_null(struct json_object *object, const char *key)
{
	if (object && json_object_get_userdata(object) != &incomplete &&
		json_object_object_add(object, key, NULL) < 0)
		mark(object);
}

void json_put_string(struct json_object *object, const char *key, const char *value)
{
	if (value)
		json_put(object, key, json_object_new_string(value));
}

void json_put_int(struct json_object *object, const char *key, int64_t value)
{
	json_put(object, key, json_object_new_int64(value));
}

void json_put_uint(struct json_object *object, const char *key, uint64_t value)
{
	json_put(object, key, json_object_new_uint64(value));
}

void json_put_bool(struct json_object *object, const char *key, bool value)
{
	json_put(object, key, json_object_new_boolean(value));
}

const char *json_text(struct json_object *object)
{
	if (!object || !is_complete(object))
		return NULL;
	return json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}
