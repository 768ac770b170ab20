/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/rotate.h"

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/names.h"
#include "blockops/snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- Which -------------------------------------------------------------------------------- */

static bool is_of_guest(struct json_object *record, const struct rotation *r)
{
	const char *uuid = json_string(record, "instance_uuid");

	if (r->uuid)
		return uuid && strcasecmp(uuid, r->uuid) == 0;
	return !name_uuid_is_real(uuid) && shelf_is_guest(record, r->name);
}

static bool is_counted(struct json_object *record, const struct rotation *r)
{
	return shelf_is_ours(record) && shelf_says(record, "image_type", "backup") &&
	       shelf_says(record, "backup_type", r->backup_type) && is_of_guest(record, r);
}

struct set {
	const char *id, *time;
	size_t n; /* images that are there */
	unsigned of; /* so many it has when it is whole; 0: not known */
	bool published, foreign, keep; /* all that is there; it isn't ours; isn't to be deleted */
};

static struct set *find_set(struct set *sets, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(sets[i].id, id) == 0)
			return &sets[i];
	}
	return NULL;
}

/* Oldest first; the one just made is the newest, whatever the clocks say. */
static int compare(const void *a, const void *b, void *newest)
{
	const struct set *one = a, *other = b;
	const int one_new = strcmp(one->id, newest) == 0,
		  other_new = strcmp(other->id, newest) == 0;

	if (one_new != other_new)
		return one_new - other_new;
	return shelf_compare_times(one->time, other->time);
}

static size_t gather(struct set *sets, struct json_object *records, const struct rotation *r)
{
	size_t n = 0;

	for (size_t i = 0; i < json_length(records); i++) {
		struct json_object *record = json_object_array_get_idx(records, i);
		if (!is_counted(record, r))
			continue;
		struct set *set = find_set(sets, n, shelf_set(record));
		if (!set) {
			set = &sets[n++];
			*set = (struct set){.id = shelf_set(record),
				.time = shelf_time(record),
				.published = true};
		}
		/* One that isn't published belongs to a run that goes on, or to a dead one. */
		set->published = set->published && shelf_is_published(record);
		set->foreign = set->foreign || json_flag(record, "foreign", true);
		set->keep = set->keep || shelf_is_protected(record) || !shelf_time(record)[0];
		set->n++;
		if (shelf_set_images(record) > set->of)
			set->of = shelf_set_images(record);
	}
	return n;
}

/* How many of the oldest sets are beyond those that are kept.  A set that misses an image replaces
 * none that is whole; one that a rotation couldn't delete all of goes with the next. */
static size_t count_beyond(const struct set *sets, size_t n, unsigned keep)
{
	unsigned n_kept = 0;

	while (n > 0 && n_kept < keep) {
		n--;
		n_kept += sets[n].n >= sets[n].of;
	}
	return n;
}

static void add_set(struct json_object *doomed, struct json_object *records,
	const struct rotation *r, const char *id)
{
	for (size_t i = 0; i < json_length(records); i++) {
		struct json_object *record = json_object_array_get_idx(records, i);
		if (is_counted(record, r) && strcmp(shelf_set(record), id) == 0)
			json_append(doomed, json_object_get(record));
	}
}

struct json_object *rotate_choose(struct json_object *records, const struct rotation *r)
{
	struct set *sets = calloc(json_length(records) + 1, sizeof(*sets));
	struct json_object *doomed = json_object_new_array();
	size_t n, n_published = 0, n_beyond;

	if (!sets || !doomed) {
		free(sets);
		(void)json_object_put(doomed);
		return NULL;
	}
	n = gather(sets, records, r);
	for (size_t i = 0; i < n; i++) {
		if (sets[i].published && !sets[i].foreign)
			sets[n_published++] = sets[i];
	}
	qsort_r(sets, n_published, sizeof(*sets), compare, (void *)r->newest_set);
	n_beyond = count_beyond(sets, n_published, r->keep);
	for (size_t i = 0; i < n_beyond; i++) {
		if (!sets[i].keep && strcmp(sets[i].id, r->newest_set) != 0)
			add_set(doomed, records, r, sets[i].id);
	}
	free(sets);
	return doomed;
}

/* ---- Whether ------------------------------------------------------------------------------ */

