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

/* Gives it another id: `id`, and qmpsnap_image, which says that all its properties are of this
 * image and not copied from another one's. */
void record_use_id(struct json_object *record, const char *id);

/* Adds what is known of a stored image: its sizes and digest, the time, qmpsnap_verified. */
void record_complete(
	struct json_object *record, const struct store_image *image, uint64_t virtual_size_bytes);

enum { RECORD_FILE_BYTES = 256 };

/* The file that a record of the file `json_name` belongs to: "NAME-ID.json" to "NAME-ID.qcow2" and
 * to no other, whatever is in it.  False when it is no record of an image of that name. */
bool record_data_file(
	struct json_object *record, const char *json_name, char file[static RECORD_FILE_BYTES]);

/* As it is written beside an image; valid as long as the record.  NULL without memory. */
const char *record_text(struct json_object *record);

/* Says which image the guest was made from: base_image_ref, unless the user has set it. */
void record_base(struct json_object *record, const char *base_id);

/* What Nova takes over from the record of the image that a guest was made from (its
 * compute/utils.py, get_image_from_system_metadata): properties but for those that are true of that
 * image alone, min_disk and min_ram.  What `record` has already stays. */
void record_inherit(struct json_object *record, struct json_object *base);

#endif
