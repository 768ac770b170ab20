/* SPDX-License-Identifier: Apache-2.0
 *
 * view.h - reads a frozen view: NBD connections (libnbd) to one export of QEMU's NBD server, its
 * extent map, and the image stream made from both.
 */
#ifndef BLOCKOPS_VIEW_H
#define BLOCKOPS_VIEW_H

#include "base/stream.h"
#include "blockops/cluster_map.h"
#include "blockops/layout.h"
#include "blockops/pace.h"

#include <uv.h>

struct view;

typedef void view_done_fn(const struct qmpsnap_error *err /* NULL: well */, void *data);
typedef void view_closed_fn(void *data);

struct view_options {
	const char *export_name;
	const char *disk; /* what messages call it */
	uint64_t expected_size_bytes; /* the export must have just this size */
};

/* Negotiates on `n_fds` (1 or more) connected sockets, which it owns from now on.  `ready` fires
 * once, later.  Errors: VIEW. */
struct view *view_open(uv_loop_t *loop, const int *fds, size_t n_fds,
	const struct view_options *options, view_done_fn *ready, void *data,
	struct qmpsnap_error *err);

/* Reads the whole extent map (base:allocation, the NBD specification's "Metadata querying"), adds
 * it to `map`, an initialized one, and seals it.  An extent counts as empty only when the server
 * says that it reads as zeroes.  `done` fires once, later. */
void view_map(struct view *view, struct cluster_map *map, view_done_fn *done, void *data);

/* From now on reads are checked against the export of the view's scratch, which must be served with
 * its allocation depth (see checked_read.h).  `scratch` must be ready, and outlive the readers. */
void view_check_reads(struct view *view, struct view *scratch);

/* The image's bytes as `layout` lays them out, read from this view.  `ring_blocks` blocks of
 * `block_bytes` a reader, allocated when a reader is opened.  One a view: a second
 * call takes the first one's place, and needs its readers to be closed.  Lives as long as the view;
 * `layout` and `pace` (may be NULL) are borrowed. */
struct stream *view_stream(struct view *view, const struct layout *layout, uint32_t block_bytes,
	unsigned ring_blocks, struct pace *pace);

/* After view_stream(): the readers look at what they have read and tell a block of zeroes as such.
 * For a raw image, whose size doesn't depend on it. */
void view_find_zeroes(struct view *view);

/* Stops reading: pending reads, the map or the opening fail with `why`; readers report it.  The
 * sockets stay open until view_close(), so that QEMU doesn't see its client leave before the export
 * is gone. */
void view_fail(struct view *view, const struct qmpsnap_error *why);

/* Closes the connections and frees the view; readers must have been closed.  `closed` fires
 * later; a `ready` or a map's `done` that is still to come doesn't fire any more. */
void view_close(struct view *view, view_closed_fn *closed, void *data);

#endif
