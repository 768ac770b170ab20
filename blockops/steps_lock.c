/* SPDX-License-Identifier: Apache-2.0
 *
 * One run per guest; and before it begins, what runs that were killed have left of the same guest
 * is undone.  All before the handshake: a monitor that another run holds greets nobody. */
#include "base/log.h"
#include "blockops/recover_journal.h"
#include "blockops/steps.h"

#include <unistd.h>

enum { LOOK_AGAIN_MS = 200 };

bool guest_lock_applies(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	return !s->dry_run && !s->is_guard;
}

static void drop_connection(struct qmpsnap_snapshot *s)
{
	if (s->monitor_fd >= 0)
		(void)close(s->monitor_fd);
	s->monitor_fd = -1;
}

static bool connect_again(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	drop_connection(s);
	s->monitor_fd = qmp_address_connect(&s->address, err);
	return s->monitor_fd >= 0;
}

/* The guest may have been started anew meanwhile: then that one is to be locked. */
static bool is_still_the_guest(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	const struct identity before = s->qemu;

	if (s->monitor_fd >= 0)
		return true;
	if (!connect_again(s, err))
		return false;
	identity_of(s->monitor_fd, &s->qemu);
	return identity_equals(&before, &s->qemu);
}

static void try_lock(struct qmpsnap_snapshot *s);

static void go_on_with_the_guest(struct qmpsnap_snapshot *s, snapshot_fn *then)
{
	struct qmpsnap_error err = {0};

	if (is_still_the_guest(s, &err)) {
		then(s);
		return;
	}
	guest_lock_drop(&s->lock);
	if (err.code == QMPSNAP_OK && !identity_is_known(&s->qemu))
		error_set(&err, QMPSNAP_REFUSED, "%s: another process serves this monitor now",
			s->address.text);
	if (err.code != QMPSNAP_OK)
		flow_done(&s->flow, &err);
	else
		snapshot_after(s, 0, try_lock);
}

static void locked(struct qmpsnap_snapshot *s)
{
	flow_done(&s->flow, NULL);
}

/* ---- What dead runs have left ---- */

static void on_found(const char *phrase, void *data)
{
	(void)data;
	log_line(QMPSNAP_LOG_WARNING, "%s", phrase);
}

static void on_recovered(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error mine = {0};

	s->recovering = false;
	if (err && err->code != QMPSNAP_STORE && err->code != QMPSNAP_AGENT) {
		mine = *err;
		mine.code = QMPSNAP_REFUSED;
		error_wrap(&mine, "an earlier run was killed, and can't be undone");
		flow_done(&s->flow, &mine);
		return;
	}
	if (err)
		log_line(QMPSNAP_LOG_WARNING, "%s", err->message);
	go_on_with_the_guest(s, locked);
}

/* The monitor serves one client at a time. */
static void undo_dead_runs(struct qmpsnap_snapshot *s)
{
	s->way = (struct monitor_way){.address = &s->address};
	const struct journal_recovery options = {.loop = s->loop,
		.state = s->state_dir,
		.guest = &s->qemu,
		.address = s->address.text,
		.way = &s->way,
		.only_gone = true,
		.locked = &s->qemu,
		.warned = true,
		.open_store = s->open_store,
		.found = on_found,
		.done = on_recovered,
		.data = s};
	struct journal_recovery look = options;
	struct qmpsnap_error err = {0};

	look.done = NULL;
	if (!journal_recovery_needed(&look)) {
		flow_done(&s->flow, NULL);
		return;
	}
	if (s->address.kind == QMP_FD) {
		error_set(&err, QMPSNAP_REFUSED,
			"an earlier run was killed, and a connection given as a descriptor can't "
			"be used to undo it first");
		error_hint(&err, "qmpsnap recover --qmp ADDRESS");
		flow_done(&s->flow, &err);
		return;
	}
	drop_connection(s);
	s->recovering = true;
	if (!journal_recovery_start(&options, &err)) {
		s->recovering = false;
		flow_done(&s->flow, &err);
	}
}

/* ---- The lock ---- */

static void say_taken(const char *holder, struct qmpsnap_error *err)
{
	error_set(err, QMPSNAP_REFUSED, "%s is at work on this guest", holder);
	error_hint(err, "--wait 10m waits for its end; `qmpsnap status` lists the runs of a user");
}

/* Not connected meanwhile: the queue of a monitor is short. */
static void wait_for(struct qmpsnap_snapshot *s, const char *holder)
{
	const uint64_t waited_ms = (uv_hrtime() - s->wait_from_ns) / 1000000;
	struct qmpsnap_error err;

	if (waited_ms >= s->wait_ms) {
		say_taken(holder, &err);
		flow_done(&s->flow, &err);
		return;
	}
	deadlines_moved(s); /* of the wait --wait is the limit */
	if (s->monitor_fd >= 0)
		log_line(QMPSNAP_LOG_INFO, "%s is at work on this guest: waiting for it", holder);
	drop_connection(s);
	snapshot_after(s, LOOK_AGAIN_MS, try_lock);
}

static void try_lock(struct qmpsnap_snapshot *s)
{
	char holder[GUEST_LOCK_HOLDER_BYTES];
	struct qmpsnap_error err = {0};
	const int taken = guest_lock_take(&s->lock, &s->qemu, s->run, holder, &err);

	if (taken < 0) {
		flow_done(&s->flow, &err);
	} else if (taken == 0) {
		wait_for(s, holder);
	} else {
		go_on_with_the_guest(s, undo_dead_runs);
	}
}

void guest_lock_begin(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err;

	if (!name_new_run(s->run)) {
		error_set(&err, QMPSNAP_INTERNAL, "the system gives no random bytes");
		flow_done(f, &err);
		return;
	}
	if (!connect_again(s, &err)) {
		flow_done(f, &err);
		return;
	}
	identity_of(s->monitor_fd, &s->qemu);
	if (!identity_is_known(&s->qemu)) {
		log_line(QMPSNAP_LOG_INFO,
			"nobody can tell which process is behind %s: another run on the same "
			"guest won't be noticed",
			s->address.text);
		flow_done(f, NULL);
		return;
	}
	s->wait_from_ns = uv_hrtime();
	try_lock(s);
}

/* What is being undone has to be. */
void guest_lock_cancel(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	if (s->recovering)
		return;
	snapshot_timer_stop(s);
	flow_done(f, NULL);
}

/* A guard that goes on thawing keeps it. */
void guest_lock_end(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	drop_connection(s);
	if (s->freeze.in_doubt)
		guest_lock_close(&s->lock);
	else
		guest_lock_drop(&s->lock);
	flow_done(f, NULL);
}
