/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run said of itself, taken into a snapshot that can then be unwound. */
#include "blockops/record.h"

#include "base/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool take_disk(struct snapshot_disk *d, struct json_object *from)
{
	const char *id = json_string(from, "image_id");
	const char *const texts[] = {json_string(from, "label"), json_string(from, "qom_path"),
		json_string(from, "node"), json_string(from, "image_name")};

	if (!id || !texts[0] || !texts[1] || !texts[2] || !texts[3])
		return false;
	d->label = strdup(texts[0]);
	d->qom_path = strdup(texts[1]);
	d->node = strdup(texts[2]);
	d->image_name = strdup(texts[3]);
	(void)snprintf(d->image_id, sizeof(d->image_id), "%s", id);
	d->virtual_size_bytes = (uint64_t)json_int(from, "virtual_size_bytes", 0);
	d->format = (enum qmpsnap_format)json_int(from, "format", QMPSNAP_QCOW2);
	return d->label && d->qom_path && d->node && d->image_name;
}

static void take_identity(struct identity *id, struct json_object *from)
{
	const char *boot = json_string(from, "boot");

	id->pid = (pid_t)json_int(from, "pid", 0);
	id->pid_namespace = (uint64_t)json_int(from, "pid_namespace", 0);
	id->started_ticks = (uint64_t)json_int(from, "started_ticks", 0);
	id->socket = (uint64_t)json_int(from, "socket", 0);
	(void)snprintf(id->boot, sizeof(id->boot), "%s", boot ? boot : "");
}

/* As record_run_for_guard() names them. */
static void take_fds(struct taken_run *run, struct json_object *record, const int *fds, size_t n)
{
	struct qmpsnap_snapshot *s = run->s;
	struct json_object *names = json_member(record, "fds", json_type_array);
	const char *lock = json_string(record, "lock");

	for (size_t i = 0; i < n; i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(names, i));
		if (strcmp(name, "monitor") == 0)
			run->monitor_fd = fds[i];
		else if (strcmp(name, "agent") == 0)
			run->agent_fd = fds[i];
		else if (strcmp(name, "lock") == 0)
			s->lock.fd = fds[i];
		else
			close(fds[i]);
	}
	(void)snprintf(s->lock.name, sizeof(s->lock.name), "%s", lock ? lock : "");
}

static bool copy_text(char **to, const char *from)
{
	free(*to);
	*to = from ? strdup(from) : NULL;
	return !from || *to;
}

/* The address of an offline run's monitor is empty. */
static bool take_address(struct qmpsnap_snapshot *s, struct json_object *record)
{
	const char *address = json_string(record, "address");
	struct qmpsnap_error err;

	return address && (!address[0] || qmp_address_parse(address, &s->address, &err));
}

static bool take_run(
	struct taken_run *run, struct json_object *record, const int *fds, size_t n_fds)
{
	struct qmpsnap_snapshot *s = run->s;
	struct json_object *disks = json_member(record, "disks", json_type_array);
	const char *id = json_string(record, "run"), *guest = json_string(record, "guest");
	const char *began = json_string(record, "began");

	run->schema = json_int(record, "schema", 0);
	if (run->schema != RECORD_SCHEMA || s->n_disks || !id || !state_is_run(id) ||
		!take_address(s, record) || !json_length(disks) ||
		json_length(disks) > SNAPSHOT_MAX_DISKS ||
		n_fds > json_length(json_member(record, "fds", json_type_array)) ||
		!snapshot_add_disks(s, json_length(disks)))
		return false;
	(void)snprintf(s->run, sizeof(s->run), "%s", id);
	(void)snprintf(s->guest_name, sizeof(s->guest_name), "%s", guest ? guest : "");
	(void)snprintf(run->began, sizeof(run->began), "%s", began ? began : "");
	take_fds(run, record, fds, n_fds);
	take_identity(&s->qemu, json_member(record, "qemu", json_type_object));
	run->main_pid = (pid_t)json_int(record, "pid", 0);
	s->freeze_deadline_ms = (unsigned)json_int(record, "freeze_deadline_ms", 0);
	s->multi = json_flag(record, "multi", false);
	s->ran = json_flag(record, "ran", false);
	s->table = method_table_by_key(json_string(record, "method"));
	for (size_t i = 0; i < s->n_disks; i++) {
		if (!take_disk(&s->disks[i], json_object_array_get_idx(disks, i)))
			return false;
	}
	run->is_whole = s->table && copy_text(&s->store_spec, json_string(record, "store")) &&
			copy_text(&s->store_place, json_string(record, "place")) &&
			copy_text(&s->qga_address, json_string(record, "agent"));
	return run->is_whole;
}

/* Once the folder alone, before the file is made, and once both. */
static void take_journal(struct qmpsnap_snapshot *s, const int *fds, size_t n_fds)
{
	journal_close(&s->journal);
	memcpy(s->journal.run, s->run, sizeof(s->run));
	s->journal.folder = n_fds > 0 ? fds[0] : -1;
	s->journal.fd = n_fds > 1 ? fds[1] : -1;
}

static void take_frozen(struct taken_run *run)
{
	run->s->freeze.in_doubt = true;
}

static void take_running(struct taken_run *run)
{
	run->s->stopped = false;
}

static void take_stopping(struct qmpsnap_snapshot *s)
{
	s->stopped = true;
	s->stopped_ns = uv_hrtime();
}

