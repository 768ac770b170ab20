/* SPDX-License-Identifier: Apache-2.0 */
#include "base/record_rules.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static const char *const taken[] = {"checksum", "container_format", "created_at", "deleted",
	"deleted_at", "direct_url", "disk_format", "file", "id", "is_public", "locations",
	"min_disk", "min_ram", "name", "os_hash_algo", "os_hash_value", "os_hidden", "owner",
	"protected", "schema", "self", "size", "status", "stores", "tags", "updated_at",
	"virtual_size", "visibility"};

static bool begins_with(const char *text, const char *front)
{
	return strncmp(text, front, strlen(front)) == 0;
}

bool record_key_is_taken(const char *key)
{
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		if (strcmp(key, taken[i]) == 0)
			return true;
	}
	return begins_with(key, "os_glance");
}

bool record_check_name(const char *name, struct qmpsnap_error *err)
{
	if (strlen(name) <= RECORD_NAME_BYTES)
		return true;
	return error_set(err, QMPSNAP_USAGE, "the name '%.64s...' is longer than %d bytes", name,
		RECORD_NAME_BYTES);
}

bool record_check_property(const char *key, const char *value, struct qmpsnap_error *err)
{
	if (key[0] == '\0' || strlen(key) > RECORD_KEY_BYTES)
		return error_set(err, QMPSNAP_USAGE,
			"the property '%.64s': its name must have 1 to %d bytes", key,
			RECORD_KEY_BYTES);
	if (record_key_is_taken(key))
		return error_set(
			err, QMPSNAP_USAGE, "'%.64s' is a field of the image, not a property", key);
	if (strlen(value) > RECORD_VALUE_BYTES)
		return error_set(err, QMPSNAP_USAGE,
			"the property '%.64s': its value is longer than %d bytes", key,
			RECORD_VALUE_BYTES);
	return true;
}

bool record_parse_property(
	const char *text, char **key, const char **value, struct qmpsnap_error *err)
{
	const char *equals = strchr(text, '=');

	if (!equals) {
		(void)error_set(err, QMPSNAP_USAGE, "the property '%.64s' has no '=' in it", text);
		error_hint(err, "--property KEY=VALUE");
		return false;
	}
	*value = equals + 1;
	*key = strndup(text, (size_t)(equals - text));
	if (!*key)
		return error_no_memory(err);
	if (begins_with(*key, "qmpsnap_"))
		(void)error_set(err, QMPSNAP_USAGE,
			"the property '%.64s': qmpsnap_* are set by qmpsnap", *key);
	else if (record_check_property(*key, *value, err))
		return true;
	free(*key);
	return false;
}
