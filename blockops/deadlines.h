/* SPDX-License-Identifier: Apache-2.0
 *
 * deadlines.h - the deadline of a whole run, and the one for its next sign of progress: each ends
 * it as a cancel does, in an undo.
 */
#ifndef BLOCKOPS_DEADLINES_H
#define BLOCKOPS_DEADLINES_H

#include <stdbool.h>
#include <stdint.h>

struct qmpsnap_snapshot;
struct deadline_watch;

struct deadlines {
	uint64_t whole_ms; /* 0: none, as below */
	uint64_t stall_ms;
	uint64_t moved_ns; /* the last sign of progress */
	struct deadline_watch *watch;
};

/* From the start of the run on; also tells the guard that this process goes on.  Nothing without
 * memory. */
void deadlines_begin(struct qmpsnap_snapshot *s);

/* A step began or ended, or a byte went on its way. */
void deadlines_moved(struct qmpsnap_snapshot *s);

void deadlines_end(struct qmpsnap_snapshot *s);

#endif
