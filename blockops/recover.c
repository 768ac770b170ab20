/* SPDX-License-Identifier: Apache-2.0
 *
 * qmpsnap_recover: undoes what the journals tell of; then looks for what else carries our names,
 * unwinds the table of each run found, and looks again, until nothing is left. */
#include "base/log.h"
#include "blockops/dangers.h"
#include "blockops/guest_lock.h"
#include "blockops/leftovers.h"
#include "blockops/node_list.h"
#include "blockops/recover_journal.h"
#include "blockops/unwind.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECOVER_MAX_RUNS = 64, RECOVER_MAX_PHRASES = 512 };

static const char *const queries[] = {"query-named-block-nodes", "query-block-exports",
	"query-fdsets", "query-block", "x-debug-query-block-graph", "query-jobs"};
enum { N_QUERIES = sizeof(queries) / sizeof(queries[0]) };

struct recovery {
	uv_loop_t *loop;
	struct qmp_address address;
	bool has_address, dry_run, is_unreachable;
	struct identity guest; /* of the connection that was made last */
	struct monitor_way way;
	bool barred; /* nothing is removed by its name alone */
	struct guest_lock lock;
	struct qmpsnap_error journal_err;
	struct qmp_client *qmp;
	struct qmpsnap_snapshot *s;
	struct json_object *replies[N_QUERIES];
	size_t query;
	struct node_list nodes;
	char *phrases[RECOVER_MAX_PHRASES];
	size_t n_phrases, n_confirmed;
	unsigned n_runs;
	struct qmpsnap_error err;
	qmpsnap_recovered_fn *done;
	void *data;
};

static bool look(struct recovery *r, struct qmpsnap_error *err);

static void drop_replies(struct recovery *r)
{
	for (size_t i = 0; i < N_QUERIES; i++) {
		json_object_put(r->replies[i]);
		r->replies[i] = NULL;
	}
	r->query = 0;
}

/* What was found in a run whose unwinding failed isn't told as undone. */
static void finish(struct recovery *r)
{
	drop_replies(r);
	guest_lock_drop(&r->lock);
	if (!r->dry_run)
		guest_lock_sweep();
	if (r->err.code == QMPSNAP_OK)
		r->err = r->journal_err;
	r->done(r->err.code != QMPSNAP_OK ? &r->err : NULL, (const char *const *)r->phrases,
		r->n_confirmed, r->data);
	for (size_t i = 0; i < r->n_phrases; i++)
		free(r->phrases[i]);
	free(r);
}

static void on_closed(void *data)
{
	finish(data);
}

static void end(struct recovery *r)
{
	struct qmp_client *qmp = r->qmp;

	r->qmp = NULL;
	qmp_close(qmp, on_closed, r);
}

static void on_found(const char *phrase, void *data)
{
	struct recovery *r = data;

	if (r->n_phrases < RECOVER_MAX_PHRASES && (r->phrases[r->n_phrases] = strdup(phrase)))
		r->n_phrases++;
}

static void on_unwound(struct qmpsnap_snapshot *s, void *data)
{
	struct recovery *r = data;

	r->err = s->flow.undo_err;
	snapshot_free(s);
	if (r->err.code == QMPSNAP_OK)
		r->n_confirmed = r->n_phrases;
	else
		r->err.code = QMPSNAP_UNDO;
	if (r->err.code != QMPSNAP_OK || ++r->n_runs == RECOVER_MAX_RUNS || !look(r, &r->err))
		finish(r);
}

/* Without a lock it may be a live run's. */
static void leave_alone(struct recovery *r)
{
	error_set(&r->err, QMPSNAP_UNDO,
		"what stands in the QEMU at %s is left alone: nobody can tell which process that "
		"is, and so whether a snapshot of it goes on",
		r->address.text);
	error_hint(&r->err,
		"qmpsnap recover on QEMU's host, as root or QEMU's user, can tell; if none goes "
		"on, the commands above remove it, after qom-set path=DEVICE property=drive "
		"value=NODE for a device on a node qmpsnap-...-f0");
}

