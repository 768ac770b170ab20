/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/caps.h"
#include "tests/unit/client_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* The client against the installed QEMU: one without a machine, whose monitor is all there is. */

static char folder[] = "/tmp/test-client-XXXXXX";
static char address[64]; /* "unix:" and the monitor's path */
static pid_t qemu;
static const char *mode = "chardev=m,mode=control";

static void start_qemu(void)
{
	char chardev[128];

	(void)snprintf(
		chardev, sizeof(chardev), "socket,id=m,path=%s,server=on,wait=off", address + 5);
	qemu = fork();
	ck_assert_int_ge(qemu, 0);
	if (qemu == 0) {
		/* A failed test runs no teardown. */
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)execlp("qemu-system-x86_64", "qemu-system-x86_64", "-M", "none", "-display",
			"none", "-nodefaults", "-chardev", chardev, "-mon", mode, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; access(address + 5, F_OK) < 0; i++) {
		ck_assert_msg(waitpid(qemu, NULL, WNOHANG) == 0 && i < 1000,
			"qemu-system-x86_64 doesn't run");
		(void)usleep(10000);
	}
}

static void qemu_setup(void)
{
	setup();
	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(address, sizeof(address), "unix:%s/qmp", folder);
	start_qemu();
}

static void qemu_setup_pretty(void)
{
	mode = "chardev=m,mode=control,pretty=on";
	qemu_setup();
}

static void end_qemu(int signum)
{
	if (qemu == 0)
		return;
	ck_assert_int_eq(kill(qemu, signum), 0);
	ck_assert_int_eq(waitpid(qemu, NULL, 0), qemu);
	qemu = 0;
}

static void qemu_teardown(void)
{
	end_qemu(SIGKILL);
	(void)unlink(address + 5);
	ck_assert_int_eq(rmdir(folder), 0);
	loop_teardown();
}

static void connect_qemu(void)
{
	/* The path is there a moment before QEMU listens. */
	struct qmp_address to;
	struct qmpsnap_error err;
	int fd = -1;

	ck_assert(qmp_address_parse(address, &to, &err));
	for (int i = 0; i < 100 && (fd = qmp_address_connect(&to, &err)) < 0; i++)
		(void)usleep(10000);
	ck_assert_msg(fd >= 0, "%s", err.message);
	ck_assert_int_eq(close(fd), 0);
	open_address(address, 5000);
	qmp_subscribe(client, &all);
	until("ready");
	ck_assert_str_eq(story, "ready");
}

static void close_client(void)
{
	qmp_close(client, on_closed, NULL);
	until("closed");
}

static void on_schema(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	ck_assert_msg(!err, "%s", err ? err->message : "");
	qmp_caps_parse(data, result);
	tell("schema");
}

/* The oldest QEMU that we build for is 7.2, which has all of these. */
START_TEST(capabilities)
{
	struct qmp_caps caps = {{false}};

	connect_qemu();
	ck_assert_int_eq(qmp_peer_pid(client), qemu);
	qmp_execute(client, "query-qmp-schema", NULL, on_schema, &caps);
	until("schema");
	for (int cap = 0; cap < QMP_CAP_COUNT; cap++)
		ck_assert_msg(caps.has[cap], "%s", qmp_cap_name((enum qmp_cap)cap));
	close_client();
}
END_TEST

START_TEST(errors_are_qemus)
{
	struct json_object *arguments = json_object_new_object();

	connect_qemu();
	json_put_string(arguments, "node-name", "nothing");
	qmp_execute(client, "blockdev-del", arguments, on_reply, "d");
	until("d!");
	expect_error(
		QMPSNAP_QEMU, "blockdev-del: Failed to find node with node-name='nothing'", "");
	ck_assert_str_eq(last_class, "GenericError");
	execute("no-such-command", "n");
	until("n!");
	ck_assert_str_eq(last_class, "CommandNotFound");
	close_client();
}
END_TEST

