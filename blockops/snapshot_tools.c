/* SPDX-License-Identifier: Apache-2.0
 *
 * What the step functions share: the loop over disks, the timer, making and freeing. */
#include "base/log.h"
#include "blockops/snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- The loop over disks ---- */

static void next_disk(struct qmpsnap_snapshot *s)
{
	const bool back = s->flow.unwinding;
	const bool failed = !back && (s->disk_err.code != QMPSNAP_OK || flow_failed(&s->flow));

	if (s->disk_at < s->n_disks && !failed)
		s->disk_fn(s, &s->disks[back ? s->n_disks - 1 - s->disk_at : s->disk_at]);
	else if (s->disks_then && !failed)
		s->disks_then(s);
	else
		flow_done(&s->flow, &s->disk_err);
}

void disks_in_order(struct qmpsnap_snapshot *s, disk_fn *fn, snapshot_fn *then)
{
	s->disk_fn = fn;
	s->disks_then = then;
	s->disk_at = 0;
	next_disk(s);
}

void disk_done(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	if (err && err->code != QMPSNAP_OK && s->disk_err.code == QMPSNAP_OK)
		s->disk_err = *err;
	s->disk_at++;
	next_disk(s);
}

/* ---- Commands ---- */

bool snapshot_qemu_is_gone(const struct qmpsnap_snapshot *s)
{
	return !s->qmp || qmp_is_lost(s->qmp);
}

/* Who only listens for QEMU lives and ends for itself. */
static bool process_is_known(const struct qmpsnap_snapshot *s)
{
	return identity_is_known(&s->qemu) && !s->qemu.socket;
}

bool snapshot_qemu_has_ended(const struct qmpsnap_snapshot *s)
{
	return process_is_known(s) && !identity_is_alive(&s->qemu);
}

bool snapshot_qemu_lives(const struct qmpsnap_snapshot *s)
{
	return process_is_known(s) && identity_is_alive(&s->qemu);
}

void disk_node(const struct qmpsnap_snapshot *s, const struct snapshot_disk *d, const char *role,
	char node[static NAME_NODE_BYTES])
{
	name_node(node, s->run, role, d->index);
}

static void on_disk_reply(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;

	(void)result;
	if (!err) {
		disk_done(d->snapshot, NULL);
		return;
	}
	struct qmpsnap_error mine = *err;
	error_wrap(&mine, "disk %s", d->label);
	disk_done(d->snapshot, &mine);
}

void disk_command(struct qmpsnap_snapshot *s, struct snapshot_disk *d, const char *command,
	struct json_object *arguments)
{
	qmp_execute(s->qmp, command, arguments, on_disk_reply, d);
}

/* What went with QEMU is undone; but a node that a step deletes has something to write yet. */
static bool is_undone_with_qemu(const struct qmpsnap_snapshot *s)
{
	return s->flow.unwinding && snapshot_qemu_is_gone(s);
}

static void deleted(struct snapshot_disk *d, const struct qmpsnap_error *err)
{
	d->node_stands = d->node_stands || err;
	on_disk_reply(NULL, err, d);
}

/* A node that QEMU doesn't know is what an undo wants; any other refusal is its error. */
static void on_names(const struct node_names *names, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;

	if (is_undone_with_qemu(s) || (!err && !node_names_have(names, d->doomed)))
		disk_done(s, NULL);
	else
		deleted(d, &s->refusal);
}

/* QEMU tells the two apart only in its wording, which changes, so the nodes are asked for. */
static void on_deleted(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;

	(void)result;
	if (err && is_undone_with_qemu(s)) {
		disk_done(s, NULL);
	} else if (err && qmp_error_class(s->qmp)[0]) {
		s->refusal = *err;
		node_names_ask(&s->names, s->qmp, on_names, d);
	} else {
		deleted(d, err);
	}
}

void disk_delete_node(struct qmpsnap_snapshot *s, struct snapshot_disk *d, const char *role)
{
	if (!s->qmp || is_undone_with_qemu(s)) {
		disk_done(s, NULL);
		return;
	}
	struct json_object *args = json_new();
	disk_node(s, d, role, d->doomed);
	json_put_string(args, "node-name", d->doomed);
	qmp_execute(s->qmp, "blockdev-del", args, on_deleted, d);
}

unsigned snapshot_instant_ms(const struct qmpsnap_snapshot *s)
{
	if (s->stopped)
		return SNAPSHOT_PAUSED_COMMAND_MS;
	return s->freeze.in_doubt ? SNAPSHOT_FROZEN_COMMAND_MS : 0;
}

/* ---- The timer ---- */

static void on_timer(uv_timer_t *timer)
{
	struct qmpsnap_snapshot *s = timer->data;
	snapshot_fn *fn = s->timer_fn;

	s->timer_fn = NULL;
	fn(s);
}

