/* SPDX-License-Identifier: Apache-2.0
 *
 * job_watch.h - what the job flavour of `stream` needs so that its scratch never stops the guest.
 *
 * Where a guest's write needs its old content copied and the scratch is full, QEMU fails the write,
 * and the guest stops (run state io-error); no option of the job changes that (measured on 5.2,
 * 7.2, 10.0, 11.1).  So a scratch that isn't reserved in full is watched and the snapshot given up
 * while there still is room; and a guest that was stopped by it all the same is continued at once,
 * the job first.  For the same reason its limit isn't QEMU's to keep (scratch_node() in
 * steps_job.c): the watch alone does, for as long as this process or its guard lives.
 */
#ifndef BLOCKOPS_JOB_WATCH_H
#define BLOCKOPS_JOB_WATCH_H

#include "blockops/snapshot.h"

/* From the instant on: a job that ends by itself, a scratch that fills up and a guest that it
 * stops fail the snapshot (VIEW). */
void job_watch_begin(struct qmpsnap_snapshot *s);

/* Ends the watch and all jobs of the run, then continues, once, a guest whose stop our scratch
 * caused: its device's io-status is `nospace`, and our file is full.  Who has a journal instead of
 * the file goes by the job, which must have stood, and by the journal's word that the guest ran.
 * Then calls `ended`, maybe at once.  Idempotent; joins an end that is under way.  s->jobs.err as
 * for jobs_end(); also what hindered the `cont`, and AGENT when the journal doesn't tell whose the
 * stop is. */
void job_watch_end(struct qmpsnap_snapshot *s, snapshot_fn *ended);

#endif