bool rotate_check_options(const struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (!s->rotation)
		return true;
	if (!s->backup_type)
		return error_set(
			err, QMPSNAP_USAGE, "rotation is for backups: a backup type is missing");
	if (s->store && s->store->ops->shelf)
		return true;
	error_set(err, QMPSNAP_USAGE,
		"the store %s: keeps no list of images, so nothing in it can "
		"be rotated",
		s->store ? s->store->ops->kind : "");
	error_hint(err, "leave the rotation out, or use dir:, glance:, s3: or swift:");
	return false;
}

bool rotate_check_guest(const struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (!s->rotation || s->guest.uuid || (s->guest_id && s->guest_id[0]))
		return true;
	error_set(err, QMPSNAP_REFUSED,
		"the guest has no UUID, so it can't be known which older "
		"images are its own");
	error_hint(err, "name the guest with --guest-id, always the same; or leave --rotation out");
	return false;
}

/* ---- Doing it ----------------------------------------------------------------------------- */

static void warn(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	char text[700];

	(void)snprintf(text, sizeof(text), "rotation of backups: %s", err->message);
	snapshot_tell(s, QMPSNAP_EVENT_WARNING, text);
}

static bool is_stopped(const struct qmpsnap_snapshot *s)
{
	return s->rotating.stopped.code != QMPSNAP_OK;
}

static void end(struct qmpsnap_snapshot *s)
{
	if (is_stopped(s))
		warn(s, &s->rotating.stopped);
	(void)json_object_put(s->rotating.doomed);
	s->rotating.doomed = NULL;
	s->rotating.then(s);
}

/* A call that was stopped says no more than that. */
static void take_error(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	s->rotating.call = NULL;
	deadlines_moved(s);
	if (err && !is_stopped(s))
		warn(s, err);
}

static void remove_next(struct qmpsnap_snapshot *s);

static void removed(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct json_object *record =
		json_object_array_get_idx(s->rotating.doomed, s->rotating.at++);

	take_error(s, err);
	if (!err)
		log_line(QMPSNAP_LOG_INFO, "rotation: deleted %s of %s",
			json_string(record, "location"), shelf_time(record));
	remove_next(s);
}

static void remove_next(struct qmpsnap_snapshot *s)
{
	struct json_object *record = json_object_array_get_idx(s->rotating.doomed, s->rotating.at);
	struct qmpsnap_error err;

	if (!record || is_stopped(s)) {
		end(s);
		return;
	}
	s->rotating.call = s->store->ops->shelf->remove(s->store, record, removed, s, &err);
	if (s->rotating.call)
		return;
	warn(s, &err);
	end(s);
}

static struct rotation rotation_of(const struct qmpsnap_snapshot *s)
{
	return (struct rotation){.uuid = s->guest.uuid,
		.name = s->guest_name,
		.backup_type = s->backup_type,
		.keep = s->rotation,
		.newest_set = s->set};
}

static void listed(const struct qmpsnap_error *err, struct json_object *records, void *data)
{
	struct qmpsnap_snapshot *s = data;
	const struct rotation rotation = rotation_of(s);
	struct qmpsnap_error mine;

	if (!err && !(s->rotating.doomed = rotate_choose(records, &rotation))) {
		error_no_memory(&mine);
		err = &mine;
	}
	take_error(s, err);
	if (err)
		end(s);
	else
		remove_next(s);
}

void rotate_start(struct qmpsnap_snapshot *s, void (*then)(struct qmpsnap_snapshot *s))
{
	const struct shelf_filter filter = {
		.instance_uuid = s->guest.uuid, .backup_type = s->backup_type};
	struct qmpsnap_error err;

	s->rotating.then = then;
	if (is_stopped(s)) {
		end(s);
		return;
	}
	s->rotating.call = s->store->ops->shelf->list(s->store, &filter, listed, s, &err);
	if (s->rotating.call)
		return;
	warn(s, &err);
	end(s);
}

void rotate_stop(struct qmpsnap_snapshot *s, const struct qmpsnap_error *why)
{
	if (is_stopped(s))
		return;
	s->rotating.stopped = *why;
	if (s->rotating.call)
		s->rotating.call->ops->stop(s->rotating.call);
}
