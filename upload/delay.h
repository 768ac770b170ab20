/* SPDX-License-Identifier: Apache-2.0
 *
 * delay.h - waiting before something is tried again.
 */
#ifndef UPLOAD_DELAY_H
#define UPLOAD_DELAY_H

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

#endif
