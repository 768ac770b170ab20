/* SPDX-License-Identifier: Apache-2.0
 *
 * local.h - an image in the making as a file on this host: what the stores dir: and file: have in
 * common.  Nothing stands at the final name before publish(), and a process killed at any instant
 * leaves nothing, a complete image, or what local_discard_left() removes.
 */
#ifndef UPLOAD_LOCAL_H
#define UPLOAD_LOCAL_H

#include "base/store.h"
#include "upload/local_files.h"

#include <uv.h>

/* create() of a store whose ops have the other local_*() below.  `names` is copied. */
struct store_image *local_create(const struct store_ops *ops, uv_loop_t *loop,
	const struct store_image_spec *spec, const struct local_names *names, store_done_fn *done,
	void *data, struct qmpsnap_error *err);

/* check() of such a store.  `names` is copied. */
struct store_check *local_check_start(uv_loop_t *loop, const struct local_names *names,
	const struct store_need *need, store_done_fn *done, void *data, struct qmpsnap_error *err);

/* discard_left() of such a store. */
void local_discard_left(
	uv_loop_t *loop, const struct local_names *names, store_done_fn *done, void *data);

/* As in struct store_ops. */
void local_put(struct store_image *base, struct stream *stream, const struct store_instant *instant,
	store_progress_fn *progress, store_done_fn *done, void *data);
void local_stop(struct store_image *base);
void local_publish(struct store_image *base, store_done_fn *done, void *data);
void local_discard(struct store_image *base, store_done_fn *done, void *data);
void local_close(struct store_image *base);

#endif
