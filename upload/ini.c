/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/ini.h"

#include "base/json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct reader {
	const char *name;
	unsigned line;
	struct json_object *all, *section, *nested; /* NULL: none is begun */
	struct qmpsnap_error *err;
};

static bool wrong(const struct reader *r, const char *what)
{
	return error_set(r->err, QMPSNAP_USAGE, "%s, line %u: %s", r->name, r->line, what);
}

static char *trim(char *text)
{
	size_t len = strlen(text);

	while (len > 0 && isspace((unsigned char)text[len - 1]))
		text[--len] = '\0';
	while (isspace((unsigned char)*text))
		text++;
	return text;
}

/* The object `key` of `parent`, made where it isn't there; borrowed. */
static struct json_object *object_in(struct json_object *parent, const char *key)
{
	struct json_object *child = json_member(parent, key, json_type_object);

	if (!child && (child = json_object_new_object()))
		(void)json_object_object_add(parent, key, child);
	return child;
}

/* "[profile  web]" is the section "profile web". */
static bool begin_section(struct reader *r, char *line)
{
	char *end = strchr(line, ']');
	char *to = line;

	if (!end)
		return wrong(r, "a ']' is missing");
	*end = '\0';
	line = trim(line + 1);
	char *name = line;
	for (to = line; *line; line++) {
		const char c = isspace((unsigned char)*line) ? ' ' : *line;
		if (c != ' ' || to == name || to[-1] != ' ')
			*to++ = c;
	}
	*to = '\0';
	r->nested = NULL;
	r->section = object_in(r->all, name);
	return r->section || error_no_memory(r->err);
}

static bool take_pair(struct reader *r, char *line, bool indented)
{
	char *equals = strchr(line, '=');

	if (!equals)
		return wrong(r, "this is neither [section] nor key = value");
	if (!r->section)
		return wrong(r, "a [section] must come first");
	*equals = '\0';
	const char *key = trim(line), *value = trim(equals + 1);
	for (char *c = line; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	if (indented && r->nested) {
		json_put_string(r->nested, key, value);
		return true;
	}
	r->nested = NULL;
	if (value[0] == '\0' && !(r->nested = object_in(r->section, key)))
		return error_no_memory(r->err);
	if (value[0])
		json_put_string(r->section, key, value);
	return true;
}

static bool take_line(struct reader *r, char *line)
{
	const bool indented = line[0] == ' ' || line[0] == '\t';

	if (line[0] == '#' || line[0] == ';')
		return true;
	line = trim(line);
	if (line[0] == '\0' || line[0] == '#' || line[0] == ';')
		return true;
	return line[0] == '[' ? begin_section(r, line) : take_pair(r, line, indented);
}

bool ini_parse(
	const char *text, const char *name, struct json_object **object, struct qmpsnap_error *err)
{
	struct reader r = {.name = name, .all = json_object_new_object(), .err = err};
	char *copy = strdup(text);
	bool well = r.all && copy;
	char *rest = copy;

	*object = NULL;
	if (!well)
		(void)error_no_memory(err);
	while (well && rest) {
		char *line = strsep(&rest, "\n");
		r.line++;
		well = take_line(&r, line);
	}
	free(copy);
	if (well)
		*object = r.all;
	else
		(void)json_object_put(r.all);
	return well;
}

static bool parse(const char *text, size_t len, const char *name, struct json_object **object,
	struct qmpsnap_error *err)
{
	(void)len;
	return ini_parse(text, name, object, err);
}

enum config_read ini_read(
	const char *path, struct json_object **object, bool *others_read, struct qmpsnap_error *err)
{
	return config_file_read_as(path, parse, object, others_read, err);
}
