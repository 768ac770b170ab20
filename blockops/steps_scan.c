/* SPDX-License-Identifier: Apache-2.0
 *
 * The zero scan of the disks that need one.  A raw image's size doesn't depend on its zeroes: there
 * the upload finds them on its way. */
#include "blockops/steps.h"
#include "blockops/zero_scan.h"

/* Before the map is known, in a dry run, a disk may be one that needs it. */
static bool is_scanned(const struct qmpsnap_snapshot *s, const struct snapshot_disk *d)
{
	if (d->format != QMPSNAP_QCOW2 || s->zero_scan == QMPSNAP_ZERO_SCAN_NEVER)
		return false;
	return s->zero_scan == QMPSNAP_ZERO_SCAN_ALWAYS || !d->map.bits || zero_scan_pays(&d->map);
}

bool zeroes_scan_applies(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	for (size_t i = 0; i < s->n_disks; i++) {
		if (is_scanned(s, &s->disks[i]))
			return true;
	}
	return false;
}

static void on_progress(uint64_t done_bytes, uint64_t total_bytes, void *data)
{
	snapshot_tell_disk(data, QMPSNAP_EVENT_PROGRESS, "scan", done_bytes, total_bytes);
}

static void on_scanned(const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;

	if (!err)
		map_lay_out(d);
	if (err && err->code == QMPSNAP_VIEW && !flow_failed(&s->flow))
		view_diagnose(d, err, disk_done);
	else
		disk_done(s, err);
}

static void scan_disk(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	const struct zero_scan_request request = {.view = d->view,
		.map = &d->map,
		.pace = &s->pace,
		.progress = on_progress,
		.done = on_scanned,
		.data = d};
	struct qmpsnap_error err;

	if (!is_scanned(s, d))
		disk_done(s, NULL);
	else if (!zero_scan_start(s->loop, &request, &err))
		disk_done(s, &err);
}

void zeroes_scan(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, scan_disk, NULL);
}
