/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/record.h"

#include "base/error.h"
#include "base/json.h"
#include "base/names.h"
#include "base/record_rules.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static bool check_property(const char *key, struct json_object *value, struct qmpsnap_error *err)
{
	if (!json_object_is_type(value, json_type_string))
		return error_set(err, QMPSNAP_USAGE, "the property '%.64s' must be a string", key);
	return record_check_property(key, json_object_get_string(value), err);
}

void record_use_id(struct json_object *record, const char *id)
{
	json_put_string(record, "id", id);
	json_put_string(record, "qmpsnap_image", id);
}

struct json_object *record_new(const struct store_image_spec *spec, struct qmpsnap_error *err)
{
	struct json_object *record;

	if (!record_check_name(spec->name, err))
		return NULL;
	if (!(record = json_object_new_object())) {
		error_no_memory(err);
		return NULL;
	}
	record_use_id(record, spec->id);
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

void record_complete(
	struct json_object *record, const struct store_image *image, uint64_t virtual_size_bytes)
{
	struct timespec now;
	char created[NAME_TIME_BYTES];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	name_time(created, &now);
	json_put_uint(record, "size", image->size_bytes);
	json_put_uint(record, "virtual_size", virtual_size_bytes);
	json_put_string(record, "os_hash_algo", image->digest_algorithm);
	json_put_string(record, "os_hash_value", image->digest);
	json_put_string(record, "created_at", created);
	json_put_string(record, "qmpsnap_verified", "true");
}

bool record_data_file(
	struct json_object *record, const char *json_name, char file[static RECORD_FILE_BYTES])
{
	const char *id = json_string(record, "id"), *format = json_string(record, "disk_format");
	const size_t end = strlen(".json"), len = strlen(json_name);

	if (!name_uuid_is_real(id) || !format || len < end + strlen(id) + 1)
		return false;
	const size_t stem = len - end;
	if (strcmp(json_name + stem, ".json") != 0 ||
		strncmp(json_name + stem - strlen(id), id, strlen(id)) != 0)
		return false;
	for (int known = QMPSNAP_QCOW2; known <= QMPSNAP_VDI; known++) {
		const char *name = name_format((enum qmpsnap_format)known);
		if (strcmp(format, name) == 0)
			return snprintf(file, RECORD_FILE_BYTES, "%.*s.%s", (int)stem, json_name,
				       name) < RECORD_FILE_BYTES;
	}
	return false;
}

const char *record_text(struct json_object *record)
{
	return json_object_to_json_string_ext(
		record, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
}

/* ---- What is inherited -------------------------------------------------------------------- */

/* Nova's non_inheritable_image_properties by default, its NON_INHERITABLE_IMAGE_PROPERTIES and what
 * it sets anew; then what is ours. */
static const char *const not_inherited[] = {"cache_in_nova", "bittorrent",
	"cinder_encryption_key_id", "cinder_encryption_key_deletion_policy", "img_signature",
	"img_signature_hash_method", "img_signature_key_type", "img_signature_certificate_uuid",
	"mappings", "block_device_mapping", "img_mappings", "img_block_device_mapping", "bdm_v2",
	"root_device_name", "image_type", "instance_uuid", "user_id", "owner_id", "backup_type",
	"image_location", "image_state", "base_image_ref"};

static bool is_inherited(const char *key, const char *value)
{
	if (record_key_is_taken(key) || strncmp(key, "qmpsnap_", strlen("qmpsnap_")) == 0)
		return false;
	for (size_t i = 0; i < sizeof(not_inherited) / sizeof(not_inherited[0]); i++) {
		if (strcmp(key, not_inherited[i]) == 0)
			return false;
	}
	/* Glance doesn't take these as values. */
	if (strcmp(key, "kernel_id") == 0 || strcmp(key, "ramdisk_id") == 0)
		return value[0] && strcasecmp(value, "none") != 0;
	return strlen(key) <= RECORD_KEY_BYTES && strlen(value) <= RECORD_VALUE_BYTES;
}

void record_base(struct json_object *record, const char *base_id)
{
	if (!json_object_object_get_ex(record, "base_image_ref", NULL))
		json_put_string(record, "base_image_ref", base_id);
}

void record_inherit(struct json_object *record, struct json_object *base)
{
	static const char *const sizes[] = {"min_disk", "min_ram"};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const int64_t size = json_int(base, sizes[i], 0);
		if (size > 0)
			json_put_int(record, sizes[i], size);
	}
	if (!json_object_is_type(base, json_type_object))
		return;
	json_object_object_foreach(base, key, value)
	{
		const char *text = json_object_is_type(value, json_type_string)
					   ? json_object_get_string(value)
					   : NULL;
		if (text && is_inherited(key, text) &&
			!json_object_object_get_ex(record, key, NULL))
			json_put_string(record, key, text);
	}
}
