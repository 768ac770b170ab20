/* SPDX-License-Identifier: Apache-2.0
 *
 * rotate.h - rotation as Nova's createBackup has it, but for whole sets: once a backup is
 * published, the oldest sets of the same guest and the same type beyond so many are deleted.
 *
 * It comes after the table, when everything is undone and the result is sure: a deletion that fails
 * is a warning, as in Nova, and no reason to take the new images back.
 */
#ifndef BLOCKOPS_ROTATE_H
#define BLOCKOPS_ROTATE_H

#include "base/shelf.h"

struct qmpsnap_snapshot;

/* Whose backups are meant. */
struct rotation {
	const char *uuid; /* the guest's; NULL: it has none, and is known by its name */
	const char *name;
	const char *backup_type;
	unsigned keep; /* sets, 1 at least */
	const char *newest_set; /* kept in any case, and counted */
};

/* Those of `records` that are to be deleted, the oldest set first; the caller's.  Counted are sets
 * that this tool has published, that are whole and that belong to no other project; one that misses
 * an image goes when it is older than all that are kept.  Never chosen is an image that is
 * protected, nor any other of its set.  NULL without memory.  Pure. */
struct json_object *rotate_choose(struct json_object *records, const struct rotation *rotation);

/* Whether the snapshot's request is fit for it, before anything is touched.  USAGE. */
bool rotate_check_options(const struct qmpsnap_snapshot *s, struct qmpsnap_error *err);

/* Whether it can be known which images are of the same guest.  REFUSED. */
bool rotate_check_guest(const struct qmpsnap_snapshot *s, struct qmpsnap_error *err);

/* Lists and deletes; `then` follows, later.  What fails is told as warnings. */
void rotate_start(struct qmpsnap_snapshot *s, void (*then)(struct qmpsnap_snapshot *s));

/* No more is deleted, and that is told as a warning with `why`; `then` follows soon.  Before
 * rotate_start() it has that end at once.  The first reason counts. */
void rotate_stop(struct qmpsnap_snapshot *s, const struct qmpsnap_error *why);

#endif
