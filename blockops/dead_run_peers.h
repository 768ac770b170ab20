/* SPDX-License-Identifier: Apache-2.0
 *
 * dead_run_peers.h - whom the undo of a run that was killed talks to: its store, and its guest's
 * monitor and agent, as the run's journal and the options of the recovery name them.  For
 * recover_journal.c.
 */
#ifndef BLOCKOPS_DEAD_RUN_PEERS_H
#define BLOCKOPS_DEAD_RUN_PEERS_H

#include "blockops/record.h"
#include "blockops/recover_journal.h"

/* Opens run->s->store, if unpublished images may be in it.  False: it must not be, or can't; *err,
 * a STORE whatever the reason is, says what may be left. */
bool dead_run_open_store(
	const struct journal_recovery *o, struct taken_run *run, struct qmpsnap_error *err);

/* Locks the run's guest unless the caller has: a live run of another user may be at it. */
bool dead_run_lock(
	const struct journal_recovery *o, struct qmpsnap_snapshot *s, struct qmpsnap_error *err);

/* A connection to the monitor, the caller's; -1 and *err.  Where o->way is taken, it is s->address
 * from then on. */
int dead_run_connect(
	const struct journal_recovery *o, struct qmpsnap_snapshot *s, struct qmpsnap_error *err);

/* Opens s->agent, if file systems may be frozen.  False and *err: they are left so, and the undo
 * knows of no freeze any more. */
bool dead_run_open_agent(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);

#endif
