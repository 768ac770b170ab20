/* SPDX-License-Identifier: Apache-2.0
 *
 * The preflight: what would make a snapshot fail later and can be known now, while nothing is made
 * yet, in QEMU, on this host or in the store. */
#include "base/units.h"
#include "blockops/scratch_file.h"
#include "blockops/steps.h"

static struct store_need what_is_needed(const struct qmpsnap_snapshot *s)
{
	struct store_need need = {.n_images = (unsigned)s->n_disks};

	for (size_t i = 0; i < s->n_disks; i++) {
		if (s->disks[i].format == QMPSNAP_RAW)
			need.least_bytes += s->disks[i].virtual_size_bytes;
	}
	return need;
}

/* A dry run says what was found. */
static void tell_found(struct qmpsnap_snapshot *s)
{
	char line[512], room_text[UNITS_TEXT_BYTES];
	struct qmpsnap_error err;
	uint64_t room = 0;

	if (scratch_file_room(s, &room, &err)) {
		units_format_size(room_text, room);
		(void)snprintf(line, sizeof(line), "found: %s may be taken in %.400s", room_text,
			scratch_file_folder(s));
		snapshot_tell(s, QMPSNAP_EVENT_PLAN, line);
	}
	if (!s->store || !s->store->ops->check)
		return;
	(void)snprintf(
		line, sizeof(line), "found: %.400s takes images", qmpsnap_store_spec(s->store));
	snapshot_tell(s, QMPSNAP_EVENT_PLAN, line);
}

static void checked(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	if (!err && s->dry_run)
		tell_found(s);
	else if (!err)
		snapshot_tell(s, QMPSNAP_EVENT_STATE, "image_snapshot");
	flow_done(&s->flow, err);
}

static void on_store_checked(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	s->checking = NULL;
	checked(s, err);
}

void check_begin(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	const struct store_need need = what_is_needed(s);
	struct qmpsnap_error err = {0};

	if (!s->table->has_room(s, &err)) {
		flow_done(f, &err);
		return;
	}
	if (!s->store || !s->store->ops->check) {
		checked(s, NULL);
		return;
	}
	s->checking = s->store->ops->check(s->store, &need, on_store_checked, s, &err);
	if (!s->checking)
		flow_done(f, &err);
}

void check_cancel(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	if (s->checking)
		s->checking->stop(s->checking);
}