/* What runs is thawed last. */
static void take_thawed(struct taken_run *run)
{
	run->s->freeze.in_doubt = false;
	take_running(run);
}

/* QEMU serves others once nobody holds the connection. */
static void take_released(struct taken_run *run, struct json_object *record)
{
	run->s->detached = json_flag(record, "detached", false);
	run->s->released = run->s->release_monitor = true;
	if (run->monitor_fd >= 0)
		close(run->monitor_fd);
	run->monitor_fd = -1;
}

/* Other tables of methods begin as the first one did, so what has begun stays what it was. */
static bool take_method(struct taken_run *run, struct json_object *record)
{
	const struct method_table *table = method_table_by_key(json_string(record, "method"));

	if (!table)
		return false;
	run->s->table = table;
	run->s->server_refused = true;
	return true;
}

static void take_left(struct taken_run *run, struct json_object *record)
{
	run->left = true;
	run->left_alone = json_flag(record, "alone", false);
}

static bool take_step(struct taken_run *run, struct json_object *record)
{
	const char *step = json_string(record, "step"), *through = json_string(record, "through");

	if (!step)
		return false;
	/* The pause, the instant and the resumption are told as one, and so may be the freeze, all
	 * of these and the thaw. */
	(void)snprintf(run->last_step, sizeof(run->last_step), "%s", through ? through : step);
	take_running(run);
	if (json_flag(record, "pauses", false))
		take_stopping(run->s);
	run->held_at_ms = json_int(record, "at_ms", 0);
	return true;
}

static void take_server(struct qmpsnap_snapshot *s, struct json_object *record)
{
	const char *folder = json_string(record, "folder");

	free(s->server_folder);
	s->server_folder = folder && folder[0] ? strdup(folder) : NULL;
	s->server = (enum nbd_server)json_int(record, "state", SERVER_IN_DOUBT);
}

static void take_scratch(
	struct snapshot_disk *d, struct json_object *record, const int *fds, size_t n)
{
	const char *path = json_string(record, "path");

	free(d->scratch_path);
	d->scratch_path = path && path[0] ? strdup(path) : NULL;
	d->scratch_is_reserved = json_flag(record, "reserved", false);
	if (d->scratch_fd >= 0)
		close(d->scratch_fd);
	d->scratch_fd = n == 1 ? fds[0] : -1;
}

static void take_connections(struct snapshot_disk *d, const int *fds, size_t n)
{
	size_t slot = 0;

	for (size_t i = 0; i < n; i++) {
		while (slot < SNAPSHOT_FDS && d->nbd_fds[slot] >= 0)
			slot++;
		if (slot < SNAPSHOT_FDS)
			d->nbd_fds[slot] = fds[i];
	}
}

static struct snapshot_disk *disk_of(struct qmpsnap_snapshot *s, struct json_object *record)
{
	const int64_t i = json_int(record, "disk", -1);

	if (i >= 0 && (size_t)i < s->n_disks)
		return &s->disks[i];
	return i == SNAPSHOT_PIN_INDEX ? &s->pin : NULL;
}

static bool take_of_disk(struct snapshot_disk *d, const char *kind, struct json_object *record,
	const int *fds, size_t n_fds)
{
	if (strcmp(kind, "scratch") == 0)
		take_scratch(d, record, fds, n_fds);
	else if (strcmp(kind, "connections") == 0)
		take_connections(d, fds, n_fds);
	return true;
}

bool record_take(struct taken_run *run, struct json_object *record, const int *fds, size_t n_fds)
{
	const char *kind = json_string(record, "record");
	struct snapshot_disk *d;

	if (!kind)
		return false;
	if (strcmp(kind, "run") == 0)
		return take_run(run, record, fds, n_fds);
	if (strcmp(kind, "alive") == 0) /* comes while the guard starts, too */
		return true;
	if (!run->is_whole) /* the first one is the run */
		return strcmp(kind, "end") == 0 && (run->farewell = true);
	if (strcmp(kind, "method") == 0)
		return take_method(run, record);
	if (strcmp(kind, "step") == 0)
		return take_step(run, record);
	d = disk_of(run->s, record);
	if (d)
		return take_of_disk(d, kind, record, fds, n_fds);
	if (strcmp(kind, "server") == 0)
		take_server(run->s, record);
	else if (strcmp(kind, "journal") == 0)
		take_journal(run->s, fds, n_fds);
	else if (strcmp(kind, "stopping") == 0)
		take_stopping(run->s);
	else if (strcmp(kind, "held") == 0)
		run->held_at_ms = json_int(record, "at_ms", run->held_at_ms);
	else if (strcmp(kind, "running") == 0)
		take_running(run);
	else if (strcmp(kind, "released") == 0)
		take_released(run, record);
	else if (strcmp(kind, "freezing") == 0 || strcmp(kind, "thawing") == 0)
		take_frozen(run);
	else if (strcmp(kind, "thawed") == 0)
		take_thawed(run);
	else if (strcmp(kind, "reset") == 0)
		run->s->freeze.in_doubt = false;
	else if (strcmp(kind, "published") == 0)
		run->published = true;
	else if (strcmp(kind, "left") == 0)
		take_left(run, record);
	else if (strcmp(kind, "end") == 0)
		run->farewell = true;
	return true;
}

bool taken_reached(const struct taken_run *run, const char *step)
{
	const struct method_table *table = run->s->table;
	const size_t last = method_step_index(table, run->last_step);

	return last < *table->n_steps && method_step_index(table, step) <= last;
}
