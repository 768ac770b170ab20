/* SPDX-License-Identifier: Apache-2.0
 *
 * target.h - where one image of a set is put back: a file, which is replaced as a whole, or a block
 * device, which is written over.  All of it blocks: call it on a pool thread.
 */
#ifndef IMAGES_TARGET_H
#define IMAGES_TARGET_H

#include "base/store.h"
#include "upload/temp.h"

#include <json-c/json.h>
#include <limits.h>
#include <sys/stat.h>

struct target {
	char path[PATH_MAX]; /* of the file itself, links followed */
	char folder[PATH_MAX]; /* that it stands in */
	const char *name; /* in it; into `path` */
	bool exists, is_device;
	struct stat st; /* of the file that is replaced */
	enum qmpsnap_format format; /* that it gets */
	bool converts; /* the image isn't in that format, or goes onto a device */
	bool touched; /* a device: it is written to; a file: the new one is there */
	int device_fd; /* -1: none */
	struct temp file; /* what will stand there */
	struct temp spool; /* the image as it came, where it is converted */
};

/* An empty one. */
void target_init(struct target *t);

/* What is asked for a target. */
struct target_wish {
	const char *path;
	struct json_object *record; /* of the image that goes there */
	enum qmpsnap_format format; /* AUTO: the image's; of a device: raw */
	bool force; /* over what exists */
	const char *scratch_dir;
};

/* Looks at it, checks that nobody uses it and that the image fits, and opens the files that are to
 * be filled; nothing of what stands there is touched.  Errors: REFUSED, USAGE, STORE. */
bool target_open(struct target *t, const struct target_wish *wish, struct qmpsnap_error *err);

/* Where the image's bytes go first. */
int target_first_fd(const struct target *t);

/* Whether still nobody uses it. */
bool target_check(const struct target *t, struct qmpsnap_error *err);

/* Does what may fail or take its time, once all bytes are written: gives the file the owner and the
 * mode of the one that it takes the place of, and has all of it on its disk. */
bool target_settle(struct target *t, struct qmpsnap_error *err);

/* Puts the file there; nothing for a device. */
bool target_place(struct target *t, struct qmpsnap_error *err);

/* Has its new name on the disk, too, where it can be. */
void target_placed(struct target *t);

/* Closes what is open, and removes files that weren't placed.  Any number of times. */
void target_drop(struct target *t);

#endif
