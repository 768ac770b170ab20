/* SPDX-License-Identifier: Apache-2.0
 *
 * speed.h - how fast a snapshot may read or copy, over all disks: a rate that the user gave, or
 * `auto`, which watches how long the guest's writes take and makes way for them.
 *
 * query-blockstats counts a device's writes and the time they took (wr_operations,
 * wr_total_time_ns; QEMU's QMP reference, BlockDeviceStats).  Their mean from the plan to the
 * instant, or since QEMU's start where the guest wrote little meanwhile, is the baseline of a
 * disk.  While some disk's writes take more than twice their baseline the rate is halved; when none
 * do it grows until it is no limit.  It never falls below a floor, and what the guest doesn't
 * write can't slow anything down.
 */
#ifndef BLOCKOPS_SPEED_H
#define BLOCKOPS_SPEED_H

#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SPEED_TICK_MS = 250, /* one query-blockstats each */
	SPEED_IDLE_TICKS = 4, /* of few writes, after which they are judged all the same */
	SPEED_LEAST_WRITES = 16, /* for a verdict before that */
	SPEED_BASELINE_WRITES = 16,
	SPEED_FLOOR_PART = 32, /* of the fastest rate seen */
	SPEED_DISKS = 64,
};

#define SPEED_FLOOR_BYTES_PER_S (UINT64_C(4) << 20)
#define SPEED_NO_LIMIT          (UINT64_C(16) << 30) /* what grows past it becomes 0 */

/* ---- The verdict on one disk ---- */

/* Totals since QEMU's start. */
struct speed_sample {
	uint64_t writes, write_ns;
};

struct speed_disk {
	const char *qdev, *drive; /* as query-block has it; borrowed */
	struct speed_sample first, last; /* before the load began */
	uint64_t baseline_ns; /* of a write; 0: unknown, then the disk isn't judged */
	struct speed_sample window; /* where the current window began */
	unsigned ticks; /* of it */
	double slowdown; /* the last window's write latency over the baseline; 0: no write */
};

/* The counters of the device in query-blockstats' reply; false when they aren't there. */
bool speed_read_stats(
	struct json_object *reply, const struct speed_disk *disk, struct speed_sample *sample);

/* Fixes the baseline from `first` and `last`, and begins the first window at `now`. */
void speed_fix_baseline(struct speed_disk *disk, const struct speed_sample *now);

/* Takes a sample; whether it ended a window and `slowdown` is new. */
bool speed_judge(struct speed_disk *disk, const struct speed_sample *now);

/* ---- The decision ---- */

struct speed_state {
	uint64_t bytes_per_s; /* the rate now; 0: no limit */
	uint64_t read_bytes_per_s; /* what was read since the last decision */
	uint64_t fastest_bytes_per_s; /* the most that was read in any such time */
	double fresh; /* the worst slowdown among the verdicts that are new */
	double worst; /* and among all */
};

/* The new rate; 0: no limit. */
uint64_t speed_decide(const struct speed_state *state);

/* ---- A snapshot's speed (speed_control.c) ---- */

struct qmpsnap_snapshot;
struct speed_sampler;

struct speed {
	bool is_auto;
	bool loaded; /* the disks are being read: the baselines are fixed */
	bool asked; /* a query-blockstats is under way */
	bool slowing; /* said so */
	struct speed_sampler *sampler;
	struct speed_disk disks[SPEED_DISKS];
	size_t n_disks;
	uint64_t decided_ns, decided_bytes; /* when, and what had been read until then */
	uint64_t fastest_bytes_per_s;
	unsigned n_jobs;
	void (*changed)(struct qmpsnap_snapshot *s);
};

/* Sets what was asked for; 0: auto. */
void speed_set(struct qmpsnap_snapshot *s, uint64_t bytes_per_s);

/* Begins to watch the disks of a snapshot whose plan is made; needs no waiting for. */
void speed_watch(struct qmpsnap_snapshot *s);

/* Takes a sample now, unless the guest stands still for us; for the steps up to the instant, so
 * that the baseline ends right before it. */
void speed_sample(struct qmpsnap_snapshot *s);

/* Ends the watching; idempotent. */
void speed_close(struct qmpsnap_snapshot *s);

/* For copies made by jobs in QEMU.  From now on `n_jobs` share the rate, and `changed` is called
 * whenever block-job-set-speed has to tell them speed_of_job() anew; not from within this call.
 * Called again when fewer are left; with 0 and NULL when none is, also by an undo. */
void speed_jobs(
	struct qmpsnap_snapshot *s, unsigned n_jobs, void (*changed)(struct qmpsnap_snapshot *s));

/* What block-job-set-speed and a job's `speed` take: bytes a second, 0 for no limit. */
uint64_t speed_of_job(const struct qmpsnap_snapshot *s);

/* The jobs have copied that much more, all together; without being told, auto can't slow them. */
void speed_copied(struct qmpsnap_snapshot *s, uint64_t bytes);

#endif
