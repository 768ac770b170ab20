/* SPDX-License-Identifier: Apache-2.0
 *
 * A snapshot from its start to its end: the request, the run of the table, the result. */
#include "blockops/snapshot.h"

#include "base/log.h"
#include "base/offline.h"
#include "base/record_rules.h"
#include "blockops/rotate.h"
#include "blockops/steps.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Progress of the table ---- */

static void tell_step(
	struct qmpsnap_snapshot *s, enum qmpsnap_phase phase, const struct flow_step *step)
{
	const struct qmpsnap_event event = {
		.kind = QMPSNAP_EVENT_STEP, .phase = phase, .text = step->name};

	if (s->event)
		s->event(&event, s->data);
}

static void tell_deferred(struct qmpsnap_snapshot *s)
{
	for (size_t i = 0; i < s->n_deferred; i++)
		tell_step(s, s->deferred[i].phase, s->deferred[i].step);
	s->n_deferred = 0;
}

static void fault(const struct qmpsnap_snapshot *s, enum qmpsnap_phase phase, const char *step)
{
	const char *at = phase == QMPSNAP_BEGIN ? s->faults.before
			 : phase == QMPSNAP_END ? s->faults.after
						: NULL;

	if (at && strcmp(at, step) == 0)
		(void)raise(s->faults.signal);
}

/* While the guest or its file systems stand still for us nothing is told to the user; what happened
 * is told once they move. */
void snapshot_watch(void *self, enum qmpsnap_phase phase, const struct flow_step *step)
{
	struct qmpsnap_snapshot *s = self;
	const size_t room = sizeof(s->deferred) / sizeof(s->deferred[0]);

	deadlines_moved(s);
	if (phase == QMPSNAP_BEGIN || phase == QMPSNAP_UNDO_BEGIN)
		s->disk_err = (struct qmpsnap_error){0};
	if (phase == QMPSNAP_BEGIN && !s->speed.loaded)
		speed_sample(s);
	/* The steps from `stop` to `cont` are one intent, told before the first of them. */
	if (phase == QMPSNAP_BEGIN && !s->stopped && record_step(s, step) && step->undo)
		journal_hold(s);
	if (s->stopped ? !s->table->holds : s->freeze.in_doubt) {
		if (s->n_deferred < room)
			s->deferred[s->n_deferred++] = (struct deferred_step){phase, step};
	} else {
		tell_deferred(s);
		tell_step(s, phase, step);
	}
	fault(s, phase, step->name);
}

/* ---- The end ---- */

static struct qmpsnap_image *result_images(const struct qmpsnap_snapshot *s)
{
	struct qmpsnap_image *images = calloc(s->n_disks, sizeof(*images));

	for (size_t i = 0; images && i < s->n_disks; i++) {
		struct snapshot_disk *d = &s->disks[i];
		images[i] = (struct qmpsnap_image){.name = d->image_name,
			.disk = d->label,
			.location = d->image->location,
			.format = d->format,
			.size_bytes = d->image->size_bytes,
			.virtual_size_bytes = d->virtual_size_bytes};
		memcpy(images[i].id, d->image->id[0] ? d->image->id : d->image_id,
			sizeof(images[i].id));
		memcpy(images[i].digest_algorithm, d->image->digest_algorithm,
			sizeof(images[i].digest_algorithm));
		memcpy(images[i].digest, d->image->digest, sizeof(images[i].digest));
	}
	return images;
}

static void hint_at_recover(const struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (err->code == QMPSNAP_STORE)
		error_hint(err, "`qmpsnap recover --all` removes what is left in the store, once "
				"that lets it");
	else if (s->address.kind == QMP_FD && s->address.text[0])
		error_hint(err, "`qmpsnap recover --qmp ADDRESS`, with one of this QEMU's "
				"monitors, removes the rest");
	else if (s->address.text[0])
		error_hint(err, "`qmpsnap recover --qmp %s` removes the rest once QEMU answers",
			s->address.text);
	else
		error_hint(err, "`qmpsnap recover --all` removes the rest");
}

