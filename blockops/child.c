/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_BYTES = 256, EXEC_FAILED = 127 };

static const char listen_pid[] = "LISTEN_PID=0000000000";
enum { PID_DIGITS = 10 };

struct child {
	uv_poll_t exit; /* on the pidfd: readable once it has ended */
	uv_pipe_t output_pipe, errors_pipe;
	unsigned n_handles, n_open; /* handles to close; ends of it that were not seen yet */
	pid_t pid; /* 0: was waited for */
	int pidfd;
	int status;
	bool abandoned;
	child_line_fn *line;
	child_ended_fn *ended;
	void *data;
	char *output;
	size_t output_len;
	char buffer[LINE_BYTES];
	char errors[CHILD_ERRORS_BYTES];
	size_t buffer_len, errors_len;
	char bytes[4096]; /* where libuv reads to; one read at a time */
};

/* ---- In the child, between fork and exec: async-signal-safe calls only ---- */

struct start {
	char *const *argv;
	char **environment;
	char *pid_digits; /* in the environment, NULL: none */
	const int *fds;
	size_t n_fds;
	int output_fd, errors_fd, failure_fd;
	struct child_limits limits;
	pid_t parent;
};

static void write_pid(char *digits)
{
	unsigned pid = (unsigned)getpid();

	for (int i = PID_DIGITS - 1; i >= 0; i--, pid /= 10)
		digits[i] = (char)('0' + pid % 10);
}

/* Puts every descriptor where it belongs: first all out of the way, then down to its place. */
static bool place_descriptors(const struct start *start, int *failure_fd)
{
	int moved[CHILD_MAX_FDS + 3];
	const int above = CHILD_FIRST_FD + (int)start->n_fds;
	const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	const int standard[] = {null_fd, start->output_fd, start->errors_fd};

	*failure_fd = fcntl(start->failure_fd, F_DUPFD_CLOEXEC, above);
	if (*failure_fd < 0)
		return false;
	for (size_t i = 0; i < start->n_fds + 3; i++) {
		const int fd = i < 3 ? standard[i] : start->fds[i - 3];
		moved[i] = fcntl(fd, F_DUPFD_CLOEXEC, above);
		if (moved[i] < 0)
			return false;
	}
	for (size_t i = 0; i < start->n_fds + 3; i++) {
		if (dup2(moved[i], (int)i) < 0)
			return false;
	}
	/* What others in this process opened without close-on-exec.  Kernels before 5.11: it stays.
	 */
	(void)syscall(SYS_close_range, above, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */);
	return true;
}

static bool limit(int resource, uint64_t amount)
{
	struct rlimit most;

	if (amount == 0)
		return true;
	if (getrlimit((__rlimit_resource_t)resource, &most) < 0)
		return false;
	if (most.rlim_max > amount) /* RLIM_INFINITY is the largest number */
		most.rlim_max = amount;
	most.rlim_cur = most.rlim_max;
	return setrlimit((__rlimit_resource_t)resource, &most) == 0;
}

static _Noreturn void become(const struct start *start)
{
	sigset_t none;
	int failure_fd = start->failure_fd;

	sigemptyset(&none);
	(void)signal(SIGPIPE, SIG_DFL);
	if (start->limits.file_bytes)
		(void)signal(SIGXFSZ, SIG_IGN); /* the write fails instead, and it says so */
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setpgid(0, 0); /* ^C is for us; we end it ourselves */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == start->parent &&
		place_descriptors(start, &failure_fd) && limit(RLIMIT_CPU, start->limits.cpu_s) &&
		limit(RLIMIT_AS, start->limits.address_space_bytes) &&
		limit(RLIMIT_FSIZE, start->limits.file_bytes)) {
		if (start->pid_digits)
			write_pid(start->pid_digits);
		execvpe(start->argv[0], start->argv, start->environment);
	}
	const int failed = errno;
	(void)!write(failure_fd, &failed, sizeof(failed));
	_exit(EXEC_FAILED);
}

/* ---- Starting it ---- */

