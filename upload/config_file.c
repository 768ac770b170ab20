/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

/* ---- Events as objects -------------------------------------------------------------------- */

/* libyaml's own documents would do, but that it builds them whole first, which takes a time that
 * grows with the square of the depth. */
struct maker {
	yaml_parser_t parser;
	struct json_object *anchors; /* finished ones by name */
	unsigned depth, n_nodes;
	const char *name;
	struct qmpsnap_error *err;
};

static bool make(struct maker *m, const yaml_event_t *event, struct json_object **object);

static bool wrong(const struct maker *m, const char *what)
{
	return error_set(
		m->err, QMPSNAP_USAGE, "%s, line %zu: %s", m->name, m->parser.mark.line + 1, what);
}

static bool next_event(struct maker *m, yaml_event_t *event)
{
	if (yaml_parser_parse(&m->parser, event))
		return true;
	if (m->parser.error == YAML_MEMORY_ERROR)
		return error_no_memory(m->err);
	return error_set(m->err, QMPSNAP_USAGE, "%s, line %zu: %s", m->name,
		m->parser.problem_mark.line + 1,
		m->parser.problem ? m->parser.problem : "this isn't YAML");
}

static bool is_null(const yaml_event_t *event)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL"};

	if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp((const char *)event->data.scalar.value, words[i]) == 0)
			return true;
	}
	return false;
}

static bool make_scalar(struct maker *m, const yaml_event_t *event, struct json_object **object)
{
	const char *text = (const char *)event->data.scalar.value;

	if (strlen(text) != event->data.scalar.length)
		return wrong(m, "there is a NUL in a text");
	if (is_null(event))
		return true;
	*object = json_object_new_string(text);
	return *object || error_no_memory(m->err);
}

/* "<<": what it refers to gives the keys that aren't there already. */
static bool merge(struct maker *m, struct json_object *from, struct json_object *to)
{
	if (!json_object_is_type(from, json_type_object))
		return wrong(m, "<< takes a mapping or a list of them");
	json_object_object_foreach(from, key, value)
	{
		/* Each is counted, or a short file could merge a long mapping many times. */
		if (++m->n_nodes > CONFIG_FILE_NODES)
			return wrong(m, "there is too much in it");
		if (!json_object_object_get_ex(to, key, NULL))
			(void)json_object_object_add(to, key, json_object_get(value));
	}
	return true;
}

static bool merge_any(struct maker *m, struct json_object *from, struct json_object *to)
{
	if (!json_object_is_type(from, json_type_array))
		return merge(m, from, to);
	for (size_t i = 0; i < json_object_array_length(from); i++) {
		if (!merge(m, json_object_array_get_idx(from, i), to))
			return false;
	}
	return true;
}

static bool add_item(struct maker *m, const yaml_event_t *event, struct json_object *list)
{
	struct json_object *value;

	if (!make(m, event, &value))
		return false;
	(void)json_object_array_add(list, value);
	return true;
}

/* `event` is the key's; what "<<" brings waits in `merges` for the mapping's end. */
static bool add_pair(struct maker *m, const yaml_event_t *key, struct json_object *mapping,
	struct json_object *merges)
{
	struct json_object *value;
	yaml_event_t event;

	if (key->type != YAML_SCALAR_EVENT)
		return wrong(m, "a key must be a text");
	const char *name = (const char *)key->data.scalar.value;
	if (!next_event(m, &event))
		return false;
	const bool well = make(m, &event, &value);
	yaml_event_delete(&event);
	if (!well)
		return false;
	if (key->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strcmp(name, "<<") == 0)
		(void)json_object_array_add(merges, value);
	else
		(void)json_object_object_add(mapping, name, value);
	return true;
}

static bool make_inner(struct maker *m, struct json_object *object, struct json_object *merges)
{
	const bool is_list = json_object_is_type(object, json_type_array);

	for (bool more = true, well = true; more;) {
		yaml_event_t event;
		if (!next_event(m, &event))
			return false;
		more = event.type != YAML_SEQUENCE_END_EVENT &&
		       event.type != YAML_MAPPING_END_EVENT;
		if (more)
			well = is_list ? add_item(m, &event, object)
				       : add_pair(m, &event, object, merges);
		yaml_event_delete(&event);
		if (!well)
			return false;
	}
	for (size_t i = 0; i < json_object_array_length(merges); i++) {
		if (!merge_any(m, json_object_array_get_idx(merges, i), object))
			return false;
	}
	return true;
}

static bool make_collection(struct maker *m, const yaml_event_t *event, struct json_object **object)
{
	struct json_object *merges = json_object_new_array();

	if (m->depth >= CONFIG_FILE_DEPTH) {
		(void)json_object_put(merges);
		return wrong(m, "mappings and lists are nested too deep");
	}
	*object = event->type == YAML_SEQUENCE_START_EVENT ? json_object_new_array()
							   : json_object_new_object();
	m->depth++;
	const bool well =
		*object && merges ? make_inner(m, *object, merges) : error_no_memory(m->err);
	m->depth--;
	(void)json_object_put(merges);
	return well;
}

