/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/guard.h"

#include "blockops/guard_path.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GUARD_CONTROL_FD = 3, GUARD_READY_MS = 20000, GUARD_END_MS = 2000 };

struct guard {
	uv_poll_t poll;
	uv_timer_t timer;
	int fd;
	pid_t pid;
	unsigned open_handles;
	bool is_ready, is_late, ending;
	guard_ready_fn *ready;
	guard_lost_fn *lost;
	guard_closed_fn *closed;
	void *data, *closed_data;
};

int guard_receive(int fd, struct json_object **record, int fds[GUARD_MAX_FDS], size_t *n_fds)
{
	static char text[GUARD_RECORD_BYTES + 1];
	union {
		char bytes[CMSG_SPACE(sizeof(int) * GUARD_MAX_FDS)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = text, .iov_len = GUARD_RECORD_BYTES};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};

	const ssize_t len = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	*n_fds = 0;
	if (len <= 0)
		return (int)len;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		*n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), *n_fds * sizeof(int));
	}
	text[len] = '\0';
	*record = json_tokener_parse(text);
	if (!*record) {
		errno = EBADMSG;
		return -1;
	}
	return 1;
}

bool guard_tell(struct guard *guard, struct json_object *record, const int *fds, size_t n_fds,
	struct qmpsnap_error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * GUARD_MAX_FDS)];
		struct cmsghdr align;
	} control = {0};
	const char *text = record ? json_text(record) : NULL;
	struct iovec iov = {.iov_base = (char *)text, .iov_len = text ? strlen(text) : 0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds > 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	const ssize_t sent = text ? sendmsg(guard->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) : -1;
	const int failed = errno;
	json_object_put(record);
	if (!text)
		return error_no_memory(err);
	if (sent < 0)
		return error_errno(err, QMPSNAP_INTERNAL, failed, "the guard can't be told");
	return true;
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct guard *guard = handle->data;

	if (--guard->open_handles > 0)
		return;
	close(guard->fd);
	if (guard->closed)
		guard->closed(guard->closed_data);
	free(guard);
}

static void close_handles(struct guard *guard)
{
	uv_close((uv_handle_t *)&guard->poll, on_handle_closed);
	uv_close((uv_handle_t *)&guard->timer, on_handle_closed);
}

static void tell_end(struct qmpsnap_error *err, int status)
{
	if (WIFSIGNALED(status))
		error_set(err, QMPSNAP_INTERNAL, "the guard process was killed by signal %d",
			WTERMSIG(status));
	else
		error_set(err, QMPSNAP_INTERNAL, "the guard process ended, with exit code %d",
			WEXITSTATUS(status));
}

/* Its end of the socket is closed: it has ended, or is about to within its exit(). */
static void on_gone(struct guard *guard)
{
	struct qmpsnap_error err;
	int status = 0;

	(void)waitpid(guard->pid, &status, 0);
	guard->pid = 0;
	uv_poll_stop(&guard->poll);
	uv_timer_stop(&guard->timer);
	if (guard->ending) {
		close_handles(guard);
		return;
	}
	if (guard->is_late && !guard->is_ready)
		error_set(&err, QMPSNAP_DEADLINE, "the guard wasn't ready within %d s",
			GUARD_READY_MS / 1000);
	else
		tell_end(&err, status);
	if (guard->is_ready) {
		guard->lost(&err, guard->data);
		return;
	}
	error_hint(&err, "--no-guard goes on without; a killed run then needs `qmpsnap recover`");
	guard->ready(&err, guard->data);
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
	struct guard *guard = handle->data;
	struct json_object *record = NULL;
	int fds[GUARD_MAX_FDS];
	size_t n_fds = 0;

	(void)events;
	const int got = status < 0 ? 0 : guard_receive(guard->fd, &record, fds, &n_fds);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
	json_object_put(record);
	if (got < 0) /* it lives, but can't be understood */
		kill(guard->pid, SIGKILL);
	if (got <= 0) {
		on_gone(guard);
	} else if (!guard->is_ready && !guard->is_late) {
		guard->is_ready = true;
		uv_timer_stop(&guard->timer);
		guard->ready(NULL, guard->data);
	}
}

