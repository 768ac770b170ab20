/* SPDX-License-Identifier: Apache-2.0
 *
 * A snapshot's speed: the rate in force, the watch over the guest's writes, the jobs told. */
#include "base/log.h"
#include "base/units.h"
#include "blockops/snapshot.h"

#include <stdlib.h>
#include <string.h>

struct speed_sampler {
	uv_timer_t timer;
	struct qmpsnap_snapshot *s;
};

static void apply(struct qmpsnap_snapshot *s, uint64_t bytes_per_s)
{
	if (s->pace.bytes_per_s == bytes_per_s)
		return;
	pace_set_rate(&s->pace, bytes_per_s, uv_hrtime());
	if (s->speed.changed)
		s->speed.changed(s);
}

/* ---- auto ---- */

static void say(struct qmpsnap_snapshot *s, const struct speed_state *state, uint64_t rate)
{
	char text[UNITS_TEXT_BYTES];

	if (rate && !s->speed.slowing) {
		units_format_size(text, rate);
		log_line(QMPSNAP_LOG_INFO,
			"the guest's writes take %.1f times as long as before: slowing down, to "
			"%s/s",
			state->fresh, text);
	} else if (!rate && s->speed.slowing) {
		log_line(QMPSNAP_LOG_INFO, "the guest's writes are as before: full speed again");
	}
	s->speed.slowing = rate != 0;
}

static void decide_speed(struct qmpsnap_snapshot *s, double fresh, double worst)
{
	struct speed *speed = &s->speed;
	const uint64_t now = uv_hrtime(), elapsed = now - speed->decided_ns;
	const double read = (double)(s->pace.taken_bytes - speed->decided_bytes);
	struct speed_state state = {
		.bytes_per_s = s->pace.bytes_per_s,
		.read_bytes_per_s = elapsed ? (uint64_t)(read * 1e9 / (double)elapsed) : 0,
		.fresh = fresh,
		.worst = worst,
	};

	if (state.read_bytes_per_s > speed->fastest_bytes_per_s)
		speed->fastest_bytes_per_s = state.read_bytes_per_s;
	state.fastest_bytes_per_s = speed->fastest_bytes_per_s;
	speed->decided_ns = now;
	speed->decided_bytes = s->pace.taken_bytes;
	if (!speed->is_auto)
		return;
	const uint64_t rate = speed_decide(&state);
	say(s, &state, rate);
	apply(s, rate);
}

static void judge_all(struct qmpsnap_snapshot *s, struct json_object *stats)
{
	double fresh = 0, worst = 0;
	bool any = false;

	for (size_t i = 0; i < s->speed.n_disks; i++) {
		struct speed_disk *disk = &s->speed.disks[i];
		struct speed_sample now;

		if (speed_read_stats(stats, disk, &now) && speed_judge(disk, &now)) {
			any = true;
			fresh = disk->slowdown > fresh ? disk->slowdown : fresh;
		}
		worst = disk->slowdown > worst ? disk->slowdown : worst;
	}
	if (any)
		decide_speed(s, fresh, worst);
}

static void sample_all(struct qmpsnap_snapshot *s, struct json_object *stats, bool fix)
{
	for (size_t i = 0; i < s->speed.n_disks; i++) {
		struct speed_disk *disk = &s->speed.disks[i];
		struct speed_sample now;

		if (!speed_read_stats(stats, disk, &now))
			continue;
		if (fix) {
			speed_fix_baseline(disk, &now);
			continue;
		}
		if (disk->last.writes == 0 && disk->first.writes == 0)
			disk->first = now;
		disk->last = now;
	}
}

/* Replies come in order: one that is here before the instant was asked for before it. */
static void on_stats(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct speed *speed = &s->speed;
	const bool load = s->instant.tv_sec != 0 || speed->n_jobs > 0;

	speed->asked = false;
	if (err || s->flow.unwinding)
		return;
	if (speed->loaded) {
		judge_all(s, result);
		return;
	}
	sample_all(s, result, load);
	speed->loaded = load;
	speed->decided_ns = uv_hrtime();
	speed->decided_bytes = s->pace.taken_bytes;
}

