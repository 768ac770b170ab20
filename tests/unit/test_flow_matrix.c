/* SPDX-License-Identifier: Apache-2.0
 *
 * The runner against a model: a fault of each kind at each step, with undos that fail, steps that
 * don't apply, and completions at once and later.
 */
#include "base/error.h"
#include "base/flow.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

enum { N_STEPS = 5, NONE = N_STEPS, LOG_BYTES = 1024 };

/* The codes tell who reported an error. */
enum { BY_STEP = QMPSNAP_QEMU, BY_CANCEL = QMPSNAP_INTERRUPTED, LATE = QMPSNAP_TERMINATED };

enum fault {
	FAILS,
	CANCELLED_ENDS_WELL, /* the step takes no notice of the cancel */
	CANCELLED_FAILS,
	CANCELLED_HURRIES, /* its cancel ends it at once */
	CANCELLED_BY_WATCHER, /* when it has ended */
	N_FAULTS,
};

enum completion { AT_ONCE, LATER, IN_TURN, N_COMPLETIONS };

struct scenario {
	unsigned applies; /* one bit a step, here and below */
	unsigned undo_fails;
	unsigned fault_at;
	enum fault fault;
	enum completion completion;
	bool only_unwind;
};

/* One run; end() frees it, so that a touch after that is found out. */
struct rig {
	struct flow flow;
	struct scenario scenario;
	unsigned n_completions;
	bool pending;
	struct qmpsnap_error outcome;
};

static struct {
	char log[LOG_BYTES];
	unsigned ends;
	struct qmpsnap_error err, undo_err;
} seen;

static void note(char *log, char what, unsigned step)
{
	const size_t used = strlen(log);

	(void)snprintf(log + used, LOG_BYTES - used, "%c%u ", what, step);
}

static struct qmpsnap_error error_of(int code, unsigned step)
{
	struct qmpsnap_error err;

	(void)error_set(&err, (enum qmpsnap_code)code, "step %u", step);
	return err;
}

static void cancel(struct rig *rig, int code, unsigned step)
{
	const struct qmpsnap_error why = error_of(code, step);

	flow_cancel(&rig->flow, &why);
}

static void complete(struct rig *rig, const struct qmpsnap_error *outcome)
{
	const enum completion completion = rig->scenario.completion;
	const bool later =
		completion == LATER || (completion == IN_TURN && rig->n_completions++ % 2 == 1);

	if (!later) {
		flow_done(&rig->flow, outcome->code ? outcome : NULL);
		return;
	}
	ck_assert(!rig->pending);
	rig->pending = true;
	rig->outcome = *outcome;
}

static void on_start(struct rig *rig, unsigned step)
{
	const struct scenario *scenario = &rig->scenario;
	struct qmpsnap_error outcome = {0};
	const bool can_hurry = rig->flow.steps[step].cancel;

	note(seen.log, 's', step);
	if (scenario->fault_at == step) {
		if (scenario->fault == FAILS || scenario->fault == CANCELLED_FAILS)
			outcome = error_of(BY_STEP, step);
		if (scenario->fault != FAILS && scenario->fault != CANCELLED_BY_WATCHER) {
			cancel(rig, BY_CANCEL, step);
			if (scenario->fault == CANCELLED_HURRIES && can_hurry)
				return;
			cancel(rig, LATE, step); /* the second has no effect */
		}
	}
	complete(rig, &outcome);
}

static void on_undo(struct rig *rig, unsigned step)
{
	struct qmpsnap_error outcome = {0};

	note(seen.log, 'u', step);
	cancel(rig, LATE, step);
	if (rig->scenario.undo_fails >> step & 1)
		outcome = error_of(QMPSNAP_UNDO, step);
	complete(rig, &outcome);
}

static void on_cancel(struct rig *rig, unsigned step)
{
	const struct qmpsnap_error outcome = error_of(BY_STEP, step);

	note(seen.log, 'c', step);
	if (rig->scenario.fault == CANCELLED_HURRIES)
		complete(rig, &outcome);
}

/* A step's callback of one kind. */
#define CALLBACK(kind, i)                                                                          \
	static void kind##_##i(struct flow *f, void *self)                                         \
	{                                                                                          \
		ck_assert_ptr_eq(f, &((struct rig *)self)->flow);                                  \
		on_##kind(self, i);                                                                \
	}
#define APPLIES(i)                                                                                 \
	static bool applies_##i(const void *self)                                                  \
	{                                                                                          \
		return ((const struct rig *)self)->scenario.applies >> (i)&1;                      \
	}

CALLBACK(start, 0)
CALLBACK(undo, 0)
CALLBACK(start, 1)
CALLBACK(undo, 1)
CALLBACK(cancel, 1)
APPLIES(1)
CALLBACK(start, 2)
APPLIES(2)
CALLBACK(start, 3)
CALLBACK(undo, 3)
CALLBACK(cancel, 3)
APPLIES(3)
CALLBACK(start, 4)
CALLBACK(undo, 4)
APPLIES(4)

/* clang-format off */
static const struct flow_step steps[N_STEPS] = {
	{.name = "0", .start = start_0, .undo = undo_0, .when = UNDO_ALWAYS},
	{.name = "1", .start = start_1, .undo = undo_1, .when = UNDO_ON_FAILURE,
		.cancel = cancel_1, .applies = applies_1},
	{.name = "2", .start = start_2, .applies = applies_2},
	{.name = "3", .start = start_3, .undo = undo_3, .when = UNDO_ALWAYS,
		.cancel = cancel_3, .applies = applies_3},
	{.name = "4", .start = start_4, .undo = undo_4, .when = UNDO_ON_FAILURE,
		.applies = applies_4},
};
/* clang-format on */

