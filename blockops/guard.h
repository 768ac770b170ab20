/* SPDX-License-Identifier: Apache-2.0
 *
 * guard.h - the guard: a small process that outlives the main one for as long as it takes to undo
 * what a SIGKILL left in the guest.
 *
 * It is started before anything is touched, holds duplicates of the monitor connection and of the
 * NBD connections, and is told each step before it begins.  When its end of the control socket
 * reads end-of-file without a farewell, it takes over the monitor and unwinds the same table.  It
 * also ends a main process that has paused the guest and says nothing for SNAPSHOT_PAUSE_MS, or has
 * frozen it and says nothing for its freeze's deadline and SNAPSHOT_FREEZE_MARGIN_MS, or has a
 * scratch to watch (job_watch.h) and says nothing for SNAPSHOT_UNWATCHED_MS.
 */
#ifndef BLOCKOPS_GUARD_H
#define BLOCKOPS_GUARD_H

#include "base/error.h"
#include "base/json.h"

#include <uv.h>

struct guard;

/* The guard listens, or `err` says why it doesn't. */
typedef void guard_ready_fn(const struct qmpsnap_error *err, void *data);
/* It died although nobody told it to; `err` says how. */
typedef void guard_lost_fn(const struct qmpsnap_error *err, void *data);
typedef void guard_closed_fn(void *data);

/* Starts the executable `path` (NULL: what guard_find() finds) with posix_spawn in a
 * session of its own.  `ready` fires once, later.  NULL and *err (REFUSED: it can't be started). */
struct guard *guard_start(uv_loop_t *loop, const char *path, guard_ready_fn *ready,
	guard_lost_fn *lost, void *data, struct qmpsnap_error *err);

/* Sends a record, taken in any case, and up to GUARD_MAX_FDS descriptors, duplicated by the kernel.
 * What was sent reaches the guard also when this process dies right after. */
bool guard_tell(struct guard *guard, struct json_object *record, const int *fds, size_t n_fds,
	struct qmpsnap_error *err);

/* Bids it farewell, waits until it is gone (and with it its hold on the connections) and frees.
 * `closed` fires later. */
void guard_end(struct guard *guard, guard_closed_fn *closed, void *data);

/* Leaves it behind with what is still to be undone: doesn't wait for its end.  `closed` fires
 * later. */
void guard_leave(struct guard *guard, guard_closed_fn *closed, void *data);

enum { GUARD_MAX_FDS = 128, GUARD_RECORD_BYTES = 128 * 1024 };

/* Receives one record on a control socket; used by both ends.  1 with *record owned by the caller
 * and *n_fds descriptors; 0 at the end of file, -1 and errno otherwise. */
int guard_receive(int fd, struct json_object **record, int fds[GUARD_MAX_FDS], size_t *n_fds);

#endif
