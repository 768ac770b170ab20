/* SPDX-License-Identifier: Apache-2.0
 *
 * ini.h - the files ~/.aws/config and ~/.aws/credentials: sections of "key = value", where a key
 * without a value may have further pairs, indented, below it; '#' and ';' begin comments at the
 * beginning of a line.  No message quotes the file, as there are secrets in it.
 */
#ifndef UPLOAD_INI_H
#define UPLOAD_INI_H

#include "upload/config_file.h"

/* An object of sections, each an object of strings, and of objects of strings for what is indented;
 * keys are in lower case.  The caller's.  False and *err (USAGE, INTERNAL); `name` is for messages.
 */
bool ini_parse(
	const char *text, const char *name, struct json_object **object, struct qmpsnap_error *err);

/* The same from a file, as config_file_read() reads one. */
enum config_read ini_read(const char *path, struct json_object **object, bool *others_read,
	struct qmpsnap_error *err);

#endif
