/* SPDX-License-Identifier: Apache-2.0
 *
 * zero_scan.h - a first read of a frozen view: finds the clusters that are allocated and hold only
 * zeroes, as qemu-img convert does while it writes.  An image that is sent in one pass has its
 * tables in front, so this must be known before the first byte.
 */
#ifndef BLOCKOPS_ZERO_SCAN_H
#define BLOCKOPS_ZERO_SCAN_H

#include "blockops/cluster_map.h"
#include "blockops/pace.h"
#include "blockops/view.h"

/* From within the loop, after each read: of the bytes that the map said hold data. */
typedef void zero_scan_progress_fn(uint64_t done_bytes, uint64_t total_bytes, void *data);

struct zero_scan_request {
	struct view *view; /* ready, and not closed before `done` */
	struct cluster_map *map; /* sealed */
	struct pace *pace; /* NULL: none */
	zero_scan_progress_fn *progress;
	view_done_fn *done;
	void *data;
};

/* Whether a map is one of a disk whose holes can't be told: less than a sixteenth of it is hole.  A
 * raw block device has none at all, since QEMU calls all of it data; a file that was filled in
 * advance has those that the guest trimmed since.  A sparse disk has more unless it is full. */
bool zero_scan_pays(const struct cluster_map *map);

/* The same of a disk that QEMU copies, where there is no map beforehand: by what it takes of the
 * host (guest_disk.host_bytes).  A disk that is reserved and not written passes for one that is. */
bool zero_scan_pays_on_host(uint64_t host_bytes, uint64_t virtual_size_bytes);

bool zero_scan_is_zero(const uint8_t *bytes, size_t len);

/* Reads every set cluster of the map once, clears those that hold only zeroes, and seals the map
 * again.  Memory: 8 MiB.  `done` fires once, later, with the view's error if it failed (a cancel is
 * a view_fail()); the map is then neither sealed nor complete.  False and *err without memory. */
bool zero_scan_start(
	uv_loop_t *loop, const struct zero_scan_request *request, struct qmpsnap_error *err);

#endif
