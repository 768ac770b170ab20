/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/object_names.h"

#include "base/names.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

void object_names(
	struct object_names *names, const char *prefix, const struct store_image_spec *spec)
{
	const char *slash = prefix[0] ? "/" : "";
	char stem[NAME_FILE_BYTES];

	name_for_file(stem, spec->name);
	(void)snprintf(names->data, sizeof(names->data), "%.*s%s%s-%.36s.%s",
		OBJECT_PREFIX_BYTES - 1, prefix, slash, stem, spec->id, name_format(spec->format));
	(void)snprintf(names->json, sizeof(names->json), "%.*s%s%s-%.36s.json",
		OBJECT_PREFIX_BYTES - 1, prefix, slash, stem, spec->id);
}

static bool is_plain(unsigned char c)
{
	return (c < 0x80 && isalnum(c)) || c == '-' || c == '.' || c == '_' || c == '~';
}

bool object_prefix_is_fine(const char *prefix)
{
	while (*prefix) {
		const size_t len = strcspn(prefix, "/");
		if (len == 0 || (len == 1 && prefix[0] == '.') ||
			(len == 2 && prefix[0] == '.' && prefix[1] == '.'))
			return false;
		prefix += len + (prefix[len] == '/');
	}
	return true;
}

void object_encode(char *url, size_t size, const char *text, bool path)
{
	size_t at = 0;

	for (; *text && at + 3 < size; text++) {
		const unsigned char c = (unsigned char)*text;
		if (is_plain(c) || (path && c == '/')) {
			url[at++] = (char)c;
		} else {
			(void)snprintf(url + at, 4, "%%%02X", c);
			at += 3;
		}
	}
	url[at] = '\0';
}

void object_path(char path[static OBJECT_URL_BYTES], const char *name)
{
	path[0] = '/';
	object_encode(path + 1, OBJECT_URL_BYTES - 1, name, true);
}
