/* SPDX-License-Identifier: Apache-2.0
 *
 * record_rules.h - what the record of an image can hold: the limits of Glance's database, which all
 * stores keep, so that a record is as good in one as in another.
 */
#ifndef BASE_RECORD_RULES_H
#define BASE_RECORD_RULES_H

#include <qmpsnap.h>

#include <stdbool.h>
#include <stddef.h>

enum { RECORD_NAME_BYTES = 255, RECORD_KEY_BYTES = 255, RECORD_VALUE_BYTES = 65535 };

/* Whether `key` is one of the members that an image service keeps itself (Glance's API v2.15), or
 * is in the range of names that it keeps to itself. */
bool record_key_is_taken(const char *key);

/* USAGE unless it can be an image's name. */
bool record_check_name(const char *name, struct qmpsnap_error *err);

/* USAGE unless a record can have such a property. */
bool record_check_property(const char *key, const char *value, struct qmpsnap_error *err);

/* A property that a user gives as "KEY=VALUE": `*key` is the user's to free, `*value` stands in
 * `text`.  USAGE for what is no property, can't be one, or is ours to set. */
bool record_parse_property(
	const char *text, char **key, const char **value, struct qmpsnap_error *err);

#endif