/* Ours with messages in English, and with or without a listening socket. */
static char **make_environment(bool listens, char *pid_variable)
{
	static char language[] = "LC_ALL=C", listen_fds[] = "LISTEN_FDS=1";
	size_t n = 0;

	while (environ[n])
		n++;
	char **environment = calloc(n + 4, sizeof(*environment));
	if (!environment)
		return NULL;
	size_t at = 0;
	for (size_t i = 0; i < n; i++) {
		if (strncmp(environ[i], "LISTEN_", 7) != 0 &&
			strncmp(environ[i], "LC_ALL=", 7) != 0)
			environment[at++] = environ[i];
	}
	environment[at++] = language;
	if (listens) {
		environment[at++] = listen_fds;
		environment[at] = pid_variable;
	}
	return environment;
}

/* -1 and errno. */
static pid_t fork_and_exec(const struct child_options *options, int output_fd, int errors_fd)
{
	char pid_variable[sizeof(listen_pid)];
	int failure[2], failed = 0;

	memcpy(pid_variable, listen_pid, sizeof(pid_variable));
	char **environment = make_environment(options->listens, pid_variable);
	if (!environment || pipe2(failure, O_CLOEXEC) < 0) {
		free(environment);
		return -1;
	}
	const struct start start = {.argv = options->argv,
		.environment = environment,
		.pid_digits = options->listens
				      ? pid_variable + sizeof(pid_variable) - 1 - PID_DIGITS
				      : NULL,
		.fds = options->fds,
		.n_fds = options->n_fds,
		.output_fd = output_fd,
		.errors_fd = errors_fd,
		.failure_fd = failure[1],
		.limits = options->limits,
		.parent = getpid()};
	pid_t pid = fork();
	if (pid == 0)
		become(&start);
	if (pid < 0)
		failed = errno;
	close(failure[1]);
	if (pid > 0 && read(failure[0], &failed, sizeof(failed)) == (ssize_t)sizeof(failed)) {
		(void)waitpid(pid, NULL, 0);
		pid = -1;
	}
	close(failure[0]);
	free(environment);
	errno = failed;
	return pid;
}

/* ---- Its end ---- */

static void free_child(struct child *child)
{
	free(child->output);
	free(child);
}

static void on_closed(uv_handle_t *handle)
{
	struct child *child = handle->data;

	if (--child->n_handles > 0)
		return;
	close(child->pidfd);
	if (!child->abandoned && child->ended) {
		child->errors[child->errors_len] = '\0';
		const struct child_end end = {.status = child->status,
			.output = child->output ? child->output : "",
			.errors = child->errors};
		child->ended(&end, child->data);
	}
	free_child(child);
}

static void one_end_seen(struct child *child)
{
	if (--child->n_open > 0)
		return;
	uv_close((uv_handle_t *)&child->exit, on_closed);
	uv_close((uv_handle_t *)&child->output_pipe, on_closed);
	uv_close((uv_handle_t *)&child->errors_pipe, on_closed);
}

static void on_exit_seen(uv_poll_t *handle, int status, int events)
{
	struct child *child = handle->data;

	(void)status;
	(void)events;
	if (waitpid(child->pid, &child->status, WNOHANG) == 0)
		return;
	child->pid = 0;
	uv_poll_stop(handle);
	one_end_seen(child);
}

