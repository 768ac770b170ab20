/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/client_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

/* ---- Commands ---- */

START_TEST(replies)
{
	static const struct fake_step script[] = {
		{FAKE_RETURN, "query-status", "{\"running\":true}"},
		{FAKE_ERROR, "blockdev-del", "DeviceNotFound no node\n\x1b[1mnamed 'x'"},
		{FAKE_RETURN, "cont", NULL},
		{0},
	};

	open_script(script);
	ck_assert_str_eq(qmp_peer(client), fake->address);
	ck_assert_int_eq(qmp_peer_pid(client), getpid());
	ck_assert_int_ge(qmp_fd(client), 0);
	execute("query-status", "a");
	ck_assert_str_eq(story, "ready");
	until("a=");
	execute("blockdev-del", "b");
	until("b!");
	expect_error(QMPSNAP_QEMU, "blockdev-del: no node  [1mnamed 'x'", "");
	ck_assert_str_eq(last_class, "DeviceNotFound");
	ck_assert_str_eq(qmp_error_class(client), "");
	execute("cont", "c");
	until("c=");
	expect_story("ready a={\"running\":true} b! c={}");
	finish();
}
END_TEST

START_TEST(arguments_are_sent)
{
	static const struct fake_step script[] = {{FAKE_RETURN, "blockdev-add", NULL}, {0}};
	struct json_object *arguments = json_object_new_object();

	open_script(script);
	json_put_string(arguments, "node-name", "a \"b\" \\ \n");
	qmp_execute(client, "blockdev-add", arguments, on_reply, "a");
	until("a=");
	ck_assert_str_eq(json_string(fake->last_arguments, "node-name"), "a \"b\" \\ \n");
	finish();
}
END_TEST

/* Three at once, answered in another order and all in one read. */
START_TEST(replies_are_matched_by_id)
{
	static const struct fake_step script[] = {
		{FAKE_RAW, "one", "{\"return\": 1, \"id\": %ID}\n"},
		{FAKE_SILENCE, "two", NULL},
		{FAKE_RAW, "three",
			"{\"return\": 3, \"id\": %ID}\n{\"return\": 9, \"id\": \"stranger\"}\n"
			"{\"return\": 9, \"id\": 5}\n{\"return\": 9}\n"
			"{\"error\": {\"class\": \"C\", \"desc\": \"d\"}, \"id\": 7}\n"},
		{0},
	};

	open_script(script);
	execute("one", "a");
	execute("two", "b");
	execute("three", "c");
	until("c=");
	expect_story("ready a=1 c=3");
	finish();
	expect_story("ready a=1 c=3 b! closed");
	expect_error(QMPSNAP_QEMU, "two: unix:", "");
	ck_assert_ptr_nonnull(strstr(last_err.message, "closed"));
}
END_TEST

START_TEST(events_keep_their_order)
{
	static const struct fake_step script[] = {
		{FAKE_EVENT, NULL, "RESUME"},
		{FAKE_EVENT, "stop", "STOP"},
		{FAKE_EVENT, NULL, "JOB_STATUS_CHANGE {\"id\": \"j\"}"},
		{FAKE_RAW, NULL, "{\"return\": {}, \"id\": %ID}\r\n"},
		{FAKE_EVENT, NULL, "LATER"},
		{0},
	};

	open_script(script);
	until("RESUME");
	execute("stop", "a");
	until("LATER");
	expect_story("ready RESUME STOP JOB_STATUS_CHANGE a={} LATER");
	finish();
}
END_TEST

static struct qmp_subscription named, other, further, fresh;

static void on_named(const char *name, struct json_object *data, void *user)
{
	on_event(name, data, user);
	qmp_unsubscribe(client, &named);
	qmp_unsubscribe(client, &other);
	qmp_unsubscribe(client, &other);
	qmp_subscribe(client, &fresh);
	qmp_subscribe(client, &fresh);
}

START_TEST(subscribing_inside_callbacks)
{
	static const struct fake_step script[] = {
		{FAKE_RETURN, "go", NULL},
		{FAKE_EVENT, NULL, "A"},
		{FAKE_EVENT, NULL, "B"},
		{FAKE_EVENT, NULL, "B"},
		{0},
	};

	open_script(script);
	named = (struct qmp_subscription){.name = "B", .fn = on_named, .user = "n"};
	other = (struct qmp_subscription){.fn = on_event, .user = "o"};
	further = (struct qmp_subscription){.name = "B", .fn = on_event, .user = "u"};
	fresh = (struct qmp_subscription){.fn = on_event, .user = "f"};
	qmp_subscribe(client, &named);
	qmp_subscribe(client, &other);
	qmp_subscribe(client, &further);
	execute("go", "a");
	until("fB");
	expect_story("ready a={} A oA B nB uB B uB fB");
	finish();
}
END_TEST

