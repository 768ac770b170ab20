/* SPDX-License-Identifier: Apache-2.0
 *
 * The first steps: the monitor, the guest, the decision.  None of them touches the guest. */
#include "base/log.h"
#include "blockops/dangers.h"
#include "blockops/decide.h"
#include "blockops/method.h"
#include "blockops/rotate.h"
#include "blockops/steps.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- connect ---- */

static void on_ready(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	flow_done(&s->flow, err);
}

/* QEMU is gone, or its monitor is: whatever runs can't succeed any more, unless it has given all
 * that is needed of it. */
static void on_lost(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (s->detached)
		log_line(QMPSNAP_LOG_INFO, "%s; the copies are made, so the snapshot goes on",
			err->message);
	else
		flow_cancel(&s->flow, err);
}

static void on_event(const char *name, struct json_object *event_data, void *user)
{
	struct qmpsnap_snapshot *s = user;

	(void)event_data;
	freeze_on_event(s, name);
	cold_on_event(s, name);
	pause_on_event(s, name);
	if (strcmp(name, "SHUTDOWN") == 0)
		s->shut_down = true;
}

bool monitor_connect(struct qmpsnap_snapshot *s, const struct qmp_options *options,
	qmp_ready_fn *ready, struct qmpsnap_error *err)
{
	s->qmp = qmp_open(s->loop, &s->address, options, ready, on_lost, s, err);
	if (!s->qmp)
		return false;
	s->on_event = (struct qmp_subscription){.fn = on_event, .user = s};
	qmp_subscribe(s->qmp, &s->on_event);
	return true;
}

void monitor_open(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	const struct qmp_options options = {.has_fd = s->monitor_fd >= 0, .fd = s->monitor_fd};
	struct qmpsnap_error err;

	f->ready = monitor_regain;
	f->spoilt = monitor_is_lost;
	s->monitor_fd = -1;
	if (!monitor_connect(s, &options, on_ready, &err))
		flow_done(f, &err);
}

static void on_monitor_closed(void *data)
{
	struct qmpsnap_snapshot *s = data;

	flow_done(&s->flow, NULL);
}

/* The handshake may be waiting for a monitor that is somebody else's for hours. */
void monitor_cancel(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmp_client *qmp = s->qmp;

	(void)f;
	s->qmp = NULL;
	qmp_close(qmp, on_monitor_closed, s);
}

void monitor_close(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmp_client *qmp = s->qmp;

	s->qmp = NULL;
	if (qmp)
		qmp_close(qmp, on_monitor_closed, s);
	else
		flow_done(f, NULL);
}

/* ---- inspect ---- */

void guest_inspect(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	inspect_start(&s->inspect, s->qmp, &s->guest, on_ready, s);
}

/* ---- plan ---- */

/* <guest> of the names: what identifies the guest to a human. */
static void name_the_guest(struct qmpsnap_snapshot *s)
{
	char path[sizeof(s->address.path)];
	const char *name = s->guest_id ? s->guest_id : s->guest.name;

	if (!name || !name[0])
		name = s->guest.uuid;
	if (!name) {
		memcpy(path, s->address.path, sizeof(path));
		name = path[0] ? basename(path) : "guest";
	}
	(void)snprintf(s->guest_name, sizeof(s->guest_name), "%s", name);
}

bool plan_take_disk(
	struct snapshot_disk *d, const struct guest_disk *from, struct qmpsnap_error *err)
{
	struct qmpsnap_snapshot *s = d->snapshot;
	char when[NAME_TIME_BYTES];
	struct timespec now;
	const char *name = s->name;
	char *made = NULL;

