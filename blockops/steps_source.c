/* SPDX-License-Identifier: Apache-2.0
 *
 * For the method `cold`: which files the disks are, found through QEMU's block graph and opened as
 * QEMU sees them.  Nothing is touched. */
#include "blockops/peer_file.h"
#include "blockops/source.h"
#include "blockops/steps.h"

/* ---- Opening what QEMU has open ---- */

static int open_of_qemu(const char *filename, void *data, struct qmpsnap_error *err)
{
	const struct qmpsnap_snapshot *s = data;
	const int pid = qmp_peer_pid(s->qmp);

	if (pid <= 0) {
		error_set(err, QMPSNAP_REFUSED, "QEMU's process isn't known on this host");
		error_hint(err, "connect to its monitor by a unix socket, or take another method");
		return -1;
	}
	return peer_file_open(pid, filename, err);
}

/* ---- The step ---- */

static void find_source(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	const struct source_graph graph = {
		.nodes = s->block_nodes, .graph = s->block_graph, .open = open_of_qemu, .data = s};
	struct qmpsnap_error err = {0};

	d->source = source_of_node(&graph, d->node, d->virtual_size_bytes, &err);
	if (!d->source) {
		error_wrap(&err, "disk %s can't be taken by the method cold", d->label);
		if (!err.hint[0])
			error_hint(&err, "take another method, which reads the disk through QEMU");
	}
	disk_done(s, &err);
}

static void on_graph(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (err) {
		flow_done(&s->flow, err);
		return;
	}
	s->block_graph = json_object_get(result);
	disks_in_order(s, find_source, convert_measure);
}

static void on_nodes(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (err) {
		flow_done(&s->flow, err);
		return;
	}
	s->block_nodes = json_object_get(result);
	qmp_execute(s->qmp, "x-debug-query-block-graph", NULL, on_graph, s);
}

/* A job writes while the guest stands still. */
static void on_jobs(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error mine;

	if (!err && json_length(result) > 0) {
		const char *job = json_string(json_object_array_get_idx(result, 0), "device");
		error_set(&mine, QMPSNAP_REFUSED,
			"the block job %s runs, and would go on writing during a cold copy",
			job ? job : "of somebody");
		error_hint(&mine, "wait until it has ended, or take another method");
		err = &mine;
	}
	if (err) {
		flow_done(&s->flow, err);
		return;
	}
	struct json_object *args = json_new();
	json_put_bool(args, "flat", true);
	qmp_execute(s->qmp, "query-named-block-nodes", args, on_nodes, s);
}

void sources_find(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	qmp_execute(s->qmp, "query-block-jobs", NULL, on_jobs, s);
}

/* Only the measuring takes its time; the monitor has deadlines. */
void sources_cancel(struct flow *f, void *self)
{
	(void)f;
	convert_cancel(self);
}

void sources_close(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	for (size_t i = 0; i < s->n_disks; i++) {
		source_free(s->disks[i].source);
		s->disks[i].source = NULL;
	}
	json_object_put(s->block_nodes);
	json_object_put(s->block_graph);
	s->block_nodes = s->block_graph = NULL;
	flow_done(f, NULL);
}