static void take_stock(struct recovery *r)
{
	const struct leftovers left = {.nodes = r->replies[0],
		.exports = r->replies[1],
		.fdsets = r->replies[2],
		.block = r->replies[3],
		.graph = r->replies[4],
		.jobs = r->replies[5]};
	struct qmpsnap_snapshot *s;
	char run[NAME_RUN_BYTES];

	const bool only_look = r->dry_run || !identity_is_known(&r->guest);
	if (only_look) {
		leftovers_list(&left, NULL, !r->dry_run, on_found, r);
		r->n_confirmed = r->n_phrases;
	}
	const bool found = leftovers_find_run(&left, run);
	if (found && only_look && !r->dry_run)
		leave_alone(r);
	if (only_look || !found) {
		end(r);
		return;
	}
	s = snapshot_new(r->loop);
	if (!s) {
		error_no_memory(&r->err);
		end(r);
		return;
	}
	memcpy(s->run, run, sizeof(run));
	if (!leftovers_fill(&left, s, &r->err)) {
		snapshot_free(s);
		end(r);
		return;
	}
	leftovers_list(&left, s, false, on_found, r);
	if (s->keep_server)
		log_line(QMPSNAP_LOG_WARNING,
			"an NBD server that run %s started may stand: without an export of it "
			"nobody "
			"can tell whose it is; nbd-server-stop ends it",
			s->run);
	drop_replies(r);
	s->qmp = r->qmp;
	s->table = method_table_of_recover();
	r->qmp = NULL;
	unwind(s, NULL, on_unwound, r);
}

static void ask(struct recovery *r);

/* A QEMU without a query has nothing of its kind. */
static void on_reply(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct recovery *r = data;

	if (err && !qmp_error_class(r->qmp)[0]) {
		r->err = *err;
		end(r);
		return;
	}
	r->replies[r->query++] = json_object_get(result);
	ask(r);
}

static void ask(struct recovery *r)
{
	struct json_object *args = NULL;

	if (r->query == N_QUERIES) {
		take_stock(r);
		return;
	}
	if (r->query == 0) {
		args = json_new();
		json_put_bool(args, "flat", true);
	}
	qmp_execute(r->qmp, queries[r->query], args, on_reply, r);
}

static void on_safe(const struct qmpsnap_error *err, void *data)
{
	struct recovery *r = data;

	if (err) {
		r->err = *err;
		end(r);
	} else {
		ask(r);
	}
}

static void on_version(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct recovery *r = data;
	struct guest guest = {0};

	struct qmpsnap_error mine;

	if (!err && !guest_parse_basic(&guest, "query-version", result)) {
		error_no_memory(&mine);
		err = &mine;
	}
	if (!err && danger_of_listing_nodes(&guest))
		node_list_make_safe(&r->nodes, r->qmp, true, on_safe, r);
	else
		on_safe(err, r);
	guest_free(&guest);
}

static void begin(struct recovery *r)
{
	qmp_execute(r->qmp, "query-version", NULL, on_version, r);
}

static void on_ready(const struct qmpsnap_error *err, void *data)
{
	struct recovery *r = data;

	if (err) {
		r->err = *err;
		end(r);
	} else {
		begin(r);
	}
}

static void on_lost(const struct qmpsnap_error *err, void *data)
{
	(void)err; /* the pending command tells it */
	(void)data;
}

/* Nobody else is at work on the guest that `fd` leads to from here on; nor is anything done to one
 * that isn't known. */
static bool lock(struct recovery *r, int fd, struct qmpsnap_error *err)
{
	char holder[GUEST_LOCK_HOLDER_BYTES];
	struct identity guest;

	identity_of(fd, &guest);
	if (r->lock.fd >= 0 && identity_equals(&guest, &r->guest))
		return true;
	guest_lock_drop(&r->lock);
	r->guest = guest;
	if (r->dry_run || !identity_is_known(&guest))
		return true;
	const int taken = guest_lock_take(&r->lock, &guest, "recover", holder, err);
	if (taken == 0)
		error_set(err, QMPSNAP_REFUSED, "%s is at work on this guest, and left alone",
			holder);
	return taken > 0;
}

