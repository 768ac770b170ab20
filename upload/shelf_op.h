/* SPDX-License-Identifier: Apache-2.0
 *
 * shelf_op.h - what the operations on images in the stores of services share (struct shelf_ops):
 * their ends, and fetching that goes on where it broke off, as an image's bytes never change.
 */
#ifndef UPLOAD_SHELF_OP_H
#define UPLOAD_SHELF_OP_H

#include "base/shelf.h"
#include "upload/delay.h"

#include <uv.h>

enum { SHELF_MOST_IMAGES = 100 * 1000 };

/* Embedded first in a struct of each store's own. */
struct shelf_op {
	struct shelf_call base;
	uv_loop_t *loop;
	char doing[512]; /* "downloading s3://..."; for messages */
	bool stopped;
	void *data;

	/* list */
	shelf_listed_fn *listed;
	struct json_object *records;
	size_t most_images; /* SHELF_MOST_IMAGES */

	/* fetch, check, remove */
	store_done_fn *done;
	struct shelf_sink sink; /* stands before the caller's, and counts */
	struct shelf_sink *to;
	uint64_t taken_bytes;
	unsigned failures;
	char range[64];
	struct delay *delay; /* NULL: a request is under way instead */
	delay_fn *then;
};

/* What a store has tried already, and how patient it is. */
struct shelf_patience {
	unsigned tries;
	uint64_t wait_ms; /* see delay_after() */
	bool reached; /* it has answered before */
	uint64_t retry_after_ms; /* what its last answer asked for */
};

/* One of `size` bytes; NULL and *err without memory. */
void *shelf_op_new(size_t size, struct qmpsnap_store *store, uv_loop_t *loop, void *data,
	struct qmpsnap_error *err);

/* Makes it one that lists, with no records yet; false and *err, and it is freed. */
bool shelf_op_list(struct shelf_op *op, shelf_listed_fn *done, struct qmpsnap_error *err);

/* Whether it may take more of them in.  False and *err: there are too many, and a list that is cut
 * off would pass for all there is. */
bool shelf_op_has_room(const struct shelf_op *op, struct qmpsnap_error *err);

/* Reports the records, or `err`, and frees it. */
void shelf_op_listed(struct shelf_op *op, const struct qmpsnap_error *err);

/* Reports and frees any other. */
void shelf_op_end(struct shelf_op *op, const struct qmpsnap_error *err);

/* Makes it one that fetches into `to`, by op->sink. */
void shelf_op_fetch(struct shelf_op *op, struct shelf_sink *to, store_done_fn *done);

/* The header that asks for the bytes which aren't taken yet, and the answer to it; NULL: all. */
const char *shelf_op_range(struct shelf_op *op, long *expect);

/* A fetch has ended: when `err` may pass, `again` is called with the operation later; else it is
 * reported, and the operation freed. */
void shelf_op_fetched(struct shelf_op *op, const struct qmpsnap_error *err,
	const struct shelf_patience *patience, delay_fn *again);

/* Whether there is a request to be cancelled; else it ends by itself, soon. */
bool shelf_op_stop(struct shelf_op *op);

#endif
