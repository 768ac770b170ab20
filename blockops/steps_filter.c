/* SPDX-License-Identifier: Apache-2.0
 *
 * The copy-before-write filters, and the instant: each device's drive is switched onto its
 * filter. */
#include "blockops/block_graph.h"
#include "blockops/steps.h"

#include <string.h>

enum { CBW_TIMEOUT_S = 5 };

/* ---- filter ---- */

/* What the node did goes on through the filter.  `discard` always: a filter that ignores it would
 * swallow what the guest frees, and one that passes it on leaves the choice to the node. */
static void put_node_options(struct json_object *args, const struct guest_node_options *options)
{
	struct json_object *cache = json_new();

	json_put_bool(cache, "direct", options->direct);
	json_put_bool(cache, "no-flush", options->no_flush);
	json_put(args, "cache", cache);
	json_put_string(args, "discard", "unmap");
	if (options->detect_zeroes[0])
		json_put_string(args, "detect-zeroes", options->detect_zeroes);
}

static void add_filter(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct json_object *args = json_new();
	char name[NAME_NODE_BYTES];

	disk_node(s, d, "f", name);
	json_put_string(args, "driver", "copy-before-write");
	json_put_string(args, "node-name", name);
	json_put_string(args, "file", d->node);
	disk_node(s, d, "s", name);
	json_put_string(args, "target", name);
	json_put_string(args, "on-cbw-error", "break-snapshot");
	json_put_int(args, "cbw-timeout", CBW_TIMEOUT_S);
	put_node_options(args, &d->node_options);
	disk_command(s, d, "blockdev-add", args);
}

static struct json_object *switch_arguments(const struct snapshot_disk *d, const char *node)
{
	struct json_object *args = json_new();

	json_put_string(args, "path", d->qom_path);
	json_put_string(args, "property", "drive");
	json_put_string(args, "value", node);
	return args;
}

/* Before the guest stands still, see steps_pause.c. */
static void prepare_switches(struct qmpsnap_snapshot *s, const struct qmpsnap_error *changed)
{
	char name[NAME_NODE_BYTES];
	struct qmpsnap_error err = {0};

	if (changed)
		err = *changed;
	for (size_t i = 0; i < s->n_disks && err.code == QMPSNAP_OK; i++) {
		struct snapshot_disk *d = &s->disks[i];
		disk_node(s, d, "f", name);
		d->switch_request = qmp_request_new("qom-set", switch_arguments(d, name));
		if (!d->switch_request)
			error_no_memory(&err);
	}
	flow_done(&s->flow, &err);
}

static void filters_added(struct qmpsnap_snapshot *s)
{
	devices_check(s, prepare_switches);
}

void filter_add(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, add_filter, filters_added);
}

static void remove_filter(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	disk_delete_node(s, d, "f");
}

void filter_remove(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, remove_filter, NULL);
}

/* ---- instant ---- */

static void switch_drive(struct qmpsnap_snapshot *s, struct snapshot_disk *d);

static void after_gap(struct qmpsnap_snapshot *s)
{
	disk_done(s, NULL);
}

static void on_switched(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;

	(void)result;
	if (err) {
		struct qmpsnap_error mine = *err;
		error_wrap(&mine, "disk %s", d->label);
		disk_done(s, &mine);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &s->instant);
	if (s->faults.switch_gap_ms && d->index + 1 < s->n_disks)
		snapshot_after(s, s->faults.switch_gap_ms, after_gap);
	else
		disk_done(s, NULL);
}

static void switch_drive(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct qmp_request *request = d->switch_request;
	struct qmpsnap_error err;

	/* Each command is well in time, but many disks' may not be. */
	if (s->stopped && uv_hrtime() - s->stopped_ns > SNAPSHOT_PAUSE_MS * UINT64_C(1000000)) {
		error_set(&err, QMPSNAP_DEADLINE,
			"disk %s: the guest has stood still for %d s while its disks were being "
			"switched, and isn't held any longer",
			d->label, SNAPSHOT_PAUSE_MS / 1000);
		error_hint(&err, "QEMU answers slowly: run it again when the host has less to do");
		disk_done(s, &err);
		return;
	}
	d->switch_request = NULL;
	qmp_send(s->qmp, request, snapshot_instant_ms(s), on_switched, d);
}

void drives_switch(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, switch_drive, NULL);
}

/* ---- Undo ---- */

/* The device that `d` was is looked up anew: it may have been unplugged, or given another drive by
 * its owner, and then it is left alone. */
static bool is_on_filter(const struct snapshot_disk *d, struct json_object *block)
{
	char filter[NAME_NODE_BYTES];

	disk_node(d->snapshot, d, "f", filter);
	for (size_t i = 0; i < json_length(block); i++) {
		struct json_object *inserted = json_member(
			json_object_array_get_idx(block, i), "inserted", json_type_object);
		const char *node = json_string(inserted, "node-name");
		if (node && strcmp(node, filter) == 0)
			return true;
	}
	return false;
}

static void switch_back(struct qmpsnap_snapshot *s, struct snapshot_disk *d);

static void on_switched_back(
	struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;

	(void)result;
	if (pause_waits_on(d->snapshot, err))
		switch_back(d->snapshot, d);
	else
		disk_done(d->snapshot, snapshot_qemu_is_gone(d->snapshot) ? NULL : err);
}

/* Back to what our filter stands on now, not to the node that was planned: an external snapshot or
 * a job of others may have put theirs between, and what the guest has written since would be lost.
 * A QEMU that is told to do without its unstable commands doesn't tell. */
static void on_graph(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;
	char filter[NAME_NODE_BYTES];
	const char *node = d->node;

	if (err && strcmp(qmp_error_class(s->qmp), "CommandNotFound") != 0) {
		on_switched_back(NULL, err, d);
		return;
	}
	disk_node(s, d, "f", filter);
	const char *below = err ? NULL : block_graph_child(result, filter, "file");
	if (below)
		node = below;
	qmp_execute(s->qmp, "qom-set", switch_arguments(d, node), on_switched_back, d);
}

/* Asked each time, since QEMU 7.2 aborts at a qom-set to the node that is there already. */
static void on_block(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;

	if (!err && is_on_filter(d, result))
		qmp_execute(d->snapshot->qmp, "x-debug-query-block-graph", NULL, on_graph, d);
	else
		on_switched_back(NULL, err, d);
}

static void switch_back(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	if (snapshot_qemu_is_gone(s))
		disk_done(s, NULL);
	else
		qmp_execute(s->qmp, "query-block", NULL, on_block, d);
}

void drives_switch_back(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, switch_back, NULL);
}
