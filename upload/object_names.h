/* SPDX-License-Identifier: Apache-2.0
 *
 * object_names.h - what an image's objects are called in a bucket or container: as its files in the
 * store dir:, NAME-ID.qcow2 and NAME-ID.json.
 */
#ifndef UPLOAD_OBJECT_NAMES_H
#define UPLOAD_OBJECT_NAMES_H

#include "base/store.h"

enum {
	OBJECT_PREFIX_BYTES = 512,
	OBJECT_NAME_BYTES = OBJECT_PREFIX_BYTES + 256, /* S3 and Swift take 1024 */
	OBJECT_URL_BYTES = 3 * OBJECT_NAME_BYTES + 2, /* the same, encoded, behind a slash */
};

struct object_names {
	char data[OBJECT_NAME_BYTES], json[OBJECT_NAME_BYTES];
};

/* `prefix` is "" or without slashes at its ends. */
void object_names(
	struct object_names *names, const char *prefix, const struct store_image_spec *spec);

/* Whether all of it can stand in a URL's path: no segment is "." or "..", none but the last is "".
 */
bool object_prefix_is_fine(const char *prefix);

/* Encodes all but [A-Za-z0-9._~-], and but for slashes if `path`; cut off where `size` ends. */
void object_encode(char *url, size_t size, const char *text, bool path);

/* "/" and an object's name, encoded. */
void object_path(char path[static OBJECT_URL_BYTES], const char *name);

#endif
