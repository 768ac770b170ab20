/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/inspect_text.h"

#include "base/units.h"

#include <stdio.h>
#include <string.h>

/* "  LABEL      A, B" of the words that are there; nothing when none is. */
static void put_words(
	struct output *out, const char *label, const char *const *words, size_t n_words)
{
	bool first = true;

	for (size_t i = 0; i < n_words; i++) {
		if (!words[i] || !*words[i])
			continue;
		if (first)
			output_printf(out, "  %-11s", label);
		output_printf(out, "%s%s", first ? "" : ", ", words[i]);
		first = false;
	}
	if (!first)
		output_printf(out, "\n");
}

static const char *const methods[] = {"stream", "backup", "mirror", "cold"};
enum { N_METHODS = sizeof(methods) / sizeof(methods[0]) };

static bool is_possible(struct json_object *disk, const char *method)
{
	return json_flag(json_member(disk, method, json_type_object), "possible", false);
}

static const char *word_if(struct json_object *disk, const char *member, const char *word)
{
	return json_flag(disk, member, false) ? word : NULL;
}

static void put_size(struct output *out, struct json_object *disk)
{
	const int64_t size = json_int(disk, "virtual_size_bytes", -1);
	const int64_t allocated = json_int(disk, "allocated_bytes", -1);
	char size_text[UNITS_TEXT_BYTES], allocated_text[UNITS_TEXT_BYTES];

	if (size < 0)
		return;
	units_format_size(size_text, (uint64_t)size);
	output_printf(out, "  %-11s%s", "size", size_text);
	if (allocated >= 0) {
		units_format_size(allocated_text, (uint64_t)allocated);
		output_printf(out, ", %s allocated", allocated_text);
	}
	output_printf(out, "\n");
}

/* "  snapshot   stream (filter), backup, mirror", or "  snapshot   not possible, REASON" and
 * false. */
static bool put_possible(struct output *out, struct json_object *disk)
{
	struct json_object *stream = json_member(disk, "stream", json_type_object);
	const char *flavour = json_string(stream, "flavour"), *words[N_METHODS] = {NULL};
	char text[64];
	bool any = false;

	for (size_t i = 0; i < N_METHODS; i++) {
		if (is_possible(disk, methods[i]))
			words[i] = methods[i];
		any = any || words[i];
	}
	if (words[0] && flavour) {
		(void)snprintf(text, sizeof(text), "stream (%.32s)", flavour);
		words[0] = text;
	}
	if (!any && stream) {
		words[0] = "not possible";
		words[1] = json_string(stream, "reason");
	}
	put_words(out, "snapshot", words, N_METHODS);
	return any;
}

/* Why a method can't have the disk; NULL: it can, or nothing is said of it. */
static const char *refusal(struct json_object *disk, size_t method)
{
	struct json_object *json = json_member(disk, methods[method], json_type_object);

	return is_possible(disk, methods[method]) ? NULL : json_string(json, "reason");
}

static bool is_first(struct json_object *disk, size_t method)
{
	const char *why = refusal(disk, method);

	for (size_t i = 0; why && i < method; i++) {
		const char *other = refusal(disk, i);
		if (other && strcmp(other, why) == 0)
			return false;
	}
	return why != NULL;
}

/* "             not mirror, cold: REASON" for each reason that hasn't been told. */
static void put_methods(struct output *out, struct json_object *disk)
{
	const bool any = put_possible(out, disk);

	for (size_t i = any ? 0 : 1; i < N_METHODS; i++) {
		const char *why = refusal(disk, i);
		if (!is_first(disk, i))
			continue;
		output_printf(out, "  %-11snot %s", "", methods[i]);
		for (size_t j = i + 1; j < N_METHODS; j++) {
			const char *other = refusal(disk, j);
			if (other && strcmp(other, why) == 0)
				output_printf(out, ", %s", methods[j]);
		}
		output_printf(out, ": %s\n", why);
	}
}

static void put_medium(struct output *out, struct json_object *disk)
{
	struct json_object *backing = json_member(disk, "backing", json_type_array);
	const char *node[] = {json_string(disk, "node"), json_string(disk, "format"),
		word_if(disk, "read_only", "read-only"), word_if(disk, "encrypted", "encrypted")};
	const char *file = json_string(disk, "filename");

	put_words(out, "node", node, sizeof(node) / sizeof(node[0]));
	put_words(out, "file", &file, 1);
	for (size_t i = 0; i < json_length(backing); i++) {
		struct json_object *image = json_object_array_get_idx(backing, i);
		const char *words[] = {
			json_string(image, "filename"), json_string(image, "format")};
		put_words(out, i ? "" : "backing", words, 2);
	}
	put_size(out, disk);
}

static void put_disk(struct output *out, struct json_object *disk)
{
	const char *id = json_string(disk, "id");
	const char *device[] = {json_string(disk, "qdev"), json_string(disk, "device"),
		json_string(disk, "driver"), word_if(disk, "removable", "removable")};
	const char *iothread = json_string(disk, "iothread");

	output_printf(out, "disk %s\n", id ? id : "?");
	put_words(out, "device", device, sizeof(device) / sizeof(device[0]));
	put_words(out, "iothread", &iothread, 1);
	if (json_flag(disk, "inserted", true))
		put_medium(out, disk);
	put_methods(out, disk);
}

static void put_capabilities(struct output *out, struct json_object *capabilities, bool has)
{
	const char *label = has ? "can" : "cannot";
	bool first = true;

	if (!capabilities)
		return;
	json_object_object_foreach(capabilities, name, value)
	{
		if (json_object_get_boolean(value) != has)
			continue;
		if (first)
			output_printf(out, "this QEMU %s: ", label);
		output_printf(out, "%s%s", first ? "" : ", ", name);
		first = false;
	}
	if (!first)
		output_printf(out, "\n");
}

void inspect_text(struct output *out, struct json_object *guest)
{
	struct json_object *disks = json_member(guest, "disks", json_type_array);
	struct json_object *capabilities = json_member(guest, "capabilities", json_type_object);
	const char *name = json_string(guest, "name");
	const char *uuid = json_string(guest, "uuid");
	const char *version = json_string(guest, "version");
	const char *status = json_string(guest, "status");

	output_printf(out, "%s, UUID %s, QEMU %s, %s\n", name && *name ? name : "(no name)",
		uuid && *uuid ? uuid : "none", version ? version : "?", status ? status : "?");
	for (size_t i = 0; i < json_length(disks); i++)
		put_disk(out, json_object_array_get_idx(disks, i));
	put_capabilities(out, capabilities, true);
	put_capabilities(out, capabilities, false);
}
