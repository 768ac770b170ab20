/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/client_fixture.h"

#include <errno.h>
#include <sys/socket.h>

/* ---- Handshake ---- */

START_TEST(monitor_in_use)
{
	struct qmp_client *holder;

	open_script(NULL);
	holder = client;
	story[0] = '\0';
	open_address(fake->address, 100);
	until("ready!");
	expect_error(QMPSNAP_REFUSED, "the monitor is in use by another client (no greeting",
		"second socket: -qmp unix:");
	ck_assert_ptr_eq(strstr(last_err.message, fake->address), last_err.message);
	qmp_close(holder, NULL, NULL);
	finish();
	expect_story("ready! closed");
}
END_TEST

START_TEST(waits_for_its_turn)
{
	struct qmp_client *holder;

	open_script(NULL);
	holder = client;
	story[0] = '\0';
	open_address(fake->address, 30000);
	ck_assert_int_ne(uv_run(&loop, UV_RUN_NOWAIT), 0);
	qmp_close(holder, NULL, NULL);
	until("ready");
	finish();
	expect_story("ready closed");
}
END_TEST

START_TEST(greeted_then_silent)
{
	static const struct fake_step script[] = {
		{FAKE_RAW, NULL, "{\"QMP\": {}}\n"}, {FAKE_SILENCE, "qmp_capabilities", NULL}, {0}};

	fake = fake_qmp_new(&loop, &(struct fake_options){.script = script, .manual = true});
	open_address(fake->address, 200);
	execute("early", "e");
	until("ready!");
	expect_error(QMPSNAP_DEADLINE, "no reply to qmp_capabilities within 200 ms", "");
	fake->at = NULL;
	finish();
	expect_story("e! ready! closed");
}
END_TEST

START_TEST(command_before_ready_waits)
{
	static const struct fake_step script[] = {{FAKE_RETURN, "early", "1"}, {0}};

	open_fake(&(struct fake_options){.script = script});
	execute("early", "e");
	until("e=");
	expect_story("ready e=1");
	finish();
}
END_TEST

static const struct {
	struct fake_step script[4];
	const char *why, *hint;
} bad_starts[] = {
	{{{FAKE_HANG_UP, NULL, NULL}}, "closed without QEMU's greeting", "not the socket"},
	{{{FAKE_RAW, NULL, "QEMU 7.2.22 monitor - type 'help'\r\n(qemu) "}},
		"doesn't speak QMP: a line that is no JSON (\"QEMU 7.2.22", "-monitor"},
	{{{FAKE_EVENT, NULL, "STOP"}}, "doesn't speak QMP: no greeting", "-monitor"},
	{{{FAKE_RAW, NULL, "{\"QMP\": 7}\n"}}, "a greeting that is no object", ""},
	{{{FAKE_RAW, NULL, "{\"QMP\": {}}\n"}, {FAKE_HANG_UP, "qmp_capabilities", NULL}},
		"QEMU is gone", "log"},
	{{{FAKE_RAW, NULL, "{\"QMP\": {}}\n"}, {FAKE_ERROR, "qmp_capabilities", "C never"}},
		"qmp_capabilities: never", ""},
};

START_TEST(bad_start)
{
	open_fake(&(struct fake_options){.script = bad_starts[_i].script, .manual = true});
	until("ready!");
	expect_error(QMPSNAP_REFUSED, bad_starts[_i].why, bad_starts[_i].hint);
	ck_assert_ptr_eq(strstr(last_err.message, fake->address), last_err.message);
	ck_assert(qmp_is_lost(client));
	finish();
	expect_story("ready! closed");
}
END_TEST

/* ---- The end ---- */

static void on_undo_reply(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	on_reply(result, err, data);
	qmp_execute(client, "undo", NULL, on_reply, "u");
}

START_TEST(qemu_dies)
{
	static const struct fake_step script[] = {{FAKE_SILENCE, "x", NULL},
		{FAKE_RAW, "y", "{\"event\": \"SHUTDOWN\"}\n{\"ret"}, {FAKE_HANG_UP, NULL, NULL},
		{0}};

	open_script(script);
	qmp_execute(client, "x", NULL, on_undo_reply, "x");
	execute("y", "y");
	until("lost!");
	ck_assert_ptr_eq(strstr(story, "ready SHUTDOWN x! y! lost!"), story);
	expect_error(QMPSNAP_QEMU, "QEMU is gone", "its own log may say why");
	ck_assert_int_eq(last_err.detail, ECONNRESET);
	ck_assert_int_eq(qmp_fd(client), -1);
	until("u!");
	expect_error(QMPSNAP_QEMU, "undo: unix:", "");
	execute("after", "a");
	ck_assert_ptr_null(strstr(story, "a!"));
	until("a!");
	expect_story("ready SHUTDOWN x! y! lost! u! a!");
	finish();
	expect_story("ready SHUTDOWN x! y! lost! u! a! closed");
}
END_TEST

