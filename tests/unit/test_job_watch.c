/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of the job flavour's jobs by a journal: which stopped guest is continued, and how often
 * it is tried. */
#include "blockops/job_watch.h"
#include "blockops/method_table.h"
#include "tests/unit/client_fixture.h"

#define STOPPED                                                                                    \
	{                                                                                          \
		FAKE_RETURN, "query-status", "{\"status\": \"io-error\"}"                          \
	}
#define NO_JOB                                                                                     \
	{                                                                                          \
		FAKE_RETURN, "query-jobs", "[]"                                                    \
	}
#define REFUSED(command)                                                                           \
	{                                                                                          \
		FAKE_ERROR, command, "GenericError Not now"                                        \
	}
#define BLOCK(status)                                                                              \
	{                                                                                          \
		FAKE_RETURN, "query-block",                                                        \
			"[{\"qdev\": \"/machine/peripheral/vd0\", \"io-status\": \"" status "\"}]" \
	}
#define JOB(status)                                                                                \
	{                                                                                          \
		FAKE_RETURN, "query-jobs",                                                         \
			"[{\"id\": \"qmpsnap-abcdefghij-j0\", \"status\": \"" status "\"}]"        \
	}
#define OUR_JOB_ENDS JOB("running"), {FAKE_RETURN, "block-job-cancel", NULL}, NO_JOB

static void on_log(enum qmpsnap_log_level level, const char *line, void *data)
{
	(void)data;
	if (level == QMPSNAP_LOG_WARNING && strstr(line, "it was continued"))
		tell("told");
}

static void on_timer_closed(struct qmpsnap_snapshot *s)
{
	(void)s;
	tell("over");
}

static void on_ended(struct qmpsnap_snapshot *s)
{
	tell_error("ended", s->jobs.err.code == QMPSNAP_OK ? NULL : &s->jobs.err);
	jobs_close(s, on_timer_closed);
}

/* What a journal tells of a run. */
static struct qmpsnap_snapshot *take(bool ran, bool journal)
{
	struct qmpsnap_snapshot *s = snapshot_new(&loop);

	ck_assert(s && snapshot_add_disks(s, 1));
	(void)strcpy(s->run, "abcdefghij");
	(void)strcpy(s->guest_name, "vm");
	s->disks[0].label = strdup("vd0");
	s->disks[0].qom_path = strdup("/machine/peripheral/vd0");
	s->table = method_table(METHOD_JOB);
	s->ran = ran;
	s->journal.fd = journal ? dup(STDERR_FILENO) : -1;
	qmpsnap_log_to(QMPSNAP_LOG_WARNING, on_log, NULL);
	return s;
}

static void end_by(const struct fake_step *script, bool ran, bool journal)
{
	struct qmpsnap_snapshot *s = take(ran, journal);

	open_script(script);
	s->qmp = client;
	job_watch_end(s, on_ended);
	until("over");
	s->qmp = NULL;
	journal_close(&s->journal);
	snapshot_free(s);
	finish();
}

START_TEST(our_full_scratch)
{
	static const struct fake_step script[] = {
		OUR_JOB_ENDS, STOPPED, BLOCK("nospace"), {FAKE_RETURN, "cont", NULL}, {0}};

	end_by(script, true, true);
	expect_story("ready told ended over closed");
}
END_TEST

/* A `cont` resets the io-status before it may be refused. */
START_TEST(refusals_pass)
{
	static const struct fake_step script[] = {OUR_JOB_ENDS, REFUSED("query-status"), STOPPED,
		REFUSED("query-block"), STOPPED, BLOCK("nospace"), REFUSED("cont"), STOPPED,
		{FAKE_RETURN, "cont", NULL}, {0}};

	end_by(script, true, true);
	expect_story("ready told ended over closed");
}
END_TEST

START_TEST(a_cont_that_is_refused_for_long)
{
	static const struct fake_step script[] = {OUR_JOB_ENDS, STOPPED, BLOCK("nospace"),
		REFUSED("cont"), STOPPED, REFUSED("cont"), STOPPED, REFUSED("cont"), STOPPED,
		REFUSED("cont"), STOPPED, REFUSED("cont"), STOPPED, REFUSED("cont"), STOPPED,
		REFUSED("cont"), STOPPED, REFUSED("cont"), STOPPED, REFUSED("cont"), STOPPED,
		REFUSED("cont"), STOPPED, {FAKE_RETURN, "cont", NULL}, {0}};

	end_by(script, true, true);
	expect_story("ready told ended over closed");
}
END_TEST

START_TEST(a_status_that_is_never_told)
{
	static const struct fake_step script[] = {OUR_JOB_ENDS, REFUSED("query-status"),
		REFUSED("query-status"), REFUSED("query-status"), REFUSED("query-status"),
		REFUSED("query-status"), REFUSED("query-status"), REFUSED("query-status"),
		REFUSED("query-status"), REFUSED("query-status"), REFUSED("query-status"), {0}};

	end_by(script, true, true);
	expect_story("ready ended! over closed");
}
END_TEST

static void untold(const struct fake_step *script, bool ran)
{
	end_by(script, ran, true);
	expect_story("ready ended! over closed");
	expect_error(QMPSNAP_AGENT, "vd0", "`cont`");
}

START_TEST(no_job_stood)
{
	static const struct fake_step script[] = {NO_JOB, STOPPED, BLOCK("nospace"), {0}};

	untold(script, true);
}
END_TEST

START_TEST(it_did_not_run)
{
	static const struct fake_step script[] = {OUR_JOB_ENDS, STOPPED, BLOCK("nospace"), {0}};

	untold(script, false);
}
END_TEST

START_TEST(other_errors_are_not_ours)
{
	static const struct fake_step failed[] = {OUR_JOB_ENDS, STOPPED, BLOCK("failed"), {0}};

	end_by(failed, true, true);
	expect_story("ready ended over closed");
}
END_TEST

START_TEST(without_a_journal)
{
	static const struct fake_step script[] = {OUR_JOB_ENDS, STOPPED, BLOCK("nospace"), {0}};

	end_by(script, true, false);
	expect_story("ready ended over closed");
}
END_TEST

START_TEST(it_runs)
{
	static const struct fake_step script[] = {
		OUR_JOB_ENDS, {FAKE_RETURN, "query-status", "{\"status\": \"running\"}"}, {0}};

	end_by(script, true, true);
	expect_story("ready ended over closed");
}
END_TEST

static Suite *suite(void)
{
	TCase *t = tcase_create("end");

	ADD(our_full_scratch);
	ADD(refusals_pass);
	ADD(a_cont_that_is_refused_for_long);
	ADD(a_status_that_is_never_told);
	ADD(no_job_stood);
	ADD(it_did_not_run);
	ADD(other_errors_are_not_ours);
	ADD(without_a_journal);
	ADD(it_runs);
	return client_suite("job_watch", t);
}

SUITE_MAIN(suite)
