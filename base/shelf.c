/* SPDX-License-Identifier: Apache-2.0 */
#include "base/shelf.h"

#include "base/json.h"
#include "base/names.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool shelf_says(struct json_object *record, const char *key, const char *value)
{
	const char *text = json_string(record, key);

	return text && strcmp(text, value) == 0;
}

bool shelf_is_ours(struct json_object *record)
{
	const char *run = json_string(record, "qmpsnap_run"),
		   *set = json_string(record, "qmpsnap_set"), *id = json_string(record, "id");

	return run && strlen(run) == NAME_RUN_BYTES - 1 && set && name_uuid_is_real(set) && id &&
	       shelf_says(record, "qmpsnap_image", id);
}

bool shelf_is_of_set(struct json_object *record, const char *set)
{
	return shelf_is_ours(record) && shelf_says(record, "qmpsnap_set", set);
}

const char *shelf_own(struct json_object *record, const char *key)
{
	return shelf_is_ours(record) ? json_string(record, key) : NULL;
}

bool shelf_is_published(struct json_object *record)
{
	const char *status = json_string(record, "status");

	return shelf_says(record, "qmpsnap_verified", "true") &&
	       (!status || strcmp(status, "active") == 0);
}

bool shelf_is_protected(struct json_object *record)
{
	const char *text = json_string(record, "protected");

	return text ? strcasecmp(text, "true") == 0 : json_flag(record, "protected", false);
}

const char *shelf_time(struct json_object *record)
{
	const char *time = shelf_own(record, "qmpsnap_instant");

	if (!time || !time[0])
		time = json_string(record, "created_at");
	return time ? time : "";
}

static size_t length_without_zone(const char *time)
{
	const size_t len = strlen(time);

	return len > 0 && time[len - 1] == 'Z' ? len - 1 : len;
}

int shelf_compare_times(const char *a, const char *b)
{
	const size_t a_len = length_without_zone(a), b_len = length_without_zone(b);
	const int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return order ? order : (a_len > b_len) - (a_len < b_len);
}

bool shelf_is_guest(struct json_object *record, const char *who)
{
	const char *uuid = json_string(record, "instance_uuid"),
		   *name = shelf_own(record, "qmpsnap_guest");

	return (name && strcmp(name, who) == 0) ||
	       (uuid && name_uuid_is_real(uuid) && strcasecmp(uuid, who) == 0);
}

bool shelf_has_tag(struct json_object *record, const char *tag)
{
	struct json_object *tags = json_member(record, "tags", json_type_array);

	for (size_t i = 0; i < json_length(tags); i++) {
		struct json_object *value = json_object_array_get_idx(tags, i);
		if (json_object_is_type(value, json_type_string) &&
			strcmp(json_object_get_string(value), tag) == 0)
			return true;
	}
	return false;
}

unsigned shelf_set_images(struct json_object *record)
{
	const char *text = shelf_own(record, "qmpsnap_disks");
	const size_t len = text ? strlen(text) : 0;

	return len > 0 && len < 6 && strspn(text, "0123456789") == len
		       ? (unsigned)strtoul(text, NULL, 10)
		       : 0;
}

const char *shelf_set(struct json_object *record)
{
	return shelf_is_ours(record) ? json_string(record, "qmpsnap_set")
				     : json_string(record, "id");
}
