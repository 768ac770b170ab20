/* SPDX-License-Identifier: Apache-2.0
 *
 * record.h - what a run says of itself while it goes on, so that another process can undo it: JSON
 * objects with a member `record` that says what it is about.  They go to the guard (guard.h), which
 * also gets descriptors, and into the journal (journal.h), but for what happens while the guest or
 * its file systems stand still: that was told as one intent before.
 */
#ifndef BLOCKOPS_RECORD_H
#define BLOCKOPS_RECORD_H

#include "blockops/snapshot.h"

/* Of the records; it changes when older ones would be misunderstood. */
enum { RECORD_SCHEMA = 1 };

/* ---- Telling (record.c) ---- */

/* All that an undo needs to know, before there is anything to undo: to the guard, with the monitor,
 * the agent and the lock; and into the journal, which the guard is told of: of its folder before it
 * is made, so that no kill leaves it there. */
bool record_run_for_guard(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);
bool record_journal(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);
bool record_run(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);

/* A step is about to begin; false: not in the journal, see above. */
bool record_step(struct qmpsnap_snapshot *s, const struct flow_step *step);

bool record_server(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);
bool record_scratch(struct snapshot_disk *d, struct qmpsnap_error *err);
bool record_connections(
	struct snapshot_disk *d, const int *fds, size_t n_fds, struct qmpsnap_error *err);
/* To the guard alone, right before the `stop`: it will send a `cont` from now on.  Had it been told
 * with the step, a guest that others stopped while our `stop` was never sent would be continued. */
bool record_stopping(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);
/* Right before the freeze, and in the journal, too: what others hold frozen isn't ours to thaw. */
bool record_freezing(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);
/* A `stop` is answered that may have taken long: evidence.h counts from here on. */
void record_held(struct qmpsnap_snapshot *s);
/* No `stop` of ours stands any more: nobody must send `cont`, nor end us for being slow. */
void record_running(struct qmpsnap_snapshot *s);
/* While a thaw is waited for, and as a journal is left: the journal, in which the pause is still
 * one intent with the freeze, hears that no `stop` of ours stands, if none does. */
void record_settled(struct qmpsnap_snapshot *s);
/* The plan has changed: another table is unwound. */
bool record_method(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);
void record_published(struct qmpsnap_snapshot *s);
/* The monitor is given up: the guard must let go of it, and connect by itself should it have to. */
bool record_released(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);
/* The guest's file systems are thawed, or still being thawed. */
void record_thawed(struct qmpsnap_snapshot *s);
void record_thawing(struct qmpsnap_snapshot *s);
/* The guest was reset, which ended its freeze; it may still be held. */
void record_reset(struct qmpsnap_snapshot *s);
/* The guest stands still on purpose, and this process hasn't hung. */
void record_holding(struct qmpsnap_snapshot *s);
/* To the guard alone, now and then: this process goes on. */
void record_alive(struct qmpsnap_snapshot *s);
/* To the guard alone, as we go: all but the freeze is undone. */
bool record_left(struct qmpsnap_snapshot *s);

/* ---- Taking in (record_take.c) ---- */

/* What is known of a run: most of it in `s`. */
struct taken_run {
	struct qmpsnap_snapshot *s; /* the caller's, empty at first */
	char last_step[32]; /* the last one that may have begun; "": none */
	int64_t schema; /* that its first record names; 0: none */
	char began[NAME_TIME_BYTES];
	int64_t held_at_ms; /* by uv_hrtime(): when it was about to hold the guest; 0: unknown */
	pid_t main_pid;
	int monitor_fd, agent_fd; /* -1: none came with it */
	bool is_whole; /* the run itself was told, with all that undoing it takes */
	bool published, farewell;
	bool left, left_alone; /* with a freeze in doubt; and all else is undone */
};

/* Takes one record in.  Descriptors that it brings are the run's from then on.  False for a record
 * that makes no sense. */
bool record_take(struct taken_run *run, struct json_object *record, const int *fds, size_t n_fds);

/* Whether that step of its table may have begun. */
bool taken_reached(const struct taken_run *run, const char *step);

#endif