	clock_gettime(CLOCK_REALTIME, &now);
	name_time_compact(when, &now);
	if (!name && asprintf(&made, "%s-%s", s->guest_name, when) < 0)
		return error_no_memory(err);
	if (!name)
		name = made;
	d->label = strdup(from->id);
	d->qom_path = strdup(from->qom_path);
	d->node = strdup(from->node);
	d->virtual_size_bytes = from->virtual_size_bytes;
	d->host_bytes = from->host_bytes;
	d->node_options = from->options;
	d->format = decide_format(s->format, from);
	d->plaintext = from->encrypted;
	if (asprintf(&d->image_name, s->n_disks > 1 ? "%s-%s" : "%s", name, from->id) < 0)
		d->image_name = NULL;
	free(made);
	if (!d->label || !d->qom_path || !d->node || !d->image_name)
		return error_no_memory(err);
	if (!name_new_uuid(d->image_id))
		return error_set(err, QMPSNAP_INTERNAL, "the system gives no random bytes");
	return images_check_record(d, err);
}

/* What nobody asked to leave out. */
static void note_skipped(const struct guest *guest)
{
	for (size_t i = 0; i < guest->n_disks; i++) {
		const struct guest_disk *disk = &guest->disks[i];

		if (!disk->inserted)
			log_line(QMPSNAP_LOG_INFO, "drive %s is empty and is skipped", disk->id);
		else if (disk->read_only && !disk->firmware)
			log_line(QMPSNAP_LOG_WARNING, "disk %s is read-only and is skipped",
				disk->id);
		else if (!disk->qom_path)
			log_line(QMPSNAP_LOG_INFO, "drive %s is no device's and is skipped",
				disk->id);
	}
}

static void warn_of_plaintext(struct snapshot_disk *d)
{
	char text[256];

	(void)snprintf(text, sizeof(text),
		"disk %s is encrypted: its image and what is kept on this host meanwhile are not",
		d->label);
	snapshot_tell(d->snapshot, QMPSNAP_EVENT_WARNING, text);
}

static struct method_request what_was_asked(const struct qmpsnap_snapshot *s)
{
	return (struct method_request){.method = s->method_wanted,
		.flavour = s->flavour_wanted,
		.format = s->format,
		.allow_plaintext = s->allow_plaintext,
		.release_monitor = s->release_monitor};
}

static void use_decision(struct qmpsnap_snapshot *s)
{
	s->table = method_table(s->decision.method);
	s->check_reads = s->decision.method == METHOD_FILTER && danger_of_wide_reads(&s->guest);
	s->result.method = s->table->name;
	s->result.reason = s->decision.reason;
	log_line(QMPSNAP_LOG_INFO, "method %s: %s", s->table->name, s->decision.reason);
}

static bool choose_disks(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	const struct guest_disk *chosen[GUEST_MAX_DISKS];
	const struct method_request request = what_was_asked(s);
	size_t n = 0;

	const struct method_selection selection = {.wanted = (const char *const *)s->wanted,
		.n_wanted = s->n_wanted,
		.firmware = s->firmware};
	if (!method_select(&s->guest, &selection, chosen, &n, err))
		return false;
	if (s->n_wanted == 0)
		note_skipped(&s->guest);
	const unsigned most = s->store ? s->store->ops->max_images : 0;
	if (n > SNAPSHOT_MAX_DISKS || (most && n > most)) {
		error_set(err, QMPSNAP_USAGE, "%zu disks are chosen and %s takes %u", n,
			n > SNAPSHOT_MAX_DISKS ? "a snapshot" : "the store",
			n > SNAPSHOT_MAX_DISKS ? (unsigned)SNAPSHOT_MAX_DISKS : most);
		error_hint(err, "choose with --disk, or use a directory as the store");
		return false;
	}
	if (!decide(&s->guest, chosen, n, &request, &s->decision, err))
		return false;
	use_decision(s);
	if (!snapshot_add_disks(s, n))
		return error_no_memory(err);
	for (size_t i = 0; i < n; i++) {
		if (!plan_take_disk(&s->disks[i], chosen[i], err))
			return false;
		if (s->disks[i].plaintext)
			warn_of_plaintext(&s->disks[i]);
	}
	s->multi = n > 1 && guest_is_running(&s->guest);
	return true;
}