/* Two descriptors in a row, without waiting in between: each reaches its own command. */
START_TEST(descriptors_are_passed)
{
	struct json_object *arguments;
	struct json_object *set;
	int fds[2];
	const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	connect_qemu();
	arguments = json_object_new_object();
	json_put_string(arguments, "fdname", "a");
	set = json_object_new_object();
	json_put_int(set, "fdset-id", 7);
	execute("query-version", "v");
	qmp_execute_with_fd(client, "getfd", arguments, fds[0], on_reply, "g");
	qmp_execute_with_fd(client, "add-fd", set, file, on_reply, "s");
	execute("query-fdsets", "q");
	until("q=");
	ck_assert_msg(
		strstr(story, " g={} s={\"fd\":") && strstr(story, "\"fdset-id\":7"), "%s", story);
	(void)close(fds[0]);
	(void)close(fds[1]);
	(void)close(file);
	close_client();
}
END_TEST

START_TEST(second_client)
{
	struct qmp_client *first;

	connect_qemu();
	first = client;
	story[0] = '\0';
	open_address(address, 300);
	until("ready!");
	expect_error(QMPSNAP_REFUSED,
		"the monitor is in use by another client (no greeting within 300 ms)",
		"second socket");
	close_client();
	qmp_close(first, NULL, NULL);
}
END_TEST

START_TEST(killed)
{
	connect_qemu();
	execute("query-name", "a");
	until("a=");
	end_qemu(SIGKILL);
	execute("query-name", "b");
	until("lost!");
	expect_story("ready a={} b! lost!");
	expect_error(QMPSNAP_QEMU, "QEMU is gone", "log");
	ck_assert_int_eq(last_err.detail, ECONNRESET);
	close_client();
}
END_TEST

START_TEST(quits)
{
	connect_qemu();
	execute("quit", "q");
	until("lost!");
	ck_assert_msg(strstr(story, " q={} ") && strstr(story, " SHUTDOWN "), "%s", story);
	expect_error(QMPSNAP_QEMU, "QEMU is gone", "log");
	close_client();
}
END_TEST

/* The first owner dies inside a command, replies unread; the heir goes on on the same
 * connection. */
START_TEST(adopted)
{
	struct qmpsnap_error err;
	int fd;

	connect_qemu();
	fd = dup(qmp_fd(client));
	ck_assert_int_ge(fd, 0);
	close_client();
	story[0] = '\0';
	ck_assert_int_gt(
		send(fd,
			"{\"execute\": \"query-version\", \"id\": \"dead\"}\n"
			"{\"execute\": \"query-qmp-schema\", \"id\": 1}\n{\"execute\": \"st",
			89, 0),
		0);
	client = qmp_adopt(&loop, fd, NULL, on_lost, story, &err);
	ck_assert_ptr_nonnull(client);
	ck_assert_str_eq(qmp_peer(client), address);
	ck_assert_int_eq(qmp_peer_pid(client), qemu);
	execute("query-name", "a");
	until("a=");
	execute("query-name", "b");
	until("b=");
	expect_story("a={} b={}");
	close_client();
}
END_TEST

static Suite *suite(void)
{
	TCase *t = tcase_create("client_qemu");
	TCase *pretty = tcase_create("pretty");
	Suite *s = suite_create("client_qemu");

	tcase_add_checked_fixture(t, qemu_setup, qemu_teardown);
	tcase_add_checked_fixture(pretty, qemu_setup_pretty, qemu_teardown);
	tcase_set_timeout(t, 60);
	tcase_set_timeout(pretty, 60);
	ADD(capabilities);
	ADD(errors_are_qemus);
	ADD(descriptors_are_passed);
	ADD(second_client);
	ADD(killed);
	ADD(quits);
	ADD(adopted);
	tcase_add_test(pretty, capabilities);
	tcase_add_test(pretty, adopted);
	suite_add_tcase(s, t);
	suite_add_tcase(s, pretty);
	return s;
}

SUITE_MAIN(suite)
