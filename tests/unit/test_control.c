/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/json.h"
#include "base/state.h"
#include "cli/control.h"
#include "fixture.h"
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUN "abcdefghi7"

static char folder[64], socket_path[128];
static struct control *control;
static unsigned n_asked;
static struct control_peer asked_by;

static struct json_object *answer(
	struct json_object *request, const struct control_peer *peer, void *data)
{
	struct json_object *reply = json_object_new_object();

	(void)data;
	n_asked++;
	asked_by = *peer;
	json_put_string(reply, "echo", json_string(request, "command"));
	return reply;
}

static void setup(void)
{
	struct qmpsnap_error err;

	loop_setup();
	(void)snprintf(folder, sizeof(folder), "/tmp/test-control-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(setenv("QMPSNAP_STATE_DIR", folder, 1), 0);
	(void)snprintf(socket_path, sizeof(socket_path), "%s/run/" RUN ".sock", folder);
	control = control_open(&loop, RUN, answer, NULL, &err);
	ck_assert_msg(control != NULL, "%s", err.message);
}

static void teardown(void)
{
	char path[80];

	control_close(control);
	loop_teardown();
	ck_assert_int_eq(access(socket_path, F_OK), -1);
	(void)snprintf(path, sizeof(path), "%s/run", folder);
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(rmdir(folder), 0);
}

static int client(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(address.sun_path, socket_path, strlen(socket_path));
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* What comes until the connection ends. */
static const char *rest(int fd)
{
	static char text[4096];
	size_t n = 0;

	for (int turns = 0; turns < 100000; turns++) {
		const ssize_t got = read(fd, text + n, sizeof(text) - 1 - n);

		if (got == 0 || (got < 0 && errno == ECONNRESET))
			break;
		if (got > 0)
			n += (size_t)got;
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	text[n] = '\0';
	close(fd);
	return text;
}

static const char *ask(const char *text, size_t length)
{
	const int fd = client();

	ck_assert_int_eq(send(fd, text, length, MSG_NOSIGNAL), (ssize_t)length);
	return rest(fd);
}

#define ASK(text) ask(text, strlen(text))

START_TEST(answers)
{
	struct stat status;

	ck_assert_int_eq(stat(socket_path, &status), 0);
	ck_assert_int_eq(status.st_mode & 07777, 0600);
	ck_assert_str_eq(ASK("{\"command\":\"a\"}\n"), "{\"echo\":\"a\"}\n");
	ck_assert_int_eq(asked_by.pid, getpid());
	ck_assert_int_eq(asked_by.uid, geteuid());
	/* One request a connection. */
	ck_assert_str_eq(ASK("{\"command\":\"b\"}\n{\"command\":\"c\"}\n"), "{\"echo\":\"b\"}\n");
	ck_assert_uint_eq(n_asked, 2);
}
END_TEST

START_TEST(byte_by_byte)
{
	const char *text = "{\"command\":\"slow\"}\n";
	const int fd = client();

	for (; *text; text++) {
		ck_assert_int_eq(send(fd, text, 1, 0), 1);
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	ck_assert_str_eq(rest(fd), "{\"echo\":\"slow\"}\n");
}
END_TEST

START_TEST(no_request)
{
	char text[CONTROL_REQUEST_BYTES + 1];

	ck_assert_ptr_nonnull(strstr(ASK("hello\n"), "no JSON object"));
	ck_assert_ptr_nonnull(strstr(ASK("[1]\n"), "no JSON object"));
	ck_assert_ptr_nonnull(strstr(ASK("\n"), "no JSON object"));
	ck_assert_ptr_nonnull(strstr(ASK("{\"command\":\n"), "no JSON object"));
	ck_assert_ptr_nonnull(strstr(ASK("{\"a\":{\"b\":{\"c\":{\"d\":1}}}}\n"), "no JSON"));
	memset(text, 'x', sizeof(text));
	ck_assert_ptr_nonnull(strstr(ask(text, sizeof(text)), "too long"));
	ck_assert_uint_eq(n_asked, 0);
}
END_TEST

/* Neither silence nor leaving holds anything up, nor is there more than room for so many. */
START_TEST(several_clients)
{
	int silent[CONTROL_CLIENTS - 1];

	for (size_t i = 0; i < CONTROL_CLIENTS - 1; i++)
		silent[i] = client();
	ck_assert_str_eq(ASK("{\"command\":\"a\"}\n"), "{\"echo\":\"a\"}\n");
	const int last = client();
	uv_run(&loop, UV_RUN_NOWAIT);
	ck_assert_str_eq(ASK("{\"command\":\"b\"}\n"), "");
	close(last);
	close(silent[0]);
	uv_run(&loop, UV_RUN_NOWAIT);
	uv_run(&loop, UV_RUN_NOWAIT);
	ck_assert_str_eq(ASK("{\"command\":\"c\"}\n"), "{\"echo\":\"c\"}\n");
	/* The others are there when it closes. */
	for (size_t i = 1; i < CONTROL_CLIENTS - 1; i++)
		close(silent[i]);
}
END_TEST

START_TEST(a_silent_client_is_dropped)
{
	const int fd = client();
	const uint64_t from = uv_hrtime();
	char byte;

	while (uv_hrtime() - from < UINT64_C(2000000) * CONTROL_MS) {
		uv_run(&loop, UV_RUN_ONCE);
		if (read(fd, &byte, 1) == 0)
			break;
	}
	ck_assert_uint_ge(uv_hrtime() - from, UINT64_C(900000) * CONTROL_MS);
	ck_assert_uint_lt(uv_hrtime() - from, UINT64_C(2000000) * CONTROL_MS);
	close(fd);
}
END_TEST

/* Folder and socket opened to all: the other's user id is what counts. */
START_TEST(another_user)
{
	char path[80];

	if (geteuid() != 0)
		return;
	(void)snprintf(path, sizeof(path), "%s/run", folder);
	ck_assert_int_eq(chmod(folder, 0755), 0);
	ck_assert_int_eq(chmod(path, 0755), 0);
	ck_assert_int_eq(chmod(socket_path, 0666), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	const int fd = client();
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_gt(send(fd, "{\"command\":\"a\"}\n", 16, 0), 0);
	ck_assert_ptr_nonnull(strstr(rest(fd), "another user"));
	ck_assert_uint_eq(n_asked, 0);
}
END_TEST

START_TEST(folders)
{
	struct qmpsnap_error err;
	struct stat status;
	char path[700];

	ck_assert_int_eq(stat(folder, &status), 0);
	(void)snprintf(path, sizeof(path), "%s/run", folder);
	ck_assert_int_eq(chmod(path, 0777), 0);
	const int fd = state_open(NULL, "run", true, &err);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &status), 0);
	ck_assert_int_eq(status.st_mode & 07777, 0700);
	close(fd);
	/* Where a file is. */
	(void)snprintf(path, sizeof(path), "%s/file", folder);
	close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	ck_assert_int_eq(setenv("QMPSNAP_STATE_DIR", path, 1), 0);
	ck_assert_int_eq(state_open(NULL, "run", true, &err), -1);
	ck_assert_int_eq(err.detail, ENOTDIR);
	ck_assert_ptr_nonnull(strstr(err.message, "the state folder /tmp/test-control-"));
	ck_assert_ptr_null(control_open(&loop, RUN, answer, NULL, &err));
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(state_open(NULL, "run", false, &err), -1);
	ck_assert_int_eq(err.detail, ENOENT);
	/* One run twice: the first keeps its socket. */
	ck_assert_int_eq(setenv("QMPSNAP_STATE_DIR", folder, 1), 0);
	ck_assert_str_eq(ASK("{\"command\":\"a\"}\n"), "{\"echo\":\"a\"}\n");
}
END_TEST

/* A path that no socket's address could hold. */
START_TEST(a_long_path)
{
	struct qmpsnap_error err;
	struct sockaddr_un address;
	char path[300], name[121];
	int length;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	length = snprintf(path, sizeof(path), "%s/%s", folder, name);
	ck_assert_int_eq(setenv("QMPSNAP_STATE_DIR", path, 1), 0);
	struct control *second = control_open(&loop, "jjjjjjjjjj", answer, NULL, &err);
	ck_assert_msg(second != NULL, "%s", err.message);
	const int dir = state_open(NULL, "run", false, &err);
	ck_assert_int_ge(dir, 0);
	state_address(dir, "jjjjjjjjjj.sock", &address);
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(send(fd, "{\"command\":\"l\"}\n", 16, 0), 16);
	ck_assert_str_eq(rest(fd), "{\"echo\":\"l\"}\n");
	close(dir);
	control_close(second);
	(void)snprintf(path + length, sizeof(path) - (size_t)length, "/run");
	ck_assert_int_eq(rmdir(path), 0);
	path[length] = '\0';
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

START_TEST(names_of_runs)
{
	ck_assert(state_is_run(RUN));
	ck_assert(!state_is_run(""));
	ck_assert(!state_is_run("abcdefghi"));
	ck_assert(!state_is_run("abcdefghijk"));
	ck_assert(!state_is_run("../../../x"));
	ck_assert(!state_is_run("ABCDEFGHIJ"));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("control");
	TCase *t = tcase_create("control");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, answers);
	tcase_add_test(t, byte_by_byte);
	tcase_add_test(t, no_request);
	tcase_add_test(t, several_clients);
	tcase_add_test(t, a_silent_client_is_dropped);
	tcase_add_test(t, another_user);
	tcase_add_test(t, folders);
	tcase_add_test(t, a_long_path);
	tcase_add_test(t, names_of_runs);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)
