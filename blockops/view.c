/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/checked_read.h"
#include "blockops/view_private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_turn(uv_idle_t *handle);

void view_turn_later(struct view *view)
{
	if (!view->closing)
		(void)uv_idle_start(&view->turn, on_turn);
}

static void tell_ready(struct view *view, const struct qmpsnap_error *err)
{
	view_done_fn *ready = view->ready;

	view->ready = NULL;
	if (ready)
		ready(err, view->ready_data);
}

static struct nbd_request *next_waiting(struct view *view)
{
	struct nbd_request *request = view->waiting;

	view->waiting = request->next;
	if (!view->waiting)
		view->waiting_tail = &view->waiting;
	return request;
}

static struct nbd_link *least_loaded(struct view *view)
{
	struct nbd_link *best = NULL;

	for (size_t i = 0; i < view->n_links; i++) {
		struct nbd_link *link = &view->links[i];

		if (nbd_link_has_room(link) && (!best || link->in_flight < best->in_flight))
			best = link;
	}
	return best;
}

static void dispatch(struct view *view)
{
	struct nbd_link *link;

	while (view->waiting && !view_failed(view) && (link = least_loaded(view)))
		nbd_link_submit(link, next_waiting(view));
}

void view_submit(struct view *view, struct nbd_request *request)
{
	request->next = NULL;
	*view->waiting_tail = request;
	view->waiting_tail = &request->next;
	if (view_failed(view))
		view_turn_later(view);
	else
		dispatch(view);
}

unsigned view_withdraw(struct view *view, const void *owner)
{
	struct nbd_request **at = &view->waiting;
	unsigned n = 0;

	while (*at) {
		if ((*at)->owner == owner) {
			*at = (*at)->next;
			n++;
		} else {
			at = &(*at)->next;
		}
	}
	view->waiting_tail = at;
	return n;
}

static void on_probed(struct nbd_request *probe)
{
	struct view *view = probe->owner;

	view->probing = false;
}

void view_probe(struct view *view)
{
	if (view->probing || view_failed(view) || view->size_bytes < VIEW_PROBE_BYTES)
		return;
	view->probing = true;
	view->probe = (struct nbd_request){.owner = view,
		.len = VIEW_PROBE_BYTES,
		.bytes = view->probe_bytes,
		.done = on_probed};
	view_submit(view, &view->probe);
}

void view_watch(struct view *view, struct view_watcher *watcher)
{
	watcher->next = &view->watchers;
	watcher->prev = view->watchers.prev;
	watcher->prev->next = watcher;
	view->watchers.prev = watcher;
}

void view_unwatch(struct view_watcher *watcher)
{
	watcher->next->prev = watcher->prev;
	watcher->prev->next = watcher->next;
}

static void cancel_waiting(struct view *view)
{
	while (view->waiting) {
		struct nbd_request *request = next_waiting(view);

		request->errnum = ECANCELED;
		request->done(request);
	}
}

/* The rest of a failure, or of a view_map() that had nothing to wait for. */
static void on_turn(uv_idle_t *handle)
{
	struct view *view = handle->data;

	(void)uv_idle_stop(handle);
	if (view_failed(view))
		cancel_waiting(view);
	view_mapping_turn(view);
	if (view_failed(view) && !view->closing)
		tell_ready(view, &view->err);
}

static void on_opened(struct nbd_link *link)
{
	struct view *view = link->owner;
	const uint64_t size = nbd_link_size_bytes(link);
	const uint32_t most = nbd_link_max_read_bytes(link);
	struct qmpsnap_error err;

	if (size != view->size_bytes) {
		error_set(&err, QMPSNAP_VIEW,
			"disk %s: the NBD export has %" PRIu64 " bytes, the disk %" PRIu64,
			view->disk, size, view->size_bytes);
		view_fail(view, &err);
		return;
	}
	if (most < CLUSTER_BYTES) {
		error_set(&err, QMPSNAP_VIEW,
			"disk %s: the NBD server takes reads of %" PRIu32 " bytes", view->disk,
			most);
		view_fail(view, &err);
		return;
	}
	if (most < view->max_read_bytes)
		view->max_read_bytes = most - most % CLUSTER_BYTES;
	if (++view->n_opened == view->n_links)
		tell_ready(view, NULL);
}

static void on_broken(struct nbd_link *link, const struct qmpsnap_error *err)
{
	view_fail(link->owner, err);
}