void speed_sample(struct qmpsnap_snapshot *s)
{
	struct speed *speed = &s->speed;

	/* Also with a rate: `auto` may be asked for later, and then needs the baseline. */
	if (!speed->sampler || speed->asked || s->stopped || s->freeze.in_doubt ||
		s->flow.unwinding || !s->qmp || qmp_is_lost(s->qmp) ||
		(speed->loaded && !speed->is_auto))
		return;
	speed->asked = true;
	qmp_execute(s->qmp, "query-blockstats", NULL, on_stats, s);
}

static void on_tick(uv_timer_t *timer)
{
	struct speed_sampler *sampler = timer->data;

	speed_sample(sampler->s);
}

static const struct guest_disk *guest_disk_of(
	const struct guest *guest, const struct snapshot_disk *d)
{
	for (size_t i = 0; i < guest->n_disks; i++) {
		const struct guest_disk *disk = &guest->disks[i];

		if (disk->node && strcmp(disk->node, d->node) == 0)
			return disk;
	}
	return NULL;
}

/* Nobody's success hangs on it: without memory the snapshot goes on without `auto`. */
void speed_watch(struct qmpsnap_snapshot *s)
{
	struct speed *speed = &s->speed;
	struct speed_sampler *sampler = calloc(1, sizeof(*sampler));

	if (!sampler)
		return;
	for (size_t i = 0; i < s->n_disks && i < SPEED_DISKS; i++) {
		const struct guest_disk *disk = guest_disk_of(&s->guest, &s->disks[i]);

		if (disk)
			speed->disks[speed->n_disks++] =
				(struct speed_disk){.qdev = disk->qdev, .drive = disk->drive};
	}
	sampler->s = s;
	speed->sampler = sampler;
	(void)uv_timer_init(s->loop, &sampler->timer);
	sampler->timer.data = sampler;
	(void)uv_timer_start(&sampler->timer, on_tick, SPEED_TICK_MS, SPEED_TICK_MS);
	speed_sample(s);
}

static void on_sampler_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void speed_close(struct qmpsnap_snapshot *s)
{
	struct speed_sampler *sampler = s->speed.sampler;

	s->speed.sampler = NULL;
	if (sampler)
		uv_close((uv_handle_t *)&sampler->timer, on_sampler_closed);
}

/* ---- What was asked for ---- */

void speed_set(struct qmpsnap_snapshot *s, uint64_t bytes_per_s)
{
	s->speed.is_auto = bytes_per_s == 0;
	s->speed.slowing = false;
	s->speed.decided_ns = uv_hrtime();
	s->speed.decided_bytes = s->pace.taken_bytes;
	apply(s, bytes_per_s >= SPEED_NO_LIMIT ? 0 : bytes_per_s);
}

void qmpsnap_snapshot_set_speed(struct qmpsnap_snapshot *snapshot, uint64_t bytes_per_s)
{
	speed_set(snapshot, bytes_per_s);
	if (bytes_per_s == 0 && snapshot->released)
		log_line(QMPSNAP_LOG_WARNING,
			"the monitor is released: --speed auto can't see the guest's writes");
}

/* ---- Jobs ---- */

void speed_jobs(
	struct qmpsnap_snapshot *s, unsigned n_jobs, void (*changed)(struct qmpsnap_snapshot *s))
{
	s->speed.n_jobs = n_jobs;
	s->speed.changed = changed;
}

uint64_t speed_of_job(const struct qmpsnap_snapshot *s)
{
	const uint64_t rate = s->pace.bytes_per_s;
	const unsigned n_jobs = s->speed.n_jobs ? s->speed.n_jobs : 1;

	return rate && rate < n_jobs ? 1 : rate / n_jobs;
}

void speed_copied(struct qmpsnap_snapshot *s, uint64_t bytes)
{
	s->pace.taken_bytes += bytes;
}