static bool make_alias(struct maker *m, const yaml_event_t *event, struct json_object **object)
{
	if (!json_object_object_get_ex(m->anchors, (const char *)event->data.alias.anchor, object))
		return wrong(m, "an alias has no anchor before it, or is inside it");
	(void)json_object_get(*object);
	return true;
}

/* The node that begins with `event`; *object is the caller's, NULL for null. */
static bool make(struct maker *m, const yaml_event_t *event, struct json_object **object)
{
	const yaml_char_t *anchor = NULL;
	bool well = false;

	*object = NULL;
	if (++m->n_nodes > CONFIG_FILE_NODES)
		return wrong(m, "there is too much in it");
	if (event->type == YAML_ALIAS_EVENT)
		return make_alias(m, event, object);
	if (event->type == YAML_SCALAR_EVENT) {
		anchor = event->data.scalar.anchor;
		well = make_scalar(m, event, object);
	} else if (event->type == YAML_SEQUENCE_START_EVENT ||
		   event->type == YAML_MAPPING_START_EVENT) {
		anchor = event->type == YAML_SEQUENCE_START_EVENT
				 ? event->data.sequence_start.anchor
				 : event->data.mapping_start.anchor;
		well = make_collection(m, event, object);
	} else {
		(void)wrong(m, "something is missing");
	}
	if (!well) {
		(void)json_object_put(*object);
		*object = NULL;
	} else if (anchor) {
		(void)json_object_object_add(
			m->anchors, (const char *)anchor, json_object_get(*object));
	}
	return well;
}

/* The first document; an empty file has none. */
static bool make_document(struct maker *m, struct json_object **object)
{
	for (;;) {
		yaml_event_t event;
		if (!next_event(m, &event))
			return false;
		const yaml_event_type_t type = event.type;
		if (type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT) {
			yaml_event_delete(&event);
			continue;
		}
		const bool well = type == YAML_STREAM_END_EVENT || make(m, &event, object);
		yaml_event_delete(&event);
		return well;
	}
}

/* ---- Text and file ------------------------------------------------------------------------ */

bool config_file_parse(const char *text, size_t len, const char *name, struct json_object **object,
	struct qmpsnap_error *err)
{
	struct maker m = {.name = name, .err = err};

	*object = NULL;
	if (!yaml_parser_initialize(&m.parser))
		return error_no_memory(err);
	yaml_parser_set_input_string(&m.parser, (const unsigned char *)text, len);
	m.anchors = json_object_new_object();
	const bool well = m.anchors ? make_document(&m, object) : error_no_memory(err);
	(void)json_object_put(m.anchors);
	yaml_parser_delete(&m.parser);
	return well;
}

/* Its bytes, to be freed; NULL and *err. */
static char *read_all(int fd, size_t size, const char *path, struct qmpsnap_error *err)
{
	char *text = malloc(size + 1);
	size_t done = 0;
	ssize_t n = 1;

	if (!text) {
		(void)error_no_memory(err);
		return NULL;
	}
	while (done < size && n > 0) {
		n = read(fd, text + done, size - done);
		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno == EINTR)
			n = 1;
	}
	if (n < 0 || done < size) {
		(void)error_errno(err, QMPSNAP_USAGE, n < 0 ? errno : EAGAIN, "reading %s", path);
		free(text);
		return NULL;
	}
	text[size] = '\0';
	return text;
}

/* A user's own group is no company. */
static bool is_for_others(const struct stat *status)
{
	return (status->st_mode & S_IROTH) ||
	       ((status->st_mode & S_IRGRP) && status->st_gid != getegid());
}

bool config_others_read(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && is_for_others(&status);
}

static enum config_read read_open(int fd, const char *path, config_parse_fn *parse,
	struct json_object **object, bool *others_read, struct qmpsnap_error *err)
{
	struct stat status;
	char *text;

	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
		(void)error_set(err, QMPSNAP_USAGE, "%s isn't a regular file", path);
		return CONFIG_WRONG;
	}
	if (status.st_size > CONFIG_FILE_BYTES) {
		(void)error_set(
			err, QMPSNAP_USAGE, "%s is longer than %d bytes", path, CONFIG_FILE_BYTES);
		return CONFIG_WRONG;
	}
	if (others_read)
		*others_read = is_for_others(&status);
	if (!(text = read_all(fd, (size_t)status.st_size, path, err)))
		return CONFIG_WRONG;
	const bool well = parse(text, (size_t)status.st_size, path, object, err);
	free(text);
	return well ? CONFIG_READ : CONFIG_WRONG;
}

enum config_read config_file_read_as(const char *path, config_parse_fn *parse,
	struct json_object **object, bool *others_read, struct qmpsnap_error *err)
{
	/* Non-blocking, for a FIFO of that name. */
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	*object = NULL;
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
		return CONFIG_NOT_THERE;
	if (fd < 0) {
		(void)error_errno(err, QMPSNAP_USAGE, errno, "opening %s", path);
		return CONFIG_WRONG;
	}
	const enum config_read how = read_open(fd, path, parse, object, others_read, err);
	(void)close(fd);
	return how;
}

enum config_read config_file_read(
	const char *path, struct json_object **object, bool *others_read, struct qmpsnap_error *err)
{
	return config_file_read_as(path, config_file_parse, object, others_read, err);
}
