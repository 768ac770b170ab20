/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard's step, and what the other steps tell it. */
#include "base/log.h"
#include "blockops/steps.h"

#include <string.h>
#include <unistd.h>

bool guard_applies(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	return !s->no_guard && !s->is_guard;
}

static struct json_object *new_record(const char *kind)
{
	struct json_object *record = json_object_new_object();

	json_put_string(record, "record", kind);
	return record;
}

static struct json_object *disks_to_json(const struct qmpsnap_snapshot *s)
{
	struct json_object *disks = json_object_new_array();

	for (size_t i = 0; i < s->n_disks; i++) {
		const struct snapshot_disk *d = &s->disks[i];
		struct json_object *disk = json_object_new_object();
		json_put_string(disk, "label", d->label);
		json_put_string(disk, "qom_path", d->qom_path);
		json_put_string(disk, "node", d->node);
		json_put_uint(disk, "virtual_size_bytes", d->virtual_size_bytes);
		json_put_string(disk, "image_id", d->image_id);
		json_put_string(disk, "image_name", d->image_name);
		json_put_int(disk, "format", d->format);
		json_object_array_add(disks, disk);
	}
	return disks;
}

/* All that an undo needs to know, before there is anything to undo. */
static bool tell_run(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	struct json_object *record = new_record("run");
	const int fd = s->qmp ? qmp_fd(s->qmp) : -1; /* offline: no QEMU */

	json_put_string(record, "run", s->run);
	json_put_string(record, "address", s->address.text);
	json_put_int(record, "pid", getpid());
	json_put_string(record, "store", s->store_spec);
	json_put_string(record, "method", s->table->key);
	json_put_bool(record, "multi", s->multi);
	json_object_object_add(record, "disks", disks_to_json(s));
	return guard_tell(s->guard, record, &fd, fd >= 0 ? 1 : 0, err);
}

static void on_guard_ready(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error mine = {0};

	if (!err && !(tell_run(s, &mine) && guard_tell_agent(s, &mine)))
		err = &mine;
	flow_done(&s->flow, err);
}

static void on_guard_lost(void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_INTERNAL, "the guard process was killed");
	flow_cancel(&s->flow, &err);
}

void guard_begin(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err;

	s->guard = guard_start(s->loop, s->guard_path, on_guard_ready, on_guard_lost, s, &err);
	if (!s->guard)
		flow_done(f, &err);
}

static bool guard_tell_left(struct qmpsnap_snapshot *s)
{
	struct qmpsnap_error ignored;

	return guard_tell(s->guard, new_record("left"), NULL, 0, &ignored);
}

static void on_guard_closed(void *data)
{
	struct qmpsnap_snapshot *s = data;

	flow_done(&s->flow, NULL);
}

void guard_dismiss(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct guard *guard = s->guard;

	if (!guard) {
		flow_done(f, NULL);
		return;
	}
	/* What couldn't be thawed it goes on with. */
	if (s->freeze.in_doubt && guard_tell_left(s)) {
		s->guard = NULL;
		guard_leave(guard, on_guard_closed, s);
	} else {
		s->guard = NULL;
		guard_end(guard, on_guard_closed, s);
	}
}

/* What the guard isn't told it can't undo: then the snapshot is given up, unless it is on its way
 * back already. */
static void tell(struct qmpsnap_snapshot *s, struct json_object *record)
{
	struct qmpsnap_error err;

	if (!guard_tell(s->guard, record, NULL, 0, &err))
		flow_cancel(&s->flow, &err);
}

void guard_tell_step(struct qmpsnap_snapshot *s, const struct flow_step *step)
{
	if (!s->guard)
		return;
	struct json_object *record = new_record("step");
	json_put_string(record, "step", step->name);
	tell(s, record);
}

void guard_tell_running(struct qmpsnap_snapshot *s)
{
	if (s->guard)
		tell(s, new_record("running"));
}

void guard_tell_thawed(struct qmpsnap_snapshot *s)
{
	if (s->guard)
		tell(s, new_record("thawed"));
}

void guard_tell_thawing(struct qmpsnap_snapshot *s)
{
	if (s->guard)
		tell(s, new_record("thawing"));
}

bool guard_tell_agent(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	const int fd = s->agent ? agent_fd(s->agent) : -1;

	if (!s->guard || fd < 0)
		return true;
	struct json_object *record = new_record("agent");
	json_put_int(record, "freeze_deadline_ms", s->freeze_deadline_ms);
	return guard_tell(s->guard, record, &fd, 1, err);
}

void guard_tell_holding(struct qmpsnap_snapshot *s)
{
	if (s->guard)
		tell(s, new_record("holding"));
}

bool guard_tell_method(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (!s->guard)
		return true;
	struct json_object *record = new_record("method");
	json_put_string(record, "method", s->table->key);
	return guard_tell(s->guard, record, NULL, 0, err);
}

void guard_tell_published(struct qmpsnap_snapshot *s)
{
	if (s->guard)
		tell(s, new_record("published"));
}

bool guard_tell_released(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (!s->guard)
		return true;
	struct json_object *record = new_record("released");
	json_put_bool(record, "detached", s->detached);
	return guard_tell(s->guard, record, NULL, 0, err);
}

bool guard_tell_server(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (!s->guard)
		return true;
	struct json_object *record = new_record("server");
	json_put_int(record, "state", s->server);
	json_put_string(record, "folder", s->server_folder ? s->server_folder : "");
	return guard_tell(s->guard, record, NULL, 0, err);
}

bool guard_tell_scratch(struct snapshot_disk *d, struct qmpsnap_error *err)
{
	if (!d->snapshot->guard)
		return true;
	struct json_object *record = new_record("scratch");
	json_put_int(record, "disk", d->index);
	json_put_int(record, "fdset", d->fdset);
	json_put_string(record, "path", d->scratch_path ? d->scratch_path : "");
	return guard_tell(
		d->snapshot->guard, record, &d->scratch_fd, d->scratch_fd >= 0 ? 1 : 0, err);
}

bool guard_tell_connections(
	struct snapshot_disk *d, const int *fds, size_t n_fds, struct qmpsnap_error *err)
{
	if (!d->snapshot->guard)
		return true;
	struct json_object *record = new_record("connections");
	json_put_int(record, "disk", d->index);
	return guard_tell(d->snapshot->guard, record, fds, n_fds, err);
}
