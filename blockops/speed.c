/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/speed.h"

#include <string.h>

#define SLOW   2.0 /* times the baseline */
#define UNEASY 1.5

/* ---- One disk ---- */

static bool is_of(struct json_object *entry, const struct speed_disk *disk)
{
	const char *qdev = json_string(entry, "qdev");
	const char *drive = json_string(entry, "device");

	if (disk->qdev && disk->qdev[0])
		return qdev && strcmp(qdev, disk->qdev) == 0;
	return disk->drive && disk->drive[0] && drive && strcmp(drive, disk->drive) == 0;
}

bool speed_read_stats(
	struct json_object *reply, const struct speed_disk *disk, struct speed_sample *sample)
{
	for (size_t i = 0; i < json_length(reply); i++) {
		struct json_object *entry = json_object_array_get_idx(reply, i);
		struct json_object *stats = json_member(entry, "stats", json_type_object);
		const int64_t writes = json_int(stats, "wr_operations", -1);
		const int64_t write_ns = json_int(stats, "wr_total_time_ns", -1);

		if (!is_of(entry, disk))
			continue;
		*sample = (struct speed_sample){(uint64_t)writes, (uint64_t)write_ns};
		return writes >= 0 && write_ns >= 0;
	}
	return false;
}

/* The mean time of the writes between the two; 0 when they are fewer than `least`, or when the
 * counters went back, as they do when a device is plugged anew. */
static uint64_t mean_ns(
	const struct speed_sample *from, const struct speed_sample *to, uint64_t least)
{
	if (to->writes < from->writes + least || to->writes == from->writes ||
		to->write_ns < from->write_ns)
		return 0;
	return (to->write_ns - from->write_ns) / (to->writes - from->writes);
}

void speed_fix_baseline(struct speed_disk *disk, const struct speed_sample *now)
{
	const struct speed_sample zero = {0, 0};

	disk->baseline_ns = mean_ns(&disk->first, &disk->last, SPEED_BASELINE_WRITES);
	if (disk->baseline_ns == 0)
		disk->baseline_ns = mean_ns(&zero, &disk->last, SPEED_BASELINE_WRITES);
	disk->window = *now;
	disk->ticks = 0;
	disk->slowdown = 0;
}

bool speed_judge(struct speed_disk *disk, const struct speed_sample *now)
{
	const uint64_t writes =
		now->writes > disk->window.writes ? now->writes - disk->window.writes : 0;

	if (disk->baseline_ns == 0)
		return false;
	/* Few writes are either a guest that has little to write or one that is held up. */
	if (++disk->ticks < SPEED_IDLE_TICKS && writes < SPEED_LEAST_WRITES)
		return false;
	disk->slowdown = (double)mean_ns(&disk->window, now, 1) / (double)disk->baseline_ns;
	disk->window = *now;
	disk->ticks = 0;
	return true;
}

/* ---- The decision ---- */

static uint64_t halved(const struct speed_state *state)
{
	uint64_t rate = state->read_bytes_per_s;
	uint64_t floor = state->fastest_bytes_per_s / SPEED_FLOOR_PART;

	/* What isn't read can't be what slows the guest down. */
	if (rate == 0)
		return state->bytes_per_s;
	if (state->bytes_per_s && state->bytes_per_s < rate)
		rate = state->bytes_per_s;
	if (floor < SPEED_FLOOR_BYTES_PER_S)
		floor = SPEED_FLOOR_BYTES_PER_S;
	return rate / 2 > floor ? rate / 2 : floor;
}

uint64_t speed_decide(const struct speed_state *state)
{
	uint64_t rate = state->bytes_per_s;

	if (state->fresh > SLOW)
		return halved(state);
	if (rate == 0 || state->worst > SLOW)
		return rate;
	rate += state->worst > UNEASY ? rate / 10 : rate / 2;
	return rate < SPEED_NO_LIMIT ? rate : 0;
}
