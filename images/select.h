/* SPDX-License-Identifier: Apache-2.0
 *
 * select.h - which of a store's images are meant.  Pure.
 */
#ifndef IMAGES_SELECT_H
#define IMAGES_SELECT_H

#include "base/names.h"
#include "base/shelf.h"

struct selection {
	const char *const *which; /* ids of images or sets, or names */
	size_t n_which;
	const char *guest, *set, *tag; /* NULL: any */
	char since[NAME_TIME_BYTES], before[NAME_TIME_BYTES]; /* "": any; see select_time() */
	bool all; /* also what others made or what wasn't published */
	bool one_set; /* a name must not mean images of several sets */
};

/* `text` as a time of ISO 8601, where it is a duration: so long before `now`.  USAGE. */
bool select_time(char time[static NAME_TIME_BYTES], const char *text, const struct timespec *now,
	struct qmpsnap_error *err);

/* Those of `records` that are meant, oldest first, the disks of a set in order; the caller's.  NULL
 * and *err: REFUSED for a name that means several sets, STORE (detail 404) for one that means
 * nothing. */
struct json_object *select_images(
	struct json_object *records, const struct selection *selection, struct qmpsnap_error *err);

/* Whether the image itself is named, by its id or its name, and not only its set. */
bool select_names_image(const struct selection *selection, struct json_object *record);

/* Gives all of `records`, among which are all images of their sets, the member `incomplete`: fewer
 * images of the set are there, and published, than it was made of. */
void select_mark_incomplete(struct json_object *records);

/* Whether one may be deleted; REFUSED.  `force`: also what others have made. */
bool select_may_delete(struct json_object *record, bool force, struct qmpsnap_error *err);

#endif
