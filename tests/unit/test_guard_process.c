/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard as a process, and which main process it takes for one that has hung. */
#include "blockops/guard.h"
#include "blockops/record.h"
#include "blockops/snapshot.h"
#include "suite.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	STOOD_STILL_MS = SNAPSHOT_PAUSE_MS + 1500,
	HEARD_EACH_MS = 500,
	UNWATCHED_MS = SNAPSHOT_UNWATCHED_MS + 1500,
};

struct pair {
	pid_t main, guard;
};

static void sleep_ms(unsigned ms)
{
	for (; ms >= 1000; ms -= 500)
		(void)usleep(500 * 1000);
	(void)usleep(ms * 1000);
}

static void say(int fd, const char *text)
{
	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		_exit(3);
}

/* What a main process does for `ms`. */
typedef void role_fn(int control, unsigned ms);

static void say_run(int control, const char *method)
{
	char text[1024];

	(void)snprintf(text, sizeof(text),
		"{\"record\":\"run\",\"schema\":%d,\"run\":\"abcdefghij\",\"guest\":\"vm\","
		"\"address\":\"\",\"pid\":%d,\"method\":\"%s\",\"store\":\"dir:/nowhere\","
		"\"disks\":[{\"label\":\"vd0\",\"qom_path\":\"/vd0\",\"node\":\"d0\","
		"\"image_name\":\"vm\",\"image_id\":\"x\"}]}",
		RECORD_SCHEMA, (int)getpid(), method);
	say(control, text);
}

/* Holds a guest, and says so before it lets go; it may say some nonsense first. */
static void hold_saying(int control, const char *nonsense, unsigned ms)
{
	say_run(control, "cold");
	say(control, "{\"record\":\"stopping\"}");
	if (nonsense)
		say(control, nonsense);
	for (unsigned at = 0; at < ms; at += HEARD_EACH_MS) {
		sleep_ms(HEARD_EACH_MS);
		say(control, "{\"record\":\"holding\"}");
	}
	say(control, "{\"record\":\"running\"}");
}

static void hold(int control, unsigned ms)
{
	hold_saying(control, NULL, ms);
}

static void say_no_record(int control, unsigned ms)
{
	hold_saying(control, "what?", ms);
}

static void say_no_sense(int control, unsigned ms)
{
	hold_saying(control, "{\"record\":\"method\",\"method\":\"?\"}", ms);
}

/* With a scratch in QEMU, in a step that the job flavour has, too. */
static void stand_still(
	int control, const char *method, const char *step, const char *reserved, unsigned ms)
{
	char text[128];

	say_run(control, method);
	(void)snprintf(text, sizeof(text),
		"{\"record\":\"scratch\",\"disk\":0,\"path\":\"\",\"reserved\":%s}", reserved);
	say(control, text);
	(void)snprintf(text, sizeof(text), "{\"record\":\"step\",\"step\":\"%s\"}", step);
	say(control, text);
	sleep_ms(ms);
}

static void leave_unwatched(int control, unsigned ms)
{
	stand_still(control, "job", "instant", "false", ms);
}

static void leave_before_the_instant(int control, unsigned ms)
{
	stand_still(control, "job", "prepare", "false", ms);
}

static void leave_reserved(int control, unsigned ms)
{
	stand_still(control, "job", "instant", "true", ms);
}

static void leave_filter(int control, unsigned ms)
{
	stand_still(control, "filter", "instant", "false", ms);
}

/* Exits as its guard does. */
static void be_main(int control, pid_t guard, role_fn *role, unsigned ms)
{
	int status = 0;

	role(control, ms);
	say(control, "{\"record\":\"end\"}");
	_exit(waitpid(guard, &status, 0) == guard && WIFEXITED(status) ? WEXITSTATUS(status) : 4);
}

/* A main process with that role, and its guard. */
static struct pair start(role_fn *role, unsigned ms)
{
	struct pair pair;
	int told[2];

