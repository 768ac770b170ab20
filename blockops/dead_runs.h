/* SPDX-License-Identifier: Apache-2.0
 *
 * dead_runs.h - the journals of runs that were killed: which there are, and which of them a
 * recovery is about.  For recover_journal.c.
 */
#ifndef BLOCKOPS_DEAD_RUNS_H
#define BLOCKOPS_DEAD_RUNS_H

#include "blockops/record.h"
#include "blockops/recover_journal.h"

/* The names of all journals in the folder, in order, to be freed.  NULL with *n 0: none, or no
 * memory, and *err then says so. */
char (*dead_runs_list(int folder, size_t *n, struct qmpsnap_error *err))[NAME_RUN_BYTES];

enum { DEAD_RUN_UNREAD = -2 };

/* 1: `run` and `journal` are a dead run that the options choose; 0: not; DEAD_RUN_UNREAD: the
 * journal can't be read, and *err says why; -1: *err. */
int dead_run_open(const struct journal_recovery *o, int folder, const char *name,
	struct journal *journal, struct taken_run *run, struct qmpsnap_error *err);

/* Warns of a journal that can't be read. */
void dead_run_warn(const struct qmpsnap_error *err);

#endif
