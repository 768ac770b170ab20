/* SPDX-License-Identifier: Apache-2.0
 *
 * The cold copy: what qemu-img reads while the guest stands still, by our `stop` or by that of
 * others.  A `stop` ends with all of QEMU's caches flushed into the files. */
#include "blockops/steps.h"

#include <string.h>

bool cold_pause_applies(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	return s->is_guard || guest_is_running(&s->guest);
}

static void end_copy(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	s->holding = false;
	snapshot_timer_stop(s);
	flow_done(&s->flow, err);
}

static void say_resumed(struct qmpsnap_error *err)
{
	error_set(err, QMPSNAP_QEMU,
		"somebody continued the guest while its disks were being copied, so the copy is of "
		"no one instant");
	error_hint(err, "run it again");
}

/* Nothing of ours is in QEMU that would keep it from migrating, and it takes our stop along. */
static void say_migrated(const struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	error_set(err, QMPSNAP_QEMU,
		"others migrated the guest while its disks were being copied, so the copy may hold "
		"what was written elsewhere since");
	if (s->stopped)
		error_hint(err, "if the migration has completed, the guest has arrived stopped for "
				"the copy: send cont to its QEMU at the destination, then run it "
				"again there");
	else
		error_hint(err, "run it again, at its destination if the migration has completed");
}

/* Only while the guest stands still is the copy one instant.  A reset changes nothing on its disks:
 * the devices have no request under way by then, and the guest that starts anew doesn't run yet. */
static bool stands_still(const struct qmpsnap_snapshot *s, const char *status)
{
	if (s->stopped)
		return guest_status_is_held(status);
	return status && s->guest.status &&
	       (strcmp(status, s->guest.status) == 0 || guest_status_is_reset(status));
}

static bool check_still(
	const struct qmpsnap_snapshot *s, struct json_object *result, struct qmpsnap_error *err)
{
	const char *status = json_string(result, "status");

	if (stands_still(s, status))
		return true;
	if (guest_status_is_migrated(status))
		say_migrated(s, err);
	else
		say_resumed(err);
	return false;
}

static void on_status_after(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error mine;

	if (!err && !flow_failed(&s->flow) && !check_still(s, result, &mine))
		err = &mine;
	if (!err && !flow_failed(&s->flow)) {
		s->detached = true;
		snapshot_tell(s, QMPSNAP_EVENT_STATE, "image_pending_upload");
	}
	end_copy(s, err);
}

/* While nobody says that the guest is held on purpose. */
static void ask_status(struct qmpsnap_snapshot *s, qmp_reply_fn *reply)
{
	struct qmp_request *request = qmp_request_new("query-status", NULL);

	if (request)
		qmp_send(s->qmp, request, snapshot_instant_ms(s), reply, s);
	else
		qmp_execute(s->qmp, "query-status", NULL, reply, s); /* has a reserve */
}

static void after_copies(struct qmpsnap_snapshot *s)
{
	ask_status(s, on_status_after);
}

static void copy_disks(struct qmpsnap_snapshot *s, const struct qmpsnap_error *changed)
{
	if (changed || flow_failed(&s->flow)) {
		end_copy(s, changed);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &s->instant);
	name_time(s->result.instant, &s->instant);
	convert_disks(s, after_copies);
}

static void on_status_before(
	struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error mine;

	if (!err && !flow_failed(&s->flow) && !check_still(s, result, &mine))
		err = &mine;
	if (err || flow_failed(&s->flow)) {
		end_copy(s, err);
		return;
	}
	if (s->stopped)
		pause_keep_telling(s);
	devices_check(s, copy_disks);
}

void cold_copy(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	s->holding = true;
	ask_status(s, on_status_before);
}

/* The end of a copy that was given up comes through the disk loop. */
void cold_copy_cancel(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	s->holding = false;
	snapshot_timer_stop(s);
	convert_cancel(s);
}

void cold_on_event(struct qmpsnap_snapshot *s, const char *name)
{
	struct qmpsnap_error err;

	if (!s->holding || strcmp(name, "RESUME") != 0)
		return;
	/* Whoever stops it from now on isn't us. */
	if (s->stopped)
		pause_over(s);
	say_resumed(&err);
	flow_cancel(&s->flow, &err);
}