/* It stood still when asked, and doesn't any more. */
static bool stands_as_inspected(const struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (!s->resumed_by_others || guest_is_running(&s->guest))
		return true;
	error_set(err, QMPSNAP_QEMU, "somebody continued the guest while it was being inspected");
	error_hint(err, "run it again");
	return false;
}

static bool make_plan(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (!monitor_reaches(s, err) || !method_state_allows(&s->guest, err) ||
		!stands_as_inspected(s, err) || !(s->run[0] || name_new_run(s->run)) ||
		!name_new_uuid(s->set)) {
		return err->code != QMPSNAP_OK ? false
					       : error_set(err, QMPSNAP_INTERNAL,
							 "the system gives no random bytes");
	}
	name_the_guest(s);
	if (!rotate_check_guest(s, err) || !choose_disks(s, err))
		return false;
	s->result.consistency =
		s->guest.status && strcmp(s->guest.status, "paused") == 0 ? "paused" : "crash";
	memcpy(s->result.run, s->run, sizeof(s->result.run));
	memcpy(s->result.set, s->set, sizeof(s->result.set));
	return true;
}

void plan_print(struct qmpsnap_snapshot *s)
{
	char line[512];

	(void)snprintf(line, sizeof(line), "method %s: %s", s->table->name, s->decision.reason);
	snapshot_tell(s, QMPSNAP_EVENT_PLAN, line);
	for (size_t i = 0; i < s->n_disks; i++) {
		(void)snprintf(line, sizeof(line), "disk %s: %s, node %s, image %s",
			s->disks[i].label, s->disks[i].qom_path, s->disks[i].node,
			s->disks[i].image_name);
		snapshot_tell(s, QMPSNAP_EVENT_PLAN, line);
	}
	for (size_t i = 0; i < *s->table->n_steps; i++) {
		const struct flow_step *step = &s->table->steps[i];
		if (step->applies && !step->applies(s))
			continue;
		(void)snprintf(line, sizeof(line), "%s: %s", step->name, step->text);
		snapshot_tell(s, QMPSNAP_EVENT_PLAN, line);
	}
	if (s->rotation) {
		(void)snprintf(line, sizeof(line),
			"rotate: delete the oldest sets of the type %.200s beyond %u",
			s->backup_type, s->rotation);
		snapshot_tell(s, QMPSNAP_EVENT_PLAN, line);
	}
}

void plan_make(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err = {0};

	if (make_plan(s, &err)) {
		flow_go_on_with(f, s->table->steps,
			s->dry_run ? f->at + 1 + s->table->n_looks : *s->table->n_steps);
		if (s->dry_run)
			plan_print(s);
		else
			speed_watch(s);
	}
	flow_done(f, &err);
}

static const struct guest_disk *disk_of_node(const struct guest *guest, const char *node)
{
	for (size_t i = 0; i < guest->n_disks; i++) {
		if (guest->disks[i].node && strcmp(guest->disks[i].node, node) == 0)
			return &guest->disks[i];
	}
	return NULL;
}

bool plan_without_server(struct qmpsnap_snapshot *s)
{
	const struct guest_disk *chosen[SNAPSHOT_MAX_DISKS];
	const struct method_request request = what_was_asked(s);
	struct decision decision;
	struct qmpsnap_error err;

	if (!decide_is_open(&request))
		return false;
	for (size_t i = 0; i < s->n_disks; i++) {
		chosen[i] = disk_of_node(&s->guest, s->disks[i].node);
		if (!chosen[i])
			return false;
	}
	if (!decide_without_server(&s->guest, chosen, s->n_disks, &request, &decision, &err)) {
		log_line(QMPSNAP_LOG_INFO, "nor can it be done without one: %s", err.message);
		return false;
	}
	s->decision = decision;
	use_decision(s);
	s->server_refused = true;
	if (!record_method(s, &err)) {
		flow_cancel(&s->flow, &err);
		return false;
	}
	flow_go_on_with(&s->flow, s->table->steps, *s->table->n_steps);
	return true;
}
