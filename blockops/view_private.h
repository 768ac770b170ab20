/* SPDX-License-Identifier: Apache-2.0
 *
 * view_private.h - what the files of the view share: view.c (connections, requests, failure),
 * view_map.c (the extent map) and reader.c (the image stream).
 */
#ifndef BLOCKOPS_VIEW_PRIVATE_H
#define BLOCKOPS_VIEW_PRIVATE_H

#include "blockops/nbd.h"
#include "blockops/reader.h"
#include "blockops/view.h"

enum { VIEW_MAP_REQUESTS = 8, VIEW_PROBE_BYTES = 512 };

/* Somebody to be told, from within view_fail(), that the view has failed. */
struct view_watcher {
	struct view_watcher *next, *prev;
	void (*failed)(struct view_watcher *watcher);
};

struct view_mapping {
	struct cluster_map *map;
	view_done_fn *done; /* NULL: none runs */
	void *data;
	uint64_t next; /* what was not asked yet */
	unsigned in_flight;
	struct nbd_request requests[VIEW_MAP_REQUESTS];
};

/* A scratch's part in checked_read.h. */
struct view_check {
	struct view *view; /* whose reads are checked; NULL: none, or it is gone */
	unsigned reading; /* its requests under way, or queued */
	struct checked_read *unasked, **unasked_tail; /* read, and not asked about */
	unsigned n_unasked;
	struct checked_read *asked;
	struct nbd_request question;
	bool asking; /* the question is under way */
};

struct view {
	uv_loop_t *loop;
	uv_idle_t turn; /* for what must not be told from within a call */
	char *export_name, *disk;
	uint64_t size_bytes;
	struct nbd_link *links;
	size_t n_links, n_opened, n_closed;
	uint32_t max_read_bytes;
	struct view *scratch; /* what wide reads are checked against; NULL: they aren't */
	struct view_check check; /* used where this is a scratch */
	struct qmpsnap_error err; /* code OK: none */
	view_done_fn *ready; /* NULL: was told */
	void *ready_data;
	struct nbd_request *waiting, **waiting_tail; /* for a connection with room, in order */
	struct view_mapping mapping;
	struct nbd_request probe;
	uint8_t probe_bytes[VIEW_PROBE_BYTES];
	bool probing;
	struct view_watcher watchers; /* a ring */
	struct image_stream stream;
	bool closing;
	view_closed_fn *closed;
	void *closed_data;
};

static inline bool view_failed(const struct view *view)
{
	return view->err.code != QMPSNAP_OK;
}

/* Sends a request on the least loaded connection, or queues it until one has room.  Its `done`
 * is called later, in any case; when errnum isn't 0 the view has failed and view->err says why. */
void view_submit(struct view *view, struct nbd_request *request);

/* Takes the queued requests of `owner` back; their `done` isn't called.  Returns how many. */
unsigned view_withdraw(struct view *view, const void *owner);

/* Reads a little of it, unless that is under way: QEMU tells of a view that it gave up only by
 * failing the reads from it.  Such a view fails then. */
void view_probe(struct view *view);

void view_watch(struct view *view, struct view_watcher *watcher);
void view_unwatch(struct view_watcher *watcher);

/* Has the loop call view_mapping_turn(), and tell a failure, soon. */
void view_turn_later(struct view *view);

/* Does what is left of view_map() on a turn of the loop. */
void view_mapping_turn(struct view *view);

#endif