static void on_finished(struct nbd_link *link, struct nbd_request *request)
{
	struct view *view = link->owner;
	struct qmpsnap_error err;

	if (request->errnum && !view_failed(view)) {
		if (request->bytes)
			error_errno(&err, QMPSNAP_VIEW, request->errnum,
				"disk %s: reading %" PRIu32 " bytes at %" PRIu64, view->disk,
				request->len, request->offset);
		else
			error_errno(&err, QMPSNAP_VIEW, request->errnum,
				"disk %s: reading the extent map at %" PRIu64, view->disk,
				request->offset);
		view_fail(view, &err);
	}
	if (!view->closing)
		dispatch(view);
	request->done(request);
}

static void finish_close(struct view *view)
{
	view_closed_fn *closed = view->closed;
	void *data = view->closed_data;

	/* A read that had to be repeated may have come to wait after its reader was closed. */
	cancel_waiting(view);
	checked_read_end(view);
	free(view->links);
	free(view->export_name);
	free(view->disk);
	free(view);
	closed(data);
}

static void on_link_closed(struct nbd_link *link)
{
	struct view *view = link->owner;

	if (++view->n_closed > view->n_links)
		finish_close(view);
}

static void on_turn_closed(uv_handle_t *handle)
{
	struct view *view = handle->data;

	if (++view->n_closed > view->n_links)
		finish_close(view);
}

static struct view *view_new(uv_loop_t *loop, size_t n_links, const struct view_options *options)
{
	struct view *view = calloc(1, sizeof(*view));

	if (!view)
		return NULL;
	view->loop = loop;
	view->export_name = strdup(options->export_name);
	view->disk = strdup(options->disk);
	view->links = calloc(n_links, sizeof(*view->links));
	if (!view->export_name || !view->disk || !view->links) {
		free(view->export_name);
		free(view->disk);
		free(view->links);
		free(view);
		return NULL;
	}
	view->n_links = n_links;
	view->size_bytes = options->expected_size_bytes;
	view->max_read_bytes = UINT32_MAX;
	view->waiting_tail = &view->waiting;
	view->watchers.next = view->watchers.prev = &view->watchers;
	return view;
}

struct view *view_open(uv_loop_t *loop, const int *fds, size_t n_fds,
	const struct view_options *options, view_done_fn *ready, void *data,
	struct qmpsnap_error *err)
{
	static const struct nbd_link_events events = {.opened = on_opened,
		.broken = on_broken,
		.finished = on_finished,
		.closed = on_link_closed};
	struct view *view = view_new(loop, n_fds, options);

	if (!view) {
		for (size_t i = 0; i < n_fds; i++)
			(void)close(fds[i]);
		error_no_memory(err);
		return NULL;
	}
	view->ready = ready;
	view->ready_data = data;
	(void)uv_idle_init(loop, &view->turn);
	view->turn.data = view;

	const struct nbd_link_options link_options = {.export_name = view->export_name,
		.disk = view->disk,
		.events = &events,
		.owner = view};
	for (size_t i = 0; i < n_fds; i++)
		nbd_link_open(&view->links[i], loop, fds[i], &link_options);
	return view;
}

void view_check_reads(struct view *view, struct view *scratch)
{
	view->scratch = scratch;
	scratch->check.view = view;
	scratch->check.unasked_tail = &scratch->check.unasked;
}

struct stream *view_stream(struct view *view, const struct layout *layout, uint32_t block_bytes,
	unsigned ring_blocks, struct pace *pace)
{
	assert(block_bytes > 0 && ring_blocks > 0);
	image_stream_init(&view->stream, view, layout, block_bytes);
	view->stream.ring_blocks = ring_blocks;
	view->stream.pace = pace;
	return &view->stream.stream;
}

void view_find_zeroes(struct view *view)
{
	view->stream.find_zeroes = true;
}

void view_fail(struct view *view, const struct qmpsnap_error *why)
{
	if (view_failed(view) || view->closing)
		return;
	view->err = *why;
	for (size_t i = 0; i < view->n_links; i++)
		nbd_link_stop(&view->links[i]);
	for (struct view_watcher *w = view->watchers.next; w != &view->watchers; w = w->next)
		w->failed(w);
	view_turn_later(view);
}

void view_close(struct view *view, view_closed_fn *closed, void *data)
{
	view->closing = true;
	view->closed = closed;
	view->closed_data = data;
	for (size_t i = 0; i < view->n_links; i++)
		nbd_link_close(&view->links[i]);
	uv_close((uv_handle_t *)&view->turn, on_turn_closed);
}