/* QEMU's last words come before the news of its end, also when that is found by writing. */
START_TEST(last_words_are_heard)
{
	open_script(NULL);
	fake_qmp_event(fake, "SHUTDOWN");
	fake_qmp_hang_up(fake);
	while (fake->peer_fd >= 0)
		ck_assert_int_ne(uv_run(&loop, UV_RUN_NOWAIT), 0);
	if (!strstr(story, "lost!"))
		execute("x", "x");
	until("lost!");
	ck_assert_ptr_nonnull(strstr(story, "ready SHUTDOWN"));
	expect_error(QMPSNAP_QEMU, "QEMU is gone", "");
	finish();
}
END_TEST

static const struct {
	const char *bytes, *why;
} nonsense[] = {
	{"garbage\r\n", "a line that is no JSON (\"garbage\")"},
	{"[]\n", "a message that is no object"},
	{"{\"event\": []}\n", "an event whose name is no string"},
	{"{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n",
		"an error that belongs to no command"},
	{"{\"QMP\": {}}\n", "a second greeting"},
};

START_TEST(protocol_error)
{
	const struct fake_step script[] = {
		{FAKE_EVENT, "x", "E"}, {FAKE_RAW, NULL, nonsense[_i].bytes}, {0}};

	open_script(script);
	execute("x", "x");
	until("lost!");
	expect_story("ready E x! lost!");
	expect_error(QMPSNAP_QEMU, nonsense[_i].why, "-qmp");
	ck_assert_ptr_nonnull(strstr(last_err.message, "doesn't speak QMP"));
	ck_assert_int_eq(last_err.detail, EPROTO);
	finish();
}
END_TEST

/* Closing from inside each kind of callback; the others stay silent. */

static void closing_ready(const struct qmpsnap_error *err, void *data)
{
	on_ready(err, data);
	qmp_close(client, on_closed, NULL);
	qmp_close(client, on_closed, NULL);
}

static void closing_lost(const struct qmpsnap_error *err, void *data)
{
	on_lost(err, data);
	qmp_close(client, on_closed, NULL);
}

static void closing_reply(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	on_reply(result, err, data);
	qmp_close(client, on_closed, NULL);
}

static void closing_event(const char *name, struct json_object *data, void *user)
{
	on_event(name, data, user);
	qmp_close(client, on_closed, NULL);
}

static struct qmp_subscription closing = {.name = "B", .fn = closing_event, .user = "c"};

static void until_closed(void)
{
	until("closed");
	client = NULL;
	finish();
}

static void open_closing(const struct fake_step *script, qmp_ready_fn *ready, qmp_lost_fn *lost)
{
	struct qmp_address address;
	struct qmpsnap_error err;

	fake = fake_qmp_new(&loop, &(struct fake_options){.script = script});
	ck_assert(qmp_address_parse(fake->address, &address, &err));
	client = qmp_open(&loop, &address, NULL, ready, lost, story, &err);
	ck_assert_ptr_nonnull(client);
}

START_TEST(close_in_ready)
{
	open_closing(NULL, closing_ready, on_lost);
	execute("never", "n");
	until_closed();
	expect_story("ready n! closed");
}
END_TEST

START_TEST(close_before_ready)
{
	open_closing(NULL, on_ready, on_lost);
	qmp_close(client, on_closed, NULL);
	ck_assert_str_eq(story, "");
	until_closed();
	expect_story("closed");
}
END_TEST

START_TEST(close_in_lost)
{
	open_closing(NULL, on_ready, closing_lost);
	until("ready");
	fake_qmp_hang_up(fake);
	until_closed();
	expect_story("ready lost! closed");
}
END_TEST

START_TEST(close_in_reply)
{
	static const struct fake_step script[] = {
		{FAKE_RAW, "x", "{\"return\": 1, \"id\": %ID}\n{\"event\": \"B\"}\nrubbish\n"},
		{0}};

	open_script(script);
	qmp_execute(client, "x", NULL, closing_reply, "x");
	qmp_execute(client, "y", NULL, on_undo_reply, "y");
	until_closed();
	expect_story("ready x=1 y! u! closed");
}
END_TEST

