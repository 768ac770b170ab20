/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/freeze.h"
#include "tests/unit/fake_agent.h"
#include "tests/unit/fixture.h"
#include "tests/unit/suite.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FREEZE "guest-fsfreeze-freeze"
#define THAW   "guest-fsfreeze-thaw"
#define STATUS "guest-fsfreeze-status"
#define THAWED                                                                                     \
	{                                                                                          \
		STATUS, AGENT_ACT_RETURN, "\"thawed\""                                             \
	}
#define FROZEN                                                                                     \
	{                                                                                          \
		STATUS, AGENT_ACT_RETURN, "\"frozen\""                                             \
	}
#define END                                                                                        \
	{                                                                                          \
		"", AGENT_ACT_SILENCE, NULL                                                        \
	}

static struct fake_agent fake;
static struct freeze freeze;
static struct qmpsnap_error last_err;
static bool ended;

static void on_end(const struct qmpsnap_error *err, void *data)
{
	ck_assert_ptr_eq(data, &ended);
	ck_assert(!ended);
	ended = true;
	last_err = err ? *err : (struct qmpsnap_error){0};
}

static void run(void)
{
	ck_assert(!ended);
	while (!ended) {
		ck_assert(uv_run(&loop, UV_RUN_NOWAIT) != 0 || ended);
		(void)usleep(200);
	}
	ended = false;
}

static void start(const struct agent_step *script)
{
	struct qmpsnap_error err;

	ended = false;
	fake = (struct fake_agent){.script = script};
	fake_agent_start(&loop, &fake);
	freeze = (struct freeze){.agent = agent_adopt(&loop, fake.client_fd, 300, &err)};
	ck_assert_ptr_nonnull(freeze.agent);
}

static void begin(unsigned deadline_ms)
{
	freeze_begin(&freeze, deadline_ms, on_end, &ended);
	run();
}

static void end(void)
{
	freeze_end(&freeze, on_end, &ended);
	run();
}

static void expect_error(const char *part)
{
	ck_assert_msg(last_err.code == QMPSNAP_AGENT && strstr(last_err.message, part), "%d: %s",
		last_err.code, last_err.message);
}

static void finish(const char *heard)
{
	agent_close(freeze.agent, NULL, NULL);
	fake_agent_stop(&fake);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_str_eq(fake.heard, heard);
}

START_TEST(well)
{
	static const struct agent_step script[] = {THAWED, {FREEZE, AGENT_ACT_RETURN, "2"}, FROZEN,
		{THAW, AGENT_ACT_RETURN, "2"}, THAWED, END};

	start(script);
	begin(30000);
	ck_assert_int_eq(last_err.code, QMPSNAP_OK);
	ck_assert(freeze.frozen && freeze.in_doubt && freeze.n_frozen == 2 && !freeze.thawed_well);
	end();
	ck_assert_int_eq(last_err.code, QMPSNAP_OK);
	ck_assert(freeze.thawed_well && !freeze.in_doubt);
	end();
	ck_assert_int_eq(last_err.code, QMPSNAP_OK);
	finish("sync " STATUS " " FREEZE " " STATUS " " THAW " " STATUS);
}
END_TEST

/* Each of these freezes fails, and is thawed if it may have been done. */
static const struct {
	struct agent_step script[8];
	const char *why;
	bool in_doubt;
} failures[] = {
	{{{STATUS, AGENT_ACT_ERROR, "CommandNotFound unknown"}, END}, "unknown", false},
	{{{STATUS, AGENT_ACT_SILENCE, NULL}, END}, "no reply to " STATUS, false},
	{{FROZEN, END}, "held frozen by others", false},
	{{{STATUS, AGENT_ACT_RETURN, "7"}, END}, "held frozen by others", false},
	{{THAWED, {FREEZE, AGENT_ACT_RETURN, "0"}, {THAW, AGENT_ACT_RETURN, "0"}, THAWED, END},
		"froze no file system", true},
	{{THAWED, {FREEZE, AGENT_ACT_RETURN, "-1"}, {THAW, AGENT_ACT_RETURN, "0"}, THAWED, END},
		"froze no file system", true},
	{{THAWED, {FREEZE, AGENT_ACT_RETURN, "\"1\""}, {THAW, AGENT_ACT_RETURN, "0"}, THAWED, END},
		"froze no file system", true},
	{{THAWED, {FREEZE, AGENT_ACT_RETURN, "4294967297"}, {THAW, AGENT_ACT_RETURN, "0"}, THAWED,
		 END},
		"froze no file system", true},
	{{THAWED, {FREEZE, AGENT_ACT_ERROR, "GenericError failed to freeze /mnt"},
		 {THAW, AGENT_ACT_RETURN, "0"}, THAWED, END},
		"failed to freeze /mnt", true},
	{{THAWED, {FREEZE, AGENT_ACT_ERROR, "CommandNotFound switched off"},
		 {THAW, AGENT_ACT_ERROR, "CommandNotFound switched off"},
		 {STATUS, AGENT_ACT_ERROR, "CommandNotFound switched off"}, END},
		"switched off", true},
	{{THAWED, {FREEZE, AGENT_ACT_LATE, "2"}, {THAW, AGENT_ACT_RETURN, "2"}, THAWED, END},
		"no reply to " FREEZE " within 50 ms", true},
	{{THAWED, {FREEZE, AGENT_ACT_SILENCE, NULL}, {THAW, AGENT_ACT_RETURN, "0"}, THAWED, END},
		"no reply to " FREEZE " within 50 ms", true},
	{{THAWED, {FREEZE, AGENT_ACT_RETURN, "1"}, THAWED, {THAW, AGENT_ACT_RETURN, "0"}, THAWED,
		 END},
		"didn't stay frozen", true},
	{{THAWED, {FREEZE, AGENT_ACT_RETURN, "1"}, {STATUS, AGENT_ACT_SILENCE, NULL},
		 {THAW, AGENT_ACT_RETURN, "1"}, THAWED, END},
		"no reply to " STATUS, true},
};

