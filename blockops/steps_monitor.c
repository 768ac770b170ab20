/* SPDX-License-Identifier: Apache-2.0
 *
 * The monitor left to others during the upload, and had again for the undo; and what a monitor
 * over TCP can be used for. */
#include "base/log.h"
#include "blockops/steps.h"
#include "qmp/peer.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum {
	RETAKE_MS = 60000,
	GUARD_RETAKE_MS = 600000, /* nobody waits for a guard */
	FIRST_PAUSE_MS = 50,
	LONGEST_PAUSE_MS = 1000,
};

/* ---- TCP ---- */

bool monitor_reaches(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (s->address.kind != QMP_TCP)
		return true;
	if (!peer_is_here(qmp_fd(s->qmp), err)) {
		error_wrap(err, "%s: no snapshot over this monitor", s->address.text);
		error_hint(err, "QEMU must be able to open files of ours: give the guest a unix "
				"monitor (-qmp unix:PATH,server=on,wait=off), or run qmpsnap where "
				"QEMU runs, as its user or root");
		return false;
	}
	s->by_paths = true;
	return true;
}

/* ---- release ---- */

bool release_applies(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	return s->release_monitor;
}

static void on_released(void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (s->speed.is_auto)
		log_line(QMPSNAP_LOG_WARNING,
			"the monitor is released: until the undo, --speed auto can't see the "
			"guest's writes");
	flow_done(&s->flow, NULL);
}

/* Events aren't heard from here on; a view that breaks is seen by its readers. */
void monitor_release(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmp_client *qmp = s->qmp;
	struct qmpsnap_error err;

	if (!qmp) { /* its end was seen already, and is no harm any more */
		flow_done(f, NULL);
		return;
	}
	if (!record_released(s, &err)) {
		flow_done(f, &err);
		return;
	}
	s->released = true;
	s->qmp = NULL;
	/* QEMU sees its end now, also while a slow guard still holds a duplicate. */
	(void)shutdown(qmp_fd(qmp), SHUT_RDWR);
	qmp_close(qmp, on_released, s);
}

/* ---- Undo ---- */

/* The kernel closes the connections of a process that has died. */
static bool any_connection_stands(const struct qmpsnap_snapshot *s)
{
	for (size_t i = 0; i < s->n_disks; i++) {
		for (size_t c = 0; c < SNAPSHOT_FDS; c++) {
			struct pollfd nbd = {.fd = s->disks[i].nbd_fds[c]};

			if (nbd.fd >= 0 && poll(&nbd, 1, 0) >= 0 && !(nbd.revents & POLLHUP))
				return true;
		}
	}
	return false;
}

static void try_again(struct qmpsnap_snapshot *s);

static unsigned limit_ms(const struct qmpsnap_snapshot *s)
{
	return s->is_guard ? GUARD_RETAKE_MS : RETAKE_MS;
}

static uint64_t waited_ms(const struct qmpsnap_snapshot *s)
{
	return (uv_hrtime() - s->wait_from_ns) / 1000000;
}

static void on_attempt_failed(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	struct qmpsnap_error mine;
	const unsigned pause_ms = s->retake_ms;

	if ((err->detail == ENOENT || err->detail == ECONNREFUSED) && !any_connection_stands(s) &&
		!snapshot_qemu_lives(s)) {
		flow_done(&s->flow, NULL); /* QEMU is gone, and with it all of ours */
		return;
	}
	if (waited_ms(s) < limit_ms(s)) {
		s->retake_ms = pause_ms * 2 < LONGEST_PAUSE_MS ? pause_ms * 2 : LONGEST_PAUSE_MS;
		snapshot_after(s, pause_ms, try_again);
		return;
	}
	s->out_of_reach = true;
	error_set(&mine, QMPSNAP_DEADLINE,
		"the released monitor couldn't be had again within %u s (%s)", limit_ms(s) / 1000,
		err->message);
	error_hint(&mine, "once it is free, `qmpsnap recover --qmp %s` removes what is left",
		s->address.text);
	flow_done(&s->flow, &mine);
}

static void on_attempt_closed(void *data)
{
	struct qmpsnap_snapshot *s = data;

	on_attempt_failed(s, &s->disk_err);
}

static void attempt_over(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	struct qmp_client *qmp = s->qmp;

	s->disk_err = *err;
	s->qmp = NULL;
	qmp_close(qmp, on_attempt_closed, s);
}

static void on_not_ours(void *data)
{
	struct qmpsnap_snapshot *s = data;

	flow_done(&s->flow, NULL);
}

/* The guest may have been started anew at the same address: in a QEMU that has no node of this run
 * nothing is ours, its NBD server neither. */
static void on_names(const struct node_names *names, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmp_client *qmp = s->qmp;

	if (!err && node_names_have_run(names, s->run)) {
		s->released = false;
		flow_done(&s->flow, NULL);
		return;
	}
	if (err && !qmp_is_lost(qmp)) {
		flow_done(&s->flow, err);
	} else if (err) {
		attempt_over(s, err);
	} else {
		s->qmp = NULL;
		qmp_close(qmp, on_not_ours, s);
	}
}

static void on_ready(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (err) {
		attempt_over(s, err);
		return;
	}
	node_names_ask(&s->names, s->qmp, on_names, s);
}

/* QEMU greets its clients one after the other, so what has connected stays in the queue. */
static void try_again(struct qmpsnap_snapshot *s)
{
	const uint64_t waited = waited_ms(s);
	const struct qmp_options options = {
		.handshake_ms = waited < limit_ms(s) ? limit_ms(s) - (unsigned)waited : 1};
	struct qmpsnap_error err;

	if (!monitor_connect(s, &options, on_ready, &err))
		on_attempt_failed(s, &err);
}

void monitor_retake(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	/* Nothing of a method stands in QEMU any more once its images are in files of ours. */
	if (!s->released || s->qmp || s->detached) {
		flow_done(f, NULL);
		return;
	}
	s->wait_from_ns = uv_hrtime();
	s->retake_ms = FIRST_PAUSE_MS;
	try_again(s);
}
