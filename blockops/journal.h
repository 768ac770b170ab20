/* SPDX-License-Identifier: Apache-2.0
 *
 * journal.h - one file a run, STATE/journal/RUN, in which a run says what it is about to do: JSON
 * lines, the records of record.h.  When both the run and its guard were killed, `recover` undoes
 * the run from its journal alone.  No secrets: a store is named without the query of its URL.
 *
 * Whoever may still undo the run holds an flock(2) on the file: the run, and its guard through a
 * duplicate.  So a journal that can be locked is a dead run's.
 */
#ifndef BLOCKOPS_JOURNAL_H
#define BLOCKOPS_JOURNAL_H

#include "base/error.h"
#include "base/json.h"
#include "base/names.h"

#include <sys/types.h>

struct journal {
	int folder, fd; /* -1: none */
	char run[NAME_RUN_BYTES];
	off_t length_bytes; /* of whole lines, as it was read or written here last */
};

enum { JOURNAL_MAX_BYTES = 4 * 1024 * 1024 };

#define JOURNAL_NONE ((struct journal){.folder = -1, .fd = -1})

/* Opens the folder, makes it where it is missing; `state` as in base/state.h.  False: *err
 * (REFUSED). */
bool journal_open(
	struct journal *journal, const char *state, const char *run, struct qmpsnap_error *err);

/* Makes the file in it, 0600, and locks it.  False: *err (REFUSED). */
bool journal_create(struct journal *journal, struct qmpsnap_error *err);

/* Appends a line; `record` stays the caller's.  It is the kernel's then, so this process may be
 * killed; the host may crash once journal_sync() has ended.  False: *err (VIEW: the disk is full;
 * else INTERNAL), and the file is as it was. */
bool journal_write(struct journal *journal, struct json_object *record, struct qmpsnap_error *err);

/* fdatasync(2): blocks, so it is for another thread.  0 or an errno. */
int journal_sync(const struct journal *journal);

/* Removes the file, if there is one: nothing is left to be undone.  Frees nothing but the
 * descriptors, as journal_close(), which leaves it; both are fine without one. */
void journal_remove(struct journal *journal);
void journal_close(struct journal *journal);

/* Opens and locks the journal of a dead run in `folder`; with `only_look` others may look too.  1;
 * 0: the run, or its guard, lives, or the file is gone; -1: *err. */
int journal_open_dead(struct journal *journal, int folder, const char *run, bool only_look,
	struct qmpsnap_error *err);

/* Takes a record in; false: it makes no sense. */
typedef bool journal_record_fn(struct json_object *record, void *data);

/* Reads all whole lines; what a crash left of a last one doesn't count.  False and *err
 * (INTERNAL): a line isn't a record, after those before it were taken. */
bool journal_read(const struct journal *journal, journal_record_fn *take, void *data,
	struct qmpsnap_error *err);

#endif
