/* SPDX-License-Identifier: Apache-2.0
 *
 * delay.h - waiting before something is tried again.
 */
#ifndef UPLOAD_DELAY_H
#define UPLOAD_DELAY_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct delay;

typedef void delay_fn(void *data);

/* Calls `due` in `ms`, once; it is gone by then.  NULL without memory. */
struct delay *delay_start(uv_loop_t *loop, uint64_t ms, delay_fn *due, void *data);

/* It isn't called any more. */
void delay_cancel(struct delay *d);

enum {
	DELAY_MOST_MS = 60 * 1000,
	DELAY_MOST_ASKED_MS = 10 * 60 * 1000, /* when a server asks for it */
};

/* How long to wait after the n-th failure in a row (1: the first): `first_ms`, doubled each time,
 * up to DELAY_MOST_MS, of which a random part of up to a half is left out, so that many clients
 * don't come back at once; but not less than what the server asked for (Retry-After; 0: nothing).
 */
uint64_t delay_after(unsigned n, uint64_t first_ms, uint64_t asked_ms);

/* How long the deletions that undo something are tried again, over all of them that a store has:
 * somebody waits for their end, and what is left can be deleted later. */
struct undo_patience {
	uint64_t until_ms; /* uv_now(); 0: none has failed since the last success */
	uint64_t most_ms; /* 0: DELAY_UNDO_MS */
	bool silent; /* it ran out, and since then there was no answer: no deletion is tried */
};

enum { DELAY_UNDO_MS = 30 * 1000 };

/* After a failure: how much of `ms` is to be waited before another try; 0: there is to be none. */
uint64_t undo_patience_left(struct undo_patience *patience, uv_loop_t *loop, uint64_t ms);

/* After a deletion in the middle of a run: the undo that may follow has its patience whole. */
void undo_patience_renew(struct undo_patience *patience);

#endif
