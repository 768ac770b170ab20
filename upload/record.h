/* SPDX-License-Identifier: Apache-2.0
 *
 * record.h - an image's metadata, the same keys in every store: Glance's own names, and beside
 * them the properties as strings.
 */
#ifndef UPLOAD_RECORD_H
#define UPLOAD_RECORD_H

#include "base/store.h"

#include <json-c/json.h>

/* What an image of `spec` is called before it has bytes: id, name, disk_format, container_format,
 * visibility, and the properties on the top level.  NULL and *err: USAGE for a property that
 * isn't a string, is too long, or has the name of one of Glance's own members; INTERNAL. */
struct json_object *record_new(const struct store_image_spec *spec, struct qmpsnap_error *err);

#endif
