/* SPDX-License-Identifier: Apache-2.0
 *
 * hooks.c - linked over some functions (ld's --wrap) of a program that is otherwise the product:
 * the runner tells the stage of each step, clocks run fast so that deadlines are met soon, and
 * the file system can be full. */
#include "base/flow.h"
#include "stage_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#include <uv.h>

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */

/* ---- The tables ---- */

void __real_flow_run(struct flow *f, const struct flow_step *steps, size_t n_steps, void *self,
	flow_end_fn *end, flow_watch_fn *watch);
void __wrap_flow_run(struct flow *f, const struct flow_step *steps, size_t n_steps, void *self,
	flow_end_fn *end, flow_watch_fn *watch);
void __real_flow_unwind(struct flow *f, const struct flow_step *steps, size_t n_steps, void *self,
	flow_end_fn *end, flow_watch_fn *watch, const struct qmpsnap_error *why);
void __wrap_flow_unwind(struct flow *f, const struct flow_step *steps, size_t n_steps, void *self,
	flow_end_fn *end, flow_watch_fn *watch, const struct qmpsnap_error *why);

static flow_watch_fn *real_watch;

static void watch_and_announce(void *self, enum qmpsnap_phase phase, const struct flow_step *step)
{
	static const char *const names[] = {[QMPSNAP_BEGIN] = "begin",
		[QMPSNAP_END] = "end",
		[QMPSNAP_UNDO_BEGIN] = "undo",
		[QMPSNAP_UNDO_END] = "undone"};

	if (real_watch)
		real_watch(self, phase, step);
	stage_announce(names[phase], step->name);
}

void __wrap_flow_run(struct flow *f, const struct flow_step *steps, size_t n_steps, void *self,
	flow_end_fn *end, flow_watch_fn *watch)
{
	real_watch = watch;
	__real_flow_run(f, steps, n_steps, self, end, watch_and_announce);
}

void __wrap_flow_unwind(struct flow *f, const struct flow_step *steps, size_t n_steps, void *self,
	flow_end_fn *end, flow_watch_fn *watch, const struct qmpsnap_error *why)
{
	real_watch = watch;
	__real_flow_unwind(f, steps, n_steps, self, end, watch_and_announce, why);
}

/* ---- The clock ---- */

int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb fn, uint64_t ms, uint64_t repeat_ms);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb fn, uint64_t ms, uint64_t repeat_ms);
uint64_t __real_uv_hrtime(void);
uint64_t __wrap_uv_hrtime(void);
uint64_t __real_uv_now(const uv_loop_t *loop);
uint64_t __wrap_uv_now(const uv_loop_t *loop);

/* A wait stays one, however short. */
static uint64_t sooner(uint64_t ms)
{
	return ms ? (ms - 1) / stage_speed() + 1 : 0;
}

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb fn, uint64_t ms, uint64_t repeat_ms)
{
	return __real_uv_timer_start(timer, fn, sooner(ms), sooner(repeat_ms));
}

uint64_t __wrap_uv_hrtime(void)
{
	static uint64_t from_ns;
	const uint64_t now_ns = __real_uv_hrtime();

	if (!from_ns)
		from_ns = now_ns;
	return from_ns + (now_ns - from_ns) * stage_speed();
}

uint64_t __wrap_uv_now(const uv_loop_t *loop)
{
	return __real_uv_now(loop) * stage_speed();
}

/* ---- The file system ---- */

int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);
ssize_t __real_pwrite(int fd, const void *bytes, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t len, off_t offset);
ssize_t __real_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len);
char *__real_mkdtemp(char *template);
char *__wrap_mkdtemp(char *template);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_openat(int folder, const char *path, int flags, ...);
int __wrap_openat(int folder, const char *path, int flags, ...);
pid_t __real_fork(void);
pid_t __wrap_fork(void);

static bool fails(void)
{
	if (!stage_disk_is_full())
		return false;
	errno = ENOSPC;
	return true;
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
	return fails() ? -1 : __real_fallocate(fd, mode, offset, len);
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
	return fails() ? -1 : __real_pwrite(fd, bytes, len, offset);
}

ssize_t __wrap_write(int fd, const void *bytes, size_t len)
{
	struct stat status;

	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && fails())
		return -1;
	return __real_write(fd, bytes, len);
}

char *__wrap_mkdtemp(char *template)
{
	return fails() ? NULL : __real_mkdtemp(template);
}

static bool makes(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

static mode_t mode_of(int flags, va_list *args)
{
	return makes(flags) ? (mode_t)va_arg(*args, int) : 0;
}

int __wrap_open(const char *path, int flags, ...)
{
	va_list args;

	va_start(args, flags);
	const mode_t mode = mode_of(flags, &args);
	va_end(args);
	return makes(flags) && fails() ? -1 : __real_open(path, flags, mode);
}

int __wrap_openat(int folder, const char *path, int flags, ...)
{
	va_list args;

	va_start(args, flags);
	const mode_t mode = mode_of(flags, &args);
	va_end(args);
	return makes(flags) && fails() ? -1 : __real_openat(folder, path, flags, mode);
}

/* The programs that copy disks write too. */
pid_t __wrap_fork(void)
{
	(void)stage_disk_is_full();
	return __real_fork();
}

/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
