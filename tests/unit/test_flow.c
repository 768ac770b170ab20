/* SPDX-License-Identifier: Apache-2.0
 *
 * The runner at its edges; test_flow_matrix.c walks through all faults.
 */
#include "base/error.h"
#include "base/flow.h"
#include "suite.h"

static unsigned count, n_ended, n_held;
static bool answer;

static void count_up(struct flow *f, void *self)
{
	(void)self;
	count++;
	flow_done(f, NULL);
}

static void ended(struct flow *f, void *self)
{
	(void)self;
	ck_assert(!flow_failed(f));
	n_ended++;
}

START_TEST(a_long_table_needs_no_stack)
{
	enum { MANY = 1000000 };
	struct flow_step *many = calloc(MANY, sizeof(*many));
	struct flow f;

	ck_assert_ptr_nonnull(many);
	for (unsigned i = 0; i < MANY; i++)
		many[i] = (struct flow_step){
			.start = count_up, .undo = count_up, .when = UNDO_ALWAYS};
	flow_run(&f, many, MANY, NULL, ended, NULL);
	ck_assert_uint_eq(count, UINT64_C(2) * MANY);
	ck_assert_uint_eq(n_ended, 1);
	free(many);
}
END_TEST

START_TEST(an_empty_table_ends_well)
{
	struct flow f;

	flow_run(&f, NULL, 0, NULL, ended, NULL);
	ck_assert_uint_eq(n_ended, 1);
}
END_TEST

static unsigned n_asked;
static bool undo_is_held_up;

static bool ask_ready(struct flow *f, void *self)
{
	ck_assert_ptr_eq(f->self, self);
	ck_assert(f->unwinding);
	n_asked++;
	undo_is_held_up = n_asked == 1;
	return !undo_is_held_up;
}

static void start_asking(struct flow *f, void *self)
{
	f->ready = ask_ready;
	count_up(f, self);
}

/* The first undo waits, the second doesn't. */
START_TEST(an_undo_waits_until_it_is_ready)
{
	static const struct flow_step steps[] = {
		{.start = start_asking, .undo = count_up, .when = UNDO_ALWAYS},
		{.start = count_up},
		{.start = count_up, .undo = count_up, .when = UNDO_ALWAYS},
	};
	struct qmpsnap_error err;
	struct flow f;

	error_set(&err, QMPSNAP_QEMU, "gone");
	flow_run(&f, steps, 3, NULL, ended, NULL);
	ck_assert_uint_eq(n_asked, 1);
	ck_assert(undo_is_held_up);
	ck_assert_uint_eq(count, 3);
	ck_assert_uint_eq(n_ended, 0);
	flow_undo_ready(&f, &err);
	ck_assert_uint_eq(n_asked, 2);
	ck_assert_uint_eq(count, 5);
	ck_assert_uint_eq(n_ended, 1);
	ck_assert_int_eq(f.undo_err.code, QMPSNAP_QEMU);
}
END_TEST

/* `self` counts down the undos that fail for lack of memory. */
static void undo_without_memory(struct flow *f, void *self)
{
	unsigned *failures = self;
	struct qmpsnap_error err = {.code = QMPSNAP_INTERNAL};

	count++;
	flow_done(f, *failures > 0 && (*failures)-- ? &err : NULL);
}

static void any_end(struct flow *f, void *self)
{
	(void)f;
	(void)self;
	n_ended++;
}

/* `self` counts down the undos that lose what they need. */
static bool loses(const void *self, struct qmpsnap_error *why)
{
	const unsigned *losses = self;

	error_set(why, QMPSNAP_QEMU, "lost");
	return *losses > 0;
}

static void undo_losing(struct flow *f, void *self)
{
	unsigned *losses = self;

	count++;
	*losses -= *losses > 0;
	flow_done(f, NULL);
}

START_TEST(an_undo_that_lost_what_it_needs_is_run_anew)
{
	static const struct flow_step steps[] = {{.undo = undo_losing, .when = UNDO_ALWAYS},
		{.undo = undo_losing, .when = UNDO_ALWAYS}};
	struct qmpsnap_error why;

	error_set(&why, QMPSNAP_QEMU, "gone");
	for (unsigned losses = 0; losses <= 2 * (FLOW_MOST_LOSSES + 1); losses++) {
		struct flow f = {.spoilt = loses};
		/* The last one doesn't see its loss any more. */
		const unsigned seen = losses ? losses - 1 : 0;
		const bool gives_up = seen > FLOW_MOST_LOSSES;
		unsigned left = losses;
		count = n_ended = 0;
		flow_unwind(&f, steps, 2, &left, any_end, NULL, &why);
		ck_assert_uint_eq(n_ended, 1);
		ck_assert_uint_eq(count, 2 + seen - (gives_up ? 1 : 0));
		ck_assert_uint_eq(f.n_undo_errs, gives_up ? 1 : 0);
		if (gives_up)
			ck_assert_str_eq(f.undo_err.message, "lost");
	}
}
END_TEST

