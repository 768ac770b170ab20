/* SPDX-License-Identifier: Apache-2.0
 *
 * The copy-before-write filters, and the instant: each device's drive is switched onto its filter.
 * Several disks of a running guest are switched between `stop` and `cont`, where nothing else
 * happens: the requests are made beforehand and no line is written. */
#include "blockops/steps.h"

#include <stdlib.h>
#include <string.h>

enum { CBW_TIMEOUT_S = 5 };

/* ---- filter ---- */

static void add_filter(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct json_object *args = json_object_new_object();
	char name[NAME_NODE_BYTES];

	disk_node(s, d, "f", name);
	json_put_string(args, "driver", "copy-before-write");
	json_put_string(args, "node-name", name);
	json_put_string(args, "file", d->node);
	disk_node(s, d, "s", name);
	json_put_string(args, "target", name);
	json_put_string(args, "on-cbw-error", "break-snapshot");
	json_put_int(args, "cbw-timeout", CBW_TIMEOUT_S);
	disk_command(s, d, "blockdev-add", args);
}

void filter_add(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, add_filter, NULL);
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

/* ---- pause ---- */

bool pause_applies(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	return s->multi && !s->faults.no_stop;
}

static struct json_object *switch_arguments(const struct snapshot_disk *d, const char *node)
{
	struct json_object *args = json_object_new_object();

	json_put_string(args, "path", d->qom_path);
	json_put_string(args, "property", "drive");
	json_put_string(args, "value", node);
	return args;
}

static bool prepare_switches(struct qmpsnap_snapshot *s)
{
	char name[NAME_NODE_BYTES];

	for (size_t i = 0; i < s->n_disks; i++) {
		struct snapshot_disk *d = &s->disks[i];
		disk_node(s, d, "f", name);
		d->switch_request = qmp_request_new("qom-set", switch_arguments(d, name));
		if (!d->switch_request)
			return false;
	}
	s->stop_request = qmp_request_new("stop", NULL);
	s->cont_request = qmp_request_new("cont", NULL);
	return s->stop_request && s->cont_request;
}

static void on_stopped(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	flow_done(&s->flow, err);
}

/* `stop` succeeds on a guest that doesn't run, too, and the `cont` after it would then continue
 * what others had stopped since the guest was inspected. */
static void on_status_before(
	struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	const char *status = json_string(result, "status");
	struct qmpsnap_error mine;

	if (!err && !flow_failed(&s->flow) && (!status || strcmp(status, "running") != 0)) {
		error_set(&mine, QMPSNAP_QEMU,
			"the guest was stopped by others while its snapshot was being prepared");
		error_hint(&mine, "run it again");
		err = &mine;
	}
	if (err || flow_failed(&s->flow)) {
		guard_tell_running(s);
		flow_done(&s->flow, err);
		return;
	}
	struct qmp_request *stop = s->stop_request;
	s->stop_request = NULL;
	s->stopped = true; /* before the answer: a lost answer is undone too */
	s->stopped_ns = uv_hrtime();
	qmp_send(s->qmp, stop, 0, on_stopped, s);
}

void guest_pause(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	if (!prepare_switches(s)) {
		struct qmpsnap_error err;
		error_no_memory(&err);
		flow_done(f, &err);
		return;
	}
	qmp_execute(s->qmp, "query-status", NULL, on_status_before, s);
}

static void took_up_again(struct qmpsnap_snapshot *s)
{
	s->stopped = false;
	guard_tell_running(s);
	s->result.stopped_ms += (double)(uv_hrtime() - s->stopped_ns) / 1e6;
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

	d->switch_request = NULL;
	qmp_send(s->qmp, request, 0, on_switched, d);
}

void drives_switch(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	if (!s->stopped && !prepare_switches(s)) {
		struct qmpsnap_error err;
		error_no_memory(&err);
		flow_done(f, &err);
		return;
	}
	disks_in_order(s, switch_drive, NULL);
}

/* ---- resume ---- */

static void on_resumed(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error mine = {0};

	(void)result;
	if (!err)
		took_up_again(s);
	if (!err && s->resumed_by_others) {
		error_set(&mine, QMPSNAP_QEMU,
			"somebody continued the guest while its disks were being switched, so they "
			"have no common instant");
		err = &mine;
	}
	flow_done(&s->flow, err);
}

void guest_resume(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmp_request *cont = s->cont_request;

	(void)f;
	s->cont_request = NULL;
	s->continuing = true;
	qmp_send(s->qmp, cont, 0, on_resumed, s);
}

/* ---- Undo ---- */

/* While the guest stands still for us no deadline ends the undo: QEMU drops the commands of a
 * client that closes, and nobody else would continue the guest.  QEMU answers when it is free. */
static bool waits_on(const struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	return err && err->code == QMPSNAP_DEADLINE && s->stopped && !snapshot_qemu_is_gone(s);
}

static void on_unpaused(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	if (waits_on(s, err)) {
		guest_unpause(&s->flow, s);
		return;
	}
	if (!err)
		took_up_again(s);
	flow_done(&s->flow, snapshot_qemu_is_gone(s) ? NULL : err);
}

/* Continues only a guest that is paused: any other state is not our stop's any more. */
static void on_status(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	const char *status = json_string(result, "status");

	if (waits_on(s, err)) {
		guest_unpause(&s->flow, s);
		return;
	}
	if (err || !status || strcmp(status, "paused") != 0) {
		if (!err)
			took_up_again(s);
		flow_done(&s->flow, snapshot_qemu_is_gone(s) ? NULL : err);
		return;
	}
	s->continuing = true;
	qmp_execute(s->qmp, "cont", NULL, on_unpaused, s);
}

void guest_unpause(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	if (!s->stopped || snapshot_qemu_is_gone(s))
		flow_done(f, NULL);
	else
		qmp_execute(s->qmp, "query-status", NULL, on_status, s);
}

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
	if (waits_on(d->snapshot, err))
		switch_back(d->snapshot, d);
	else
		disk_done(d->snapshot, snapshot_qemu_is_gone(d->snapshot) ? NULL : err);
}

/* Asked each time, since QEMU 7.2 aborts at a qom-set to the node that is there already. */
static void on_block(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;

	if (!err && is_on_filter(d, result))
		qmp_execute(d->snapshot->qmp, "qom-set", switch_arguments(d, d->node),
			on_switched_back, d);
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
