/* SPDX-License-Identifier: Apache-2.0
 *
 * How it ends with a guest agent, and how it is taken over. */
#include "qmp/address.h"
#include "tests/unit/agent_kit.h"
#include "tests/unit/fixture.h"
#include "tests/unit/suite.h"

#include <errno.h>
#include <string.h>

static void setup(void)
{
	loop_setup();
	agent_kit_begin(&loop);
}

START_TEST(hung_up)
{
	static const struct agent_step script[] = {
		{"a", AGENT_ACT_HANG_UP, NULL}, {"", AGENT_ACT_SILENCE, NULL}};

	open_script(script);
	execute("a", 30000);
	until("x!");
	expect_error(ECONNRESET, "the socket was closed");
	ck_assert(agent_is_lost(agent));
	ck_assert_int_eq(agent_fd(agent), -1);
	agent_execute(agent, "b", 30000, on_reply, "y");
	ck_assert_str_eq(story, "x!");
	until("y!");
	expect_error(ECONNRESET, "the socket was closed");
	agent_wait(agent, 30000, on_reply, "w");
	until("w!");
	finish("x! y! w! closed");
}
END_TEST

START_TEST(given_up)
{
	fake.deaf = true;
	open_fake(30000);
	agent_give_up(agent);
	execute("a", 30000);
	agent_give_up(agent);
	ck_assert_str_eq(story, "");
	until("x!");
	expect_error(ECANCELED, "not waited for");
	agent_wait(agent, 30000, on_reply, "w");
	agent_give_up(agent);
	until("w");
	finish("x! w closed");
}
END_TEST

static void closing_reply(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	on_reply(result, err, data);
	agent_close(agent, on_closed, NULL);
	agent_close(agent, on_closed, NULL);
}

START_TEST(closed_in_reply)
{
	static const struct agent_step script[] = {
		{"a", AGENT_ACT_RAW, "{\"return\": 1}\n{\"return\": 2}\n\xff"},
		{"", AGENT_ACT_SILENCE, NULL}};

	open_script(script);
	agent_execute(agent, "a", 30000, closing_reply, "x");
	until("closed");
	fake_agent_stop(&fake);
	ck_assert_str_eq(story, "x=1 closed");
}
END_TEST

START_TEST(closed_at_hang_up)
{
	static const struct agent_step script[] = {
		{"a", AGENT_ACT_HANG_UP, NULL}, {"", AGENT_ACT_SILENCE, NULL}};

	open_script(script);
	agent_execute(agent, "a", 30000, closing_reply, "x");
	until("closed");
	ck_assert_str_eq(story, "x! closed");
}
END_TEST

START_TEST(closed_while_asked)
{
	fake.deaf = true;
	open_fake(30000);
	execute("a", 30000);
	ck_assert_int_ne(uv_run(&loop, UV_RUN_NOWAIT), 0);
	finish("closed");
}
END_TEST

START_TEST(adopted)
{
	static const struct agent_step script[] = {
		{"a", AGENT_ACT_RETURN, "1"}, {"", AGENT_ACT_SILENCE, NULL}};
	struct qmpsnap_error err;

	fake.script = script;
	fake_agent_start(&loop, &fake);
	/* A command half sent by the dead, and an answer to it. */
	ck_assert_int_eq(send(fake.client_fd, "{\"exe", 5, 0), 5);
	fake_agent_say(&fake, "{\"return\": 5}\n", 14);
	agent = agent_adopt(&loop, fake.client_fd, 30000, &err);
	ck_assert_ptr_nonnull(agent);
	execute("a", 30000);
	until("x=1");
	finish("x=1 closed");
}
END_TEST

START_TEST(no_socket)
{
	struct qmp_address address;
	struct qmpsnap_error err;

	ck_assert(qmp_address_parse("/nonexistent/qga.sock", &address, &err));
	ck_assert_ptr_null(agent_open(&loop, &address, 0, &err));
	ck_assert_int_eq(err.code, QMPSNAP_AGENT);
	ck_assert_str_eq(err.message, "guest agent: unix:/nonexistent/qga.sock: no such socket");
	ck_assert_ptr_nonnull(strstr(err.hint, "org.qemu.guest_agent.0"));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("agent end");
	TCase *t = tcase_create("agent end");

	tcase_add_checked_fixture(t, setup, loop_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, hung_up);
	tcase_add_test(t, given_up);
	tcase_add_test(t, closed_in_reply);
	tcase_add_test(t, closed_at_hang_up);
	tcase_add_test(t, closed_while_asked);
	tcase_add_test(t, adopted);
	tcase_add_test(t, no_socket);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
