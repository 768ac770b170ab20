/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/pace.h"

#define NS_PER_S        UINT64_C(1000000000)
#define NS_PER_MS       UINT64_C(1000000)
#define MAX_BYTES_PER_S (UINT64_C(16) << 30) /* times NS_PER_S still fits 64 bits */

void pace_init(struct pace *pace, uint64_t bytes_per_s, uint64_t now_ns)
{
	*pace = (struct pace){0};
	pace_set_rate(pace, bytes_per_s, now_ns);
}

/* The bucket begins empty; a debt made at another rate is forgiven. */
void pace_set_rate(struct pace *pace, uint64_t bytes_per_s, uint64_t now_ns)
{
	pace->bytes_per_s = bytes_per_s > MAX_BYTES_PER_S ? 0 : bytes_per_s;
	pace->last_ns = now_ns;
	pace->credit_bytes = 0;
}

static void refill(struct pace *pace, uint64_t now_ns)
{
	if (now_ns <= pace->last_ns)
		return;

	const uint64_t rate = pace->bytes_per_s;
	const uint64_t missing = rate / 10 - (uint64_t)pace->credit_bytes; /* of 100 ms */
	const uint64_t elapsed = now_ns - pace->last_ns;
	uint64_t gained = missing, left_over_ns = 0;
	/* What is longer than it takes to fill the bucket must not overflow the products. */
	if (elapsed / NS_PER_S <= missing / rate) {
		const uint64_t fraction = elapsed % NS_PER_S * rate;
		gained = elapsed / NS_PER_S * rate + fraction / NS_PER_S;
		/* Time that was too short for another byte counts the next time. */
		left_over_ns = fraction % NS_PER_S / rate;
	}
	if (gained >= missing) {
		gained = missing;
		left_over_ns = 0;
	}
	pace->credit_bytes += (int64_t)gained;
	pace->last_ns = now_ns - left_over_ns;
}

uint64_t pace_take(struct pace *pace, uint64_t bytes, uint64_t now_ns)
{
	if (pace->bytes_per_s == 0) {
		pace->taken_bytes += bytes;
		return 0;
	}
	refill(pace, now_ns);
	if (pace->credit_bytes >= 0) {
		pace->credit_bytes -= (int64_t)bytes;
		pace->taken_bytes += bytes;
		return 0;
	}

	const uint64_t rate = pace->bytes_per_s;
	const uint64_t debt = (uint64_t)-pace->credit_bytes;
	const uint64_t debt_ns =
		debt / rate * NS_PER_S + (debt % rate * NS_PER_S + rate - 1) / rate;
	const uint64_t wait_ms = (debt_ns - (now_ns - pace->last_ns) + NS_PER_MS - 1) / NS_PER_MS;
	return wait_ms < PACE_WAIT_MS ? wait_ms : PACE_WAIT_MS;
}