/* ---- What it says ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct child *child = handle->data;

	(void)suggested;
	*buf = uv_buf_init(child->bytes, sizeof(child->bytes));
}

static void take_lines(struct child *child, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const char c = child->bytes[i];
		if (c != '\n' && c != '\r') {
			if (child->buffer_len < sizeof(child->buffer) - 1)
				child->buffer[child->buffer_len++] = c;
			continue;
		}
		child->buffer[child->buffer_len] = '\0';
		if (child->buffer_len > 0 && !child->abandoned)
			child->line(child->buffer, child->data);
		child->buffer_len = 0;
	}
}

static void keep_output(struct child *child, size_t len)
{
	const size_t room = CHILD_OUTPUT_BYTES - child->output_len;

	if (!child->output && !(child->output = calloc(1, CHILD_OUTPUT_BYTES + 1)))
		return;
	if (len > room)
		len = room;
	memcpy(child->output + child->output_len, child->bytes, len);
	child->output_len += len;
}

static void on_output(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
	struct child *child = stream->data;

	(void)buf;
	if (len < 0) {
		uv_read_stop(stream);
		one_end_seen(child);
	} else if (child->line) {
		take_lines(child, (size_t)len);
	} else {
		keep_output(child, (size_t)len);
	}
}

static void on_errors(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
	struct child *child = stream->data;
	const size_t room = sizeof(child->errors) - 1 - child->errors_len;

	(void)buf;
	if (len < 0) {
		uv_read_stop(stream);
		one_end_seen(child);
		return;
	}
	const size_t taken = (size_t)len < room ? (size_t)len : room;
	memcpy(child->errors + child->errors_len, child->bytes, taken);
	child->errors_len += taken;
}

/* Watches it; nothing of this fails on a loop that works. */
static bool watch(struct child *child, uv_loop_t *loop, int output_fd, int errors_fd)
{
	child->exit.data = child->output_pipe.data = child->errors_pipe.data = child;
	if (uv_poll_init(loop, &child->exit, child->pidfd) < 0)
		return false;
	(void)uv_pipe_init(loop, &child->output_pipe, 0);
	(void)uv_pipe_init(loop, &child->errors_pipe, 0);
	child->n_handles = 3;
	child->n_open = 3;
	(void)uv_pipe_open(&child->output_pipe, output_fd);
	(void)uv_pipe_open(&child->errors_pipe, errors_fd);
	(void)uv_poll_start(&child->exit, UV_READABLE, on_exit_seen);
	(void)uv_read_start((uv_stream_t *)&child->output_pipe, on_alloc, on_output);
	(void)uv_read_start((uv_stream_t *)&child->errors_pipe, on_alloc, on_errors);
	return true;
}

/* Forks with both pipes made; closes their far ends.  REFUSED: no program. */
static bool start_with_pipes(struct child *child, uv_loop_t *loop,
	const struct child_options *options, struct qmpsnap_error *err)
{
	int output[2] = {-1, -1}, errors[2] = {-1, -1};

	if (pipe2(output, O_CLOEXEC) == 0 && pipe2(errors, O_CLOEXEC) == 0)
		child->pid = fork_and_exec(options, output[1], errors[1]);
	else
		child->pid = -1;
	int failed = errno;
	if (output[1] >= 0)
		close(output[1]);
	if (errors[1] >= 0)
		close(errors[1]);
	if (child->pid > 0) {
		child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
		failed = errno;
		if (child->pidfd >= 0 && watch(child, loop, output[0], errors[0]))
			return true;
		if (child->pidfd >= 0)
			close(child->pidfd);
		(void)kill(child->pid, SIGKILL);
		(void)waitpid(child->pid, NULL, 0);
	}
	if (output[0] >= 0)
		close(output[0]);
	if (errors[0] >= 0)
		close(errors[0]);
	return error_errno(err, QMPSNAP_REFUSED, failed, "%s can't be started", options->argv[0]);
}

struct child *child_start(
	uv_loop_t *loop, const struct child_options *options, struct qmpsnap_error *err)
{
	struct child *child = calloc(1, sizeof(*child));

	if (!child) {
		error_no_memory(err);
		return NULL;
	}
	child->line = options->line;
	child->ended = options->ended;
	child->data = options->data;
	if (options->n_fds > CHILD_MAX_FDS)
		error_set(err, QMPSNAP_REFUSED, "%s would need %zu descriptors, more than %d",
			options->argv[0], options->n_fds, CHILD_MAX_FDS);
	else if (start_with_pipes(child, loop, options, err))
		return child;
	free_child(child);
	return NULL;
}

void child_kill(struct child *child)
{
	if (child->pid > 0)
		(void)kill(child->pid, SIGKILL);
}

void child_abandon(struct child *child)
{
	child->abandoned = true;
	child_kill(child);
}