/* A connection given as a descriptor stands still, and QEMU greets it once only. */
static bool look_again(struct recovery *r, int fd, struct qmpsnap_error *err)
{
	r->qmp = qmp_adopt(r->loop, fd, NULL, on_lost, r, err);
	if (r->qmp)
		begin(r);
	else
		(void)close(fd);
	return r->qmp != NULL;
}

static bool look(struct recovery *r, struct qmpsnap_error *err)
{
	const struct qmp_options options = {
		.has_fd = true, .fd = qmp_address_connect(&r->address, err)};

	r->is_unreachable = options.fd < 0;
	if (r->is_unreachable)
		return false;
	if (!lock(r, options.fd, err)) {
		(void)close(options.fd);
		return false;
	}
	if ((r->n_runs > 0 || r->way.greeted) && r->address.kind == QMP_FD)
		return look_again(r, options.fd, err);
	r->qmp = qmp_open(r->loop, &r->address, &options, on_ready, on_lost, r, err);
	return r->qmp != NULL;
}

/* ---- The start ---- */

/* Whether the guest's monitor could be reached is of no importance to those at an address where
 * none is any more. */
static void on_journals_done(const struct qmpsnap_error *err, void *data)
{
	struct recovery *r = data;

	if (err) {
		r->journal_err = *err;
		r->journal_err.code = QMPSNAP_UNDO;
	}
	const bool any = r->n_phrases > 0;
	r->n_confirmed = r->n_phrases;
	if (!r->has_address || r->barred || (!look(r, &r->err) && any && r->is_unreachable))
		r->err = (struct qmpsnap_error){0};
	if (!r->qmp)
		finish(r);
}

/* Before the journals are read. */
static bool lock_first(struct recovery *r, struct qmpsnap_error *err)
{
	struct qmpsnap_error unreachable;
	const int fd = qmp_address_connect(&r->address, &unreachable);

	if (fd < 0)
		return true; /* look() will say it, or lock the guest */
	const bool locked = lock(r, fd, err);
	(void)close(fd);
	return locked;
}

static bool start(struct recovery *r, const struct qmpsnap_recover_options *options,
	struct qmpsnap_error *err)
{
	r->way.address = &r->address;
	const struct journal_recovery journals = {.loop = r->loop,
		.state = options->state_dir,
		.guest = options->all ? NULL : &r->guest,
		.address = options->all ? NULL : r->address.text,
		.way = options->all ? NULL : &r->way,
		.locked = r->lock.fd >= 0 ? &r->guest : NULL,
		.barred = &r->barred,
		.dry_run = options->dry_run,
		.insists = true,
		.open_store = options->open_store,
		.found = on_found,
		.done = on_journals_done,
		.data = r};

	return journal_recovery_start(&journals, err);
}

bool qmpsnap_recover(struct uv_loop_s *loop, const struct qmpsnap_recover_options *options,
	qmpsnap_recovered_fn *done, void *data, struct qmpsnap_error *err)
{
	struct recovery *r = calloc(1, sizeof(*r));

	if (!r)
		return error_no_memory(err);
	r->loop = loop;
	r->lock = GUEST_LOCK_NONE;
	r->has_address = options->qmp_address;
	r->dry_run = options->dry_run;
	r->done = done;
	r->data = data;
	if (!options->qmp_address && !options->all)
		error_set(err, QMPSNAP_USAGE, "neither a guest nor all of them are named");
	else if (!r->has_address || (qmp_address_parse(options->qmp_address, &r->address, err) &&
					    lock_first(r, err))) {
		if (start(r, options, err))
			return true;
	}
	guest_lock_drop(&r->lock);
	free(r);
	return false;
}
