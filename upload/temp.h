/* SPDX-License-Identifier: Apache-2.0
 *
 * temp.h - a file that nobody sees until it is complete: O_TMPFILE and linkat() where the file
 * system can, else a dot-file that is renamed.  Everything here blocks: call it on a pool thread.
 */
#ifndef UPLOAD_TEMP_H
#define UPLOAD_TEMP_H

#include "base/error.h"

#include <limits.h>
#include <sys/types.h>

struct temp {
	int fd; /* -1: none */
	int folder_fd; /* -1: none */
	bool direct; /* opened with O_DIRECT */
	bool named; /* it stands in the folder as `name`, else it is gone with the descriptor */
	char name[NAME_MAX + 1];
};

/* Its value before temp_open(). */
#define TEMP_NONE ((struct temp){.fd = -1, .folder_fd = -1})

/* Opens a new file, mode 0600, in `folder`.  `name`, NAME_MAX bytes at most, is what it is called
 * until it is linked where it can't be nameless.
 * `direct`: with O_DIRECT where the file system has it.  Errors: STORE. */
bool temp_open(struct temp *t, const char *folder, const char *name, bool direct,
	struct qmpsnap_error *err);

/* The same for a file that nobody else has to know: its name until it is linked has what it is for
 * (`what`, the beginning of it) and something random in it, so that none that a killed process has
 * left stands in its way. */
bool temp_open_random(
	struct temp *t, const char *folder, const char *what, struct qmpsnap_error *err);

/* Gives the file its name in the folder.  An existing one is replaced if `replace`, else left
 * alone, which is a STORE error with EEXIST as its detail.  The folder isn't synced. */
bool temp_link(struct temp *t, const char *name, bool replace, struct qmpsnap_error *err);

/* Closes the descriptors, and removes the file unless it was linked.  Any number of times. */
void temp_drop(struct temp *t);

/* unlinkat() to which "not there" is success. */
bool temp_unlink(int folder_fd, const char *name, struct qmpsnap_error *err);

#endif
