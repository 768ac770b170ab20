/* SPDX-License-Identifier: Apache-2.0
 *
 * The frozen views: their nodes, their extent maps, and why one can't be read. */
#include "base/units.h"
#include "blockops/steps.h"

/* ---- view ---- */

static void add_view(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct json_object *args = json_new();
	char name[NAME_NODE_BYTES];

	disk_node(s, d, "v", name);
	json_put_string(args, "driver", "snapshot-access");
	json_put_string(args, "node-name", name);
	disk_node(s, d, "f", name);
	json_put_string(args, "file", name);
	disk_command(s, d, "blockdev-add", args);
}

void view_add(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	name_time(s->result.instant, &s->instant);
	snapshot_tell(s, QMPSNAP_EVENT_STATE, "image_pending_upload");
	disks_in_order(s, add_view, NULL);
}

static void remove_view(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	disk_delete_node(s, d, "v");
}

void view_remove(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, remove_view, NULL);
}

/* ---- map ---- */

void view_answered(const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;

	if (err && err->code == QMPSNAP_VIEW && !flow_failed(&s->flow)) {
		view_diagnose(d, err, disk_done);
		return;
	}
	disk_done(s, err);
}

static void read_map(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct qmpsnap_error err;

	if (cluster_map_init(&d->map, d->virtual_size_bytes, &err))
		view_map(d->view, &d->map, view_answered, d);
	else
		disk_done(s, &err);
}

/* After the view's own map: whatever the guest overwrote until then is in the scratch.
 *
 * An overlay's extents are asked for in two steps, its own and then the disk's, and the guest may
 * discard between the two what is then neither there any more nor in the overlay yet: it shows when
 * asked for again.  Reads have no such gap: the job's copying waits for them. */
static void amend_map(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	if (d->scratch_view)
		view_map(d->scratch_view, &d->map, view_answered, d);
	else if (s->decision.method == METHOD_JOB)
		view_map(d->view, &d->map, view_answered, d);
	else
		disk_done(s, NULL);
}

void map_lay_out(struct snapshot_disk *d)
{
	layout_init(&d->layout, d->format, &d->map);
}

static void lay_out(struct qmpsnap_snapshot *s)
{
	for (size_t i = 0; i < s->n_disks; i++)
		map_lay_out(&s->disks[i]);
	flow_done(&s->flow, NULL);
}

static void amend_maps(struct qmpsnap_snapshot *s)
{
	disks_in_order(s, amend_map, lay_out);
}

void map_read(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, read_map, amend_maps);
}

void views_cancel(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	for (size_t i = 0; i < s->n_disks; i++) {
		if (s->disks[i].view)
			view_fail(s->disks[i].view, &f->err);
		if (s->disks[i].scratch_view)
			view_fail(s->disks[i].scratch_view, &f->err);
	}
}

/* ---- A view that can't be read ---- */

/* The monitor answers: QEMU lives, so the view itself is at fault. */
static void on_alive(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;
	struct qmpsnap_error mine = d->view_err;
	char used[UNITS_TEXT_BYTES], limit[UNITS_TEXT_BYTES];
	const uint64_t used_bytes = scratch_used_bytes(d);

	(void)result;
	if (err && s->qmp && qmp_is_lost(s->qmp)) {
		s->diagnosed(s, err);
		return;
	}
	units_format_size(used, used_bytes);
	units_format_size(limit, d->scratch_limit_bytes);
	if (used_bytes + used_bytes / 8 >= d->scratch_limit_bytes)
		error_hint(&mine,
			"the scratch is full (%s of %s): the guest overwrote more than fits; give "
			"it "
			"more with --scratch or --scratch-limit, or read faster",
			used, limit);
	else if (s->decision.method == METHOD_JOB)
		error_hint(&mine, "the disk itself or its scratch can't be read");
	else
		error_hint(&mine,
			"QEMU gave the view up, to spare the guest: the scratch (%s of %s used) "
			"was "
			"full or slower than %u s, or the disk itself can't be read",
			used, limit, 5U);
	s->diagnosed(s, &mine);
}

void view_diagnose(struct snapshot_disk *d, const struct qmpsnap_error *err, diagnosed_fn *told)
{
	struct qmpsnap_snapshot *s = d->snapshot;

	d->view_err = *err;
	s->diagnosed = told;
	if (s->qmp)
		qmp_execute(s->qmp, "query-status", NULL, on_alive, d);
	else /* released */
		on_alive(NULL, NULL, d);
}
