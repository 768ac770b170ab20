/* SPDX-License-Identifier: Apache-2.0
 *
 * Talking to a guest agent: finding each other, commands, answers. */
#include "tests/unit/agent_kit.h"
#include "tests/unit/fixture.h"
#include "tests/unit/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void setup(void)
{
	loop_setup();
	agent_kit_begin(&loop);
}

/* ---- Sync ---- */

START_TEST(synced)
{
	open_fake(30000);
	agent_sync(agent, on_reply, "s");
	ck_assert_str_eq(story, "");
	until("s");
	ck_assert_str_eq(fake.heard, "sync");
	ck_assert_uint_eq(fake.n_resets, 1);
	finish("s closed");
}
END_TEST

/* What an earlier client left: an endless line, other answers, another client's sync. */
START_TEST(synced_through_rubbish)
{
	static char endless[100000];
	static const char left[] = "\n{\"return\": 3}\n\xff{\"return\": 7}\n{\"return\": "
				   "\"frozen\"}\n\xff\xff{\"retu\xff{\"return\": \"8\"}\nrubbish";

	memset(endless, '[', sizeof(endless));
	open_fake(30000);
	fake_agent_say(&fake, endless, sizeof(endless));
	fake_agent_say(&fake, left, sizeof(left) - 1);
	agent_sync(agent, on_reply, "s");
	until("s");
	finish("s closed");
}
END_TEST

static const char *const no_answers[] = {"{\"return\": %ID}\n", "\xff{\"return\": \"%ID\"}\n",
	"\xff{\"return\": 1%ID}\n", "\xff{\"return\": {\"id\": %ID}}\n", "\xff[%ID]\n",
	"\xff{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no\"}}\n",
	"\xff{\"return\": %ID}", "\xff{\"return\": %ID\xff}\n", "\xff{\"return\": %ID.5}\n",
	"\xff\n\n\xff{\"event\": \"X\"}\n"};

START_TEST(no_answer_to_a_sync)
{
	const char *const answers[] = {no_answers[_i], NULL};

	fake.sync_answers = answers;
	open_fake(60);
	agent_sync(agent, on_reply, "s");
	until("s!");
	expect_error(ETIMEDOUT, "no agent answers within 60 ms");
	ck_assert_ptr_nonnull(strstr(last_err.hint, "qemu-guest-agent running"));
	agent_sync(agent, on_reply, "again");
	until("again");
	finish("s! again closed");
}
END_TEST

START_TEST(silent_agent)
{
	fake.deaf = true;
	open_fake(40);
	execute("guest-fsfreeze-freeze", 30000);
	until("x!");
	expect_error(ETIMEDOUT, "no agent answers within 40 ms");
	ck_assert_str_eq(fake.heard, "sync");
	finish("x! closed");
}
END_TEST

/* ---- Commands ---- */

START_TEST(commands)
{
	static const struct agent_step script[] = {{"a", AGENT_ACT_RETURN, "42"},
		{"b", AGENT_ACT_RETURN, "{\"n\": [1]}"}, {"", AGENT_ACT_SILENCE, NULL}};

	open_script(script);
	execute("a", 30000);
	until("x=42");
	agent_execute(agent, "b", 30000, on_reply, "y");
	until("y=");
	ck_assert_str_eq(fake.heard, "sync a b");
	finish("x=42 y={\"n\":[1]} closed");
}
END_TEST

START_TEST(error_in_the_agents_words)
{
	static const struct agent_step script[] = {
		{"a", AGENT_ACT_ERROR, "GenericError failed to open /mnt\\u001b[31m"},
		{"b", AGENT_ACT_RETURN, "1"}, {"", AGENT_ACT_SILENCE, NULL}};

	open_script(script);
	execute("a", 30000);
	until("x!");
	expect_error(0, "a: failed to open /mnt.[31m");
	ck_assert_str_eq(last_class, "GenericError");
	ck_assert_str_eq(agent_error_class(agent), "");
	agent_execute(agent, "b", 30000, on_reply, "y");
	until("y=1");
	ck_assert_str_eq(fake.heard, "sync a b");
	finish("x! y=1 closed");
}
END_TEST

/* When it was this process that stood still, an answer that has come isn't late. */
START_TEST(answer_read_late)
{
	static const struct agent_step script[] = {
		{"a", AGENT_ACT_RETURN, "1"}, {"", AGENT_ACT_SILENCE, NULL}};

	open_script(script);
	agent_sync(agent, on_reply, "s");
	until("s");
	execute("a", 100);
	while (!strstr(fake.heard, "a"))
		ck_assert_int_ne(uv_run(&loop, UV_RUN_NOWAIT), 0);
	ck_assert_str_eq(story, "s");
	(void)usleep(150000);
	until("x");
	finish("s x=1 closed");
}
END_TEST

