/* SPDX-License-Identifier: Apache-2.0
 *
 * local_files.h - the file system's part of an image on this host.  All of it blocks: call it on
 * a pool thread.
 */
#ifndef UPLOAD_LOCAL_FILES_H
#define UPLOAD_LOCAL_FILES_H

#include "base/store.h"
#include "upload/temp.h"

#include <limits.h>

enum { LOCAL_FOLDER_BYTES = 768 }; /* so that a location holds it and the longest file name */

/* Where an image goes; all are names within `folder`. */
struct local_names {
	char folder[LOCAL_FOLDER_BYTES];
	char file[NAME_MAX + 1];
	char file_temp[NAME_MAX + 1]; /* see temp_open() */
	char json[NAME_MAX + 1]; /* "": no metadata */
	char json_temp[NAME_MAX + 1];
	char id[37];
	bool make_folder; /* and those above it */
	bool foreign; /* `file` was named by the user: it may be somebody else's */
	bool replace; /* and be replaced nevertheless */
	bool direct; /* O_DIRECT where it can be */
};

/* Which file was published, to know it again. */
struct local_mark {
	bool set;
	dev_t device;
	ino_t inode;
};

/* Whether local_prepare() would do well, and whether there is any room; makes nothing.  Errors: the
 * same. */
bool local_check(
	const struct local_names *names, const struct store_need *need, struct qmpsnap_error *err);

/* Makes the folder (0700) or checks that it can be written to, and that `file` may be made.
 * Errors: REFUSED when it exists and may not be replaced, USAGE when it isn't a regular file,
 * STORE. */
bool local_prepare(const struct local_names *names, struct qmpsnap_error *err);

/* Cuts `data` to its size, syncs it and asks the file system for the size.  Errors: STORE. */
bool local_complete(
	const struct temp *data, uint64_t size_bytes, const char *path, struct qmpsnap_error *err);

/* Gives `data` its final name, then writes `json` (NULL: none) beside it; both are on the disk
 * when this returns.  `mark` says from then on which file it is.  Errors: STORE. */
bool local_place(struct temp *data, const struct local_names *names, const char *json,
	struct local_mark *mark, struct qmpsnap_error *err);

/* Removes whatever of the image stands in the folder, the metadata first.  A `foreign` file only
 * if `mark` or the id written into its attributes says that it is ours.  "Not there" is success.
 * Errors: STORE, the first; the rest is removed all the same. */
bool local_remove(
	const struct local_names *names, const struct local_mark *mark, struct qmpsnap_error *err);

#endif
