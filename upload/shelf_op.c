/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/shelf_op.h"

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/units.h"
#include "upload/answer.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

void *shelf_op_new(size_t size, struct qmpsnap_store *store, uv_loop_t *loop, void *data,
	struct qmpsnap_error *err)
{
	struct shelf_op *op = calloc(1, size);

	if (!op) {
		error_no_memory(err);
		return NULL;
	}
	op->base.ops = store->ops->shelf;
	op->loop = loop;
	op->data = data;
	return op;
}

/* ---- Lists -------------------------------------------------------------------------------- */

bool shelf_op_list(struct shelf_op *op, shelf_listed_fn *done, struct qmpsnap_error *err)
{
	op->listed = done;
	op->most_images = SHELF_MOST_IMAGES;
	op->records = json_object_new_array();
	if (op->records)
		return true;
	free(op);
	return error_no_memory(err);
}

bool shelf_op_has_room(const struct shelf_op *op, struct qmpsnap_error *err)
{
	return json_length(op->records) <= op->most_images ||
	       error_set(err, QMPSNAP_STORE, "%s: there are more than %zu images", op->doing,
		       op->most_images);
}

void shelf_op_listed(struct shelf_op *op, const struct qmpsnap_error *err)
{
	op->listed(err, err ? NULL : op->records, op->data);
	(void)json_object_put(op->records);
	free(op);
}

/* ---- Bytes -------------------------------------------------------------------------------- */

void shelf_op_end(struct shelf_op *op, const struct qmpsnap_error *err)
{
	op->done(err, op->data);
	free(op);
}

static bool take(struct shelf_sink *sink, const void *bytes, size_t len)
{
	struct shelf_op *op = (struct shelf_op *)((char *)sink - offsetof(struct shelf_op, sink));

	if (!op->to->take(op->to, bytes, len))
		return false;
	op->taken_bytes += len;
	return true;
}

void shelf_op_fetch(struct shelf_op *op, struct shelf_sink *to, store_done_fn *done)
{
	op->done = done;
	op->sink.take = take;
	op->to = to;
}

const char *shelf_op_range(struct shelf_op *op, long *expect)
{
	*expect = op->taken_bytes == 0 ? 200 : 206;
	if (op->taken_bytes == 0)
		return NULL;
	(void)snprintf(op->range, sizeof(op->range), "Range: bytes=%" PRIu64 "-", op->taken_bytes);
	return op->range;
}

static void on_delay(void *data)
{
	struct shelf_op *op = data;

	op->delay = NULL;
	op->then(op);
}

void shelf_op_fetched(struct shelf_op *op, const struct qmpsnap_error *err,
	const struct shelf_patience *patience, delay_fn *again)
{
	char wait[UNITS_TEXT_BYTES];

	if (!err || op->stopped || !answer_is_passing(err) || ++op->failures >= patience->tries ||
		(answer_unreached(err) && !patience->reached)) {
		shelf_op_end(op, err);
		return;
	}
	const uint64_t ms = delay_after(op->failures, patience->wait_ms, patience->retry_after_ms);
	units_format_duration(wait, ms);
	log_line(QMPSNAP_LOG_WARNING, "%s; going on at byte %" PRIu64 " in %s", err->message,
		op->taken_bytes, wait);
	op->then = again;
	op->delay = delay_start(op->loop, ms, on_delay, op);
	if (!op->delay)
		shelf_op_end(op, err);
}

static void stopped(void *data)
{
	struct shelf_op *op = data;
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_STORE, "%s was stopped", op->doing);
	shelf_op_end(op, &err);
}

bool shelf_op_stop(struct shelf_op *op)
{
	if (op->stopped)
		return false;
	op->stopped = true;
	if (!op->delay)
		return true;
	delay_cancel(op->delay);
	op->delay = delay_start(op->loop, 0, stopped, op);
	if (!op->delay)
		stopped(op);
	return false;
}
