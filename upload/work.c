/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/work.h"

static void on_pool(uv_work_t *request)
{
	struct work *w = request->data;

	if (w->run)
		w->run(w->self, &w->err);
}

static void on_loop(uv_work_t *request, int status)
{
	const struct work *w = request->data;
	const struct qmpsnap_error err = w->err;

	(void)status; /* nothing here is ever uv_cancel()ed */
	w->done(err.code == QMPSNAP_OK ? NULL : &err, w->self);
}

static void queue(struct work *w, uv_loop_t *loop)
{
	w->request.data = w;
	/* Fails only for want of a function. */
	(void)uv_queue_work(loop, &w->request, on_pool, on_loop);
}

void work_start(struct work *w, uv_loop_t *loop, work_fn *run, work_done_fn *done, void *self)
{
	*w = (struct work){.run = run, .done = done, .self = self};
	queue(w, loop);
}

void work_report(struct work *w, uv_loop_t *loop, const struct qmpsnap_error *err,
	work_done_fn *done, void *self)
{
	*w = (struct work){.done = done, .self = self};
	if (err)
		w->err = *err;
	queue(w, loop);
}
