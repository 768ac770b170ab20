/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/view_private.h"

#include <inttypes.h>

/* What one request asks for: lengths have 32 bits, and clusters should not be cut. */
static const uint32_t piece_bytes = 1U << 31;

static void end_mapping(struct view *view)
{
	struct view_mapping *mapping = &view->mapping;
	view_done_fn *done = mapping->done;

	mapping->done = NULL;
	if (!view_failed(view))
		cluster_map_seal(mapping->map);
	done(view_failed(view) ? &view->err : NULL, mapping->data);
}

static void on_extent(struct nbd_request *request, uint64_t offset, uint64_t length, bool empty)
{
	struct view *view = request->owner;

	if (!empty)
		cluster_map_set(view->mapping.map, offset, length);
}

/* Asks for the rest of a short answer, or else for the next piece; false: all was asked. */
static bool ask_on(struct view *view, struct nbd_request *request)
{
	struct view_mapping *mapping = &view->mapping;

	if (request->described_bytes < request->len) {
		request->offset += request->described_bytes;
		request->len -= (uint32_t)request->described_bytes;
	} else {
		const uint64_t left = view->size_bytes - mapping->next;

		if (left == 0)
			return false;
		request->offset = mapping->next;
		request->len = left < piece_bytes ? (uint32_t)left : piece_bytes;
		mapping->next += request->len;
	}
	view_submit(view, request);
	return true;
}

static void on_described(struct nbd_request *request)
{
	struct view *view = request->owner;
	struct qmpsnap_error err;

	if (!request->errnum && request->described_bytes == 0) {
		error_set(&err, QMPSNAP_VIEW, "disk %s: QEMU describes no extent at %" PRIu64,
			view->disk, request->offset);
		view_fail(view, &err);
	}
	if (!view_failed(view) && !view->closing && ask_on(view, request))
		return;
	if (--view->mapping.in_flight == 0 && !view->closing)
		end_mapping(view);
}

static bool has_map(const struct view *view)
{
	for (size_t i = 0; i < view->n_links; i++) {
		if (!view->links[i].has_map)
			return false;
	}
	return true;
}

void view_mapping_turn(struct view *view)
{
	if (view->mapping.done && view->mapping.in_flight == 0 && !view->closing)
		end_mapping(view);
}

void view_map(struct view *view, struct cluster_map *map, view_done_fn *done, void *data)
{
	struct view_mapping *mapping = &view->mapping;

	*mapping = (struct view_mapping){.map = map, .done = done, .data = data};
	if (!view_failed(view) && !has_map(view)) {
		cluster_map_set(map, 0, view->size_bytes);
		mapping->next = view->size_bytes;
	}
	for (size_t i = 0; i < VIEW_MAP_REQUESTS && !view_failed(view); i++) {
		struct nbd_request *request = &mapping->requests[i];

		request->owner = view;
		request->extent = on_extent;
		request->done = on_described;
		if (!ask_on(view, request))
			break;
		mapping->in_flight++;
	}
	if (mapping->in_flight == 0)
		view_turn_later(view);
}
