/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/sink_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PROC_PATH_BYTES = 32 };

static void open_pipe(struct sink_fd *s, int fd)
{
	char path[PROC_PATH_BYTES];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	const int own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (own >= 0) {
		s->fd = own;
		s->own_fd = true;
		s->kind = SINK_PIPE;
	} else {
		s->kind = SINK_SLOW_PIPE;
	}
}

bool sink_fd_open(struct sink_fd *s, int fd, struct qmpsnap_error *err)
{
	struct stat st;

	*s = (struct sink_fd){.fd = fd, .wake_fd = -1, .kind = SINK_FILE};
	if (fstat(fd, &st) != 0)
		return error_errno(err, QMPSNAP_STORE, errno, "the standard output");
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd < 0)
		return error_errno(err, QMPSNAP_INTERNAL, errno, "making an eventfd");
	if (S_ISSOCK(st.st_mode))
		s->kind = SINK_SOCKET;
	else if (S_ISFIFO(st.st_mode))
		open_pipe(s, fd);
	else if (S_ISCHR(st.st_mode))
		s->kind = SINK_SLOW_PIPE; /* a device may block, too */
	return true;
}

/* False when it was woken. */
static bool wait_writable(const struct sink_fd *s)
{
	struct pollfd fds[] = {
		{.fd = s->fd, .events = POLLOUT}, {.fd = s->wake_fd, .events = POLLIN}};

	while (poll(fds, 2, -1) < 0) {
		if (errno != EINTR)
			return false;
	}
	return !(fds[1].revents & POLLIN);
}

static ssize_t write_some(const struct sink_fd *s, const void *bytes, size_t len)
{
	switch (s->kind) {
	case SINK_SOCKET:
		return send(s->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	case SINK_SLOW_PIPE:
		/* A pipe that poll() calls writable takes PIPE_BUF bytes at once, pipe(7). */
		return write(s->fd, bytes, len < PIPE_BUF ? len : PIPE_BUF);
	default:
		return write(s->fd, bytes, len);
	}
}

/* SIGPIPE goes to the thread that writes: there it is blocked, and taken back when it came. */
struct sigpipe {
	sigset_t set, before;
	bool pending;
};

static void hold_sigpipe(struct sigpipe *p)
{
	sigset_t pending;

	(void)sigemptyset(&p->set);
	(void)sigaddset(&p->set, SIGPIPE);
	(void)sigpending(&pending);
	p->pending = sigismember(&pending, SIGPIPE) == 1;
	(void)pthread_sigmask(SIG_BLOCK, &p->set, &p->before);
}

static void drop_sigpipe(const struct sigpipe *p)
{
	const struct timespec now = {0};

	while (!p->pending && sigtimedwait(&p->set, NULL, &now) < 0 && errno == EINTR)
		;
	(void)pthread_sigmask(SIG_SETMASK, &p->before, NULL);
}

static bool write_all(
	const struct sink_fd *s, const char *bytes, size_t len, struct qmpsnap_error *err)
{
	while (len > 0) {
		if (s->kind != SINK_FILE && !wait_writable(s))
			return error_set(
				err, QMPSNAP_STORE, "writing to the standard output was stopped");
		const ssize_t n = write_some(s, bytes, len);
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		} else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
			error_errno(err, QMPSNAP_STORE, n == 0 ? EIO : errno,
				"writing to the standard output");
			if (n < 0 && errno == EPIPE)
				error_hint(err, "the program that reads it has ended");
			return false;
		}
	}
	return true;
}

bool sink_fd_write(struct sink_fd *s, const void *bytes, size_t len, struct qmpsnap_error *err)
{
	struct sigpipe sigpipe;

	hold_sigpipe(&sigpipe);
	const bool well = write_all(s, bytes, len, err);
	drop_sigpipe(&sigpipe);
	return well;
}

void sink_fd_wake(struct sink_fd *s)
{
	const uint64_t one = 1;

	/* Can't fail: the counter is never near its limit. */
	(void)!write(s->wake_fd, &one, sizeof(one));
}

void sink_fd_close(struct sink_fd *s)
{
	if (s->own_fd)
		(void)close(s->fd);
	if (s->wake_fd >= 0)
		(void)close(s->wake_fd);
	*s = (struct sink_fd){.fd = -1, .wake_fd = -1};
}
