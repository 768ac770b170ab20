/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal's step, and the wait for the disk that has it. */
#include "base/log.h"
#include "blockops/steps.h"

static void sync_in_pool(uv_work_t *work)
{
	struct qmpsnap_snapshot *s = work->data;

	s->sync_errno = journal_sync(&s->journal);
}

static bool sync_error(const struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	return s->sync_errno && !error_errno(err, QMPSNAP_INTERNAL, s->sync_errno,
					"the journal of run %s can't be written", s->run);
}

/* ---- The step ---- */

/* Who undoes for a dead run keeps it until all is done. */
bool journal_applies(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	return !s->is_guard;
}

static void on_begun(uv_work_t *work, int status)
{
	struct qmpsnap_snapshot *s = work->data;
	struct qmpsnap_error err = {0};

	(void)status;
	(void)sync_error(s, &err);
	flow_done(&s->flow, &err);
}

void journal_begin(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err;

	s->sync_work.data = s;
	if (!journal_open(&s->journal, s->state_dir, s->run, &err) || !record_journal(s, &err) ||
		!journal_create(&s->journal, &err) || !record_journal(s, &err) ||
		!record_run(s, &err))
		flow_done(f, &err);
	else if (uv_queue_work(s->loop, &s->sync_work, sync_in_pool, on_begun) < 0)
		flow_done(f, NULL);
}

void journal_over(struct qmpsnap_snapshot *s, bool all_undone)
{
	if (all_undone) {
		journal_remove(&s->journal);
	} else {
		record_settled(s);
		journal_close(&s->journal);
	}
}

/* With a freeze in doubt it is needed on, by agent_end() or by the guard. */
void journal_end(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	if (!s->freeze.in_doubt)
		journal_over(s, f->undo_err.code == QMPSNAP_OK && !s->freeze.in_doubt);
	flow_done(f, NULL);
}

/* ---- Intents, and one fact ---- */

/* Well or not: the images are published. */
static void on_published(uv_work_t *work, int status)
{
	struct qmpsnap_snapshot *s = work->data;

	(void)status;
	images_announce(s);
}

void journal_published(struct qmpsnap_snapshot *s)
{
	record_published(s);
	if (s->journal.fd < 0 ||
		uv_queue_work(s->loop, &s->sync_work, sync_in_pool, on_published) < 0)
		images_announce(s);
}

static void on_synced(uv_work_t *work, int status)
{
	struct qmpsnap_snapshot *s = work->data;
	struct qmpsnap_error err;

	(void)status;
	if (sync_error(s, &err))
		flow_cancel(&s->flow, &err);
	flow_release(&s->flow);
}

void journal_hold(struct qmpsnap_snapshot *s)
{
	if (uv_queue_work(s->loop, &s->sync_work, sync_in_pool, on_synced) == 0)
		flow_hold(&s->flow);
}
