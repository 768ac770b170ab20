/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/delay.h"

#include <stdlib.h>
#include <sys/random.h>

struct delay {
	uv_timer_t timer;
	delay_fn *due;
	void *data;
};

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void on_timer(uv_timer_t *timer)
{
	const struct delay d = *(const struct delay *)timer->data;

	uv_close((uv_handle_t *)timer, on_closed);
	d.due(d.data);
}

struct delay *delay_start(uv_loop_t *loop, uint64_t ms, delay_fn *due, void *data)
{
	struct delay *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->due = due;
	d->data = data;
	d->timer.data = d;
	uv_update_time(loop);
	/* Neither can fail. */
	(void)uv_timer_init(loop, &d->timer);
	(void)uv_timer_start(&d->timer, on_timer, ms, 0);
	return d;
}

void delay_cancel(struct delay *d)
{
	(void)uv_timer_stop(&d->timer);
	uv_close((uv_handle_t *)&d->timer, on_closed);
}

uint64_t delay_after(unsigned n, uint64_t first_ms, uint64_t asked_ms)
{
	uint64_t ms = first_ms;
	uint16_t chance = 0;

	while (--n > 0 && ms < DELAY_MOST_MS)
		ms *= 2;
	if (ms > DELAY_MOST_MS)
		ms = DELAY_MOST_MS;
	/* Without it all come at once, which is no reason to fail. */
	if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) != (ssize_t)sizeof(chance))
		chance = 0;
	ms -= ms / 2 * chance / UINT16_MAX;
	if (asked_ms > DELAY_MOST_ASKED_MS)
		asked_ms = DELAY_MOST_ASKED_MS;
	return ms > asked_ms ? ms : asked_ms;
}

uint64_t undo_patience_left(struct undo_patience *patience, uv_loop_t *loop, uint64_t ms)
{
	uv_update_time(loop);
	const uint64_t now = uv_now(loop);

	if (patience->until_ms == 0)
		patience->until_ms = now + (patience->most_ms ? patience->most_ms : DELAY_UNDO_MS);
	if (now >= patience->until_ms)
		return 0;
	return ms < patience->until_ms - now ? ms : patience->until_ms - now;
}

void undo_patience_renew(struct undo_patience *patience)
{
	patience->until_ms = 0;
	patience->silent = false;
}
