/* SPDX-License-Identifier: Apache-2.0
 *
 * guard_main.c - qmpsnap-guard, which qmpsnap starts beside itself: it undoes a snapshot whose
 * main process was killed.
 */
#include <qmpsnap.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct qmpsnap_store *open_store(
	struct uv_loop_s *loop, const char *spec, struct qmpsnap_error *err)
{
	const struct qmpsnap_store_options options = {.force = false};

	return qmpsnap_store_open(loop, spec, &options, err);
}

/* The descriptor in `text`, or -1: it must be open, and a socket or a pipe. */
static int control_fd(const char *text)
{
	const size_t digits = strspn(text, "0123456789");
	struct stat status;

	if (digits == 0 || digits > 6 || text[digits])
		return -1;
	const int fd = (int)strtol(text, NULL, 10);
	if (fd <= STDERR_FILENO || fstat(fd, &status) != 0 ||
		!(S_ISSOCK(status.st_mode) || S_ISFIFO(status.st_mode)))
		return -1;
	return fd;
}

/* The standard error that the main process had.  A reader of it that has stopped must not hold up
 * the undo: what it doesn't take at once isn't told. */
static void say(enum qmpsnap_log_level level, const char *message, void *data)
{
	struct pollfd errors = {.fd = STDERR_FILENO, .events = POLLOUT};

	(void)level;
	(void)data;
	if (poll(&errors, 1, 0) == 1 && (errors.revents & POLLOUT))
		(void)dprintf(STDERR_FILENO, "qmpsnap-guard: %s\n", message);
}

int main(int argc, char *argv[])
{
	const int fd = argc == 3 ? control_fd(argv[1]) : -1;

	if (fd < 0) {
		(void)fputs("qmpsnap-guard: qmpsnap starts this program by itself, to undo a\n"
			    "snapshot whose main process was killed; it is of no use by hand.\n"
			    "  hint: 'qmpsnap recover' cleans up after a killed qmpsnap\n",
			stderr);
		return QMPSNAP_USAGE;
	}
	if (strcmp(argv[2], qmpsnap_version()) != 0) {
		(void)fprintf(stderr,
			"qmpsnap-guard: this is version %s, and what starts it is version %.32s\n",
			qmpsnap_version(), argv[2]);
		return QMPSNAP_USAGE;
	}
	/* What ends the main process must not end its guard: ^C reaches the whole group. */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	qmpsnap_log_to(QMPSNAP_LOG_WARNING, say, NULL);
	return qmpsnap_guard_main(fd, open_store);
}
