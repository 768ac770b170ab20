/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run says of itself. */
#include "blockops/record.h"

#include "base/log.h"

#include <string.h>
#include <unistd.h>

static struct json_object *new_record(const char *kind)
{
	struct json_object *record = json_new();

	json_put_string(record, "record", kind);
	return record;
}

/* Nothing is written while the guest or its file systems stand still for an instant. */
static bool is_silent(const struct qmpsnap_snapshot *s)
{
	if (s->is_guard)
		return false;
	return s->stopped ? !s->table->holds : s->freeze.in_doubt;
}

/* `record` is taken. */
static bool tell_with(struct qmpsnap_snapshot *s, struct json_object *record, const int *fds,
	size_t n_fds, struct qmpsnap_error *err)
{
	bool well = true;

	if (s->journal.fd >= 0 && !is_silent(s))
		well = journal_write(&s->journal, record, err);
	if (s->guard) { /* in any case */
		struct qmpsnap_error second;
		return guard_tell(s->guard, record, fds, n_fds, well ? err : &second) && well;
	}
	json_object_put(record);
	return well;
}

/* What isn't told can't be undone: then the snapshot is given up, unless it is on its way back
 * already. */
static void tell(struct qmpsnap_snapshot *s, struct json_object *record)
{
	struct qmpsnap_error err;

	if (!tell_with(s, record, NULL, 0, &err))
		flow_cancel(&s->flow, &err);
}

static bool nobody_listens(const struct qmpsnap_snapshot *s)
{
	return !s->guard && s->journal.fd < 0;
}

/* ---- The run ---- */

static struct json_object *disks_to_json(const struct qmpsnap_snapshot *s)
{
	struct json_object *disks = json_object_new_array();

	for (size_t i = 0; i < s->n_disks; i++) {
		const struct snapshot_disk *d = &s->disks[i];
		struct json_object *disk = json_new();
		json_put_string(disk, "label", d->label);
		json_put_string(disk, "qom_path", d->qom_path);
		json_put_string(disk, "node", d->node);
		json_put_uint(disk, "virtual_size_bytes", d->virtual_size_bytes);
		json_put_string(disk, "image_id", d->image_id);
		json_put_string(disk, "image_name", d->image_name);
		json_put_int(disk, "format", d->format);
		json_append(disks, disk);
	}
	return disks;
}

static struct json_object *identity_to_json(const struct identity *id)
{
	struct json_object *object = json_new();

	json_put_int(object, "pid", id->pid);
	json_put_uint(object, "pid_namespace", id->pid_namespace);
	json_put_uint(object, "started_ticks", id->started_ticks);
	json_put_uint(object, "socket", id->socket);
	json_put_string(object, "boot", id->boot);
	return object;
}

static struct json_object *run_to_json(const struct qmpsnap_snapshot *s, const char *store)
{
	struct json_object *record = new_record("run");
	char began[NAME_TIME_BYTES];
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	name_time(began, &now);
	json_put_int(record, "schema", RECORD_SCHEMA);
	json_put_string(record, "run", s->run);
	json_put_string(record, "began", began);
	json_put_string(record, "guest", s->guest_name);
	json_put_string(record, "address", s->address.text);
	json_put(record, "qemu", identity_to_json(&s->qemu));
	json_put_string(record, "agent", s->agent ? s->qga_address : NULL);
	json_put_int(record, "freeze_deadline_ms", s->freeze_deadline_ms);
	json_put_int(record, "pid", getpid());
	json_put_string(record, "store", store);
	json_put_string(record, "place", s->store ? s->store->place : NULL);
	json_put_string(record, "method", s->table->key);
	json_put_bool(record, "multi", s->multi);
	json_put_bool(record, "ran", guest_is_running(&s->guest));
	json_put(record, "disks", disks_to_json(s));
	return record;
}

bool record_run(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	const char *kept = s->store ? s->store->kept_spec : NULL;
	struct json_object *record = run_to_json(s, kept ? kept : s->store_spec);
	const bool well = journal_write(&s->journal, record, err);

	json_object_put(record);
	return well;
}

/* Descriptors go along with their names, in that order. */
bool record_run_for_guard(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	const struct {
		const char *name;
		int fd;
	} all[] = {
		{"monitor", s->qmp ? qmp_fd(s->qmp) : -1}, /* offline: no QEMU */
		{"agent", s->agent ? agent_fd(s->agent) : -1},
		{"lock", s->lock.fd},
	};
	struct json_object *record = run_to_json(s, s->store_spec),
			   *names = json_object_new_array();
	int fds[sizeof(all) / sizeof(all[0])];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (all[i].fd < 0)
			continue;
		fds[n++] = all[i].fd;
		json_append(names, json_object_new_string(all[i].name));
	}
	json_put(record, "fds", names);
	json_put_string(record, "lock", s->lock.name);
	return guard_tell(s->guard, record, fds, n, err);
}

bool record_journal(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	const int fds[] = {s->journal.folder, s->journal.fd};

	if (!s->guard)
		return true;
	return guard_tell(s->guard, new_record("journal"), fds, s->journal.fd < 0 ? 1 : 2, err);
}

/* ---- Steps ---- */

static bool will_pause(const struct qmpsnap_snapshot *s)
{
	for (size_t i = s->flow.at; i < s->flow.n_steps; i++) {
		const struct flow_step *step = &s->flow.steps[i];
		if (strcmp(step->name, "pause") == 0)
			return !step->applies || step->applies(s);
	}
	return false;
}

/* As milliseconds since the host's start. */
static void put_now(struct json_object *record)
{
	json_put_int(record, "at_ms", (int64_t)(uv_hrtime() / 1000000));
}

