/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/caps.h"

#include <string.h>

/* What a capability is in the schema: a command; with `variant`, that branch of its union of
 * arguments; with `member`, an argument's name (of the branch, when there is one). */
static const struct {
	const char *name;
	const char *command, *variant, *member;
} table[QMP_CAP_COUNT] = {
	/* clang-format off */
	[QMP_CAP_CBW] = {"copy-before-write", "blockdev-add", "copy-before-write", NULL},
	[QMP_CAP_CBW_ON_ERROR] = {"on-cbw-error", "blockdev-add", "copy-before-write", "on-cbw-error"},
	[QMP_CAP_CBW_TIMEOUT] = {"cbw-timeout", "blockdev-add", "copy-before-write", "cbw-timeout"},
	[QMP_CAP_SNAPSHOT_ACCESS] = {"snapshot-access", "blockdev-add", "snapshot-access", NULL},
	[QMP_CAP_BLOCK_EXPORT] = {"block-export", "block-export-add", "nbd", NULL},
	[QMP_CAP_EXPORT_DEL] = {"block-export-del", "block-export-del", NULL, NULL},
	[QMP_CAP_NBD_MAX_CONNS] = {"nbd-max-connections", "nbd-server-start", NULL, "max-connections"},
	[QMP_CAP_BLOCKDEV_BACKUP] = {"blockdev-backup", "blockdev-backup", NULL, NULL},
	[QMP_CAP_BACKUP_PERF] = {"backup-perf", "blockdev-backup", NULL, "x-perf"},
	[QMP_CAP_BLOCKDEV_MIRROR] = {"blockdev-mirror", "blockdev-mirror", NULL, NULL},
	[QMP_CAP_ADD_FD] = {"add-fd", "add-fd", NULL, NULL},
	[QMP_CAP_GETFD] = {"getfd", "getfd", NULL, NULL},
	/* clang-format on */
};

/* The entry of that name and meta-type, or NULL. */
static struct json_object *entry(struct json_object *index, const char *name, const char *meta)
{
	struct json_object *found = name ? json_member(index, name, json_type_object) : NULL;
	const char *found_meta = json_string(found, "meta-type");

	return found_meta && strcmp(found_meta, meta) == 0 ? found : NULL;
}

/* The element of the list `list` whose member `key` is `value`, or NULL. */
static struct json_object *element(
	struct json_object *object, const char *list, const char *key, const char *value)
{
	struct json_object *array = json_member(object, list, json_type_array);
	const size_t length = json_length(array);

	for (size_t i = 0; i < length; i++) {
		struct json_object *one = json_object_array_get_idx(array, i);
		const char *text = json_string(one, key);

		if (text && strcmp(text, value) == 0)
			return one;
	}
	return NULL;
}

static bool has(struct json_object *index, enum qmp_cap cap)
{
	struct json_object *at = entry(index, table[cap].command, "command");

	if (!at)
		return false;
	if (!table[cap].variant && !table[cap].member)
		return true;
	at = entry(index, json_string(at, "arg-type"), "object");
	if (table[cap].variant) {
		struct json_object *branch = element(at, "variants", "case", table[cap].variant);

		at = entry(index, json_string(branch, "type"), "object");
	}
	return at && (!table[cap].member || element(at, "members", "name", table[cap].member));
}

/* The schema's list as an object, by name: a walk of it for each reference would be quadratic. */
static struct json_object *make_index(struct json_object *schema)
{
	struct json_object *index = json_object_new_object();
	const size_t length = json_length(schema);

	if (!index)
		return NULL;
	for (size_t i = 0; i < length; i++) {
		struct json_object *one = json_object_array_get_idx(schema, i);
		const char *name = json_string(one, "name");

		if (name && json_object_object_add(index, name, json_object_get(one)) < 0)
			json_object_put(one);
	}
	return index;
}

void qmp_caps_parse(struct qmp_caps *caps, struct json_object *schema)
{
	struct json_object *index = make_index(schema);

	for (int cap = 0; cap < QMP_CAP_COUNT; cap++)
		caps->has[cap] = has(index, (enum qmp_cap)cap);
	json_object_put(index);
}

const char *qmp_cap_name(enum qmp_cap cap)
{
	return table[cap].name;
}