START_TEST(fails)
{
	start(failures[_i].script);
	if (!failures[_i].in_doubt && failures[_i].script[0].act == AGENT_ACT_SILENCE) {
		/* Its deadline isn't the freeze's. */
		freeze_begin(&freeze, 50, on_end, &ended);
		while (!strstr(fake.heard, STATUS))
			ck_assert_int_ne(uv_run(&loop, UV_RUN_ONCE), 0);
		freeze_give_up(&freeze);
		run();
		expect_error("not waited for");
	} else {
		begin(50);
		expect_error(failures[_i].why);
	}
	ck_assert(!freeze.frozen);
	ck_assert_int_eq(freeze.in_doubt, failures[_i].in_doubt);
	end();
	ck_assert_int_eq(last_err.code, QMPSNAP_OK);
	ck_assert(!freeze.thawed_well && !freeze.in_doubt);
	ck_assert_str_eq(fake.script->expect, "");
	agent_close(freeze.agent, NULL, NULL);
	fake_agent_stop(&fake);
}
END_TEST

START_TEST(no_agent)
{
	start(NULL);
	fake.deaf = true;
	begin(50);
	expect_error("no agent answers within 300 ms");
	ck_assert(!freeze.in_doubt);
	end();
	ck_assert_int_eq(last_err.code, QMPSNAP_OK);
	finish("sync");
}
END_TEST

/* Thawing goes on through errors, silence and a status that stays frozen. */
START_TEST(thaw_goes_on)
{
	static const struct agent_step script[] = {THAWED, {FREEZE, AGENT_ACT_RETURN, "2"}, FROZEN,
		{THAW, AGENT_ACT_ERROR, "GenericError not now"}, FROZEN,
		{THAW, AGENT_ACT_RAW, "rubbish\n"}, {THAW, AGENT_ACT_RETURN, "2"},
		{STATUS, AGENT_ACT_ERROR, "CommandNotFound no"}, {THAW, AGENT_ACT_RETURN, "0"},
		THAWED, END};

	start(script);
	begin(30000);
	ck_assert(freeze.frozen);
	end();
	ck_assert_int_eq(last_err.code, QMPSNAP_OK);
	ck_assert(!freeze.in_doubt && !freeze.thawed_well);
	finish("sync " STATUS " " FREEZE " " STATUS " " THAW " " STATUS " " THAW " sync " THAW
	       " " STATUS " " THAW " " STATUS);
}
END_TEST

/* The guest was paused by its owner meanwhile: its agent answers once it runs again. */
START_TEST(thaw_waits_for_the_agent)
{
	static const struct agent_step script[] = {THAWED, {FREEZE, AGENT_ACT_RETURN, "2"}, FROZEN,
		{THAW, AGENT_ACT_RETURN, "2"}, THAWED, END};

	start(script);
	begin(30000);
	fake.deaf = true;
	freeze_end(&freeze, on_end, &ended);
	while (!strstr(fake.heard, "sync " STATUS " " FREEZE " " STATUS " " THAW))
		ck_assert_int_ne(uv_run(&loop, UV_RUN_ONCE), 0);
	fake.deaf = false;
	agent_give_up(freeze.agent); /* the deadline of that one passes */
	run();
	ck_assert_int_eq(last_err.code, QMPSNAP_OK);
	ck_assert(!freeze.in_doubt && !freeze.thawed_well);
	finish("sync " STATUS " " FREEZE " " STATUS " " THAW " sync " THAW " " STATUS);
}
END_TEST

START_TEST(thaw_given_up)
{
	static const struct agent_step script[] = {
		THAWED, {FREEZE, AGENT_ACT_RETURN, "2"}, FROZEN, END};

	start(script);
	begin(30000);
	freeze_end(&freeze, on_end, &ended);
	freeze_give_up(&freeze);
	run();
	expect_error("may still be frozen");
	ck_assert(freeze.in_doubt);
	agent_close(freeze.agent, NULL, NULL);
	fake_agent_stop(&fake);
}
END_TEST

START_TEST(thaw_ends_with_the_connection)
{
	static const struct agent_step script[] = {THAWED, {FREEZE, AGENT_ACT_RETURN, "2"}, FROZEN,
		{THAW, AGENT_ACT_HANG_UP, NULL}, END};

	start(script);
	begin(30000);
	end();
	expect_error("the socket was closed");
	ck_assert(freeze.in_doubt);
	end();
	expect_error("the socket was closed");
	finish("sync " STATUS " " FREEZE " " STATUS " " THAW);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("freeze");
	TCase *t = tcase_create("freeze");

	tcase_add_checked_fixture(t, loop_setup, loop_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, well);
	tcase_add_loop_test(t, fails, 0, sizeof(failures) / sizeof(failures[0]));
	tcase_add_test(t, no_agent);
	tcase_add_test(t, thaw_goes_on);
	tcase_add_test(t, thaw_waits_for_the_agent);
	tcase_add_test(t, thaw_given_up);
	tcase_add_test(t, thaw_ends_with_the_connection);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