START_TEST(close_in_reply_of_lost)
{
	static const struct fake_step script[] = {{FAKE_HANG_UP, "x", NULL}, {0}};

	open_script(script);
	qmp_execute(client, "x", NULL, closing_reply, "x");
	execute("y", "y");
	until_closed();
	expect_story("ready x! y! closed");
}
END_TEST

START_TEST(close_in_late_reply)
{
	static const struct fake_step script[] = {
		{FAKE_SILENCE, "x", NULL}, {FAKE_SILENCE, "y", NULL}, {0}};

	open_script(script);
	qmp_send(client, qmp_request_new("x", NULL), 20, closing_reply, "x");
	qmp_send(client, qmp_request_new("y", NULL), 20, on_reply, "y");
	until_closed();
	expect_story("ready x! y! closed");
}
END_TEST

START_TEST(close_in_event)
{
	static const struct fake_step script[] = {
		{FAKE_RETURN, "x", NULL}, {FAKE_EVENT, NULL, "B"}, {FAKE_EVENT, NULL, "B"}, {0}};

	open_closing(script, on_ready, on_lost);
	until("ready");
	qmp_subscribe(client, &closing);
	qmp_subscribe(client, &all);
	execute("x", "x");
	until_closed();
	expect_story("ready x={} cB closed");
}
END_TEST

START_TEST(unsent_request_is_freed)
{
	struct qmp_request *request = qmp_request_new("stop", json_object_new_object());

	ck_assert_ptr_nonnull(request);
	qmp_request_free(request);
	qmp_request_free(NULL);
}
END_TEST

/* ---- Adopting ---- */

static void adopt(const struct fake_step *script, const char *left_in, const char *left_out)
{
	struct qmpsnap_error err;
	int fds[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert_int_eq(send(fds[0], left_in, strlen(left_in), 0), (ssize_t)strlen(left_in));
	ck_assert_int_eq(send(fds[1], left_out, strlen(left_out), 0), (ssize_t)strlen(left_out));
	fake = fake_qmp_new(&loop, &(struct fake_options){.script = script, .fd = fds[1]});
	client = qmp_adopt(&loop, fds[0], NULL, on_lost, story, &err);
	ck_assert_ptr_nonnull(client);
	qmp_subscribe(client, &all);
}

START_TEST(adopted)
{
	static const struct fake_step script[] = {{FAKE_EVENT, "query-status", "OLD"},
		{FAKE_RAW, NULL, "{\"return\": {}, \"id\": %ID}\r\n{\"event\": \"NEW\"}\r\n"},
		{FAKE_RETURN, "cont", "2"}, {0}};

	adopt(script, "{\"execute\": \"sto",
		"tus\": [{\"x\": 1}]}, \"id\": \"dead-1\"}\r\n{\"event\": \"STOP\"}\r\n"
		"{\"return\": {}, \"id\": \"dead-2\"}\r\n{\"QMP\": {}}\r\n");
	execute("query-status", "a");
	execute("cont", "b");
	until("b=");
	expect_story("a={} NEW b=2");
	ck_assert_str_eq(fake->raw_in, "{\"execute\": \"sto\xff");
	fake_qmp_raw(fake, "rubbish\n", 8);
	until("lost!");
	expect_error(QMPSNAP_QEMU, "no JSON (\"rubbish\")", "");
	finish();
}
END_TEST

START_TEST(adopted_from_the_dead)
{
	adopt(NULL, "", "");
	fake_qmp_hang_up(fake);
	execute("x", "x");
	until("lost!");
	expect_story("x! lost!");
	expect_error(QMPSNAP_QEMU, "QEMU is gone", "");
	finish();
}
END_TEST

static Suite *suite(void)
{
	TCase *t = tcase_create("client_end");

	ADD(monitor_in_use);
	ADD(waits_for_its_turn);
	ADD(greeted_then_silent);
	ADD(command_before_ready_waits);
	tcase_add_loop_test(t, bad_start, 0, sizeof(bad_starts) / sizeof(bad_starts[0]));
	ADD(qemu_dies);
	ADD(last_words_are_heard);
	tcase_add_loop_test(t, protocol_error, 0, sizeof(nonsense) / sizeof(nonsense[0]));
	ADD(close_in_ready);
	ADD(close_before_ready);
	ADD(close_in_lost);
	ADD(close_in_reply);
	ADD(close_in_reply_of_lost);
	ADD(close_in_late_reply);
	ADD(close_in_event);
	ADD(unsent_request_is_freed);
	ADD(adopted);
	ADD(adopted_from_the_dead);
	return client_suite("client_end", t);
}

SUITE_MAIN(suite)