/* Too slow to start, or to end: its death is what on_gone() then sees. */
static void on_timer(uv_timer_t *handle)
{
	struct guard *guard = handle->data;
	const bool was_ready = guard->is_ready;

	/* Who stood still (SIGSTOP, a suspended host) has the answer, and looks at timers first. */
	on_readable(&guard->poll, 0, UV_READABLE);
	if (guard->pid == 0 || guard->is_ready != was_ready)
		return;
	guard->is_late = true;
	kill(guard->pid, SIGKILL);
}

static bool spawn(const char *path, int control_fd, pid_t *pid, struct qmpsnap_error *err)
{
	char number[8];
	static char name[] = "qmpsnap-guard";
	char version[32]; /* a guard of another one might misunderstand what it is told */
	char *argv[] = {name, number, version, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;

	(void)snprintf(number, sizeof(number), "%d", GUARD_CONTROL_FD);
	(void)snprintf(version, sizeof(version), "%s", qmpsnap_version());
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	/* dup2 onto itself clears close-on-exec in posix_spawn (POSIX.1-2024, and glibc). */
	posix_spawn_file_actions_adddup2(&actions, control_fd, GUARD_CONTROL_FD);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID);
	const int failed = posix_spawn(pid, path, &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	if (!failed)
		return true;
	error_errno(err, QMPSNAP_REFUSED, failed, "the guard %s can't be started", path);
	error_hint(err, "install all of qmpsnap, or run with --no-guard");
	return false;
}

struct guard *guard_start(uv_loop_t *loop, const char *path, guard_ready_fn *ready,
	guard_lost_fn *lost, void *data, struct qmpsnap_error *err)
{
	char found[PATH_MAX];
	int ends[2];
	struct guard *guard = calloc(1, sizeof(*guard));

	if (!guard) {
		error_no_memory(err);
		return NULL;
	}
	if (!path && !guard_find(found, err))
		goto no_guard;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) {
		error_errno(err, QMPSNAP_INTERNAL, errno, "socketpair");
		goto no_guard;
	}
	*guard = (struct guard){.fd = ends[0], .ready = ready, .lost = lost, .data = data};
	guard->poll.data = guard->timer.data = guard;
	if (uv_poll_init(loop, &guard->poll, guard->fd) < 0) {
		error_set(err, QMPSNAP_INTERNAL, "the loop takes no handle");
		close(ends[0]);
		close(ends[1]);
		goto no_guard;
	}
	uv_timer_init(loop, &guard->timer);
	guard->open_handles = 2;
	const bool spawned = spawn(path ? path : found, ends[1], &guard->pid, err);
	close(ends[1]);
	if (!spawned) {
		close_handles(guard);
		return NULL;
	}
	uv_poll_start(&guard->poll, UV_READABLE, on_readable);
	uv_timer_start(&guard->timer, on_timer, GUARD_READY_MS, 0);
	return guard;

no_guard:
	free(guard);
	return NULL;
}

void guard_leave(struct guard *guard, guard_closed_fn *closed, void *data)
{
	guard->closed = closed;
	guard->closed_data = data;
	close_handles(guard);
}

void guard_end(struct guard *guard, guard_closed_fn *closed, void *data)
{
	struct qmpsnap_error ignored;

	guard->closed = closed;
	guard->closed_data = data;
	guard->ending = true;
	if (guard->pid == 0) {
		close_handles(guard);
		return;
	}
	struct json_object *record = json_new();
	json_put_string(record, "record", "end");
	(void)guard_tell(guard, record, NULL, 0, &ignored);
	uv_timer_start(&guard->timer, on_timer, GUARD_END_MS, 0);
}