static void on_watch(void *self, enum qmpsnap_phase phase, const struct flow_step *step)
{
	static const char marks[] = {[QMPSNAP_BEGIN] = '(',
		[QMPSNAP_END] = ')',
		[QMPSNAP_UNDO_BEGIN] = '[',
		[QMPSNAP_UNDO_END] = ']'};
	struct rig *rig = self;
	const unsigned i = (unsigned)(step - steps);

	note(seen.log, marks[phase], i);
	if (phase == QMPSNAP_END && rig->scenario.fault == CANCELLED_BY_WATCHER &&
		rig->scenario.fault_at == i)
		cancel(rig, BY_CANCEL, i);
}

static void on_end(struct flow *f, void *self)
{
	seen.ends++;
	seen.err = f->err;
	seen.undo_err = f->undo_err;
	ck_assert(!((struct rig *)self)->pending);
	free(self);
}

static void run(const struct scenario *scenario)
{
	const struct qmpsnap_error why = error_of(BY_CANCEL, NONE);
	struct rig *rig = malloc(sizeof(*rig));

	memset(&seen, 0, sizeof(seen));
	ck_assert_ptr_nonnull(rig);
	memset(rig, 0xa5, sizeof(*rig));
	rig->scenario = *scenario;
	rig->n_completions = 0;
	rig->pending = false;
	rig->flow.ready = NULL;
	rig->flow.spoilt = NULL;
	if (scenario->only_unwind)
		flow_unwind(&rig->flow, steps, N_STEPS, rig, on_end, on_watch, &why);
	else
		flow_run(&rig->flow, steps, N_STEPS, rig, on_end, on_watch);
	while (seen.ends == 0) {
		ck_assert(rig->pending);
		const struct qmpsnap_error outcome = rig->outcome;
		rig->pending = false;
		flow_done(&rig->flow, outcome.code ? &outcome : NULL);
	}
}

/* What must have been seen: the whole contract, in a straight line. */
static void expect_forward(const struct scenario *s, char *log, unsigned *reached, int *code)
{
	*code = QMPSNAP_OK;
	for (*reached = 0; *reached < N_STEPS; ++*reached) {
		const unsigned i = *reached;
		if (!(s->applies >> i & 1))
			continue;
		note(log, '(', i);
		note(log, 's', i);
		if (s->fault_at == i && s->fault != FAILS && s->fault != CANCELLED_BY_WATCHER &&
			(i == 1 || i == 3))
			note(log, 'c', i);
		note(log, ')', i);
		if (s->fault_at == i) {
			*code = s->fault == FAILS ? (int)BY_STEP : (int)BY_CANCEL;
			return;
		}
	}
	*reached = N_STEPS - 1;
}

static void assert_as_expected(const struct scenario *s)
{
	char log[LOG_BYTES] = "";
	unsigned reached = N_STEPS - 1;
	int code = BY_CANCEL, undo_code = QMPSNAP_OK;
	char undo_message[32] = "";

	if (!s->only_unwind)
		expect_forward(s, log, &reached, &code);
	for (unsigned i = reached + 1; i-- > 0;) {
		if (i == 2 || !(s->applies >> i & 1) || (code == QMPSNAP_OK && i != 0 && i != 3))
			continue;
		note(log, '[', i);
		note(log, 'u', i);
		note(log, ']', i);
		if (s->undo_fails >> i & 1 && undo_code == QMPSNAP_OK) {
			undo_code = QMPSNAP_UNDO;
			(void)snprintf(undo_message, sizeof(undo_message), "step %u", i);
		}
	}
	if (strcmp(log, seen.log) != 0 || seen.ends != 1 || (int)seen.err.code != code ||
		(int)seen.undo_err.code != undo_code ||
		strcmp(seen.undo_err.message, undo_message) != 0)
		ck_abort_msg("fault %d at %u, applies %x, undo fails %x, completion %d\n"
			     "  want %s error %d, undo error %d\n  seen %s error %d, undo error %d",
			(int)s->fault, s->fault_at, s->applies, s->undo_fails, (int)s->completion,
			log, code, undo_code, seen.log, (int)seen.err.code,
			(int)seen.undo_err.code);
}

/* All sets of steps that apply (the first always does), and all sets of undos that fail. */
static unsigned run_all(struct scenario s)
{
	unsigned n = 0;

	for (s.applies = 1; s.applies < 1 << N_STEPS; s.applies += 2)
		for (s.undo_fails = 0; s.undo_fails < 1 << N_STEPS; s.undo_fails++) {
			run(&s);
			assert_as_expected(&s);
			n++;
		}
	return n;
}

START_TEST(faults_at_each_step)
{
	struct scenario s = {.completion = (enum completion)_i};
	unsigned n = 0;

	for (s.fault_at = 0; s.fault_at <= NONE; s.fault_at++)
		for (int fault = 0; fault < N_FAULTS; fault++) {
			s.fault = (enum fault)fault;
			n += run_all(s);
		}
	ck_assert_uint_eq(n, UINT64_C(16) * 32 * N_FAULTS * (N_STEPS + 1));
}
END_TEST

START_TEST(unwinding_undoes_all_from_the_last)
{
	ck_assert_uint_eq(
		run_all((struct scenario){
			.completion = (enum completion)_i, .fault_at = NONE, .only_unwind = true}),
		UINT64_C(16) * 32);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("flow_matrix");
	TCase *t = tcase_create("flow_matrix");

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, faults_at_each_step, 0, N_COMPLETIONS);
	tcase_add_loop_test(t, unwinding_undoes_all_from_the_last, 0, N_COMPLETIONS);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
