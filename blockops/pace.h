/* SPDX-License-Identifier: Apache-2.0
 *
 * pace.h - one pace for the readers of all disks: a token bucket.  Rates above 16 GiB/s, which no
 * reader reaches, are no limit.
 */
#ifndef BLOCKOPS_PACE_H
#define BLOCKOPS_PACE_H

#include <stdint.h>

struct pace {
	uint64_t bytes_per_s; /* 0: no limit */
	uint64_t last_ns; /* when the bucket was last filled */
	int64_t credit_bytes;
	uint64_t taken_bytes; /* all that ever passed, also while there was no limit */
};

enum { PACE_WAIT_MS = 1000 };

/* The bucket starts empty.  `now_ns` is uv_hrtime() everywhere. */
void pace_init(struct pace *pace, uint64_t bytes_per_s, uint64_t now_ns);

/* Another rate from now on; who waits finds out by asking again. */
void pace_set_rate(struct pace *pace, uint64_t bytes_per_s, uint64_t now_ns);

/* 0: go ahead, the bytes are taken; else wait that many ms, PACE_WAIT_MS at most, and ask again:
 * the rate may have changed meanwhile.  The bucket holds at
 * most 100 ms of the rate and may be overdrawn by one request, so that small rates move too: from
 * t0 to t1 no more than rate * (t1 - t0 + 0.1 s) and one request pass. */
uint64_t pace_take(struct pace *pace, uint64_t bytes, uint64_t now_ns);

#endif