START_TEST(an_undo_without_memory_is_run_once_more)
{
	static const struct flow_step steps[] = {
		{.start = count_up, .undo = undo_without_memory, .when = UNDO_ALWAYS},
		{.start = count_up, .undo = undo_without_memory, .when = UNDO_ALWAYS}};
	static const unsigned undos[] = {2, 3, 3, 4, 4};
	struct flow f;

	for (unsigned failures = 0; failures <= 4; failures++) {
		unsigned left = failures;
		count = n_ended = 0;
		flow_run(&f, steps, 2, &left, any_end, NULL);
		ck_assert_uint_eq(n_ended, 1);
		ck_assert_uint_eq(count, 2 + undos[failures]);
		ck_assert_int_eq(f.undo_err.code, failures < 2 ? QMPSNAP_OK : QMPSNAP_INTERNAL);
	}
}
END_TEST

static void start_and_flip(struct flow *f, void *self)
{
	answer = !answer;
	count_up(f, self);
}

static bool the_answer(const void *self)
{
	(void)self;
	return answer;
}

START_TEST(applies_is_asked_again_before_the_undo)
{
	const struct flow_step table[] = {
		{.start = count_up, .undo = count_up, .when = UNDO_ALWAYS, .applies = the_answer},
		{.start = start_and_flip}};
	struct flow f;

	/* Applied at the start, not at the undo; and the other way round. */
	answer = true;
	flow_run(&f, table, 2, NULL, ended, NULL);
	ck_assert_uint_eq(count, 2);
	count = 0;
	flow_run(&f, table, 2, NULL, ended, NULL);
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(n_ended, 2);
}
END_TEST

static void hurried(struct flow *f, void *self)
{
	(void)self;
	flow_done(f, NULL);
}

static void cancel_at_begin(void *self, enum qmpsnap_phase phase, const struct flow_step *step)
{
	const struct qmpsnap_error why = {.code = QMPSNAP_INTERRUPTED, .message = "^C"};

	(void)step;
	if (phase == QMPSNAP_BEGIN)
		flow_cancel(self, &why);
}

static void ended_cancelled(struct flow *f, void *self)
{
	(void)self;
	ck_assert_int_eq(f->err.code, QMPSNAP_INTERRUPTED);
	n_ended++;
}

/* ^C may come while the user's callback for the step's beginning runs: the step must not be
 * hurried before it was started. */
START_TEST(a_watcher_may_cancel_at_the_beginning)
{
	const struct flow_step table[] = {{.start = count_up, .cancel = hurried}};
	struct flow f;

	flow_run(&f, table, 1, &f, ended_cancelled, cancel_at_begin);
	ck_assert_uint_eq(count, 0);
	ck_assert_uint_eq(n_ended, 1);
}
END_TEST

static void commit_and_cancel(struct flow *f, void *self)
{
	const struct qmpsnap_error why = {.code = QMPSNAP_INTERRUPTED, .message = "^C"};

	(void)self;
	flow_commit(f);
	flow_cancel(f, &why);
	flow_done(f, NULL);
}

static void ended_committed(struct flow *f, void *self)
{
	(void)self;
	ck_assert(!flow_failed(f));
	n_ended++;
}

/* What stands isn't undone by a cancel that comes too late. */
START_TEST(nothing_cancels_what_is_committed)
{
	const struct flow_step table[] = {
		{.start = commit_and_cancel, .undo = count_up, .cancel = hurried},
		{.start = count_up},
	};
	struct flow f;

	flow_run(&f, table, 2, &f, ended_committed, NULL);
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(n_ended, 1);
}
END_TEST

static void hold_first(void *self, enum qmpsnap_phase phase, const struct flow_step *step)
{
	(void)step;
	if (phase == QMPSNAP_BEGIN && n_held++ == 0)
		flow_hold(self);
}

START_TEST(a_held_step_starts_when_released)
{
	const struct flow_step table[] = {
		{.start = count_up, .undo = count_up, .when = UNDO_ALWAYS}, {.start = count_up}};
	struct flow f;

	flow_run(&f, table, 2, &f, ended, hold_first);
	ck_assert_uint_eq(count, 0);
	ck_assert_uint_eq(n_ended, 0);
	flow_release(&f);
	ck_assert_uint_eq(count, 3);
	ck_assert_uint_eq(n_ended, 1);
}
END_TEST

START_TEST(a_step_cancelled_while_held_never_starts)
{
	const struct flow_step table[] = {{.start = count_up, .cancel = hurried}};
	const struct qmpsnap_error why = {.code = QMPSNAP_INTERRUPTED, .message = "^C"};
	struct flow f;

	flow_run(&f, table, 1, &f, ended_cancelled, hold_first);
	flow_cancel(&f, &why);
	ck_assert_uint_eq(n_ended, 0);
	flow_release(&f);
	ck_assert_uint_eq(count, 0);
	ck_assert_uint_eq(n_ended, 1);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("flow");
	TCase *t = tcase_create("flow");

	tcase_add_test(t, a_long_table_needs_no_stack);
	tcase_add_test(t, an_empty_table_ends_well);
	tcase_add_test(t, an_undo_waits_until_it_is_ready);
	tcase_add_test(t, an_undo_without_memory_is_run_once_more);
	tcase_add_test(t, an_undo_that_lost_what_it_needs_is_run_anew);
	tcase_add_test(t, applies_is_asked_again_before_the_undo);
	tcase_add_test(t, a_watcher_may_cancel_at_the_beginning);
	tcase_add_test(t, nothing_cancels_what_is_committed);
	tcase_add_test(t, a_held_step_starts_when_released);
	tcase_add_test(t, a_step_cancelled_while_held_never_starts);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