START_TEST(descriptor_is_passed)
{
	static const struct fake_step script[] = {
		{FAKE_RETURN, "getfd", NULL}, {FAKE_RETURN, "add-fd", NULL}, {0}};
	char bytes[16] = "";
	char file[] = "/tmp/test-client-XXXXXX";
	int pipe_fds[2];
	const int fd = mkstemp(file);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_int_eq(write(fd, "regular", 7), 7);
	ck_assert_int_eq(pipe(pipe_fds), 0);
	open_script(script);
	qmp_execute_with_fd(client, "getfd", NULL, fd, on_reply, "a");
	until("a=");
	ck_assert_int_ge(fake->received_fd, 0);
	ck_assert_int_ne(fake->received_fd, fd);
	ck_assert_int_eq(pread(fake->received_fd, bytes, sizeof(bytes), 0), 7);
	ck_assert_str_eq(bytes, "regular");
	qmp_execute_with_fd(client, "add-fd", NULL, pipe_fds[0], on_reply, "b");
	until("b=");
	ck_assert_int_eq(write(pipe_fds[1], "pipe", 5), 5);
	ck_assert_int_eq(read(fake->received_fd, bytes, sizeof(bytes)), 5);
	ck_assert_str_eq(bytes, "pipe");
	(void)close(fd);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
	finish();
}
END_TEST

/* Only the command with the bad descriptor fails. */
START_TEST(bad_descriptor)
{
	static const struct fake_step script[] = {
		{FAKE_RETURN, "first", NULL}, {FAKE_RETURN, "last", NULL}, {0}};

	open_script(script);
	execute("first", "a");
	qmp_execute_with_fd(client, "getfd", NULL, 9999, on_reply, "b");
	ck_assert_str_eq(story, "ready");
	execute("last", "c");
	until("b!");
	expect_error(QMPSNAP_INTERNAL, "Bad file descriptor", "");
	until("c=");
	finish();
}
END_TEST

/* Far more than the socket's buffers take, so with partial writes; and descriptors among it. */
START_TEST(long_queue_out)
{
	static const struct fake_step script[] = {{FAKE_RETURN, "big", NULL},
		{FAKE_RETURN, "getfd", "1"}, {FAKE_RETURN, "big", NULL},
		{FAKE_RETURN, "getfd", "2"}, {0}};
	const size_t length = 3 << 20;
	char *text = malloc(length + 1);
	int fds[2];

	ck_assert_ptr_nonnull(text);
	memset(text, 'x', length);
	text[length] = '\0';
	ck_assert_int_eq(pipe(fds), 0);
	open_script(script);
	for (int i = 0; i < 2; i++) {
		struct json_object *arguments = json_object_new_object();

		json_put_string(arguments, "text", text);
		qmp_execute(client, "big", arguments, on_reply, "b");
		qmp_execute_with_fd(client, "getfd", NULL, fds[i], on_reply, "f");
	}
	free(text);
	until("f=2");
	expect_story("ready b={} f=1 b={} f=2");
	ck_assert_int_eq(write(fds[1], "y", 1), 1);
	(void)close(fds[0]);
	finish();
	(void)close(fds[1]);
}
END_TEST

static char *big_reply(const char *command, struct json_object *arguments, void *data)
{
	static const char front[] = "\"return\": [\"";
	const size_t length = 6 << 20;
	char *body = malloc(length + 32);

	(void)command;
	(void)arguments;
	(void)data;
	ck_assert_ptr_nonnull(body);
	memset(body, 'z', length + sizeof(front));
	memcpy(body, front, sizeof(front) - 1);
	(void)snprintf(body + sizeof(front) - 1 + length, 10, "\", 1]");
	return body;
}

static void on_big(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	(void)data;
	ck_assert_ptr_null(err);
	ck_assert_int_eq(json_object_get_string_len(json_object_array_get_idx(result, 0)), 6 << 20);
	tell("big");
}

