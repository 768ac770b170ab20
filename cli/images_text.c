/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/images_text.h"

#include "base/json.h"
#include "base/shelf.h"
#include "base/units.h"

#include <string.h>

static const char *text_of(struct json_object *record, const char *key)
{
	const char *text = json_string(record, key);

	return text && text[0] ? text : "-";
}

static const char *own(struct json_object *record, const char *key)
{
	return shelf_is_ours(record) ? text_of(record, key) : "-";
}

static void put_set(struct output *out, struct json_object *record)
{
	const char *type = json_string(record, "backup_type");

	output_printf(out, "set %s  %s  guest %s  %s%s%s%s\n", shelf_set(record),
		shelf_time(record), own(record, "qmpsnap_guest"),
		own(record, "qmpsnap_consistency"), type ? "  backup " : "", type ? type : "",
		json_flag(record, "incomplete", false) ? "  incomplete" : "");
}

static void put_image(struct output *out, struct json_object *record)
{
	const int64_t bytes = json_int(record, "size", -1);
	char size[UNITS_TEXT_BYTES] = "-";

	if (bytes >= 0)
		units_format_size(size, (uint64_t)bytes);
	output_printf(out, "  %-10s  %-5s  %10s  %s  %s%s%s\n", own(record, "qmpsnap_disk"),
		text_of(record, "disk_format"), size, text_of(record, "id"),
		text_of(record, "name"), shelf_is_protected(record) ? "  protected" : "",
		json_flag(record, "foreign", false) ? "  another project's" : "");
}

static void put_list(struct output *out, struct json_object *images)
{
	const char *set = "";

	for (size_t i = 0; i < json_length(images); i++) {
		struct json_object *record = json_object_array_get_idx(images, i);
		if (strcmp(set, shelf_set(record)) != 0)
			put_set(out, record);
		set = shelf_set(record);
		put_image(out, record);
	}
}

static void put_whole(struct output *out, struct json_object *images)
{
	for (size_t i = 0; i < json_length(images); i++) {
		const char *text =
			json_object_to_json_string_ext(json_object_array_get_idx(images, i),
				JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
		output_printf(out, "%s\n", text ? text : "");
	}
}

/* What was done, a line for each. */
static void put_done(struct output *out, struct json_object *images, const char *what)
{
	for (size_t i = 0; i < json_length(images); i++) {
		struct json_object *record = json_object_array_get_idx(images, i);
		const char *path = json_string(record, "path");
		output_printf(out, "%s %s  %s%s%s\n", what, text_of(record, "id"),
			text_of(record, "name"), path ? "  -> " : "", path ? path : "");
	}
}

void images_text(struct output *out, enum command command, struct json_object *images)
{
	if (command == COMMAND_LIST)
		put_list(out, images);
	else if (command == COMMAND_SHOW)
		put_whole(out, images);
	else
		put_done(out, images,
			command == COMMAND_DELETE     ? "deleted"
			: command == COMMAND_DOWNLOAD ? "downloaded"
			: command == COMMAND_VERIFY   ? "good"
						      : "restored");
}
