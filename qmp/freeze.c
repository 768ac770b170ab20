/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/freeze.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

enum {
	STATUS_MS = 5000,
	THAW_MS = 10000,
	RETRY_FIRST_MS = 250,
	RETRY_LAST_MS = 8000,
};

static uint64_t clock_ms(void)
{
	return uv_hrtime() / 1000000;
}

static void end(struct freeze *z, const struct qmpsnap_error *err)
{
	z->done(err, z->data);
}

static bool status_is(struct json_object *result, const char *status)
{
	return json_object_is_type(result, json_type_string) &&
	       strcmp(json_object_get_string(result), status) == 0;
}

/* ---- Freeze ---- */

static void on_status_after(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct freeze *z = data;
	struct qmpsnap_error mine;

	if (!err && !status_is(result, "frozen")) {
		error_set(&mine, QMPSNAP_AGENT,
			"%s: the file systems didn't stay frozen: the status is not \"frozen\"",
			agent_peer(z->agent));
		err = &mine;
	}
	z->frozen = !err;
	end(z, err);
}

static unsigned time_left_ms(const struct freeze *z)
{
	const uint64_t now = clock_ms();

	return z->due_ms > now ? (unsigned)(z->due_ms - now) : 1;
}

static void on_frozen(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct freeze *z = data;
	int64_t n = 0;
	struct qmpsnap_error mine;

	if (!err && json_object_is_type(result, json_type_int))
		n = json_object_get_int64(result);
	if (!err && (n <= 0 || n > INT_MAX)) {
		error_set(&mine, QMPSNAP_AGENT, "%s: guest-fsfreeze-freeze froze no file system",
			agent_peer(z->agent));
		error_hint(&mine, "the guest has none mounted that can be frozen");
		err = &mine;
	}
	if (err) {
		end(z, err);
		return;
	}
	z->n_frozen = (unsigned)n;
	agent_execute(z->agent, "guest-fsfreeze-status", time_left_ms(z), on_status_after, z);
}

static void on_status_before(
	struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct freeze *z = data;
	struct qmpsnap_error mine;

	if (!err && !status_is(result, "thawed")) {
		error_set(&mine, QMPSNAP_AGENT,
			"%s: the guest's file systems are being held frozen by others",
			agent_peer(z->agent));
		error_hint(&mine, "another backup may be running: try again later");
		err = &mine;
	}
	if (!err && z->before && !z->before(z->data, &mine))
		err = &mine;
	if (err) {
		end(z, err);
		return;
	}
	z->in_doubt = true; /* before the answer: a lost answer is thawed too */
	z->due_ms = clock_ms() + z->deadline_ms;
	agent_execute(z->agent, "guest-fsfreeze-freeze", z->deadline_ms, on_frozen, z);
}

static void on_synced(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct freeze *z = data;

	(void)result;
	if (err)
		end(z, err);
	else
		agent_execute(z->agent, "guest-fsfreeze-status", STATUS_MS, on_status_before, z);
}

void freeze_begin(struct freeze *z, unsigned deadline_ms, freeze_fn *done, void *data)
{
	z->deadline_ms = deadline_ms;
	z->done = done;
	z->data = data;
	z->giving_up = false;
	z->frozen = z->thawed_well = false;
	z->n_frozen = z->n_thaws = 0;
	/* Also when it is in step: the agent may have ended since. */
	agent_sync(z->agent, on_synced, z);
}

/* ---- Thaw ---- */

static void thaw(struct freeze *z);

static void on_waited(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct freeze *z = data;

	(void)result;
	z->waiting = false;
	if (err || !z->in_doubt)
		end(z, z->in_doubt ? err : NULL);
	else
		thaw(z);
}

/* What neither says "thawed" nor ends the connection is tried again. */
static void try_again(struct freeze *z, const struct qmpsnap_error *err)
{
	struct qmpsnap_error mine;

	if (!z->in_doubt) { /* a reset has ended it meanwhile */
		end(z, NULL);
		return;
	}
	if (agent_is_lost(z->agent)) {
		end(z, err);
		return;
	}
	if (z->giving_up) {
		error_set(&mine, QMPSNAP_AGENT,
			"%s: the guest's file systems may still be frozen%s%s",
			agent_peer(z->agent), err ? ": " : "", err ? err->message : "");
		error_hint(&mine, "fsfreeze --unfreeze MOUNTPOINT in the guest thaws them");
		end(z, &mine);
		return;
	}
	z->waiting = true;
	agent_wait(z->agent, z->retry_ms, on_waited, z);
	z->retry_ms = z->retry_ms * 2 > RETRY_LAST_MS ? RETRY_LAST_MS : z->retry_ms * 2;
}

static bool is_unknown(const struct freeze *z)
{
	return strcmp(agent_error_class(z->agent), "CommandNotFound") == 0;
}

static void on_status(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct freeze *z = data;

	/* An agent that doesn't know the command hasn't frozen anything, unless it said so. */
	if ((!err && status_is(result, "thawed")) || (err && is_unknown(z) && !z->n_frozen)) {
		z->in_doubt = false;
		end(z, NULL);
	} else {
		try_again(z, err);
	}
}

static void on_thawed(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct freeze *z = data;

	if (err && !agent_error_class(z->agent)[0]) {
		try_again(z, err);
		return;
	}
	if (z->n_thaws == 1 && z->frozen && json_object_is_type(result, json_type_int))
		z->thawed_well = json_object_get_int64(result) > 0;
	agent_execute(z->agent, "guest-fsfreeze-status", STATUS_MS, on_status, z);
}

static void thaw(struct freeze *z)
{
	z->n_thaws++;
	agent_execute(z->agent, "guest-fsfreeze-thaw", THAW_MS, on_thawed, z);
}

static void on_nothing(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	(void)result;
	(void)err;
	end(data, NULL);
}

void freeze_end(struct freeze *z, freeze_fn *done, void *data)
{
	z->done = done;
	z->data = data;
	z->giving_up = false;
	z->retry_ms = RETRY_FIRST_MS;
	z->n_thaws = 0;
	if (z->in_doubt)
		thaw(z);
	else
		agent_wait(z->agent, 0, on_nothing, z);
}

void freeze_hurry(struct freeze *z)
{
	z->retry_ms = RETRY_FIRST_MS;
	if (z->waiting)
		agent_give_up(z->agent);
}

void freeze_forget(struct freeze *z)
{
	z->in_doubt = false;
	if (z->agent)
		agent_give_up(z->agent);
}

void freeze_give_up(struct freeze *z)
{
	z->giving_up = true;
	agent_give_up(z->agent);
}