static void end(struct qmpsnap_snapshot *s)
{
	struct flow *f = &s->flow;
	struct qmpsnap_image *images = NULL;
	const bool failed = flow_failed(f);

	if (!failed && !s->dry_run) {
		images = result_images(s);
		s->result.images = images;
		s->result.n_images = images ? s->n_disks : 0;
	}
	for (size_t i = 0; i < s->n_disks; i++)
		s->result.scratch_bytes += s->disks[i].scratch_seen_bytes;
	if (f->undo_err.code != QMPSNAP_OK) {
		if (!f->undo_err.hint[0])
			hint_at_recover(s, &f->undo_err);
		s->result.undo_error = &f->undo_err;
	}
	s->result.total_ms = (double)(uv_hrtime() - s->started_ns) / 1e6;
	s->done(failed ? &f->err : NULL, &s->result, s->data);
	free(images);
	snapshot_free(s);
}

static void on_end(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	if (s->rotation && !s->dry_run && !flow_failed(f))
		rotate_start(s, end);
	else
		end(s);
}

void qmpsnap_snapshot_cancel_saying(
	struct qmpsnap_snapshot *snapshot, enum qmpsnap_code code, const char *message)
{
	struct qmpsnap_error err;

	error_set(&err, code, "%s", message);
	flow_cancel(&snapshot->flow, &err);
	rotate_stop(snapshot, &err);
}

void qmpsnap_snapshot_cancel(struct qmpsnap_snapshot *snapshot, enum qmpsnap_code code)
{
	qmpsnap_snapshot_cancel_saying(snapshot, code,
		code == QMPSNAP_INTERRUPTED ? "given up on request (interrupt)"
					    : "given up on request");
}

void qmpsnap_snapshot_get_status(const struct qmpsnap_snapshot *s, struct qmpsnap_status *status)
{
	*status = (struct qmpsnap_status){
		.run = s->result.run,
		.guest = s->guest_name,
		.method = s->result.run[0] ? s->table->name : "",
		.speed_bytes_per_s = s->pace.bytes_per_s,
		.speed_is_auto = s->speed.is_auto,
		.monitor_is_released = s->released,
		.speed_is_fixed = s->converting != NULL,
	};
}

/* ---- The start ---- */

static bool take_property(struct qmpsnap_snapshot *s, const char *text, struct qmpsnap_error *err)
{
	const char *value;
	char *key;

	if (!record_parse_property(text, &key, &value, err))
		return false;
	json_put_string(s->properties, key, value);
	free(key);
	return true;
}

static bool copy_text(char **to, const char *from, struct qmpsnap_error *err)
{
	*to = from ? strdup(from) : NULL;
	return !from || *to || error_no_memory(err);
}

static bool take_lists(struct qmpsnap_snapshot *s, const struct qmpsnap_snapshot_options *o,
	struct qmpsnap_error *err)
{
	s->wanted = calloc(o->n_disks ? o->n_disks : 1, sizeof(*s->wanted));
	s->properties = json_new();
	if (!s->wanted || !s->properties)
		return error_no_memory(err);
	for (; s->n_wanted < o->n_disks; s->n_wanted++) {
		if (!copy_text(&s->wanted[s->n_wanted], o->disks[s->n_wanted], err))
			return false;
	}
	for (size_t i = 0; i < o->n_properties; i++) {
		if (!take_property(s, o->properties[i], err))
			return false;
	}
	return true;
}

/* QEMU may be asked to open a path below it, from another working directory. */
static bool take_scratch_dir(struct qmpsnap_snapshot *s, const struct qmpsnap_snapshot_options *o,
	struct qmpsnap_error *err)
{
	s->scratch_limit_bytes = o->scratch_limit_bytes;
	if (!o->scratch_dir)
		return true;
	s->scratch_dir = realpath(o->scratch_dir, NULL);
	return s->scratch_dir ||
	       error_errno(err, QMPSNAP_USAGE, errno, "the scratch folder %s", o->scratch_dir);
}

