/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/record.h"

#include "base/error.h"
#include "base/json.h"
#include "base/names.h"

#include <string.h>

/* Glance's limits, both for columns of its database. */
enum { KEY_BYTES = 255, NAME_BYTES = 255, VALUE_BYTES = 65535 };

/* Members that Glance keeps itself (API v2.15), so that no property can have their names. */
static const char *const taken[] = {"checksum", "container_format", "created_at", "deleted",
	"deleted_at", "direct_url", "disk_format", "file", "id", "is_public", "locations",
	"min_disk", "min_ram", "name", "os_hash_algo", "os_hash_value", "os_hidden", "owner",
	"protected", "schema", "self", "size", "status", "stores", "tags", "updated_at",
	"virtual_size", "visibility"};

static bool check_property(const char *key, struct json_object *value, struct qmpsnap_error *err)
{
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		if (strcmp(key, taken[i]) == 0)
			return error_set(err, QMPSNAP_USAGE,
				"the property '%s' has a meaning of its own in image records", key);
	}
	if (strncmp(key, "os_glance_", strlen("os_glance_")) == 0)
		return error_set(err, QMPSNAP_USAGE,
			"the property '%.64s': names in os_glance_ are the service's own", key);
	if (key[0] == '\0' || strlen(key) > KEY_BYTES)
		return error_set(err, QMPSNAP_USAGE,
			"the property '%.64s': its name must have 1 to %d bytes", key, KEY_BYTES);
	if (!json_object_is_type(value, json_type_string) ||
		json_object_get_string_len(value) > VALUE_BYTES)
		return error_set(err, QMPSNAP_USAGE,
			"the property '%.64s' must be a string of at most %d bytes", key,
			VALUE_BYTES);
	return true;
}

struct json_object *record_new(const struct store_image_spec *spec, struct qmpsnap_error *err)
{
	struct json_object *record;

	if (strlen(spec->name) > NAME_BYTES) {
		error_set(err, QMPSNAP_USAGE, "the image name '%.64s...' is longer than %d bytes",
			spec->name, NAME_BYTES);
		return NULL;
	}
	if (!(record = json_object_new_object())) {
		error_no_memory(err);
		return NULL;
	}
	json_put_string(record, "id", spec->id);
	json_put_string(record, "name", spec->name);
	json_put_string(record, "disk_format", name_format(spec->format));
	json_put_string(record, "container_format", "bare");
	json_put_string(record, "visibility", "private");
	if (spec->properties) {
		json_object_object_foreach(spec->properties, key, value)
		{
			if (!check_property(key, value, err)) {
				(void)json_object_put(record);
				return NULL;
			}
			json_put_string(record, key, json_object_get_string(value));
		}
	}
	return record;
}