/* A late answer is recognised as such, whatever it says. */
START_TEST(late_answer)
{
	static const struct agent_step script[] = {{"freeze", AGENT_ACT_LATE, "3"},
		{"status", AGENT_ACT_RETURN, "\"frozen\""}, {"", AGENT_ACT_SILENCE, NULL}};

	open_script(script);
	execute("freeze", 40);
	until("x!");
	expect_error(ETIMEDOUT, "no reply to freeze within 40 ms");
	agent_execute(agent, "status", 30000, on_reply, "y");
	until("y=");
	ck_assert_str_eq(fake.heard, "sync freeze sync status");
	finish("x! y=\"frozen\" closed");
}
END_TEST

/* What comes unasked puts the channel out of step. */
START_TEST(unasked)
{
	static const struct agent_step script[] = {
		{"a", AGENT_ACT_RAW, "{\"return\": 1}\n{\"return\": 2}\n"},
		{"b", AGENT_ACT_RETURN, "3"}, {"c", AGENT_ACT_RETURN, "4"},
		{"", AGENT_ACT_SILENCE, NULL}};

	open_script(script);
	execute("a", 30000);
	until("x=1");
	agent_execute(agent, "b", 30000, on_reply, "y");
	until("y=3");
	fake_agent_say(&fake, "{\"return\": 9}\n", 14);
	ck_assert_int_ne(uv_run(&loop, UV_RUN_NOWAIT), 0);
	agent_execute(agent, "c", 30000, on_reply, "z");
	until("z=4");
	ck_assert_str_eq(fake.heard, "sync a sync b sync c");
	finish("x=1 y=3 z=4 closed");
}
END_TEST

static char deep[3000], large[(1 << 20) + 100];
static const struct {
	const char *bytes, *why;
} nonsense[] = {
	{"garbage\n", "a line that is no JSON (\"garbage\")"},
	{"[1]\n", "a message that is no object"},
	{"{\"return\": null}\n", "a reply without a value"},
	{"{\"error\": \"no\"}\n", "an error without class and text"},
	{"{\"QMP\": {}}\n", "no answer that makes sense"},
	{"{\"event\": \"X\"}\n", "no answer that makes sense"},
	{"{\"ret\xff", "no answer that makes sense"},
	{deep, "nested too deeply"},
	{large, "a message of more than 1048576 bytes"},
};

START_TEST(answers_without_sense)
{
	const struct agent_step script[] = {{"a", AGENT_ACT_RAW, nonsense[_i].bytes},
		{"b", AGENT_ACT_RETURN, "1"}, {"", AGENT_ACT_SILENCE, NULL}};
	const bool is_large = nonsense[_i].bytes == large;

	(void)snprintf(deep, sizeof(deep), "{\"return\":%*s", 2000, "");
	memset(deep + 10, '[', 2000);
	deep[2010] = '\n';
	memset(large, 'x', sizeof(large));
	fake.script = is_large ? script + 1 : script;
	open_fake(30000);
	if (is_large) {
		/* Too much for one send(): in pieces, as fast as they are taken. */
		agent_sync(agent, on_reply, "s");
		until("s");
		story[0] = '\0';
		fake.deaf = true;
		execute("a", 30000);
		while (!strstr(story, "x!")) {
			fake_agent_say(&fake, large, 10000);
			ck_assert_int_ne(uv_run(&loop, UV_RUN_NOWAIT), 0);
		}
		fake.deaf = false;
	} else {
		execute("a", 30000);
	}
	until("x!");
	expect_error(EPROTO, nonsense[_i].why);
	agent_execute(agent, "b", 30000, on_reply, "y");
	until("y=1");
	finish("x! y=1 closed");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("agent");
	TCase *t = tcase_create("agent");

	tcase_add_checked_fixture(t, setup, loop_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, synced);
	tcase_add_test(t, synced_through_rubbish);
	tcase_add_loop_test(t, no_answer_to_a_sync, 0, sizeof(no_answers) / sizeof(no_answers[0]));
	tcase_add_test(t, silent_agent);
	tcase_add_test(t, commands);
	tcase_add_test(t, error_in_the_agents_words);
	tcase_add_test(t, answer_read_late);
	tcase_add_test(t, late_answer);
	tcase_add_test(t, unasked);
	tcase_add_loop_test(t, answers_without_sense, 0, sizeof(nonsense) / sizeof(nonsense[0]));
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
