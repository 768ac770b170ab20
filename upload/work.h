/* SPDX-License-Identifier: Apache-2.0
 *
 * work.h - one piece of blocking work on libuv's thread pool, or nothing but a later turn of the
 * loop.
 */
#ifndef UPLOAD_WORK_H
#define UPLOAD_WORK_H

#include "base/error.h"

#include <uv.h>

/* On a pool thread; leaves *err alone when all went well. */
typedef void work_fn(void *self, struct qmpsnap_error *err);

/* On the loop; `err` is NULL when all went well.  May free `self` and the struct work in it. */
typedef void work_done_fn(const struct qmpsnap_error *err, void *self);

struct work {
	uv_work_t request;
	work_fn *run;
	work_done_fn *done;
	void *self;
	struct qmpsnap_error err;
};

/* Runs `run` (NULL: nothing), then calls `done`, once and later. */
void work_start(struct work *w, uv_loop_t *loop, work_fn *run, work_done_fn *done, void *self);

/* Calls `done` later, with a copy of `err` (NULL: well). */
void work_report(struct work *w, uv_loop_t *loop, const struct qmpsnap_error *err,
	work_done_fn *done, void *self);

#endif
