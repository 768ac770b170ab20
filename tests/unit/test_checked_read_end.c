/* SPDX-License-Identifier: Apache-2.0
 *
 * Checked reads whose scratch, reader or view ends before them.
 */
#include "checked_kit.h"
#include "fixture.h"
#include "suite.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static void setup(void)
{
	loop_setup();
	checked_setup(&loop);
}

static void teardown(void)
{
	loop_teardown();
	checked_teardown();
}

static void assert_failed(struct consumer *c, const char *why)
{
	consumer_wait(c, &loop);
	ck_assert_int_eq(c->err.code, QMPSNAP_VIEW);
	ck_assert_msg(strstr(c->err.message, "disk vd0: reading the map of its scratch: ") ==
			      c->err.message,
		"%s", c->err.message);
	ck_assert_msg(strstr(c->err.message, why) != NULL, "%s", c->err.message);
}

/* Before it is asked anything, and while it is. */
START_TEST(scratch_dies)
{
	struct consumer c, other;

	view_of_fake();
	make_scratch(NULL, 0);
	check_reads();
	if (_i) {
		signal_scratch(SIGSTOP);
		consumer_open(&c, run.stream, 0, fake.size_bytes, -1);
		consumer_open(&other, run.stream, 8 * MIB, MIB, -1);
		kit_run_loop_ms(&loop, SETTLE_MS);
		ck_assert_uint_eq(c.got, 0);
		server_kill(&scratch_server);
	} else {
		server_kill(&scratch_server);
		kit_run_loop_ms(&loop, SETTLE_MS);
		consumer_open(&c, run.stream, 0, fake.size_bytes, -1);
		consumer_open(&other, run.stream, 8 * MIB, MIB, -1);
	}
	scratch_server.pid = 0;
	assert_failed(&c, "QEMU closed the NBD connection");
	assert_failed(&other, "QEMU closed the NBD connection");
	end();
}
END_TEST

/* It answers with an error, knows no depth of allocation, or describes nothing. */
START_TEST(scratch_without_an_answer)
{
	static const char *const why[] = {
		"Operation not permitted", "Protocol error", "Protocol error"};
	struct consumer c;

	fake_scratch.error_after = _i == 0;
	fake_scratch.depth = _i != 1;
	view_of_fake();
	make_fake_scratch(_i == 2 ? 0 : fake.size_bytes);
	check_reads();
	consumer_open(&c, run.stream, 0, fake.size_bytes, -1);
	assert_failed(&c, why[_i]);
	end();
}
END_TEST

/* Two readers of a disk whose scratch doesn't answer: it is asked about reads of `asked`, and not
 * about those of `unasked`. */
static void open_both(struct consumer *asked, struct consumer *unasked)
{
	view_of_disk(16 * MIB);
	make_random_scratch();
	check_reads();
	signal_scratch(SIGSTOP);
	open_reader(asked, 0);
	kit_run_loop_ms(&loop, SETTLE_MS);
	open_reader(unasked, 0);
	kit_run_loop_ms(&loop, SETTLE_MS);
	ck_assert(!asked->closed && !unasked->closed);
}

/* Only what was asked about has to be waited for. */
START_TEST(reader_closed)
{
	struct consumer left, other;

	if (_i)
		open_both(&other, &left);
	else
		open_both(&left, &other);
	consumer_close(&left);
	kit_run_loop_ms(&loop, SETTLE_MS);
	ck_assert_int_eq(left.closed, _i);
	signal_scratch(SIGCONT);
	take(&other, 0);
	assert_disk(0);
	consumer_wait(&left, &loop);
	ck_assert_int_eq(close(left.fd), 0);
	end();
}
END_TEST

/* While the scratch is silent, and when its answer may come in between. */
START_TEST(closed_while_asked)
{
	struct consumer a, b;

	open_both(&a, &b);
	consumer_close(&a);
	consumer_close(&b);
	if (_i)
		signal_scratch(SIGCONT);
	end();
	ck_assert(a.closed && b.closed);
	ck_assert_int_eq(close(a.fd), 0);
	ck_assert_int_eq(close(b.fd), 0);
}
END_TEST

/* Reads of a reader that has gone are to be repeated, and wait for the connection, where another
 * one gets no answer. */
START_TEST(closed_while_repeating)
{
	static const uint64_t offsets[] = {0, BLOCK_BYTES};
	struct consumer left, other;

	fake.silent_after = 3;
	view_of_fake();
	make_scratch(offsets, 2);
	check_reads();
	signal_scratch(SIGSTOP);
	consumer_open(&left, run.stream, 0, fake.size_bytes, -1);
	kit_run_loop_ms(&loop, SETTLE_MS);
	consumer_open(&other, run.stream, 8 * MIB, MIB, -1);
	kit_run_loop_ms(&loop, SETTLE_MS);
	consumer_close(&left);
	signal_scratch(SIGCONT);
	kit_run_loop_ms(&loop, SETTLE_MS);
	ck_assert(!left.closed);
	consumer_close(&other);
	end();
	ck_assert(left.closed && other.closed);
}
END_TEST

static void on_ready(void *data)
{
	(void)data;
}

/* A view without the scratch that its reads are to be checked against gives no more of them. */
START_TEST(scratch_goes_first)
{
	struct qmpsnap_error err;

	view_of_fake();
	make_scratch(NULL, 0);
	check_reads();
	end_scratch();
	ck_assert_ptr_null(
		run.stream->ops->open(run.stream, 0, run.stream->size_bytes, on_ready, NULL, &err));
	ck_assert_int_eq(err.code, QMPSNAP_VIEW);
	ck_assert_str_eq(err.message, "disk vd0: its scratch can't be read any more");
	end();
}
END_TEST

/* What was read and not checked is an error then. */
START_TEST(scratch_goes_while_asked)
{
	struct consumer asked, unasked;

	open_both(&asked, &unasked);
	end_scratch();
	assert_failed(&asked, "canceled");
	assert_failed(&unasked, "canceled");
	ck_assert_int_eq(close(asked.fd), 0);
	ck_assert_int_eq(close(unasked.fd), 0);
	end();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("checked_read_end");
	TCase *tcase = tcase_create("checked_read_end");

	tcase_add_unchecked_fixture(tcase, kit_setup, kit_teardown);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, scratch_dies, 0, 2);
	tcase_add_loop_test(tcase, scratch_without_an_answer, 0, 3);
	tcase_add_loop_test(tcase, reader_closed, 0, 2);
	tcase_add_loop_test(tcase, closed_while_asked, 0, 2);
	tcase_add_test(tcase, closed_while_repeating);
	tcase_add_test(tcase, scratch_goes_first);
	tcase_add_test(tcase, scratch_goes_while_asked);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)
