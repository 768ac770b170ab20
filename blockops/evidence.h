/* SPDX-License-Identifier: Apache-2.0
 *
 * evidence.h - whether a guest that stands still, and that a journal says its run had stopped, is
 * still stopped by that run.  QEMU doesn't count its stops: since the run was killed somebody may
 * have continued the guest and stopped it for a reason, and whoever listens for QEMU may have
 * started another one on the same socket.  What can be known:
 *
 * - of the run's nodes, jobs and descriptor sets some stand, unless the method is cold, which makes
 *   none: else others have cleaned up since, or it is another QEMU;
 * - a disk that the guest has read or written after the pause was begun (idle_time_ns of
 *   query-blockstats, in QEMU since 2.5) was moved since.
 *
 * A guest that does no I/O while others let it run can't be told from one that never did.
 */
#ifndef BLOCKOPS_EVIDENCE_H
#define BLOCKOPS_EVIDENCE_H

#include "blockops/record.h"

/* `doubt` is NULL, or says why the guest stays as it is: s->stopped, and if need be
 * s->freeze.in_doubt, are false then; where evidence_is_needed() still, QEMU couldn't be asked, and
 * nothing of the run in it may be undone. */
typedef void evidence_fn(const struct qmpsnap_error *doubt, void *data);

/* Whether there is anything to weigh: the run may hold the guest. */
bool evidence_is_needed(const struct qmpsnap_snapshot *s);

/* Asks QEMU over run->s->qmp; `weighed` fires once, later.  False and *err without memory. */
bool evidence_weigh(
	struct taken_run *run, evidence_fn *weighed, void *data, struct qmpsnap_error *err);

/* ---- For evidence_weigh() and its test ---- */

/* Whether a device of this reply to query-blockstats was accessed later than `slack_ms` after a
 * moment that was `elapsed_ms` ago. */
bool evidence_of_access(struct json_object *blockstats, uint64_t elapsed_ms, uint64_t slack_ms);

#endif