START_TEST(big_replies_in_random_pieces)
{
	open_fake(&(struct fake_options){
		.handler = big_reply, .chunk = 30000, .random_chunks = true});
	until("ready");
	qmp_execute(client, "query-qmp-schema", NULL, on_big, NULL);
	qmp_execute(client, "query-qmp-schema", NULL, on_big, NULL);
	until("big big");
	finish();
}
END_TEST

START_TEST(byte_by_byte)
{
	static const struct fake_step script[] = {{FAKE_EVENT, "a", "X"},
		{FAKE_ERROR, "b", "GenericError no"}, {FAKE_RETURN, "c", "[1,2]"}, {0}};

	open_fake(&(struct fake_options){.script = script, .chunk = 1});
	until("ready");
	qmp_subscribe(client, &all);
	execute("a", "a");
	execute("b", "b");
	execute("c", "c");
	until("c=");
	expect_story("ready X b! c=[1,2]");
	finish();
}
END_TEST

/* ---- Deadlines ---- */

START_TEST(late_reply_is_dropped)
{
	static const struct fake_step script[] = {
		{FAKE_SILENCE, "slow", NULL}, {FAKE_RETURN, "quick", NULL}, {0}};
	char late[128];

	open_script(script);
	qmp_send(client, qmp_request_new("slow", NULL), 50, on_reply, "a");
	until("a!");
	expect_error(QMPSNAP_DEADLINE, ": no reply to slow within 50 ms", "hang");
	ck_assert_ptr_eq(strstr(last_err.message, fake->address), last_err.message);
	(void)snprintf(late, sizeof(late), "{\"return\": 7, \"id\": %s}\r\n", fake->last_id);
	fake_qmp_raw(fake, late, strlen(late));
	execute("quick", "b");
	until("b=");
	expect_story("ready a! b={}");
	finish();
}
END_TEST

/* The earliest deadline counts, whatever the order of sending. */
START_TEST(deadlines_have_their_own_order)
{
	static const struct fake_step script[] = {{FAKE_SILENCE, "x", NULL},
		{FAKE_SILENCE, "y", NULL}, {FAKE_SILENCE, "z", NULL}, {0}};

	open_script(script);
	qmp_send(client, qmp_request_new("x", NULL), 150, on_reply, "x");
	qmp_send(client, qmp_request_new("y", NULL), 50, on_reply, "y");
	qmp_send(client, qmp_request_new("z", NULL), 100, on_reply, "z");
	until("x!");
	expect_story("ready y! z! x!");
	finish();
}
END_TEST

/* When this very process stood still, a reply that has come isn't late. */
START_TEST(own_standstill_is_no_deadline)
{
	static const struct fake_step script[] = {{FAKE_RETURN, "x", "1"}, {0}};

	open_script(script);
	qmp_send(client, qmp_request_new("x", NULL), 1000, on_reply, "x");
	while (fake->n_commands == 0 || fake->out_bytes)
		ck_assert_int_ne(uv_run(&loop, UV_RUN_NOWAIT), 0);
	ck_assert_str_eq(story, "ready");
	(void)usleep(1100000);
	until("x");
	expect_story("ready x=1");
	finish();
}
END_TEST

/* ---- Log ---- */

static void on_log(enum qmpsnap_log_level level, const char *text, void *data)
{
	ck_assert_int_eq(level, QMPSNAP_LOG_DEBUG);
	ck_assert_uint_lt(strlen(text), 700);
	if (strstr(text, data))
		tell("logged");
}

START_TEST(traffic_is_logged)
{
	static const struct fake_step script[] = {{FAKE_RETURN, "x", NULL}, {0}};
	static char sent[] = "-> {\"execute\":\"x\"";

	qmpsnap_log_to(QMPSNAP_LOG_DEBUG, on_log, sent);
	open_script(script);
	execute("x", "x");
	until("x=");
	expect_story("ready logged x={}");
	finish();
}
END_TEST

static Suite *suite(void)
{
	TCase *t = tcase_create("client");

	ADD(replies);
	ADD(arguments_are_sent);
	ADD(replies_are_matched_by_id);
	ADD(events_keep_their_order);
	ADD(subscribing_inside_callbacks);
	ADD(descriptor_is_passed);
	ADD(bad_descriptor);
	ADD(long_queue_out);
	ADD(big_replies_in_random_pieces);
	ADD(byte_by_byte);
	ADD(late_reply_is_dropped);
	ADD(deadlines_have_their_own_order);
	ADD(own_standstill_is_no_deadline);
	ADD(traffic_is_logged);
	return client_suite("client", t);
}

SUITE_MAIN(suite)
