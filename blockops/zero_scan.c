/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/zero_scan.h"

#include "blockops/checked_read.h"

#include <stdlib.h>
#include <string.h>

enum { SCAN_READS = 16, SCAN_READ_BYTES = 512 * 1024, HOLES_THAT_TELL = 16 };

struct zero_scan {
	struct zero_scan_request request;
	struct view_watcher watcher;
	uv_timer_t pacer;
	uint64_t cursor; /* the next cluster to look at */
	uint64_t done_bytes, total_bytes;
	unsigned in_flight;
	bool closing;
	uint8_t *memory;
	struct checked_read *spare;
	struct checked_read reads[SCAN_READS];
};

bool zero_scan_pays(const struct cluster_map *map)
{
	const uint64_t holes = map->n_clusters - cluster_map_count(map);

	return holes < map->n_clusters / HOLES_THAT_TELL || (holes == 0 && map->n_clusters > 0);
}

bool zero_scan_pays_on_host(uint64_t host_bytes, uint64_t virtual_size_bytes)
{
	return virtual_size_bytes > 0 &&
	       host_bytes >= virtual_size_bytes - virtual_size_bytes / HOLES_THAT_TELL;
}

/* At the speed of memcmp(), some ten times that of the socket which brought the bytes, and done at
 * the first byte that isn't zero: not worth a thread. */
bool zero_scan_is_zero(const uint8_t *bytes, size_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

static void on_closed(uv_handle_t *handle)
{
	struct zero_scan *scan = handle->data;
	const struct zero_scan_request request = scan->request;

	free(scan->memory);
	free(scan);
	if (!view_failed(request.view))
		cluster_map_seal(request.map);
	request.done(view_failed(request.view) ? &request.view->err : NULL, request.data);
}

static void finish(struct zero_scan *scan)
{
	if (scan->closing)
		return;
	scan->closing = true;
	view_unwatch(&scan->watcher);
	uv_close((uv_handle_t *)&scan->pacer, on_closed);
}

static uint64_t clusters_bytes(const struct cluster_map *map, uint64_t first, uint64_t n)
{
	const uint64_t end = (first + n) * CLUSTER_BYTES;

	return (end < map->virtual_size_bytes ? end : map->virtual_size_bytes) -
	       first * CLUSTER_BYTES;
}

static void on_pace(uv_timer_t *timer);

/* Begins the next read; false when all was asked, or it has to wait. */
static bool read_next(struct zero_scan *scan)
{
	const struct cluster_map *map = scan->request.map;
	struct view *view = scan->request.view;
	struct checked_read *read = scan->spare;
	const uint32_t most =
		view->max_read_bytes < SCAN_READ_BYTES ? view->max_read_bytes : SCAN_READ_BYTES;

	scan->cursor += cluster_map_gap(map, scan->cursor, UINT64_MAX);
	if (!read || scan->cursor >= map->n_clusters || uv_is_active((uv_handle_t *)&scan->pacer))
		return false;
	const uint64_t run = cluster_map_run(map, scan->cursor, most / CLUSTER_BYTES);
	read->offset = scan->cursor * CLUSTER_BYTES;
	read->len = (uint32_t)clusters_bytes(map, scan->cursor, run);
	const uint64_t wait_ms =
		scan->request.pace ? pace_take(scan->request.pace, read->len, uv_hrtime()) : 0;
	if (wait_ms > 0) {
		(void)uv_timer_start(&scan->pacer, on_pace, wait_ms, 0);
		return false;
	}
	scan->spare = read->next;
	scan->cursor += run;
	scan->in_flight++;
	checked_read_submit(view, read);
	return true;
}

static void go_on(struct zero_scan *scan)
{
	while (!view_failed(scan->request.view) && read_next(scan))
		;
	if (scan->in_flight == 0 && !uv_is_active((uv_handle_t *)&scan->pacer))
		finish(scan);
}

static void on_pace(uv_timer_t *timer)
{
	go_on(timer->data);
}

static void clear_zeroes(struct cluster_map *map, const struct checked_read *read)
{
	for (uint32_t at = 0; at < read->len; at += CLUSTER_BYTES) {
		const uint32_t rest = read->len - at;
		if (zero_scan_is_zero(
			    read->bytes + at, rest < CLUSTER_BYTES ? rest : CLUSTER_BYTES))
			cluster_map_clear(map, (read->offset + at) / CLUSTER_BYTES);
	}
}

static void on_read(struct checked_read *read)
{
	struct zero_scan *scan = read->request.owner;

	scan->in_flight--;
	read->next = scan->spare;
	scan->spare = read;
	if (read->errnum == 0) {
		clear_zeroes(scan->request.map, read);
		scan->done_bytes += read->len;
		scan->request.progress(scan->done_bytes, scan->total_bytes, scan->request.data);
	}
	go_on(scan);
}

/* Reads that are under way end by themselves; a wait for the pace doesn't. */
static void on_view_failed(struct view_watcher *watcher)
{
	struct zero_scan *scan =
		(struct zero_scan *)((char *)watcher - offsetof(struct zero_scan, watcher));

	(void)uv_timer_stop(&scan->pacer);
	if (scan->in_flight == 0)
		finish(scan);
}

/* The last cluster may be cut. */
static uint64_t data_bytes(const struct cluster_map *map)
{
	const uint64_t past_the_end = map->n_clusters * CLUSTER_BYTES - map->virtual_size_bytes;
	const bool last = map->n_clusters > 0 && cluster_map_test(map, map->n_clusters - 1);

	return cluster_map_count(map) * CLUSTER_BYTES - (last ? past_the_end : 0);
}

bool zero_scan_start(
	uv_loop_t *loop, const struct zero_scan_request *request, struct qmpsnap_error *err)
{
	struct zero_scan *scan = calloc(1, sizeof(*scan));

	if (scan)
		scan->memory = malloc((size_t)SCAN_READS * SCAN_READ_BYTES);
	if (!scan || !scan->memory) {
		free(scan);
		return error_no_memory(err);
	}
	scan->request = *request;
	scan->total_bytes = data_bytes(request->map);
	for (size_t i = 0; i < SCAN_READS; i++) {
		scan->reads[i] = (struct checked_read){.request = {.owner = scan},
			.bytes = scan->memory + i * SCAN_READ_BYTES,
			.done = on_read,
			.next = scan->spare};
		scan->spare = &scan->reads[i];
	}
	(void)uv_timer_init(loop, &scan->pacer);
	scan->pacer.data = scan;
	scan->watcher.failed = on_view_failed;
	view_watch(request->view, &scan->watcher);
	go_on(scan);
	return true;
}
