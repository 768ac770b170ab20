/* SPDX-License-Identifier: Apache-2.0
 *
 * config_file.h - a configuration file in YAML (or JSON, which is YAML) as json-c objects.
 *
 * All scalars become strings, whatever they look like, but for YAML's null; an alias becomes
 * another reference to the same object, so that nothing grows by expansion; "<<" merges.  What is
 * read must not be changed, since parts of it may be shared.  No message quotes the file, as there
 * are secrets in it.
 */
#ifndef UPLOAD_CONFIG_FILE_H
#define UPLOAD_CONFIG_FILE_H

#include "base/error.h"

#include <json-c/json.h>
#include <stddef.h>

enum {
	CONFIG_FILE_BYTES = 1 << 20, /* longest file */
	CONFIG_FILE_DEPTH = 32, /* of mappings and lists in each other */
	CONFIG_FILE_NODES = 100000,
};

enum config_read {
	CONFIG_READ, /* *object is the caller's; NULL for an empty file */
	CONFIG_NOT_THERE, /* no such file, or we may not read it */
	CONFIG_WRONG, /* *err says why (USAGE, INTERNAL) */
};

/* Reads a small local file; blocks.  `others_read`, which may be NULL, says whether users beside
 * the one that we run as may read it too. */
enum config_read config_file_read(const char *path, struct json_object **object, bool *others_read,
	struct qmpsnap_error *err);

/* The same of a file that is read by others. */
bool config_others_read(const char *path);

/* What makes objects out of a text: config_file_parse() is one. */
typedef bool config_parse_fn(const char *text, size_t len, const char *name,
	struct json_object **object, struct qmpsnap_error *err);

/* The same for a file in another language. */
enum config_read config_file_read_as(const char *path, config_parse_fn *parse,
	struct json_object **object, bool *others_read, struct qmpsnap_error *err);

/* The same from memory; `name` is for messages.  False and *err (USAGE, INTERNAL). */
bool config_file_parse(const char *text, size_t len, const char *name, struct json_object **object,
	struct qmpsnap_error *err);

#endif