void snapshot_after(struct qmpsnap_snapshot *s, unsigned ms, snapshot_fn *fn)
{
	s->timer_fn = fn;
	uv_timer_start(&s->timer, on_timer, ms, 0);
}

void snapshot_timer_stop(struct qmpsnap_snapshot *s)
{
	s->timer_fn = NULL;
	uv_timer_stop(&s->timer);
}

/* ---- Events ---- */

void snapshot_tell(struct qmpsnap_snapshot *s, enum qmpsnap_event_kind kind, const char *text)
{
	const struct qmpsnap_event event = {.kind = kind, .text = text};

	if (s->event)
		s->event(&event, s->data);
}

void snapshot_tell_disk(struct snapshot_disk *d, enum qmpsnap_event_kind kind, const char *text,
	uint64_t done_bytes, uint64_t total_bytes)
{
	const struct qmpsnap_event event = {.kind = kind,
		.text = text,
		.disk = d->label,
		.done_bytes = done_bytes,
		.total_bytes = total_bytes};

	if (d->told_bytes != done_bytes)
		deadlines_moved(d->snapshot);
	d->told_bytes = done_bytes;
	if (d->snapshot->event)
		d->snapshot->event(&event, d->snapshot->data);
}

/* ---- Life ---- */

static void init_disk(struct qmpsnap_snapshot *s, struct snapshot_disk *d, size_t index)
{
	d->snapshot = s;
	d->index = (unsigned)index;
	d->scratch_fd = -1;
	for (size_t c = 0; c < SNAPSHOT_FDS; c++)
		d->nbd_fds[c] = -1;
}

struct qmpsnap_snapshot *snapshot_new(uv_loop_t *loop)
{
	struct qmpsnap_snapshot *s = calloc(1, sizeof(*s));
	char *pin_label = strdup("pin");

	if (!s || !pin_label) {
		free(s);
		free(pin_label);
		return NULL;
	}
	init_disk(s, &s->pin, SNAPSHOT_PIN_INDEX);
	s->pin.label = pin_label;
	s->loop = loop;
	s->table = method_table(METHOD_FILTER);
	s->listen_fd = s->monitor_fd = -1;
	s->journal = JOURNAL_NONE;
	s->lock = GUEST_LOCK_NONE;
	s->started_ns = uv_hrtime();
	uv_timer_init(loop, &s->timer);
	s->timer.data = s;
	return s;
}

bool snapshot_add_disks(struct qmpsnap_snapshot *s, size_t n)
{
	s->disks = calloc(n, sizeof(*s->disks));
	if (!s->disks)
		return false;
	s->n_disks = n;
	for (size_t i = 0; i < n; i++)
		init_disk(s, &s->disks[i], i);
	return true;
}

static void free_disk(struct snapshot_disk *d)
{
	if (d->image)
		d->image->ops->close(d->image);
	if (d->scratch_fd >= 0)
		close(d->scratch_fd);
	for (size_t c = 0; c < SNAPSHOT_FDS; c++) {
		if (d->nbd_fds[c] >= 0)
			close(d->nbd_fds[c]);
	}
	cluster_map_free(&d->map);
	source_free(d->source);
	qmp_request_free(d->switch_request);
	free(d->label);
	free(d->qom_path);
	free(d->node);
	free(d->image_name);
	free(d->scratch_path);
}

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void snapshot_release_log(struct qmpsnap_snapshot *s)
{
	if (s->log_held)
		log_release();
	s->log_held = false;
}

void snapshot_free(struct qmpsnap_snapshot *s)
{
	snapshot_release_log(s);
	speed_close(s);
	deadlines_end(s);
	for (size_t i = 0; i < s->n_disks; i++)
		free_disk(&s->disks[i]);
	free(s->disks);
	free_disk(&s->pin);
	guest_free(&s->guest);
	for (size_t i = 0; i < s->n_wanted; i++)
		free(s->wanted[i]);
	free(s->wanted);
	json_object_put(s->properties);
	json_object_put(s->block_nodes);
	json_object_put(s->block_graph);
	qmp_request_free(s->stop_request);
	qmp_request_free(s->status_request);
	qmp_request_free(s->cont_request);
	qmp_request_free(s->transaction_request);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	free(s->server_folder);
	free(s->state_dir);
	free(s->store_spec);
	free(s->store_place);
	free(s->backup_type);
	free(s->name);
	free(s->guest_id);
	free(s->scratch_dir);
	free(s->guard_path);
	free(s->method_wanted);
	free(s->flavour_wanted);
	free(s->qga_address);
	free(s->image_path);
	free(s->image_format);
	uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

struct store_image_spec disk_image_spec(struct snapshot_disk *d)
{
	return (struct store_image_spec){.id = d->image_id,
		.name = d->image_name,
		.format = d->format,
		.virtual_size_bytes = d->virtual_size_bytes};
}
