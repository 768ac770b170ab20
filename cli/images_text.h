/* SPDX-License-Identifier: Apache-2.0
 *
 * images_text.h - images in a store, for people to read.
 */
#ifndef CLI_IMAGES_TEXT_H
#define CLI_IMAGES_TEXT_H

#include "cli/options.h"
#include "cli/output.h"

#include <json-c/json.h>

/* What `command` has done with these records. */
void images_text(struct output *out, enum command command, struct json_object *images);

#endif
