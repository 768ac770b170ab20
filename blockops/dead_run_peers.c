/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/dead_run_peers.h"

#include "blockops/steps.h"

#include <string.h>

/* "Not there" must not be believed of another service, nor in the name of somebody else. */
static bool is_its_store(const struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	const char *place = s->store->place;

	if (!s->store_place || (place && strcmp(place, s->store_place) == 0))
		return true;
	error_set(err, QMPSNAP_STORE, "the settings of this process lead to %.200s instead",
		place ? place : "another place");
	error_hint(err,
		"recover with the settings of that run; if nothing is left there, delete its "
		"journal");
	return false;
}

/* Credentials are found as the run had found them: in the environment, or in clouds.yaml. */
bool dead_run_open_store(
	const struct journal_recovery *o, struct taken_run *run, struct qmpsnap_error *err)
{
	struct qmpsnap_snapshot *s = run->s;
	const bool placed = s->store_place;

	if (run->published || !taken_reached(run, "images"))
		return true;
	if (o->open_store)
		s->store = o->open_store(o->loop, s->store_spec, err);
	else
		error_set(err, QMPSNAP_STORE, "no store was given");
	if (s->store && is_its_store(s, err))
		return true;
	qmpsnap_store_close(s->store);
	s->store = NULL;
	error_wrap(err, "unpublished images may be left in %.200s%s%.200s%s",
		s->store_spec ? s->store_spec : "the default store", placed ? " (" : "",
		placed ? s->store_place : "", placed ? ")" : "");
	err->code = QMPSNAP_STORE; /* whatever the reason is: no more than images is left */
	return false;
}

bool dead_run_lock(
	const struct journal_recovery *o, struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	char holder[GUEST_LOCK_HOLDER_BYTES];

	if (o->locked && identity_equals(o->locked, &s->qemu))
		return true;
	const int taken = guest_lock_take(&s->lock, &s->qemu, s->run, holder, err);
	if (taken == 0) {
		error_set(err, QMPSNAP_REFUSED, "%s is at work on this guest", holder);
		error_hint(err, "recover again when it has ended");
	}
	return taken > 0;
}

int dead_run_connect(
	const struct journal_recovery *o, struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	const bool named = o->address && strcmp(o->address, s->address.text) == 0;

	if (o->way && identity_equals(o->guest, &s->qemu))
		s->address = *o->way->address; /* should it have to be had again, too */
	else if (s->address.kind == QMP_FD && !named) {
		error_set(err, QMPSNAP_QEMU,
			"its monitor was given as a descriptor, which nobody else has");
		error_hint(err,
			"qmpsnap recover --qmp ADDRESS, with a monitor of its QEMU "
			"(process %d)",
			(int)s->qemu.pid);
		return -1;
	}
	return qmp_address_connect(&s->address, err);
}

bool dead_run_open_agent(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (!s->freeze.in_doubt)
		return true;
	s->agent = s->freeze.agent = agent_connect_again(s, err);
	if (s->agent)
		return true;
	error_wrap(err, "the guest may be left frozen");
	error_hint(err, "in the guest, fsfreeze --unfreeze MOUNTPOINT thaws");
	s->freeze.in_doubt = false; /* for the undo, which can't do it */
	return false;
}