static bool check_release(const struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (!s->release_monitor || s->address.kind != QMP_FD)
		return true;
	error_set(err, QMPSNAP_USAGE, "%s: a monitor given as a descriptor can't be released",
		s->address.text);
	error_hint(err, "nobody could connect to it anew: give the monitor's address");
	return false;
}

static bool take_options(struct qmpsnap_snapshot *s, const struct qmpsnap_snapshot_options *o,
	struct qmpsnap_error *err)
{
	if (!o->qmp_address && !o->image_path)
		return error_set(err, QMPSNAP_USAGE, "no monitor is named");
	if (!offline_check_options(o, err))
		return false;
	s->format = o->format;
	s->quiesce = o->quiesce;
	s->zero_scan = o->zero_scan;
	s->freeze_deadline_ms = o->freeze_deadline_ms ? o->freeze_deadline_ms : SNAPSHOT_FREEZE_MS;
	s->firmware = o->firmware;
	s->allow_plaintext = o->allow_plaintext;
	s->release_monitor = o->release_monitor;
	s->force_share = o->force_share;
	s->parallel = o->parallel ? o->parallel : 2;
	s->no_guard = o->no_guard;
	s->dry_run = o->dry_run;
	s->rotation = o->rotation;
	s->wait_ms = o->wait_ms;
	s->deadlines.whole_ms = o->deadline_ms;
	s->deadlines.stall_ms = o->stall_timeout_ms ? o->stall_timeout_ms : SNAPSHOT_STALL_MS;
	s->open_store = o->open_store;
	pace_init(&s->pace, 0, uv_hrtime());
	speed_set(s, o->speed_bytes_per_s);
	if (o->image_path)
		s->table = method_table(METHOD_OFFLINE);
	return (o->image_path || qmp_address_parse(o->qmp_address, &s->address, err)) &&
	       check_release(s, err) && copy_text(&s->store_spec, o->store_spec, err) &&
	       copy_text(&s->name, o->name, err) && copy_text(&s->guest_id, o->guest_id, err) &&
	       copy_text(&s->guard_path, o->guard_path, err) &&
	       copy_text(&s->state_dir, o->state_dir, err) &&
	       copy_text(&s->method_wanted, o->method, err) &&
	       copy_text(&s->flavour_wanted, o->flavour, err) &&
	       copy_text(&s->qga_address, o->qga_address, err) &&
	       copy_text(&s->image_path, o->image_path, err) &&
	       copy_text(&s->image_format, o->image_format, err) && take_scratch_dir(s, o, err) &&
	       take_lists(s, o, err) && copy_text(&s->backup_type, o->backup_type, err) &&
	       rotate_check_options(s, err);
}

static void on_first_turn(struct qmpsnap_snapshot *s)
{
	if (flow_failed(&s->flow)) { /* cancelled before it began */
		on_end(&s->flow, s);
		return;
	}
	deadlines_begin(s);
	snapshot_tell(s, QMPSNAP_EVENT_STATE, "image_snapshot_pending");
	flow_run(&s->flow, s->table->steps, *s->table->n_steps, s, on_end, snapshot_watch);
}

struct qmpsnap_snapshot *qmpsnap_snapshot_start(struct uv_loop_s *loop,
	const struct qmpsnap_snapshot_options *options, struct qmpsnap_store *store,
	qmpsnap_event_fn *event, qmpsnap_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct qmpsnap_snapshot *s = snapshot_new(loop);

	if (!s) {
		error_no_memory(err);
		return NULL;
	}
	s->store = store;
	s->event = event;
	s->done = done;
	s->data = data;
	s->result.method = s->result.reason = s->result.consistency = "";
	if (!take_options(s, options, err)) {
		snapshot_free(s);
		return NULL;
	}
	snapshot_after(s, 0, on_first_turn);
	return s;
}