/* Of the journal the pause is one intent, whether it will be begun or not; the guard hears of the
 * `stop` itself. */
static struct json_object *intent_of(
	const struct qmpsnap_snapshot *s, struct json_object *step, const char *name)
{
	const bool freezes = strcmp(name, "freeze") == 0;

	if (!freezes && strcmp(name, "pause") != 0)
		return json_object_get(step);
	struct json_object *intent = new_record("step");
	json_put_string(intent, "step", name);
	json_put_bool(intent, "pauses", !freezes || will_pause(s));
	json_put_string(intent, "through", freezes ? "thaw" : "resume");
	put_now(intent);
	return intent;
}

/* The steps from `stop` to `cont`, and those from the freeze to the thaw, are one intent each; but
 * the guard is told of each beginning, since it times them. */
bool record_step(struct qmpsnap_snapshot *s, const struct flow_step *step)
{
	const bool journalled = s->journal.fd >= 0 && !is_silent(s);
	struct qmpsnap_error err;

	if (nobody_listens(s))
		return false;
	struct json_object *record = new_record("step");
	json_put_string(record, "step", step->name);
	if (strcmp(step->name, "pause") == 0)
		json_put_string(record, "through", "resume");
	struct json_object *intent = intent_of(s, record, step->name);
	if (s->guard && !guard_tell(s->guard, json_object_get(record), NULL, 0, &err))
		flow_cancel(&s->flow, &err);
	if (journalled && !journal_write(&s->journal, intent, &err))
		flow_cancel(&s->flow, &err);
	json_object_put(intent);
	json_object_put(record);
	return journalled;
}

bool record_stopping(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	return !s->guard || guard_tell(s->guard, new_record("stopping"), NULL, 0, err);
}

bool record_freezing(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	return nobody_listens(s) || tell_with(s, new_record("freezing"), NULL, 0, err);
}

/* ---- Within steps ---- */

static void tell_kind(struct qmpsnap_snapshot *s, const char *kind)
{
	if (!nobody_listens(s))
		tell(s, new_record(kind));
}

void record_running(struct qmpsnap_snapshot *s)
{
	tell_kind(s, "running");
}

void record_held(struct qmpsnap_snapshot *s)
{
	struct json_object *record;

	if (nobody_listens(s))
		return;
	record = new_record("held");
	put_now(record);
	tell(s, record);
}

void record_settled(struct qmpsnap_snapshot *s)
{
	struct json_object *record;
	struct qmpsnap_error ignored; /* what it says before is worse, not wrong */

	if (s->stopped || s->journal.fd < 0)
		return;
	record = new_record("running");
	(void)journal_write(&s->journal, record, &ignored);
	json_object_put(record);
}

void record_thawed(struct qmpsnap_snapshot *s)
{
	tell_kind(s, "thawed");
}

void record_reset(struct qmpsnap_snapshot *s)
{
	tell_kind(s, "reset");
}

static void tell_guard(struct qmpsnap_snapshot *s, const char *kind)
{
	struct qmpsnap_error err;

	if (s->guard && !guard_tell(s->guard, new_record(kind), NULL, 0, &err))
		flow_cancel(&s->flow, &err);
}

void record_thawing(struct qmpsnap_snapshot *s)
{
	tell_guard(s, "thawing");
}

void record_holding(struct qmpsnap_snapshot *s)
{
	tell_guard(s, "holding");
}

void record_alive(struct qmpsnap_snapshot *s)
{
	tell_guard(s, "alive");
}

void record_published(struct qmpsnap_snapshot *s)
{
	tell_kind(s, "published");
}

bool record_left(struct qmpsnap_snapshot *s)
{
	const struct flow *f = &s->flow;
	struct json_object *record = new_record("left");
	struct qmpsnap_error ignored;

	json_put_bool(record, "alone",
		f->n_undo_errs == 0 || (f->n_undo_errs == 1 && f->undo_err.code == QMPSNAP_AGENT));
	return guard_tell(s->guard, record, NULL, 0, &ignored);
}

bool record_method(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (nobody_listens(s))
		return true;
	struct json_object *record = new_record("method");
	json_put_string(record, "method", s->table->key);
	return tell_with(s, record, NULL, 0, err);
}

bool record_released(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (nobody_listens(s))
		return true;
	struct json_object *record = new_record("released");
	json_put_bool(record, "detached", s->detached);
	return tell_with(s, record, NULL, 0, err);
}

bool record_server(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (nobody_listens(s))
		return true;
	struct json_object *record = new_record("server");
	json_put_int(record, "state", s->server);
	json_put_string(record, "folder", s->server_folder ? s->server_folder : "");
	return tell_with(s, record, NULL, 0, err);
}

bool record_scratch(struct snapshot_disk *d, struct qmpsnap_error *err)
{
	if (nobody_listens(d->snapshot))
		return true;
	struct json_object *record = new_record("scratch");
	json_put_int(record, "disk", d->index);
	json_put_string(record, "path", d->scratch_path ? d->scratch_path : "");
	json_put_bool(record, "reserved", d->scratch_is_reserved);
	return tell_with(d->snapshot, record, &d->scratch_fd, d->scratch_fd >= 0 ? 1 : 0, err);
}

bool record_connections(
	struct snapshot_disk *d, const int *fds, size_t n_fds, struct qmpsnap_error *err)
{
	if (!d->snapshot->guard)
		return true;
	struct json_object *record = new_record("connections");
	json_put_int(record, "disk", d->index);
	return guard_tell(d->snapshot->guard, record, fds, n_fds, err);
}