	ck_assert_int_eq(pipe(told), 0);
	pair.main = fork();
	if (pair.main == 0) {
		int ends[2];
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
			_exit(5);
		const pid_t guard = fork();
		if (guard == 0) {
			(void)close(ends[0]);
			_exit(qmpsnap_guard_main(ends[1], NULL));
		}
		(void)close(ends[1]);
		if (write(told[1], &guard, sizeof(guard)) != (ssize_t)sizeof(guard))
			_exit(6);
		be_main(ends[0], guard, role, ms);
	}
	ck_assert_int_eq(read(told[0], &pair.guard, sizeof(pair.guard)), sizeof(pair.guard));
	(void)close(told[0]);
	(void)close(told[1]);
	return pair;
}

static void send_to(pid_t pid, int signum)
{
	ck_assert_int_eq(kill(pid, signum), 0);
}

static int end_of(const struct pair *pair)
{
	int status = 0;

	ck_assert_int_eq(waitpid(pair->main, &status, 0), pair->main);
	return status;
}

static bool was_killed(const struct pair *pair)
{
	const int status = end_of(pair);

	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* The time in which it stood still itself says nothing of others; but that counts once. */
START_TEST(a_guard_that_stood_still)
{
	const struct pair guard_alone = start(hold, STOOD_STILL_MS + 1000);
	const struct pair both = start(hold, STOOD_STILL_MS);
	const struct pair both_and_on = start(hold, STOOD_STILL_MS);
	const struct pair main_alone = start(hold, STOOD_STILL_MS);

	sleep_ms(1000);
	send_to(guard_alone.guard, SIGSTOP);
	send_to(both.guard, SIGSTOP);
	send_to(both.main, SIGSTOP);
	send_to(both_and_on.guard, SIGSTOP);
	send_to(both_and_on.main, SIGSTOP);
	send_to(main_alone.main, SIGSTOP);
	sleep_ms(STOOD_STILL_MS);
	send_to(guard_alone.guard, SIGCONT);
	send_to(both.guard, SIGCONT);
	send_to(both_and_on.guard, SIGCONT);
	sleep_ms(300); /* so long nothing is heard of this one */
	send_to(both.main, SIGCONT);
	ck_assert(was_killed(&main_alone));
	ck_assert(was_killed(&both_and_on));
	ck_assert_int_eq(end_of(&guard_alone), 0);
	ck_assert_int_eq(end_of(&both), 0);
}
END_TEST

START_TEST(a_scratch_that_nobody_watches)
{
	/* A guard that was late itself gives it its time once more. */
	const struct pair unwatched = start(leave_unwatched, 3 * UNWATCHED_MS);
	const struct pair before = start(leave_before_the_instant, UNWATCHED_MS);
	const struct pair reserved = start(leave_reserved, UNWATCHED_MS);
	const struct pair filter = start(leave_filter, UNWATCHED_MS);

	ck_assert(was_killed(&unwatched));
	ck_assert_int_eq(end_of(&before), 0);
	ck_assert_int_eq(end_of(&reserved), 0);
	ck_assert_int_eq(end_of(&filter), 0);
}
END_TEST

/* It is ended before anything is taken over: both would undo at once. */
START_TEST(a_main_process_that_is_not_understood)
{
	const struct pair no_record = start(say_no_record, 30000);
	const struct pair no_sense = start(say_no_sense, 30000);

	ck_assert(was_killed(&no_record));
	ck_assert(was_killed(&no_sense));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("guard_process");
	TCase *stills = tcase_create("stills");

	tcase_set_timeout(stills, 120);
	tcase_add_test(stills, a_guard_that_stood_still);
	tcase_add_test(stills, a_scratch_that_nobody_watches);
	tcase_add_test(stills, a_main_process_that_is_not_understood);
	suite_add_tcase(s, stills);
	return s;
}

SUITE_MAIN(suite)
